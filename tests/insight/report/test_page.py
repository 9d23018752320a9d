"""A report: one file that needs no other, in the colours of whoever reads it."""

import base64
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="matplotlib is not installed")

from recurra.insight import style
from recurra.insight.report import Figure, Passage, Report

VOID = {"meta", "link", "br", "img"}


def draw(figure: Any) -> None:
    """A line and a map."""
    line, shades = style.panels(figure, 2)
    line.plot([0, 1, 2], [3, 1, 2], label="a <b>")
    line.legend()
    shades.imshow(np.eye(3), cmap=style.sequential())
    style.bare(shades)


def of(name: str, **how: Any) -> Figure:
    return Figure(
        **{"name": name, "title": f"The {name}", "lede": "Look here.", "found": "Found it.", **how}
    )


@pytest.fixture(scope="module")
def report() -> Report:
    passage = Passage(text=["a<", "b", "c", "d"], values=[0.0, 1.0, 0.99, -0.5], title="T & S")
    return Report(
        title="<script>alert(1)</script>",
        subtitle="on x & y",
        facts=[("cell", "g<r>u")],
        figures=[
            of("one", draw=draw, table={"x": range(20), "y": np.linspace(0, 1, 20)}),
            of("two", draw=draw),
            of("three", passages=[passage]),
        ],
        notes=["A note."],
    )


@pytest.fixture(scope="module")
def html(report: Report) -> str:
    return report.html()


class Tags(HTMLParser):
    """Which tags are open, and all names."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if "id" in found:
            self.ids.append(str(found["id"]))
        self.sources += [
            str(found[name]) for name in ("src", "href", "xlink:href") if name in found
        ]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.medium
def test_the_page_is_well_formed_and_all_names_are_unique(html: str) -> None:
    tags = Tags()
    tags.feed(html)
    assert tags.open == []
    assert len(set(tags.ids)) == len(tags.ids)
    local = {source[1:] for source in tags.sources if source.startswith("#")}
    assert local <= set(tags.ids)


@pytest.mark.medium
def test_nothing_is_asked_of_any_other_file(html: str) -> None:
    tags = Tags()
    tags.feed(html)
    assert all(source.startswith(("#", "data:")) for source in tags.sources)
    assert "default-src 'none'" in html
    assert not re.search(r"@import|url\((?!#)", html)


@pytest.mark.medium
def test_what_is_written_is_text_and_no_markup(html: str) -> None:
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "g&lt;r&gt;u" in html
    assert "a &lt;b&gt;" in html


@pytest.mark.medium
def test_drawings_are_in_the_colours_of_the_page(html: str) -> None:
    drawings = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    assert len(drawings) == 4  # of two figures, for a wide window and for a phone
    for each in drawings:
        assert "var(--ink)" in each
        assert "var(--series-0)" in each
        assert "DejaVu" not in each
        assert not set(re.findall(r"#[0-9a-f]{6}\b", each)) & set(style.LIGHT.values())


@pytest.mark.medium
def test_numbers_come_with_the_page(html: str, report: Report) -> None:
    [href] = re.findall(r'href="data:text/csv[^,]*,([^"]*)" download="one.csv"', html)
    assert base64.b64decode(href).decode() == report.figures[0].csv()
    assert "8 more rows." in html


@pytest.mark.medium
def test_long_tables_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    from recurra.insight.report import page

    monkeypatch.setattr(page, "_MOST_CSV", 10)
    figure = of("one", passages=[Passage(text="a")], table={"x": range(99)})
    html = Report(title="t", figures=[figure]).html()
    assert "add --figures FOLDER" in html
    assert "download=" not in html


@pytest.mark.medium
def test_tokens_of_one_shade_are_one_stretch(html: str) -> None:
    assert "<h3>T &amp; S</h3>" in html
    assert '<p>a&lt;<span class="a8">bc</span><span class="b4">d</span></p>' in html


@pytest.mark.medium
def test_figures_are_written_by_themselves_too(tmp_path: Path, report: Report) -> None:
    report.write(tmp_path / "report.html", tmp_path / "figures")
    assert sorted(path.name for path in (tmp_path / "figures").glob("[a-z]*")) == [
        "one.csv", "one.png", "one.svg", "two.png", "two.svg",
    ]  # fmt: skip
    svg = (tmp_path / "figures/one.svg").read_text("utf-8")
    assert "prefers-color-scheme:dark" in svg
    assert svg.count("<svg") == 1
    assert (tmp_path / "figures/one.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.medium
def test_tokens_of_any_characters_are_drawn_and_written(tmp_path: Path) -> None:
    """What no page or table may hold stands as the sign for that; the rest as it is."""
    tokens = ["</script>", "\x00", "\udc80", "]]>", "é"]

    def named(figure: Any) -> None:
        figure.subplots().set_xticks(range(5), list(map(style.plain, tokens)))

    passage = Passage(text=tokens, values=[math.nan, 0.0, 1.0, 0.0, 0.0])
    figure = of("one", draw=named, passages=[passage], table={"token": tokens})
    report = Report(title="run \udc80", figures=[figure])
    report.write(tmp_path / "report.html", tmp_path / "figures")
    html = (tmp_path / "report.html").read_text("utf-8")
    assert html.count("</script>") == 2  # the page's own
    assert '<p>&lt;/script&gt;\x00<span class="a8">' in html
    names = "".join(ElementTree.parse(tmp_path / "figures/one.svg").getroot().itertext())
    for token in ("</script>", "\ufffd", "?", "]]>", "é"):
        assert token in names


def test_figures_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="a name for each alone, got one more than once"):
        Report(title="t", figures=[of("one", draw=draw), of("one", draw=draw)])


@pytest.mark.medium
def test_a_drawing_of_its_own_width_is_there_once() -> None:
    def large(figure: Any) -> None:
        figure.set_size_inches(11, 2)
        figure.subplots()

    html = Report(title="t", figures=[of("one", draw=large)]).html()
    assert html.count("<svg") == 1
    assert 'class="plate both"' in html


# ---- colours -------------------------------------------------------------------------------------


def luminance(colour: str) -> float:
    """Relative luminance of sRGB, WCAG 2.2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


@pytest.mark.parametrize("scheme", [style.LIGHT, style.DARK], ids=["light", "dark"])
def test_colours_stand_out_from_the_ground(scheme: dict[str, str]) -> None:
    assert scheme.keys() == style.LIGHT.keys()
    assert len(set(scheme.values())) == len(scheme)
    ground = luminance(scheme["ground"])
    for role, colour in scheme.items():
        own = luminance(colour)
        contrast = (max(own, ground) + 0.05) / (min(own, ground) + 0.05)
        least = {"ground": 1.0, "rule": 1.2}.get(role, 4.5)
        assert contrast >= least, (role, contrast)


def test_panels_stand_beside_one_another_where_there_is_room() -> None:
    from matplotlib.figure import Figure as Drawn

    wide, narrow = Drawn(figsize=(style.WIDE, 1)), Drawn(figsize=(style.NARROW, 1))
    assert len(style.panels(wide, 3, height=2)) == 3
    assert len(style.panels(narrow, 3, height=2)) == 3
    assert wide.get_figheight() == 2
    assert narrow.get_figheight() == 6
