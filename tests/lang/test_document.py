"""Cells written down as documents, and made again of them."""

import json
import pickle
import random
import warnings
from typing import Any

import pytest
import torch

import recurra as rc
from random_cells import random_cell, random_composition
from recurra import cells, compose
from recurra.errors import CellWarning
from recurra.lang import Cell, cell, chunk, concat, sigmoid, split, tanh
from recurra.lang import sum as total
from recurra.lang.document import MAX_LEAVES, cell_of_document, document_of, same_equations
from recurra.nn.initial import Opposite, chrono, uniform


def again(of: Cell) -> Cell:
    """The cell as it comes back through JSON."""
    return cell_of_document(json.loads(json.dumps(document_of(of), allow_nan=False)))


_SAME = (
    *("name", "doc", "input", "further", "states", "context", "step", "heads", "masks"),
    *("size_names", "further_shapes"),
    *("default_sizes", "state_sizes", "context_sizes", "output_size"),
)


def check(of: Cell) -> None:
    """What comes back is the same graph, node by node, and says the same of itself."""
    back = again(of)
    for ours, theirs in ((back, of), (back.evaluation, of.evaluation), (back.with_init(), of)):
        assert same_equations(ours, theirs)
        assert list(ours.equations.names.items()) == list(theirs.equations.names.items())
    assert list(back.parameters.items()) == list(of.parameters.items())
    assert (str(back), back.latex()) == (str(of), of.latex())
    assert [getattr(back, name) for name in _SAME] == [getattr(of, name) for name in _SAME]


@pytest.mark.medium
@pytest.mark.parametrize("name", cells.names())
def test_every_cell_of_the_registry_comes_back(name: str) -> None:
    of = cells.get(name)
    check(of)
    assert again(of).init == of.init
    assert again(of).constants == of.constants


@pytest.mark.medium
@pytest.mark.parametrize("name", [*compose.__all__])
def test_composed_cells_come_back(name: str) -> None:
    composer = getattr(compose, name)
    more = {"replace": ("other",), "showing": ("f",)}.get(name, ())
    made = composer("lstm", *more, **({"o": 1} if name == "replace" else {}))
    check(made)
    check(compose.zoneout(compose.layer_norm(made, each_product=True), 0.3))


@pytest.mark.medium
def test_random_cells_come_back() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CellWarning)
        for seed in range(24):
            check(random_cell(random.Random(seed)))
            if seed % 2:
                check(random_composition(random.Random(seed)))


@cell(
    state=("h", "s", "one"),
    context=("k", "m"),
    sizes={"s": "1", "one": ("P",), "b": "2*H", "V": ("P", "H"), "e": "2*H", "g": 1},
    heads={"R": "blocks"},
    default_sizes={"P": "H/2 + 1"},
    init={"b": chrono(40), "e": Opposite("b"), "W": uniform(0.1), "V": "orthogonal", "U": 0.5},
    output=True,
)
def everything(
    x, h, s, one, k, m, t, W, U, R, V, b, e, g, K, M, rate=0.25, blocks=2, of="text", many=(1, 2)
):
    """A cell with everything in it: é."""
    first, second = split(W @ x + U @ h + b + e, 2)
    gates = concat(sigmoid(first), tanh(second))
    left, _right = chunk(gates, 2)
    new = tanh(left + R @ h) * rate + (1 - rate) * h + K @ k + M @ m
    return concat(new, V @ new), new, s * 0.5 + total(new) / (1 + t) + g, V @ new * -0.0


def test_a_cell_with_everything_comes_back() -> None:
    check(everything)
    back = again(everything)
    assert back.constants == {"rate": 0.25, "blocks": 2, "of": "text"}
    assert back.init == {"b": "chrono40", "e": "-b", "W": "uniform0.1", "V": "orthogonal", "U": 0.5}
    check(everything.with_constants(rate=0.5, blocks=4))
    check(again(everything))


def test_a_function_of_ones_own_for_a_start_is_left_out() -> None:
    of = cells.gru.with_init(b_r=torch.nn.init.ones_)
    assert again(of).init == {}


@cell(sizes={"W": ("1", "H"), "U": ("H", "1")})
def narrow(x, h, A, W, U, b):
    return tanh(A @ x + U @ (tanh(W @ h) * b))


def test_a_vector_of_one_feature_stays_a_vector() -> None:
    assert [str(dim) for dim in narrow.parameters["b"]] == ["1"]
    check(narrow)
    check(compose.zoneout(narrow))


@pytest.mark.medium
def test_results_are_the_same_bit_for_bit() -> None:
    back, x = again(everything), torch.randn(7, 3, 4)
    context = (torch.randn(3, 5), torch.randn(3, 6))
    found = []
    for of in (everything, back):
        torch.manual_seed(0)
        layer = rc.Recurrent(of, 4, 8, sizes={"C_k": 5, "C_m": 6})
        y, _ = layer(x, context=context)
        y.sum().backward()
        found.append([y, *(p.grad for p in layer.parameters())])
    for ours, theirs in zip(*found, strict=True):
        assert torch.equal(ours, theirs)


def test_what_comes_back_is_a_cell_like_any_other() -> None:
    back = again(everything)
    with pytest.raises(rc.errors.CellError, match="expected the constants that it was saved with"):
        back.with_constants(rate=0.5)
    assert same_equations(back.with_constants(rate=0.25), back)
    normed = compose.layer_norm(again(cells.lstm))
    assert same_equations(normed, compose.layer_norm(cells.lstm))

    def around(of: Cell) -> Cell:
        @cell(sizes={"W": ("H", "I"), "V": ("H", "H"), "U": ("H", "H")})
        def other(x, h, W, U, V, b, b_2):
            return of(tanh(V @ h), h, U, V, b) + W @ x + b_2

        return other

    assert same_equations(around(again(cells.rnn)), around(cells.rnn))


