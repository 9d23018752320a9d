"""Words of the English Web Treebank: `recurra train tag` beside each word's most frequent tag.

Settings were picked on the validation part. The test part is read by the run of each seed once.
"""

import os
import statistics
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.oracle import DisagreementError
from benchmarks.registry import Benchmark, Row, Settings, Target
from benchmarks.runs import train_and_test
from recurra.data.tagged import read_tagged
from recurra.data.tagged_files import Reading
from recurra.text.reading import read_text

SEEDS = (1, 2, 3)
PARTS = {"train": "train", "val": "dev", "test": "test"}
FLAGS = "--epochs 8"
MOST_MINUTES = 10.0  # of training


@dataclass(frozen=True, slots=True, kw_only=True)
class Tags:
    """A set of tags.

    Attributes:
        column: of CoNLL-U, its number from 1.
        name: of the column.
        target: the test accuracy to reach, mean of the seeds, in percent.
    """

    column: int
    name: str
    target: float


SETS = {
    "universal tags": Tags(column=4, name="upos", target=95.0),
    "Penn tags": Tags(column=5, name="xpos", target=94.5),
}

Words = list[tuple[str, str]]


def _read(folder: Path, part: str, column: int) -> list[Words]:
    """The words and tags of each sentence of a part, read without recurra's reader."""
    found: list[Words] = [[]]
    [file] = folder.glob(f"*{part}.conllu*")
    for line in read_text(file).splitlines():
        cells = line.split("\t")
        if not line:
            found.append([])
        elif cells[0].isdecimal():
            found[-1].append((cells[1], cells[column - 1]))
    return [sentence for sentence in found if sentence]


def _most_frequent(train: list[Words], test: list[Words]) -> float:
    """The share of words, in percent, whose tag is the one that the word mostly has in training; of
    words that training lacks the tag that words have most often which are there once."""
    tags: dict[str, Counter[str]] = {}
    for sentence in train:
        for word, tag in sentence:
            tags.setdefault(word, Counter())[tag] += 1
    once = Counter(tag for each in tags.values() if each.total() == 1 for tag in each)
    other = once.most_common(1)[0][0]
    mostly = {word: each.most_common(1)[0][0] for word, each in tags.items()}
    pairs = [pair for sentence in test for pair in sentence]
    return 100 * sum(mostly.get(word, other) == tag for word, tag in pairs) / len(pairs)


def _check() -> None:
    """Both sides read the same words and tags."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in PARTS.values():
            rows = [f"{n}\t{part}{n % 3}\t_\tX{n % 2}\tY{n % 2}\t_\t_\t_\t_\t_" for n in (1, 2)]
            lines = [*rows, "2-3\tof both\t_\t_\t_\t_\t_\t_\t_\t_", "", "# a comment", *rows]
            (folder / f"{part}.conllu").write_text("\n".join(lines) + "\n", "utf-8")
        _check_parts(folder)


def _check_parts(folder: Path) -> None:
    for tags in SETS.values():
        found = read_tagged(folder, Reading(tag_column=tags.name))
        for name, part in PARTS.items():
            ours = [list(zip(each.values, each.targets, strict=True)) for each in found.parts[name]]
            if ours != _read(folder, part, tags.column):
                raise DisagreementError(f"tagging: the sides read other words of {part}")


def _run(settings: Settings) -> Iterator[Row]:
    folder = Path(os.environ.get("RECURRA_DATA", "."), "ud_english_ewt")
    if not list(folder.glob("*train.conllu*")):
        raise FileNotFoundError(
            f"tagging: expected train, dev and test of .conllu in {folder}, got none. Set "
            "RECURRA_DATA to the folder that has ud_english_ewt."
        )
    _check_parts(folder)
    seeds = SEEDS[:1] if settings.quick else SEEDS
    for name, tags in SETS.items():
        runs = []
        for seed in seeds:
            given = [f"--data={folder}", f"--tag-column={tags.name}"]
            figures, progress = train_and_test("tag", given, FLAGS, seed, settings)
            runs.append(
                {
                    "test": 100 * figures["accuracy"],
                    "val": 100 * progress["best"],
                    "seconds": progress["elapsed_s"],
                }
            )
        train, test = (_read(folder, part, tags.column) for part in ("train", "test"))
        yield from _rows(name, tags, runs, _most_frequent(train, test), settings)


def _rows(
    name: str, tags: Tags, runs: list[dict[str, Any]], baseline: float, settings: Settings
) -> Iterator[Row]:
    """What was reached beside what was asked for, and beside each word's most frequent tag."""
    each = [run["test"] for run in runs]
    ours = statistics.mean(each)
    val = statistics.mean(run["val"] for run in runs)
    longest = max(run["seconds"] for run in runs)
    note = f"test {', '.join(f'{test:.2f}' for test in each)} %; validation, mean, {val:.2f} %"
    asked = f"{tags.target:g} % asked for"
    for peer, accuracy in {asked: tags.target, "most frequent tags": baseline}.items():
        yield Row(
            job=f"{name}, test accuracy",
            peer=peer,
            ours=ours,
            theirs=accuracy,
            unit="%",
            ratio=ours / accuracy,
            low=min(each) / accuracy,
            high=max(each) / accuracy,
            target=Target(value=1.0) if peer == asked else None,
            rounds=len(runs),
            threads=settings.threads,
            note=note if peer == asked else "",
            details={"runs": runs},
        )
    yield Row(
        job=f"{name}, minutes of training, longest",
        peer=f"{MOST_MINUTES:g} minutes asked for",
        ours=longest / 60,
        theirs=MOST_MINUTES,
        unit="min",
        ratio=longest / 60 / MOST_MINUTES,
        target=Target(value=1.0, at_most=True),
        rounds=len(runs),
        threads=settings.threads,
    )


BENCHMARKS = (
    Benchmark(
        name="tagging",
        doc="tagging words through the command line; ratio: test accuracy, recurra's mean over "
        "seeds over the other's (more is better), and minutes over those asked for (less is)",
        check=_check,
        run=_run,
        by_default=False,
    ),
)
