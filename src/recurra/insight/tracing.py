"""`rc.trace`: every value of a cell's equations, under its own name, at every step.

Letters: T time, B batch, S positions of a memory.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from recurra.insight.passages import Passage, Place
from recurra.insight.replacing import Key, Replacement, Replacements, no_such_value
from recurra.insight.running import Passages, is_within, run_watched


@dataclass(frozen=True, repr=False)
class Trace:
    """The values of the equations by name: `t.f`, `t["f"]`, each [T, B, size].

    Time and batch come first in this order, whatever the layer's `batch_first`, and one sequence
    without a batch is a batch of one. A number is [T, B, 1], a value over the positions of a memory
    [T, B, S] or [T, B, S, K], a matrix state [T, B, P, Q]; a matrix that is made of parameters
    alone has no batch: [T, R, C]. A state is what it becomes in the step: `t.c[-1]` is the final
    one, of the direction from the end `t.c[0]`. Steps past the end of a sequence are zero, and so
    are positions past the end of a memory. The sequences of a PackedSequence have the order that
    they had before; `rc.Recurrent` draws random masks in that order too, as it does for `lengths`.

    Of several layers or directions `t.layer(1).f` and `t.layer(1, reverse=True).f` say which; of
    several recurrent layers of a model, `t.part("encoder").h`; of a layer that was called more
    than once, values stand one call after the other, and `t.call(0).h` has those of the first.

    Attributes:
        result: what the call gave: y and the state of a layer, whatever a model gives.
        passages: what each layer and direction read and gave, by place, call by call.
    """

    result: Any
    passages: Passages

    def names(self) -> tuple[str, ...]:
        """What the equations call their values, in their order, as `print(cell)` has them."""
        return tuple(dict.fromkeys(name for each in self._first() for name in each.values))

    def layer(self, number: int, reverse: bool | None = None) -> "Trace":
        """The values of one layer and direction.

        Args:
            number: from 0.
            reverse: whether of the direction that reads from the end; None is the one from the
                start, or the only one.

        Raises:
            ValueError: when there is no such layer or direction.
        """
        found = {p: each for p, each in self.passages.items() if p.layer == number}
        if reverse is None:  # from the start, where something is
            reverse = bool(found) and all(place.reverse for place in found)
        found = {place: each for place, each in found.items() if place.reverse == reverse}
        if not found:
            known = ", ".join(map(str, self.passages))
            way = ", reverse=True" if reverse else ""
            raise ValueError(
                f"Trace: expected one of {known}, got layer({number}{way}). Use these."
            )
        return Trace(self.result, found)

    def part(self, name: str) -> "Trace":
        """The values of the layers that the module calls so, or that are in what it calls so.

        Raises:
            ValueError: when no layer is.
        """
        found = {p: each for p, each in self.passages.items() if is_within(p.part, name)}
        if not found:
            known = ", ".join(dict.fromkeys(repr(place.part) for place in self.passages))
            raise ValueError(f"Trace: expected a part of {known}, got {name!r}. Use one of these.")
        return Trace(self.result, found)

    def call(self, number: int) -> "Trace":
        """The values of one call of each layer, from 0.

        Raises:
            ValueError: when no layer was called so often.
        """
        found = {p: each[number : number + 1] for p, each in self.passages.items()}
        found = {place: each for place, each in found.items() if each}
        if not found:
            most = max(map(len, self.passages.values()))
            raise ValueError(f"Trace: expected a call of 0 to {most - 1}, got {number}. Use these.")
        return Trace(self.result, found)

    @property
    def passage(self) -> Passage:
        """What the layer read and gave, where it is one layer, one direction and one call.

        Raises:
            ValueError: when there are several.
        """
        if len(self.passages) > 1:
            known = ", ".join(map(str, self.passages))
            raise ValueError(f"Trace: expected one layer and direction, got {known}. Choose one.")
        (calls,) = self.passages.values()
        if len(calls) > 1:
            raise ValueError(f"Trace: expected one call, got {len(calls)}. Choose: t.call(0).")
        return calls[0]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __contains__(self, name: object) -> bool:
        return name in self.names()

    def __getitem__(self, name: str) -> Tensor:
        try:
            return self._value(name)
        except AttributeError as error:
            raise KeyError(str(error)) from None

    def __getattr__(self, name: str) -> Tensor:
        if name.startswith("__") or name in ("result", "passages"):  # of an object being made
            raise AttributeError(name)
        return self._value(name)

    def _value(self, name: str) -> Tensor:
        found = [p for p, each in self.passages.items() if name in each[0].values]
        if not found:
            cells = [each.cell for each in self._first()]
            raise AttributeError(no_such_value("Trace", name, cells, self.names()))
        if len(found) > 1:
            ways = ", ".join(_spelling(place, found, name) for place in found[:4])
            more = ", ..." if len(found) > 4 else ""
            raise AttributeError(
                f"Trace: expected to know which {name}, got {len(found)} of them. Say {ways}{more}"
            )
        parts = [passage.values[name] for passage in self.passages[found[0]]]
        if len(parts) == 1:
            return parts[0]
        if len({part.shape[1:] for part in parts}) > 1:
            shapes = ", ".join(str(tuple(part.shape)) for part in parts[:4])
            raise AttributeError(
                f"Trace: expected calls of one batch to put {name} in a row, got {shapes}. Choose "
                f"one: t.call(0).{name}"
            )
        return torch.cat(parts)

    def _first(self) -> Sequence[Passage]:
        return [calls[0] for calls in self.passages.values()]

    def __dir__(self) -> list[str]:
        return [*object.__dir__(self), *self.names()]

    def __repr__(self) -> str:
        lines = []
        for place, calls in self.passages.items():
            shapes = (f"{n} {list(v.shape)}" for n, v in calls[0].values.items())
            times = f" in {len(calls)} calls, the first" if len(calls) > 1 else ""
            lines.append(f"  {place}{times}: {', '.join(shapes)}")
        return "\n".join(["Trace", *lines])


def _spelling(place: Place, others: Sequence[Place], name: str) -> str:
    """How to ask for a value of one place among others."""
    text = "t"
    if len({other.part for other in others}) > 1:
        text += f".part({place.part!r})"
    if len({(other.layer, other.reverse) for other in others}) > 1:
        text += f".layer({place.layer}{', reverse=True' if place.reverse else ''})"
    return f"{text}.{name}" if name.isidentifier() else f"{text}[{name!r}]"


def trace(
    module: nn.Module,
    /,
    *inputs: Any,
    keep: Collection[str] | None = None,
    part: str | None = None,
    replace: Mapping[Key, Replacement] | None = None,
    **options: Any,
) -> Trace:
    """Every named value of the equations, at every step, of a layer or of a model's layers.

    ```python
    t = rc.trace(layer, x)          # what layer(x) takes: a state, lengths, a memory, packed too
    t.f.mean(dim=(0, 1))            # how open each forget gate is
    t = rc.trace(model, ids)        # a language model, a classifier, a module of your own
    ```

    The module is called as it is, in training or evaluation, and its recurrent layers run their
    equations as they are written, by torch operations: gradients flow from every value to whatever
    it was made of. What runs a model's steps by itself, as `generate` does, is not looked at.

    Args:
        module: `Recurrent`, `LSTM` and others, `Bidirectional`, a model, or any torch module that
            has such layers.
        inputs, options: what it is called with.
        keep: names of the values to be kept; None for all.
        part: what the module calls the layers to look at, "encoder", or what they are in; others
            run as ever.
        replace: what stands for values, as for `recurra.intervene`; the trace has what stands.

    Returns:
        The values, and what the call gave as `result`.

    Raises:
        TypeError: when it is no module.
        ValueError: when it has no recurrent layers, none of them runs, or a name is not there.

    Cost: a step is some twenty calls of torch; all kept values stay in memory.
    """
    wanted = None if keep is None else (keep,) if isinstance(keep, str) else tuple(keep)
    result, passages = run_watched(
        "trace",
        module,
        inputs,
        options,
        replacements=Replacements("trace", replace or {}),
        part=part,
        keep=wanted,
    )
    return Trace(result, passages)
