"""Units of losses: nll in nats a token, bpc for characters and bytes, ppl for words and pieces."""

import math


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
