"""Cells by their spelling: what stands where a name goes."""

import os
import pickle
import sys
from pathlib import Path

import pytest
import torch

import recurra as rc
from recurra import cells, compose
from recurra.compose.spelling import COMPOSERS, cell_of_spelling, resolved, split_spellings
from recurra.compose.syntax import Called, Kept, Named, parse
from recurra.errors import CellError

MINE = """
import recurra as rc
from helpers import shift
from recurra.lang import tanh

runs = globals().get("runs", 0) + 1


@rc.cell(init={"b": "chrono400"})
def mine(x, h, W, U, b):
    return tanh(W @ x + U @ h + b + shift)


composed = rc.compose.zoneout(mine, 0.2)
number = 3


def plain(x, h):
    return h
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    folder = tmp_path / "my cells (1)"
    folder.mkdir()
    (folder / "helpers.py").write_text("shift = 0.5\n")
    file = folder / "bob's.py"
    file.write_text(MINE)
    return file


# ---- the language --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("lstm", Named(name="lstm")),
        (" lstm ", Named(name="lstm")),
        ("taugru(delay=5)", Called(name="taugru", of=None, args=(), options={"delay": 5})),
        ("a b/my cells.py:mine", Kept(origin="a b/my cells.py", name="mine", is_file=True)),
        (r"C:\cells\my.py:mine", Kept(origin=r"C:\cells\my.py", name="mine", is_file=True)),
        ("'a,b(:.py':mine", Kept(origin="a,b(:.py", name="mine", is_file=True)),
        ("bob's/my.py:mine", Kept(origin="bob's/my.py", name="mine", is_file=True)),
        ("my.cells:mine", Kept(origin="my.cells", name="mine", is_file=False)),
    ],
)
def test_what_is_spelled(text: str, cell: object) -> None:
    assert parse(text).cell == cell
    assert parse(text).init == {}
    with_rules = parse(f"{text}:b_f=chrono400: b_i = -b_f")
    assert with_rules.cell == cell
    assert with_rules.init == {"b_f": "chrono400", "b_i": "-b_f"}


def test_options_are_read_and_not_evaluated() -> None:
    cell = parse("f(g(lstm:b_f=1), -0.5, 'a', None, p=True, q=[1, (2, -3e2)], r=\"x,y)\")").cell
    assert isinstance(cell, Called)
    assert cell.of is not None
    assert cell.of.text == "g(lstm:b_f=1)"
    assert cell.args == (-0.5, "a", None)
    assert cell.options == {"p": True, "q": [1, [2, -300.0]], "r": "x,y)"}


def test_a_list_of_cells() -> None:
    text = "lstm, zoneout(gru, 0.1),my.py:mine,peephole(lstm, 'c', gates=['i', 'f']),lstm:b_f=1"
    assert split_spellings(text) == [
        "lstm",
        "zoneout(gru, 0.1)",
        "my.py:mine",
        "peephole(lstm, 'c', gates=['i', 'f'])",
        "lstm:b_f=1",
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "expected cells with commas between them, got none"),
        ("lstm,,gru", "got an empty one"),
        ("lstm,gru,lstm", "expected each cell once, got lstm twice"),
        ("zoneout(lstm,gru", r"expected '\)' at the end of"),
    ],
)
def test_lists_that_are_none(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=f"^cells: .*{says}"):
        split_spellings(text)


# ---- what it stands for --------------------------------------------------------------------------


def test_a_name_is_the_registrys_own_cell() -> None:
    assert cell_of_spelling("lstm") is cells.lstm
    assert resolved("Recurrent", cells.lstm) is cells.lstm


@pytest.mark.parametrize("name", sorted(COMPOSERS))
def test_every_composer_can_be_spelled(name: str) -> None:
    more = {"replace": ("other",), "showing": ("f",)}.get(name, ())
    options = {"o": 1} if name == "replace" else {}
    said = ["lstm", *map(repr, more), *(f"{key}={value}" for key, value in options.items())]
    expected = getattr(compose, name)("lstm", *more, **options)
    assert str(cell_of_spelling(f"{name}({', '.join(said)})")) == str(expected)
    assert set(compose.__all__) == set(COMPOSERS)


def test_composers_take_their_options() -> None:
    made = cell_of_spelling("zoneout(layer_norm(lstm, each_product=True), 0.2, states=['c'])")
    normed = compose.layer_norm(cells.lstm, each_product=True)
    assert str(made) == str(compose.zoneout(normed, 0.2, ["c"]))
    assert {mask.rate for mask in made.masks.values()} == {0.2}


def test_constants_of_a_registered_cell() -> None:
    made = cell_of_spelling("taugru(delay=3)")
    assert made.equations.outputs == cells.get("taugru").with_constants(delay=3).equations.outputs


def test_rules_are_the_cells_own() -> None:
    made = cell_of_spelling("zoneout(lstm:b_o=2, 0.1):b_f=chrono50:b_i=-b_f")
    assert made.init == {"b_f": "chrono50", "b_i": "-b_f", "b_o": 2.0}
    assert cells.lstm.init == {"b_f": 1.0}
    layer = rc.Recurrent(made, 3, 8)
    assert torch.equal(layer.b_i_l0, -layer.b_f_l0)
    assert torch.equal(layer.b_o_l0, torch.full((8,), 2.0))
    again = pickle.loads(pickle.dumps(cell_of_spelling("lstm:b_f=3")))
    assert again.init == {"b_f": 3.0}
    assert pickle.loads(pickle.dumps(made)).init == made.init


@pytest.mark.medium
@pytest.mark.parametrize("spelled", ["zoneout(lstm, 0.1)", "layer_norm(gru)", "gru:b_r=1"])
def test_layers_and_models_take_a_spelling(spelled: str) -> None:
    layer = rc.Recurrent(spelled, 3, 4)
    assert layer(torch.randn(2, 1, 3))[0].shape == (2, 1, 4)
    model = rc.LanguageModel(5, embedding_size=3, hidden_size=4, cell=spelled)
    assert str(model.recurrent.cell) == str(layer.cell)


# ---- a cell of the user's own --------------------------------------------------------------------


def test_a_file_and_a_module(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = cell_of_spelling(f"{mine}:mine")
    assert (found.name, found.init) == ("mine", {"b": "chrono400"})
    assert cell_of_spelling(f"zoneout({mine}:mine, 0.2)").name == "zoneout_mine"
    assert cell_of_spelling(f"{mine}:composed").name == "zoneout_mine"
    monkeypatch.chdir(mine.parent)
    assert cell_of_spelling("bob's.py:mine") is found
    mine.rename("cells_of_bob.py")
    path = list(sys.path)
    assert cell_of_spelling("cells_of_bob:mine").name == "mine"
    assert sys.path == path
    del sys.modules["cells_of_bob"], sys.modules["helpers"]


def test_a_file_runs_once_until_it_changes(mine: Path) -> None:
    first = cell_of_spelling(f"{mine}:mine")
    assert cell_of_spelling(f"{mine}:mine") is first
    modules = set(sys.modules)
    mine.write_text(MINE.replace("0.2", "0.25"))
    assert cell_of_spelling(f"{mine}:mine") is not first
    assert set(sys.modules) == modules
    assert sorted(p.name for p in mine.parent.iterdir() if p.name != "__pycache__") == [
        "bob's.py",
        "helpers.py",
    ]


def test_errors_in_a_file_are_the_users_own_lines(tmp_path: Path) -> None:
    file = tmp_path / "wrong.py"
    for text, says in [
        ("x = 1\ny = undefined\n", "NameError: name 'undefined' is not defined at line 2 of "),
        ("x = 1\n\nx = = 2\n", "SyntaxError: invalid syntax at line 3 of "),
        ("import sys\nsys.exit(3)\n", "SystemExit: 3 at line 2 of "),
        ("import nowhere_at_all\n", "ModuleNotFoundError: No module named 'nowhere_at_all'"),
    ]:
        file.write_text(text)
        with pytest.raises(ValueError, match="to run, got") as caught:
            cell_of_spelling(f"{file}:mine")
        assert says in str(caught.value)
        assert "\n" not in str(caught.value)
    file.write_text(MINE.replace("from helpers import shift", "shift = 1").replace("+ b", "+ x"))
    with pytest.raises(CellError, match=rf'File "{file}", line 9, in mine'):
        cell_of_spelling(f"{file}:mine")


@pytest.mark.parametrize(
    ("spelled", "says"),
    [
        ("FILE:min", "expected a cell of .*, got 'min'. It has mine, composed. Did you mean mine?"),
        ("FILE:number", "expected number of .* to be a cell, got int"),
        ("FILE:plain", "to be a cell, got function. Decorate its equations with @recurra.cell"),
        ("FOLDER/bobs.py:mine", "expected a Python file, got .*No such file.*Did you mean .*bob's"),
        ("FOLDER/nothing/my.py:mine", "No such file or directory. Check the path."),
        ("FILE", "expected FILE.py:NAME, got the file alone"),
        ("no_module_of_mine:mine", "a module that can be imported from here, got 'no_module_of_m"),
        ("recurra.cells.gated:gro", "got 'gro'. It has gru,.*Did you mean gru?"),
        ("lsmt", "expected the name of a cell, got 'lsmt'. Did you mean lstm"),
        ("zoneout", "got the composer zoneout. Put it around one: zoneout.lstm."),
        ("zonout(lstm)", "expected one of .* around a cell, got 'zonout'. Did you mean zoneout?"),
        ("lsmt(lstm)", "got 'lsmt'. Did you mean lstm"),
        ("zoneout()", r"expected a cell in zoneout.*zoneout\(lstm, p=0.1, states=None\)"),
        ("zoneout(lsmt)", "Did you mean lstm"),
        ("zoneout(lstm, q=1)", "options that zoneout takes .p=0.1, states=None., got others.*q"),
        ("zoneout(lstm, 1, 2, 3)", "too many positional arguments"),
        ("residual(lstm, 1)", "options that residual takes .it takes none."),
        ("zoneout(lstm, p)", "got p. Write it in quotes, 'p', if it is a name"),
        ("zoneout(lstm, 2 ** 99)", r"got 2 \*\* 99. Nothing is computed here"),
        ("zoneout(lstm, __import__('os'))", r"got __import__\('os'\). Nothing is computed"),
        ("zoneout(lstm, *[1])", "expected options of zoneout that are numbers"),
        ("zoneout(lstm, **{})", "got .*. Write them out"),
        ("zoneout(lstm, 1", "expected '[)]' at the end of"),
        ("zoneout(lstm))", "expected brackets in pairs, got '[)]' alone"),
        ("zoneout(" * 40, "expected at most 32 brackets in brackets"),
        ("l" * 5000, "expected at most 4096 characters, got 5000"),
        ("taugru(5)", "expected a cell, got '5'"),
        ("taugru(steps=5)", "expected constants of taugru by name .*delay=.*, got steps"),
        ("taugru(delay='x')", "expected constants that suit taugru, got .*'delay': 'x'"),
        ("mlstm(heads=0)", "suit mlstm, got .*'heads': 0.: heads: expected a whole .* got heads=0"),
        ("lstm:b_f", "settings PARAMETER=RULE behind lstm, got 'b_f'. Write one as in lstm:b_f="),
        ("lstm:b_x=1", "expected settings PARAMETER=RULE.*b_f.*got 'b_x=1'"),
        ("lstm:b_f=abc", "expected a number.*got 'abc'"),
        ("lstm:b_f=", "expected a number.*got ''"),
        ("lstm:b_f=chrono2", "expected a time of at least 3 steps, got 2"),
        ("lstm:b_f=1:b_f=2", "expected one rule for each parameter, got two for b_f"),
        ("a b", "expected a cell, got 'a b'. Write one as in lstm, zoneout"),
        ("", "expected a cell, got ''"),
    ],
)
def test_mistakes_are_one_line(mine: Path, spelled: str, says: str) -> None:
    text = spelled.replace("FILE", str(mine), 1 if spelled.startswith("FILE") else 0)
    with pytest.raises(ValueError, match=says) as caught:
        cell_of_spelling(text.replace("FOLDER", str(mine.parent)))
    assert str(caught.value).startswith("cell: expected ")
    assert "\n" not in str(caught.value)


def test_what_does_not_suit_a_composer() -> None:
    with pytest.raises(CellError, match=r"zoneout.lstm.: expected a probability in 0..1, got 2.0"):
        cell_of_spelling("zoneout(lstm, 2.0)")
    with pytest.raises(CellError, match="expected a state 'c' and gates"):
        cell_of_spelling("peephole(gru)")


def test_a_file_of_cells_is_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.py")
    (tmp_path / "folder.py").mkdir()
    for name in ("pipe", "folder"):
        with pytest.raises(ValueError, match=f"expected a Python file, got .*{name}.py.*no file"):
            cell_of_spelling(f"{tmp_path}/{name}.py:mine")


@pytest.mark.medium
def test_the_command_shows_what_is_spelled(
    mine: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from recurra.cli.cells import show_cells

    show_cells("layer_norm(lstm)", latex=True)
    assert capsys.readouterr().out.strip() == compose.layer_norm(cells.lstm).latex().strip()
    show_cells(f"{mine}:mine")
    assert "return tanh(W @ x + U @ h + b + 0.5)" in capsys.readouterr().out
    show_cells(f"{mine}:mine", graph=tmp_path / "x.svg")
    assert "<svg" in (tmp_path / "x.svg").read_text()
    with pytest.raises(ValueError, match="NAME: expected the name of a cell, got 'lsmt'"):
        show_cells("lsmt")
