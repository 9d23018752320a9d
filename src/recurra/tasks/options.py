"""The settings of every task: what `recurra train TASK` takes, and its help.

They stand apart from the tasks, because the command line makes its options of them and its help
waits for no library.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from recurra import cells
from recurra.errors import argument
from recurra.settings import (
    MAX_LAYERS,
    MAX_SIZE,
    Settings,
    positive_float32,
    setting,
    whole,
)
from recurra.training.settings import LEARNING, REPORTS, TrainingSettings

TEXT, MODEL = "Text", "Model"
LEVELS = ("char", "byte", "word", "bpe", "whitespace")
MAX_SAMPLE_LENGTH = 1_000_000  # tokens; training waits while they are drawn


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
    """

    task: str
    about: str
    examples: tuple[str, ...]
    data: type[Settings]
    model: type[Settings]
    training: type[TrainingSettings]
    next_lines: tuple[str, ...] = ()


# ---- language models -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class TextSettings(Settings):
    """Which text a run learns from, and what its tokens are."""

    data: str | None = setting(
        None,
        "Text file, or a .gz, .bz2, .xz or .zip of it: 90 % to train on, 5 % to validate, "
        "5 % to test.",
        TEXT,
        unset="the Python standard library's source",
        is_path=True,
    )
    val_data: str | None = setting(
        None, "Validate on this file instead.", TEXT, unset="5 % of the text", is_path=True
    )
    test_data: str | None = setting(
        None, "Test on this file instead.", TEXT, unset="5 % of the text", is_path=True
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


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageModelSettings(Settings):
    """The sizes of a language model, as `LanguageModel` takes them."""

    cell: str = setting("lstm", "The recurrence, by name: see recurra cells.", MODEL)
    hidden_size: int = setting(256, "Units of each layer.", MODEL, most=MAX_SIZE)
    num_layers: int = setting(1, "Recurrent layers, one on another.", MODEL, most=MAX_LAYERS)
    sizes: Mapping[str, int] | None = setting(
        None,
        "Sizes of the cell's own, a projection's say: P=128,C=64; see recurra cells.",
        MODEL,
        unset="as the cell says",
    )
    embedding_size: int = setting(64, "Features of a token's embedding.", MODEL, most=MAX_SIZE)
    dropout: float = setting(
        0.2, "Share of each layer's output dropped in training, 0 to 1.", MODEL
    )
    tied: bool = setting(
        False,
        "Predict with the embedding's weights; needs equal sizes.",
        MODEL,
        flags="--tied/--untied",
    )

    def check(self) -> None:
        """The sizes are the cell's, and the embedding fits where it is tied."""
        own = set(cells.get(self.cell).size_names) - {"I", "H"}
        for name, value in (self.sizes or {}).items():
            if name not in own:
                raise ValueError(
                    f"sizes: expected {', '.join(sorted(own)) or 'none'} of cell {self.cell}, got "
                    f"{name}. See recurra cells {self.cell}."
                )
            whole("sizes", value, least=1, most=MAX_SIZE)
        if not 0 <= self.dropout < 1:
            raise ValueError(
                f"dropout: expected a share from 0 up to, not including, 1, got {self.dropout}. "
                "Give such a share; 0 turns dropout off."
            )
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
    )
}
