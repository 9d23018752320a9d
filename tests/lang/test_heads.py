"""Block-diagonal matrices, matrices cut by rows, and sizes written as sums."""

import pytest

from recurra import cells
from recurra.errors import CellError
from recurra.lang import Cell, Dim, cell, split, tanh
from recurra.lang.signature import Options

H, I = Dim.named("H"), Dim.named("I")  # noqa: E741 - the input size


def defined(function: object, **options: object) -> Cell:
    return cell(state="h", **options)(function)  # type: ignore[arg-type,call-overload]


def blocks(x, h, W, R, heads=4):
    return tanh(W @ x + R @ h)


def test_only_the_blocks_exist() -> None:
    of = defined(blocks, heads={"R": "heads"})
    assert of.parameters == {"W": (H, I), "R": (H, H / 4)}
    assert of.heads == {"R": 4}
    assert of.with_constants(heads=2).parameters["R"] == (H, H / 2)
    assert defined(blocks, heads={"R": 1}).parameters["R"] == (H, H)


def test_they_are_shown() -> None:
    of = defined(blocks, heads={"R": 4})
    assert "R [H, H/4] (4 blocks)" in str(of)
    assert "return tanh(W @ x + R @ h)" in str(of)
    assert "R h_{t-1}" in of.latex()


@pytest.mark.parametrize("count", [0, -1, True, "depth", "W"])
def test_a_number_of_blocks_that_is_none(count: object) -> None:
    with pytest.raises(CellError, match="heads: expected a whole number >= 1 for 'R'"):
        defined(blocks, heads={"R": count})
    given = defined(blocks, heads={"R": "heads"})
    with pytest.raises(CellError, match=f"a constant that is one, got heads={count!r}. Give"):
        given.with_constants(heads=count)


def test_a_block_diagonal_matrix_multiplies_vectors_alone() -> None:
    def transposed(x, h, W, R):
        return tanh(W @ x + R.T @ h)

    def squared(x, h, W, R):
        return tanh(W @ x + (W @ R) @ h)

    for function in (transposed, squared):
        with pytest.raises(CellError, match="expected the block-diagonal matrix R left of @"):
            defined(function, heads={"R": 2}, sizes={"W": ("H", "H"), "x": "H"})


def test_blocks_that_do_not_fit() -> None:
    with pytest.raises(CellError, match=r"R with 4 blocks of H/4 columns.*got blocks of H"):
        defined(blocks, heads={"R": 4}, sizes={"R": ("H", "H")})


def test_heads_of_a_state() -> None:
    """It is a matrix then, [H, H / 4]; an input has no heads."""
    with pytest.raises(CellError, match=r"expected the new state h of shape \[H, H/4\], got \[H\]"):
        defined(blocks, heads={"h": 4})
    with pytest.raises(CellError, match="heads: expected one of R, W, h, got 'x'"):
        defined(blocks, heads={"x": 4})


def test_a_matrix_is_cut_by_rows() -> None:
    def levels(x, h, W, R, b, depth=3):
        for matrix, bias in zip(split(R, depth, dim=0), split(b, depth), strict=True):
            h = tanh(W @ x + matrix @ h + bias)
        return h

    of = defined(levels, sizes={"R": ("depth * H", "H")})
    assert of.parameters == {"W": (H, I), "R": (H * 3, H), "b": (H * 3,)}
    assert of.with_constants(depth=2).parameters["R"] == (H * 2, H)
    assert "split(R, 3, dim=0)" in str(of)
    assert cells.rhn.parameters["R_h"] == (H * 3, H)


@pytest.mark.parametrize(
    ("text", "size"),
    [("P", Dim.named("P")), ("8", Dim.of(8)), ("4 * H", H * 4), ("4*H", H * 4), ("H + I", H + I)],
)
def test_sizes_as_text(text: str, size: Dim) -> None:
    assert Dim.parse(text) == size


def test_sizes_with_the_names_of_constants() -> None:
    assert Dim.parse("k * H + 2 * I + 1", {"k": 3}) == H * 3 + I * 2 + Dim.of(1)
    assert Dim.parse("k", {"k": 3}) == Dim.of(3)
    with pytest.raises(ValueError, match=r"a whole number before the \* in 'k \* H', got k"):
        Dim.parse("k * H")


def test_options_default_to_no_heads() -> None:
    options = Options(states=("h",), context=(), sizes={}, init={}, output=False)
    assert options.heads == {}
