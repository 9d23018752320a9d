"""The lesson of vanishing gradients: what is left at lag 100 of a gradient, of five cells.

Each reads the adding problem, whose loss is at the end, and is looked at when it is fresh and when
it has learned for the same number of steps. The gradient is that of the problem's own loss by all
states of a step, relative to lag 1, mean over sequences that were not trained on. Figures are
medians over seeds.

python -m benchmarks.gradients trains all five, prints a table, and draws those of the first seed in
docs/figures/gradient_flow.svg; with --fresh it trains none, and prints what is left of fresh ones.
"""

import argparse
import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.registry import Benchmark, Row, Settings
from recurra.insight.gradient_flow import GradientFlow, gradient_flow_of_loss
from recurra.models.readout import Readout
from recurra.tasks.made_up import Adding, Batch, Problem
from recurra.tasks.problem_options import ReadoutSettings
from recurra.tasks.problems import ProblemTask
from recurra.training import Trainer, TrainingSettings

FIGURE = Path(__file__).parent.parent / "docs" / "figures" / "gradient_flow.svg"
CELLS = {
    "rnn": "rnn",
    "lstm": "lstm, forget bias 1",
    "gru": "gru",
    "lstm_1997": "lstm without forget gate",
    "naive_memory": "naive memory",
}
LENGTH, HIDDEN, BATCH, STEPS, LAG = 110, 32, 32, 3000, 100
SEEDS = (1, 2, 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """One cell: its gradient flow fresh and trained, and its mean squared error after training."""

    cell: str
    fresh: GradientFlow
    trained: GradientFlow
    error: float


def left(flow: GradientFlow) -> float:
    """What is left at lag 100 of the gradient at lag 1; 0 where nothing reaches that either."""
    lags = flow.by_lag()
    return float(lags[LAG] / lags[1]) if lags[1] > 0 else 0.0


def flow_of(model: Readout, problem: Problem, batch: Batch) -> GradientFlow:
    """Of the problem's own loss, in float64."""

    def loss() -> torch.Tensor:
        return problem.loss(model(batch.x, batch.lengths), batch)

    return gradient_flow_of_loss(model.recurrent, loss, dtype=torch.float64)


def fresh_flow(
    cell: str, seed: int, *, backend: str = "auto"
) -> tuple[ProblemTask, Readout, GradientFlow]:
    """One cell before it has learned anything."""
    task = ProblemTask(Adding(steps=LENGTH))
    torch.manual_seed(seed)
    model = task.build(ReadoutSettings(cell=cell, hidden_size=HIDDEN), backend=backend)
    return task, model, flow_of(model.eval(), task.problem, _held_out(task.problem))


def _held_out(problem: Problem) -> Batch:
    return next(iter(problem.held_out("test", BATCH)))


def lesson(cell: str, seed: int, *, steps: int = STEPS) -> Lesson:
    """Train one cell, and look at it before and after."""
    task, model, fresh = fresh_flow(cell, seed)
    settings = TrainingSettings(
        optimizer="adam", lr=2e-3, schedule="constant", warmup_steps=0, batch_size=BATCH,
        seed=seed, max_steps=steps, eval_every=steps, clip_norm=1.0, device="cpu",
    )  # fmt: skip
    Trainer(task, model, settings).fit()
    trained = flow_of(model.eval(), task.problem, _held_out(task.problem))
    error = task.evaluate(model, "test")[task.problem.measure]
    return Lesson(cell=cell, fresh=fresh, trained=trained, error=error)


def table(found: Sequence[Sequence[Lesson]]) -> str:
    """The table of the page, in Markdown, from the lessons of each cell."""
    lines = [
        "| cell | fresh | trained | its mean squared error |",
        "|---|---|---|---|",
    ]
    for lessons in found:
        fresh, trained = (_power(middle) for middle in _left(lessons))
        error = statistics.median(each.error for each in lessons)
        lines.append(f"| {CELLS[lessons[0].cell]} | {fresh} | {trained} | {error:.4f} |")
    return "\n".join(lines)


def _left(lessons: Sequence[Lesson]) -> tuple[float, float]:
    """Medians over the seeds of what is left of fresh cells and of trained ones."""
    return (
        statistics.median(left(each.fresh) for each in lessons),
        statistics.median(left(each.trained) for each in lessons),
    )


def _power(value: float) -> str:
    """Two digits, and a power of ten where it is small."""
    if value >= 0.01 or value == 0:
        return f"{value:.2g}"
    power = math.floor(math.log10(value))
    return f"{value / 10**power:.1f}e{power}"


def draw(lessons: Sequence[Lesson]) -> None:
    """Norms by lag, fresh and trained, side by side; light or dark as the reader's system is."""
    from recurra.insight import style
    from recurra.insight.flow_figures import draw_by_lag
    from recurra.insight.report.rendering import svg_file

    def both(figure: Any) -> None:
        panels = style.panels(figure, 2, height=3.2, sharey=True)
        for ax, title in zip(panels, ("fresh", "trained"), strict=True):
            flows = {CELLS[each.cell]: getattr(each, title) for each in lessons}
            draw_by_lag(flows, ax, least=1e-30)
            ax.set_title(title)
            ax.label_outer()
        panels[1].get_legend().remove()

    FIGURE.write_text(svg_file(both, "gradient_flow"), encoding="utf-8")


def _check() -> None:
    """What is left at lag 1 of that at lag 1 is all."""
    problem = Adding(steps=4)
    model = ProblemTask(problem).build(ReadoutSettings(cell="gru", hidden_size=3))
    flow = flow_of(model, problem, next(iter(problem.held_out("test", 2))))
    assert flow.losses.tolist() == [3]
    assert np.isfinite(flow.by_lag()).all()


def _run(settings: Settings) -> Iterator[Row]:
    seeds, steps = (SEEDS[:1], 20) if settings.quick else (SEEDS, STEPS)
    for cell, name in CELLS.items():
        lessons = [lesson(cell, seed, steps=steps) for seed in seeds]
        fresh, trained = _left(lessons)
        error = statistics.median(each.error for each in lessons)
        yield Row(
            job=f"{name}, adding {LENGTH}, {HIDDEN} units",
            peer="fresh",
            ours=trained,
            theirs=fresh,
            unit="left",
            ratio=trained / fresh if fresh > 0 else math.inf,
            rounds=len(lessons),
            threads=settings.threads,
            note=f"mean squared error {error:.4f}",
            details={
                "fresh": [left(each.fresh) for each in lessons],
                "trained": [left(each.trained) for each in lessons],
                "error": [each.error for each in lessons],
            },
        )


BENCHMARKS = (
    Benchmark(
        name="gradients",
        doc="what is left of a gradient at lag 100, of that at lag 1; ratio: trained over fresh",
        check=_check,
        run=_run,
        by_default=False,
    ),
)

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gradients", description=__doc__)
    parser.add_argument("--fresh", action="store_true", help="train nothing")
    only_fresh = parser.parse_args().fresh
    torch.set_num_threads(1)
    found = []
    for cell, name in CELLS.items():
        if only_fresh:  # nothing is built for one run
            flows = [fresh_flow(cell, seed, backend="reference")[2] for seed in SEEDS]
            print(f"| {name} | {_power(statistics.median(map(left, flows)))} |", flush=True)
        else:
            found.append([lesson(cell, seed) for seed in SEEDS])
            print(table(found[-1:]).splitlines()[-1], flush=True)
    if found:
        draw([lessons[0] for lessons in found])
