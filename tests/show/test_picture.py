"""Pictures of cells: what is drawn, that it can be read, and the files it is saved to."""

import re
from collections import Counter
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import pytest

from recurra import cells
from recurra.lang import cell, split, tanh, where
from recurra.show.diagram import Kind, make_diagram
from recurra.show.layout import lay_out
from recurra.show.names import plain_symbol

pytestmark = pytest.mark.medium


@cell(state="h")
def odd(x, h, W, V, p):
    a, b = split(V.T @ x, 2)
    return where(a < p, a - b, 1 - tanh(W.T @ h)) + 0.5


def texts(svg: str) -> list[str]:
    """All that is written in the picture, with subscripts behind an underscore."""
    written = []
    for element in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text"):
        below = "".join(f"_{part.text}" for part in element)
        written.append(f"{element.text}{below}")
    return written


@pytest.mark.parametrize("name", cells.names())
def test_every_cell_can_be_drawn(name: str) -> None:
    drawn = cells.get(name)
    written = texts(drawn.graph().svg)
    assert written[0] == name
    assert {symbol(state, "t−1") for state in drawn.states} <= set(written)
    assert {symbol(state, "t") for state in drawn.states} <= set(written)
    assert {symbol(parameter) for parameter in drawn.parameters} <= set(written)


def symbol(name: str, time: str | None = None) -> str:
    """A name as `texts` finds it: the letter, and what stands below it."""
    return "_".join(part for part in plain_symbol(name, time) if part)


def test_boxes_of_mut1() -> None:
    diagram = make_diagram(cells.mut1.equations)
    count = Counter(box.kind for box in diagram.boxes)
    assert count == {
        Kind.INPUT: 1,
        Kind.STATE: 1,
        Kind.PARAMETER: 8,
        Kind.OPERATION: 12,
        Kind.OUTPUT: 1,
    }
    captions = {box.caption.text: box.label.text for box in diagram.boxes if box.caption}
    assert captions == {"z": "σ", "r": "σ", "h\u0303": "tanh"}


def test_operands_are_numbered_where_their_order_matters() -> None:
    diagram = make_diagram(odd.equations)
    signs = [box.label.text for box in diagram.boxes]
    numbers = {
        sign: [a.operand for a in diagram.arrows if signs[a.stop] == sign]
        for sign in ("where", "<", "−", "+ 0.5")
    }
    assert numbers == {"where": [1, 2, 3], "<": [1, 2], "−": [1, 2], "+ 0.5": [0]}
    assert {"Vᵀ", "Wᵀ", "1 −", "a", "b"} <= set(signs)


def test_signs_are_escaped() -> None:
    assert "<" in texts(odd.graph().svg)
    assert "&lt;" in odd.graph().dot


def test_the_same_cell_gives_the_same_picture() -> None:
    assert cells.lstm.graph() == cells.lstm.graph()


# ---- the layout ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", cells.names())
def test_boxes_do_not_overlap_and_arrows_run_to_the_right(name: str) -> None:
    diagram = make_diagram(cells.get(name).equations)
    sizes = [(40.0 + 3 * (place % 7), 30.0) for place in range(len(diagram.boxes))]
    layout = lay_out(sizes, [(arrow.start, arrow.stop) for arrow in diagram.arrows])
    for a, b in combinations(range(len(sizes)), 2):
        (x_a, y_a), (x_b, y_b) = layout.centres[a], layout.centres[b]
        apart_x = abs(x_a - x_b) >= (sizes[a][0] + sizes[b][0]) / 2
        assert apart_x or abs(y_a - y_b) >= (sizes[a][1] + sizes[b][1]) / 2 - 1e-6
    for route in layout.routes:
        xs = [x for x, _ in route]
        assert xs == sorted(xs)
    for (x, y), (width, height) in zip(layout.centres, sizes, strict=True):
        assert width / 2 - 1e-6 <= x <= layout.width - width / 2 + 1e-6
        assert height / 2 - 1e-6 <= y <= layout.height - height / 2 + 1e-6


def test_arrows_that_need_not_cross_do_not() -> None:
    sizes = [(20.0, 20.0)] * 6
    layout = lay_out(sizes, [(0, 5), (1, 4), (2, 3)])
    starts = sorted(range(3), key=lambda box: layout.centres[box][1])
    ends = sorted(range(3, 6), key=lambda box: layout.centres[box][1])
    assert [5 - start for start in starts] == ends


def test_late_boxes_stand_beside_their_reader_and_last_ones_at_the_end() -> None:
    sizes = [(20.0, 20.0)] * 6
    edges = [(0, 1), (1, 2), (3, 2), (2, 4), (1, 5)]
    layout = lay_out(sizes, edges, late=[3], last=[4, 5])
    x = [centre[0] for centre in layout.centres]
    assert x[3] == x[1]
    assert x[5] == x[4] == max(x)


@pytest.mark.parametrize("steps", [60, 120])
def test_a_picture_of_unrolled_steps_grows_as_their_number(steps: int) -> None:
    """Way points would grow as its square, were each arrow from x a line of its own."""

    @cell(state="h")
    def unrolled(x, h, W, U, b, depth=steps):
        drive = W @ x
        for _ in range(depth):
            h = h + 0.1 * tanh(drive + U @ h + b)
        return h

    diagram = make_diagram(unrolled.equations)
    sizes = [(30.0, 30.0)] * len(diagram.boxes)
    edges = [(arrow.start, arrow.stop) for arrow in diagram.arrows]
    late = set(range(len(sizes))) - {stop for _, stop in edges}
    layout = lay_out(sizes, edges, late=late)
    assert sum(map(len, layout.routes)) < 100 * steps
    for (start, stop), route in zip(edges, layout.routes, strict=True):
        from_box = route[0] == (layout.centres[start][0] + 15, layout.centres[start][1])
        assert from_box or any(route[0] in other[1:-1] for other in layout.routes)
        assert route[-1][0] == layout.centres[stop][0] - 15


def test_an_empty_graph_has_no_size() -> None:
    assert lay_out([], []).width == 0


# ---- files ---------------------------------------------------------------------------------------


def test_a_picture_is_saved_by_suffix(tmp_path: Path) -> None:
    picture = cells.gru.graph()
    picture.save(tmp_path / "gru.svg")
    picture.save(str(tmp_path / "gru.dot"))
    assert (tmp_path / "gru.svg").read_text(encoding="utf-8") == picture.svg
    dot = (tmp_path / "gru.dot").read_text(encoding="utf-8")
    assert dot.startswith('digraph "gru" {')
    assert dot.count(" -> ") == len(make_diagram(cells.gru.equations).arrows)
    assert picture._repr_svg_() == picture.svg


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Picture\.save: expected a path that ends in \.svg"):
        cells.gru.graph().save(tmp_path / "gru.png")
    assert not list(tmp_path.iterdir())


def test_constants_fit_their_boxes() -> None:
    """Four figures of a number, in a box that is as wide as digits are."""

    @cell(state="h")
    def scaled(x, h, W):
        return 3.14159265358979 * h + W @ x

    svg = scaled.graph().svg
    assert "3.142" in svg
    assert "3.1415" not in svg
    [width] = re.findall(r'width="([\d.]+)" height="30"[^>]*/>\s*<text[^>]*>[^<]*3\.142', svg)
    assert float(width) > 16 * (0.64 * 4 + 0.53 * 3)
