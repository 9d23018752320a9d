"""A text as a model reads it, the unit that tracks a property, and what holding it does."""

import numpy as np
import pytest
import torch
from tests.quoting import LETTERS, QUOTE, quoted_text, quoting_model

import recurra as rc
from recurra.errors import DataError
from recurra.insight.neurons.clamping import clamped, closing, held, write_held
from recurra.insight.neurons.properties import PROPERTIES
from recurra.insight.neurons.reading import Read, read
from recurra.insight.neurons.search import find, tracking
from recurra.insight.neurons.units import Unit

UNIT = Unit(name="c", index=0)
QUOTES = PROPERTIES["inside quotes"]


@pytest.fixture(scope="module")
def model() -> rc.LanguageModel:
    return quoting_model()


def ids_of(model: rc.LanguageModel, text: str) -> np.ndarray:
    assert model.vocabulary is not None
    return model.vocabulary.encode(text)


@pytest.fixture(scope="module")
def texts(model: rc.LanguageModel) -> list[Read]:
    return [read(model, ids_of(model, quoted_text(seed=seed)), warm_up=60) for seed in (0, 1)]


@pytest.mark.medium
def test_one_stream_is_the_text_as_the_model_reads_it(model: rc.LanguageModel) -> None:
    ids = ids_of(model, quoted_text(400))
    found = read(model, ids, streams=1, warm_up=20)
    assert found.before + found.text == quoted_text(400)
    assert (len(found.before), len(found.pieces)) == (20, 380)
    logits, _ = model(torch.from_numpy(ids)[:, None])
    wanted = logits[20:, 0].log_softmax(-1).detach()
    np.testing.assert_allclose(found.log_probabilities, wanted, atol=1e-5)
    state = None
    for t in range(30):
        _, state = model(torch.from_numpy(ids[t : t + 1])[:, None], state)
    for name, each in zip("hc", state, strict=True):
        np.testing.assert_allclose(found.values[0, name][9], each[0, 0].detach(), atol=1e-5)


@pytest.mark.medium
def test_streams_begin_with_what_was_before_them(model: rc.LanguageModel) -> None:
    ids = ids_of(model, quoted_text(1000))
    whole, cut = (read(model, ids, streams=n, warm_up=100) for n in (1, 6))
    assert cut.text == whole.text[: len(cut.text)]
    assert len(cut.text) == 900
    np.testing.assert_allclose(cut.of_unit(UNIT), whole.of_unit(UNIT)[:900], atol=1e-4)
    assert np.quantile(np.abs(cut.matrix - whole.matrix[:900]), 0.9) < 0.05


def test_columns_are_units(texts: list[Read]) -> None:
    found = texts[0]
    assert found.matrix.shape == (len(found.pieces), 12)
    assert [str(each) for each in found.units[:7]] == [*(f"h[{i}]" for i in range(6)), "c[0]"]
    np.testing.assert_array_equal(found.matrix[:, 6], found.of_unit(UNIT))


def test_tokens_of_many_characters_have_the_property_of_their_last() -> None:
    found = Read(
        ids=np.arange(3),
        pieces=('a "', "", 'b" c'),
        before='"x" ',
        values={},
        log_probabilities=np.zeros((3, 1)),
    )
    assert found.property_values(QUOTES).tolist() == [1, 1, 0]


def test_the_unit_that_was_made_to_track_quotes_is_found(texts: list[Read]) -> None:
    found = find(QUOTES, *texts, num_shifts=200)
    assert found.unit in (UNIT, Unit(name="h", index=0))
    assert found.score.held_out > 0.95
    assert found.score.null_99 < 0.2
    assert found.score.p == pytest.approx(1 / 201)
    assert found.probe.verdict == "a cell"
    assert {str(unit) for unit, _, _ in found.ranked[:2]} == {"h[0]", "c[0]"}


@pytest.mark.medium
def test_shares_count_units_that_track_anything(texts: list[Read]) -> None:
    found = tracking(texts[1], list(PROPERTIES.values()))
    assert "inside docstrings" not in found.names  # of which there are none
    assert found.share_of["inside quotes"] == pytest.approx(2 / 12)
    assert found.share >= 2 / 12


def test_what_changes_before_the_text_alone_is_left_out() -> None:
    found = Read(
        ids=np.arange(3),
        pieces=("a", "b", "c"),
        before='"x" ',
        values={(0, "h"): np.eye(3)},
        log_probabilities=np.zeros((3, 1)),
    )
    assert "inside quotes" not in tracking(found, list(PROPERTIES.values())).names


