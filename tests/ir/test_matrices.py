"""The operations on matrices of each sequence, and how rows lie in blocks."""

import pytest

from recurra.ir import Dim, apply, cotangents, leaf
from recurra.ir.matrices import TABLE
from recurra.passes.simplify import simplest

P, Q, H = Dim.named("P"), Dim.named("Q"), Dim.named("H")
V, K, LONG = leaf("state", "v", (P,)), leaf("state", "k", (Q,)), leaf("state", "l", (H,))
S = leaf("state", "S", (P.in_blocks(1), Q))
BLOCKS = leaf("state", "C", (H.in_blocks(4), H / 4))
W = leaf("parameter", "W", (P, Q))


def test_rows_are_told_from_sizes_by_their_blocks() -> None:
    assert P.in_blocks(1) != P
    assert P.in_blocks(2) != P.in_blocks(1)
    assert (P.in_blocks(2) * 1).blocks == 0  # what is computed of it is a size
    assert P.in_blocks(2).substitute({"P": H}) == H.in_blocks(2)


def test_shapes() -> None:
    numbers = apply("column", V, blocks=1)
    assert apply("mul", numbers, K).shape == S.shape
    assert apply("rows_dot", S, K).shape == numbers.shape
    assert apply("weighted_sum", numbers, S).shape == (Q,)
    assert apply("vector", numbers).shape == (P,)
    assert apply("add", apply("matrix_rows", W, blocks=1), S).shape == S.shape
    assert apply("rows", LONG, parts=4).shape == (Dim.of(4).in_blocks(1), H / 4)
    assert apply("flatten", apply("rows", LONG, parts=4)).shape == (H,)


def test_beside_blocks_a_vector_has_a_part_for_each() -> None:
    assert apply("mul", BLOCKS, LONG).shape == BLOCKS.shape
    assert apply("rows_dot", BLOCKS, LONG).shape == BLOCKS.shape[:1]
    assert apply("sum_rows", BLOCKS).shape == (H,)
    assert apply("outer_vectors", LONG, LONG, blocks=4).shape == BLOCKS.shape


@pytest.mark.parametrize(
    ("op", "operands"),
    [
        ("add", (S, W)),
        ("add", (S, V)),
        ("mul", (S, BLOCKS)),
        ("rows_dot", (BLOCKS, leaf("state", "q", (H / 4,)))),
        ("weighted_sum", (V, S)),
        ("columns_read", (K, S)),
        ("times_matrix", (S, W)),
        ("flatten", (S,)),
        ("rows", (S,)),
        ("vector", (S,)),
    ],
)
def test_what_does_not_fit_is_refused(op: str, operands: tuple) -> None:
    with pytest.raises(ValueError):
        apply(op, *operands, **({"parts": 2} if op == "rows" else {}))


def test_what_is_seen_otherwise_and_back_is_itself() -> None:
    assert simplest(apply("vector", apply("column", V, blocks=2))) is V
    assert simplest(apply("flatten", apply("rows", LONG, parts=4))) is LONG
    numbers = apply("rows_dot", BLOCKS, LONG)
    assert simplest(apply("column", apply("vector", numbers), blocks=4)) is numbers
    other = apply("column", apply("vector", numbers), blocks=2)
    assert simplest(other) is other


def test_cotangents_have_the_shape_of_what_they_are_of() -> None:
    of_rows = apply("column", V, blocks=1)
    for node in (
        *(of_rows, apply("vector", of_rows), apply("rows", LONG, parts=4)),
        *(apply("flatten", apply("rows", LONG, parts=4)), apply("matrix_rows", W, blocks=1)),
        *(apply("mul", of_rows, K), apply("mul", BLOCKS, LONG), apply("rows_dot", BLOCKS, LONG)),
    ):
        found = cotangents(node, leaf("cotangent", "d", node.shape))
        assert [d.shape for d in found if d] == [child.shape for child in node.inputs]


def test_every_operation_has_a_spelling() -> None:
    assert all(op.latex or "total" in op.text for op in TABLE)
