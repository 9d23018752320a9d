"""The state carried from window to window: detached there, checked, and put into checkpoints."""

import torch
from torch import Tensor

# As `Recurrent` takes and returns it: one tensor, or a tuple of them for several states; None is
# the zero state.
Carried = Tensor | tuple[Tensor, ...] | None


def detach(state: Carried) -> Carried:
    """The same values, with no gradient flowing back beyond this window."""
    if state is None:
        return None
    if isinstance(state, Tensor):
        return state.detach()
    return tuple(part.detach() for part in state)


def is_finite(state: Carried) -> bool:
    """Whether no entry is inf or nan."""
    return all(bool(torch.isfinite(part).all()) for part in _parts(state))


def to_tensors(state: Carried) -> dict[str, Tensor]:
    """Named tensors, from which `from_tensors` makes the state again."""
    if isinstance(state, Tensor):
        return {"only": state}
    return {str(index): part for index, part in enumerate(_parts(state))}


def from_tensors(
    tensors: dict[str, Tensor], device: torch.device, expected: Carried = None
) -> Carried:
    """The state that `to_tensors` was given.

    Args:
        tensors: by name.
        device: to put it on.
        expected: a state of the same kind, whose shapes it must have, and whose dtypes it gets:
            lightning-fabric hands on a model's float64 as float32; None: any.
    Raises:
        ValueError: when it is of another kind.
    """
    if not tensors:
        return None
    if "only" in tensors:
        state: Carried = tensors["only"].to(device)
    else:
        state = tuple(tensors[str(index)].to(device) for index in range(len(tensors)))
    if expected is not None:
        wanted, found = (
            [(tuple(part.shape), part.dtype) for part in _parts(each)] for each in (expected, state)
        )
        shapes = [[shape for shape, _ in each] for each in (wanted, found)]
        if shapes[0] != shapes[1] or not all(dtype.is_floating_point for _, dtype in found):
            raise ValueError(f"a carried state of {found} where it should be {wanted}")
        cast = [part.to(dtype) for part, (_, dtype) in zip(_parts(state), wanted, strict=True)]
        state = cast[0] if isinstance(state, Tensor) else tuple(cast)
    return state


def _parts(state: Carried) -> tuple[Tensor, ...]:
    if state is None:
        return ()
    return (state,) if isinstance(state, Tensor) else state
