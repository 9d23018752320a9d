"""`recurra evaluate`: the figures of a run's best model."""

import json
import math
from pathlib import Path
from typing import Annotated

import typer

from recurra.cli.options import DEVICES, RUN, checked_run, named, option


def evaluate(
    run: Annotated[Path, RUN],
    split: Annotated[
        str | None,
        option(
            None,
            "A part of the run's own text, or of --data by position.",
            default="test; with --data, all of it",
            choices=("train", "val", "test"),
            parser=named,
        ),
    ] = None,
    data: Annotated[
        str | None,
        option(
            None,
            "Another text file, read with the run's vocabulary.",
            default="the run's own",
            parser=named,
        ),
    ] = None,
    as_json: Annotated[bool, option(None, "Print one JSON object.", "--json")] = False,
    device: Annotated[str, option(None, "Where the model runs.", choices=DEVICES)] = "cpu",
) -> None:
    """Measure the loss of a run's best model, every token predicted once.

    nll is in nats a token; bpc is in bits per character of the text, so that levels compare; ppl
    is exp(nll), per word or piece; unk is the share of tokens that stand for unknown words.

    Examples: recurra evaluate runs/first; recurra evaluate runs/first --data other.txt --json
    """
    from recurra.tasks import Run

    opened = Run.open(checked_run(run))
    figures = opened.evaluate(split, data=data, device=device)
    if as_json:
        typer.echo(json.dumps({name: _number(value) for name, value in figures.items()}))
        return
    said = opened.task_class.say(figures)
    typer.echo(f"{figures['run']}, {figures['split']}: {said}")


def _number(value: object) -> object:
    """The value, or None for a number that JSON has no way to write: null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
