"""The settings of every task: what `recurra train TASK` takes, and its help.

They stand apart from the tasks, because the command line makes its options of them and its help
waits for no library.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recurra.errors import argument
from recurra.settings import (
    MAX_LAYERS,
    MAX_SIZE,
    Settings,
    declared_as,
    encoding,
    fraction,
    paths,
    positive_float32,
    setting,
    whole,
)
from recurra.training.settings import LEARNING, REPORTS, TrainingSettings

TEXT, EXAMPLES, MODEL = "Text", "Examples", "Model"
LEVELS = ("char", "byte", "word", "bpe", "whitespace")
_PATHS: dict[str, Any] = {"is_path": True, "several": True, "check": paths}
MAX_NGRAM = 100  # characters; few words have more
MAX_SAMPLE_LENGTH = 1_000_000  # tokens; training waits while they are drawn


def a_cell(name: str, value: object) -> None:
    """Check that a setting names a cell or is one; what it names is looked up when it is needed."""
    if not isinstance(value, str) and not hasattr(value, "equations"):
        raise ValueError(f"{name}: expected a cell or its name, got {value!r:.60}. Give one.")


def own_sizes(name: str, value: object) -> None:
    """Check that a setting gives sizes by name."""
    if not isinstance(value, Mapping):
        raise ValueError(
            f"{name}: expected sizes by name, got {value!r:.60}. Give them as in {{'P': 128}}."
        )
    for size in value.values():
        whole(name, size, least=1, most=MAX_SIZE)


def rules(name: str, value: object) -> None:
    """Check that a setting gives rules by the names of parameters."""
    if not isinstance(value, Mapping):
        raise ValueError(
            f"{name}: expected rules by parameter, got {value!r:.60}. Give them as in "
            "{'b_f': 1.0}."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line knows of a task before anything is loaded.

    Attributes:
        task: its name.
        about: what it trains, and on what; the first line says it in short.
        examples: command lines.
        data: the class of its data settings.
        model: of its model settings.
        training: of its training settings.
        next_lines: commands that use a run, `{run}` being its folder.
        predicts: what its own name of `recurra predict` says of inputs, and a run in an example;
            None where its models predict nothing.
    """

    task: str
    about: str
    examples: tuple[str, ...]
    data: type[Settings]
    model: type[Settings]
    training: type[TrainingSettings]
    next_lines: tuple[str, ...] = ()
    predicts: tuple[str, str] | None = None


# ---- what every model of recurrent layers takes --------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class RecurrentSettings(Settings):
    """The recurrent layers of a model, as it takes them."""

    cell: Any = setting(  # noqa: RUF009  (a spelling or a Cell; the language would load torch)
        "lstm",
        "The recurrence: a name of recurra cells, zoneout(lstm, 0.1), my_file.py:my_cell or "
        "my_module:my_cell.",
        MODEL,
        check=a_cell,
    )
    hidden_size: int = setting(256, "Units of each layer.", MODEL, most=MAX_SIZE)
    num_layers: int = setting(1, "Recurrent layers, one on another.", MODEL, most=MAX_LAYERS)
    sizes: Mapping[str, int] | None = setting(
        None,
        "Sizes of the cell's own, a projection's say: P=128,C=64; see recurra cells.",
        MODEL,
        check=own_sizes,
        unset="as the cell says",
    )
    init: Mapping[str, Any] | None = setting(
        None,
        "How parameters start: b_f=1,W_hh=orthogonal; also behind the cell, lstm:b_f=chrono400.",
        MODEL,
        check=rules,
        unset="as the cell says",
    )
    learned_state: bool = setting(
        False, "Learn the state that a sequence starts from.", MODEL, flags="--learned-state"
    )
    memory: str = setting(
        "normal",
        "low keeps less for the way back and computes more.",
        MODEL,
        choices=("normal", "low"),
    )
    dropout: float = setting(
        0.2, "Share of each layer's output dropped in training, 0 to 1.", MODEL, check=fraction
    )


