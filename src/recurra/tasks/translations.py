"""Scores of translations: BLEU and chrF by sacrebleu, and how many are right as a whole."""

from collections.abc import Sequence
from typing import Any

SHORTEST = "1 to 5"
EDGES = (5, 10, 15, 20, 30, 40)  # words of a source, up to which a group goes


def scored(said: Sequence[str], wanted: Sequence[str], *, lower: bool) -> dict[str, Any]:
    """The scores of all translations together.

    Args:
        said: translations, a line each, spelled as people write.
        wanted: one reference each.
        lower: whether case counts for nothing.
    Returns:
        `bleu` and `chrf`, 0 to 100; `exact`, the share that is the reference; `signature` of both
        scores, without which they compare with no others.

    Source: Post (2018), "A Call for Clarity in Reporting BLEU Scores", arXiv:1804.08771.
    """
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    bleu, chrf = BLEU(lowercase=lower), CHRF(lowercase=lower)
    first = bleu.corpus_score(list(said), [list(wanted)])
    second = chrf.corpus_score(list(said), [list(wanted)])
    pairs = zip(said, wanted, strict=True)
    right = sum(_plain(a, lower) == _plain(b, lower) for a, b in pairs)
    return {
        "bleu": first.score,
        "chrf": second.score,
        "exact": right / len(said),
        "signature": f"BLEU {bleu.get_signature()}, chrF {chrf.get_signature()}",
    }


def bleu_by_length(
    sources: Sequence[str], said: Sequence[str], wanted: Sequence[str], *, lower: bool
) -> list[dict[str, Any]]:
    """BLEU of the pairs whose sources are of like length: `words`, `pairs` and `bleu` of each
    group, the shortest first."""
    groups: dict[int, list[int]] = {}
    for n, source in enumerate(sources):
        words = len(source.split())
        groups.setdefault(next((i for i, e in enumerate(EDGES) if words <= e), len(EDGES)), [])
        groups[next((i for i, e in enumerate(EDGES) if words <= e), len(EDGES))].append(n)
    found = []
    for group, numbers in sorted(groups.items()):
        first = EDGES[group - 1] + 1 if group else 1
        words = f"{first} to {EDGES[group]}" if group < len(EDGES) else f"{first} or more"
        scores = scored([said[n] for n in numbers], [wanted[n] for n in numbers], lower=lower)
        found.append({"words": words, "pairs": len(numbers), "bleu": scores["bleu"]})
    return found


def _plain(text: str, lower: bool) -> str:
    text = " ".join(text.split())
    return text.lower() if lower else text
