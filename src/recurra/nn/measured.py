"""What a layer's time is spent on, measured here and now, for `explain(measured=True)`."""

import torch

from recurra.backends import cpu
from recurra.backends.report import EXAMPLE_POSITIONS
from recurra.nn import checks
from recurra.nn.stack import CellStack


def measured_lines(layers: CellStack, number: int, steps: int, batch: int) -> list[str]:
    """What the compiled loops of one of the layers spend their time on, in words.

    Raises:
        BackendError: where it does not run compiled.
    """
    checks.check_sizes(f"{layers.where}.explain", steps=steps, batch=batch)
    home, sizes = layers.home, layers.layer_sizes[number]
    like = torch.empty(0, dtype=home.dtype, device=home.device)
    width = next(
        (
            leaf.shape[0].evaluate(sizes)
            for leaf in layers.cell.equations.inputs
            if leaf.attr("kind") == "input"
        ),
        0,
    )
    S = EXAMPLE_POSITIONS if layers.cell.memory else 0
    memory = [like.new_ones(batch, S, size.evaluate(sizes)) for size in layers.cell.memory_sizes]
    passes = cpu.measure(
        layers.cell.evaluation,
        like.new_empty(steps, batch, width).normal_(),
        tuple(state[0] for state in layers.first_states(batch, S)),
        layers.parameters_of(number),
        low=layers.memory == "low",
        memory=(*memory, like.new_ones(batch, S)) if memory else (),
        inputs=tuple(
            like.new_ones(steps, batch, *(n or (1,))) for n in layers.further_sizes.values()
        ),
        context=tuple(like.new_zeros(batch, size) for size in layers.context_sizes),
    )
    threads = torch.get_num_threads()
    heading = f"measured, {steps} steps of {batch} sequences, {threads} thread{'s' * (threads > 1)}"
    named = zip(("forward", "backward"), passes, strict=True)
    return [f"  {heading}:", *(f"    {name} {spent}" for name, spent in named)]
