"""Text sampled during training: drawn from a generator of its own, kept in samples.txt."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from recurra.data import Vocabulary
from recurra.decoding import Sampler, generate_text
from recurra.files import AppendLog
from recurra.terminal import legible

MILESTONES = (0.0, 0.1, 0.5, 1.0)  # shares of a run at which a sample is taken


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What the model wrote at one moment of its training.

    Attributes:
        fraction: share of the run at which it was due: 0, 0.1, 0.5 or 1.
        step: steps taken.
        epoch: passes over the training text, with a fraction.
        temperature: of the draw.
        val_nll: the last validation loss, nats a token; None before the first.
        text: the priming text and what follows it.
    """

    fraction: float
    step: int
    epoch: float
    temperature: float
    val_nll: float | None
    text: str

    @property
    def heading(self) -> str:
        """One line that says when the sample was taken."""
        when = {0.0: "start", 1.0: "end"}.get(self.fraction, f"{self.fraction:.0%}")
        nll = "not yet known" if self.val_nll is None else f"{self.val_nll:.4f}"
        return (
            f"{when}: step {self.step}, epoch {self.epoch:.2f}, "
            f"temperature {self.temperature:g}, validation nll {nll}"
        )


def due_milestone(fraction: float, taken: Sequence[float]) -> float | None:
    """The last milestone reached at `fraction` of the run, unless it is in `taken`."""
    reached = [milestone for milestone in MILESTONES if milestone <= fraction][-1]
    return None if reached in taken else reached


def draw_text(
    model: nn.Module,
    vocabulary: Vocabulary,
    prime: str,
    *,
    length: int,
    temperature: float,
    seed: int,
) -> str:
    """The prime and `length` tokens after it, from a generator that training does not draw from."""
    pieces = generate_text(
        model,
        vocabulary,
        prime,
        length,
        sampler=Sampler(temperature=temperature),
        generator=torch.Generator().manual_seed(seed),
    )
    try:
        return legible(prime) + "".join(pieces)
    except ValueError as error:
        # The scores of a model that diverges may overflow; training reports that by itself.
        return f"(no sample: {error})"


class SampleLog:
    """samples.txt: every sample under its heading."""

    def __init__(self, path: Path, *, keep: int | None = None) -> None:
        self._log = AppendLog(path, keep=keep)

    def append(self, sample: Sample) -> None:
        """Add one sample."""
        self._log.append(f"=== {sample.heading} ===\n{sample.text}\n\n".encode())

    def mark(self) -> int:
        """The file's length, once it is on the disk; a checkpoint keeps it."""
        return self._log.mark()

    def close(self) -> None:
        """Close the file."""
        self._log.close()
