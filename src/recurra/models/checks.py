"""What a model's losses demand of targets: one function for each rule, all raising alike.

A target of another shape would be spread over what is said, and a label that there is not be taken
for another one: both would train, and on something else.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from recurra.backends import has_values
from recurra.nn.checks import checked_lengths


def counts_of(
    where: str,
    name: str,
    lengths: Tensor | Sequence[int] | None,
    steps: int,
    batch: int,
    device: torch.device,
) -> Tensor:
    """[B] int64: the lengths by that name, checked, or all steps; of memory that is nobody else's.

    Raises:
        TypeError: when they are no whole numbers.
        ValueError: when there are others than B, or one is out of range.
    """
    if lengths is None:
        return torch.full((batch,), steps, dtype=torch.int64, device=device)
    return checked_lengths(where, lengths, steps, batch, device, name=name).clone()


def check_shape(where: str, target: Tensor, shape: Sequence[int]) -> None:
    """Raise ValueError unless a target has the shape of what is said."""
    if target.shape != tuple(shape):
        raise ValueError(
            f"{where}: expected a target of shape {tuple(shape)}, as what the model says, got "
            f"{tuple(target.shape)}. Arrange it so."
        )


def check_labels(
    where: str, target: Tensor, shape: Sequence[int], count: int, *, unknown: int | None = None
) -> None:
    """Labels are int64 in 0..count - 1, one for each thing of which something is said.

    Args:
        where: what an error calls it.
        target: of the user's.
        shape: what it should have.
        unknown: what stands for a label that does not count.
    Raises:
        TypeError: when they are no int64.
        ValueError: when the shape or a label is wrong.
    """
    check_shape(where, target, shape)
    if target.dtype != torch.int64:
        raise TypeError(
            f"{where}: expected labels of torch.int64, got {target.dtype}. Convert them with "
            f".long()."
        )
    if torch.compiler.is_compiling() or not has_values(target):
        return
    wrong = (target < 0) | (target >= count)
    if unknown is not None:
        wrong &= target != unknown
    if wrong.any():
        also = "" if unknown is None else f", or {unknown} where there is none"
        raise ValueError(
            f"{where}: expected labels in 0..{count - 1}{also}, got {int(target[wrong][0])}. Give "
            f"each its number."
        )


def check_numbers(where: str, target: Tensor, shape: Sequence[int]) -> None:
    """Numbers to learn are floating-point, one for each that is said.

    Raises:
        TypeError: when they are not.
        ValueError: when the shape is wrong.
    """
    check_shape(where, target, shape)
    if not target.is_floating_point():
        raise TypeError(
            f"{where}: expected a target of floating-point numbers, got {target.dtype}. Convert it "
            f"with .float()."
        )


def check_reduction(where: str, reduction: str, known: Sequence[str] = ("mean", "sum")) -> None:
    """Raise ValueError unless this is a way to make one loss of many."""
    if reduction not in known:
        raise ValueError(
            f"{where}: expected reduction to be one of {', '.join(known)}, got {reduction!r}. "
            f"Choose one."
        )


def check_share(where: str, **shares: float) -> None:
    """Raise ValueError unless these are numbers from 0 to 1."""
    for name, value in shares.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{where}: expected {name} in 0..1, got {value}. Correct it.")
