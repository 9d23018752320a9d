"""`recurra sample`: text from a run, shown as it is written."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

from recurra.cli.options import DEVICES, RUN, checked_run, option, typed_prime
from recurra.terminal import write_exactly


def sample(
    run: Annotated[Path, RUN],
    length: Annotated[int, option(None, "Tokens to write.")] = 500,
    prime: Annotated[
        str, option(None, r"Text to go on from; with line ends as the shell has them: $'a\nb'.")
    ] = "",
    temperature: Annotated[
        float, option(None, "Below 1 surer, above 1 wilder; 0 takes the likeliest token.")
    ] = 0.8,
    top_k: Annotated[
        int | None, option(None, "Draw among the K likeliest tokens.", default="all")
    ] = None,
    top_p: Annotated[
        float | None,
        option(None, "Draw among the likeliest tokens that make up this share.", default="all"),
    ] = None,
    seed: Annotated[
        int | None,
        option(None, "The same seed writes the same text.", default="another each time"),
    ] = None,
    device: Annotated[str, option(None, "Where the model runs.", choices=DEVICES)] = "cpu",
) -> None:
    """Write text with a run's best model, token by token.

    A file or a pipe gets the tokens' bytes as they are; a terminal gets what it can show.

    Examples: recurra sample runs/first --prime "ROMEO:" --temperature 0.7 --seed 1
    """
    import torch

    from recurra.decoding import Sampler, generate_text
    from recurra.settings import MAX_COUNT, MAX_SEED, whole
    from recurra.tasks import Run

    whole("length", length, least=0, most=MAX_COUNT)
    whole("seed", seed, least=0, most=MAX_SEED, optional=True)
    sampler = Sampler(temperature=temperature, top_k=top_k, top_p=top_p)
    model = Run.open(checked_run(run), "lm").load(device=device)
    generator = torch.Generator()
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(seed)
    prime = typed_prime(prime)
    pieces = generate_text(
        model,
        model.vocabulary,
        prime,
        length,
        sampler=sampler,
        generator=generator,
        exact=not sys.stdout.isatty(),
    )
    write_exactly(prime)
    for piece in _whole_line_ends(pieces):
        write_exactly(piece)
    write_exactly("\n")


def _whole_line_ends(pieces: Iterable[str]) -> Iterator[str]:
    r"""The same text with no "\r\n" cut in two: a terminal shows it as one line end."""
    held = ""
    for piece in pieces:
        text = held + piece
        held = "\r" if text.endswith("\r") else ""
        yield text.removesuffix(held)
    yield held
