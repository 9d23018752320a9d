"""`recurra train`: one command for each task."""

import contextlib
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO, cast

import typer
import typer.core

from recurra.cli.options import (
    BUDGET,
    DEVICES,
    LEARNING,
    MACHINE,
    MODEL,
    REPORTS,
    TEXT,
    named,
    option,
    path,
    typed_prime,
)
from recurra.interrupts import Terminated, ending_signals
from recurra.terminal import Lasting, printable

if TYPE_CHECKING:
    from rich.console import Console

    from recurra.training import TrainingResult, View

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Train a model; every run is a folder that can be resumed, evaluated and sampled from.",
)


@app.callback()
def train() -> None:
    """Train a model; every run is a folder that can be resumed, evaluated and sampled from."""


class ContextCommand(typer.core.TyperCommand):
    """A command that is called with the class of context that typer has it ask for."""

    context_class = typer.Context


@app.command(
    cls=ContextCommand,
    epilog="Examples:\n\n"
    "- recurra train lm --data input.txt --out runs/first --max-minutes 10\n\n"
    "- recurra train lm --data input.txt --out runs/gru --cell gru --hidden-size 512\n\n"
    "- recurra train lm --out runs/first --resume",
)
def lm(
    context: typer.Context,
    out: Annotated[
        Path,
        option(
            TEXT, "Folder of the run, made anew; with --resume, the run to go on with.", parser=path
        ),
    ] = Path("runs/lm"),
    resume: Annotated[
        bool,
        option(
            TEXT,
            "Go on from the last checkpoint in --out, with that run's settings; --epochs, "
            "--max-steps or --max-minutes, when given, take the place of the run's own limits.",
            "--resume",
        ),
    ] = False,
    data: Annotated[
        str | None,
        option(
            TEXT,
            "Text file, or a .gz, .bz2, .xz or .zip of it: 90 % to train on, 5 % to validate, "
            "5 % to test.",
            default="the Python standard library's source",
            parser=named,
        ),
    ] = None,
    val_data: Annotated[
        str | None,
        option(TEXT, "Validate on this file instead.", default="5 % of the text", parser=named),
    ] = None,
    test_data: Annotated[
        str | None,
        option(TEXT, "Test on this file instead.", default="5 % of the text", parser=named),
    ] = None,
    level: Annotated[
        str,
        option(
            TEXT,
            "What a token is; byte takes any file, whitespace a text that is split already.",
            choices=("char", "byte", "word", "bpe", "whitespace"),
        ),
    ] = "char",
    vocab_size: Annotated[
        int | None,
        option(TEXT, "Largest size of a word or bpe vocabulary.", default="word 50000, bpe 4096"),
    ] = None,
    cell: Annotated[str, option(MODEL, "The recurrence, by name: see recurra cells.")] = "lstm",
    hidden_size: Annotated[int, option(MODEL, "Units of each layer.")] = 256,
    num_layers: Annotated[int, option(MODEL, "Recurrent layers, one on another.")] = 1,
    sizes: Annotated[
        str | None,
        option(
            MODEL,
            "Sizes of the cell's own, a projection's say: P=128,C=64; see recurra cells.",
            default="as the cell says",
        ),
    ] = None,
    embedding_size: Annotated[int, option(MODEL, "Features of a token's embedding.")] = 64,
    dropout: Annotated[
        float, option(MODEL, "Share of each layer's output dropped in training, 0 to 1.")
    ] = 0.2,
    tied: Annotated[
        bool,
        option(
            MODEL, "Predict with the embedding's weights; needs equal sizes.", "--tied/--untied"
        ),
    ] = False,
    epochs: Annotated[
        int | None,
        option(BUDGET, "Passes over the training text.", default="20 if nothing else ends it"),
    ] = None,
    max_steps: Annotated[
        int | None, option(BUDGET, "Stop after so many windows.", default="no limit")
    ] = None,
    max_minutes: Annotated[
        float | None,
        option(
            BUDGET,
            "Stop after so many minutes; the learning rate follows the clock. Such a run does not "
            "repeat bit by bit, one ended by steps or epochs does.",
            default="no limit",
        ),
    ] = None,
    batch_size: Annotated[int, option(LEARNING, "Streams of text read side by side.")] = 64,
    bptt: Annotated[
        int, option(LEARNING, "Tokens of a window, through which gradients flow back.")
    ] = 100,
    lr: Annotated[
        float, option(LEARNING, "Learning rate after the warm-up; sgd wants about 1.")
    ] = 0.003,
    optimizer: Annotated[
        str,
        option(LEARNING, "What takes the steps.", choices=("adamw", "rmsprop", "sgd")),
    ] = "adamw",
    momentum: Annotated[float, option(LEARNING, "Of sgd.")] = 0.9,
    weight_decay: Annotated[
        float, option(LEARNING, "Of matrices; biases and vectors are never decayed.")
    ] = 0.01,
    schedule: Annotated[
        str,
        option(
            LEARNING,
            "cosine ends at a hundredth; plateau halves when validation stops improving.",
            choices=("cosine", "plateau", "constant"),
        ),
    ] = "cosine",
    warmup_steps: Annotated[
        int | None,
        option(LEARNING, "Steps of linear warm-up.", default="100, at most a tenth of the run"),
    ] = None,
    clip_norm: Annotated[
        float | None,
        option(LEARNING, "Largest norm of all gradients together.", default="1.0"),
    ] = None,
    clip_value: Annotated[
        float | None,
        option(LEARNING, "Largest value of one gradient, instead.", default="no limit"),
    ] = None,
    no_clip: Annotated[
        bool, option(LEARNING, "Clip nothing; the norm is logged all the same.", "--no-clip")
    ] = False,
    seed: Annotated[int, option(LEARNING, "Of weights, dropout and samples.")] = 1,
    eval_every: Annotated[
        int | None,
        option(
            REPORTS, "Steps between validations.", default="about 20 in a run, at most 5 % of it"
        ),
    ] = None,
    checkpoint_every: Annotated[
        int | None,
        option(REPORTS, "Steps between checkpoints.", default="every 30 seconds"),
    ] = None,
    log_every: Annotated[int, option(REPORTS, "Steps between rows of metrics.csv.")] = 10,
    sample_length: Annotated[
        int, option(REPORTS, "Tokens of each sample in samples.txt; 0 for none.")
    ] = 300,
    sample_temperature: Annotated[
        float, option(REPORTS, "Temperature of each sample: below 1 surer, above 1 wilder.")
    ] = 0.8,
    prime: Annotated[str, option(REPORTS, "Text that each sample goes on from.")] = "",
    device: Annotated[
        str, option(MACHINE, "Where the model is trained.", choices=DEVICES)
    ] = "auto",
    precision: Annotated[
        str,
        option(
            MACHINE,
            "Of weights and products; bf16-mixed multiplies in bfloat16.",
            choices=("32-true", "bf16-mixed", "64-true"),
        ),
    ] = "32-true",
    threads: Annotated[
        int | None, option(MACHINE, "CPU threads.", default="torch's choice")
    ] = None,
    backend: Annotated[
        str,
        option(MACHINE, "What runs the recurrence.", choices=("auto", "cpu", "reference")),
    ] = "auto",
) -> None:
    """Train a language model: on your text, or on the Python standard library's source.

    Losses are nll (nats a token), and bpc (bits per character or byte) or ppl (per word or piece).
    The run's folder gets config.json, model.safetensors (the best on validation), the checkpoint
    training.safetensors, metrics.csv, TensorBoard events and samples.txt. Ctrl-C and SIGTERM
    stop it after a checkpoint.
    """
    try:
        with ending_signals():  # before anything that takes time
            _train(out, _given(context), resume=resume)
    except (KeyboardInterrupt, Terminated) as ended:
        _say_stopped(out, resume=resume)
        raise typer.Exit(getattr(ended, "code", 130)) from None


