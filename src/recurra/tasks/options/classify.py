"""The settings of classifiers."""

from dataclasses import dataclass
from typing import Any

from recurra.errors import argument
from recurra.settings import MAX_SIZE, Settings, declared_as, encoding, fraction, setting
from recurra.tasks.options.common import (
    EXAMPLES,
    LEVELS,
    MODEL,
    PATHS,
    Options,
    RecurrentSettings,
    check_vocab_size,
)
from recurra.training.settings import LEARNING, TrainingSettings

MAX_NGRAM = 100  # characters; few words have more
_PAIR_SIZE = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledSettings(Settings):
    """Which examples a classifier learns from, and how they are read."""

    data: str | tuple[str, ...] | None = setting(
        None,
        "Table (.tsv, .csv, .jsonl, .parquet), UCR's .ts, or a folder with a folder for each class "
        "or with files of train, val and test; a file alone is divided 80 / 10 / 10 %, several are "
        "read as one.",
        EXAMPLES,
        unset="none: it must be given",
        **PATHS,
    )
    val_data: str | tuple[str, ...] | None = setting(
        None, "Validate on this file instead.", EXAMPLES, unset="10 % of the data", **PATHS
    )
    test_data: str | tuple[str, ...] | None = setting(
        None, "Test on this file instead.", EXAMPLES, unset="10 % of the data", **PATHS
    )
    text_column: str | None = setting(
        None, "Column of texts, its name or number.", EXAMPLES, unset="found by what it holds"
    )
    label_column: str | None = setting(
        None, "Column of labels, its name or number.", EXAMPLES, unset="found by what it holds"
    )
    encoding: str | None = setting(
        None,
        "Of text files, such as latin-1 or cp1251; what their first bytes say counts more.",
        EXAMPLES,
        unset="utf-8",
        check=encoding,
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
    level: str = setting("word", "What a token of a text is.", EXAMPLES, choices=LEVELS)
    lower: bool = setting(False, "Take words in lower case.", EXAMPLES, flags="--lower/--cased")
    vocab_size: int | None = setting(
        None,
        "Largest size of a word or bpe vocabulary.",
        EXAMPLES,
        most=MAX_SIZE,
        unset="word 50000, bpe 4096",
    )
    min_count: int = setting(
        2, "Words seen fewer times in training are taken as unknown.", EXAMPLES
    )
    spelling: str = setting(
        "none",
        "What of a word's spelling is read beside it: its characters, or hashed n-grams.",
        EXAMPLES,
        choices=("none", "characters", "ngrams"),
    )
    shortest_ngram: int = setting(
        3,
        "Characters of the shortest n-grams of a word, which stands between < and >.",
        EXAMPLES,
        most=MAX_NGRAM,
    )
    longest_ngram: int = setting(5, "Characters of the longest.", EXAMPLES, most=MAX_NGRAM)
    ngram_buckets: int = setting(
        20_000, "Vectors that n-grams share by their hash.", EXAMPLES, most=MAX_SIZE
    )
    vectors: str | None = setting(
        None,
        "Vectors of words to start from: a text file of GloVe or word2vec.",
        EXAMPLES,
        unset="none",
        is_path=True,
    )

    def check(self) -> None:
        """Lengths of n-grams are a range, and the size of some vocabularies is what there is."""
        check_vocab_size(self.level, self.vocab_size)
        if self.shortest_ngram > self.longest_ngram:
            raise ValueError(
                f"longest_ngram: expected at least {argument('shortest_ngram')}, "
                f"{self.shortest_ngram}, got {self.longest_ngram}. Give a larger one."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierSettings(RecurrentSettings):
    """The sizes of a classifier, as `Classifier` takes them."""

    cell: Any = declared_as(RecurrentSettings, "cell", default="gru")  # noqa: RUF009
    hidden_size: int = setting(64, "Units of each layer and direction.", MODEL, most=MAX_SIZE)
    bidirectional: bool = setting(
        True,
        "Read each sequence from its end as well; one way, what it believes can be streamed.",
        MODEL,
        flags="--bidirectional/--one-way",
    )
    pooling: str = setting(
        "max+mean",
        "What the layers say over time becomes one vector: last, mean, max, attention, or several "
        "joined by +.",
        MODEL,
    )
    embedding_size: int | None = setting(
        None,
        "Features of a word's vector.",
        MODEL,
        most=MAX_SIZE,
        unset="64, or those of the vectors that are given",
    )
    subword_size: int = setting(
        64, "Features of what a word's spelling says.", MODEL, most=MAX_SIZE
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
    dropout: float = setting(
        0.5, "Share of the layers' output dropped in training, 0 to 1.", MODEL, check=fraction
    )
    input_dropout: float = setting(
        0.0,
        "Share of each word's vector, or of each step, dropped in training.",
        MODEL,
        check=fraction,
    )
    word_dropout: float = setting(0.0, "Share of words dropped in training.", MODEL, check=fraction)

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
