"""What calling a module does besides what its class says, and the mode that it does it in."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FunctionType
from typing import Any

from torch import nn
from torch.nn.modules import module as torch_module

_HOOKS_OF_ALL: tuple[Mapping[Any, Any], ...] = (
    torch_module._global_forward_hooks,
    torch_module._global_forward_pre_hooks,
)
_METHODS = (FunctionType, property, classmethod, staticmethod)
_LIBRARIES = ("recurra", "torch")
_CALLED = {"forward", "__call__", "_wrapped_call_impl", "_call_impl"}
_CALLED |= {"__getattr__", "__getattribute__"}
# what a class of the user's may define anew without a call giving something else
_NOT_CALLED = {"config", "explain", "extra_repr", "reset_parameters", "stream", "where"}
# of models: what they own, how they are saved, and what is done with them
_NOT_CALLED |= {"check_part", "load", "needed", "num_parameters", "parts", "save"}
_NOT_CALLED |= {"generate", "loss", "loss_and_state", "nll", "stream_text"}


def hooks_of(*modules: nn.Module) -> tuple[Mapping[Any, Any], ...]:
    """Where hooks stand that calling one of these modules runs."""
    own = (hooks for m in modules for hooks in (m._forward_hooks, m._forward_pre_hooks))
    return (*_HOOKS_OF_ALL, *own)


def what_else(module: nn.Module) -> str | None:
    """What calling a module does besides what its class of recurra's or of torch's does: by hooks,
    or by methods that a class of the user's has in their place. None if nothing."""
    if any(hooks_of(module)):
        return f"{type(module).__name__} has forward hooks"
    if "forward" in module.__dict__:
        return f"{type(module).__name__} was given another forward"
    for kind in type(module).__mro__:
        if kind.__module__ == "torch.nn.utils.parametrize":  # makes a class of any other
            continue
        if kind.__module__.partition(".")[0] in _LIBRARIES:
            break
        own = {name for name, value in vars(kind).items() if isinstance(value, _METHODS)}
        changed = sorted(own & _called_names(kind))
        if changed:
            return f"{kind.__name__} has its own {', '.join(changed)}"
    return None


def other_call(module: nn.Module) -> str | None:
    """What calling a module does besides what its class of recurra's does, by hooks or by a call
    that a class of the user's has in its place; other methods may be the user's. None if nothing.
    """
    if any(hooks_of(module)):
        return f"{type(module).__name__} has forward hooks"
    if "forward" in module.__dict__:
        return f"{type(module).__name__} was given another forward"
    for kind in type(module).__mro__:
        if kind.__module__.partition(".")[0] in _LIBRARIES:
            return None
        if "forward" in vars(kind) or "__call__" in vars(kind):
            return f"{kind.__name__} has its own forward"
    return None


def check_streams(where: str, module: nn.Module) -> None:
    """Raise ValueError where a stream would pass over what calling the module does."""
    reason = other_call(module)
    if reason is not None:
        raise ValueError(
            f"{where}: expected a model that is called as its class says, got one of its own: "
            f"{reason}. Call it for whole sequences instead."
        )


def _called_names(kind: type) -> set[str]:
    """What a class inherits that a call may use."""
    ours = [base for base in kind.__mro__[1:] if base not in nn.Module.__mro__]
    names = {name for base in ours for name in vars(base) if not name.startswith("__")}
    return (names | _CALLED) - _NOT_CALLED


def not_rows(embedding: nn.Module) -> str | None:
    """Why calling an embedding is not just to take rows of its weight; None where it is."""
    name = type(embedding).__name__
    if not isinstance(embedding, nn.Embedding):
        return f"{name} is not torch.nn.Embedding"
    if embedding.max_norm is not None:
        return f"{name} has max_norm"
    return what_else(embedding)


def is_table(embedding: nn.Module) -> bool:
    """Whether an embedding is its weight and nothing else, in values and in gradients."""
    if not isinstance(embedding, nn.Embedding) or not_rows(embedding) is not None:
        return False
    own_gradients = embedding.scale_grad_by_freq or embedding.sparse
    return embedding.padding_idx is None and not own_gradients


@contextmanager
def evaluating(*modules: nn.Module) -> Iterator[None]:
    """The modules in evaluation mode, and every one in its own mode again afterwards."""
    training = [part for module in modules for part in module.modules() if part.training]
    for part in training:
        part.training = False
    try:
        yield
    finally:
        for part in training:
            part.training = True