def _train(out: Path, given: dict[str, Any], *, resume: bool) -> None:
    """Train, and show it."""
    from rich.console import Console

    # Training goes on when nobody reads what it says.
    console = Console(file=cast(TextIO, Lasting(sys.stdout)), highlight=False)
    with console.status("starting ...") as waiting:
        data = given.get("data")
        _say(console, f"the run of {out} goes on" if resume else _reading(data))
        from recurra.backends import keep_freed_memory
        from recurra.training import describe_default_text, train_language_model, view_for

        def view(title: str) -> "View":
            waiting.stop()
            return view_for(console, title=title)

        keep_freed_memory()
        if data is None and not resume:
            _say(console, f"no --data: training on {describe_default_text()}")
        result = train_language_model(out, given, resume=resume, view=view)
    _print_result(console, result)


def _say_stopped(out: Path, *, resume: bool) -> None:
    """How to go on, where there is something to go on with and someone to read it."""
    line = "stopped before the run could start; "
    line += "it is as it was" if resume else "nothing of it is left"
    # Not imported anew: an import of torch that was broken off cannot be taken up again.
    runs = sys.modules.get("recurra.training.runs")
    if runs is not None and runs.is_run(out):
        line = f"stopped; go on with: recurra train lm --out {shlex.quote(str(out))} --resume"
    with contextlib.suppress(OSError):  # after SIGHUP the terminal is gone
        typer.echo(printable(line), err=True)


def _reading(data: str | None) -> str:
    """The first line: what is read, said before anything that takes time."""
    if data is None:
        return "reading the Python standard library's source"
    try:
        return f"reading {data}, {Path(data).stat().st_size / 1e6:,.1f} MB"
    except OSError:  # said in full by what reads it
        return f"reading {data}"


def _say(console: "Console", text: str) -> None:
    console.print(printable(text), markup=False, soft_wrap=True)


def _given(context: typer.Context) -> dict[str, Any]:
    """The settings that stand on the command line; the others are the library's or the run's."""
    read = {"prime": typed_prime, "sizes": _sizes}
    return {
        name: read.get(name, lambda same: same)(value)
        for name, value in context.params.items()
        if name not in {"out", "resume"}
        and getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"
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


def _print_result(console: "Console", result: "TrainingResult") -> None:
    """The samples from start to end, the validation loss, and what to do next.

    Where there is no terminal the samples stand in the lines above, each when it was taken.
    """
    if console.is_terminal:
        for sample in result.samples:
            _say(console, f"=== {sample.heading} ===\n{sample.text}\n")
    skipped = f", {result.skipped} skipped" if result.skipped else ""
    quoted = shlex.quote(str(result.folder))
    lines = (
        f"{result.steps} steps, {result.epochs:.2f} epochs, {result.tokens:,} tokens in "
        f"{result.seconds:.0f} s{skipped}",
        f"validation {result.measure_name} {result.measure:.4f} (nll {result.best_nll:.4f} nats a "
        f"token) at step {result.best_step}",
        f"the run is in {result.folder}; next:",
        f"  recurra evaluate {quoted}",
        f"  recurra sample {quoted} --length 1000",
        f"  tensorboard --logdir {quoted}",
    )
    _say(console, "\n".join(lines))
