"""What a layer on a GPU shows of itself is what the same layer shows on the CPU."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import recurra as rc
from recurra.insight import (
    Plane,
    find_fixed_points,
    gradient_flow,
    immediate_partials,
    jacobian_products,
    jacobian_spectra,
    lyapunov_spectrum,
    states_seen,
    vanishing,
)
from recurra.insight.step import OneStep

pytestmark = pytest.mark.gpu

T, B, IN, H = 9, 3, 4, 5


def twins(cell: str, **options: Any) -> tuple[rc.Recurrent, rc.Recurrent, Tensor]:
    """A layer on the GPU, the same on the CPU, and an input."""
    torch.manual_seed(0)
    here = rc.Recurrent(cell, IN, H, dtype=torch.float64, backend="reference", **options).eval()
    there = rc.Recurrent(cell, IN, H, dtype=torch.float64, **options).eval()
    there.load_state_dict(here.state_dict())
    return there.cuda(), here, torch.randn(T, B, IN, dtype=torch.float64)


def fields(found: Any) -> dict[str, np.ndarray]:
    """Every array of numbers of a dataclass."""
    known = {name: getattr(found, name) for name in found.__dataclass_fields__}
    arrays = {
        name: value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
        for name, value in known.items()
        if isinstance(value, (Tensor, np.ndarray))
    }
    return {name: value for name, value in arrays.items() if value.dtype.kind in "fc"}


LOOKS: dict[str, Callable[[rc.Recurrent, Tensor], Any]] = {
    "gradient flow": gradient_flow,
    "partials": immediate_partials,
    "spectra": jacobian_spectra,
    "products": jacobian_products,
    "exponents": lyapunov_spectrum,
    "vanishing": vanishing,
}


@pytest.mark.parametrize("name", LOOKS)
@pytest.mark.parametrize("cell", ["rnn", "lstm", "mut1"])
def test_numbers_are_those_of_the_cpu(cell: str, name: str) -> None:
    there, here, x = twins(cell)
    if name == "vanishing" and cell != "rnn":
        pytest.skip("the theorem is of a network of one product")
    found, expected = fields(LOOKS[name](there, x.cuda())), fields(LOOKS[name](here, x))
    assert found.keys() == expected.keys()
    assert found
    for field, value in expected.items():
        # what is 1e-15 of the largest singular value is rounding, which its logarithm shows
        of = np.exp if field.startswith("log") else np.asarray
        np.testing.assert_allclose(of(found[field]), of(value), rtol=1e-6, atol=1e-9, err_msg=field)


def test_values_are_traced_and_replaced() -> None:
    there, here, x = twins("lstm", num_layers=2, bidirectional=True)
    found, expected = (
        rc.trace(layer, given, lengths=[T, 4, 1]) for layer, given in ((there, x.cuda()), (here, x))
    )
    assert found.names() == expected.names()
    for name in expected.layer(1, reverse=True).names():
        value = found.layer(1, reverse=True)[name]
        assert value.is_cuda
        torch.testing.assert_close(value.cpu(), expected.layer(1, reverse=True)[name])
    changed, held = rc.intervene(there, x.cuda(), f=1.0), rc.intervene(here, x, f=1.0)
    torch.testing.assert_close(changed[0].cpu(), held[0])


def test_fixed_points() -> None:
    there, here, x = twins("gru")
    seen, known = states_seen(OneStep(there), x.cuda()), states_seen(OneStep(here), x)
    torch.testing.assert_close(seen.cpu(), known)
    found = find_fixed_points(OneStep(there), seen)
    expected = fields(find_fixed_points(OneStep(here), known))
    assert expected
    for field, value in expected.items():
        np.testing.assert_allclose(fields(found)[field], value, rtol=1e-4, atol=1e-6)


def test_a_plane_around_a_model() -> None:
    there, here, x = twins("gru")

    def loss_of(moved: Tensor) -> Callable[[nn.Module], Tensor]:
        return lambda layer: layer(moved)[0].square().mean()

    found = Plane(there, loss_of(x.cuda())).surface(span=0.5, points=3)
    expected = Plane(here, loss_of(x)).surface(span=0.5, points=3)
    np.testing.assert_allclose(found.loss, expected.loss, rtol=1e-6)


def test_a_run_trained_there_has_its_report(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    text = tmp_path / "text.txt"
    text.write_text("to be or not to be, that is the question\n" * 120)
    run = rc.train(
        "lm",
        data=str(text),
        out=str(tmp_path / "run"),
        hidden_size=16,
        batch_size=4,
        bptt=16,
        max_steps=12,
        floss=4,
        floss_every=4,
        clip_percentile=50.0,
        view=None,
        device="cuda",
    )
    assert (tmp_path / "run" / "report.html").is_file()
    report = run.report()
    assert "memory" in {figure.name for figure in report.figures}
    report.write(tmp_path / "whole.html")