@pytest.mark.medium
def test_holding_a_unit_holds_it_and_nothing_else(model: rc.LanguageModel) -> None:
    ids = ids_of(model, quoted_text(400))
    how = {"streams": 1, "warm_up": 20}
    free = read(model, ids, **how)
    other = read(model, ids, replace=held((UNIT, 0.25), (Unit(name="c", index=2), 1.0)), **how)
    np.testing.assert_allclose(other.of_unit(UNIT), 0.25)
    np.testing.assert_allclose(other.of_unit(Unit(name="c", index=2)), 1.0)
    np.testing.assert_allclose(other.of_unit(Unit(name="h", index=0)), np.tanh(0.25), atol=1e-6)
    assert np.abs(other.of_unit(Unit(name="h", index=1)) - free.of_unit(UNIT)).max() > 0


@pytest.mark.medium
def test_holding_the_quote_unit_changes_what_closes_a_quote(model: rc.LanguageModel) -> None:
    ids = ids_of(model, quoted_text())
    found = closing(model, ids, UNIT, QUOTES, num_controls=3, warm_up=60)
    assert found.inside == pytest.approx(1.0, abs=1e-3)
    assert found.outside == pytest.approx(0.0, abs=1e-3)

    def wanted(h: float) -> float:
        logits = np.zeros(len(LETTERS))
        logits[QUOTE] = 4 * h - 2
        return float(np.exp(logits[QUOTE]) / np.exp(logits).sum())

    np.testing.assert_allclose(found.free, wanted(np.tanh(1)), rtol=1e-3)
    np.testing.assert_allclose(found.held_inside, wanted(np.tanh(found.inside)), rtol=1e-4)
    np.testing.assert_allclose(found.held_outside, wanted(np.tanh(found.outside)), rtol=1e-4)
    assert found.fold == pytest.approx(found.free.mean() / found.held_outside.mean())
    assert found.fold > 3
    np.testing.assert_allclose(found.controls, 1.0, rtol=1e-3)  # nobody else knows of quotes


def test_what_a_clamped_model_expects_more_or_less(model: rc.LanguageModel) -> None:
    found = clamped(model, ids_of(model, quoted_text(800)), UNIT, 5.0, warm_up=60)
    ((symbol, before, after), *_) = found.most_changed()
    assert symbol == '"'
    assert after > 2 * before
    assert found.held.sum() == pytest.approx(1.0, rel=1e-4)


@pytest.mark.medium
def test_a_model_writes_with_units_held(model: rc.LanguageModel) -> None:
    free, shut, lavish = (
        write_held(model, 'a "', 100, units, seed=3, temperature=1.0)
        for units in ([], [(UNIT, -10.0)], [(UNIT, 10.0)])
    )
    assert len(free) == len(shut) == 100
    assert lavish.count('"') > 2 * max(1, free.count('"')) > 0
    assert shut.count('"') < free.count('"')
    assert free == write_held(model, 'a "', 100, seed=3, temperature=1.0)


@pytest.mark.medium
def test_models_of_layers_that_read_batches_first_are_read_likewise() -> None:
    torch.manual_seed(0)
    vocabulary = quoting_model().vocabulary
    model = rc.LanguageModel(
        vocabulary=vocabulary,
        cell="gru",
        hidden_size=3,
        embedding_size=2,
        num_layers=2,
        backend="reference",
    ).eval()
    ids = ids_of(model, quoted_text(300))
    wanted = read(model, ids)
    assert [str(unit) for unit in wanted.units] == [
        *(f"h[{i}]" for i in range(3)), *(f"1.h[{i}]" for i in range(3))
    ]  # fmt: skip
    model.batch_first = True
    found = read(model, ids)
    np.testing.assert_allclose(found.matrix, wanted.matrix, atol=1e-6)
    assert len(write_held(model, "a", 5, [(Unit(layer=1, name="h", index=1), 1.0)])) == 5


def test_what_cannot_be_done_is_said(model: rc.LanguageModel) -> None:
    with pytest.raises(DataError, match="text: expected 4 tokens or more, got 1"):
        read(model, ids_of(model, "a"))
    with pytest.raises(ValueError, match="expected a property that something closes, got 'inden"):
        closing(model, ids_of(model, "a" * 99), UNIT, PROPERTIES["indentation"])
    with pytest.raises(DataError, match=r"expected one in which 'inside quotes' .* changes"):
        closing(model, ids_of(model, "a" * 99), UNIT, QUOTES)
