"""The settings of translators."""

from dataclasses import dataclass
from typing import Any

from recurra.errors import argument
from recurra.settings import (
    MAX_LAYERS,
    MAX_SIZE,
    Settings,
    declared_as,
    fraction,
    setting,
)
from recurra.tasks.options.common import (
    EXAMPLES,
    LEVELS,
    MODEL,
    Options,
    RecurrentSettings,
    a_cell,
)
from recurra.tasks.options.reading import FileSettings, WordSettings
from recurra.training.settings import LEARNING, REPORTS, TrainingSettings

ATTENTIONS = ("additive", "dot", "general", "scaled_dot", "location", "coverage", "none")
_WRITING = "Writing"


def a_cell_or_none(name: str, value: object) -> None:
    """Check that a setting names a cell, is one, or is left out."""
    if value is not None:
        a_cell(name, value)


def not_negative(name: str, value: object) -> None:
    """Check that a setting is a finite number, 0 or more."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e6:
        raise ValueError(f"{name}: expected a number, 0 or more, got {value!r:.40}. Give one.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ParallelSettings(FileSettings):
    """Which pairs a translator learns from, and how they are read."""

    data: str | tuple[str, ...] | None = declared_as(
        FileSettings,
        "data",
        default=None,
        help="Pairs: a folder with files such as train.en and train.de, val and test likewise; "
        "what two such files' names begin with; or a table of two columns (.tsv, .csv, .jsonl, "
        ".parquet). Without other files it is divided 90 / 5 / 5 %.",
    )
    val_data: str | tuple[str, ...] | None = declared_as(
        FileSettings,
        "val_data",
        default=None,
        help="Validate on these pairs instead.",
        unset="5 % of the data",
    )
    test_data: str | tuple[str, ...] | None = declared_as(
        FileSettings,
        "test_data",
        default=None,
        help="Test on these pairs instead.",
        unset="5 % of the data",
    )
    source: str | None = setting(
        None,
        "What the names of files of sources end in, en; or their column, its name or number.",
        EXAMPLES,
        unset="source, or the first column",
    )
    target: str | None = setting(
        None, "The same of targets.", EXAMPLES, unset="target, or the second column"
    )
    lower: bool = setting(
        False, "Take both sides in lower case.", EXAMPLES, flags="--lower/--cased"
    )
    source_level: str = setting("bpe", "What a token of a source is.", EXAMPLES, choices=LEVELS)
    target_level: str = setting("bpe", "What a token of a target is.", EXAMPLES, choices=LEVELS)
    vocab_size: int | None = setting(
        None,
        "Largest size of a word or bpe vocabulary, of each side.",
        EXAMPLES,
        most=MAX_SIZE,
        unset="word 50000, bpe 8000",
    )
    min_count: int = declared_as(WordSettings, "min_count", default=2)
    shared_vocabulary: bool = setting(
        False, "One vocabulary for both sides.", EXAMPLES, flags="--shared-vocabulary"
    )
    max_tokens: int = setting(
        100, "Pairs with a longer side are not trained on.", EXAMPLES, most=MAX_SIZE
    )

    def check(self) -> None:
        """A shared vocabulary is of one level."""
        if self.shared_vocabulary and self.source_level != self.target_level:
            raise ValueError(
                f"shared_vocabulary: expected one level for both sides, got "
                f"{argument(f'source_level={self.source_level}')} and "
                f"{argument(f'target_level={self.target_level}')}. Give both the same."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class TranslatorSettings(Settings):
    """The sizes of a translator, as `Translator` takes them."""

    cell: Any = declared_as(RecurrentSettings, "cell", default="gru")  # noqa: RUF009
    attention: str = setting(
        "additive",
        "How the decoder looks at the source; none gives it a summary of the whole.",
        MODEL,
        choices=ATTENTIONS,
    )
    decoder: Any = setting(  # noqa: RUF009
        None,
        "Another cell for the decoder, which reads a memory: conditional_gru, attend(mut1).",
        MODEL,
        check=a_cell_or_none,
        unset="made of the cell and the attention",
    )
    input_feeding: bool = setting(
        False,
        "The decoder reads what it attended to the step before; of lstm, with dot or general.",
        MODEL,
        flags="--input-feeding",
    )
    hidden_size: int = setting(
        256, "Units of each layer and direction, and of the decoder.", MODEL, most=MAX_SIZE
    )
    embedding_size: int = setting(256, "Features of a token's vector.", MODEL, most=MAX_SIZE)
    num_layers: int = setting(1, "Layers of the encoder.", MODEL, most=MAX_LAYERS)
    decoder_layers: int = setting(1, "Layers of the decoder.", MODEL, most=MAX_LAYERS)
    bidirectional: bool = setting(
        True,
        "Read the source from its end as well.",
        MODEL,
        flags="--bidirectional/--one-way",
    )
    reverse_source: bool = setting(
        False, "Read the source from its end first.", MODEL, flags="--reverse-source"
    )
    shared_embedding: bool = setting(
        False,
        "One table of vectors for both sides, which have one vocabulary.",
        MODEL,
        flags="--shared-embedding",
    )
    tied: bool = setting(
        True, "Write with the vectors of the target's tokens.", MODEL, flags="--tied/--untied"
    )
    memory: str = declared_as(RecurrentSettings, "memory", default="normal")
    dropout: float = setting(
        0.3,
        "Share of what the encoder says, and of what is written from, dropped in training.",
        MODEL,
        check=fraction,
    )
    input_dropout: float = setting(
        0.2, "Share of each token's vector dropped in training.", MODEL, check=fraction
    )

    def check(self) -> None:
        """A decoder of one's own has its own attention."""
        if self.decoder is not None and (self.input_feeding or self.attention != "additive"):
            raise ValueError(
                f"decoder: expected no {argument('attention=')} or {argument('input_feeding=')} "
                f"beside it, which has its own, got {self.attention}"
                f"{' and input feeding' if self.input_feeding else ''}. Leave one out."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class TranslateTraining(TrainingSettings):
    """How a translator is trained."""

    batch_size: int = setting(64, "Pairs read side by side, of like length.", LEARNING)
    lr: float = declared_as(TrainingSettings, "lr", default=1.5e-3)
    average: float = declared_as(TrainingSettings, "average", default=0.999)
    label_smoothing: float = setting(
        0.1, "Probability that is spread over all tokens.", LEARNING, check=fraction
    )
    scheduled_sampling: float = setting(
        0.0,
        "Share of tokens that the decoder reads of its own instead of the target's, at the end of "
        "the run; it grows from 0.",
        LEARNING,
        check=fraction,
    )
    beam_size: int = setting(
        5,
        "Beams with which the test part is translated; validation takes the most probable token.",
        REPORTS,
        most=1000,
        on_resume="free",
    )
    length_penalty: float = setting(
        1.0,
        "How much long translations are favoured: scores are divided by ((5 + tokens) / 6) to it.",
        REPORTS,
        check=not_negative,
        on_resume="free",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class WritingSettings(Settings):
    """How translations are searched, as `Translator.predict` takes it."""

    beam_size: int = setting(
        5, "Beginnings that are followed at once; 1 takes the most probable token.", _WRITING
    )
    length_penalty: float = setting(
        1.0,
        "How much long translations are favoured: scores are divided by ((5 + tokens) / 6) to it.",
        _WRITING,
        check=not_negative,
    )
    coverage_penalty: float = setting(
        0.0,
        "How much parts of the source that were not looked at count against a translation.",
        _WRITING,
        check=not_negative,
    )
    num_best: int = setting(1, "Translations of each input, at most the beams.", _WRITING)
    temperature: float = setting(
        0.0,
        "Above 0 tokens are drawn: below 1 surer, above 1 wilder.",
        _WRITING,
        check=not_negative,
    )
    seed: int = setting(1, "Of what is drawn.", _WRITING, least=0)
    max_length: int | None = setting(
        None, "Tokens at most.", _WRITING, unset="twice those of the source and 10 more"
    )


OPTIONS = Options(
    task="translate",
    about="Train a translator: of one language into another, or of any sequence into another.\n\n"
    "BLEU on the validation part decides which model is the best; of short targets, such as "
    "pronunciations, the share that is right does.",
    examples=(
        "recurra train translate --data multi30k --source en --target de --lower",
        "recurra train translate --data pairs.tsv --source-level char --target-level char",
        "recurra train translate --data corpus/train --source en --target fr --attention none",
    ),
    data=ParallelSettings,
    model=TranslatorSettings,
    training=TranslateTraining,
    next_lines=('recurra translate {run} "a text"', "recurra translate {run} < source.txt"),
)
