"""The settings of taggers."""

from dataclasses import dataclass

from recurra.errors import argument
from recurra.settings import declared_as, setting
from recurra.tasks.options.classify import LabelledSettings
from recurra.tasks.options.common import EXAMPLES, MODEL, Options, columns
from recurra.tasks.options.reading import FileSettings, ReaderSettings, WordSettings
from recurra.training.settings import LEARNING, TrainingSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class TaggedSettings(WordSettings):
    """Which sequences a tagger learns from, and how they are read."""

    data: str | tuple[str, ...] | None = declared_as(
        FileSettings,
        "data",
        default=None,
        help="Sentences in columns (.conllu, .conll, .txt, .tsv); lists of words or numbers with "
        "one of labels (.jsonl, .parquet); recordings with a row a step (.csv, .npy, .parquet), "
        "their labels in a column or in a file beside (a.labels.csv). A folder of such, or with "
        "files or folders of train, val or dev, and test; what is not divided is, 80 / 10 / 10 %.",
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
        unset="upos, or the last; of others, tags, labels or activity",
    )
    target: str | tuple[str, ...] | None = setting(
        None,
        "Column of numbers to learn in place of labels; may be given several times.",
        EXAMPLES,
        unset="labels are learned",
        several=True,
        check=columns,
    )
    channels: str | tuple[str, ...] | None = setting(
        None,
        "Column of recordings that is read; may be given several times.",
        EXAMPLES,
        unset="all but labels, targets and clocks",
        several=True,
        check=columns,
    )
    group_column: str | None = setting(
        None,
        "Column that says which rows are of one recording.",
        EXAMPLES,
        unset="a file is one",
    )
    missing: str = declared_as(LabelledSettings, "missing", default="fail")

    def check(self) -> None:
        """Labels or numbers are learned, not both."""
        WordSettings.check(self)
        one_kind_learned(self.target, self.tag_column)


def one_kind_learned(target: object, tag_column: object) -> None:
    """Raise ValueError where both labels and numbers are to be learned."""
    if target is not None and tag_column is not None:
        raise ValueError(
            f"target: expected no {argument('tag_column')} beside it, got {tag_column!r}. "
            "Give the column of labels, or those of numbers."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TaggerSettings(ReaderSettings):
    """The sizes of a tagger, as `Tagger` takes them."""

    hidden_size: int = declared_as(ReaderSettings, "hidden_size", default=256)
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
        "recurra train tag --data recordings --tag-column gesture --one-way --delay 10",
        "recurra train tag --data gaze --target yaw --target pitch",
    ),
    data=TaggedSettings,
    model=TaggerSettings,
    training=TagTraining,
    next_lines=("recurra tag {run} INPUT --out tagged.csv",),
    predicts=("Say the label of each word or step of each input.", "runs/tags"),
    forms=".conllu or .conll",
)
