"""How a parameter starts, in one word: what cells, layers and command lines write."""

import difflib
import re

# the rules of recurra.nn.initial that have a name of their own, and those that take a number
NAMED = ("orthogonal", "identity", "xavier_uniform", "xavier_normal", "normal")
WITH_A_NUMBER = ("orthogonal", "identity", "uniform", "chrono")
SHORTEST_CHRONO = 3  # steps; below there is no range to draw from
_NUMBER = re.compile(r"-?(\d+\.?\d*|\.\d+)")
_OPPOSITE = re.compile(r"-[^\W\d]\w*")
_FUNCTION = re.compile(rf"({'|'.join(WITH_A_NUMBER)})(\d+(?:\.\d+)?(?:e[-+]?\d+)?)")


def rule_of(word: str) -> float | str:
    """The number that the word is, or the word itself, which names a rule.

    "2" is a number; "orthogonal", "identity" and the like are rules by name; "chrono400",
    "uniform0.1", "identity0.5" and "orthogonal1.4" are functions of `recurra.nn.initial` with their
    number; "-b_f" is the opposite of another parameter.

    Raises:
        ValueError: when it is none of these.
    """
    if _NUMBER.fullmatch(word):
        return float(word)
    if word in NAMED or _OPPOSITE.fullmatch(word):
        return word
    found = function_of(word)
    if found is None:
        near = difflib.get_close_matches(word, NAMED, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else "Use one of them: chrono400."
        raise ValueError(
            f"init: expected a number, one of {', '.join(map(repr, NAMED))}, one of "
            f"{', '.join(WITH_A_NUMBER)} with a number behind it, or -NAME for the opposite of "
            f"another parameter, got {word!r}. {hint}"
        )
    if found[0] == "chrono" and found[1] < SHORTEST_CHRONO:
        raise ValueError(
            f"chrono: expected a time of at least {SHORTEST_CHRONO} steps, got {found[1]:g}. "
            f"Give more."
        )
    return word


def function_of(word: str) -> tuple[str, float] | None:
    """The function that a word names and its number: of chrono400 chrono and 400.0."""
    found = _FUNCTION.fullmatch(word)
    return (found[1], float(found[2])) if found else None
