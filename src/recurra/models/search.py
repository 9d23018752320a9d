"""How a model searches for what it writes: what translations and captions have in common."""

from collections.abc import Iterator
from dataclasses import dataclass

from recurra.errors import argument


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """How token sequences are searched.

    Attributes:
        beam_size: beginnings that are followed at once; 1 takes the most probable token each time.
        length_penalty: how much longer ones are favoured: log-probabilities are divided by
            ((5 + tokens) / 6) ** length_penalty before they are compared.
        num_best: sequences that are given, at most beam_size.
        temperature: above 0 draws tokens, each with its probability; 0 searches.
        seed: of what is drawn.
        first: how many inputs there were before: what is drawn depends on the place of an input.
        max_length: tokens at most; None as the model has it for an input.
        batch_size: inputs that are read at a time.
        attention: whether what is found has its attention.
    """

    beam_size: int = 5
    length_penalty: float = 1.0
    num_best: int = 1
    temperature: float = 0.0
    seed: int = 1
    first: int = 0
    max_length: int | None = None
    batch_size: int = 64
    attention: bool = False

    def check(self, where: str) -> None:
        """Raise ValueError where a value is out of its range."""
        for name, smallest in self._least():
            value = getattr(self, name)
            if value is not None and not value >= smallest:
                raise ValueError(
                    f"{where}: expected {name} of {smallest} or more, got {value}. Correct it."
                )
        if self.num_best > (1 if self.temperature else self.beam_size):
            raise ValueError(
                f"{argument('num_best')}: expected num_best of at most beam_size, "
                f"{self.beam_size}, and of 1 where tokens are drawn, got {self.num_best}. Lower "
                f"it, or follow more beams."
            )

    def _least(self) -> Iterator[tuple[str, int]]:
        """What values are not to be below, by name."""
        for name in ("beam_size", "num_best", "batch_size", "max_length"):
            yield name, 1
        for name in ("length_penalty", "temperature", "first"):
            yield name, 0
