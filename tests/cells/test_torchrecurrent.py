"""Our cells against torchrecurrent's, with the same weights: an oracle that is not ours.

Where the two differ, the test says in what and which of them the paper has.
"""

import pytest
import torch
from benchmarks.grid import Job, Shape
from benchmarks.oracle import Results
from benchmarks.peers import torchrecurrent_layers as theirs
from torch import Tensor, nn

import recurra as rc
from recurra import cells
from recurra.lang import Cell, cell, replace, sigmoid, tanh

torchrecurrent = pytest.importorskip("torchrecurrent", reason="torchrecurrent is not installed")

# Their layers that the table does not have; each is compared in a test of its own. Their RHN is not
# among them: in 0.2.5 its module cannot be imported.
_SPECIAL = {"LEM", "SCRN"}


def job_of(cell: Cell, *, same_sizes: bool = False) -> tuple[rc.Recurrent, Job]:
    shape = Shape(7, 3, 6 if same_sizes else 5, 6)
    sizes = dict.fromkeys(set(cell.size_names) - {"I", "H"}, shape.H)
    layer = rc.Recurrent(cell, shape.I, shape.H, sizes=sizes, backend="reference").double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(0.5 * torch.randn_like(parameter))
    return layer, Job(shape).to(torch.float64)


def ours(layer: rc.Recurrent, job: Job) -> Results:
    return {name.removesuffix("_l0"): value for name, value in job.results(layer).items()}


def assert_same(found: Results, expected: Results) -> None:
    assert found.keys() == expected.keys()
    for name, value in found.items():
        error = (value.reshape(expected[name].shape) - expected[name]).norm()
        # float64, but torch's derivative of hardsigmoid has 1/6 in float32
        assert error <= 1e-7 * expected[name].norm(), name


def copy_into(layer: nn.Module, values: dict[str, Tensor]) -> None:
    """Fill parameters of a layer by name; all the others with zeros."""
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            parameter.copy_(values[name]) if name in values else parameter.zero_()


@pytest.mark.parametrize("name", theirs.PEERS)
def test_output_and_gradients_are_torchrecurrents(name: str) -> None:
    torch.manual_seed(1)
    layer, job = job_of(theirs.cell(name), same_sizes=theirs.PEERS[name].same_sizes)
    peer = theirs.build(name, layer.parameters_of(0), job.shape.I, job.shape.H)
    assert_same(theirs.results(name, peer, job), ours(layer, job))


def test_every_layer_of_torchrecurrent_is_compared() -> None:
    layers = {
        name
        for name, value in vars(torchrecurrent).items()
        if isinstance(value, type) and issubclass(value, nn.Module) and not name.endswith("Cell")
    }
    assert layers - {peer.layer for peer in theirs.PEERS.values()} == _SPECIAL


def test_lem_reads_the_new_memory() -> None:
    """In eq. (3) of the paper y_n reads z_n, as ours does; in torchrecurrent it reads z_{n-1}."""
    old_memory = replace(
        cells.lem,
        "lem_of_the_old_memory",
        h=lambda v: (
            (1 - v.slow) * v.old("h") + v.slow * tanh(v.W_xh @ v.x + v.W_ch @ v.old("c") + v.b_h)
        ),
    )
    torch.manual_seed(2)
    layer, job = job_of(old_memory)
    p = layer.parameters_of(0)
    peer = torchrecurrent.LEM(5, 6, recurrent_bias=False, cell_bias=False).double()
    values = {
        # theirs scales y by its first gate and z by its second
        "cells.0.weight_ih": torch.cat([p["W_xe"], p["W_xd"], p["W_xc"], p["W_xh"]]),
        "cells.0.weight_hh": torch.cat([p["W_he"], p["W_hd"], p["W_hc"]]),
        "cells.0.weight_ch": p["W_ch"],
        "cells.0.bias_ih": torch.cat([p["b_e"], p["b_d"], p["b_c"], p["b_h"]]),
    }
    copy_into(peer, values)
    torch.testing.assert_close(job.forward(peer), job.forward(layer))

    paper, _ = job_of(cells.lem)
    paper.load_state_dict(layer.state_dict())
    assert not torch.allclose(job.forward(peer), job.forward(paper))


@cell(state=("y", "s"), init={"alpha": 0.5}, sizes={"alpha": "1", "s": "C", "A": ("H", "I")})
def scrn_that_feeds_its_output_back(x, y, s, B, A, P, R, U, V, alpha):
    s = (1 - alpha) * (B @ x) + alpha * s
    h = sigmoid(P @ s + A @ x + R @ y)
    return tanh(U @ h + V @ s), s


def test_scrn_feeds_back_its_hidden_units() -> None:
    """Eq. (4) of the paper has R h_{t-1}; torchrecurrent feeds back what eq. (5) makes of h.

    It also learns alpha, which the paper fixes at 0.95. Ours is the paper's.
    """
    torch.manual_seed(3)
    layer, job = job_of(scrn_that_feeds_its_output_back)
    p = layer.parameters_of(0)
    peer = torchrecurrent.SCRN(5, 6, recurrent_bias=False, context_bias=False).double()
    values = {
        "cells.0.weight_ih": torch.cat([p["B"], p["A"]]),
        "cells.0.weight_hh": torch.cat([p["R"], p["U"]]),
        "cells.0.weight_ch": torch.cat([p["P"], p["V"]]),
        "cells.0.alpha": p["alpha"],
    }
    copy_into(peer, values)
    torch.testing.assert_close(job.forward(peer), job.forward(layer))
