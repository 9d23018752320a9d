import pytest

from recurra.training import TrainingConfig
from recurra.training.budget import Budget, EvaluationPlan


def test_a_step_budget_ends_by_steps_whatever_the_clock_says() -> None:
    budget = Budget.of(TrainingConfig(max_steps=10), batches=100)
    assert budget.fraction(5, elapsed_s=1e6) == 0.5
    assert budget.fraction(10, elapsed_s=0.0) == 1.0


def test_a_clock_budget_ends_by_the_clock() -> None:
    budget = Budget.of(TrainingConfig(max_minutes=2.0), batches=100)
    assert budget.fraction(10**6, elapsed_s=30.0) == 0.25
    assert budget.fraction(1, elapsed_s=121.0) == 1.0


def test_of_two_budgets_the_first_to_end_counts() -> None:
    budget = Budget.of(TrainingConfig(max_minutes=1.0, max_steps=10), batches=100)
    assert budget.fraction(9, elapsed_s=6.0) == 0.9
    assert budget.fraction(1, elapsed_s=30.0) == 0.5


def test_time_left_follows_from_the_speed_so_far() -> None:
    budget = Budget.of(TrainingConfig(max_steps=10), batches=100)
    assert budget.seconds_left(0, 0.0) is None
    assert budget.seconds_left(4, 8.0) == pytest.approx(12.0)


def plan(val_tokens: int, **settings: object) -> EvaluationPlan:
    config = TrainingConfig(**settings)  # pyright: ignore[reportArgumentType]
    budget = Budget.of(config, batches=100)
    return EvaluationPlan.of(config, budget, step_cost=1000, val_cost=val_tokens)


def test_a_long_run_is_validated_twenty_times() -> None:
    assert plan(1000, epochs=10).every_steps == 50


def test_validating_costs_a_twentieth_of_the_work_at_most() -> None:
    every = plan(60_000, max_steps=1000).every_steps
    assert every == 400  # a third of 60,000 tokens is a twentieth of 400,000


def test_the_user_decides_how_often_to_validate() -> None:
    assert plan(60_000, max_steps=1000, eval_every=7).every_steps == 7


def test_under_the_clock_validation_goes_by_the_clock_and_by_its_cost() -> None:
    by_clock = plan(1000, max_minutes=10.0)
    assert by_clock.every_steps is None
    assert not by_clock.due(steps=10**6, seconds=29.0, last_cost_s=0.1)
    assert by_clock.due(steps=1, seconds=31.0, last_cost_s=0.1)
    assert not by_clock.due(steps=1, seconds=31.0, last_cost_s=2.0)
    assert by_clock.due(steps=1, seconds=41.0, last_cost_s=2.0)
