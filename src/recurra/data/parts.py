"""The text of a run: split, encoded once into the run's folder, then memory-mapped.

The run keeps its own tokens, so it can be resumed and evaluated when the file it came from has
changed or is gone.
"""

import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain
from os import PathLike
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from recurra.data.opening import entries_by_part
from recurra.data.stdlib import stdlib_source
from recurra.data.tokens import TokenFile, read_token_file, write_tokens
from recurra.errors import DataError, argument
from recurra.text import Vocabulary, WordVocabulary
from recurra.text.corpus import (
    Corpus,
    NamedTexts,
    check_texts,
    has_text,
    is_hidden,
    opened_corpus,
    some,
)

SPLITS = ("train", "val", "test")
FOLDER = "tokens"
HELD_OUT = 0.05  # of a text, for each of validation and test that has no file of its own
_LINE_END = re.compile(r"[\r\n]")
_ABOUT = ("readme", "license", "licence")  # names of texts that are about the data

Pieces = Callable[[], Iterator[str]]


@runtime_checkable
class Sources(Protocol):
    """Which text, and what its tokens are; see `recurra train lm --help`."""

    @property
    def data(self) -> NamedTexts | None:
        """The texts; None: the source of the Python standard library."""
        ...

    @property
    def val_data(self) -> NamedTexts | None:
        """Texts to validate on; None: a part of the text."""
        ...

    @property
    def test_data(self) -> NamedTexts | None:
        """Texts to test on; None: a part of the text."""
        ...

    @property
    def encoding(self) -> str | None:
        """Of files without a byte order mark; None: UTF-8."""
        ...

    @property
    def level(self) -> str:
        """The level of the vocabulary."""
        ...

    @property
    def vocab_size(self) -> int | None:
        """Most symbols of a vocabulary of words or pieces; None: its own default."""
        ...

    @property
    def min_count(self) -> int:
        """Words seen fewer times are unknown."""
        ...

    @property
    def lower(self) -> bool:
        """Whether words are taken in lower case."""
        ...

    @property
    def unit(self) -> str:
        """What is read by itself: a "text", a "line" or a "caption"."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A run's tokens, memory-mapped, and what they mean.

    Attributes:
        vocabulary: of the tokens.
        parts: by "train", "val" and "test", as far as the run has them.
        read: what they were read from: `Corpus.what` of the text, as "text", and of the parts that
            have texts of their own; runs of version 0.1 do not know.
    """

    vocabulary: Vocabulary
    parts: Mapping[str, np.ndarray]
    read: Mapping[str, Any] = field(default_factory=dict)

    def split(self, name: str) -> np.ndarray:
        """The tokens of "train", "val" or "test".

        Raises:
            ValueError: when there is no such split.
            DataError: when the run does not keep it.
        """
        _index_of(name)
        if name not in self.parts:
            raise DataError(
                f"{argument('split')}: expected a part that the run keeps, "
                f"{', '.join(self.parts) or 'none'}, "
                f"got {name!r}. Choose one, or name a text with {argument('data=')}."
            )
        return self.parts[name]

    @property
    def sizes(self) -> dict[str, int]:
        """How many tokens each part has."""
        return {name: len(tokens) for name, tokens in self.parts.items()}


def describe_default_text() -> str:
    """One line on the text that is used where none is given: what it is, its size and license."""
    source = stdlib_source()
    return (
        f"the Python {source.python_version} standard library's source, "
        f"{len(source.files)} files, {source.size_bytes / 1e6:.1f} MB, {source.license}"
    )


def check_sources(settings: Sources) -> None:
    """Raise DataError when a file or folder that `settings` names is not there."""
    check_texts(settings.data, settings.val_data, settings.test_data)


