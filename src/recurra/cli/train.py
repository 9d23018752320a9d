"""`recurra train`: a command for each task; its options are what the task's settings declare."""

import contextlib
import json
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

import typer
import typer.core

from recurra.cli.options import (
    SettingsCommand,
    given,
    of_setting,
    option,
    path,
    typed_prime,
    with_parameters,
)
from recurra.interrupts import Terminated, ending_signals
from recurra.settings import declared
from recurra.tasks.options import OPTIONS, Options
from recurra.terminal import Lasting, printable, speaks

if TYPE_CHECKING:
    from rich.console import Console

    from recurra.runs import TrainingResult
    from recurra.views import View


class TrainGroup(typer.core.TyperGroup):
    """The tasks as commands; `--resume RUN` in place of one takes the task that the run has."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """The words of the command line, `--resume RUN` spelled out."""
        if len(args) > 1 and args[0] == "--resume" and not args[1].startswith("-"):
            args = [_task_of(args[1]), "--out", args[1], "--resume", *args[2:]]
        if "--resume" in args[:-1] and "--out" not in args:  # --resume RUN behind the task's name
            place = args.index("--resume")
            if not args[place + 1].startswith("-"):
                args = [*args[:place], "--out", args[place + 1], "--resume", *args[place + 2 :]]
        return super().parse_args(ctx, args)


def _task_of(run: str) -> str:
    """The task of a run, as its config.json says; what is wrong with it is said by what resumes."""
    try:
        with (Path(run) / "config.json").open() as file:
            task = json.load(file).get("task")
    except (OSError, ValueError, AttributeError):
        task = None
    return task if isinstance(task, str) and task in OPTIONS else next(iter(OPTIONS))


app = typer.Typer(
    cls=TrainGroup,
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Train a model; every run is a folder that can be resumed, evaluated and used.\n\n"
    "recurra train --resume RUN goes on with a run, whatever its task.",
)

RUN = "Run"
_AFTERWORD = (
    "The run's folder gets config.json, model.safetensors (the best on validation), the checkpoint "
    "training.safetensors, metrics.csv, TensorBoard events, samples.txt and, at its end, a page, "
    "report.html. Ctrl-C and SIGTERM stop it after a checkpoint."
)


@app.callback()
def train() -> None:
    """Train a model; every run is a folder that can be resumed, evaluated and used.

    recurra train --resume RUN goes on with a run, whatever its task.
    """


def _command(options: Options) -> Callable[..., None]:
    """The function of a command whose parameters are the settings of a task."""

    def run(context: typer.Context, **_: Any) -> None:
        out, resume = context.params["out"], context.params["resume"]
        try:
            with ending_signals():  # before anything that takes time
                _train(options, out, _given(context), resume=resume)
        except (KeyboardInterrupt, Terminated) as ended:
            _say_stopped(options, out, resume=resume)
            raise typer.Exit(getattr(ended, "code", 130)) from None

    own = {
        "out": (
            Path | None,
            option(
                RUN,
                "Folder of the run, made anew; with --resume, the run to go on with.",
                default=f"a new one, runs/{options.task}-1",
                parser=path,
            ),
            None,
        ),
        "resume": (
            bool,
            option(
                RUN,
                "Go on from the last checkpoint in --out, with that run's settings; --epochs, "
                "--max-steps or --max-minutes, when given, take the place of the run's own limits.",
                "--resume",
            ),
            False,
        ),
        "dry": (
            bool,
            option(RUN, "Say what would be trained and on what, and train nothing.", "--dry"),
            False,
        ),
        "init_from": (
            Path | None,
            option(
                RUN,
                "Start from the weights of this run, where names and shapes agree.",
                default="drawn anew",
                parser=path,
            ),
            None,
        ),
    }
    for kind in (options.data, options.model, options.training):
        own |= {each.name: of_setting(kind, each) for each in declared(kind)}
        if "clip_value" in own and "no_clip" not in own:
            text = "Clip nothing; the norm is logged all the same."
            own["no_clip"] = (bool, option("Optimization", text, "--no-clip"), False)
    with_parameters(run, own)
    run.__name__ = options.task
    run.__doc__ = f"{options.about}\n\n{_AFTERWORD}"
    return run


for _options in OPTIONS.values():
    app.command(
        _options.task,
        cls=SettingsCommand,
        epilog="Examples:\n\n" + "\n\n".join(f"- {line}" for line in _options.examples),
    )(_command(_options))


def _train(options: Options, out: Path | None, given: dict[str, Any], *, resume: bool) -> None:
    """Train, and show it."""
    from rich.console import Console

    # Training goes on when nobody reads what it says.
    console = Console(file=cast(TextIO, Lasting(sys.stdout)), highlight=False, quiet=not speaks())
    dry = given.pop("dry", False)
    with console.status("starting ...") as waiting:
        data = given.get("data")
        _say(console, f"reading the run of {out}" if resume else _reading(options, data))
        from recurra.backends import keep_freed_memory
        from recurra.tasks import train as train_task
        from recurra.views import view_for

        def view(title: str) -> "View":
            waiting.stop()
            return view_for(console, title=title)

        keep_freed_memory()
        if data is None and not resume:
            _say_default(console, options)
        init_from = given.pop("init_from", None)
        if dry:
            if resume:
                raise ValueError(
                    "dry: expected a new run, got --resume beside it. Leave one of them out."
                )
            from recurra.runs import rehearse
            from recurra.tasks import find

            said = rehearse(find(options.task), given, init_from=init_from)
            waiting.stop()
            _say(console, said)
            return
        run = train_task(
            options.task, out=out, resume=resume, init_from=init_from, view=view, **given
        )
    assert run.result is not None
    _print_result(console, run.result)
    with contextlib.suppress(ValueError):  # a run so short that it has no row
        _say(console, run.clipping().line)


def _say_default(console: "Console", options: Options) -> None:
    """What is trained on where no data are named."""
    if options.task == "lm":
        from recurra.data.parts import describe_default_text

        _say(console, f"no --data: training on {describe_default_text()}")


def _say_stopped(options: Options, out: Path | None, *, resume: bool) -> None:
    """How to go on, where there is something to go on with and someone to read it."""
    line = "stopped before the run could start; "
    line += "it is as it was" if resume else "nothing of it is left"
    # Not imported anew: an import of torch that was broken off cannot be taken up again.
    runs = sys.modules.get("recurra.runs.starting")
    described = sys.modules.get("recurra.runs.folder")
    folder = out if out is not None else getattr(runs, "last_started", None)
    if described is not None and folder is not None and described.is_run(folder):
        quoted = shlex.quote(str(folder))
        line = f"stopped; go on with: recurra train --resume {quoted}"
    if not speaks():
        return
    with contextlib.suppress(OSError):  # after SIGHUP the terminal is gone
        typer.echo(printable(line), err=True)


def _reading(options: Options, data: str | Sequence[str] | None) -> str:
    """The first line: what is read, said before anything that takes time."""
    if data is None:
        return "reading the Python standard library's source" if options.task == "lm" else "reading"
    paths = [data] if isinstance(data, str) else data
    what = paths[0] if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"
    if "-" in paths:
        what = what.replace("-", "standard input", 1) if paths[0] == "-" else what
        return f"reading {what}{', which Ctrl-D ends' if sys.stdin.isatty() else ''}"
    try:
        sizes = [Path(path).stat().st_size for path in paths if not Path(path).is_dir()]
    except OSError:  # said in full by what reads it
        sizes = []
    is_known = len(sizes) == len(paths)
    return f"reading {what}{f', {sum(sizes) / 1e6:,.1f} MB' if is_known else ''}"


def _say(console: "Console", text: str) -> None:
    console.print(printable(text), markup=False, soft_wrap=True)


def _given(context: typer.Context) -> dict[str, Any]:
    """The settings that stand on the command line; the others are the library's or the run's."""
    read: Mapping[str, Callable[[Any], Any]] = {
        "prime": typed_prime,
        "sizes": _sizes,
        "init": _rules,
    }
    return {
        name: read.get(name, lambda same: same)(value)
        for name, value in given(context).items()
        if name not in {"out", "resume"}
    }


def _sizes(text: str) -> dict[str, int]:
    """P=128,C=64 as a dictionary."""
    parts = [part.partition("=") for part in text.split(",")]
    if not all(name.strip() and number.strip().isdecimal() for name, _, number in parts):
        raise ValueError(
            f"sizes: expected NAME=NUMBER, with commas between several, got {text!r}. "
            "Write them as in P=128,C=64."
        )
    return {name.strip(): int(number) for name, _, number in parts}


def _rules(text: str) -> dict[str, str]:
    """b_f=1,W_hh=orthogonal as a dictionary."""
    parts = [part.partition("=") for part in text.split(",")]
    if not all(name.strip() and rule.strip() for name, _, rule in parts):
        raise ValueError(
            f"init: expected PARAMETER=RULE, with commas between several, got {text!r}. "
            "Write them as in b_f=1,W_hh=orthogonal."
        )
    return {name.strip(): rule.strip() for name, _, rule in parts}


def _spelled(result: "TrainingResult") -> str:
    """The best validation figures, the first with its unit."""
    figure, others = result.figure, dict(result.figures)
    others.pop(figure.name, None)
    more = "".join(f", {name} {value:.4f}" for name, value in others.items())
    return f"{figure.name} {result.best:{figure.spec}} {figure.unit}".rstrip() + more


def _print_result(console: "Console", result: "TrainingResult") -> None:
    """The samples from start to end, the validation figures, and what to do next.

    Where there is no terminal the samples stand in the lines above, each when it was taken.
    """
    if console.is_terminal:
        for sample in result.samples:
            _say(console, f"=== {sample.heading} ===\n{sample.text}\n")
    skipped = f", {result.skipped} skipped" if result.skipped else ""
    quoted = shlex.quote(str(result.folder))
    lines = [
        f"{result.steps} steps, {result.epochs:.2f} epochs, {result.counted:,} "
        f"{result.counted_in} in {result.seconds:.0f} s{skipped}",
        f"validation {_spelled(result)} at step {result.best_step}",
        f"the run is in {result.folder}; next:",
        f"  recurra evaluate {quoted}",
        f"  recurra insight {quoted}",
        *(f"  {line.format(run=quoted)}" for line in OPTIONS[result.task].next_lines),
        f"  tensorboard --logdir {quoted}",
    ]
    _say(console, "\n".join(lines))
