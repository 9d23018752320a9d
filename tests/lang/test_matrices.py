"""Matrix states in the language: shapes, spelling, documents, and what is said of mistakes."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from matrix_cells import CELLS, in_heads, written
from recurra import cell, cells, compose, lang
from recurra.errors import CellError
from recurra.ir import Dim, has_own_rows
from recurra.lang import (
    Cell,
    concat,
    expand,
    flatten,
    inverse,
    outer,
    rows,
    softmax,
    split,
    sum,
    tanh,
)
from recurra.lang.document import cell_of_document, document_of, same_equations
from recurra.lang.symbols import language_names

each_cell = pytest.mark.parametrize("of", CELLS, ids=lambda of: of.name)
MATRIX: dict[str, Any] = {"state": "S", "output": True, "sizes": {"S": ("P", "Q")}}


def test_a_state_of_two_sizes_is_a_matrix() -> None:
    assert [tuple(map(str, shape)) for shape in written.state_shapes] == [("H",), ("P", "Q")]
    assert has_own_rows(written.state_shapes[1])
    assert written.size_names == ("I", "H", "P", "Q")


def test_heads_of_a_state_are_blocks_one_below_the_other() -> None:
    shape = in_heads.state_shapes[0]
    assert (str(shape[0]), str(shape[1]), shape[0].blocks) == ("H", "H/2", 2)
    assert in_heads.with_constants(heads=4).state_shapes[0][1] == Dim.named("H") / 4


@each_cell
def test_what_is_printed_is_the_cell_again(of: Cell) -> None:
    shapes = {n: tuple(map(str, s)) for n, s in of.parameters.items()}
    shapes |= dict(zip(of.states, (tuple(map(str, s)) for s in of.state_shapes), strict=True))
    body = str(of).partition("\n\n")[2]
    scope: dict[str, Any] = {name: getattr(lang, name) for name in language_names()}
    exec(f"def {of.name}({', '.join(n.name for n in of.equations.inputs)}):\n{body}", scope)
    again = cell(
        state=of.states,
        context=of.context,
        heads=of.heads,
        output=of.options.output,
        sizes={n: s if len(s) > 1 else (s or ("1",))[0] for n, s in shapes.items()},
    )(scope[of.name])
    assert again.equations.outputs == of.equations.outputs


@each_cell
def test_a_document_is_the_cell_again(of: Cell) -> None:
    assert same_equations(cell_of_document(document_of(of)), of)
    composed = compose.zoneout(of, 0.1)
    assert same_equations(cell_of_document(document_of(composed)), composed)


def test_text_and_latex_have_the_papers_spelling() -> None:
    assert "C = outer(f, 1, 4) * C + outer(i * v, k, 4)" in str(cells.mlstm)
    assert "state       C [H, H/4] (4 blocks)" in str(cells.mlstm)
    latex = cells.gla.latex()
    assert r"S_t &= S_{t-1} \odot \alpha_t + (W_v x_t) (W_k x_t)^{\top}" in latex


@each_cell
def test_pictures_have_no_box_for_what_is_only_seen_otherwise(of: Cell) -> None:
    svg = of.graph().svg
    assert ">vector<" not in svg
    assert ">matrix_rows<" not in svg
    assert ">column<" not in svg


def test_torchs_names_mean_the_same() -> None:
    @cell(**MATRIX)
    def in_torch(x, S, W):
        read = torch.flatten(rows(torch.matmul(S, W @ x), 1))
        return read, S + torch.outer(sum(S), W @ x)

    @cell(**MATRIX)
    def in_ours(x, S, W):
        return flatten(rows(S @ (W @ x), 1)), S + outer(sum(S), W @ x)

    assert in_torch.equations.outputs == in_ours.equations.outputs


def test_a_vector_of_numbers_is_repeated_for_the_units_of_its_heads() -> None:
    @cell(sizes={"b": 4})
    def repeated(x, h, W, b):
        return expand(b, "H") * h + W @ x

    assert "expand(b, 'H') * h" in str(repeated)


def transposed(x, S, W):
    return W @ x, S.T


def shared_left(x, S, W):
    return sum(S), W @ S


def squared(x, S, W):
    return W @ x, S @ S


def matrix_out(x, S):
    return S, S


def other_blocks(x, S, W):
    return sum(S), S + outer(sum(S), W @ x, 2)


def other_sizes(x, S, W):
    return sum(S), S * (W @ (S @ x))


def wrong_vector(x, S):
    return S @ sum(S), S


def rows_cut(x, S):
    return sum(S), tanh(S[:2])


def rows_split(x, S):
    return sum(split(S, 2, dim=0)[0]), S


def joined(x, S):
    return concat(S, S), S


def over_rows(x, S):
    return sum(S), softmax(S, dim=0)


def outer_of_matrix(x, S):
    return sum(S), outer(S, sum(S))


def no_number(x, S):
    return flatten(S), S


def parts(x, S, W):
    return sum(rows(W @ x, 2.0)), S


def headless(x, S, W):
    return sum(S), S + outer(sum(S), W @ x, "heads")


def shared_left_of_rows(x, S, W):
    return sum(S), W @ S


def shared_left_of_a_sum(x, S, W):
    return sum(S), outer(sum(S), x) - 0.5 * (W @ S)


def both_times_a_vector(x, S, W):
    return (W @ S) @ x, S


def inverse_of_own(x, S):
    return inverse(S) @ x, S


MISTAKES: dict[Callable[..., Any], str] = {
    transposed: r"expected the new state S of shape \[P, Q\], got \[Q, P\] \(S\.T\)",
    shared_left: r"@: expected a vector beside the matrix S, .* got the matrix W\. Multiply a "
    r"vector, once by each: W @ \(S @ v\)",
    shared_left_of_rows: r"new state S of shape \[P, Q\], got \[Q\] \(W @ S\)\. Left of S, .* W "
    r"is a vector: write W @ \(S @ v\)",
    shared_left_of_a_sum: r"-: expected a matrix beside outer\(sum\(S\), x\), got 0\.5 \* "
    r"\(W @ S\), a vector\. Left of S, .* sizes=\{'W': \.\.\.\} says that a vector is meant",
    both_times_a_vector: r"expected a matrix, got W @ S of shape \[Q\]\. .* write W @ \(S @ v\)",
    inverse_of_own: r"expected a matrix, got S of shape \[P, Q\]\. Each sequence has its own: only",
    squared: r"@: expected a vector beside the matrix S, .* S @ \(S @ v\)",
    matrix_out: r"expected a vector as output, got S",
    other_blocks: r"\+: expected equal rows, got \[P, Q\] \(S\) and \[P, .*\] in 2 blocks .*heads=",
    other_sizes: r"\*: expected vectors of size Q beside the rows S, got W @ \(S @ x\) of size "
    r"P.* outer\(W @ \(S @ x\), 1\)",
    wrong_vector: r"@: expected a vector of size Q in S @ sum\(S\), got sum\(S\) of size P",
    rows_cut: r"\[ \]: expected one index of a vector, .* Write S\[:, :3\] for features of each",
    rows_split: r"split: expected dim=-1 \(the columns\) for S",
    joined: r"concat: expected a vector, got S of shape \[P, Q\], of rows that each sequence has",
    over_rows: r"softmax: expected dim=-1, over the columns of each row of S, got dim=0",
    outer_of_matrix: r"outer: expected a vector, got S of shape \[P, Q\]",
    no_number: r"flatten: expected rows of which there is a number, as rows\(v, n\) gives, got S",
    parts: r"rows: expected a number of rows >= 1, got 2\.0",
    headless: r"outer: expected a number of heads >= 1, got 'heads'",
}


def test_a_vector_left_of_a_matrix_is_said_where_it_goes_with_each_row() -> None:
    def lowered(x, S, w):
        return sum(S), outer(sum(S), x) - w @ S

    of = cell(**{**MATRIX, "sizes": {"S": ("P", "Q"), "x": "Q", "w": "P"}})(lowered)
    assert str(of).endswith("return sum(S), outer(sum(S), x) - w @ S")


@pytest.mark.parametrize("function", MISTAKES, ids=lambda function: function.__name__)
def test_mistakes_have_one_line(function: Callable[..., Any]) -> None:
    sizes = {"S": ("P", "Q"), "x": "Q"}
    sizes |= {"W": ("P", "P")} if function in (other_sizes, shared_left) else {}
    with pytest.raises(CellError, match=MISTAKES[function]):
        cell(**{**MATRIX, "sizes": sizes})(function)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sizes": {"S": "P"}, "heads": {"S": 2}}, r"heads: expected a matrix state for 'S'"),
        (
            {"sizes": {"S": ("P", "Q", "R")}},
            r"expected one size, or two for a parameter or a state",
        ),
        ({"sizes": {"x": ("P", "Q")}}, r"expected one size, or two"),
        ({"heads": {"S": "heads"}}, r"heads: expected a whole number >= 1 for 'S'"),
    ],
)
def test_options_of_a_matrix_state(options: dict[str, Any], message: str) -> None:
    def read(x, S):
        return S @ x, S

    with pytest.raises(CellError, match=message):
        cell(state="S", output=True, **options)(read)
