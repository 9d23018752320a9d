"""The moving picture of bodies."""

from pathlib import Path

import numpy as np
import pytest

from recurra.insight.skeleton import draw_motion


@pytest.mark.medium
def test_a_gif_has_a_picture_for_each_frame(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image", reason="pillow draws")
    frames = np.random.default_rng(0).normal(size=(5, 117)) / 5
    path = draw_motion({"true": frames, "said": frames * 0}, tmp_path / "a.gif", seen=2)
    with image.open(path) as gif:
        assert (gif.n_frames, gif.size, gif.info["duration"]) == (5, (600, 352), 50)
        assert gif.info["loop"] == 0
        pixels = []
        for frame in (0, 4):
            gif.seek(frame)
            pixels.append(np.asarray(gif.convert("L")))
    body = slice(40, 320)
    assert pixels[1][body].min() < pixels[0][body].min()  # what was seen is pale
    half = pixels[1].shape[1] // 2
    assert (pixels[1][body, :half] != pixels[1][body, half:]).any()


def test_mistakes(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"as many frames in each panel.*got 1 in a, 2 in b\. Cut"):
        draw_motion({"a": np.zeros((1, 117)), "b": np.zeros((2, 117))}, tmp_path / "a.gif")
    assert not (tmp_path / "a.gif").exists()
