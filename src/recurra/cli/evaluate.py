"""`recurra evaluate`: the loss of a run's best model."""

import json
from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    run: Annotated[Path, typer.Argument(help="Folder of the run.")],
    split: Annotated[
        str | None,
        typer.Option(
            help="train, val or test: a part of the run's own text, or of --data by position.",
            show_default="test; with --data, all of it",
        ),
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Another text file, read with the run's vocabulary.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
) -> None:
    """Measure the loss of a run's best model, every token predicted once.

    nll is in nats a token; bpc (bits per character or byte) is nll / ln 2; ppl is exp(nll).

    Examples: recurra evaluate runs/first; recurra evaluate runs/first --data other.txt --json
    """
    from recurra.training import evaluate_run

    figures = evaluate_run(run, split=split, data=data, device=device)
    if as_json:
        typer.echo(json.dumps(figures))
        return
    name = "bpc" if "bpc" in figures else "ppl"
    typer.echo(
        f"{figures['run']}, {figures['split']}: nll {figures['nll']:.4f} nats a token, "
        f"{name} {figures[name]:.4f}, {figures['tokens']:,} tokens, {figures['seconds']:.1f} s"
    )
