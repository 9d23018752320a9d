"""The picture of a confusion matrix says what the matrix says."""

import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib import rc_context

from recurra.insight import draw_confusion
from recurra.models.confusion import Confusion

LABELS = ["negative", "so-so", "$x$ & a label without end"]


@pytest.mark.medium
def test_cells_say_share_and_count(tmp_path: Path) -> None:
    confusion = Confusion.of([0] * 4 + [1] * 3 + [2], [0, 0, 0, 1, 1, 1, 2, 2], LABELS)
    with rc_context({"svg.fonttype": "none"}):  # text as text
        path = draw_confusion(confusion, tmp_path / "pictures" / "confusion.svg", title="a$b$c")
    svg = path.read_text()
    texts = re.findall(r">([^<>]+)</text>", svg)
    assert [t for t in texts if t.endswith(" %")][:5] == ["75 %", "25 %", "67 %", "33 %", "100 %"]
    assert {"negative", "so-so", "true", "predicted", "a$b$c"} <= set(texts)
    assert "$x$ &amp; a label wit…" in texts
    assert any(t == "accuracy 75.0 %, macro F1 0.730, 8 examples" for t in texts), texts
    assert [file.name for file in path.parent.iterdir()] == ["confusion.svg"]  # no part is left


@pytest.mark.medium
@pytest.mark.parametrize("size", [2, 25, 70])
def test_draws_few_and_many_classes(tmp_path: Path, size: int) -> None:
    numbers = np.arange(size)
    path = draw_confusion(Confusion.of(numbers, numbers, size), tmp_path / "confusion.png")
    assert path.read_bytes().startswith(b"\x89PNG")
