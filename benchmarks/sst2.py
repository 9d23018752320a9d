"""Sentences of SST-2: `recurra train classify` beside scikit-learn on the same sentences.

Settings were picked on the validation part. The test part is read by the run of each seed and by
each model of scikit-learn once, and all of it is shown.
"""

import os
import statistics
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.oracle import DisagreementError
from benchmarks.registry import Benchmark, Row, Settings, Target
from benchmarks.runs import train_and_test
from recurra.data import read_labelled

SEEDS = (1, 2, 3)
WORD = r"\S+"  # as --level whitespace has it: the sentences are split at spaces already


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What is trained, as docs/classification.md has it.

    Attributes:
        flags: of `recurra train classify --data sst2`.
        target: the test accuracy to reach, mean of the seeds, in percent.
    """

    flags: str
    target: float


MODELS = {
    "words": Model(
        flags="--level whitespace --pooling mean --epochs 5 --min-count 1 --embedding-size 100 "
        "--input-dropout 0.5 --word-dropout 0.3 --eval-every 36",
        target=80.0,
    ),
    "words and n-grams of 3 to 5": Model(
        flags="--level whitespace --pooling mean --epochs 4 --spelling ngrams "
        "--embedding-size 100 --subword-size 100 --input-dropout 0.5 --word-dropout 0.2 "
        "--eval-every 36",
        target=82.5,
    ),
    "words, n-grams of 3 to 5 and pairs": Model(
        flags="--level whitespace --pooling mean --epochs 4 --spelling ngrams "
        "--embedding-size 100 --subword-size 100 --pair-buckets 80000 --input-dropout 0.5 "
        "--word-dropout 0.2 --eval-every 36",
        target=82.5,
    ),
    "words and n-grams of 2 to 6": Model(
        flags="--level whitespace --pooling mean --epochs 4 --spelling ngrams --shortest-ngram 2 "
        "--longest-ngram 6 --ngram-buckets 60000 --embedding-size 100 --subword-size 100 "
        "--input-dropout 0.5 --word-dropout 0.4 --eval-every 109",
        target=82.5,
    ),
}

Labelled = tuple[list[str], list[str]]


def _logistic(words: int) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    shares = TfidfVectorizer(token_pattern=WORD, ngram_range=(1, words), sublinear_tf=True)
    return make_pipeline(shares, LogisticRegression(C=10, max_iter=1000))


def _bayes(words: int) -> Any:
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.naive_bayes import MultinomialNB
    from sklearn.pipeline import make_pipeline

    found = CountVectorizer(token_pattern=WORD, ngram_range=(1, words), binary=True)
    return make_pipeline(found, MultinomialNB())


PEERS: dict[str, Callable[[], Any]] = {
    "logistic regression on TF-IDF, words": lambda: _logistic(1),
    "logistic regression on TF-IDF, words and pairs": lambda: _logistic(2),
    "naive Bayes, words": lambda: _bayes(1),
    "naive Bayes, words and pairs": lambda: _bayes(2),
}


def _read(folder: Path, part: str) -> Labelled:
    """The sentences and labels of a part, read without recurra."""
    lines = (folder / f"{part}.tsv").read_text("utf-8").splitlines()
    rows = [line.rsplit("\t", 1) for line in lines]
    return [text for text, _ in rows], [label for _, label in rows]


def _check() -> None:
    """Both sides read the same sentences of a folder of three parts."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("train", "dev", "test"):
            lines = [f"sentence {n} of {part}\t{n % 2}" for n in range(12)]
            (folder / f"{part}.tsv").write_text("\n".join(lines), "utf-8")
        _check_parts(folder)


def _check_parts(folder: Path) -> None:
    found = read_labelled(str(folder))
    for part, name in (("train", "train"), ("val", "dev"), ("test", "test")):
        texts, labels = _read(folder, name)
        ours = found.parts[part]
        said = [found.classes[label] for label in ours.labels]
        if list(ours.values()) != texts or said != labels:
            raise DisagreementError(f"sst2: the sides read other sentences of {part}")


def _train(model: Model, folder: Path, seed: int, settings: Settings) -> dict[str, float]:
    """One run of the command line: validation and test accuracy, and seconds, of training alone."""
    data = [f"--data={folder}"]
    figures, progress = train_and_test("classify", data, model.flags, seed, settings)
    return {
        "val": 100 * progress["best"],
        "test": 100 * figures["accuracy"],
        "seconds": progress["elapsed_s"],
    }


def _run(settings: Settings) -> Iterator[Row]:
    folder = Path(os.environ.get("RECURRA_DATA", "."), "sst2")
    if not (folder / "train.tsv").is_file():
        raise FileNotFoundError(
            f"sst2: expected train.tsv, dev.tsv and test.tsv in {folder}, got none. Set "
            "RECURRA_DATA to the folder that has sst2."
        )
    _check_parts(folder)
    train, test = _read(folder, "train"), _read(folder, "test")
    theirs = {name: 100 * float(make().fit(*train).score(*test)) for name, make in PEERS.items()}
    for name, model in MODELS.items():
        seeds = SEEDS[:1] if settings.quick else SEEDS
        runs = [_train(model, folder, seed, settings) for seed in seeds]
        yield from _rows(name, model, runs, theirs, settings)


def _rows(
    name: str,
    model: Model,
    runs: list[dict[str, float]],
    theirs: dict[str, float],
    settings: Settings,
) -> Iterator[Row]:
    """One model beside what was asked of it, and beside each of the others."""
    each = [run["test"] for run in runs]
    ours = statistics.mean(each)
    val = statistics.mean(run["val"] for run in runs)
    note = f"test {', '.join(f'{test:.1f}' for test in each)} %; validation, mean, {val:.1f} %"
    asked = {f"{model.target:g} % asked for": model.target}
    for peer, accuracy in {**asked, **theirs}.items():
        yield Row(
            job=f"{name}, test accuracy",
            peer=peer,
            ours=ours,
            theirs=accuracy,
            unit="%",
            ratio=ours / accuracy,
            low=min(each) / accuracy,
            high=max(each) / accuracy,
            target=Target(value=1.0) if peer in asked else None,
            rounds=len(runs),
            threads=settings.threads,
            note=note if peer in asked else "",
            details={"runs": runs},
        )


BENCHMARKS = (
    Benchmark(
        name="sst2",
        doc="classifying sentences through the command line; ratio: test accuracy, recurra's mean "
        "over seeds over the other's (more is better)",
        check=_check,
        run=_run,
        needs=("sklearn",),
        by_default=False,
    ),
)
