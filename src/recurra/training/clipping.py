"""Gradients kept short: by the norm of all, of each part of the model, by value, or by a percentile
of the norms that came before; and how long they were before that."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from recurra.training.settings import TrainingSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Clipping:
    """What clipping met in one step, on the device of the gradients.

    Attributes:
        norm: a scalar, of all gradients together before clipping; inf or nan when one of them is.
        bit: a scalar bool, whether any gradient was changed.
    """

    norm: Tensor
    bit: Tensor


class Clipper:
    """Clips the gradients of a model, in place, as settings say.

    By percentile the largest norm of a step is the p-th percentile of the norms of the last
    `clip_window` steps, this one included, so that no threshold has to be known before. These norms
    are what a checkpoint has to keep. A step that is not finite is not one of them.

    Args:
        model: whose gradients.
        settings: of which `clip_norm`, `clip_value`, `clip_group_norm`, `clip_percentile` and
            `clip_window` are read.
    Source: by percentile, Seetharaman et al. (2020), "AutoClip: Adaptive Gradient Clipping for
    Source Separation Networks", arXiv:2007.14469, algorithm 1. Difference: the paper keeps the
    norms of all steps; the percentile of a window follows gradients that shrink over a run.
    """

    def __init__(self, model: nn.Module, settings: TrainingSettings) -> None:
        self._settings = settings
        self._parameters = list(model.parameters())
        self._groups = parts_of(model)
        self._recent: deque[float] = deque(maxlen=settings.clip_window)

    def __call__(self) -> Clipping:
        """Clip what the gradients are now."""
        settings = self._settings
        if settings.clip_group_norm is not None:
            return clip_groups(self._groups.values(), settings.clip_group_norm)
        if settings.clip_percentile is None:
            return _clip(self._parameters, settings.clip_norm, settings.clip_value)
        own = _with_gradients(self._parameters)
        norm = _norm(own)
        length = norm.item()
        if not np.isfinite(length):
            return Clipping(norm=norm, bit=torch.zeros_like(norm, dtype=torch.bool))
        self._recent.append(length)
        largest = float(np.percentile(self._recent, settings.clip_percentile))
        if length > largest:  # torch would scale by norm / (norm + 1e-6) where they are the same
            nn.utils.clip_grads_with_norm_(own, largest, norm)
        return Clipping(norm=norm, bit=torch.full_like(norm, length > largest, dtype=torch.bool))

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint keeps: the recent norms, where a threshold follows from them."""
        if self._settings.clip_percentile is None:
            return {}
        return {"norms": torch.tensor(list(self._recent), dtype=torch.float64, device="cpu")}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Go on from what `tensors` gave.

        Raises:
            ValueError: when it is anything else.
        """
        if self._settings.clip_percentile is None:
            return
        norms = tensors["norms"]
        fits = norms.dtype == torch.float64 and norms.ndim == 1
        fits = fits and len(norms) <= self._settings.clip_window
        if not fits or not bool(torch.isfinite(norms).all()) or bool((norms < 0).any()):
            raise ValueError(f"recent norms of gradients as {norms.dtype} of {tuple(norms.shape)}")
        self._recent.clear()
        self._recent.extend(norms.tolist())


def parts_of(model: nn.Module) -> dict[str, list[nn.Parameter]]:
    """The parameters of each part of a model: of each module that it is made of, by its name, and
    those that it has beside them, by "". What two parts share is the first one's."""
    parts: dict[str, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():  # each once
        part, dot, _ = name.partition(".")
        parts.setdefault(part if dot else "", []).append(parameter)
    return parts


def clip_groups(groups: Iterable[Iterable[nn.Parameter]], max_norm: float) -> Clipping:
    """Clip each group's gradients by the norm of that group.

    A part whose gradient explodes so leaves those of the others as long as they were, which one
    norm over all would shorten with it; the direction of all together is not kept.
    """
    own = [_with_gradients(group) for group in groups]
    own = [group for group in own if group]
    norms = (
        torch.stack([_norm(group) for group in own])
        if own
        else torch.zeros(0, dtype=torch.float32, device="cpu")
    )
    norm = torch.linalg.vector_norm(norms)
    if bool(torch.isfinite(norm)):
        for group, length in zip(own, norms, strict=True):
            nn.utils.clip_grads_with_norm_(group, max_norm, length)
    return Clipping(norm=norm, bit=torch.isfinite(norm) & (norms > max_norm).any())


def clip_gradients(
    parameters: Iterable[nn.Parameter],
    *,
    max_norm: float | None = None,
    max_value: float | None = None,
) -> Tensor:
    """Clip the gradients in place and return their global norm as it was before.

    By norm, all gradients are scaled together by min(1, max_norm / norm), which keeps their
    direction; by value, each entry is limited to [-max_value, max_value]. Where the norm is not
    finite the gradients are left alone: the step is to be skipped.

    Returns:
        A scalar: sqrt of the sum of squares over all gradients; inf or nan when one of them is.

    Source: Pascanu, Mikolov, Bengio (2013), "On the difficulty of training recurrent neural
    networks", arXiv:1211.5063, algorithm 1.
    """
    return _clip(parameters, max_norm, max_value).norm


def _clip(
    parameters: Iterable[nn.Parameter], max_norm: float | None, max_value: float | None
) -> Clipping:
    own = _with_gradients(parameters)
    norm = _norm(own)
    bit = torch.zeros_like(norm, dtype=torch.bool)
    if not torch.isfinite(norm):
        return Clipping(norm=norm, bit=bit)
    if max_norm is not None:
        nn.utils.clip_grads_with_norm_(own, max_norm, norm)
        bit = norm > max_norm
    elif max_value is not None and own:
        largest = [p.grad.abs().amax() for p in own if p.grad is not None and p.grad.numel()]
        bit = (torch.stack(largest) > max_value).any()
        nn.utils.clip_grad_value_(own, max_value)
    return Clipping(norm=norm, bit=bit)


def _with_gradients(parameters: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    return [p for p in parameters if p.grad is not None]


def _norm(own: list[nn.Parameter]) -> Tensor:
    return nn.utils.get_total_norm([p.grad for p in own if p.grad is not None])
