"""`recurra sample`: text from a run, shown as it is written."""

import sys
from pathlib import Path
from typing import Annotated

import typer


def sample(
    run: Annotated[Path, typer.Argument(help="Folder of the run.")],
    length: Annotated[int, typer.Option(help="Tokens to write.")] = 500,
    prime: Annotated[str, typer.Option(help="Text to go on from.")] = "",
    temperature: Annotated[
        float, typer.Option(help="Below 1 surer, above 1 wilder; 0 takes the likeliest token.")
    ] = 0.8,
    top_k: Annotated[
        int | None,
        typer.Option(help="Draw among the K likeliest tokens.", show_default="all"),
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option(
            help="Draw among the likeliest tokens that make up this share.", show_default="all"
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="The same seed writes the same text.", show_default="another each time"),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
) -> None:
    """Write text with a run's best model, character by character.

    Examples: recurra sample runs/first --prime "ROMEO:" --temperature 0.7 --seed 1
    """
    import torch

    from recurra.decoding import Sampler, generate_text
    from recurra.training import load_run, printable

    sampler = Sampler(temperature=temperature, top_k=top_k, top_p=top_p)
    loaded = load_run(run, device=device)
    generator = torch.Generator()
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(seed)
    pieces = generate_text(
        loaded.model, loaded.vocabulary, prime, length, sampler=sampler, generator=generator
    )
    # A terminal obeys control characters; a file or a pipe gets the text as it is.
    show = printable if sys.stdout.isatty() else str
    typer.echo(show(prime), nl=False)
    for piece in pieces:
        typer.echo(show(piece), nl=False)
        sys.stdout.flush()
    typer.echo()
