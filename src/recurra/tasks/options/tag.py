"""The settings of taggers."""

from dataclasses import dataclass

from recurra.errors import argument
from recurra.settings import declared_as, setting
from recurra.tasks.options.classify import LabelledSettings
from recurra.tasks.options.common import EXAMPLES, MODEL, Options
from recurra.tasks.options.reading import FileSettings, ReaderSettings, WordSettings
from recurra.training.settings import LEARNING, TrainingSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class TaggedSettings(WordSettings):
    """Which sequences a tagger learns from, and how they are read."""

    data: str | tuple[str, ...] | None = declared_as(
        FileSettings,
        "data",
        default=None,
        help="Sentences in columns (.conllu, .conll, .txt, .tsv), or lists of words or numbers "
        "with one of labels (.jsonl, .parquet); a folder with files of train, val or dev, and "
        "test; a file alone is divided 80 / 10 / 10 %, several are read as one.",
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
    missing: str = declared_as(LabelledSettings, "missing", default="fail")


@dataclass(frozen=True, slots=True, kw_only=True)
class TaggerSettings(ReaderSettings):
    """The sizes of a tagger, as `Tagger` takes them."""

    input_dropout: float = declared_as(ReaderSettings, "input_dropout", default=0.25)
    word_dropout: float = declared_as(ReaderSettings, "word_dropout", default=0.05)
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
