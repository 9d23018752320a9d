"""Spans by hand, in every form that labels mark them in."""

import random

import pytest

from recurra.tasks.spans import has_spans, span_f1, spans_by_kind, spans_of


@pytest.mark.parametrize(
    ("labels", "spans"),
    [
        ("B-x I-x O", {("x", 0, 2)}),
        ("B-x B-x", {("x", 0, 1), ("x", 1, 2)}),
        ("O I-x I-x", {("x", 1, 3)}),  # what goes on without a beginning begins
        ("B-x I-y I-y", {("x", 0, 1), ("y", 1, 3)}),
        ("S-x B-x E-x O", {("x", 0, 1), ("x", 1, 3)}),
        ("U-x B-y I-y L-y", {("x", 0, 1), ("y", 1, 4)}),
        ("B-a-b I-a-b", {("a-b", 0, 2)}),
        ("O O", set()),
    ],
)
def test_spans(labels: str, spans: set[tuple[str, int, int]]) -> None:
    assert spans_of(labels.split()) == spans


def test_f1_counts_whole_spans() -> None:
    true = [["B-x", "I-x", "O", "B-y"], ["O"]]
    assert span_f1(true, true) == 1
    assert span_f1(true, [["B-x", "O", "O", "B-y"], ["O"]]) == pytest.approx(1 / 2)
    assert span_f1(true, [["B-x", "I-x", "B-x", "B-y"], ["B-y"]]) == pytest.approx(2 * 2 / (2 + 4))
    assert span_f1([["O"]], [["O"]]) == 1


def test_labels_that_mark_no_spans() -> None:
    assert has_spans(["O", "B-x", "I-x"])
    assert not has_spans(["NOUN", "VERB"])
    assert not has_spans(["-LRB-", "NN", "B-x"])
    assert not has_spans(["O", "x"])


@pytest.mark.medium  # seqeval imports scikit-learn
@pytest.mark.parametrize("marks", ["BI", "BIES"])
def test_spans_and_their_f1_are_those_of_seqeval(marks: str) -> None:
    """However labels stand behind one another, those that no span allows too."""
    from seqeval.metrics import f1_score
    from seqeval.metrics.sequence_labeling import get_entities

    every = ["O", *(f"{mark}-{kind}" for mark in marks for kind in "xy")]
    for seed in range(300):
        rng = random.Random(seed)
        lengths = [rng.randint(1, 8) for _ in range(4)]
        true, said = ([[rng.choice(every) for _ in range(n)] for n in lengths] for _ in range(2))
        true[0][0] = "B-x"  # seqeval warns where there is no span at all
        for labels in true:
            spans = {(kind, start, end - 1) for kind, start, end in spans_of(labels)}
            assert spans == set(get_entities(labels))
        assert span_f1(true, said) == pytest.approx(f1_score(true, said))


@pytest.mark.medium
def test_each_kind_is_scored_as_seqeval_scores_it() -> None:
    from seqeval.metrics import classification_report

    every = ["O", *(f"{mark}-{kind}" for mark in "BI" for kind in "xyz")]
    for seed in range(50):
        rng = random.Random(seed)
        true, said = ([[rng.choice(every) for _ in range(9)] for _ in range(3)] for _ in range(2))
        true[0][:4] = ["B-x", "B-y", "B-z", "O"]
        report = classification_report(true, said, output_dict=True, zero_division=0)
        for each in spans_by_kind(true, said):
            wanted = report[each["kind"]]
            assert each["true"] == wanted["support"]
            for ours, theirs in (("precision",) * 2, ("recall",) * 2, ("f1", "f1-score")):
                assert each[ours] == pytest.approx(wanted[theirs])


def test_a_kind_that_is_only_said_or_only_there_counts_nothing_right() -> None:
    first, second = spans_by_kind([["B-x", "O"]], [["O", "B-y"]])
    assert first == {"kind": "x", "precision": 0, "recall": 0, "f1": 0, "true": 1, "said": 0}
    assert second == {"kind": "y", "precision": 0, "recall": 0, "f1": 0, "true": 0, "said": 1}
