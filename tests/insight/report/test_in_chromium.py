"""Reports as a real browser shows them: laptop and phone, light and dark, without any complaint."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="matplotlib is not installed")

from benchmarks import browser

from recurra.insight import style
from recurra.insight.report import Figure, Passage, Report
from recurra.tasks import train

pytestmark = pytest.mark.medium

WIDTHS = {"laptop": 1280, "phone": 390}
# of each figure: whether something of it is seen, and how small its letters are
SEEN = """
[...document.querySelectorAll("section.figure")].map(section => {
  const drawn = [...section.querySelectorAll(".sheet svg, .passage")]
    .map(each => ({box: each.getBoundingClientRect(), each}))
    .filter(({box}) => box.width > 100 && box.height > 30);
  const letters = drawn.flatMap(({each}) => [...each.querySelectorAll("text")])
    .map(text => text.getBoundingClientRect().height).filter(height => height > 0);
  return {name: section.id, count: drawn.length, least: Math.min(99, ...letters)};
})
"""


def shades(figure: Any) -> None:
    axes = style.panels(figure, 2, height=2.6)
    for ax in axes:
        ax.imshow(np.tril(np.ones((20, 20))), cmap=style.sequential())
        ax.set_title("some panel")
        style.bare(ax)


def lines(figure: Any) -> None:
    [ax] = style.panels(figure, 1)
    for number in range(4):
        ax.plot(np.arange(50), np.arange(50) * (number + 1), label=f"cell {number}")
    ax.set_xlabel("lag")
    ax.legend()


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    words = {"lede": "Look at what is here, and for how long it stays.", "found": "It was found."}
    report = Report(
        title="first: gru language model",
        facts=[("cell", "gru"), ("parameters", "123,456"), ("time", "1 min 00 s")],
        figures=[
            Figure(name="shades", title="Shades", draw=shades, **words),
            Figure(name="lines", title="Lines", draw=lines, table={"x": range(30)}, **words),
            Figure(
                name="text",
                title="A text",
                passages=[Passage(text=list("some words " * 40), values=[0.5, -0.5] * 220)],
                **words,
            ),
        ],
    )
    return report.write(tmp_path_factory.mktemp("page") / "report.html")


@pytest.fixture(scope="module")
def page() -> Iterator[browser.Page]:
    program = browser.find()
    if program is None:
        pytest.skip("no Chromium is installed; on Debian: apt-get install chromium")
    with browser.started(program) as running:
        yield running.page()


@pytest.fixture(scope="module")
def report_of_a_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The whole report of a run of a small language model, and the names of its figures."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "text.txt").write_text('say "the cat (sat)" on\n    the mat  # so\n' * 400)
    how: dict[str, Any] = {"hidden_size": 8, "batch_size": 4, "bptt": 20, "max_steps": 20}
    how |= {"backend": "reference", "view": None}
    run = train("lm", data=str(folder / "text.txt"), out=folder / "first", **how)
    report = run.report()
    return report.write(folder / "report.html"), [each.name for each in report.figures]


SCHEMES = pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
SIZES = pytest.mark.parametrize("width", WIDTHS.values(), ids=list(WIDTHS))


@SCHEMES
@SIZES
def test_every_figure_of_a_runs_report_is_drawn(
    page: browser.Page, report_of_a_run: tuple[Path, list[str]], width: int, dark: bool
) -> None:
    file, names = report_of_a_run
    wanted = {"memory", "gradient_flow", "vanishing", "lyapunov", "fixed_points", "surface"}
    assert wanted | {"clipping", "training", "surprise", "paths"} <= set(names)
    page.look(width, 800, dark=dark)
    page.open(file)
    assert page.complaints == []
    seen = page.evaluate(SEEN)
    assert [each["name"] for each in seen] == names
    assert min(each["count"] for each in seen) >= 1
    assert min(each["least"] for each in seen) >= 9
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@SCHEMES
@SIZES
def test_a_report_is_seen_whole(
    page: browser.Page, page_file: Path, width: int, dark: bool
) -> None:
    page.look(width, 800, dark=dark)
    page.open(page_file)
    assert page.complaints == []
    seen = page.evaluate(SEEN)
    assert {each["name"]: each["count"] for each in seen} == {"shades": 1, "lines": 1, "text": 1}
    assert min(each["least"] for each in seen) >= 9  # pixels of the smallest letters
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(19, 22, 29)" if dark else "rgb(253, 253, 252)")


def test_the_colours_can_be_switched(page: browser.Page, page_file: Path) -> None:
    page.look(1280, 800, dark=True)
    page.open(page_file)
    grounds = []
    for _ in range(3):
        page.evaluate("document.getElementById('theme').click()")
        words = "document.getElementById('theme').textContent"
        ground = "getComputedStyle(document.body).backgroundColor"
        grounds.append((page.evaluate(words), page.evaluate(ground)))
    light, dark = "rgb(253, 253, 252)", "rgb(19, 22, 29)"
    assert grounds == [
        ("Colours: light", light), ("Colours: dark", dark), ("Colours: as the system", dark),
    ]  # fmt: skip
    assert page.complaints == []


def test_what_a_page_complains_of_is_heard(page: browser.Page, tmp_path: Path) -> None:
    file = tmp_path / "bad.html"
    file.write_text("<img src='http://localhost:9/a.png'><script>console.error('no')</script>")
    page.open(file)
    found, page.complaints = " ".join(page.complaints), []
    assert "it asked for http://localhost:9/a.png" in found
    assert "no" in found
