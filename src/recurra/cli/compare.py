"""`recurra compare`: cells against one another on a task, under one budget, from several seeds.

A command for each task; its options are what the task's settings and a comparison's declare.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import typer
import typer.core

from recurra.cli.options import (
    SettingsCommand,
    check_installed,
    given,
    of_setting,
    option,
    path,
    with_parameters,
)
from recurra.comparison.settings import MACHINE, OF_TRIALS, TRAINING, ComparisonSettings
from recurra.comparison.spelling import spelled
from recurra.settings import Settings, declared
from recurra.tasks.options import OPTIONS
from recurra.tasks.problem_options import PROBLEM_SETTINGS
from recurra.terminal import printable
from recurra.training.settings import TrainingSettings

_ABOUT = (
    "Train cells on a task under one budget and several seeds; say which wins, and draw curves.\n\n"
    "A validation part of the task's data says when a trial stops and which of its steps was best; "
    "what is reported is the score of that step on the test part. What has ended is kept: the same "
    "command goes on with what is missing."
)
_EXAMPLES = (
    "recurra compare adding --steps 400 --cells rnn,lstm,gru,mut1 --max-minutes 5",
    "recurra compare lm --data input.txt --cells lstm,gru,mut1 --max-steps 2000 --search-lr",
    "recurra compare classify --data gestures_TRAIN.ts --cells lstm,gru --seeds 5",
)


class TaskGroup(typer.core.TyperGroup):
    """The tasks as commands; called with the class of context that typer has it ask for."""

    context_class = typer.Context


app = typer.Typer(
    cls=TaskGroup,
    invoke_without_command=True,
    rich_markup_mode="rich",
    epilog="Examples:\n\n" + "\n\n".join(f"- {line}" for line in _EXAMPLES),
)


def _own() -> dict[str, tuple[Any, Any, Any]]:
    """The options of every comparison."""
    text = "Folder of the results."
    out = option(MACHINE, text, default="runs/compare-TASK, its settings too", parser=path)
    own = {each.name: of_setting(ComparisonSettings, each) for each in declared(ComparisonSettings)}
    return {**own, "out": (Path | None, out, None)}


def _command(task: str, about: str, kinds: tuple[type[Settings], ...]) -> Callable[..., None]:
    """The function of a command whose parameters are the settings of a task and of a comparison."""
    settings = {
        each.name: of_setting(kind, each)
        for kind in kinds
        for each in declared(kind)
        if each.name not in OF_TRIALS
    }
    for name, default in TRAINING.items():
        hint, declaration, _ = settings[name]
        declaration.show_default = True
        settings[name] = (hint, declaration, default)

    def run(context: typer.Context, **_: Any) -> None:
        found = given(context)
        own = {name: found[name] for name in settings if name in found}
        for kind in kinds:
            kind.pick(own)  # what is wrong is said of the option, not of the line
        _compare(spelled(task, own), found)

    with_parameters(run, {**settings, **_own()})
    run.__name__ = task.replace("-", "_")
    run.__doc__ = f"{about}\n\n{_ABOUT}"
    return run


def _add_commands() -> None:
    from recurra.tasks.problem_options import ReadoutSettings

    for name, kind in PROBLEM_SETTINGS.items():
        kinds = (kind, ReadoutSettings, TrainingSettings)
        app.command(name, cls=SettingsCommand)(_command(name, kind.about, kinds))
    for name, options in OPTIONS.items():
        kinds = (options.data, options.model, options.training)
        about = f"Compare cells as {name}: see recurra train {name}."
        app.command(name, cls=SettingsCommand)(_command(name, about, kinds))


_add_commands()


def compare(context: typer.Context, **_: Any) -> None:
    """As version 0.1 had it: the task as an option, `--task adding:steps=400`."""
    found = given(context)
    if context.invoked_subcommand is None:
        _compare(found.pop("task", "adding"), found)
    elif found:
        raise ValueError(
            f"task: expected options behind the task, got {', '.join(sorted(found))} before "
            f"{context.invoked_subcommand}. Write recurra compare {context.invoked_subcommand} "
            "--cells lstm,gru, for example."
        )


_TASK = option("Task", "A task and its settings on one line: adding:steps=400, lm:data=a.txt.")
with_parameters(compare, {"task": (str, _TASK, "adding"), **_own()})
for _parameter in compare.__annotations__.values():
    if hasattr(_parameter, "__metadata__"):
        _parameter.__metadata__[0].hidden = True
compare.__doc__ = _ABOUT
app.callback(invoke_without_command=True)(compare)


def _compare(line: str, found: Mapping[str, Any]) -> None:
    """Compare cells on the task of that line."""
    from rich.console import Console

    from recurra import comparison
    from recurra.comparison import DeathError, Results, plan_trials, subject_of
    from recurra.comparison.spelling import renewed
    from recurra.compose.spelling import split_spellings
    from recurra.parallel import cores

    check_installed("recurra compare", "compare", "matplotlib", "pyarrow")
    settings = ComparisonSettings.pick(found)
    if settings.ray is not None:
        check_installed("recurra compare", "sweep", "ray")
    minutes = settings.max_minutes
    if settings.max_steps is None and minutes is None:
        minutes = 5.0
    trials = plan_trials(
        line,
        split_spellings(settings.cells),
        seeds=settings.seeds,
        hidden_size=settings.hidden_size,
        equal_parameters=not settings.equal_units,
        lrs=_rates(settings.lrs),
        max_steps=settings.max_steps,
        max_seconds=None if minutes is None else 60 * minutes,
        lr=settings.lr,
        batch_size=settings.batch_size,
        clip=settings.clip,
    )
    subject = subject_of(trials[0].task)
    folder = Results(found.get("out") or Path("runs") / _folder_name(renewed(line)))
    console = Console(highlight=False, markup=False, soft_wrap=True)
    jobs = settings.jobs or max(1, cores() // (settings.threads or 1))

    def run(trials: list[Any]) -> None:
        missing = folder.missing(trials)
        with _live(console, len(trials), len(trials) - len(missing)) as watch:
            if settings.ray is None:
                running = comparison.run_trials(trials, folder, jobs, watch, threads)
            else:
                address = None if settings.ray == "local" else settings.ray
                running = comparison.run_on_ray(trials, folder, address, threads)
            for outcome in running:
                watch.ended(outcome)

    probes = comparison.plan_probes(trials) if settings.search_lr else []
    folder.missing(probes or trials)  # whether it is this comparison's is known before the plan
    planned = {trial.name for trial in [*trials, *probes]}
    ended = sum(outcome.trial.name in planned for outcome in folder.outcomes())
    _print_plan(console, subject, trials, probes)
    threads = settings.threads or (1 if settings.ray else comparison.threads_for(jobs))
    where = f"{jobs} at once" if settings.ray is None else f"on Ray ({settings.ray})"
    where += f", {threads} thread{'s' * (threads > 1)} each"
    before = f"; {ended} have ended before" if ended else ""
    console.print(f"{where}, kept in {printable(str(folder.path))}{before}\n")
    failure: DeathError | None = None
    try:
        if probes:
            run(probes)
            rates = comparison.best_rates([o for o in folder.outcomes() if o.trial in probes])
            trials = comparison.at_rates(trials, rates)
            chosen = ", ".join(f"{cell} {rate:g}" for cell, rate in rates.items())
            console.print(f"learning rates, by the validation part: {chosen}\n")
        run(trials)
    except KeyboardInterrupt:
        kept = sum(outcome.trial.name in planned for outcome in folder.outcomes())
        typer.echo(
            f"stopped: {kept} of {len(planned)} trials are kept in {folder.path}; the same command "
            "goes on with the others",
            err=True,
        )
        raise typer.Exit(130) from None
    except DeathError as error:
        failure = error
    outcomes = [o for o in folder.outcomes() if o.trial in trials]
    if outcomes:
        _report(console, subject.measure, outcomes, folder)
    if failure is not None:
        raise failure


def _rates(text: str | None) -> dict[str, float]:
    """lstm=0.003,gru=0.001 as a dictionary."""
    from recurra.compose.syntax import split

    found = {}
    for part in split(text) if text else []:
        cell, _, rate = part.rpartition("=")
        try:
            found[cell.strip()] = float(rate)
        except ValueError:
            cell = ""
        if not cell:
            raise ValueError(
                f"lrs: expected CELL=RATE with commas between several, got {part!r}. "
                "Write them as in lstm=0.003,gru=0.001."
            )
    return found


def _report(console: Any, measure: Any, outcomes: list[Any], folder: Any) -> None:
    """The table, the differences, who won, and the files."""
    from recurra.comparison import differences, summarise, verdict
    from recurra.comparison.results import CURVES
    from recurra.insight import draw_comparison

    summaries = summarise(outcomes)
    _print_summaries(console, measure, summaries)
    table = folder.write_table()
    figure = draw_comparison(
        outcomes,
        folder.path / CURVES,
        title=printable(outcomes[0].trial.task),
        measure=measure.name,
        baseline=measure.baseline,
        solved=measure.solved,
    )
    console.print(f"every point: {table}; curves: {figure}\n")
    apart = differences(outcomes, summaries)
    for each in apart:
        _print_difference(console, each, measure.name)
    console.print(f"result: {verdict(summaries, apart, measure=measure.name)}")


def _print_difference(console: Any, each: Any, measure: str) -> None:
    what = f"test {measure}" if each.of == "score" else "seconds to solve it"
    interval = "no interval from one seed"
    if each.margin == each.margin:
        low, high = each.interval
        interval = f"95 % interval {low:.2g} to {high:.2g}"
    console.print(
        f"{what}: {each.other} less {each.best} is {each.mean:.2g} on average, {interval} "
        f"({each.seeds} pair{'s' * (each.seeds != 1)} by seed, Student's t)"
    )


def _folder_name(task: str) -> str:
    """A folder for each task and settings: what no folder may be called is left out, and a digest
    stands for it."""
    name = re.sub(r"[^A-Za-z0-9._=-]+", "-", re.sub("[:,]", "-", task)).strip("-.")
    if len(name) <= 60 and not re.search(r"[^A-Za-z0-9._=:,-]", task):
        return f"compare-{name}"
    digest = sha256(task.encode("utf-8", "surrogateescape")).hexdigest()
    return f"compare-{name[:60]}-{digest[:6]}"


def _print_plan(console: Any, subject: Any, trials: Any, probes: Any) -> None:
    """What is going to be trained, for how long, and what the score will say."""
    measure = subject.measure
    first = trials[0]
    cells = {trial.cell: trial.hidden_size for trial in trials}
    seeds = len(trials) // len(cells)
    ends = (
        [] if measure.solved is None else [f"until validation {measure.name} {measure.solved:.3g}"]
    )
    if first.max_steps is not None:
        ends.append(f"{first.max_steps:,} steps")
    if first.max_seconds is not None:
        ends.append(f"{first.max_seconds / 60:.3g} minutes of training")
    console.print(
        f"{printable(first.task)}: {len(trials)} trials, {len(cells)} cells from {seeds} seeds "
        f"each; each {' or '.join(ends)}"
    )
    if first.data is not None:
        for label, value in subject.task.describe().lines:
            console.print(printable(f"{label}: {value}"))
    rates = sorted({trial.lr for trial in trials})
    tried = sorted({probe.lr for probe in probes})
    said = f"tried at {_listed(tried)} first" if tried else _listed(rates)
    optimizer = subject.training().optimizer
    console.print(f"{optimizer}, learning rate {said}, {first.batch_size} sequences a step")
    console.print(f"score: {_meaning(measure)}")
    width = max(len(cell) for cell in cells)
    for cell, size in cells.items():
        count = subject.count_parameters(cell, size)
        console.print(f"  {cell:{width}}  {size:,} units, {count:,} parameters")


def _listed(rates: list[float]) -> str:
    return ", ".join(f"{rate:g}" for rate in rates)


def _meaning(measure: Any) -> str:
    """The score in words: which way it is better, and what two of its values mean."""
    nothing = measure.baseline
    levels = "" if nothing is None else f"; remembering nothing gives {nothing:.3g}"
    levels += "" if measure.solved is None else f", solved at {measure.solved:.3g}"
    return (
        f"{measure.name} on the test part, at the step that was best on the validation part; less "
        f"is better{levels}"
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


def _print_summaries(console: Any, measure: Any, summaries: Any) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    table.add_column("cell\nunits, parameters", overflow="fold", min_width=17)
    for heading in ("solved", measure.name, "at equal\ntime", "seconds", "steps/s"):
        table.add_column(heading, justify="right", no_wrap=True)
    rates = {row.lr for row in summaries}
    for row in summaries:
        sizes = f"{row.hidden_size}, {row.parameters:,}"
        sizes += f", rate {row.lr:g}" if len(rates) > 1 else ""
        sizes += f", {row.diverged} diverged" if row.diverged else ""
        table.add_row(
            Text.assemble(row.cell, "\n", (sizes, "dim")),
            "" if measure.solved is None else f"{row.solved} of {row.seeds}",
            _spread(row.score, ".2g"),
            _spread(row.at_equal_time, ".2g"),
            _spread(row.seconds, ".0f" if row.seconds[0] >= 10 else ".2g"),
            f"{row.steps_a_second:.1f}",
        )
    console.print(table)
    console.print(f"{_meaning(measure)}; medians over the seeds, below them the smallest-largest")


def _spread(values: tuple[float, float, float], figures: str) -> Any:
    """The median and, below it, the smallest and the largest."""
    from rich.text import Text

    middle, low, high = (format(value, figures) for value in values)
    return middle if low == high else Text.assemble(middle, "\n", (f"{low}-{high}", "dim"))
