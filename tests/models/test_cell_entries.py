"""A model's cell in its config: a cell of the user's own comes back, and code of nobody's runs."""

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest
import torch

import recurra as rc
from recurra import compose
from recurra.compose.spelling import resolved
from recurra.errors import CheckpointError
from recurra.lang import Cell, tanh
from recurra.models.cell_entries import cell_config, cell_of

V = 7

MINE = """
from pathlib import Path
import recurra as rc
from recurra.lang import tanh

with open(Path(__file__).with_name("runs"), "a") as file:
    file.write("once ")


@rc.cell(init={"b": "chrono40"})
def mine(x, h, W, U, b, rate=0.5):
    return (1 - rate) * h + rate * tanh(W @ x + U @ h + b)
"""


@rc.cell
def own_cell(x, h, W_xh, W_hh, slope=0.5):
    """A cell that is not in the registry, with a constant."""
    return tanh(slope * (W_xh @ x + W_hh @ h))


@pytest.fixture(autouse=True)
def _fast_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def small(cell: Cell | str) -> rc.LanguageModel:
    return rc.LanguageModel(V, embedding_size=4, hidden_size=4, cell=cell)


def config_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "config.json").read_text())


def edit(folder: Path, **changes: Any) -> None:
    config = config_of(folder)
    config["model"] = {k: v for k, v in {**config["model"], **changes}.items() if v != "gone"}
    (folder / "config.json").write_text(json.dumps(config))


def same_predictions(ours: torch.nn.Module, theirs: torch.nn.Module) -> None:
    ids = torch.arange(V).unsqueeze(1)
    assert torch.equal(ours(ids)[0], theirs(ids)[0])


@pytest.mark.medium
def test_a_cell_of_a_file_comes_back_where_the_file_is_gone(tmp_path: Path) -> None:
    file, saved = tmp_path / "my cells.py", tmp_path / "model"
    file.write_text(MINE)
    model = small(f"zoneout({file}:mine, 0.2):U=orthogonal").eval()
    model.save(saved)
    file.unlink()
    loaded = rc.load(saved)
    assert (tmp_path / "runs").read_text() == "once "
    same_predictions(loaded, model)
    assert str(loaded.recurrent.cell) == str(model.recurrent.cell)
    assert loaded.recurrent.cell.masks == model.recurrent.cell.masks
    assert loaded.recurrent.cell.init == {"b": "chrono40", "U": "orthogonal"}
    loaded.save(tmp_path / "again")
    assert config_of(tmp_path / "again")["model"]["graph"] == config_of(saved)["model"]["graph"]
    torch.manual_seed(0)
    loaded.train()(torch.arange(V).unsqueeze(1))[0].sum().backward()
    loaded.recurrent.reset_parameters()


def test_a_config_names_no_file_and_no_module(tmp_path: Path) -> None:
    file = tmp_path / "evil.py"
    file.write_text(MINE)
    small(own_cell).save(tmp_path)
    for name in (f"{file}:mine", "evil:mine", f"zoneout({file}:mine)", "layer_norm(lstm)"):
        for graph in ("gone", None, config_of(tmp_path)["model"].get("graph")):
            edit(tmp_path, cell=name, graph=graph, equations=None)
            with pytest.raises(CheckpointError) as caught:
                rc.load(tmp_path)
            assert "\n" not in str(caught.value)
            made = {"composer": "zoneout", "options": {}, "of": {"cell": name, "equations": None}}
            edit(tmp_path, composed=made)
            with pytest.raises(CheckpointError):
                rc.load(tmp_path)
            edit(tmp_path, composed="gone")
    assert not (tmp_path / "runs").exists()


class Spelling(rc.LanguageModel):
    """A model with an argument more that names a cell."""

    def __init__(self, vocab_size: int, *, other: str = "gru", **options: Any) -> None:
        super().__init__(vocab_size, **options)
        self.other = resolved("Spelling", other)

    @property
    def config(self) -> dict[str, Any]:
        return {**super().config, "other": "gru"}


def test_no_argument_of_a_model_runs_a_file_that_a_config_names(tmp_path: Path) -> None:
    (tmp_path / "evil.py").write_text(MINE)
    Spelling(V, embedding_size=4, hidden_size=4).save(tmp_path)
    rc.load(tmp_path)
    for name in (f"{tmp_path}/evil.py:mine", f"zoneout({tmp_path}/evil.py:mine)", "evil:mine"):
        edit(tmp_path, other=name)
        with pytest.raises(CheckpointError, match="Nothing that a folder names is run"):
            rc.load(tmp_path)
    assert not (tmp_path / "runs").exists()


