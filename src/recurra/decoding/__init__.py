"""From the scores of a model to sequences and back: sampling, greedy decoding, likelihood."""

from recurra.decoding.beam import Hypothesis, StepDecoder, beam_search, first_choices
from recurra.decoding.constraints import Constrained
from recurra.decoding.generate import generate, greedy
from recurra.decoding.likelihood import log_probabilities
from recurra.decoding.sampler import Sampler
from recurra.decoding.text import (
    Continuation,
    TextCodec,
    generate_text,
    generate_texts,
    seeded_generators,
    symbol_ids,
)
from recurra.decoding.together import Drawn, generate_together

__all__ = [
    "Constrained",
    "Continuation",
    "Drawn",
    "Hypothesis",
    "Sampler",
    "StepDecoder",
    "TextCodec",
    "beam_search",
    "first_choices",
    "generate",
    "generate_text",
    "generate_texts",
    "generate_together",
    "greedy",
    "log_probabilities",
    "seeded_generators",
    "symbol_ids",
]
