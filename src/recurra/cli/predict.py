"""`recurra predict`: what a run's best model makes of new inputs."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from recurra.cli.options import DEVICES, RUN, checked_run, option, path
from recurra.terminal import printable


def predict(
    run: Annotated[Path, RUN],
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            help="Texts, each in quotes; of a run on series, files of numbers. None: the lines of "
            "--file, or of what is piped in.",
            metavar="[INPUT]...",
        ),
    ] = None,
    file: Annotated[
        Path | None,
        option(None, "A text file, one input a line.", default="none", parser=path),
    ] = None,
    as_json: Annotated[bool, option(None, "Print a JSON object for each input.", "--json")] = False,
    device: Annotated[str, option(None, "Where the model runs.", choices=DEVICES)] = "cpu",
) -> None:
    """Say what a run's best model makes of inputs, a line for each.

    Examples: recurra predict runs/reviews "a fine film" "dull"; recurra predict runs/gestures a.csv

    recurra predict runs/reviews --file reviews.txt --json
    """
    from recurra.tasks import Run

    opened = Run.open(checked_run(run))
    model = opened.load(device=device)
    if not hasattr(model, "predict"):
        raise ValueError(
            f"predict: expected the run of a task that predicts, got one of "
            f"{opened.task_class.name}. Use recurra sample for a language model."
        )
    given = list(inputs or [])
    if file is not None:
        given += _lines(file)
    elif not given and not sys.stdin.isatty():
        given = [line.rstrip("\n") for line in sys.stdin]
    if not given:
        raise ValueError(
            'predict: expected inputs, got none. Give some, as in recurra predict RUN "a text", or '
            "a file with --file."
        )
    read: list[Any] = [_series(name) for name in given] if _reads_series(model) else given
    for name, said in zip(given, model.predict(read), strict=True):
        if as_json:
            typer.echo(json.dumps({"input": name, **asdict(said)}, ensure_ascii=False))
        else:
            typer.echo(f"{printable(str(said.label))}\t{said.probability:.4f}\t{printable(name)}")


def _reads_series(model: Any) -> bool:
    return getattr(model, "vocabulary", None) is None


def _lines(file: Path) -> list[str]:
    from recurra.text import read_text

    return read_text(file).splitlines()


def _series(name: str) -> Any:
    from recurra.data.sequences import read_sequence

    return read_sequence(Path(name)).values