def prepare_text(folder: Path, settings: Sources) -> Text:
    """Encode the text of `settings` into a folder that has none yet.

    The text is cut by position: 90 / 5 / 5 % of its characters, where no text of its own takes the
    place of the second or third part; between lines where each is read by itself. A folder with
    files or folders of train and of val (valid, dev) or test is read as these parts; nothing but a
    README or a licence may be a text beside them. Words and merges are those of the first part
    alone: what stands in a part that is held out may be unknown. The characters are those of all
    files.

    Raises:
        DataError: when a file cannot be read at this level, or not written.
        ValueError: when the vocabulary's size does not fit its level.
    """
    own = _own_texts(vars_of(settings))
    data, beside = settings.data, ()
    if data is not None and (parts := _parts_of(data, settings.level, settings.encoding)):
        if twice := [name for name in own if name in parts]:
            raise DataError(
                f"{data}: expected one {twice[0]} part, got one in the folder and "
                f"{own[twice[0]]}. Leave {argument(f'{twice[0]}_data=')} out, or name the files to "
                "train on."
            )
        others = _others(Path(str(data)), parts)
        beside = tuple(f"{each.name} (in no part)" for each in others)
        data, own = parts.pop("train"), {**parts, **own}
    names = [name for name in SPLITS if name not in own]
    how: dict[str, Any] = {"level": settings.level, "encoding": settings.encoding}
    how["folder"] = folder / FOLDER
    with ExitStack() as stack:
        main = None
        if data is not None:
            held_out = tuple(own.values())
            main = stack.enter_context(opened_corpus(data, without=held_out, **how))
            main = replace(main, left_out=(*main.left_out, *beside))
        corpora = {
            name: stack.enter_context(opened_corpus(named, **how)) for name, named in own.items()
        }
        pieces, made_from = _source(main)
        cuts = _cuts(sum(map(len, pieces())) if len(names) > 1 else 0, len(names))
        if settings.unit == "line":
            cuts = _behind_lines(pieces(), cuts)
        by_character = settings.level in ("char", "byte")
        known = _between(pieces(), 0, cuts[0] if cuts and not by_character else None)
        if by_character:
            known = chain(known, chain.from_iterable(each.pieces() for each in corpora.values()))
        vocabulary = vocabulary_of(settings, known)
        sizes = dict.fromkeys(names, 0)

        def encoded() -> Iterator[np.ndarray]:
            for name, start, stop in zip(names, [0, *cuts], [*cuts, None], strict=True):
                part = _between(pieces(), start, stop)
                for ids in vocabulary.encode_pieces(part, where="text" if not main else main.where):
                    sizes[name] += len(ids)
                    yield ids

        write_tokens(folder / FOLDER / "text.tokens", encoded(), vocabulary, made_from)
        for name, corpus in corpora.items():
            sizes[name] = _write(folder / FOLDER / f"{name}.tokens", corpus, vocabulary).count
        read = {name: corpus.what() for name, corpus in corpora.items()}
        if main is not None:
            read = {"text": main.what(), **read}
    return open_text(folder, {**vars_of(settings), "tokens": sizes, "read": read})


def vocabulary_of(settings: Sources, pieces: Iterable[str]) -> Vocabulary:
    """That of a text that comes in pieces, as settings say."""
    kind = Vocabulary.of_level(settings.level)
    if issubclass(kind, WordVocabulary):
        return kind.build(
            pieces,
            max_size=settings.vocab_size,
            min_count=settings.min_count,
            lower=settings.lower,
        )
    return kind.build(pieces, max_size=settings.vocab_size)


def _parts_of(named: NamedTexts, level: str, encoding: str | None) -> dict[str, list[Path]]:
    """What a folder has of train, val and test by name; nothing unless it has the first and one of
    the others.

    Raises:
        DataError: when it has other texts too: a folder of programs with train.py and test/ is no
            text in parts, and nobody would look for main.py among what was left out.
    """
    if not isinstance(named, str | PathLike) or not Path(named).is_dir():
        return {}
    parts = entries_by_part(Path(named))
    if "train" not in parts or len(parts) < 2:
        return {}
    others = [
        each
        for each in _others(Path(named), parts)
        if not each.name.lower().startswith(_ABOUT) and has_text(each, level, encoding)
    ]
    if others:
        in_parts = some(each.name for entries in parts.values() for each in entries)
        raise DataError(
            f"{named}: expected every text in a part, train, val or test, or none, got {in_parts} "
            f"by name and beside them {some(each.name for each in others)}. To read all as one "
            f"text, name what the folder has, {argument('data=')}; or name files for each part."
        )
    return parts


def _others(folder: Path, parts: Mapping[str, list[Path]]) -> list[Path]:
    """What of a folder that has parts is in none of them."""
    used = {entry for entries in parts.values() for entry in entries}
    there = sorted(each for each in folder.iterdir() if not is_hidden(each))
    return [each for each in there if each not in used]


def _write(target: Path, corpus: Corpus, vocabulary: Vocabulary) -> TokenFile:
    """The token file of a text, in a vocabulary that is there."""
    ids = vocabulary.encode_pieces(corpus.pieces(), where=corpus.where)
    return write_tokens(target, ids, vocabulary, {"source": corpus.source()})


def keep_part(folder: Path, name: str, tokens: np.ndarray, vocabulary: Vocabulary) -> None:
    """Write tokens that came from no file into a run's folder, as one of its parts."""
    target = folder / FOLDER / f"{name}.tokens"
    pieces = (tokens[start : start + 2**20] for start in range(0, len(tokens), 2**20))
    write_tokens(target, pieces, vocabulary)


