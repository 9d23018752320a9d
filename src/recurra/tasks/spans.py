"""Spans that labels mark: B-x begins one of kind x, I-x goes on; as the CoNLL tasks score them."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

_MARKS = {"B", "I", "E", "S", "L", "U"}


def has_spans(labels: Sequence[str]) -> bool:
    """Whether labels mark spans: an O, or a B- of a kind, and no label of another form."""
    marked = [label for label in labels if label.partition("-")[0] in _MARKS and "-" in label]
    return bool(marked) and all(label == "O" or label in marked for label in labels)


def spans_of(labels: Sequence[str]) -> set[tuple[str, int, int]]:
    """The kind, the first step and the step behind the last, of each span.

    A span ends where the next begins, where another kind goes on, or at a label outside of all.
    What goes on without a beginning begins, as the task's own script has it.

    Source: conlleval of Tjong Kim Sang, Buchholz (2000), "Introduction to the CoNLL-2000 Shared
    Task: Chunking", ACL.
    """
    found: set[tuple[str, int, int]] = set()
    start, kind = 0, ""
    for step, label in enumerate([*labels, "O"]):
        mark, _, own = label.partition("-")
        begins = mark in ("B", "S", "U") or (mark in ("I", "E", "L") and own != kind)
        if kind and (begins or mark not in ("I", "E", "L")):
            found.add((kind, start, step))
            kind = ""
        if begins and own:
            start, kind = step, own
        if mark in ("E", "L", "S", "U") and kind:
            found.add((kind, start, step + 1))
            kind = ""
    return found


def span_f1(true: Sequence[Sequence[str]], said: Sequence[Sequence[str]]) -> float:
    """The F1 of spans, over all sequences: a span is right where its kind and both ends are."""
    right, wanted, found = (sum(each.values()) for each in _counted(true, said))
    return 2 * right / (wanted + found) if wanted + found else 1.0


def spans_by_kind(
    true: Sequence[Sequence[str]], said: Sequence[Sequence[str]]
) -> list[dict[str, Any]]:
    """Of each `kind` of spans, in the order of the alphabet, `precision`, `recall` and `f1`, and
    how many there are (`true`) and were said (`said`); the precision of what was never said is 0,
    as the recall of what there is none of."""
    right, wanted, found = _counted(true, said)
    return [
        {
            "kind": kind,
            "precision": right[kind] / max(found[kind], 1),
            "recall": right[kind] / max(wanted[kind], 1),
            "f1": 2 * right[kind] / (wanted[kind] + found[kind]),
            "true": wanted[kind],
            "said": found[kind],
        }
        for kind in sorted(wanted | found)
    ]


def _counted(
    true: Sequence[Sequence[str]], said: Sequence[Sequence[str]]
) -> tuple[Counter[str], Counter[str], Counter[str]]:
    """By kind, the spans that are right, those that there are, and those that were said."""
    right, wanted, found = Counter[str](), Counter[str](), Counter[str]()
    for one, other in zip(true, said, strict=True):
        own, given = spans_of(one), spans_of(other)
        for counts, spans in ((right, own & given), (wanted, own), (found, given)):
            counts.update(kind for kind, _, _ in spans)
    return right, wanted, found
