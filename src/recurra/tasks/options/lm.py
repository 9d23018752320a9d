"""The settings of language models."""

from dataclasses import dataclass

from recurra.errors import argument
from recurra.settings import MAX_SIZE, Settings, encoding, fraction, positive_float32, setting
from recurra.tasks.options.common import (
    LEVELS,
    MODEL,
    PATHS,
    TEXT,
    Options,
    RecurrentSettings,
    check_vocab_size,
)
from recurra.training.settings import LEARNING, REPORTS, TrainingSettings

UNITS = ("text", "line", "caption")
MAX_SAMPLE_LENGTH = 1_000_000  # tokens; training waits while they are drawn


@dataclass(frozen=True, slots=True, kw_only=True)
class TextSettings(Settings):
    """Which text a run learns from, and what its tokens are."""

    data: str | tuple[str, ...] | None = setting(
        None,
        "Text file, or a .gz, .bz2, .xz or .zip of it; several are read as one text, of a folder "
        "its text files, and - is standard input. 90 % to train on, 5 % to validate, 5 % to test.",
        TEXT,
        unset="the Python standard library's source",
        **PATHS,
    )
    val_data: str | tuple[str, ...] | None = setting(
        None, "Validate on this text instead.", TEXT, unset="5 % of the text", **PATHS
    )
    test_data: str | tuple[str, ...] | None = setting(
        None, "Test on this text instead.", TEXT, unset="5 % of the text", **PATHS
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

    min_count: int = setting(
        1, "Words seen fewer times in training are taken as unknown; of word and whitespace.", TEXT
    )
    lower: bool = setting(
        False, "Take words in lower case; of word and whitespace.", TEXT, flags="--lower/--cased"
    )
    unit: str = setting(
        "text",
        "What is read from an empty state: the text once a pass; each line; or each caption of "
        "pictures that --data has captions of. Of lines and captions tokens are words.",
        TEXT,
        choices=UNITS,
    )

    def check(self) -> None:
        """Bytes have no encoding, and the size of some vocabularies is what there is."""
        check_vocab_size(self.level, self.vocab_size)
        wanted = f"{argument('level=word')} or {argument('level=whitespace')}"
        for name, given in (
            ("unit", self.unit if self.unit != "text" else None),
            ("min_count", self.min_count if self.min_count != 1 else None),
            ("lower", self.lower or None),
        ):
            if given is not None and self.level not in ("word", "whitespace"):
                raise ValueError(
                    f"{name}: expected {wanted} beside {argument(f'{name}={given}')}, whose tokens "
                    f"are words, got {argument(f'level={self.level}')}. Give one of them."
                )
        if self.unit == "caption" and self.data is None:
            raise ValueError(
                f"unit: expected {argument('data=')} to name captions, got none. Name a file or a "
                f"folder of them."
            )
        if self.level == "byte" and self.encoding is not None:
            raise ValueError(
                f"encoding: expected none beside {argument('level=byte')}, which takes the bytes "
                f"as they are, got {self.encoding!r}. Leave it out."
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

    batch_size: int = setting(64, "Streams of text, or lines, read side by side.", LEARNING)
    bptt: int = setting(
        100,
        "Tokens of a window, through which gradients flow back; lines are windows by themselves.",
        LEARNING,
    )
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


OPTIONS = Options(
    task="lm",
    about="Train a language model: on your text, or on the Python standard library's "
    "source.\n\nLosses are nll (nats a token), and bpc (bits per character or byte) or ppl "
    "(per word or piece).",
    examples=(
        "recurra train lm --data input.txt --out runs/first --max-minutes 10",
        "recurra train lm --data input.txt --out runs/gru --cell gru --hidden-size 512",
        "recurra train lm --data flickr8k --unit caption --level whitespace --lower --min-count 5",
        "recurra train lm --out runs/first --resume",
    ),
    data=TextSettings,
    model=LanguageModelSettings,
    training=LanguageTraining,
    next_lines=("recurra sample {run} --length 1000",),
)
