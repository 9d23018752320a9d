"""Layers of a cell in torch's own kernels: cuDNN on a GPU, oneDNN on the CPU.

Letters: T time, B batch, I input, O output, S size of a state, L layers, D directions (1 or 2).
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._VF import gru, lstm, rnn_relu, rnn_tanh  # pyright: ignore[reportAttributeAccessIssue]
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from recurra.backends.native.form import KernelForm, form_of, resets_before_product
from recurra.backends.runtime.apart import Apart
from recurra.backends.runtime.padding import padded
from recurra.backends.runtime.program import Program
from recurra.backends.runtime.sizes import solve
from recurra.backends.watching import GRADIENTS, is_watched, outliving, transform
from recurra.errors import BackendError
from recurra.lang import Cell

_KERNELS: Mapping[str, Callable[..., Any]] = {
    "LSTM": lstm,
    "GRU": gru,
    "RNN_TANH": rnn_tanh,
    "RNN_RELU": rnn_relu,
}
_NAMES = {"LSTM": "LSTM", "GRU": "GRU", "RNN_TANH": "RNN", "RNN_RELU": "RNN"}
_WIDEST_ONE_HOT = 1024
_NOT_ONE_CHUNK = "RNN module weights are not part of single contiguous chunk"


class NativeBackend:
    """Runs a cell whose equations are those of torch's RNN, LSTM or GRU in torch's own kernels.

    Weights are put together as the kernel wants them at each call, unless the cell has them so, as
    the drop-ins do. First derivatives.

    Args:
        memory: "normal"; what a kernel keeps for its backward pass is its own business.

    Raises:
        BackendError: when torch has no kernel for the cell, or memory is "low".
    """

    name = "native"

    def __init__(self, cell: Cell, *, memory: str = "normal") -> None:
        form = form_of(cell.equations)
        if form is None:
            auto = "Use backend='auto', which runs any cell."
            if resets_before_product(cell.equations):
                auto = (
                    "Its reset gate acts before the product with the state, that of torch's GRU "
                    "after it: use the cell 'torch_gru', or backend='auto', which runs any cell."
                )
            raise BackendError(
                f"backend 'native': expected a cell with the equations of torch.nn's RNN, LSTM or "
                f"GRU, got {cell.name!r}. {auto}"
            )
        if memory != "normal":
            raise BackendError(
                f"backend 'native': expected memory='normal', got {memory!r}. What torch's kernels "
                f"keep cannot be chosen: use backend='auto'."
            )
        self.cell = cell
        self.form: KernelForm = form
        self._whole = all(node.op == "input" for node in form.weights.output_nodes)
        self._programs: dict[tuple[Any, ...], tuple[Program, list[tuple[int, ...]]]] = {}

    def run(
        self,
        x: Tensor,
        states: tuple[Tensor, ...],
        parameters: Mapping[str, Tensor],
        *,
        inputs: tuple[Tensor, ...] = (),
        context: tuple[Tensor, ...] = (),
        memory: tuple[Tensor, ...] = (),
        embedding: Tensor | None = None,
        lengths: Tensor | None = None,
        reverse: bool = False,
        start: int = 0,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Run the cell over a batch of sequences; see `PlannedBackend.run`."""
        y, finals = self.run_layers(
            x,
            tuple(state.unsqueeze(0) for state in states),
            [parameters],
            embedding=embedding,
            lengths=lengths,
            reverse=reverse,
        )
        return y, tuple(final.squeeze(0) for final in finals)

    def run_layers(
        self,
        x: Tensor,
        states: tuple[Tensor, ...],
        parameters: Sequence[Mapping[str, Tensor]],
        *,
        embedding: Tensor | None = None,
        lengths: Tensor | None = None,
        bidirectional: bool = False,
        reverse: bool = False,
        dropout: float = 0.0,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Run layers of the cell over a batch of sequences, in one call of the kernel.

        Args:
            x: [T, B, I] float, or [T, B] int64 token ids.
            states: the first states, [L*D, B, S] each.
            parameters: of each layer, where it reads both ways of each direction, by name.
            embedding: [V, I], what token ids stand for; None makes them one-hot vectors of size I.
            lengths: [B] int64 in 0..T; None means all T.
            bidirectional: each layer reads both ways, for which the kernel has parameters in turn.
            reverse: run from the last step to the first.
            dropout: probability of dropping each feature between layers.

        Returns:
            y: [T, B, D*O], zero past `lengths`; the final states, [L*D, B, S] each.

        Raises:
            BackendError: under a transform that torch's kernels do not go through.
        """
        values = [each[name] for each in parameters for name in self.cell.parameters]
        given = (x, *states, *values, *([] if embedding is None else [embedding]))
        transformed = transform(given)
        if transformed not in (None, GRADIENTS):
            raise BackendError(
                f"backend 'native': expected a call that torch need not follow operation by "
                f"operation, got {transformed}. Use backend='reference', or 'auto'."
            )
        if x.shape[0] == 0:
            y = states[0].new_zeros(0, x.shape[1], states[self.form.order[0]].shape[-1])
            return y, tuple(state.clone() for state in states)
        (x,), active = padded((x,), lengths)
        if not x.is_floating_point():
            x = self._looked_up(x, embedding, parameters[0])
        weights = [each for some in parameters for each in self._weights(some)]
        first = [states[i] for i in self.form.order]
        wants = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in given)

        def kernel(x: Tensor, states: Sequence[Tensor], sizes: Tensor | None) -> Sequence[Tensor]:
            layers = len(parameters) // (2 if bidirectional else 1)
            hx = tuple(states) if len(states) > 1 else states[0]
            options = (weights, self.form.biases, layers, dropout, wants or dropout > 0)
            quiet = x.is_cuda and not _in_one_piece(weights)
            call = self._without_news if quiet else _KERNELS[self.form.mode]
            if sizes is None:  # the last one: time comes first
                found = call(x, hx, *options, bidirectional, False)
            else:
                found = call(x, sizes, hx, *options, bidirectional)
            if wants and transformed is None and found[0].grad_fn is not None:
                found[0].grad_fn.register_prehook(_only_first_derivatives)
            return found

        if lengths is None or active is None:
            y, *found = kernel(x.flip(0) if reverse else x, first, None)
            y = y.flip(0) if reverse else y
        else:
            y, *found = _over_lengths(kernel, x, first, lengths, active, reverse)
        finals = list(found)
        for place, final in zip(self.form.order, found, strict=True):
            finals[place] = final
        dtype = states[0].dtype  # under autocast the kernel has another
        results = [each if each.dtype is dtype else each.to(dtype) for each in (y, *finals)]
        if wants:  # what the kernel's backward pass reads stays as it is: cuDNN's reads y alone
            kept = results[:1] if x.is_cuda else results
            results[: len(kept)] = [result.clone() for result in kept]
        elif transformed is None and not is_watched():
            results = list(map(Apart(given), results))
        return results[0], tuple(results[1:])

    def _without_news(self, *arguments: Any) -> Sequence[Tensor]:
        """The kernel's results. cuDNN wants its weights in one piece of memory, and warns where it
        has to copy them there: that is no news of weights that were put together just now."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=_NOT_ONE_CHUNK)
            return _KERNELS[self.form.mode](*arguments)

    def suits(self, x: Tensor, parameters: Mapping[str, Tensor], embedding: Tensor | None) -> bool:
        """Whether the input is one that kernels read: of one-hot vectors of a large vocabulary,
        which are zeros for the most part, other backends read what is not."""
        one_hot = not x.is_floating_point() and embedding is None
        return not one_hot or self._prepared(parameters)[1][0][1] <= _WIDEST_ONE_HOT

    def _weights(self, parameters: Mapping[str, Tensor]) -> list[Tensor]:
        """The parameters of one layer and direction as the kernel takes them."""
        program, shapes, values = self._prepared(parameters)
        # zeros in place of a bias that there is not are one number
        return [
            value if value.shape == shape else value.expand(shape)
            for value, shape in zip(program(values), shapes, strict=True)
        ]

    def _prepared(
        self, parameters: Mapping[str, Tensor]
    ) -> tuple[Program, list[tuple[int, ...]], list[Tensor]]:
        """What puts the weights together, their shapes, and what they are put together from."""
        leaves = self.form.weights.inputs
        values = [
            parameters[leaf.name] if leaf.shape else parameters[leaf.name].reshape(1)
            for leaf in leaves
        ]
        key = (*(tuple(value.shape) for value in values), values[0].dtype, values[0].device)
        if key not in self._programs:
            sizes = solve(dict(zip(leaves, values, strict=True)))
            with outliving():
                program = Program(self.form.weights, sizes, values[0])
            nodes = self.form.weights.output_nodes
            shapes = [tuple(dim.evaluate(sizes) for dim in node.shape) for node in nodes]
            self._programs[key] = (program, shapes)
        return *self._programs[key], values

    def _looked_up(
        self, ids: Tensor, embedding: Tensor | None, parameters: Mapping[str, Tensor]
    ) -> Tensor:
        """What token ids stand for, [T, B, I]."""
        if embedding is not None:
            return functional.embedding(ids, embedding)
        weight = self._weights(parameters)[0]
        return functional.one_hot(ids, weight.shape[1]).to(weight.dtype)

    def explain(self, sizes: Mapping[str, int]) -> str:
        """What runs, in words."""
        given = ", ".join(f"{name} = {size}" for name, size in sizes.items())
        weights = "the cell's own" if self._whole else "put together from the cell's at each call"
        return (
            f"cell {self.cell.name}: {given}\n"
            f"  torch's own kernel of {_NAMES[self.form.mode]} (cuDNN on a GPU, oneDNN on the "
            f"CPU), for all layers and directions in one call\n"
            f"  its weights are {weights}; first derivatives"
        )


def _in_one_piece(weights: Sequence[Tensor]) -> bool:
    """Whether weights share their memory, as they do after `flatten_parameters`."""
    return len({weight.untyped_storage().data_ptr() for weight in weights}) == 1


Kernel = Callable[[Tensor, Sequence[Tensor], Tensor | None], Sequence[Tensor]]


def _over_lengths(
    kernel: Kernel,
    x: Tensor,
    first: Sequence[Tensor],
    lengths: Tensor,
    active: Tensor,
    reverse: bool,
) -> Sequence[Tensor]:
    """Sequences of several lengths, packed; those of length 0, which cannot be, as of one step."""
    steps = x.shape[0]
    backwards = _backwards(lengths, steps) if reverse else None
    if backwards is not None:
        x = x.gather(0, backwards.expand_as(x))
    packed = pack_padded_sequence(x, lengths.clamp(min=1).cpu(), enforce_sorted=False)
    order, back = packed.sorted_indices, packed.unsorted_indices
    assert order is not None
    assert back is not None, "a batch that may not be sorted has both"
    ordered = [state.index_select(1, order) for state in first]
    data, *finals = kernel(packed.data, ordered, packed.batch_sizes)
    again = PackedSequence(data, packed.batch_sizes, order, back)
    y, _ = pad_packed_sequence(again, total_length=steps)
    if backwards is not None:
        y = y.gather(0, backwards.expand_as(y))
    empty = (lengths == 0)[None, :, None]
    restored = [final.index_select(1, back) for final in finals]
    ends = tuple(torch.where(empty, start, end) for start, end in zip(first, restored, strict=True))
    return torch.where(active, y, 0.0), *ends


def _backwards(lengths: Tensor, steps: int) -> Tensor:
    """[T, B, 1]: for each step of a sequence the one as far from its end; past it, itself."""
    index = torch.arange(steps, dtype=torch.int64, device=lengths.device)[:, None]
    return torch.where(index < lengths, lengths - 1 - index, index).unsqueeze(-1)


def _only_first_derivatives(_: Any) -> None:
    if torch.is_grad_enabled():
        raise BackendError(
            "backend 'native': expected a backward pass for first derivatives, got one with "
            "create_graph=True. Use backend='reference' for second derivatives."
        )
