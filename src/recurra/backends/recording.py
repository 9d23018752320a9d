"""Whether something watches the operations of a call: traces, transforms or counts them."""

import torch
from torch import Tensor
from torch._subclasses import FakeTensor
from torch.autograd import forward_ad
from torch.fx.experimental.proxy_tensor import get_proxy_mode
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

_tracing_state = torch._C._get_tracing_state
_mode, _Kind = torch._C._get_dispatch_mode, torch._C._TorchDispatchModeKey
_transform = torch._C._functorch.peek_interpreter_stack  # pyright: ignore[reportAttributeAccessIssue]


def is_watched() -> bool:
    """Whether anything does; asked before every step of a stream, so it takes 0.1 us."""
    return (
        is_in_torch_dispatch_mode()
        or _tracing_state() is not None
        or _transform() is not None
        or forward_ad._current_level >= 0
    )


def what_records(x: Tensor) -> str | None:
    """What makes a program of this call, or derives one, so that its values alone will not do."""
    if _tracing_state() is not None:
        return "torch.jit.trace"
    if get_proxy_mode() is not None:
        return "torch.fx"
    if isinstance(x, FakeTensor) or _mode(_Kind.FAKE) is not None:
        return "FakeTensorMode"
    if _transform() is not None:
        return "torch.func"
    if forward_ad._current_level >= 0 and forward_ad.unpack_dual(x).tangent is not None:
        return "torch.autograd.forward_ad"
    return None
