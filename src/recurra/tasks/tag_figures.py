"""What the labels are worth that a tagger says: accuracy, F1 of spans, what was taken for what."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recurra.models import Confusion
from recurra.tasks.spans import has_spans, span_f1, spans_by_kind

NUM_CONFUSIONS = 10  # the commonest, each with an example
_BESIDE = 8  # words of an example on either side


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A sequence with what is true of its steps and what was said of them.

    Attributes:
        true: [T], the number of each step's label, -1 where nobody knows it; or [T, O] numbers,
            NaN there.
        said: [T], that of the label which was said; or [T, O].
        words: of a sentence; of a series none.
        number: of the sequence in its data, from 0.
    """

    true: np.ndarray
    said: np.ndarray
    words: Sequence[str]
    number: int

    def example(self, step: int) -> str:
        """The words about a step, itself in brackets; of a series, where it is."""
        if not self.words:
            return f"step {step + 1} of sequence {self.number + 1}"
        first, last = max(0, step - _BESIDE), step + _BESIDE + 1
        words = [*self.words]
        words[step] = f"[{words[step]}]"
        return " ".join(
            [*(["..."] if first else []), *words[first:last], *(["..."] if words[last:] else [])]
        )


def figures_of(judged: Sequence[Judged], labels: Sequence[str]) -> dict[str, Any]:
    """The share of labels that are right, that of spans, and what was taken for what.

    Returns:
        `accuracy` over the steps whose label is known, `steps` of them and `unlabelled` others,
        `confusion` as its `to_config` has it, the commonest `confusions` with an example of each;
        where labels are spans `span_f1`, and `spans`, their precision, recall and F1 by kind.
    """
    true = np.concatenate([each.true for each in judged])
    said = np.concatenate([each.said for each in judged])
    known = true >= 0
    confusion = Confusion.of(true[known], said[known], labels)
    found: dict[str, Any] = {
        "accuracy": confusion.accuracy,
        "steps": confusion.num_examples,
        "unlabelled": int((~known).sum()),
        "confusions": _commonest(judged, labels),
        "confusion": confusion.to_config(),
    }
    if has_spans(labels):
        both = (
            [_spelled(each.true, each, labels) for each in judged],
            [_spelled(each.said, each, labels) for each in judged],
        )
        found |= {"span_f1": span_f1(*both), "spans": spans_by_kind(*both)}
    return found


def _spelled(numbers: np.ndarray, of: Judged, labels: Sequence[str]) -> list[str]:
    """The labels of all steps; outside of spans where nobody knows what is true."""
    known = (of.true >= 0).tolist()
    return [labels[int(n)] if k else "O" for n, k in zip(numbers, known, strict=True)]


def _commonest(judged: Sequence[Judged], labels: Sequence[str]) -> list[dict[str, Any]]:
    """What was mostly taken for what, each with its shortest sequence as an example."""
    counts: Counter[tuple[int, int]] = Counter()
    shortest: dict[tuple[int, int], tuple[Judged, int]] = {}
    for each in sorted(judged, key=_order):
        for step in np.flatnonzero((each.true >= 0) & (each.true != each.said)).tolist():
            pair = int(each.true[step]), int(each.said[step])
            counts[pair] += 1
            shortest.setdefault(pair, (each, step))
    return [
        {
            "true": labels[pair[0]],
            "said": labels[pair[1]],
            "count": count,
            "example": shortest[pair][0].example(shortest[pair][1]),
        }
        for pair, count in counts.most_common(NUM_CONFUSIONS)
    ]


def _order(each: Judged) -> tuple[bool, int]:
    """The order of examples: short ones first, but those that say nothing of what is beside."""
    return len(each.true) < 4, len(each.true)


def said_of(figures: Mapping[str, Any]) -> str:
    """The figures of labels, or of numbers, on one line, and the commonest confusions below."""
    said = []
    if "span_f1" in figures:
        said.append(f"F1 of spans {figures['span_f1']:.4f}")
    if "accuracy" in figures:
        said.append(f"accuracy {figures['accuracy']:.2%}")
    if "most_frequent" in figures:
        said.append(f"most frequent labels {figures['most_frequent']:.2%}")
    said += [f"{name} {figures[name]:.4f}" for name in ("mse", "mae", "nll") if name in figures]
    if "mean_mse" in figures:
        said.append(f"mse of the mean {figures['mean_mse']:.4f}")
    unit = "labels" if "accuracy" in figures else "numbers"
    said.append(f"{figures['steps']:,} {unit} in {figures['sequences']:,} sequences")
    if none := figures.get("unlabelled"):
        steps = "1 more step has" if none == 1 else f"{none:,} more steps have"
        said.append(f"{steps} none and count{'s' if none == 1 else ''} for nothing")
    said.append(f"{figures['seconds']:.1f} s")
    lines = [
        f"{each['kind']}: F1 {each['f1']:.4f}, precision {each['precision']:.4f}, recall "
        f"{each['recall']:.4f}, {each['true']:,} of them, {each['said']:,} said"
        for each in figures.get("spans", ())
    ]
    lines += [
        f"{each['true']} taken for {each['said']}: {each['count']:,}, as in: {each['example']}"
        for each in figures.get("confusions", ())
    ]
    return "\n".join([", ".join(said), *lines])
