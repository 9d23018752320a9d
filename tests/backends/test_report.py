"""What `explain()` says of a plan."""

import random

import pytest

from oracle import fitted
from random_cells import random_call, random_cell
from recurra import cells
from recurra.backends import report
from recurra.backends.cpu import TARGET
from recurra.backends.table import folded
from recurra.lang import Cell, cell, tanh
from recurra.passes import Plan, plan

SIZES = {"I": 4, "H": 6}


@pytest.fixture(autouse=True)
def _known_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "product_rate", lambda threads: 1e9)


def planned(of: Cell) -> Plan:
    return plan(of.equations, TARGET)


def test_gru_in_words() -> None:
    text = report.describe(cells.gru, planned(cells.gru), SIZES)
    assert text.startswith("cell gru: I = 4, H = 6\n")
    for line in (
        "W_xr, W_xz, W_xh -> [18, 4]",
        "W_hr, W_hz -> [12, 6]",
        "for all steps at once: (W_xr, W_xz, W_xh) [18, 4] @ x, and 1 elementwise operation",
        "(W_hr, W_hz) [12, 6] @ h",
        "W_hh [6, 6] @ (sigmoid(…) * h)",
        "(W_hr, W_hz).T [6, 12] @ cotangents",
        "weight gradient [12, 6], one product over all steps",
        "for token ids: the product with the input is a table, a row for each token",
    ):
        assert f"    {line}\n" in text, line


def test_numbers_of_the_plain_network() -> None:
    text = report.describe(cells.rnn, planned(cells.rnn), SIZES)
    forward = 2 * (6 * 4 + 6 * 6)
    assert f"{forward} operations forward, {2 * forward} backward, a step of a sequence" in text
    # 100 steps of 32 sequences at 1 GF/s
    assert "take at least 384 us forward, 768 us backward" in text
    kept = sum(6 for _ in planned(cells.rnn).residuals)
    assert f"in float32 {4 * kept} B a step of a sequence" in text


def test_threads_in_words() -> None:
    def words(threads: int, hidden: int) -> str:
        sizes = {"I": 4, "H": hidden}
        of = planned(cells.rnn)
        return report.describe_threads(of, sizes, threads=threads, cache_bytes=1 << 20)

    assert words(1, 6) == "  1 thread: runs the loop"
    assert "with 4 sequences or more take sequences of their own" in words(2, 6)
    assert "the largest matrix, [1000, 1000], has 4 MB" in words(2, 1000)


@pytest.mark.medium
def test_every_cell_has_words() -> None:
    found = [(fitted(cells.get(name), SIZES), dict(SIZES)) for name in cells.names()]
    for seed in range(40):
        rng = random.Random(seed)
        of = random_cell(rng)
        found.append((of, dict(random_call(of, rng).case.sizes)))
    for of, sizes in found:
        sizes = {**dict.fromkeys(of.size_names, 4), **sizes}
        text = report.describe(of, planned(of), sizes)
        assert "kept for backward:" in text
        assert "operations forward" in text


def test_blocks_are_named_by_their_rows() -> None:
    of = cells.slstm
    text = report.describe(of, planned(of), {"I": 4, "H": 8})
    assert (
        "(R_z[H/4 : H/2], R_i[H/4 : H/2], R_f[H/4 : H/2], R_o[H/4 : H/2]) [8, 2] @ h[H/4 : H/2]"
    ) in text


@pytest.mark.medium
def test_unrolled_steps_are_told_once() -> None:
    @cell(state="h")
    def unrolled(x, h, W, U, b, depth=60):
        for _ in range(depth):
            h = h + 0.1 * tanh(W @ x + U @ h + b)
        return h

    text = report.describe(unrolled, planned(unrolled), SIZES)
    lines = text.splitlines()
    assert len(lines) < 70
    assert max(map(len, lines)) < 250
    assert "    U [6, 6] @ (… + …), 58 times\n" in text  # the first step's operand reads h
    assert "(these 2 lines, " in text
    assert "next h = " in text
    assert "d_b = " in text  # the table's end is not cut off


def test_lines_of_a_table_are_folded_where_they_repeat() -> None:
    steps = [f"v{i + 1} = tanh(v{i})" for i in range(5)]
    few = [*steps[:3], "y = v3"]
    assert folded(few) == few
    assert [line.strip() for line in folded([*steps, "y = v5"])] == [
        "v1 = tanh(v0)",
        "(this line, 5 times in all)",
        "y = v5",
    ]
    pairs = [f"v{i} = v{i - 1} {sign} x" for i in range(1, 5) for sign in "+*"]
    assert folded(pairs)[2].strip() == "(these 2 lines, 4 times in all)"
