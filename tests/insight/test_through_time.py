"""Layers through time, of models that were trained and of fresh cells, side by side."""

import numpy as np
import pytest
import torch

from recurra import Recurrent, cells
from recurra.insight import through_time
from recurra.insight.gradient_flow import compare_flows, gradient_flow_of_loss
from recurra.insight.through_time import Watched, figures_of_layers, report_of_cells
from recurra.lang import Cell
from recurra.nn.stack import CellStack


def watched(cell: Cell, steps: int = 12, *, ragged: bool = False) -> Watched:
    torch.manual_seed(0)
    layer = Recurrent(cell, 3, 4, backend="reference")
    x = torch.randn(steps, 3, 3)
    lengths = torch.tensor([steps, 2, steps - 1]) if ragged else None

    def loss() -> torch.Tensor:
        return layer(x, lengths=lengths)[0].square().sum()

    return Watched(layer=layer, loss=loss)


@pytest.mark.parametrize("ragged", [False, True], ids=["whole", "ragged"])
def test_models_stand_side_by_side(ragged: bool) -> None:
    both = {"a": watched(cells.gru, ragged=ragged), "b": watched(cells.rnn, 20)}
    lags, flow, verdicts, lyapunov = figures_of_layers(both)
    assert [lags.name, flow.name] == ["gradient_by_lag", "gradient_flow"]
    assert [verdicts.name, lyapunov.name] == ["vanishing", "lyapunov"]
    assert "a: The gradient " in verdicts.found
    assert "b: The gradient " in verdicts.found
    assert "The largest singular value of W_hh" in verdicts.found  # b is of the theorem's form
    assert set(lags.table) == {"lag", "a", "b"}
    assert len(lags.table["a"]) == 12
    assert set(lyapunov.table) == {"a", "b"}
    assert "a: " in lags.found
    assert "b: " in lags.found


def test_short_sequences_have_no_exponents() -> None:
    assert [each.name for each in figures_of_layers({"a": watched(cells.gru, 4)})] == [
        "gradient_by_lag", "gradient_flow",
    ]  # fmt: skip


def test_a_layer_that_is_called_twice_is_refused() -> None:
    once = watched(cells.gru)
    with pytest.raises(ValueError, match=r"calls .* once is needed, and it is called 2 times"):
        Watched(layer=once.layer, loss=lambda: once.loss() + once.loss()).check()


@pytest.mark.medium
def test_fresh_cells_are_on_the_same_data(monkeypatch: pytest.MonkeyPatch) -> None:
    report = report_of_cells([cells.rnn, cells.lstm], steps=15, hidden_size=6, batch_size=2)
    assert report.columns == ["rnn", "lstm"]
    [lags, *_] = report.figures
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(15, 2, 16, generator=generator)
    flows = compare_flows(["rnn", "lstm"], x, 6, seed=1)
    for name, flow in flows.items():
        torch.testing.assert_close(
            torch.from_numpy(lags.table[name]), torch.from_numpy(flow.by_lag(0)), equal_nan=True
        )


def test_a_stack_has_its_last_layer_drawn() -> None:
    torch.manual_seed(0)
    layer = Recurrent(cells.gru, 3, 4, num_layers=2, bidirectional=True, backend="reference")
    assert isinstance(layer, CellStack)
    x = torch.randn(8, 2, 3)
    figures = figures_of_layers(
        {"two": Watched(layer=layer, loss=lambda: layer(x)[0].square().sum())}
    )
    assert len(figures) == 4


def test_large_states_have_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(through_time, "_MOST_MULTIPLIED", 3)
    names = [each.name for each in figures_of_layers({"a": watched(cells.gru)})]
    assert names == ["gradient_by_lag", "gradient_flow", "lyapunov"]


@pytest.mark.medium
def test_of_long_sequences_the_losses_that_there_are_count() -> None:
    torch.manual_seed(0)
    layer = Recurrent(cells.rnn, 3, 4, backend="reference")
    x, lengths = torch.randn(110, 2, 3), torch.tensor([110, 104])

    def loss() -> torch.Tensor:
        y, _ = layer(x, lengths=lengths)
        return y[lengths - 1, torch.arange(2)].sum()

    lags, *_ = figures_of_layers({"a": Watched(layer=layer, loss=loss)})
    flow = gradient_flow_of_loss(layer, loss)
    assert flow.losses.tolist() == [103, 109]
    np.testing.assert_array_equal(lags.table["a"], flow.by_lag(0))
