"""Figures of labels that were said, by hand."""

import numpy as np
import pytest

from recurra.models import Confusion
from recurra.tasks.tag_figures import Judged, figures_of, said_of

LABELS = ("DET", "NOUN", "VERB")


def judged(text: str, true: str, said: str, number: int = 0) -> Judged:
    """Of words and labels as they are written; "?" is a label that nobody knows."""
    numbers = {"?": -1, **{label: k for k, label in enumerate(LABELS)}}
    of_true, of_said = (np.array([numbers[k] for k in each.split()]) for each in (true, said))
    return Judged(true=of_true, said=of_said, words=text.split(), number=number)


def test_labels_that_nobody_knows_do_not_count() -> None:
    found = figures_of([judged("a dog barks", "DET NOUN ?", "DET VERB VERB")], LABELS)
    assert found["accuracy"] == 0.5
    assert found["steps"] == 2
    confusion = Confusion.from_config(found["confusion"])
    assert confusion.counts.tolist() == [[1, 0, 0], [0, 0, 1], [0, 0, 0]]
    assert "span_f1" not in found


def test_the_commonest_confusions_come_first_with_a_short_example() -> None:
    several = [
        judged("a dog", "DET NOUN", "DET VERB"),  # says little of what is beside
        judged("one dog sees a cat", "DET NOUN VERB DET NOUN", "DET VERB VERB DET VERB"),
        judged("dogs see the cat", "NOUN VERB DET NOUN", "NOUN NOUN DET VERB"),
    ]
    assert figures_of(several, LABELS)["confusions"] == [
        {"true": "NOUN", "said": "VERB", "count": 4, "example": "dogs see the [cat]"},
        {"true": "VERB", "said": "NOUN", "count": 1, "example": "dogs [see] the cat"},
    ]


def test_examples_of_long_sentences_and_of_series() -> None:
    words = " ".join(f"w{i}" for i in range(30))
    long = judged(words, "DET " * 30, "DET " * 30)
    assert long.example(15) == "... w7 w8 w9 w10 w11 w12 w13 w14 [w15] w16 w17 w18 w19 w20 w21 " \
        "w22 w23 ..."  # fmt: skip
    assert long.example(29).endswith("w28 [w29]")
    series = Judged(true=long.true, said=long.said, words=(), number=4)
    assert series.example(2) == "step 3 of sequence 5"


def test_spans_are_scored_and_all_is_said() -> None:
    labels = ("B-x", "I-x", "O")
    own = Judged(true=np.array([0, 1, 2, -1]), said=np.array([0, 2, 2, 2]), words=(), number=0)
    found = figures_of([own], labels)
    assert found["span_f1"] == 0
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert said_of({**found, "nll": 0.5, "sequences": 1, "seconds": 0.25}).splitlines() == [
        "F1 of spans 0.0000, accuracy 66.67%, nll 0.5000, 3 labels in 1 sequences, "
        "1 more step has none and counts for nothing, 0.2 s",
        "x: F1 0.0000, precision 0.0000, recall 0.0000, 1 of them, 1 said",
        "I-x taken for O: 1, as in: step 2 of sequence 1",
    ]


def test_a_span_that_is_said_where_nobody_knows_is_none() -> None:
    labels = ("B-x", "I-x", "O")
    own = Judged(true=np.array([0, 2, -1, -1]), said=np.array([0, 2, 0, 1]), words=(), number=0)
    found = figures_of([own], labels)
    assert found["span_f1"] == 1
    assert found["unlabelled"] == 2
