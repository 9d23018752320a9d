"""What watches or transforms torch's operations, and what that asks of a call.

A loop that C++ runs is no operation that torch knows: who follows each operation would not see it.
torch.compile, torch.export and dispatch modes get operators (`runtime/operators.py`). Gradients
by torch.func get a function that torch can compose. All else that torch transforms takes plain
operations, one after the other; and what records them for other inputs is refused.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch._C._autograd import _top_saved_tensors_default_hooks
from torch._C._functorch import (
    TransformType,
    get_interpreter_stack,
    is_functorch_wrapped_tensor,
    peek_interpreter_stack,
)
from torch._subclasses import FakeTensor
from torch.autograd import forward_ad
from torch.fx.experimental.proxy_tensor import get_proxy_mode
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from recurra.errors import BackendError

GRADIENTS = "gradients by torch.func"
_VMAP = "torch.func.vmap"
_tracing_state = torch._C._get_tracing_state
_mode, _Kind = torch._C._get_dispatch_mode, torch._C._TorchDispatchModeKey
_PLAIN_TYPES = (Tensor, nn.Parameter)


def is_watched() -> bool:
    """Whether something traces or intercepts the operations of this call."""
    return torch.compiler.is_compiling() or is_in_torch_dispatch_mode()


def is_followed() -> bool:
    """Whether anything traces, transforms or counts operations; asked before every step of a
    stream, so it takes 0.1 us."""
    return (
        is_in_torch_dispatch_mode()
        or _tracing_state() is not None
        or peek_interpreter_stack() is not None
        or forward_ad._current_level >= 0
    )


def is_transformed() -> bool:
    """Whether a transform of torch.func is under way, whoever is transformed by it."""
    return not torch.compiler.is_compiling() and peek_interpreter_stack() is not None


def keeps_otherwise() -> bool:
    """Whether what a call saves for its backward pass goes to somebody who may count it: saved
    tensors' hooks, as `torch.utils.checkpoint` has them, which expects as many of a second run."""
    return bool(_top_saved_tensors_default_hooks(False))


def no_forward_mode() -> BackendError:
    """The error that a backward pass is to be differentiated forwards."""
    return BackendError(
        "backward pass: expected cotangents without tangents, got some that are differentiated "
        "forwards, which what was computed outside does not follow. Call the layer inside too: "
        "within torch.func.jvp, or within the dual_level of torch.autograd.forward_ad."
    )


def refuse_tangents(tensors: Iterable[Tensor | None]) -> None:
    """Raise BackendError where one of some cotangents has a tangent, which would be lost."""
    if forward_ad._current_level < 0 or peek_interpreter_stack() is not None:
        return
    if any(t is not None and forward_ad.unpack_dual(t).tangent is not None for t in tensors):
        raise no_forward_mode()


def what_records(x: Tensor) -> str | None:
    """What makes a program of this call, or derives one, so that its values alone will not do."""
    if _tracing_state() is not None:
        return "torch.jit.trace"
    if get_proxy_mode() is not None:
        return "torch.fx"
    if isinstance(x, FakeTensor) or _mode(_Kind.FAKE) is not None:
        return "FakeTensorMode"
    if peek_interpreter_stack() is not None:
        return "torch.func"
    if forward_ad._current_level >= 0 and forward_ad.unpack_dual(x).tangent is not None:
        return "torch.autograd.forward_ad"
    return None


def transform(tensors: Iterable[Tensor] = ()) -> str | None:
    """What transforms this call or its tensors, in words; `GRADIENTS` where nothing else does."""
    if torch.compiler.is_compiling():  # which has its own way with transforms
        return None
    if forward_ad._current_level >= 0:
        return "forward-mode differentiation"
    if peek_interpreter_stack() is not None:
        kinds = {interpreter.key() for interpreter in get_interpreter_stack()}
        if kinds == {TransformType.Grad} and not is_in_torch_dispatch_mode():
            return GRADIENTS
        return _VMAP if TransformType.Vmap in kinds else "transforms by torch.func"
    for tensor in tensors:
        if type(tensor) not in _PLAIN_TYPES and _dispatches(tensor):
            return f"a {type(tensor).__name__}, which follows every operation"
    return None


def _dispatches(tensor: Tensor) -> bool:
    """Whether a tensor of some subclass has operations of its own."""
    if is_functorch_wrapped_tensor(tensor):
        return True
    own = getattr(type(tensor), "__torch_dispatch__", None)
    return own is not torch._C._disabled_torch_dispatch_impl and not is_in_torch_dispatch_mode()


@contextmanager
def outliving() -> Iterator[None]:
    """For tensors that are made in a call and kept: they may meet gradients and transforms later,
    and must not belong to those of this call."""
    with torch.inference_mode(False), torch._C._DisableFuncTorch():
        yield


def has_values(tensor: Tensor) -> bool:
    """Whether the numbers of a tensor can be looked at: not in a trace, not under vmap."""
    if torch.compiler.is_compiling() or tensor.numel() == 0:
        return False
    return transform() != _VMAP


@runtime_checkable
class Named(Protocol):
    """What has a name in messages, which takes longer to make than to ask what goes on."""

    @property
    def where(self) -> str:
        """The name."""
        ...


def refuse_recording(layer: Named, x: object = None) -> None:
    """Raise where what this call does is recorded, step by step, for inputs of other lengths.

    Raises:
        BackendError: under torch.jit.trace and what builds on it (TensorBoard's add_graph), under
            torch.onnx.export, and for what torch.fx.symbolic_trace puts in the place of a tensor.
    """
    if torch.compiler.is_dynamo_compiling():
        return
    if isinstance(x, torch.fx.Proxy):
        raise BackendError(
            f"{layer.where}: expected a tensor, got a Proxy of torch.fx.symbolic_trace, which "
            f"follows no loop over time. Use torch.export.export, or a torch.fx.Tracer whose "
            f"is_leaf_module is true of recurra's layers."
        )
    if _tracing_state() is not None:
        raise BackendError(
            f"{layer.where}: expected a call that nobody records for torch.jit, ONNX or "
            f"TensorBoard's graph, got one under torch.jit.trace. Use torch.export.export, or "
            f"load the state_dict of rc.RNN, rc.LSTM or rc.GRU into torch.nn's layer of that name."
        )
    if torch.compiler.is_exporting() and torch.onnx.is_in_onnx_export():
        raise BackendError(
            f"{layer.where}: expected a call outside torch.onnx.export, whose format has no such "
            f"layers, got one inside. Use torch.export.export, or load the state_dict of rc.RNN, "
            f"rc.LSTM or rc.GRU into torch.nn's layer of that name."
        )
