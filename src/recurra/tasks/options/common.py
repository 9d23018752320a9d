"""What the settings of every task share: panels, checks, and those of recurrent layers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recurra.errors import argument
from recurra.settings import MAX_LAYERS, MAX_SIZE, Settings, fraction, paths, setting, whole
from recurra.training.settings import TrainingSettings

TEXT, EXAMPLES, MODEL = "Text", "Examples", "Model"
LEVELS = ("char", "byte", "word", "bpe", "whitespace")
PATHS: dict[str, Any] = {"is_path": True, "several": True, "check": paths}


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


def columns(name: str, value: object) -> None:
    """Check that a setting names columns, one or several."""
    several = value if isinstance(value, list | tuple) else (value,)
    if not several or not all(isinstance(each, str) and each for each in several):
        raise ValueError(
            f"{name}: expected the name of a column, or a list of such, got {value!r:.60}. Name "
            "one, or give its number from 1."
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
        forms: what else than a table predictions of words may be written as.
    """

    task: str
    about: str
    examples: tuple[str, ...]
    data: type[Settings]
    model: type[Settings]
    training: type[TrainingSettings]
    next_lines: tuple[str, ...] = ()
    predicts: tuple[str, str] | None = None
    forms: str = ""


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


def check_vocab_size(level: str, vocab_size: int | None) -> None:
    """Raise ValueError where a size is given to a vocabulary that is whatever there is."""
    if level in ("char", "byte") and vocab_size is not None:
        raise ValueError(
            f"vocab_size: expected none beside {argument(f'level={level}')}, whose vocabulary is "
            f"every {level} there is, got {vocab_size}. Leave it out."
        )
