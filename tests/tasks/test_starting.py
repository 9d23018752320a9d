"""`recurra.train`: what an editor and a notebook know of it."""

import inspect
from pathlib import Path
from typing import Any, get_args

import pytest

import recurra as rc
from recurra.settings import declared, kind_of
from recurra.tasks.options import OPTIONS

PARAMETERS = inspect.signature(rc.train).parameters


@pytest.mark.parametrize("task", OPTIONS)
def test_the_signature_has_every_setting_with_its_default_and_type(task: str) -> None:
    options = OPTIONS[task]
    for kind in (options.data, options.model, options.training):
        for each in declared(kind):
            shown = PARAMETERS[each.name]
            assert shown.kind is inspect.Parameter.KEYWORD_ONLY
            hint, optional = kind_of(kind, each.name)
            wanted = hint | None if optional else hint
            others = shown.annotation  # what another task takes is there too
            assert wanted == others or {*get_args(others)} >= {*(get_args(wanted) or (wanted,))}
            assert shown.default == each.default or f"{task}: {each.default!r}" in repr(
                shown.default
            )


def test_defaults_that_differ_by_task_name_each() -> None:
    sizes = {
        "lm": 256,
        "classify": 64,
        "tag": 256,
        "frames": 128,
        "translate": 256,
        "caption": 128,
        "align": 128,
        "forecast": 128,
        "motion": 256,
    }
    shown = ", ".join(f"{task}: {size}" for task, size in sizes.items())
    assert str(PARAMETERS["hidden_size"]) == f"hidden_size: int = <{shown}>"
    assert str(PARAMETERS["num_layers"]) == "num_layers: int = 1"


def test_what_is_not_the_settings_comes_first_and_others_are_taken() -> None:
    first = ["task", "out", "resume", "init_from", "view", "hooks", "data"]
    assert list(PARAMETERS)[: len(first)] == first
    assert PARAMETERS["settings"].kind is inspect.Parameter.VAR_KEYWORD


@pytest.mark.parametrize("name", ["out", "data", "val_data"])
def test_no_name_is_not_the_working_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a variable of the shell that is not set would have it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("the cat sat on the mat\n" * 50)
    given: dict[str, Any] = {"data": "text.txt", "out": "run", name: ""}
    with pytest.raises(ValueError, match=f"{name}: expected the name of a .*got ''"):
        rc.train("lm", view=None, **given)
    assert [each.name for each in tmp_path.iterdir()] == ["text.txt"]
