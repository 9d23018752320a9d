"""`recurra predict`, and its name for each task: what a run's best model makes of new inputs."""

import codecs
import io
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from recurra.cli.options import DEVICES, RUN, named, opened, option, path
from recurra.cli.unseen import Unseen
from recurra.tasks.options import Options
from recurra.terminal import printable

_PIPED_BYTES = 1 << 16  # what a pipe holds
_MAKES = ("Say what a run's best model makes of inputs, a line for each.", "runs/reviews")
_READS = (
    "An INPUT is a text in quotes, or a file: a table (.csv, .tsv, .jsonl, .parquet) with a column "
    "of texts, a .txt with one a line, .conllu, .ts, .npy. A run on series reads files alone. What "
    "is piped in is read a line at a time. Labels need not be there, and count for nothing. With "
    "--out the predictions become a table, a row for each input in their order; other columns of "
    "the inputs stand behind them."
)


def command(options: Options | None = None) -> Callable[..., None]:
    """The function of the command: of every task, or of one that has the task's own name."""
    task = None if options is None else options.task
    forms = "" if options is None or not options.forms else f"; of words {options.forms}"

    def predict(
        run: Annotated[Path, RUN],
        inputs: Annotated[
            list[str] | None,
            typer.Argument(
                help="Texts, each in quotes, and files. None, or -: the lines that are piped in.",
                metavar="[INPUT]...",
            ),
        ] = None,
        file: Annotated[
            list[Path] | None,
            option(
                None,
                "A file or folder of inputs, whatever its name; may be given several times.",
                default="none",
                parser=path,
            ),
        ] = None,
        text_column: Annotated[
            str | None,
            option(
                None,
                "Column of the inputs in tables, its name or number.",
                default="as the run's, or found by what it holds",
                parser=named,
            ),
        ] = None,
        encoding: Annotated[
            str | None,
            option(None, "Of text files.", default="the run's own", parser=named),
        ] = None,
        as_json: Annotated[
            bool, option(None, "Print a JSON object for each input.", "--json")
        ] = False,
        out: Annotated[
            Path | None,
            option(
                None,
                f"Write a table instead: .csv, .tsv, .jsonl or .parquet{forms}.",
                default="lines are printed",
                parser=path,
            ),
        ] = None,
        device: Annotated[str, option(None, "Where the model runs.", choices=DEVICES)] = "cpu",
    ) -> None:
        how = (text_column, encoding)
        predict_inputs(run, task, list(inputs or []), list(file or []), how, as_json, out, device)

    about, example = _MAKES if options is None or options.predicts is None else options.predicts
    name = task or "predict"
    predict.__doc__ = (
        f"{about}\n\n{_READS}\n\nExamples: recurra {name} {example} reviews.csv --out "
        f'predictions.csv; recurra {name} {example} "a fine film" --json'
    )
    predict.__name__ = name
    return predict


def predict_inputs(
    run: Path,
    task: str | None,
    words: list[str],
    files: list[Path],
    how: tuple[str | None, str | None],
    as_json: bool,
    out: Path | None,
    device: str,
    watch: Callable[[Any, Any], None] | None = None,
    check: Callable[[Any], None] | None = None,
    **options: Any,
) -> None:
    """Say or write what a run's best model makes of inputs.

    Args:
        watch: called with each record, and what the model makes of it.
        check: called with the model before anything is read.
        options: of the model's `predict`.
    """
    from recurra.data.predictions import check_table
    from recurra.settings import check_known
    from recurra.tasks.predicting import predictions

    found = opened(run, task)
    kind = found.task_class
    if not kind.predicted:
        raise ValueError(
            f"predict: expected the run of a task that predicts, got one of {kind.name}. Use "
            f"recurra {'sample' if kind.name == 'lm' else kind.name}."
        )
    if out is not None:
        check_table(out, kind.predicted, kind.forms)
        if as_json:
            raise ValueError("out: expected a table or --json, got both. Leave one of them out.")
    model = found.load(device=device)
    if check is not None:
        check(model)
    own = found.data_settings
    asked = zip((kind.input_column, "encoding"), how, strict=True)
    given = {name: value for name, value in asked if value is not None}
    check_known(given, type(own))
    own = replace(own, **given)
    parts = _inputs(kind, model, words, files, own)
    others = _columns_beside(parts)
    new = out is not None and not out.parent.exists()
    count = 0
    unseen = _unseen(model) if kind.reads_texts(model) else None
    with nullcontext() if out is None else _written(kind, out, own, others) as put:
        each = chain.from_iterable(parts)
        for some in (
            some
            for records in each
            for some in predictions(kind, model, records, first=count, **options)
        ):
            count += len(some)
            if unseen is not None:
                for record, _ in some:
                    unseen.read(record.value)
            if watch is not None:
                for record, said in some:
                    watch(record, said)
            if put is not None:
                put(some)
                continue
            for record, said in some:
                for line in [_json(record, said)] if as_json else _lines(kind, record, said):
                    typer.echo(line)
            sys.stdout.flush()
    if unseen is not None:
        unseen.say()
    if out is not None:
        said = "1 prediction is" if count == 1 else f"{count:,} predictions are"
        made = f"; made the folder {out.parent}" if new else ""
        typer.echo(printable(f"{said} in {out}{made}"), err=True)


