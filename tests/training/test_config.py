from typing import Any

import pytest

from recurra.tasks.options import LanguageTraining
from recurra.training.settings import CLIPPING, DEFAULT_EPOCHS, resolve_clipping

TrainingConfig = LanguageTraining


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("batch_size", 0),
        ("bptt", -1),
        ("epochs", 0),
        ("max_steps", -5),
        ("eval_every", 0),
        ("checkpoint_every", 0),
        ("threads", 0),
        ("warmup_steps", -1),
        ("sample_length", -1),
        ("seed", -1),
        ("lr", 0.0),
        ("lr", -0.1),
        ("lr", float("nan")),
        ("lr", float("inf")),
        ("max_minutes", 0.0),
        ("clip_norm", -1.0),
        ("clip_value", 0.0),
        ("clip_group_norm", -1.0),
        ("clip_percentile", 0.0),
        ("clip_percentile", 100.5),
        ("clip_window", 0),
        ("weight_decay", -0.1),
        ("weight_decay", 1.0),
        ("momentum", 1.5),
        ("optimizer", "adams"),
        ("schedule", "linear"),
        ("precision", "16-mixed"),
    ],
)
def test_a_bad_value_names_the_option_and_the_value(setting: str, value: Any) -> None:
    with pytest.raises(ValueError) as caught:
        TrainingConfig(**{setting: value})
    message = str(caught.value)
    assert message.startswith(f"{setting}: expected ")
    assert repr(value) in message


def test_two_kinds_of_clipping_are_refused() -> None:
    with pytest.raises(ValueError, match="clip_value: expected one kind of clipping"):
        TrainingConfig(clip_norm=1.0, clip_value=5.0)
    with pytest.raises(ValueError, match="clip_percentile: expected one kind of clipping"):
        TrainingConfig(clip_percentile=10.0)  # beside the default, a norm of 1


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {}),
        ({"no_clip": True}, dict.fromkeys(CLIPPING)),
        ({"no_clip": False}, {}),
        ({"clip_value": 5.0}, {"clip_value": 5.0, "clip_norm": None}),
        ({"clip_group_norm": 5.0}, {"clip_group_norm": 5.0, "clip_norm": None}),
        ({"clip_percentile": 10}, {"clip_percentile": 10, "clip_norm": None}),
        ({"clip_norm": 2.0}, {"clip_norm": 2.0}),
        ({"clip_norm": 2.0, "clip_value": 5.0}, {"clip_norm": 2.0, "clip_value": 5.0}),
    ],
)
def test_asking_for_one_kind_of_clipping_turns_the_other_off(
    given: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert resolve_clipping(given) == expected


def test_no_clip_beside_a_limit_is_refused() -> None:
    with pytest.raises(ValueError, match="no_clip: expected no limit beside it"):
        resolve_clipping({"no_clip": True, "clip_norm": 1.0})
    with pytest.raises(ValueError, match="got clip_percentile="):
        resolve_clipping({"no_clip": True, "clip_percentile": 10})


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, DEFAULT_EPOCHS * 7),
        ({"epochs": 2}, 14),
        ({"max_steps": 5}, 5),
        ({"max_minutes": 1.0}, None),
        ({"epochs": 2, "max_steps": 5}, 5),
        ({"epochs": 2, "max_steps": 50, "max_minutes": 1.0}, 14),
    ],
)
def test_the_budget_in_steps_is_the_smallest_that_is_given(
    settings: dict[str, Any], expected: int | None
) -> None:
    assert TrainingConfig(**settings).total_steps(batches=7) == expected
