"""Layers one step at a time: weights packed once, then one call of C++ for each step.

Letters: B sequences, I input, O output, V tokens of a vocabulary.
"""

import ctypes
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from recurra.backends.cpu import abi, gate
from recurra.backends.cpu.compiler import load_library
from recurra.backends.cpu.shared import SHARED
from recurra.backends.cpu.snapshot import WATCH, Watch
from recurra.backends.cpu.step_layer import LayerLoop, StepLayer, Tokens

GENERATE = Path(__file__).with_name("generate.hpp")
# Of weights, from which threads share a step: what outgrows one core. A second thread would
# save a little sooner, but where another program has its core, waiting for it costs milliseconds.
_SHARED_BYTES = 1280 << 10
_SHARED_LAYER_BYTES = 128 << 10  # of one layer's, then

_SYMBOLS = ("step", "step_on_ids", "choose", "write_tokens", "facts")


class Stepper:
    """Layers compiled to run one step, with the values that the parameters have when it is made.

    Args:
        layers: each reads the output of the one before.
        states: for each layer its states, [B, size] each; copied.
        context: [B, C] each, what stays constant through time, read by all layers.
        tokens: given where the input is token ids.
        start: index of the first step, for cells that read it.
        threads: how many to use at most.
        weights: of which dtype the matrices are packed; states and sums are float32 always.
        watched: what the parameters are computed from; a step looks at it first. See `Watch`.

    Attributes:
        functions: those of generate.hpp, by name.
        step: runs a step, called with two addresses: of features [B, I] float32, and of where the
            output [B, O] goes. Gives 0, with nothing done, when what is watched has changed.
        step_on_ids: the same for token ids [B] int64; gives 0 also when one is outside the
            vocabulary.

    Raises:
        BackendError: when nothing can be compiled.
    """

    def __init__(
        self,
        layers: Sequence[StepLayer],
        states: Sequence[Sequence[Tensor]],
        *,
        context: Sequence[Tensor] = (),
        tokens: Tokens | None = None,
        start: int = 0,
        threads: int = 1,
        weights: torch.dtype = torch.float32,
        watched: Sequence[Tensor] = (),
    ) -> None:
        self.functions = load_library(
            f'#include "runtime.hpp"\n{WATCH.read_text()}\n{GENERATE.read_text()}', _SYMBOLS
        )
        gate.check_facts(self.functions, abi.FACTS_OF_STEPS)
        # before the weights are read: what changes in between is then seen by the next look
        self._watch = Watch(self.functions, watched) if watched else None
        with _own_memory():
            first, *others = layers
            self._layers = [
                LayerLoop(first, states[0], context, tokens, weights),
                *(
                    LayerLoop(*pair, context, None, weights)
                    for pair in zip(others, states[1:], strict=True)
                ),
            ]
            self.weight_bytes = sum(layer.weight_bytes for layer in self._layers)
            shared = threads if self.weight_bytes >= _SHARED_BYTES else 1
            for layer in self._layers:
                layer.prepare(shared if layer.weight_bytes >= _SHARED_LAYER_BYTES else 1)
        SHARED.give_back()
        self._link(states[0][0].shape[0], start)

    def _link(self, batch: int, start: int) -> None:
        """Lay the layers out as generate.hpp knows them."""
        made = self._layers
        self._c_layers = (abi.Layer * len(made))(*(layer.as_struct() for layer in made))
        lookups = made[0].lookups()
        self._c_lookups = (abi.Lookup * max(len(lookups), 1))(*lookups)
        self._steps = abi.Steps(
            layers=ctypes.addressof(self._c_layers),
            lookups=ctypes.addressof(self._c_lookups),
            num_layers=len(made),
            num_lookups=len(lookups),
            batch=batch,
            vocabulary=made[0].vocabulary,
            output_size=made[-1].output_size,
            index=start,
            slot=0,
            watch=None if self._watch is None else self._watch.address,
            fresh=1,
        )
        self.address = ctypes.addressof(self._steps)
        step, step_on_ids = self.functions["step"], self.functions["step_on_ids"]
        step.restype = step_on_ids.restype = abi.LONG
        step.argtypes = step_on_ids.argtypes = (abi.POINTER,) * 3
        # no methods: a call in Python more would be a tenth of a small layer's step
        self.step: Callable[[int, int], int] = partial(step, self.address)
        self.step_on_ids: Callable[[int, int], int] = partial(step_on_ids, self.address)
        self._choose = self.functions["choose"]
        self._choose.restype = abi.LONG
        self._choose.argtypes = (abi.POINTER,) * 2 + (abi.LONG,) * 4 + (abi.POINTER,) * 3

    def renew(self, layers: Sequence[StepLayer], tokens: Tokens | None = None) -> None:
        """Take the values that the parameters have now, and keep the states.

        Args:
            layers: as when it was made, but for the values.
            tokens: likewise.
        """
        if self._watch is not None:
            self._watch.note()
        with _own_memory():
            for i, (made, layer) in enumerate(zip(self._layers, layers, strict=True)):
                made.renew(layer, tokens if i == 0 else None)
            for i, lookup in enumerate(self._layers[0].lookups()):
                self._c_lookups[i] = lookup
        SHARED.give_back()
        self._steps.fresh = 1

    def begin(
        self,
        layers: Sequence[StepLayer],
        states: Sequence[Sequence[Tensor]],
        *,
        context: Sequence[Tensor] = (),
        start: int = 0,
    ) -> None:
        """Go on with other sequences, as many as there may be; the weights stay as they are packed.

        `step` and `step_on_ids` are others from here on.

        Args:
            layers: as when it was made, but for their memories.
            states, context, start: likewise.
        """
        with _own_memory():
            for made, layer, values in zip(self._layers, layers, states, strict=True):
                made.begin(layer, values, context)
        SHARED.give_back()
        self._link(states[0][0].shape[0], start)

    def give(self, inputs: Sequence[Tensor]) -> None:
        """What the next step reads besides x: [B, size] each, in the order of the cells' inputs."""
        for layer in self._layers:
            for rows, value in zip(layer.further, inputs, strict=False):  # the decoder reads none
                rows.copy_(value)

    def choose(
        self, ids_at: int, count: int, mark: int, *, left_out: bool, log_probabilities: bool
    ) -> tuple[Tensor, Tensor, Tensor] | None:
        """A step on token ids, and the largest of its output, which are scores [B, V].

        Args:
            ids_at: the address of [B] int64.
            count: K, how many of each sequence; fewer where there are not so many.
            mark: an id whose value is wanted besides.
            left_out: whether it is none of the largest.
            log_probabilities: whether values are these, or the scores as they are.
        Returns:
            values [B, K], the largest first, ids [B, K], the value of the mark [B]; None, with
            nothing done, as `step_on_ids`.
        """
        batch, size = self._steps.batch, self._steps.output_size
        if not 0 <= mark < size or count < 1:
            raise ValueError(
                f"Stepper: expected count of 1 or more and mark in 0..{size - 1}, got {count} and "
                f"{mark}. Use an id of what is written."
            )
        count = min(count, size - left_out)
        values, values_at = gate.fresh(batch, count)
        chosen, chosen_at = gate.fresh(batch, count, dtype=torch.int64)
        end, end_at = gate.fresh(batch)
        options = (count, mark, left_out, log_probabilities)
        done = self._choose(self.address, ids_at, *options, values_at, chosen_at, end_at)
        return (values, chosen, end) if done else None

    @property
    def num_looks(self) -> int:
        """After how many steps all that is watched has been looked at."""
        return 0 if self._watch is None else self._watch.num_looks

    def unchanged(self) -> bool:
        """Whether all that is watched is as it was when the weights were packed."""
        return self._watch is not None and self._watch.unchanged()

    @property
    def output_size(self) -> int:
        """O."""
        return self._steps.output_size

    @property
    def vocabulary(self) -> int:
        """V, the tokens that can be looked up; 0 without token ids."""
        return self._steps.vocabulary

    @property
    def index(self) -> int:
        """The index of the next step."""
        return self._steps.index

    def states(self) -> list[tuple[Tensor, ...]]:
        """For each layer its states after the last step, [B, size] each."""
        slot = self._steps.slot
        return [tuple(rows[slot].clone() for rows in layer.carried) for layer in self._layers]

    def restart(self, states: Sequence[Sequence[Tensor]], start: int = 0) -> None:
        """Go on from other states, at the step of index `start`."""
        self._steps.slot, self._steps.index = 0, start
        for layer, values in zip(self._layers, states, strict=True):
            for rows, value in zip(layer.carried, values, strict=True):
                rows[0].copy_(value)

    def reorder(self, rows: Tensor) -> None:
        """Each sequence goes on from the states of another, [B] int64."""
        slot = self._steps.slot
        with _own_memory():
            for layer in self._layers:
                for states in layer.carried:
                    states[slot].copy_(states[slot][rows])

    def explain(self) -> str:
        """What runs, in words."""
        counts = [f"{layer.weight_bytes / 1024:,.0f} KiB" for layer in self._layers]
        lines = [
            f"compiled, a step a call: {' + '.join(counts)} of weights packed once, "
            f"threads: {', '.join(str(layer.threads) for layer in self._layers)}"
        ]
        lines += [f"  {line}" for line in self._layers[0].explain_tokens()]
        return "\n".join(lines)


def _own_memory() -> ExitStack:
    """No gradients, and memory that may be written again in any mode."""
    modes = ExitStack()
    modes.enter_context(torch.inference_mode(False))
    modes.enter_context(torch.no_grad())
    return modes
