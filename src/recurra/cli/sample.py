"""`recurra sample`: text from a run, shown as it is written."""

import secrets
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from recurra.cli.options import DEVICES, RUN, opened, option, typed_prime
from recurra.errors import DataError, argument
from recurra.terminal import typed, write_exactly


def sample(
    run: Annotated[Path, RUN],
    length: Annotated[int, option(None, "Tokens to write.")] = 500,
    prime: Annotated[
        str, option(None, r"Text to go on from; with line ends as the shell has them: $'a\nb'.")
    ] = "",
    prime_file: Annotated[
        Path | None,
        option(None, "Go on from the text of this file instead; - reads it from a pipe."),
    ] = None,
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
    count: Annotated[
        int, option(None, "Texts to write, each with a heading and the next seed.")
    ] = 1,
    stop: Annotated[
        list[str] | None,
        option(None, "End before this text; may be given several times.", default="none"),
    ] = None,
    forbid: Annotated[
        list[str] | None,
        option(
            None, "Never write this symbol, <unk> say; may be given several times.", default="none"
        ),
    ] = None,
    device: Annotated[str, option(None, "Where the model runs.", choices=DEVICES)] = "cpu",
) -> None:
    """Write text with a run's best model, token by token.

    A file or a pipe gets the tokens' bytes as they are; a terminal gets what it can show.

    Examples: recurra sample runs/first --prime "ROMEO:" --temperature 0.7 --seed 1
    """
    from recurra.decoding import Sampler, generate_text, seeded_generators, symbol_ids
    from recurra.settings import MAX_COUNT, MAX_SEED, whole

    whole("length", length, least=0, most=MAX_COUNT)
    whole("count", count, least=1, most=MAX_COUNT)
    whole("seed", seed, least=0, most=MAX_SEED - count + 1, optional=True)
    stops = tuple(typed(text) for text in stop or ())
    sampler = Sampler(temperature=temperature, top_k=top_k, top_p=top_p)
    model = opened(run, "lm").load(device=device)
    prime = _prime(prime, prime_file, of_bytes=model.vocabulary.level in ("byte", "bpe"))
    if forbid:
        sampler = replace(sampler, forbid=symbol_ids(model.vocabulary, map(typed, forbid)))
    if seed is None and count > 1:
        seed = secrets.randbelow(MAX_SEED - count + 1)  # so that the headings can say it
    for i in range(count):
        pieces = generate_text(
            model,
            model.vocabulary,
            prime,
            length,
            sampler=sampler,
            generator=seeded_generators(None if seed is None else seed + i)[0],
            stop=stops,
            exact=not sys.stdout.isatty(),
        )
        if seed is not None and count > 1:
            write_exactly(f"=== {i + 1} of {count}, seed {seed + i} ===\n")
        write_exactly(prime)
        for piece in _whole_line_ends(pieces):
            write_exactly(piece)
        write_exactly("\n")


def _prime(text: str, file: Path | None, *, of_bytes: bool) -> str:
    """The text to go on from: the one that was typed, or that of a file as it is."""
    if file is None:
        return typed_prime(text)
    if text:
        raise ValueError(
            f"{argument('prime_file')}: expected it instead of {argument('prime')}, got both. "
            "Leave one out."
        )
    if str(file) == "-":
        content = sys.stdin.buffer.read()
    else:
        try:
            content = file.read_bytes()
        except OSError as error:
            raise DataError(
                f"{file}: expected a text to go on from, got: {error.strerror}. Name a file."
            ) from error
    try:
        # what is not UTF-8 is spelled as what is typed, for a vocabulary of bytes
        return content.decode("utf-8-sig", "surrogateescape" if of_bytes else "strict")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{file}: expected UTF-8 text, got the byte 0x{content[error.start]:02x} at "
            f"{error.start}. Convert it, with iconv say."
        ) from error


def _whole_line_ends(pieces: Iterable[str]) -> Iterator[str]:
    r"""The same text with no "\r\n" cut in two: a terminal shows it as one line end."""
    held = ""
    for piece in pieces:
        text = held + piece
        held = "\r" if text.endswith("\r") else ""
        yield text.removesuffix(held)
    yield held
