"""Every tensor that recurra makes says its dtype and device: torch's defaults are the user's."""

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

import recurra as rc
from recurra import cells, compose
from recurra.decoding import Sampler, generate
from recurra.lang import Cell
from recurra.nn.dropout import chosen

SOURCE = Path(rc.__file__).parent
MAKERS = {"empty", "zeros", "ones", "full", "rand", "randn", "randint", "randperm", "arange", "eye"}
MAKERS |= {
    "linspace",
    "logspace",
    "tensor",
    "scalar_tensor",
    "empty_strided",
    "bernoulli",
    "normal",
}
MODULES = {"Linear", "Embedding"}
MOVERS = {"as_tensor"}  # which keep the dtype that they are given


def unsaid(source: Path) -> Iterator[str]:
    """Every call that makes a tensor without saying its dtype and device."""
    for file in sorted(source.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            owner, name = getattr(node.func.value, "id", ""), node.func.attr
            said = {keyword.arg for keyword in node.keywords}
            if (owner == "torch" and name in MAKERS) or (owner == "nn" and name in MODULES):
                wanted = {"dtype", "device"}
            elif owner == "torch" and name in MOVERS:
                wanted = {"device"}
            else:
                continue
            if not wanted <= said:
                yield f"{file.relative_to(source)}:{node.lineno} {ast.unparse(node)}"


def test_every_new_tensor_says_its_dtype_and_device() -> None:
    assert list(unsaid(SOURCE)) == []


def test_what_is_unsaid_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(
        "x = torch.zeros(3)\ny = torch.ones(2, dtype=f)\nz = torch.eye(2, dtype=f, device=d)\n"
        "t = torch.as_tensor(a)\nl = nn.Linear(3, 4)\n"
    )
    assert [line.split()[0] for line in unsaid(tmp_path)] == [
        "a.py:1",
        "a.py:2",
        "a.py:4",
        "a.py:5",
    ]


# ---- what runs under other defaults --------------------------------------------------------------

DEFAULTS = ["float16", "bfloat16", "float64", "meta"]


class under:  # noqa: N801
    """torch's default dtype, or its default device."""

    def __init__(self, name: str) -> None:
        self.device = torch.device(name) if name == "meta" else None
        self.dtype = None if name == "meta" else getattr(torch, name)

    def __enter__(self) -> None:
        self.before = torch.get_default_dtype()
        if self.dtype is not None:
            torch.set_default_dtype(self.dtype)
        if self.device is not None:
            self.device.__enter__()

    def __exit__(self, *error: object) -> None:
        if self.device is not None:
            self.device.__exit__(*error)  # type: ignore[arg-type]
        torch.set_default_dtype(self.before)


CELLS: dict[str, Callable[[], Cell]] = {
    "gru": lambda: cells.gru,
    "zoneout": lambda: compose.zoneout(cells.lstm, 0.3),
    "recurrent_dropout": lambda: compose.recurrent_dropout(cells.lstm, 0.3),
    "variational_dropout": lambda: compose.variational_dropout(cells.gru, 0.3),
    "weight_drop": lambda: compose.weight_drop(cells.lstm, 0.3),
}


@pytest.mark.medium
@pytest.mark.parametrize("default", DEFAULTS)
@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("kind", CELLS)
def test_layer_runs_alike_under_any_default(kind: str, backend: str, default: str) -> None:
    """Forward, backward, random masks, lengths as a list, and dropout between layers."""
    layer = rc.Recurrent(CELLS[kind](), 3, 4, num_layers=2, dropout=0.2, backend=backend).train()
    x = torch.randn(5, 2, 3)

    def run() -> list[torch.Tensor]:
        torch.manual_seed(1)
        layer.zero_grad()
        y, _ = layer(x, lengths=[5, 3])
        y.square().sum().backward()
        return [y.detach(), *(p.grad for p in layer.parameters() if p.grad is not None)]

    want = run()
    with under(default):
        found = run()
    assert len(found) == len(want)
    for a, b in zip(found, want, strict=True):
        assert a.dtype is torch.float32
        torch.testing.assert_close(a, b, rtol=0, atol=0)


@pytest.mark.parametrize("default", DEFAULTS)
def test_streams_and_generation_run_alike_under_any_default(default: str) -> None:
    model = rc.LanguageModel(50, hidden_size=8).eval()
    layer, x = rc.LSTM(3, 4), torch.randn(2, 3)
    ids = torch.tensor([1, 2])
    embedding = torch.randn(9, 3)

    def run() -> tuple[torch.Tensor, torch.Tensor, list[int], list[int]]:
        text = generate(
            model, [], 30, sampler=Sampler(temperature=1.0), start_id=1,
            generator=torch.Generator().manual_seed(3),
        )  # fmt: skip
        stream = layer.stream(2, embedding=embedding)
        greedy = generate(model, [1, 2], 10, sampler=Sampler(temperature=0.0))
        return layer.stream(2)(x), stream(ids), list(text), list(greedy)

    want = run()
    with under(default):
        found = run()
    assert found[2:] == want[2:]
    for a, b in zip(found[:2], want[:2], strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_mask_is_where_the_layer_is() -> None:
    with torch.device("meta"):
        mask = chosen((3, 4), 0.5, torch.empty(0, device="cpu", dtype=torch.float32))
    assert mask.device.type == "cpu"


def test_cell_without_parameters_has_the_dtype_that_was_asked_for() -> None:
    @rc.cell(state="h", sizes={"x": "H"})
    def leaky(x, h):  # type: ignore[no-untyped-def]
        return 0.5 * h + 0.5 * x

    layer = rc.Recurrent(leaky, 4, 4, dtype=torch.float64)
    y, h = layer(torch.randn(5, 2, 4, dtype=torch.float64))
    assert (y.dtype, h.dtype) == (torch.float64, torch.float64)
    assert not layer.state_dict()
    with under("bfloat16"):
        assert layer.float().home.dtype is torch.float32
