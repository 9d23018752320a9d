"""The settings of classifiers."""

from dataclasses import dataclass
from typing import Any

from recurra.errors import argument
from recurra.settings import MAX_SIZE, declared_as, setting
from recurra.tasks.options.common import (
    EXAMPLES,
    LEVELS,
    MODEL,
    Options,
    RecurrentSettings,
    check_vocab_size,
)
from recurra.tasks.options.reading import WORDS, FileSettings, ReaderSettings, WordSettings
from recurra.training.settings import LEARNING, TrainingSettings

_PAIR_SIZE = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledSettings(WordSettings):
    """Which examples a classifier learns from, and how they are read."""

    data: str | tuple[str, ...] | None = declared_as(
        FileSettings,
        "data",
        default=None,
        help="Table (.tsv, .csv, .jsonl, .parquet), UCR's .ts, or a folder with a folder for each "
        "class or with files of train, val and test; a file alone is divided 80 / 10 / 10 %, "
        "several are read as one.",
    )
    text_column: str | None = setting(
        None, "Column of texts, its name or number.", EXAMPLES, unset="found by what it holds"
    )
    label_column: str | None = setting(
        None, "Column of labels, its name or number.", EXAMPLES, unset="found by what it holds"
    )
    missing: str = setting(
        "fail",
        "Missing values: fail, or fill with the last one before.",
        EXAMPLES,
        choices=("fail", "fill"),
    )
    class_weights: str = setting(
        "none",
        "balanced lets examples of rare classes count more.",
        EXAMPLES,
        choices=("none", "balanced"),
    )
    level: str = setting("word", "What a token of a text is.", WORDS, choices=LEVELS)
    lower: bool = declared_as(
        WordSettings, "lower", default=False, help="Take words in lower case."
    )
    vocab_size: int | None = declared_as(
        WordSettings,
        "vocab_size",
        default=None,
        help="Largest size of a word or bpe vocabulary.",
        unset="word 50000, bpe 4096",
    )
    spelling: str = declared_as(WordSettings, "spelling", default="none")

    def check(self) -> None:
        """Lengths of n-grams are a range, and the size of some vocabularies is what there is."""
        WordSettings.check(self)
        check_vocab_size(self.level, self.vocab_size)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierSettings(ReaderSettings):
    """The sizes of a classifier, as `Classifier` takes them."""

    cell: Any = declared_as(RecurrentSettings, "cell", default="gru")  # noqa: RUF009
    hidden_size: int = declared_as(ReaderSettings, "hidden_size", default=64)
    embedding_size: int | None = declared_as(
        ReaderSettings,
        "embedding_size",
        default=None,
        unset="64, or those of the vectors that are given",
    )
    subword_size: int = declared_as(ReaderSettings, "subword_size", default=64)
    pooling: str = setting(
        "max+mean",
        "What the layers say over time becomes one vector: last, mean, max, attention, or several "
        "joined by +.",
        MODEL,
    )
    pair_buckets: int = setting(
        0,
        "Vectors that pairs of neighbouring tokens share by their hash, whose mean is joined to "
        "what is pooled; 0 reads no pairs.",
        MODEL,
        least=0,
        most=MAX_SIZE,
    )
    pair_size: int = setting(_PAIR_SIZE, "Features of the mean of the pairs.", MODEL, most=MAX_SIZE)

    def check(self) -> None:
        """Vectors of pairs have a size where there are any."""
        if self.pair_size != _PAIR_SIZE and not self.pair_buckets:
            raise ValueError(
                f"pair_size: expected {argument('pair_buckets=')} above 0 beside it, got no pairs "
                f"to read. Give their number, or leave {argument('pair_size=')} out."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifyTraining(TrainingSettings):
    """How a classifier is trained."""

    batch_size: int = setting(64, "Examples read side by side, of like length.", LEARNING)


OPTIONS = Options(
    task="classify",
    about="Train a classifier: of texts, or of series of numbers.\n\nThe accuracy on the "
    "validation part decides which model is the best.",
    examples=(
        "recurra train classify --data reviews.tsv --out runs/reviews --epochs 5",
        "recurra train classify --data folder --spelling ngrams --pooling mean",
        "recurra train classify --data gestures_TRAIN.ts --cell lstm",
    ),
    data=LabelledSettings,
    model=ClassifierSettings,
    training=ClassifyTraining,
    next_lines=("recurra predict {run} FILE --out predictions.csv",),
    predicts=(
        "Say which class each input is of, and how probable that is.",
        "runs/reviews",
    ),
)
