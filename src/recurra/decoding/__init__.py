"""From the scores of a model to a sequence: sampling and greedy decoding, as a stream."""

from recurra.decoding.generate import TextCodec, generate, generate_text, greedy
from recurra.decoding.sampler import Sampler

__all__ = ["Sampler", "TextCodec", "generate", "generate_text", "greedy"]
