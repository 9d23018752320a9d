"""`rc.intervene`: a run in which named values of the equations are others.

Letters: T time, B batch.
"""

import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn

from recurra.insight.replacing import Key, Replacement, Replacements
from recurra.insight.running import run_watched, uncompiled
from recurra.nn.stack import CellStack


def intervene(
    module: nn.Module,
    /,
    *inputs: Any,
    replace: Mapping[Key, Replacement] | None = None,
    part: str | None = None,
    layer: int | None = None,
    reverse: bool | None = None,
    **given: Any,
) -> Any:
    """What a layer or a model gives when named values of its equations are replaced at every step.

    ```python
    y, state = rc.intervene(layer, x, f=1.0)                        # a gate held open
    y, state = rc.intervene(layer, x, c=lambda v, s: v * keep)      # units clamped
    y, state = rc.intervene(layer, x, c=rc.trace(layer, other).c)   # a state of another run
    logits, state = rc.intervene(model, ids, layer=1, h=patch)      # of a language model
    ```

    A function takes `v`, the value of all sequences at a step, [B, size], and `s`, the number of
    the step, and gives what stands for it; the number goes on where a model calls a layer again. A
    tensor [T, B, size] is that value at each step, a number is all of them. Shapes are those of
    `recurra.trace`. All that the equations compute from the value reads what stands for it, of a
    state the steps that follow and the output as well. What lies past the end of a sequence or of
    its memory stays as it is. A value that a matrix of the equations is made of is one for all
    sequences, so it may not differ between them. Gradients flow through.

    Args:
        module: as for `recurra.trace`.
        inputs: what it is called with; by name too, in `given`.
        replace: what stands for values, by name, or by (name, layer) or (name, layer, reverse), for
            names that the call has as well, and for several layers.
        part: what the module calls the layers in which this holds, or what they are in.
        layer, reverse: where `given` holds; None is everywhere that has such a name.
        given: what stands for values, by name; arguments of the call under theirs.

    Returns:
        What the call gives: (y, state) of a layer.

    Raises:
        TypeError: when it is no module, or what stands for a value has another dtype.
        ValueError: when no equations have a name, a shape is another, or sequences differ where one
            value is for all.
    """
    arguments = _argument_names(uncompiled(module))
    options = {name: value for name, value in given.items() if name in arguments}
    changes = {name: value for name, value in given.items() if name not in arguments}
    replacements = Replacements("intervene", {**changes, **(replace or {})}, layer, reverse)
    result, _ = run_watched(
        "intervene", module, inputs, options, replacements=replacements, part=part, keep=()
    )
    return result


def _argument_names(module: nn.Module) -> set[str]:
    """What a call of the module takes by name, what its cells read at each step among it."""
    if not isinstance(module, nn.Module):
        return set()  # of which is told later
    parameters = inspect.signature(module.forward).parameters.values()
    named = {each.name for each in parameters if each.kind is not each.VAR_KEYWORD}
    layers = [each for each in module.modules() if isinstance(each, CellStack)]
    return named | {name for layer in layers for name in layer.cell.further}
