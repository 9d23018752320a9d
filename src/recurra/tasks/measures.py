"""Units of losses: nll in nats a token, bpc for characters and bytes, ppl for words and pieces."""

import math
from collections.abc import Mapping

import numpy as np

from recurra.data import Vocabulary


def measure_name(level: str) -> str:
    """What a loss is quoted in at a vocabulary level: "bpc" for char and byte, else "ppl"."""
    return "bpc" if level in {"char", "byte"} else "ppl"


def measure(level: str, nll: float) -> float:
    """A loss in nats a token as bits a character (nll / ln 2) or perplexity (exp(nll))."""
    if measure_name(level) == "bpc":
        return nll / math.log(2)
    try:
        return math.exp(nll)
    except OverflowError:
        return math.inf


def of_text(
    figures: Mapping[str, float], tokens: np.ndarray, vocabulary: Vocabulary
) -> dict[str, float]:
    """What the loss over tokens is for their text, so that vocabularies compare.

    Args:
        figures: `nll` in nats a token and `tokens` predicted, as `evaluate` gives them.
        tokens: those that were evaluated; the first was not predicted.
        vocabulary: what they mean.
    Returns:
        `bpc`: bits per character of the text as the vocabulary writes it, at every level. `unk`,
        where words can be unknown: the share of <unk> among the predicted.
    """
    predicted = tokens[1:]
    characters = max(1, vocabulary.num_characters(predicted))
    found = {"bpc": figures["nll"] * figures["tokens"] / math.log(2) / characters}
    if vocabulary.unknown_id is not None:
        found["unk"] = np.count_nonzero(predicted == vocabulary.unknown_id) / len(predicted)
    return found
