"""Curves over noise are those of a page's table; runs that are kept are not trained twice."""

import json
from pathlib import Path

import pytest

pytest.importorskip("benchmarks", reason="the benchmarks are not installed, only cloned")

from benchmarks import draw_frames, runs
from benchmarks.registry import Settings

PAGE = """
| option | what |
|---|---|
| noise | 0.5 | 1 | 2 |
|---|---|---|---|
| gestures, % | 95 | 90.5 | 70 |
| single frames | 50 | 45 | 30 |
| eyes, degrees | 2 | 2.5 | 4 |
| single frames | 3 | 4.5 | 7 |
"""


def test_curves_are_those_of_the_table() -> None:
    found = draw_frames.curves(PAGE)
    assert [each.what for each in found] == ["gestures, %", "eyes, degrees"]
    assert found[0].noises == (0.5, 1, 2)
    assert (found[0].ours, found[1].single) == ((95, 90.5, 70), (3, 4.5, 7))
    svg = draw_frames.drawn(found)
    assert svg.count("<polyline") == 4
    assert svg.count("<circle") == 12


def test_the_figure_is_of_the_pages_table() -> None:
    found = draw_frames.curves(draw_frames.PAGE.read_text(encoding="utf-8"))
    assert [each.noises for each in found] == [(0.5, 1, 1.5, 2)] * 4
    drawn = draw_frames.drawn(found)
    file = draw_frames.FIGURE.read_text(encoding="utf-8")
    assert file == drawn, "draw it: python -m benchmarks.draw_frames"


def test_a_run_that_is_kept_is_trained_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def answer(arguments: list[str]) -> str:
        asked.append(arguments)
        if arguments[0] == "train":
            out = Path(next(each for each in arguments if each.startswith("--out="))[6:])
            out.mkdir(exist_ok=True)
            (out / "training.json").write_text('{"progress": {"elapsed_s": 60}}')
        return '{"accuracy": 0.5}'

    monkeypatch.setattr(runs, "_output", answer)
    settings = Settings(threads=1, runs=tmp_path / "kept")

    def measured(flags: str) -> list[str]:
        asked.clear()
        found = runs.train_and_evaluate(
            *("frames", ["--data=eyes"], flags, 1, settings), evaluations=[[]], name="eyes"
        )
        assert found == ([{"accuracy": 0.5}], {"elapsed_s": 60})
        return [" ".join(each[:2]) for each in asked]

    out = str(tmp_path / "kept" / "eyes")
    assert measured("--epochs 2") == ["train frames", f"evaluate {out}"]
    assert measured("--epochs 2") == [f"evaluate {out}"]
    note = tmp_path / "kept" / "eyes.command.json"
    note.write_text(json.dumps({**json.loads(note.read_text()), "done": False}))
    assert measured("--epochs 2") == ["train frames", f"evaluate {out}"]
    assert "--resume" in asked[0]
    with pytest.raises(RuntimeError, match=r"expected a run of .* got another"):
        measured("--epochs 3")
