"""A graph as a picture: SVG that reads on light and dark pages, and DOT for Graphviz."""

from dataclasses import dataclass
from html import escape
from pathlib import Path

from recurra.ir import Graph
from recurra.show.diagram import Arrow, Box, Diagram, Kind, Label, make_diagram
from recurra.show.layout import Layout, lay_out

# Fill and edge of a box. Fills are light and letters on them dark, whatever the page's colour.
_COLOURS = {
    Kind.INPUT: ("#d5e5f6", "#5b8fc7"),
    Kind.STATE: ("#d6ecd9", "#5aa26b"),
    Kind.PARAMETER: ("#f7e9c9", "#c39b45"),
    Kind.OPERATION: ("#e8e8ee", "#8d8fa3"),
    Kind.OUTPUT: ("#f5d9dd", "#c4707f"),
}
_INK = "#1d2330"  # on a box
_LINE = "#858d9b"  # arrows and captions: grey that shows on white and on black
_FONT = "font-family=\"'STIX Two Text', 'Latin Modern Roman', Cambria, 'Times New Roman', serif\""
_SIZE, _SMALL = 16.0, 11.5
_HEIGHT, _PADDING, _CAPTION = 30.0, 9.0, 17.0
_MARGIN, _TITLE, _LEGEND = 14.0, 26.0, 34.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A drawing as `svg` and `dot` text; notebooks show it by themselves."""

    name: str
    svg: str
    dot: str

    def save(self, path: str | Path) -> None:
        """Write the picture to a file, whole or not at all, in the format that its suffix names.

        Raises:
            ValueError: when the suffix is neither .svg nor .dot.
        """
        path = Path(path)
        formats = {".svg": self.svg, ".dot": self.dot}
        if path.suffix not in formats:
            raise ValueError(
                f"Picture.save: expected a path that ends in .svg or .dot, got {str(path)!r}. "
                f"Save the picture as .svg; a browser or Inkscape makes other formats of it."
            )
        from recurra.files import replacing  # which loads torch; nothing else here needs it

        with replacing(path) as part:
            part.write_text(formats[path.suffix], encoding="utf-8")

    def _repr_svg_(self) -> str:
        return self.svg


def draw(name: str, graph: Graph) -> Picture:
    """The picture of a graph, inputs on the left and results on the right."""
    diagram = make_diagram(graph)
    return Picture(name=name, svg=_svg(name, diagram), dot=_dot(name, diagram))


# ---- SVG -----------------------------------------------------------------------------------------


def _svg(name: str, diagram: Diagram) -> str:
    sizes = [_size(box) for box in diagram.boxes]
    layout = _layout(diagram, sizes)
    legend, legend_width = _legend(diagram)
    width = max(layout.width, legend_width) + 2 * _MARGIN
    height = layout.height + 2 * _MARGIN + _TITLE + _LEGEND
    arrows = [
        part
        for arrow, route in zip(diagram.arrows, layout.routes, strict=True)
        for part in _arrow(arrow, route, layout.centres[arrow.stop][1])
    ]
    boxes = [
        part
        for box, centre, (box_width, _) in zip(diagram.boxes, layout.centres, sizes, strict=True)
        for part in _box(box, centre, box_width)
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
            f'width="{width:.0f}" height="{height:.0f}" {_FONT} role="img" '
            f'aria-label="The graph of the cell {escape(name)}">',
            f'<text x="{_MARGIN}" y="{_MARGIN + 12}" font-size="{_SIZE}" fill="{_LINE}">'
            f"{escape(name)}</text>",
            f'<g transform="translate({_MARGIN} {_MARGIN + _TITLE})">',
            *arrows,
            *boxes,
            "</g>",
            f'<g transform="translate({_MARGIN} {height - _MARGIN - 10:.1f})">',
            *legend,
            "</g>",
            "</svg>",
        ]
    )


def _layout(diagram: Diagram, sizes: list[tuple[float, float]]) -> Layout:
    entered = {arrow.stop for arrow in diagram.arrows}
    late = [
        place
        for place, box in enumerate(diagram.boxes)
        if place not in entered and box.kind in (Kind.PARAMETER, Kind.OPERATION)
    ]
    last = [place for place, box in enumerate(diagram.boxes) if box.kind is Kind.OUTPUT]
    edges = [(arrow.start, arrow.stop) for arrow in diagram.arrows]
    return lay_out(sizes, edges, late=late, last=last)


def _size(box: Box) -> tuple[float, float]:
    """Width and height; the caption above is part of the height, on both sides for balance."""
    width = max(_HEIGHT, _text_width(box.label) + 2 * _PADDING)
    return width, _HEIGHT + (2 * _CAPTION if box.caption else 0)


def _text_width(label: Label) -> float:
    """About how wide the label is: this module has no font to measure with."""
    letters = sum(not _is_mark(character) for character in label.text)
    digits = sum(character.isdigit() for character in label.text)  # wider, in most fonts
    return 0.53 * (letters * _SIZE + len(label.subscript) * _SMALL) + 0.11 * digits * _SIZE


def _is_mark(character: str) -> bool:
    return "\u0300" <= character <= "\u036f"


def _box(box: Box, centre: tuple[float, float], width: float) -> list[str]:
    x, y = centre
    fill, line = _COLOURS[box.kind]
    radius = 5 if box.kind is Kind.PARAMETER else _HEIGHT / 2
    parts = [
        f'<rect x="{x - width / 2:.1f}" y="{y - _HEIGHT / 2:.1f}" width="{width:.1f}" '
        f'height="{_HEIGHT:.0f}" rx="{radius:g}" fill="{fill}" stroke="{line}"/>',
        _text(box.label, x, y + 5, _INK),
    ]
    if box.caption:
        parts.append(_text(box.caption, x, y - _HEIGHT / 2 - 6, _LINE))
    return parts


def _text(label: Label, x: float, y: float, colour: str) -> str:
    style = ' font-style="italic"' if label.is_symbol else ""
    subscript = ""
    if label.subscript:
        subscript = f'<tspan dy="4" font-size="{_SMALL}">{escape(label.subscript)}</tspan>'
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{_SIZE:g}" text-anchor="middle" '
        f'fill="{colour}"{style}>{escape(label.text)}{subscript}</text>'
    )


def _arrow(arrow: Arrow, route: tuple[tuple[float, float], ...], goal: float) -> list[str]:
    """A line through the points of the route, level at each, with a head at its end.

    The number of the operand stands on the line's outer side; `goal` is the height of its box.
    """
    (x, y), *rest = route
    path = [f"M{x:.1f} {y:.1f}"]
    for next_x, next_y in rest:
        middle = (x + next_x) / 2
        bend = f"C{middle:.1f} {y:.1f} {middle:.1f} {next_y:.1f} {next_x:.1f} {next_y:.1f}"
        path.append(f"H{next_x:.1f}" if abs(y - next_y) < 0.05 else bend)
        x, y = next_x, next_y
    head = f"M{x - 6:.1f} {y - 3.5:.1f}L{x:.1f} {y:.1f}L{x - 6:.1f} {y + 3.5:.1f}"
    parts = [f'<path d="{"".join(path)}{head}" fill="none" stroke="{_LINE}" stroke-width="1.3"/>']
    if arrow.operand:
        beside = y + 11 if y > goal else y - 5
        parts.append(
            f'<text x="{x - 8:.1f}" y="{beside:.1f}" font-size="10" text-anchor="middle" '
            f'fill="{_LINE}">{arrow.operand}</text>'
        )
    return parts


def _kinds(diagram: Diagram) -> list[Kind]:
    present = {box.kind for box in diagram.boxes}
    return [kind for kind in Kind if kind in present]


def _legend(diagram: Diagram) -> tuple[list[str], float]:
    """One square for each kind of box, and how wide they are together."""
    parts, left = [], 0.0
    for kind in _kinds(diagram):
        fill, line = _COLOURS[kind]
        parts.append(
            f'<rect x="{left:.0f}" y="0" width="12" height="12" rx="3" fill="{fill}" '
            f'stroke="{line}"/><text x="{left + 18:.0f}" y="10.5" font-size="12.5" '
            f'fill="{_LINE}">{kind.value}</text>'
        )
        left += 38 + 6.2 * len(kind.value)
    return parts, left


# ---- DOT -----------------------------------------------------------------------------------------


def _dot(name: str, diagram: Diagram) -> str:
    lines = [
        f"digraph {_quoted(name)} {{",
        "  rankdir=LR;",
        '  node [style="filled", fontname="Times", height=0.35, margin="0.1,0.04"];',
        f'  edge [color="{_LINE}", arrowsize=0.6];',
    ]
    for number, box in enumerate(diagram.boxes):
        fill, line = _COLOURS[box.kind]
        shape = "box" if box.kind is Kind.PARAMETER else "ellipse"
        caption = f", xlabel=<{_dot_label(box.caption)}>" if box.caption else ""
        lines.append(
            f"  n{number} [label=<{_dot_label(box.label)}>{caption}, shape={shape}, "
            f'fillcolor="{fill}", color="{line}"];'
        )
    for arrow in diagram.arrows:
        operand = f' [headlabel="{arrow.operand}", labelfontsize=9]' if arrow.operand else ""
        lines.append(f"  n{arrow.start} -> n{arrow.stop}{operand};")
    return "\n".join([*lines, "}"]) + "\n"


def _dot_label(label: Label) -> str:
    text = f"<I>{escape(label.text)}</I>" if label.is_symbol else escape(label.text)
    return text + (f"<SUB>{escape(label.subscript)}</SUB>" if label.subscript else "")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', r"\"") + '"'