def test_a_cell_under_no_name_is_pickled_as_its_document() -> None:
    @cell(init={"b": "chrono30"})
    def local(x, h, W, U, b):
        return tanh(W @ x + U @ h + b)

    for of in (local, again(local), local.with_init(U="identity")):
        back = pickle.loads(pickle.dumps(of))
        assert same_equations(back, of)
        assert back.init == of.init
    with pytest.raises(pickle.PicklingError, match="or rules of init in a word, got a function f"):
        pickle.dumps(local.with_init(W=torch.nn.init.ones_))


# ---- what is no document -------------------------------------------------------------------------


def changed(**entries: Any) -> dict[str, Any]:
    return {**document_of(cells.gru), **entries}


def line(number: int, text: Any) -> dict[str, Any]:
    steps = list(document_of(cells.gru)["steps"])
    steps[number] = text
    return changed(steps=steps)


def leaf(number: int, text: Any) -> dict[str, Any]:
    leaves = list(document_of(cells.gru)["leaves"])
    leaves[number] = text
    return changed(leaves=leaves)


CODE = "__import__('os').system('touch ran')"
DAMAGED = {
    "nothing": None,
    "no entries": {},
    "an entry more": changed(code=CODE),
    "steps of another kind": changed(steps={}),
    "a name of code": changed(name="a\nb"),
    "no name": changed(name=" "),
    "a long name": changed(name="x" * 20_000),
    "a long docstring": changed(doc="x" * 200_000),
    "a step that is code": line(0, CODE),
    "a step that is a list": line(0, ["matvec", "W_xr", "x"]),
    "an operation that is not": line(0, "system W_xr x"),
    "an operation of passes": line(0, "outer x x"),
    "an operation of sizes": line(0, "size[H]"),
    "a method": line(0, "__class__ x"),
    "a cycle": line(0, "add %0 %0"),
    "a step that comes later": line(0, "tanh %3"),
    "a step far away": line(0, "tanh %999999999999999999"),
    "a leaf that is not": line(0, "matvec W_xr y"),
    "too many operands": line(0, "tanh x x"),
    "too few": line(0, "matvec W_xr"),
    "other shapes": line(0, "matvec W_hr x"),
    "a vector as a matrix": line(0, "matvec x x"),
    "a matrix as a vector": line(0, "sum W_xr"),
    "nan": line(0, "const[nan]"),
    "no number": line(0, "const[1+1]"),
    "a huge number": line(0, "const[" + "9" * 9_000 + "]"),
    "brackets where none belong": line(0, "tanh[3] x"),
    "parts of nothing": line(0, "split[0,0] x"),
    "a part beyond": line(0, "split[2,2] x"),
    "a part before": line(0, "split[2,-1] x"),
    "parts of a scalar": line(0, "split[2,0] %1"),
    "a vector spread": line(0, "expand[H] x"),
    "a size that no leaf has": line(0, "concat x"),
    "a long line": line(0, "concat" + " x" * 6_000),
    "a leaf that is code": leaf(0, f"input {CODE}"),
    "a leaf of no kind": leaf(0, "secret x I"),
    "a leaf twice": leaf(1, "state x H"),
    "a keyword": leaf(0, "input for I"),
    "a size that is code": leaf(0, f"input x {CODE}"),
    "an unknown of a trace": leaf(0, "input x ?0"),
    "a huge size": leaf(0, "input x 99999999999H"),
    "a size of nothing": leaf(0, "input x 0"),
    "a long size": leaf(0, "input x " + "H+" * 200 + "H"),
    "a matrix as a state": leaf(1, "state h H H"),
    "a cube": leaf(0, "parameter x I I I"),
    "no state": changed(leaves=["input x I"]),
    "a step index of another name": leaf(0, "step x"),
    "a mask without a mask": leaf(0, "mask x I"),
    "masks of code": changed(masks={"x": CODE}),
    "a mask of nothing": changed(masks={"y": [0.5, 1.0, "step"]}),
    "a mask that is sure": changed(masks={"x": [2.0, 1.0, "step"]}),
    "outputs of another kind": changed(outputs={"output": 3, "h": 3}),
    "outputs that are not": changed(outputs={"output": "%99", "h": "%99"}),
    "no outputs": changed(outputs={}),
    "another name for an output": changed(outputs={"output": "%21", "g": "%21"}),
    "names that are code": changed(names={CODE: "%0"}),
    "names of nothing": changed(names={"r": "%99"}),
    "rules that are code": changed(init={"b_r": CODE}),
    "rules that are lists": changed(init={"b_r": [1]}),
    "rules of nothing": changed(init={"b": 1.0}),
    "an infinite start": changed(init={"b_r": float("inf")}),
    "heads of nothing": changed(heads={"R": 2}),
    "heads of text": changed(heads={"W_xr": "2"}),
    "default sizes of nothing": changed(default_sizes={"P": "H"}),
    "constants that are named like leaves": changed(constants={"x": 1}),
    "many steps": changed(steps=["tanh x"] * 6_000),
    "many leaves": changed(leaves=[f"parameter p{i} H" for i in range(MAX_LEAVES + 1)]),
    "many names": changed(names={f"n{i}": "%0" for i in range(20_000)}),
    "many constants": changed(constants={f"n{i}": 0 for i in range(2_000)}),
    "steps that nothing reads": changed(steps=[*document_of(cells.gru)["steps"], "tanh x"]),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_document_that_recurra_has_not_written(damage: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        cell_of_document(DAMAGED[damage])
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