# ---- language models -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class TextSettings(Settings):
    """Which text a run learns from, and what its tokens are."""

    data: str | tuple[str, ...] | None = setting(
        None,
        "Text file, or a .gz, .bz2, .xz or .zip of it; several are read as one text, of a folder "
        "its text files, and - is standard input. 90 % to train on, 5 % to validate, 5 % to test.",
        TEXT,
        unset="the Python standard library's source",
        **_PATHS,
    )
    val_data: str | tuple[str, ...] | None = setting(
        None, "Validate on this text instead.", TEXT, unset="5 % of the text", **_PATHS
    )
    test_data: str | tuple[str, ...] | None = setting(
        None, "Test on this text instead.", TEXT, unset="5 % of the text", **_PATHS
    )
    encoding: str | None = setting(
        None,
        "Of text files, such as latin-1 or cp1251; what their first bytes say counts more.",
        TEXT,
        unset="utf-8",
        check=encoding,
    )
    level: str = setting(
        "char",
        "What a token is; byte takes any file, whitespace a text that is split already.",
        TEXT,
        choices=LEVELS,
    )
    vocab_size: int | None = setting(
        None,
        "Largest size of a word or bpe vocabulary.",
        TEXT,
        most=MAX_SIZE,
        unset="word 50000, bpe 4096",
    )

    def check(self) -> None:
        """Bytes have no encoding, and the size of some vocabularies is what there is."""
        _check_vocab_size(self.level, self.vocab_size)
        if self.level == "byte" and self.encoding is not None:
            raise ValueError(
                f"encoding: expected none beside {argument('level=byte')}, which takes the bytes "
                f"as they are, got {self.encoding!r}. Leave it out."
            )


def _check_vocab_size(level: str, vocab_size: int | None) -> None:
    if level in ("char", "byte") and vocab_size is not None:
        raise ValueError(
            f"vocab_size: expected none beside {argument(f'level={level}')}, whose vocabulary is "
            f"every {level} there is, got {vocab_size}. Leave it out."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageModelSettings(RecurrentSettings):
    """The sizes of a language model, as `LanguageModel` takes them."""

    embedding_size: int = setting(64, "Features of a token's embedding.", MODEL, most=MAX_SIZE)
    embedding_dropout: float = setting(
        0.0, "Share of the vocabulary dropped in a window of training.", MODEL, check=fraction
    )
    tied: bool = setting(
        False,
        "Predict with the embedding's weights; needs equal sizes.",
        MODEL,
        flags="--tied/--untied",
    )

    def check(self) -> None:
        """The embedding fits where it is tied."""
        if self.tied and self.embedding_size != self.hidden_size:
            raise ValueError(
                f"tied: expected an embedding as large as the layers, {self.hidden_size}, got "
                f"{self.embedding_size}. Give {argument(f'embedding_size={self.hidden_size}')}."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageTraining(TrainingSettings):
    """How a language model is trained."""

    batch_size: int = setting(64, "Streams of text read side by side.", LEARNING)
    bptt: int = setting(100, "Tokens of a window, through which gradients flow back.", LEARNING)
    sample_length: int = setting(
        300,
        "Tokens of each sample in samples.txt; 0 for none.",
        REPORTS,
        least=0,
        most=MAX_SAMPLE_LENGTH,
    )
    sample_temperature: float = setting(
        0.8,
        "Temperature of each sample: below 1 surer, above 1 wilder.",
        REPORTS,
        check=positive_float32,
    )
    prime: str = setting("", "Text that each sample goes on from.", REPORTS)


# ---- classifiers ---------------------------------------------------------------------------------


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
        **_PATHS,
    )
    val_data: str | tuple[str, ...] | None = setting(
        None, "Validate on this file instead.", EXAMPLES, unset="10 % of the data", **_PATHS
    )
    test_data: str | tuple[str, ...] | None = setting(
        None, "Test on this file instead.", EXAMPLES, unset="10 % of the data", **_PATHS
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
        _check_vocab_size(self.level, self.vocab_size)
        if self.shortest_ngram > self.longest_ngram:
            raise ValueError(
                f"longest_ngram: expected at least {argument('shortest_ngram')}, "
                f"{self.shortest_ngram}, got {self.longest_ngram}. Give a larger one."
            )


_PAIR_SIZE = 20


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


# ---- taggers -------------------------------------------------------------------------------------


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
        **_PATHS,
    )
    val_data: str | tuple[str, ...] | None = setting(
        None, "Validate on this file instead.", EXAMPLES, unset="10 % of the data", **_PATHS
    )
    test_data: str | tuple[str, ...] | None = setting(
        None, "Test on this file instead.", EXAMPLES, unset="10 % of the data", **_PATHS
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


OPTIONS = {
    each.task: each
    for each in (
        Options(
            task="lm",
            about="Train a language model: on your text, or on the Python standard library's "
            "source.\n\nLosses are nll (nats a token), and bpc (bits per character or byte) or ppl "
            "(per word or piece).",
            examples=(
                "recurra train lm --data input.txt --out runs/first --max-minutes 10",
                "recurra train lm --data input.txt --out runs/gru --cell gru --hidden-size 512",
                "recurra train lm --out runs/first --resume",
            ),
            data=TextSettings,
            model=LanguageModelSettings,
            training=LanguageTraining,
            next_lines=("recurra sample {run} --length 1000",),
        ),
        Options(
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
        ),
        Options(
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
        ),
    )
}