@contextmanager
def _written(kind: Any, out: Path, own: Any, others: list[str]) -> Iterator[Callable[..., object]]:
    """What takes records with what is predicted of them: a form of the task's own, or a table."""
    from recurra.data.predictions import INPUT, with_others, written_table

    form = kind.written(out, own)
    if form is not None:
        with form as put:
            yield put
        return
    with written_table(out) as put:

        def put_rows(some: Iterable[tuple[Any, Any]]) -> None:
            rows = (
                (record, {INPUT: _name(record), **row})
                for record, said in some
                for row in kind.rows(said)
            )
            put([with_others(row, others, record.others or {}) for record, row in rows])

        yield put_rows


def _unseen(model: Any) -> Unseen:
    """What is said of words that a model of texts does not know."""
    sources = getattr(model, "source_vocabulary", None)
    vocabulary = model.vocabulary if sources is None else sources
    return Unseen(model, vocabulary, spelled=getattr(model, "subwords", None) is not None)


def _inputs(
    kind: Any, model: Any, words: list[str], files: list[Path], how: Any
) -> Sequence[Iterable[Iterable[Any]]]:
    """The records of all that was named: lists of what is there, iterators of what comes later."""
    from recurra.data.opening import may_be_inputs
    from recurra.data.records import Record

    takes_texts = kind.reads_texts(model)
    if not words and not files:
        if sys.stdin.isatty():
            raise ValueError(
                'predict: expected inputs, got none. Give some, as in recurra predict RUN "a '
                'text", a file, or lines from a pipe.'
            )
        words = ["-"]
    if "-" in words and not takes_texts:
        raise ValueError(
            "predict: expected files of series, as the run was trained on, got standard input. "
            "Name files: .ts, .npy, .csv, .jsonl or .parquet."
        )
    parts: list[Iterable[Iterable[Any]]] = []
    for number, word in enumerate(words, 1):
        if word == "-":
            parts.append(_piped(how.encoding))
        elif takes_texts and not may_be_inputs(word):
            parts.append([[Record(value=word.strip(), label="", place=f"input {number}")]])
        else:
            parts.append([_opened(kind, model, Path(word), how)])
    parts += [[_opened(kind, model, file, how)] for file in files]
    return parts


def _columns_beside(parts: Iterable[Any]) -> list[str]:
    """The names of all columns of tables besides those that are read."""
    there = (records for part in parts if isinstance(part, list) for records in part)
    return list(dict.fromkeys(name for each in there for name in getattr(each, "others", ())))


def _opened(kind: Any, model: Any, file: Path, how: Any) -> Iterable[Any]:
    """The records of a file; how it is read is said where there is anything to say."""
    records = kind.inputs(model, file, how)
    for note in records.notes:
        typer.echo(printable(f"{file}: {note}"), err=True)
    if records.left_out:
        typer.echo(printable(f"{file}: left out {', '.join(records.left_out)}"), err=True)
    return records


def _piped(encoding: str | None) -> Iterator[Iterable[Any]]:
    """The records of the lines of standard input, those that have come by the time of each look."""
    from recurra.data.inputs import LineRecords
    from recurra.errors import DataError, argument

    decoder = io.IncrementalNewlineDecoder(
        codecs.getincrementaldecoder(encoding or "utf-8-sig")(), translate=True
    )
    stream = cast("io.BufferedReader", sys.stdin.buffer)
    held: list[str] = []  # of a line that has not ended
    first, ended = 1, False
    while not ended:
        block = stream.read1(_PIPED_BYTES)  # waits for a byte, not for all of them
        ended = not block
        try:
            text, *rest = decoder.decode(block, final=ended).split("\n")
        except UnicodeError as error:
            got = f"none ({error})"
            if isinstance(error, UnicodeDecodeError):
                got = f"byte 0x{error.object[error.start]:02x}"
            raise DataError(
                f"standard input: expected {(encoding or 'utf-8').upper()} text, got {got}. "
                f"Name its encoding, {argument('encoding=')}."
            ) from error
        held.append(text)
        if not rest and not ended:
            continue
        lines = ["".join(held), *rest]
        held = [lines.pop()]
        if ended and held[0]:
            lines += held
        if lines:
            yield LineRecords(lines, "standard input", first=first)
            first += len(lines)
    if first == 1:
        raise DataError("standard input: expected lines to predict, got none. Pipe a text into it.")


def _name(record: Any) -> str:
    """A text itself, its words with spaces between; of a series, where it stands."""
    if isinstance(record.value, tuple):
        return " ".join(record.value)
    return record.value if isinstance(record.value, str) else record.place


def _json(record: Any, said: Any) -> str:
    from recurra.data.predictions import INPUT, json_line, with_others

    others = record.others or {}
    own = said.to_json() if hasattr(said, "to_json") else asdict(said)
    return json_line(with_others({INPUT: _name(record), **own}, others, others))


def _lines(kind: Any, record: Any, said: Any) -> Iterator[str]:
    """What is predicted and, where the task says so, of what, with tabs between; a line for each
    step of several."""
    of = [printable(_name(record))] if kind.shows_input else []
    for values in kind.lines(said):
        texts = [f"{v:.4f}" if isinstance(v, float) else printable(str(v)) for v in values]
        line = "\t".join([*texts, *of])
        yield line if line.strip("\t") else ""  # an empty one for an empty one