@pytest.mark.medium
def test_the_cell_that_is_given_must_be_the_saved_one(tmp_path: Path) -> None:
    model = small(own_cell.with_constants(slope=2.0)).eval()
    model.save(tmp_path)
    for given in (None, own_cell, own_cell.with_constants(slope=2.0), rc.load(tmp_path)):
        cell = given.recurrent.cell if isinstance(given, rc.LanguageModel) else given
        same_predictions(rc.load(tmp_path, cell=cell), model)
    with pytest.raises(CheckpointError, match=r"a model of cell 'own_cell', not 'gru'"):
        rc.load(tmp_path, cell="gru")

    @rc.cell
    def other(x, h, W_xh, W_hh, slope=0.5):
        return tanh(slope * (W_hh @ h + W_xh @ x))

    other.function.__name__ = "own_cell"
    given = Cell(other.function, other.options)
    with pytest.raises(CheckpointError, match=r"with other equations than.*Leave cell= out"):
        rc.load(tmp_path, cell=given)


def test_a_config_without_the_graph_asks_for_the_cell(tmp_path: Path) -> None:
    """As version 0.1 first wrote it, and as a cell too long for a document is written."""
    model = small(own_cell.with_constants(slope=2.0)).eval()
    model.save(tmp_path)
    for graph in ("gone", None):
        edit(tmp_path, graph=graph)
        with pytest.raises(CheckpointError, match=r"'own_cell'. Pass it: load\(folder, ce") as e:
            rc.load(tmp_path)
        assert str(own_cell).splitlines()[0] in str(e.value)
        same_predictions(rc.load(tmp_path, cell=own_cell), model)


def test_a_cell_too_long_for_a_document_is_saved_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recurra.lang.document.MAX_STEPS", 2)
    assert cell_config(own_cell)["graph"] is None


@pytest.mark.parametrize(
    "spelled", ["lstm:b_f=3", "zoneout(gru:b_r=2, 0.1):b_z=chrono9", "taugru(delay=3)"]
)
def test_registered_cells_keep_what_was_changed(spelled: str) -> None:
    cell = compose.spelling.cell_of_spelling(spelled)
    written = json.loads(json.dumps(cell_config(cell)))
    assert (written["equations"], written.get("graph")) == (None, None)
    back = cell_of(written, None)
    assert written == {}
    assert (str(back), back.init, back.constants) == (str(cell), cell.init, cell.constants)


# ---- folders from elsewhere ----------------------------------------------------------------------


def wild(rng: random.Random, depth: int = 0) -> Any:
    """A value of any kind."""
    kind = rng.randrange(9 if depth < 3 else 7)
    if kind < 7:
        return rng.choice(
            (None, True, -1, 2**70, 1e308, "", "x", "%0", "W_xh", "add %0 %0", "matvec W_xh x")
        )
    if kind == 7:
        return [wild(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {rng.choice(("x", "h", "output", "%0")): wild(rng, depth + 1) for _ in range(3)}


@pytest.mark.medium
def test_no_damage_to_a_graph_gives_anything_but_one_line(tmp_path: Path) -> None:
    """Wherever an entry of the graph is another, the folder loads as it was or is refused."""
    model = small(own_cell).eval()
    model.save(tmp_path)
    graph = config_of(tmp_path)["model"]["graph"]
    rng = random.Random(0)
    said = []
    for turn in range(150):
        damaged = json.loads(json.dumps(graph))
        entry = rng.choice(list(damaged))
        inside = damaged[entry]
        if inside and isinstance(inside, list | dict) and turn % 3:
            places = list(inside) if isinstance(inside, dict) else range(len(inside))
            inside[rng.choice(list(places))] = wild(rng)
        else:
            damaged[entry] = wild(rng)
        edit(tmp_path, graph=damaged)
        try:
            loaded = rc.load(tmp_path)
        except CheckpointError as error:
            said.append(str(error))
        else:
            same_predictions(loaded, model)
    assert len(said) > 100
    assert not any("\n" in line for line in said)


@pytest.mark.medium
@pytest.mark.parametrize(
    "graph",
    [
        {"steps": ["mul W_xh W_xh", *(f"mul %{i} %{i}" for i in range(4_500))]},
        {"steps": ["x" * 10_000] * 10_000},
        {"leaves": [f"parameter p{i} {2**24}H {2**24}H" for i in range(1_000)]},
        {"equations": "import os"},
    ],
)
def test_huge_graphs_are_refused(tmp_path: Path, graph: dict[str, Any]) -> None:
    small(own_cell).save(tmp_path)
    edit(tmp_path, graph={**config_of(tmp_path)["model"]["graph"], **graph})
    with pytest.raises(CheckpointError) as caught:
        rc.load(tmp_path)
    assert "\n" not in str(caught.value)
