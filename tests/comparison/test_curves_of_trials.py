"""The trainer adds nothing to a trial: its curve is that of a bare loop, bit for bit."""

import math

import pytest
import torch

import recurra as rc
from recurra.comparison import Trial, run_trial
from recurra.tasks.made_up import Adding, Batch
from recurra.training import clip_gradients

STEPS, SIZE, HIDDEN, RATE, POINTS = 12, 8, 6, 0.01, 50


def bare(cell: str, seed: int, steps: int) -> list[tuple[int, float | None, float, float | None]]:
    """Step, loss, score and test score of every point, by the loop that trials had of their own."""
    problem = Adding(steps=STEPS)
    torch.manual_seed(seed)
    layer = rc.Recurrent(cell, 2, HIDDEN)
    readout = torch.nn.Linear(HIDDEN, 1)
    parameters = [*layer.parameters(), *readout.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=RATE)
    drawn = torch.Generator().manual_seed(seed)
    parts = {part: list(problem.held_out(part, SIZE)) for part in ("val", "test")}

    def output(batch: Batch) -> torch.Tensor:
        return readout(layer(batch.x)[0][-1])

    @torch.no_grad()
    def score(part: str) -> float:
        batches = parts[part]
        return sum(problem.score(output(b), b) * b.count for b in batches) / (SIZE * len(batches))

    points, best, loss, next_share = [], math.inf, None, 0.0
    for step in range(steps + 1):
        share = step / steps
        if share >= next_share:
            val = score("val")
            points.append((step, loss, val, score("test") if val < best else None))
            best = min(best, val)
            next_share = (math.floor(share * POINTS) + 1) / POINTS
        if step < steps:
            batch = problem.batch(SIZE, drawn)
            found = problem.loss(output(batch), batch)
            optimizer.zero_grad()
            found.backward()
            clip_gradients(parameters, max_norm=1.0)
            loss = found.item()
            optimizer.step()
    return points


@pytest.mark.medium
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_a_curve_is_that_of_a_bare_loop(cell: str, seed: int) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        expected = bare(cell, seed, steps=25)
    finally:
        torch.set_num_threads(threads)
    trial = Trial(
        task=f"adding:steps={STEPS}",
        cell=cell,
        hidden_size=HIDDEN,
        seed=seed,
        lr=RATE,
        batch_size=SIZE,
        max_steps=25,
    )
    outcome = run_trial(trial)
    assert [(p.step, p.loss, p.score, p.test) for p in outcome.points] == expected
    assert len(expected) == 26
