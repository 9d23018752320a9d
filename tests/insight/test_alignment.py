"""Words on regions, drawn."""

from pathlib import Path

import numpy as np
import pytest
import torch

from recurra.insight.alignment import (
    _map,
    alignments_figure,
    alignments_png,
    colours_of,
    draw_alignments,
    lines_of,
    write_alignments,
)
from recurra.insight.looking import as_seen
from recurra.insight.style import SERIES as COLOURS
from recurra.models import Alignment
from recurra.models.regions import cells

pytest.importorskip("matplotlib", reason="matplotlib is not installed")


def said(*, grid: bool = True) -> Alignment:
    words = ("a", "red", "$dog", "runs", "over", "the", "long", "green", "<grass>")
    regions = (1, 1, 1, 0, 0, 2, 2, 2, 2)
    return Alignment(
        score=2.5,
        words=words,
        regions=regions,
        scores=torch.arange(36, dtype=torch.float32).view(9, 4) - 10,
        boxes=cells(2, 2, torch.zeros(1)),
        grid=(2, 2) if grid else None,
    )


PICTURE = np.full((20, 30, 3), 90, dtype=np.uint8)


def test_words_have_the_colour_of_their_region_and_regions_a_frame() -> None:
    assert colours_of(said()) == dict(zip((1, 0, 2), COLOURS, strict=False))
    figure = alignments_figure([(PICTURE, said())] * 5)
    assert len(figure.axes) == 5
    assert len(figure.axes[0].patches) == 2 * 3  # each has a white one below it
    first = figure.axes[0].patches[1]
    assert first.get_xy() == (14.5, -0.5)  # the cell at the top right
    assert (first.get_width(), first.get_height()) == (15, 10)
    assert len(figure.texts) == 5 * 9
    assert figure.texts[1].get_color() == COLOURS[0]


def test_words_are_wrapped_and_keep_their_places() -> None:
    assert lines_of(["ab", "cde", "f", "ghijk"], 8) == [[(0, 0), (1, 3), (2, 7)], [(3, 0)]]
    assert lines_of(["a" * 20, "b"], 8) == [[(0, 0)], [(1, 0)]]


def test_a_map_is_where_something_is_alike() -> None:
    assert _map(said(), 2).tolist() == [[0, 0], [0, 1]]
    assert _map(said(), 3).tolist() == [[2, 3], [4, 5]]
    painted = _map(said(grid=False), 3)
    assert painted[:24, :24].max() == painted[:24, :24].min() == 2
    assert painted[24:, 24:].min() == 5


@pytest.mark.medium
@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (4, 5, 3), (4, 5, 4)])
def test_pictures_that_are_drawn_whole_have_three_colours(shape: tuple[int, ...]) -> None:
    assert as_seen(np.zeros(shape, dtype=np.uint8), None).shape == (4, 5, 3)


@pytest.mark.medium
def test_sheets_pages_and_maps_are_written(tmp_path: Path) -> None:
    shown = [(PICTURE, said()), (PICTURE.swapaxes(0, 1), said(grid=False))]
    assert draw_alignments(shown, tmp_path / "a.svg").read_text().rstrip().endswith("</svg>")
    assert alignments_png(shown, maps=True).startswith(b"\x89PNG")
    page = write_alignments(shown, tmp_path / "a.html").read_text()
    assert page.count("data:image/png;base64,") == 2
    assert "&lt;grass&gt;" in page
    assert "<grass>" not in page
