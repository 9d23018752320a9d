"""The settings of taggers."""

from dataclasses import dataclass

from recurra.errors import argument
from recurra.settings import MAX_SIZE, Settings, declared_as, fraction, setting
from recurra.tasks.options.classify import LabelledSettings
from recurra.tasks.options.common import EXAMPLES, MODEL, PATHS, Options, RecurrentSettings
from recurra.training.settings import LEARNING, TrainingSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class TaggedSettings(Settings):
    """Which sequences a tagger learns from, and how they are read."""

    data: str | tuple[str, ...] | None = setting(
        None,
        "Sentences in columns (.conllu, .conll, .txt, .tsv), or lists of words or numbers with one "
        "of labels (.jsonl, .parquet); a folder with files of train, val or dev, and test; a file "
        "alone is divided 80 / 10 / 10 %, several are read as one.",
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
    word_column: str | None = setting(
        None,
        "Column of words or series, its name or number.",
        EXAMPLES,
        unset="form, or the first; of objects, words, tokens, series or frames",
    )
    tag_column: str | None = setting(
        None,
        "Column of labels or numbers to learn, its name or number: xpos.",
        EXAMPLES,
        unset="upos, or the last; of objects, tags or labels",
    )
    encoding: str | None = declared_as(LabelledSettings, "encoding", default=None)
    lower: bool = setting(
        True,
        "Take words in lower case; their spelling keeps it.",
        EXAMPLES,
        flags="--lower/--cased",
    )
    vocab_size: int | None = setting(
        None, "Largest number of words.", EXAMPLES, most=MAX_SIZE, unset="50000"
    )
    min_count: int = declared_as(LabelledSettings, "min_count", default=2)
    spelling: str = declared_as(LabelledSettings, "spelling", default="characters")
    shortest_ngram: int = declared_as(LabelledSettings, "shortest_ngram", default=3)
    longest_ngram: int = declared_as(LabelledSettings, "longest_ngram", default=5)
    ngram_buckets: int = declared_as(LabelledSettings, "ngram_buckets", default=20_000)
    vectors: str | None = declared_as(LabelledSettings, "vectors", default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaggerSettings(RecurrentSettings):
    """The sizes of a tagger, as `Tagger` takes them."""

    hidden_size: int = setting(128, "Units of each layer and direction.", MODEL, most=MAX_SIZE)
    bidirectional: bool = setting(
        True,
        "Read each sequence from its end as well; one way, labels can be streamed.",
        MODEL,
        flags="--bidirectional/--one-way",
    )
    delay: int = setting(
        0,
        "Steps that a one-way model reads on before it labels one.",
        MODEL,
        least=0,
        most=1000,
    )
    crf: bool = setting(
        False, "Learn which labels stand behind one another: a CRF.", MODEL, flags="--crf"
    )
    constrain: str = setting(
        "none",
        "bio keeps predictions to spans that begin before they go on.",
        MODEL,
        choices=("none", "bio"),
    )
    embedding_size: int | None = setting(
        None,
        "Features of a word's vector.",
        MODEL,
        most=MAX_SIZE,
        unset="100, or those of the vectors that are given",
    )
    subword_size: int = setting(
        100, "Features of what a word's spelling says.", MODEL, most=MAX_SIZE
    )
    dropout: float = setting(
        0.5, "Share of the layers' output dropped in training, 0 to 1.", MODEL, check=fraction
    )
    input_dropout: float = setting(
        0.25,
        "Share of each word's vector, or of each step, dropped in training.",
        MODEL,
        check=fraction,
    )
    word_dropout: float = setting(
        0.05, "Share of words dropped in training.", MODEL, check=fraction
    )

    def check(self) -> None:
        """A model that reads from the end as well needs no look ahead."""
        if self.delay and self.bidirectional:
            raise ValueError(
                f"delay: expected {argument('bidirectional=False')} beside it, got a model that "
                f"reads from the end as well. Leave {argument('delay=')} out, or read one way."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class TagTraining(TrainingSettings):
    """How a tagger is trained."""

    batch_size: int = setting(32, "Sequences read side by side, of like length.", LEARNING)


OPTIONS = Options(
    task="tag",
    about="Train a tagger: a label for each word of a sentence or step of a series, or "
    "numbers.\n\nThe accuracy on the validation part decides which model is the best; of "
    "labels of spans (B-, I-) their F1 does, of numbers the mean squared error.",
    examples=(
        "recurra train tag --data ud_english_ewt --out runs/tags --epochs 8",
        "recurra train tag --data ner.conll --crf --constrain bio",
        "recurra train tag --data gestures.jsonl --one-way --delay 10",
    ),
    data=TaggedSettings,
    model=TaggerSettings,
    training=TagTraining,
    next_lines=('recurra predict {run} "a sentence with spaces between its words"',),
    predicts=("Say the label of each word or step of each input.", "runs/tags"),
)
