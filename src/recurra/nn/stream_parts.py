"""What a stream runs: a layer with what stands before and behind it, and what its sequences read.

Letters: B batch, I input, S positions of a memory, K size of its vectors, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from recurra import backends
from recurra.ir import POSITIONS
from recurra.nn import checks
from recurra.nn.checks import Home
from recurra.nn.memories import Memory, checked_memories
from recurra.nn.plain import evaluating, not_rows, what_else
from recurra.nn.stack import CellStack, one_or_all


@dataclass(frozen=True, slots=True, kw_only=True)
class Constants:
    """What the sequences of a stream read that stays constant through time; copies.

    Attributes:
        context: [B, C] each.
        memory: [B, S, K] each.
        lengths: [B] int64, of the memories; None for all S.
        filled: the memories as compiled steps read them.
        within: [B, S] bool, which positions are within; None for all.
    """

    context: tuple[Tensor, ...] = ()
    memory: tuple[Tensor, ...] = ()
    lengths: Tensor | None = None
    filled: tuple[Tensor, ...] = ()
    within: Tensor | None = None

    @classmethod
    def given(
        cls,
        layer: CellStack,
        batch_size: int,
        context: Tensor | Sequence[Tensor] | None,
        memory: Memory | None,
        memory_lengths: Tensor | Sequence[int] | None,
    ) -> "Constants":
        """What a caller gives, checked."""
        shapes = tuple((batch_size, size) for size in layer.context_sizes)
        contexts = checks.checked_context(layer.home, context, layer.cell, shapes)
        memories, lengths = checked_memories(
            layer, memory, memory_lengths, batch_size, batch_first=_is_batch_first(layer)
        )
        return cls._of(contexts, memories, lengths)

    @classmethod
    def _of(
        cls, context: Sequence[Tensor], memory: Sequence[Tensor], lengths: Tensor | None
    ) -> "Constants":
        context = tuple(tensor.detach().clone() for tensor in context)
        # as steps read it: a copy of other strides would be copied again
        memory = tuple(m.detach().clone(memory_format=torch.contiguous_format) for m in memory)
        if lengths is not None and bool((lengths == memory[0].shape[1]).all()):
            lengths = None
        filled, within = backends.filled_memories(memory, lengths) if memory else ((), None)
        return cls(context=context, memory=memory, lengths=lengths, filled=filled, within=within)

    @property
    def positions(self) -> int:
        """S; 0 without a memory."""
        return self.memory[0].shape[1] if self.memory else 0

    def of_rows(self, rows: Tensor) -> "Constants":
        """Those of some sequences, with no more positions than these have."""
        lengths = None if self.lengths is None else self.lengths[rows]
        longest = self.positions if lengths is None else int(lengths.max())
        return self._of(
            [each[rows] for each in self.context],
            [each[rows, :longest] for each in self.memory],
            lengths,
        )

    def at(self, home: Home) -> "Constants":
        """The same where the layer is now, as far as the layer itself reads it."""
        return Constants(
            context=tuple(tensor.to(home.device, home.dtype) for tensor in self.context),
            memory=tuple(tensor.to(home.device, home.dtype) for tensor in self.memory),
            lengths=self.lengths,
            filled=self.filled,
            within=self.within,
        )


class Parts:
    """A layer, and what stands before and behind it.

    Args:
        layer: what runs.
        embedding: what token ids stand for: rows [V, I], or the module that makes them.
        decoder: applied to each output.
        model: what has these as its parts; called as `model(ids, state)` if it does more than they.
    """

    def __init__(
        self,
        layer: CellStack,
        embedding: Tensor | nn.Module | None,
        decoder: nn.Module | None,
        model: nn.Module | None,
    ) -> None:
        self.layer, self.embedding, self.decoder, self.model = layer, embedding, decoder, model
        parts = (layer, embedding, decoder)
        self.modules = tuple(part for part in parts if isinstance(part, nn.Module))
        self.called = (*self.modules, *([] if model is None else [model]))

    @property
    def rows(self) -> Tensor | None:
        """[V, I], where the embedding is that and nothing else."""
        if not isinstance(self.embedding, nn.Module):
            return self.embedding
        weight = self.embedding.weight if not_rows(self.embedding) is None else None
        return weight if isinstance(weight, Tensor) else None

    def output_size(self, positions: int) -> int:
        """Features of what a step gives, for memories of so many positions."""
        if self.layer.cell.output_size == POSITIONS:
            return positions
        return getattr(self.decoder, "out_features", self.layer.output_size)

    def tensors(self) -> list[Tensor]:
        """All that is packed, what several parts share once."""
        found: dict[int, Tensor] = {
            id(tensor): tensor
            for module in self.modules
            for tensor in module._parameters.values()
            if tensor is not None
        }
        tensors = [*found.values()]
        if self.layer.cell.arrays:
            tensors += self.layer.arrays().values()
        if isinstance(self.embedding, Tensor):
            tensors.append(self.embedding)
        return tensors

    def why_called(self) -> str | None:
        """Why they have to be called at each step; None where their values are all that counts."""
        for reason in map(what_else, self.called):
            if reason is not None:
                return f"{reason}, so it is called at each step"
        if isinstance(self.embedding, nn.Module) and not_rows(self.embedding) is not None:
            return f"{not_rows(self.embedding)}, so it is called at each step"
        if self.decoder is not None and not isinstance(self.decoder, nn.Linear):
            return f"the decoder is not torch.nn.Linear but {type(self.decoder).__name__}"
        if self.layer.has_computed_parameters() or any(
            parametrize.is_parametrized(part) for part in self.modules[1:]
        ):
            return "a parameter is computed from others at each use"
        return None

    # ---- as the layer runs

    def step(
        self,
        x: Tensor,
        states: tuple[Tensor, ...],
        inputs: tuple[Tensor, ...],
        constants: Constants,
        index: int,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """One step as the layer runs, or the user's own forward.

        Args:
            x: [1, B, I], or ids [1, B].
            states: [L, B, S] each.
            inputs: what else is read, [1, B, size] each.
            index: of the step.
        Returns:
            y [1, B, O], and the states.
        """
        with evaluating(*self.called):
            if self.model is not None and what_else(self.model) is not None:
                return self._call_of(self.model, x, states, None, (), constants, index)
            rows = self.rows
            if isinstance(self.embedding, nn.Module) and rows is None and x.dtype is torch.int64:
                x = self.embedding(x)
            if what_else(self.layer) is not None:
                y, states = self._call_of(self.layer, x, states, rows, inputs, constants, index)
            else:
                y, states = self.layer.run_layers(
                    x,
                    states,
                    inputs=inputs,
                    context=constants.context,
                    memory=constants.memory,
                    memory_lengths=constants.lengths,
                    embedding=rows,
                    start=index,
                )
            return (y if self.decoder is None else self.decoder(y)), states

    def _call_of(
        self,
        module: nn.Module,
        x: Tensor,
        states: tuple[Tensor, ...],
        rows: Tensor | None,
        inputs: tuple[Tensor, ...],
        constants: Constants,
        index: int,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """One step by calling the layer or the model, whose forward is the user's own."""
        layer, batch = self.layer, x.shape[1]
        options: dict[str, Any] = {}
        if constants.context:
            options["context"] = one_or_all(constants.context)
        if constants.memory:
            memory = constants.memory
            if not _is_batch_first(layer):
                memory = tuple(each.transpose(0, 1) for each in memory)
            options |= {"memory": one_or_all(memory), "memory_lengths": constants.lengths}
        if rows is not None:
            options["embedding"] = rows
        if layer.cell.step is not None:
            options["start"] = index
        batch_first = getattr(module, "batch_first", False)
        for name, each in zip(layer.cell.further, inputs, strict=False):
            options[name] = each.transpose(0, 1) if batch_first else each
        found = module(x.transpose(0, 1) if batch_first else x, one_or_all(states), **options)
        y = found[0] if isinstance(found, tuple) and len(found) == 2 else None
        if isinstance(y, Tensor) and batch_first:
            y = y.transpose(0, 1)
        if not isinstance(y, Tensor) or y.shape[:2] != (1, batch):
            raise ValueError(
                f"{layer.where}.stream: expected {type(module).__name__} to return y [1, "
                f"{batch}, size] and the state for one step, got {_form(found)}. "
                f"Call it for whole sequences instead."
            )
        names, shapes = layer.cell.states, layer.state_shapes(batch, constants.positions)
        return y, checks.checked_states(layer.home, found[1], names, shapes)


def _is_batch_first(layer: CellStack) -> bool:
    return getattr(layer, "batch_first", False)


def _form(found: object) -> str:
    """What was returned, in a few words."""
    if isinstance(found, Tensor):
        return f"a tensor of shape {tuple(found.shape)}"
    if isinstance(found, tuple):
        return f"({', '.join(_form(part) for part in found)})"
    return type(found).__name__
