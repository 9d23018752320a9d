"""Gradient flow and spectra are drawn without a warning, on one scale where they are compared."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch

import recurra as rc

pytest.importorskip("matplotlib", reason="matplotlib is not installed")

from matplotlib.figure import Figure

from recurra.insight import dynamics_figures, flow_figures, report, spectrum_figures, style
from recurra.insight.gradient_flow import compare_flows, gradient_flow
from recurra.insight.jacobians import jacobian_products, jacobian_spectra
from recurra.insight.lyapunov import lyapunov_spectrum
from recurra.insight.partials import immediate_partials
from recurra.insight.power import power_method
from recurra.insight.vanishing import counterexample, vanishing


def layer_and_input() -> tuple[rc.Recurrent, torch.Tensor]:
    torch.manual_seed(0)
    layer = rc.Recurrent("lstm", 3, 4, dtype=torch.float64, backend="reference")
    return layer, torch.randn(12, 2, 3, dtype=torch.float64)


def rendered(figure: Figure) -> str:
    file = io.StringIO()
    figure.savefig(file, format="svg")
    return file.getvalue()


@pytest.mark.medium
def test_triangles_of_several_cells_share_one_scale() -> None:
    flows = compare_flows(
        ["rnn", "lstm"], torch.randn(10, 2, 3, dtype=torch.float64), 4, backend="reference"
    )
    with style.styled():
        figure = Figure(figsize=(style.WIDE, 3))
        flow_figures.draw_triangles(flows, figure)
        rendered(figure)
    images = [image for ax in figure.axes for image in ax.images]
    assert len(images) == 3  # h of the one, h and c of the other
    assert len({image.get_clim() for image in images}) == 1
    titles = [ax.get_title("left") for ax in figure.axes]
    assert titles[:3] == ["rnn", "lstm: h", "lstm: c"]


def test_lines_by_lag_begin_at_one() -> None:
    layer, x = layer_and_input()
    with style.styled():
        ax = Figure(figsize=(style.NARROW, 3)).subplots()
        flow_figures.draw_by_lag({"lstm": gradient_flow(layer, x)}, ax)
    (line,) = ax.get_lines()
    assert line.get_ydata()[0] == pytest.approx(1.0)
    assert line.get_xdata()[0] == 1


def test_panels_that_share_an_axis_hold_the_lines_of_both() -> None:
    layer, x = layer_and_input()
    flow = gradient_flow(layer, x)
    less = replace(flow, joint=flow.joint * 1e-6 ** np.arange(12))  # of late steps
    with style.styled():
        axes = Figure(figsize=(style.WIDE, 3)).subplots(1, 2, sharey=True)
        for ax, own in zip(axes, (flow, less), strict=True):
            flow_figures.draw_by_lag({"lstm": own}, ax, relative=False, least=1e-200)
    low, high = axes[0].get_ylim()
    for ax in axes:
        drawn = ax.get_lines()[0].get_ydata()
        assert low <= np.nanmin(drawn) <= np.nanmax(drawn) <= high


@pytest.mark.medium
def test_a_gradient_that_is_nothing_is_drawn_as_nothing() -> None:
    layer, x = layer_and_input()
    flow = gradient_flow(layer, x, torch.zeros(12, 2, 4, dtype=torch.float64))
    assert flow_figures.scale([flow]) == (-1.0, 0.0)
    with style.styled():
        figure = Figure(figsize=(style.NARROW, 3))
        flow_figures.draw_triangles({"lstm": flow}, figure)
        rendered(figure)


@pytest.mark.medium
def test_everything_is_drawn() -> None:
    layer, x = layer_and_input()
    spectra = jacobian_spectra(layer, x)
    cases = counterexample(hidden_size=6, steps=12)
    with style.styled():
        figure = Figure(figsize=(style.WIDE, 3))
        axes = style.panels(figure, 8)
        flow_figures.draw_partials(immediate_partials(layer, x), axes[0])
        spectrum_figures.draw_singular_values(spectra, axes[1])
        spectrum_figures.draw_eigenvalues(spectra, axes[2])
        spectrum_figures.draw_products(jacobian_products(layer, x), axes[3])
        spectrum_figures.draw_lyapunov({"lstm": lyapunov_spectrum(layer, x)}, axes[4])
        spectrum_figures.draw_counterexample(
            {"near zero": cases.exploding, "saturated": cases.saturated}, axes[5:7]
        )
        spectrum_figures.draw_power_method(
            power_method(torch.eye(3, dtype=torch.float64) * 0.5, 10), axes[7]
        )
        rendered(figure)
    assert all(ax.has_data() for ax in axes)
    assert axes[5].get_ylim() == axes[6].get_ylim()


def test_scales_reach_down_to_the_least_that_is_drawn() -> None:
    layer, x = layer_and_input()
    flow = gradient_flow(layer, x)
    low, high = flow_figures.scale([flow], least=1e-2)
    assert 1 <= high - low <= 2


# ---- of a report ---------------------------------------------------------------------------------


def drawn(figure: report.Figure, width: float) -> None:
    with style.styled():
        on = Figure(figsize=(width, 3))
        assert figure.draw is not None
        figure.draw(on)
        rendered(on)
    assert figure.csv()


@pytest.mark.medium
@pytest.mark.parametrize("width", [style.WIDE, style.NARROW])
def test_figures_of_a_report_are_drawn_wide_and_narrow(width: float) -> None:
    layer, x = layer_and_input()
    flows = {"lstm": gradient_flow(layer, x)}
    cases = counterexample(hidden_size=6, steps=12)
    for figure in (
        dynamics_figures.figure_of_flow(flows),
        dynamics_figures.figure_of_lags(flows),
        dynamics_figures.figure_of_lyapunov({"lstm": lyapunov_spectrum(layer, x)}),
        dynamics_figures.figure_of_vanishing(
            {"near zero": cases.exploding, "saturated": cases.saturated}
        ),
    ):
        drawn(figure, width)


def test_what_was_found_is_said_in_numbers() -> None:
    layer, x = layer_and_input()
    flow = gradient_flow(layer, x)
    lags = flow.by_lag()
    found = dynamics_figures.figure_of_lags({"lstm": flow}).found
    left = f"{lags[11] / lags[1]:.2g}"
    assert found == f"lstm: {left} of the gradient at lag 1 is left at lag 11."
    found = dynamics_figures.figure_of_flow({"lstm": flow}).found
    below = [lag for lag in range(1, 12) if lags[lag] < 0.01 * lags[1]]
    where = f"is left from lag {below[0]} on." if below else "is left at lag 11."
    assert found.endswith(where)
    none = gradient_flow(layer, x, torch.zeros(12, 2, 4, dtype=torch.float64))
    found = dynamics_figures.figure_of_flow({"lstm": none}).found
    assert found == "lstm: nothing reaches earlier steps."


def test_sequences_of_several_lengths_are_drawn() -> None:
    layer = rc.Recurrent("rnn", 3, 4, dtype=torch.float64, backend="reference")
    x, lengths = torch.randn(7, 2, 3, dtype=torch.float64), [6, 3]
    found = vanishing(layer, x, lengths=lengths)
    figure = dynamics_figures.figure_of_vanishing({"rnn": found})
    assert all(np.isfinite(each).all() for each in figure.table.values())
    axes = Figure().subplots(4)
    spectrum_figures.draw_vanishing(found, axes[0])
    spectrum_figures.draw_singular_values(jacobian_spectra(layer, x, lengths=lengths), axes[1])
    spectrum_figures.draw_eigenvalues(jacobian_spectra(layer, x, lengths=lengths), axes[2])
    spectrum_figures.draw_products(jacobian_products(layer, x, lengths=lengths), axes[3])
    (largest,) = (line for line in axes[3].get_lines() if line.get_label() == "largest")
    assert np.isfinite(largest.get_ydata()).all()
