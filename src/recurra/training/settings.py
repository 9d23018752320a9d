"""All settings of a language model's run: its text, its model, its training."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from recurra import cells
from recurra.errors import argument
from recurra.training.config import TrainingConfig, resolve_clipping
from recurra.training.numbers import MAX_LAYERS, MAX_SIZE, whole
from recurra.training.text import TextSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """The sizes of a language model, as `LanguageModel` takes them.

    Attributes:
        cell: name of a registered cell.
        hidden_size: units of each layer.
        num_layers: recurrent layers.
        sizes: the cell's sizes besides I and H, by name; None: the cell's defaults.
        embedding_size: features of a token's embedding.
        dropout: share of each layer's output dropped in training.
        tied: whether the decoder uses the embedding's weight.
    """

    cell: str = "lstm"
    hidden_size: int = 256
    num_layers: int = 1
    sizes: Mapping[str, int] | None = None
    embedding_size: int = 64
    dropout: float = 0.2
    tied: bool = False

    def __post_init__(self) -> None:
        own = set(cells.get(self.cell).size_names) - {"I", "H"}
        for name, value in (self.sizes or {}).items():
            if name not in own:
                raise ValueError(
                    f"sizes: expected {', '.join(sorted(own)) or 'none'} of cell {self.cell}, got "
                    f"{name}. See recurra cells {self.cell}."
                )
            whole("sizes", value, least=1, most=MAX_SIZE)
        for name in ("hidden_size", "embedding_size"):
            whole(name, getattr(self, name), least=1, most=MAX_SIZE)
        whole("num_layers", self.num_layers, least=1, most=MAX_LAYERS)
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
class LanguageSettings:
    """All settings of a language model's run."""

    text: TextSettings
    model: ModelSettings
    training: TrainingConfig

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> "LanguageSettings":
        """The settings `given` by name, the defaults for the others.

        Raises:
            ValueError: when a value is out of its range, or a name is unknown.
        """
        given = resolve_clipping(given)
        parts = {
            "text": _pick(TextSettings, given),
            "model": _pick(ModelSettings, given),
            "training": _pick(TrainingConfig, given),
        }
        unknown = set(given).difference(*parts.values())
        if unknown:
            raise ValueError(f"settings: expected known names, got {', '.join(sorted(unknown))}.")
        return cls(
            text=TextSettings(**parts["text"]),
            model=ModelSettings(**parts["model"]),
            training=TrainingConfig(**parts["training"]),
        )

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "LanguageSettings":
        """The settings in a run's config.json; KeyError or TypeError where it lacks some."""
        return cls(
            text=TextSettings(**_pick(TextSettings, config["data"])),
            model=ModelSettings(**_pick(ModelSettings, config["model"])),
            training=TrainingConfig.from_dict(config["training"]),
        )

    def flat(self) -> dict[str, Any]:
        """Every setting by its name."""
        return {**asdict(self.text), **asdict(self.model), **asdict(self.training)}


def _pick(kind: type, given: Mapping[str, Any]) -> dict[str, Any]:
    return {field.name: given[field.name] for field in fields(kind) if field.name in given}
