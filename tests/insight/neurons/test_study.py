"""A unit from all sides: figures that are drawn, and what they say."""

import numpy as np
import pytest
from tests.quoting import quoted_text, quoting_model

import recurra as rc
from recurra.errors import DataError
from recurra.insight.language import memory_of, units_of
from recurra.insight.neurons import read, sizes_of, study
from recurra.insight.neurons.figures import most_telling
from recurra.insight.neurons.properties import PROPERTIES
from recurra.insight.neurons.study import study_of_property, study_of_unit
from recurra.insight.neurons.units import Unit
from recurra.insight.report.figure import Figure


@pytest.fixture(scope="module")
def model() -> rc.LanguageModel:
    return quoting_model()


def ids_of(model: rc.LanguageModel, seed: int) -> np.ndarray:
    assert model.vocabulary is not None
    return model.vocabulary.encode(quoted_text(2000, seed))


def check_drawn(figures: list[Figure]) -> None:
    pytest.importorskip("matplotlib")
    from recurra.insight.report.rendering import drawn

    for figure in figures:
        assert figure.found.endswith(".")
        assert figure.csv().count("\n") > 1
        if figure.draw is not None:
            assert "<svg" in drawn(figure.draw, figure.name).svg


@pytest.mark.medium
def test_a_property_is_found_proved_and_held(model: rc.LanguageModel) -> None:
    study = study_of_property(
        model, ids_of(model, 0), ids_of(model, 1), PROPERTIES["inside quotes"]
    )
    assert study.unit.index == 0
    names = [figure.name for figure in study.figures]
    assert names == ["neuron", "clamped", "contexts", "tracking"]
    neuron, held, contexts, _ = study.figures
    assert "it is a cell" in neuron.found
    assert " times; the most that 5 other units change it by is 1.0 times." in held.found
    assert held.passages[0].title == "what it writes, nothing held"
    assert len(held.passages) == 3
    assert len(contexts.passages) == 6
    start, stop = study.stretch
    assert 0 <= start < stop <= len(study.text.pieces)
    check_drawn(list(study.figures))


@pytest.mark.medium
def test_a_unit_that_is_named_is_held_where_one_says(model: rc.LanguageModel) -> None:
    gate = Unit(name="i", index=0)
    study = study_of_unit(model, ids_of(model, 1), gate, hold_at=0.0)
    neuron, held, _ = study.figures
    assert neuron.title == "i[0]"
    assert held.title == "i[0] held at 0"
    assert """'"' from """ in held.found  # which nothing lets in any more
    check_drawn(list(study.figures))


def test_the_stretch_that_is_shown_is_where_most_happens() -> None:
    wanted = np.zeros(100)
    wanted[60:70:2] = 1.0
    start, stop = most_telling(wanted, 10)
    assert (start, stop) == (60, 70) or (start, stop) == (59, 69)
    assert most_telling(np.ones(5), 10) == (0, 5)


@pytest.mark.medium
@pytest.mark.parametrize(
    ("cell", "names"),
    [
        ("lstm", ["tracking", "saturation", "time_constants", "paths"]),
        ("gru", ["tracking", "saturation", "time_constants"]),
        ("torch_lstm", ["tracking", "saturation", "time_constants", "paths"]),
        ("torch_gru", ["tracking", "saturation", "time_constants"]),
        ("rnn", ["tracking"]),
    ],
)
def test_a_report_has_what_the_cell_has(cell: str, names: list[str]) -> None:
    vocabulary = quoting_model().vocabulary
    model = rc.LanguageModel(
        vocabulary=vocabulary, cell=cell, hidden_size=4, embedding_size=3, backend="reference"
    ).eval()
    ids = ids_of(model, 0)
    figures = [*memory_of(model, ids), *units_of(model, ids)]
    assert [each.name for each in figures] == ["memory", *names]
    check_drawn(figures)


def test_of_a_tiny_text_nothing_is_said(model: rc.LanguageModel) -> None:
    assert memory_of(model, ids_of(model, 0)[:9]) == []
    assert units_of(model, ids_of(model, 0)[:99]) == []


@pytest.mark.medium
def test_a_cell_whose_states_are_matrices_is_looked_at_by_its_other_values() -> None:
    vocabulary = quoting_model().vocabulary
    model = rc.LanguageModel(
        vocabulary=vocabulary, cell="delta_net", hidden_size=4, embedding_size=3,
        backend="reference",
    ).eval()  # fmt: skip
    ids = ids_of(model, 1)[:600]
    [sizes] = sizes_of(model)
    assert "S" not in sizes
    assert sizes["y"] == 4
    assert "tracking" in {figure.name for figure in units_of(model, ids)}
    assert set(read(model, ids).values) == {(0, name) for name in sizes}


@pytest.mark.medium
def test_what_cannot_be_held_is_said_beside_what_was_found(
    model: rc.LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(*given: object, **how: object) -> None:
        raise DataError("text: expected one that is closed.")

    monkeypatch.setattr(study, "closing", nothing)
    ids = ids_of(model, 1)
    found = study.study_of_property(model, ids, ids, PROPERTIES["inside quotes"])
    assert [figure.name for figure in found.figures] == ["neuron", "contexts", "tracking"]
    assert list(found.notes) == ["Nothing was held: text: expected one that is closed."]
