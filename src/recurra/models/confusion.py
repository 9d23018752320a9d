"""What a classifier takes for what: counts, and the figures that follow from them.

Letters: N examples, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int64

_MAX_SHOWN = 12  # classes that the text form shows as a table


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Confusion:
    """How many examples of each class were taken for each.

    Attributes:
        counts: [K, K]; a row for the true class, a column for the predicted one.
        labels: the K classes.
    """

    counts: Int64[np.ndarray, "classes classes"]
    labels: tuple[str, ...]

    @classmethod
    def of(
        cls, true: Sequence[int] | np.ndarray, predicted: Any, labels: Sequence[str] | int
    ) -> "Confusion":
        """The counts of examples whose true and predicted classes are numbers in 0..K-1.

        Args:
            true: [N], the class of each example.
            predicted: [N], what each was taken for.
            labels: the K classes, or how many there are.
        Raises:
            ValueError: when there are not as many of both, or a class is out of range.
        """
        names = tuple(str(i) for i in range(labels)) if isinstance(labels, int) else tuple(labels)
        pairs = [np.asarray(numbers, dtype=np.int64).reshape(-1) for numbers in (true, predicted)]
        if len(pairs[0]) != len(pairs[1]):
            raise ValueError(
                f"confusion: expected as many predicted classes as true ones, got {len(pairs[1])} "
                f"and {len(pairs[0])}. Give one for each example."
            )
        size = len(names)
        for numbers in pairs:
            if len(numbers) and not 0 <= numbers.min() <= numbers.max() < size:
                wrong = numbers.min() if numbers.min() < 0 else numbers.max()
                raise ValueError(
                    f"confusion: expected classes in 0..{size - 1}, got {wrong}. Give the numbers "
                    f"of the labels."
                )
        counts = np.bincount(pairs[0] * size + pairs[1], minlength=size * size)
        return cls(counts=counts.astype(np.int64).reshape(size, size), labels=names)

    def __add__(self, other: "Confusion") -> "Confusion":
        """The counts of both."""
        if self.labels != other.labels:
            raise ValueError(
                f"confusion: expected the same classes, got {', '.join(self.labels)} and "
                f"{', '.join(other.labels)}. Add what one model says."
            )
        return Confusion(counts=self.counts + other.counts, labels=self.labels)

    @property
    def num_examples(self) -> int:
        """N."""
        return int(self.counts.sum())

    @property
    def accuracy(self) -> float:
        """The share of examples that were taken for what they are, 0..1."""
        return _share(np.trace(self.counts), self.counts.sum())

    @property
    def recall(self) -> Float[np.ndarray, " classes"]:
        """[K], the share of a class's examples that were found; 0 of a class without any."""
        return _shares(self.counts.diagonal(), self.counts.sum(axis=1))

    @property
    def precision(self) -> Float[np.ndarray, " classes"]:
        """[K], the share of what was taken for a class that is of it; 0 where nothing was."""
        return _shares(self.counts.diagonal(), self.counts.sum(axis=0))

    @property
    def f1(self) -> Float[np.ndarray, " classes"]:
        """[K], the harmonic mean of precision and recall: 2 tp / (2 tp + fp + fn)."""
        return _shares(
            2 * self.counts.diagonal(), self.counts.sum(axis=0) + self.counts.sum(axis=1)
        )

    @property
    def macro_f1(self) -> float:
        """The mean of F1 over the classes that occur, as true or predicted ones."""
        occurs = self.counts.sum(axis=0) + self.counts.sum(axis=1) > 0
        return float(self.f1[occurs].mean()) if occurs.any() else 0.0

    def to_config(self) -> dict[str, Any]:
        """Counts and labels, as JSON has them."""
        return {"labels": list(self.labels), "counts": self.counts.tolist()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Confusion":
        """The inverse of `to_config`."""
        counts = np.array(config["counts"], dtype=np.int64)
        return cls(counts=counts, labels=tuple(config["labels"]))

    def __str__(self) -> str:
        """A table: a row for each class, with its counts, its precision, recall and F1."""
        shown = self.labels if len(self.labels) <= _MAX_SHOWN else ()
        head = ["true \\ predicted", *shown, "precision", "recall", "F1"]
        scores = np.stack([self.precision, self.recall, self.f1], axis=1)
        rows = [
            [label, *(f"{count:,}" for count in counts if shown), *(f"{s:.3f}" for s in score)]
            for label, counts, score in zip(self.labels, self.counts.tolist(), scores, strict=True)
        ]
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        lines = [
            "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])])
            for row in [head, *rows]
        ]
        return "\n".join(lines)


def _share(part: Any, whole: Any) -> float:
    return float(part / whole) if whole else 0.0


def _shares(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)
