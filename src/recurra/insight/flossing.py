"""Gradient flossing: Lyapunov exponents of a recurrence as a loss that can be differentiated.

What a loss at the end of a sequence says of its beginning passes through the product of the
Jacobians between them. It vanishes or explodes at the rate of the recurrence's Lyapunov exponents;
where the first k of them are zero, k directions carry gradients over any distance.

Letters: T time, B batch, N numbers in all states of a layer together, k exponents.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recurra.insight.calls import run_by
from recurra.insight.linearized import Linearized, flat
from recurra.nn.stack import CellStack

SEQUENCES = 4  # of a batch, the longest: exponents are properties of the recurrence
STEPS = 100  # of these, at most
_SMALLEST = 1e-12  # a factor below it is as good as zero, and has no logarithm


def first_exponents(
    run: Linearized, k: int, *, lengths: Tensor | None = None, seed: int = 0
) -> Tensor:
    """The first k Lyapunov exponents of a run, differentiable by all that the run is made of.

    Q_{t-1} R_t = J_t^T Q_t, from the last step to the first, where J_t is the Jacobian of step t
    and Q has k orthonormal columns, drawn at the end; lambda_i = mean over t of log |R_t[i, i]|,
    in nats a step. Steps past a sequence's end do not count.

    Args:
        run: with autograd on, where gradients shall flow.
        k: how many, at most N.
        lengths: [B], that the run was given; None means all T.
        seed: of the first directions.
    Returns:
        [B, k], about in descending order.
    Source: Engelken (2023), "Gradient Flossing: Improving Gradient Descent through Dynamic Control
    of Jacobians", NeurIPS, arXiv:2312.17306, section 2. Difference: the directions are carried back
    through time by J^T, as gradients are, where the paper carries them on by J; both products have
    the same exponents.
    Cost: a step back of k rows, and a QR decomposition [N, k], for each step and sequence.
    """
    batch, size, order = run.y.shape[1], run.size, list(run.order)
    k = min(k, size)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(size, k, generator=generator, dtype=torch.float64, device="cpu")
    columns = torch.linalg.qr(drawn)[0].to(run.y).expand(batch, size, k)
    total = run.y.new_zeros(batch, k)
    for step in reversed(order):
        rows, _ = run.pull(step, run.split(columns.permute(2, 0, 1)))
        columns, factor = torch.linalg.qr(flat(rows, run.shapes).permute(1, 2, 0))
        total = total + factor.diagonal(dim1=-2, dim2=-1).abs().clamp_min(_SMALLEST).log()
    steps = (
        total.new_full((batch, 1), len(order)) if lengths is None else lengths.to(total)[:, None]
    )
    return total / steps.clamp_min(1.0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Read:
    """What a layer was called with while a loss was computed.

    Attributes:
        layer: that was called.
        x: [T, B, I] features or [T, B] token ids, detached.
        states: the first states, [L*D, B, S] each, detached.
        options: the others of `CellStack.run_layers`, detached.
    """

    layer: CellStack
    x: Tensor
    states: tuple[Tensor, ...]
    options: dict[str, Any]


@contextmanager
def watched(layers: Iterable[CellStack]) -> Iterator[list[Read]]:
    """The first call of each layer within the block that is of more than one step; the layers
    compute what they always do."""
    reads: list[Read] = []

    def watching(layer: CellStack) -> Any:
        run = layer.run_layers

        def recording(x: Tensor, states: tuple[Tensor, ...], **options: Any) -> Any:
            if len(x) > 1 and x.shape[1] and not any(read.layer is layer for read in reads):
                own = {name: _detached(value) for name, value in options.items()}
                reads.append(
                    Read(layer=layer, x=x.detach(), states=_detached(tuple(states)), options=own)
                )
            return run(x, states, **options)

        return recording

    with ExitStack() as stack:
        for layer in dict.fromkeys(layers):
            stack.enter_context(run_by(layer, watching(layer)))
        yield reads


def _detached(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach()
    return tuple(_detached(each) for each in value) if isinstance(value, tuple) else value


def exponents_of(
    read: Read, k: int, *, sequences: int = SEQUENCES, steps: int = STEPS, seed: int = 0
) -> list[Tensor]:
    """The first k exponents of each layer and direction of what was called, [B, k] each.

    Each is that of its own recurrence, driven by what it read: through the input of a layer no
    gradient flows to the layer below. Random masks stand at their means, and nothing is dropped.

    Args:
        read: the call.
        k: how many.
        sequences: of the batch, the longest.
        steps: of each, the first.
        seed: of the directions.
    """
    layer, own = read.layer, _part(read, sequences, steps)
    found, x = [], own.x
    for index in range(layer.num_layers):
        outputs = []
        for direction in range(layer.num_directions):
            place = (index, direction)
            options = {**own.options, **({"embedding": None} if index else {})}
            states = [state[layer.places.index(place)] for state in own.states]
            run = Linearized(layer, place, x, states, **options)
            found.append(first_exponents(run, k, lengths=options.get("lengths"), seed=seed))
            outputs.append(run.y.detach())
        x = torch.cat(outputs, dim=-1)
    return found


def flossing_loss(
    reads: Sequence[Read], k: int, *, sequences: int = SEQUENCES, steps: int = STEPS, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """The sum of the squares of the first k exponents, mean over sequences, layers and directions.

    Returns:
        The loss, a scalar; the exponents, detached, [layers and directions, k], mean over
        sequences: those of layers of fewer states are nan beyond theirs.
    """
    found = [
        each
        for read in reads
        for each in exponents_of(read, k, sequences=sequences, steps=steps, seed=seed)
    ]
    loss = torch.stack([each.square().sum(-1).mean() for each in found]).mean()
    exponents = loss.new_full((len(found), k), torch.nan)
    for row, each in enumerate(found):
        exponents[row, : each.shape[1]] = each.detach().mean(0)
    return loss, exponents


_PER_STEP = ("inputs",)  # [T, B, ...]
_PER_SEQUENCE = ("context", "memory", "memory_lengths")  # [B, ...]
_TAKEN = (*_PER_STEP, *_PER_SEQUENCE, "embedding", "start")


def _part(read: Read, sequences: int, steps: int) -> Read:
    """The longest sequences of a call, and the first steps of these."""
    x, lengths = read.x, read.options.get("lengths")
    count = min(sequences, x.shape[1])
    chosen = torch.arange(count, dtype=torch.int64, device=x.device)
    if lengths is not None:
        chosen = lengths.argsort(descending=True, stable=True)[:count].to(x.device)
    options = {name: v for name, v in read.options.items() if name in _TAKEN and v is not None}
    for name in _PER_STEP:
        options[name] = tuple(each[:steps, chosen] for each in options.get(name, ()))
    for name in _PER_SEQUENCE:
        if isinstance(options.get(name), Tensor):
            options[name] = options[name][chosen]
        elif name in options:
            options[name] = tuple(each[chosen] for each in options[name])
    if lengths is not None:
        options["lengths"] = lengths[chosen.to(lengths.device)].clamp_max(steps)
    states = tuple(state[:, chosen] for state in read.states)
    return Read(layer=read.layer, x=x[:steps, chosen], states=states, options=options)
