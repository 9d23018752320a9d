"""What models demand of targets and of what stands beside them: one function for each rule, all
raising alike.

A target of another shape would be spread over what is said, and a label that there is not be taken
for another one: both would train, and on something else.
"""

from collections.abc import Sequence
from numbers import Integral

import torch
from torch import Tensor

from recurra.backends import has_values
from recurra.nn.checks import check_token_ids, checked_lengths


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
        lengths = torch.full((batch,), steps, dtype=torch.int64, device=device)
    return checked_lengths(where, lengths, steps, batch, device, name=name).clone()


def check_tensor(where: str, name: str, given: object) -> None:
    """Raise TypeError unless an argument is a tensor."""
    if not isinstance(given, Tensor):
        raise TypeError(
            f"{where}: expected {name} to be a tensor, got {type(given).__name__}. Make a tensor "
            f"of it with torch.as_tensor."
        )


def check_captions(where: str, captions: Tensor, vocab_size: int, counts: Tensor) -> None:
    """Raise unless the tokens [T, M] of captions are of the vocabulary, the mark at their ends not
    among them. What stands past a length is not looked at."""
    steps = torch.arange(len(captions), dtype=torch.int64, device=captions.device)
    check_token_ids(where, captions.where(steps[:, None] < counts, 0), vocab_size)


def check_token_table(where: str, name: str, captions: object) -> None:
    """Raise unless token ids are a tensor [time, batch]."""
    check_tensor(where, name, captions)
    assert isinstance(captions, Tensor)
    if captions.dim() != 2:
        raise ValueError(
            f"{where}: expected {name} [time, batch], got shape {tuple(captions.shape)}. Pass "
            f"lengths for different ones."
        )


def check_which(
    where: str, which: Tensor | None, images: int, captions: int, what: str = "captions"
) -> None:
    """The image that each caption is of is one that there is; None: there is one for each.

    Raises:
        TypeError: when they are no int64.
        ValueError: when there are others than one for each caption, or an image is not there.
    """
    if which is None:
        if images != captions:
            raise ValueError(
                f"{where}: expected an image for each of {captions} {what}, got {images}. Say "
                f"which each is of: which=."
            )
        return
    check_tensor(where, "which", which)
    if which.dtype != torch.int64:
        raise TypeError(
            f"{where}: expected which of torch.int64, got {which.dtype}. Convert it with .long()."
        )
    if which.shape != (captions,):
        raise ValueError(
            f"{where}: expected which of shape ({captions},), the image of each of the {what}, got "
            f"{tuple(which.shape)}. Give one each."
        )
    if torch.compiler.is_compiling() or not has_values(which):
        return
    wrong = which[(which < 0) | (which >= images)]
    if len(wrong):
        raise ValueError(
            f"{where}: expected which in 0..{images - 1}, one of {images} images, got "
            f"{int(wrong[0])}. Count them from 0."
        )


def check_shape(where: str, target: Tensor, shape: Sequence[int]) -> None:
    """Raise ValueError unless a target has the shape of what is said."""
    check_tensor(where, "the target", target)
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


def check_seed(where: str, seed: object) -> None:
    """Raise ValueError unless a seed is a whole number that is not negative."""
    if isinstance(seed, bool) or not isinstance(seed, Integral) or int(seed) < 0:
        raise ValueError(
            f"{where}: expected seed to be a whole number, 0 or more, got {seed!r}. Use 0."
        )


def check_said(where: str, said: Tensor) -> None:
    """Raise ValueError where what a model says is NaN: of that there is no prediction."""
    if said.isnan().any():
        raise ValueError(
            f"{where}: expected the model to say numbers, got NaN. Its weights are not finite: use "
            f"an earlier checkpoint."
        )


def check_share(where: str, **shares: float) -> None:
    """Raise ValueError unless these are numbers from 0 to 1."""
    for name, value in shares.items():
        if not 0 <= value <= 1:  # NaN is no share either
            raise ValueError(f"{where}: expected {name} in 0..1, got {value}. Correct it.")
