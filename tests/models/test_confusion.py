"""Counts of what was taken for what, and the figures from them, by hand and as scikit-learn has."""

import numpy as np
import pytest

from recurra.models.confusion import Confusion

TRUE = [0, 0, 0, 1, 1, 2, 2, 2, 2, 2]
PREDICTED = [0, 1, 0, 1, 0, 2, 2, 2, 1, 2]
LABELS = ("cat", "dog", "fish", "bird")  # no bird is there, and nothing was taken for one


def test_counts_and_figures() -> None:
    confusion = Confusion.of(TRUE, PREDICTED, LABELS)
    assert confusion.counts.tolist() == [[2, 1, 0, 0], [1, 1, 0, 0], [0, 1, 4, 0], [0, 0, 0, 0]]
    assert confusion.num_examples == 10
    assert confusion.accuracy == pytest.approx(0.7)
    np.testing.assert_allclose(confusion.recall, [2 / 3, 1 / 2, 4 / 5, 0])
    np.testing.assert_allclose(confusion.precision, [2 / 3, 1 / 3, 1, 0])
    np.testing.assert_allclose(confusion.f1, [2 / 3, 2 / 5, 8 / 9, 0])
    # sklearn.metrics.f1_score(TRUE, PREDICTED, average="macro") of version 1.7
    assert confusion.macro_f1 == pytest.approx(0.6518518518518519)


def test_parts_add_up_to_the_whole() -> None:
    first = Confusion.of(TRUE[:4], PREDICTED[:4], LABELS)
    rest = Confusion.of(TRUE[4:], PREDICTED[4:], LABELS)
    assert (first + rest).counts.tolist() == Confusion.of(TRUE, PREDICTED, LABELS).counts.tolist()
    with pytest.raises(ValueError, match=r"expected the same classes, got cat, dog.*and 0, 1"):
        first + Confusion.of([0], [1], 2)


def test_without_examples() -> None:
    empty = Confusion.of([], [], 3)
    assert (empty.accuracy, empty.macro_f1, empty.num_examples) == (0.0, 0.0, 0)


def test_shown_as_text_and_as_json() -> None:
    confusion = Confusion.of([0, 1, 1], np.array([0, 1, 0]), ["no", "yes"])
    assert str(confusion).splitlines() == [
        "true \\ predicted  no  yes  precision  recall     F1",
        "no                 1    0      0.500   1.000  0.667",
        "yes                1    1      1.000   0.500  0.667",
    ]
    assert confusion.to_config() == {"labels": ["no", "yes"], "counts": [[1, 0], [1, 1]]}
    many = str(Confusion.of(range(40), range(40), 40))
    assert many.splitlines()[0].split() == ["true", "\\", "predicted", "precision", "recall", "F1"]


def test_what_is_no_class_is_refused() -> None:
    with pytest.raises(ValueError, match="as many predicted classes as true ones, got 2 and 3"):
        Confusion.of([0, 1, 0], [0, 1], 2)
    for wrong in (-1, 2):
        with pytest.raises(ValueError, match=rf"classes in 0\.\.1, got {wrong}"):
            Confusion.of([0, 1], [0, wrong], 2)
