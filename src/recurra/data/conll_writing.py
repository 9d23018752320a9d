"""Labels that were said of sentences, in columns: of CoNLL-U, or of the older CoNLL tasks."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from recurra.data.conll import DOCUMENT, UNIVERSAL, UNIVERSAL_END, TaggedSentence
from recurra.data.predictions import GENERATOR, written_text
from recurra.errors import DataError, argument

COLUMNS_END = ".conll"
_EMPTY = "_"
_OUTSIDE = "O"
_PREDICTED = "predicted"  # what the column of labels is called where columns have names

Put = Callable[[TaggedSentence | None, Sequence[str], Sequence[str]], None]


@contextmanager
def written_columns(path: Path, tag_column: str | int | None) -> Iterator[Put]:
    """What takes sentences: each as its file has it or None, its words, and their labels.

    In .conllu the label stands in the column of tags; what else a sentence of CoNLL-U has stays as
    it is, comments too; a first line says who wrote the file. In .conll it stands behind all
    columns that the sentence has, or behind the word and, where it is known, the true label: so
    that the last two columns are those that conlleval takes. A line of names stays, and names it.

    Args:
        path: of the new file, whole or not there at all.
        tag_column: of CoNLL-U, its name or number; None takes "upos".
    Raises:
        DataError: when it is no column of CoNLL-U, or the file cannot be written.
    """
    is_universal = path.suffix.lower() == UNIVERSAL_END
    at = _tag_at(tag_column) if is_universal else 0
    with written_text(path) as write:
        if is_universal:
            write(f"{GENERATOR}\n")

        def put(given: TaggedSentence | None, words: Sequence[str], labels: Sequence[str]) -> None:
            if not words:
                return
            if given is not None and given.lines and given.is_universal == is_universal:
                rows = dict(zip(given.rows, labels, strict=True))
                if not is_universal:  # the line of a document has as many columns as a word's
                    starts = (n for n, line in enumerate(given.lines) if line.startswith(DOCUMENT))
                    rows |= dict.fromkeys(starts, _OUTSIDE)
                lines = [
                    _with_label(line, rows[n], at) if n in rows else line
                    for n, line in enumerate(given.lines)
                    if line != GENERATOR
                ]
                if given.head:
                    lines.insert(0, _with_label(given.head, _PREDICTED, 0))
            elif is_universal:
                pairs = zip(words, labels, strict=True)
                lines = [_universal(n, *pair, at) for n, pair in enumerate(pairs, 1)]
            else:
                true = () if given is None else tuple(tag or _EMPTY for tag in given.tags)
                known = (true,) if true else ()
                lines = ["\t".join(row) for row in zip(words, *known, labels, strict=True)]
            write("".join(f"{line}\n" for line in [*lines, ""]))

        yield put


def _tag_at(column: str | int | None) -> int:
    """The place of the column of CoNLL-U that has the labels, from 0."""
    name = "upos" if column is None else str(column).lower()
    if name in UNIVERSAL[2:]:
        return UNIVERSAL.index(name)
    if name.isdecimal() and 2 < int(name) <= len(UNIVERSAL):
        return int(name) - 1
    raise DataError(
        f"{argument('out')}: expected labels of one of the columns {', '.join(UNIVERSAL[2:])}, got "
        f"those of {column!r}. Write {COLUMNS_END}, or a table."
    )


def _with_label(line: str, label: str, at: int) -> str:
    """The line of a word with its label: in the column `at`; 0: behind all."""
    if not at:
        return (f"{line}\t" if "\t" in line else f"{line.rstrip()} ") + label
    cells = line.split("\t") if "\t" in line else line.split()
    return "\t".join([*cells[:at], label, *cells[at + 1 :]])


def _universal(number: int, word: str, label: str, at: int) -> str:
    """The line of CoNLL-U of a word of which nothing else is known."""
    cells = [str(number), word, *[_EMPTY] * (len(UNIVERSAL) - 2)]
    return "\t".join([*cells[:at], label, *cells[at + 1 :]])
