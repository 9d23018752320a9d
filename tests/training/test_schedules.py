import pytest

from recurra.training import Schedule, TrainingConfig


def test_warm_up_is_linear_and_ends_at_the_rate() -> None:
    schedule = Schedule(TrainingConfig(lr=1.0, warmup_steps=4, schedule="constant"))
    assert [schedule.learning_rate(step, 0.0) for step in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]


def test_no_warm_up_starts_at_the_rate() -> None:
    schedule = Schedule(TrainingConfig(lr=1.0, warmup_steps=0, schedule="constant"))
    assert schedule.learning_rate(0, 0.0) == 1.0


def test_the_default_warm_up_is_a_tenth_of_a_short_run() -> None:
    schedule = Schedule(TrainingConfig(lr=1.0, schedule="constant"))
    assert schedule.learning_rate(5, 0.05) == pytest.approx(0.5)
    assert schedule.learning_rate(10, 0.1) == 1.0
    assert schedule.learning_rate(49, 0.001) == pytest.approx(0.5)  # of a long run: 100 steps


def test_cosine_falls_to_a_hundredth() -> None:
    schedule = Schedule(TrainingConfig(lr=1.0, warmup_steps=0))
    rates = [schedule.learning_rate(9, fraction) for fraction in (0.0, 0.25, 0.5, 1.0)]
    assert rates == pytest.approx([1.0, 0.8550, 0.505, 0.01], abs=1e-4)


def test_a_plateau_halves_the_rate_after_two_validations_without_gain() -> None:
    schedule = Schedule(TrainingConfig(lr=1.0, warmup_steps=0, schedule="plateau"))
    assert [schedule.validated(nll) for nll in (3.0, 2.0, 2.5)] == [False, False, False]
    assert schedule.learning_rate(9, 0.5) == 1.0
    assert schedule.validated(2.0)
    assert schedule.learning_rate(9, 0.5) == 0.5
    assert not schedule.validated(1.9)


def test_a_schedule_goes_on_from_its_state() -> None:
    config = TrainingConfig(lr=1.0, warmup_steps=0, schedule="plateau")
    schedule, other = Schedule(config), Schedule(config)
    for nll in (2.0, 2.0, 2.0, 2.5):
        schedule.validated(nll)
    other.restore(schedule.state())
    assert other.validated(3.0)
    assert other.learning_rate(9, 0.5) == 0.25


def test_cosine_and_constant_ignore_validations() -> None:
    for name in ("cosine", "constant"):
        schedule = Schedule(TrainingConfig(schedule=name))
        assert not any(schedule.validated(1.0) for _ in range(9))
