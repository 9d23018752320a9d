"""Clips along time, drawn."""

from pathlib import Path

import numpy as np
import pytest

from recurra.insight import Timeline, draw_timelines, timelines_png
from recurra.insight.timelines import _drawn, runs_of

pytest.importorskip("matplotlib")


def of_labels(channels: int = 4, T: int = 9) -> Timeline:
    frames = np.random.default_rng(0).integers(256, size=(T, channels, 8, 6)).astype(np.uint8)
    return Timeline(
        frames=frames,
        true=["rest"] * 3 + ["push"] * (T - 3),
        said=["rest"] * 5 + ["pull"] * (T - 5),
        name="a $clip",
        labels=["rest", "push", "pull"],
        quiet="rest",
    )


def test_runs_are_where_labels_change() -> None:
    assert runs_of(["a", "a", "b", "a"]) == [("a", 0, 2), ("b", 2, 3), ("a", 3, 4)]
    assert runs_of(["a"]) == [("a", 0, 1)]


@pytest.mark.medium
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_clips_of_labels_are_drawn(tmp_path: Path, channels: int) -> None:
    clips = [of_labels(channels), of_labels(channels, 30)]
    path = draw_timelines(clips, tmp_path / "a.svg")
    assert path.read_text().rstrip().endswith("</svg>")
    axes = _drawn(clips, "").axes
    # of short clips all frames, of others 14; then a bar for each run, true and said
    assert [len(ax.images) for ax in axes] == [9, 0, 14, 0]
    assert [len(ax.collections) for ax in axes] == [0, 4, 0, 4]


@pytest.mark.medium
def test_clips_of_numbers_are_drawn() -> None:
    rng = np.random.default_rng(0)
    clip = Timeline(
        frames=rng.random((9, 1, 8, 6)).astype(np.float32),
        true=rng.random((9, 7)),
        said=rng.random((9, 7)),
        numbers=("yaw_degrees", "pitch_degrees"),
    )
    assert timelines_png([clip], title="test").startswith(b"\x89PNG")


@pytest.mark.medium
@pytest.mark.parametrize("shape", [(16, 16), (8, 24)])
def test_points_are_drawn_into_frames(tmp_path: Path, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    clip = Timeline(
        frames=rng.integers(256, size=(5, 1, *shape)).astype(np.uint8),
        true=rng.uniform(0.1, 0.9, (5, 6)),
        said=rng.uniform(2, 3, (5, 6)),  # far outside: nothing to draw
        are_points=True,
    )
    drawn = draw_timelines([clip], tmp_path / "a.svg").read_text()
    assert drawn.count("PathCollection") == 10
    assert "% of height" in drawn
