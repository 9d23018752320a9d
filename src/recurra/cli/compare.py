"""`recurra compare`: cells against one another on a task, under one budget, from several seeds."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from recurra.cli.options import BUDGET, LEARNING, MACHINE, MODEL, named, option, path
from recurra.terminal import printable

TASK = "Task"


def compare_cells(
    task: Annotated[
        str,
        option(
            TASK,
            "adding, arithmetic, copying, nesting or temporal-order, with settings after a colon: "
            "copying:delay=200,symbols=10; or text:path=FILE, folder:path=FOLDER (a sub-folder of "
            ".npy or .csv files for each class; a path with commas in quotes of its own).",
        ),
    ] = "adding",
    cells: Annotated[
        str,
        option(
            MODEL,
            "Cells by name, with commas between: see recurra cells. How a parameter starts stands "
            "behind a colon: lstm:b_f=chrono400:b_i=-b_f.",
        ),
    ] = "rnn,lstm,gru,mut1",
    hidden_size: Annotated[
        int, option(MODEL, "Units of an LSTM; each cell gets as many parameters as that.")
    ] = 128,
    equal_units: Annotated[
        bool, option(MODEL, "Give every cell --hidden-size units instead.", "--equal-units")
    ] = False,
    seeds: Annotated[int, option(BUDGET, "Trials of each cell.")] = 3,
    max_steps: Annotated[
        int | None, option(BUDGET, "Steps of each trial.", default="no limit")
    ] = None,
    max_minutes: Annotated[
        float | None, option(BUDGET, "Minutes of training of each trial.", default="5, or none")
    ] = None,
    lr: Annotated[float, option(LEARNING, "Learning rate of Adam.")] = 1e-3,
    batch_size: Annotated[int, option(LEARNING, "Sequences in a step.")] = 64,
    clip: Annotated[float, option(LEARNING, "Largest norm of the gradients.")] = 1.0,
    jobs: Annotated[
        int | None, option(MACHINE, "Processes at once.", default="one for each CPU")
    ] = None,
    ray: Annotated[
        str | None,
        option(
            MACHINE,
            "Run on the Ray cluster of this address; local starts one here.",
            default="processes here",
            parser=named,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        option(
            MACHINE,
            "Folder of the results.",
            default="runs/compare-TASK, its settings too",
            parser=path,
        ),
    ] = None,
) -> None:
    """Train cells on a task under one budget and several seeds; say which wins, and draw curves.

    A validation part of the task's sequences says when a trial stops and which of its steps was
    best; what is reported is the score of that step on the test part. What has ended is kept: the
    same command goes on with what is missing. Examples:

    recurra compare --task adding:steps=400 --cells rnn,lstm,gru,mut1 --max-minutes 5

    recurra compare --task copying:delay=200 --cells lstm,indrnn --seeds 5 --max-steps 2000
    """
    import os

    from rich.console import Console

    from recurra import comparison
    from recurra.comparison import MAX_JOBS, DeathError, Results, plan_trials, summarise
    from recurra.data import make_task
    from recurra.insight import draw_comparison
    from recurra.settings import positive, whole

    _check_installed("compare", "matplotlib", "pyarrow")
    if ray is not None:
        _check_installed("sweep", "ray")
    positive("max_minutes", max_minutes, optional=True)
    whole("jobs", jobs, least=1, most=MAX_JOBS, optional=True)
    if max_steps is None and max_minutes is None:
        max_minutes = 5.0
    trials = plan_trials(
        task,
        [name.strip() for name in cells.split(",") if name.strip()],
        seeds=seeds,
        hidden_size=hidden_size,
        equal_parameters=not equal_units,
        max_steps=max_steps,
        max_seconds=None if max_minutes is None else 60 * max_minutes,
        lr=lr,
        batch_size=batch_size,
        clip=clip,
    )
    made = make_task(task)
    folder = Results(out or Path("runs") / _folder_name(task))
    console = Console(highlight=False, markup=False, soft_wrap=True)
    jobs = jobs or os.cpu_count() or 1
    missing = folder.missing(trials)
    _print_plan(console, made, trials)
    where = f"{jobs} at once" if ray is None else f"on Ray ({ray})"
    before = (
        f"; {len(trials) - len(missing)} have ended before" if len(missing) < len(trials) else ""
    )
    console.print(f"{where}, kept in {printable(str(folder.path))}{before}\n")
    failure: DeathError | None = None
    try:
        with _live(console, len(trials), len(trials) - len(missing)) as watch:
            if ray is None:
                running = comparison.run_trials(trials, folder, jobs, watch)
            else:
                running = comparison.run_on_ray(trials, folder, None if ray == "local" else ray)
            for outcome in running:
                watch.ended(outcome)
    except KeyboardInterrupt:
        kept = len(trials) - len(folder.missing(trials))
        typer.echo(
            f"stopped: {kept} of {len(trials)} trials are kept in {folder.path}; the same command "
            "goes on with the others",
            err=True,
        )
        raise typer.Exit(130) from None
    except DeathError as error:
        failure = error
    outcomes = [o for o in folder.outcomes() if o.trial in trials]
    if outcomes:
        _print_summaries(console, made, summarise(outcomes))
        table = folder.write_table()
        figure = draw_comparison(
            outcomes,
            folder.path / "curves.svg",
            title=printable(task),
            measure=made.measure,
            baseline=made.baseline,
            solved=made.solved,
        )
        console.print(f"every point: {table}; curves: {figure}")
    if failure is not None:
        raise failure


def _folder_name(task: str) -> str:
    """A folder for each task and settings: what no folder may be called is left out, and a digest
    stands for it."""
    name = re.sub(r"[^A-Za-z0-9._=-]+", "-", re.sub("[:,]", "-", task)).strip("-.")
    if len(name) <= 60 and not re.search(r"[^A-Za-z0-9._=:,-]", task):
        return f"compare-{name}"
    digest = sha256(task.encode("utf-8", "surrogateescape")).hexdigest()
    return f"compare-{name[:60]}-{digest[:6]}"


def _check_installed(extra: str, *modules: str) -> None:
    """What is needed at the end is known to be there before anything is trained."""
    for module in modules:
        if find_spec(module) is None:
            raise ValueError(
                f"recurra compare: expected the package {module}, got none. "
                f"Install it: pip install -e '.[{extra}]' in the clone of recurra."
            )


def _print_plan(console: Any, made: Any, trials: Any) -> None:
    """What is going to be trained, for how long, and what the score will say."""
    from recurra.comparison.trials import count_parameters

    first = trials[0]
    cells = {trial.cell: trial.hidden_size for trial in trials}
    seeds = len(trials) // len(cells)
    ends = [] if made.solved is None else [f"until validation {made.measure} {made.solved:.3g}"]
    if first.max_steps is not None:
        ends.append(f"{first.max_steps:,} steps")
    if first.max_seconds is not None:
        ends.append(f"{first.max_seconds / 60:.3g} minutes of training")
    console.print(
        f"{printable(first.task)}: {len(trials)} trials, {len(cells)} cells from {seeds} seeds "
        f"each; each {' or '.join(ends)}"
    )
    console.print(f"Adam, rate {first.lr:g}, {first.batch_size} sequences a step")
    console.print(f"score: {_meaning(made)}")
    width = max(len(cell) for cell in cells)
    for cell, size in cells.items():
        count = count_parameters(made, cell, size)
        console.print(f"  {cell:{width}}  {size:,} units, {count:,} parameters")


def _meaning(made: Any) -> str:
    """The score in words: which way it is better, and what two of its values mean."""
    solved = "" if made.solved is None else f", solved at {made.solved:.3g}"
    return (
        f"{made.measure} on the test part, at the step that was best on the validation part; less "
        f"is better; remembering nothing gives {made.baseline:.3g}{solved}"
    )


class _Watch:
    """Shows how far the running trials are: live on a terminal, else a line at each quarter."""

    def __init__(self, console: Any, progress: Any, bar: Any) -> None:
        self._console, self._progress, self._bar = console, progress, bar
        self._rows: dict[str, Any] = {}
        self._quarters: dict[str, int] = {}

    def __call__(self, trial: Any, progress: Any) -> None:
        loss = "" if progress.loss is None else f", loss {progress.loss:.3g}"
        said = f"{progress.step:,} steps{loss}, best validation {progress.score:.3g}"
        if self._progress is None:
            quarter = int(4 * progress.share)
            if quarter > self._quarters.get(trial.name, -1):
                self._quarters[trial.name] = quarter
                self._console.print(f"{trial.name}: {progress.share:.0%}, {said}")
            return
        if trial.name not in self._rows:
            self._rows[trial.name] = self._progress.add_task(trial.name, total=1.0, said="")
        self._progress.update(self._rows[trial.name], completed=progress.share, said=said)

    def count(self) -> None:
        """Say how many trials have ended."""
        if self._progress is not None:
            bar = self._progress.tasks[self._bar]
            self._progress.update(self._bar, said=f"{bar.completed:.0f} of {bar.total:.0f}")

    def ended(self, outcome: Any) -> None:
        """A trial has ended."""
        best, last = outcome.best(), outcome.points[-1]
        self._console.print(
            f"{outcome.trial.name}: {outcome.status} after {last.step:,} steps, "
            f"{last.seconds:.1f} s; best at step {best.step:,}, test score "
            f"{'none' if best.test is None else format(best.test, '.3g')}"
        )
        if self._progress is not None:
            self._progress.advance(self._bar)
            self.count()
            row = self._rows.pop(outcome.trial.name, None)
            if row is not None:
                self._progress.remove_task(row)


@contextmanager
def _live(console: Any, total: int, ended: int) -> Iterator[_Watch]:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    if not console.is_terminal:
        yield _Watch(console, None, None)
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=20))
    said = TextColumn("{task.fields[said]}", markup=False)
    with Progress(*columns, said, TimeElapsedColumn(), console=console, transient=True) as progress:
        bar = progress.add_task("trials", total=total, completed=ended, said="")
        watch = _Watch(console, progress, bar)
        watch.count()
        yield watch


def _print_summaries(console: Any, made: Any, summaries: Any) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    table.add_column("cell\nunits, parameters", overflow="fold", min_width=17)
    for heading in ("solved", made.measure, "at equal\ntime", "seconds", "steps/s"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in summaries:
        table.add_row(
            Text.assemble(row.cell, "\n", (f"{row.hidden_size}, {row.parameters:,}", "dim")),
            "" if made.solved is None else f"{row.solved} of {row.seeds}",
            _spread(row.score, ".2g"),
            _spread(row.at_equal_time, ".2g"),
            _spread(row.seconds, ".0f" if row.seconds[0] >= 10 else ".2g"),
            f"{row.steps_a_second:.1f}",
        )
    console.print(table)
    console.print(f"{_meaning(made)}; medians over the seeds, below them the smallest-largest")


def _spread(values: tuple[float, float, float], figures: str) -> Any:
    """The median and, below it, the smallest and the largest."""
    from rich.text import Text

    middle, low, high = (format(value, figures) for value in values)
    return middle if low == high else Text.assemble(middle, "\n", (f"{low}-{high}", "dim"))
