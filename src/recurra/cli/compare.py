"""`recurra compare`: cells against one another on a task, under one budget, from several seeds."""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

from recurra.cli.options import BUDGET, LEARNING, MACHINE, MODEL, option

TASK = "Task"


def compare_cells(
    task: Annotated[
        str,
        option(
            TASK,
            "adding, arithmetic, copying, nesting or temporal-order, with settings after a colon: "
            "copying:delay=200,symbols=10; or text:path=FILE, folder:path=FOLDER (a sub-folder of "
            ".npy or .csv files for each class).",
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
        ),
    ] = None,
    out: Annotated[
        Path | None, option(MACHINE, "Folder of the results.", default="runs/compare-TASK")
    ] = None,
) -> None:
    """Train cells on a task under one budget and several seeds; say which wins, and draw curves.

    What has ended is kept: the same command goes on with what is missing. Examples:

    recurra compare --task adding:steps=400 --cells rnn,lstm,gru,mut1 --max-minutes 5

    recurra compare --task copying:delay=200 --cells lstm,indrnn --seeds 5 --max-steps 2000
    """
    import os

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from recurra.data import make_task
    from recurra.insight import draw_comparison
    from recurra.training import Folder, plan_trials, run_on_ray, run_trials, summarise

    _check_installed("compare", "matplotlib", "pyarrow")
    if ray is not None:
        _check_installed("sweep", "ray")
    if max_steps is None and max_minutes is None:
        max_minutes = 5.0
    names = [name.strip() for name in cells.split(",") if name.strip()]
    trials = plan_trials(
        task,
        names,
        seeds=seeds,
        hidden_size=hidden_size,
        equal_parameters=not equal_units,
        max_steps=max_steps,
        max_seconds=None if max_minutes is None else 60 * max_minutes,
        lr=lr,
        batch_size=batch_size,
        clip=clip,
    )
    folder = Folder(out or Path("runs") / f"compare-{task.partition(':')[0]}")
    console = Console(highlight=False)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        missing = len(folder.missing(trials))
        bar = progress.add_task(task, total=len(trials), completed=len(trials) - missing)
        if ray is None:
            running = run_trials(trials, folder, jobs or os.cpu_count() or 1)
        else:
            running = run_on_ray(trials, folder, None if ray == "local" else ray)
        for outcome in running:
            progress.advance(bar)
            progress.console.print(_line(outcome))
    outcomes = [o for o in folder.outcomes() if o.trial in trials]
    made = make_task(task)
    _print_summaries(console, made, summarise(outcomes))
    table = folder.write_table()
    figure = draw_comparison(
        outcomes,
        folder.path / "curves.svg",
        measure=made.measure,
        baseline=made.baseline,
        solved=made.solved,
    )
    console.print(f"every point: {table}; curves: {figure}")


def _check_installed(extra: str, *modules: str) -> None:
    """What is needed at the end is known to be there before anything is trained."""
    for module in modules:
        if find_spec(module) is None:
            raise ValueError(
                f"recurra compare: expected the package {module}, got none. "
                f"Install it: pip install 'recurra[{extra}]'."
            )


def _line(outcome: Any) -> str:
    last = outcome.points[-1]
    return (
        f"{outcome.trial.name}: {outcome.status} after {last.step:,} steps, "
        f"{last.seconds:.0f} s, score {last.score:.2g}"
    )


def _print_summaries(console: Any, made: Any, summaries: Any) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("cell\nunits, parameters", overflow="fold", min_width=17)
    for heading in ("solved", made.measure, "at equal\ntime", "seconds", "steps/s"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in summaries:
        table.add_row(
            f"{row.cell}\n[dim]{row.hidden_size}, {row.parameters:,}[/]",
            f"{row.solved} of {row.seeds}",
            _spread(row.score, ".2g"),
            _spread(row.at_equal_time, ".2g"),
            _spread(row.seconds, ".0f" if row.seconds[0] >= 10 else ".2g"),
            f"{row.steps_a_second:.1f}",
        )
    console.print(table)
    console.print(
        f"{made.measure}: median over the seeds, below it the smallest and the largest; less is "
        f"better; remembering nothing gives {made.baseline:.3g}, below {made.solved:.3g} the task "
        "is solved"
    )


def _spread(values: tuple[float, float, float], figures: str) -> str:
    """The median and, below it, the smallest and the largest."""
    middle, low, high = (format(value, figures) for value in values)
    return middle if low == high else f"{middle}\n[dim]{low}-{high}[/]"