def open_text(folder: Path, data: Mapping[str, Any]) -> Text:
    """The text in a run's folder, as the entry `data` of its config.json says it was split.

    Token files that the entry does not speak of are not looked at.

    Raises:
        DataError: when a file is missing or cut short, or the entry does not fit.
    """
    try:
        sizes = {name: int(data["tokens"][name]) for name in SPLITS if name in data["tokens"]}
        if not sizes or min(sizes.values()) < 0:
            raise ValueError(f"sizes {sizes}")
        own = [n for n in ("val", "test") if n in {*_own_texts(data), *data.get("read", {})}]
        own = [name for name in own if name in sizes]
        shared = [name for name in sizes if name not in own]
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        raise DataError(
            f"{folder}: expected the sizes of its text's parts in config.json, got them without "
            f"{error}. Restore the file from a copy."
        ) from error
    files = {name: read_token_file(folder / FOLDER / f"{name}.tokens") for name in own}
    parts = {name: file.tokens() for name, file in files.items()}
    if shared:
        files["text"] = main = read_token_file(folder / FOLDER / "text.tokens")
        if main.count != sum(sizes[name] for name in shared):
            raise DataError(
                f"{main.path}: expected {sum(sizes[name] for name in shared)} tokens, as "
                f"config.json says, got {main.count}. They belong to different runs."
            )
        bounds = np.cumsum([sizes[name] for name in shared])[:-1]
        parts |= dict(zip(shared, np.split(main.tokens(), bounds), strict=True))
    first = next(reversed(files.values()))
    for file in files.values():
        if file.vocabulary != first.vocabulary:
            raise DataError(
                f"{file.path}: expected the vocabulary of {first.path}, got another. "
                "They belong to different runs."
            )
    return Text(
        vocabulary=first.vocabulary,
        parts={name: parts[name] for name in SPLITS if name in parts},
        read=data.get("read", {}),
    )


@contextmanager
def other_text(
    named: NamedTexts,
    vocabulary: Vocabulary,
    split: str | None = None,
    *,
    encoding: str | None = None,
    by_line: bool = False,
) -> Iterator[np.ndarray]:
    """The tokens of other texts, or of one split of them, mapped from a file that lasts as long.

    Of a folder that has parts they are those of the part `split`, or of its test part.

    Raises:
        DataError: when they cannot be read, or have characters that the vocabulary lacks.
    """
    check_texts(named)
    if parts := _parts_of(named, vocabulary.level, encoding):
        name, split = split or "test", None
        if name not in parts:
            raise DataError(
                f"{named}: expected a folder with a part {name}, got one with {', '.join(parts)}. "
                f"Choose one, {argument('split=')}, or name a file."
            )
        named = parts[name]
    with (
        tempfile.TemporaryDirectory(prefix="recurra-") as folder,
        opened_corpus(
            named, level=vocabulary.level, encoding=encoding, folder=Path(folder)
        ) as corpus,
    ):
        start, stop = 0, None
        if split is not None:
            cuts = _cuts(sum(map(len, corpus.pieces())), len(SPLITS))
            index = _index_of(split)
            cuts = _behind_lines(corpus.pieces(), cuts) if by_line else cuts
            start, stop = [0, *cuts][index], [*cuts, None][index]
        part = _between(corpus.pieces(), start, stop)
        ids = vocabulary.encode_pieces(part, where=corpus.where)
        made_from = {"source": corpus.source()}
        file = write_tokens(Path(folder, "text.tokens"), ids, vocabulary, made_from)
        corpus.check_unchanged()
        yield file.tokens()


def vars_of(sources: Sources) -> dict[str, Any]:
    """The texts that are held out, as config.json has them."""
    return {"val_data": sources.val_data, "test_data": sources.test_data}


def _index_of(split: str) -> int:
    """Which of the splits it is; ValueError when it is none."""
    if split not in SPLITS:
        raise ValueError(f"split: expected one of {', '.join(SPLITS)}, got {split!r}. Choose one.")
    return SPLITS.index(split)


def _source(corpus: Corpus | None) -> tuple[Pieces, dict[str, Any]]:
    """The text, to be read as often as it takes, and what it is; None: the default one."""
    if corpus is None:
        source = stdlib_source()
        return source.pieces, {"source": "stdlib", "python": source.python_version}
    return corpus.pieces, {"source": corpus.source()}


def _own_texts(data: Mapping[str, Any]) -> dict[str, Any]:
    """The parts that have texts of their own, and those."""
    named = {name: data.get(f"{name}_data") for name in ("val", "test")}
    return {name: texts for name, texts in named.items() if texts is not None}


def _cuts(length: int, num_parts: int) -> list[int]:
    """Where a text of so many characters is cut into so many parts; the first is the training's."""
    held_out = num_parts - 1
    shares = [1.0 - HELD_OUT * (held_out - index) for index in range(held_out)]
    return [round(share * length) for share in shares]


def _behind_lines(pieces: Iterable[str], cuts: list[int]) -> list[int]:
    """The cuts, each behind the end of the line that it falls into."""
    found: list[int] = []
    at = 0
    for piece in pieces:
        while len(found) < len(cuts):
            match = _LINE_END.search(piece, max(0, cuts[len(found)] - 1 - at))
            if match is None:
                break
            found.append(at + match.end())
        at += len(piece)
    return found + [at] * (len(cuts) - len(found))


def _between(pieces: Iterable[str], start: int, stop: int | None) -> Iterator[str]:
    """The characters from `start` up to, not including, `stop` of a text that comes in pieces."""
    at = 0
    for piece in pieces:
        if stop is not None and at >= stop:
            return
        part = piece[max(0, start - at) : None if stop is None else stop - at]
        at += len(piece)
        if part:
            yield part
