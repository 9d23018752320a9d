"""How a function is told to torch.compile, without loading torch's compiler for those who don't."""

from collections.abc import Callable
from typing import TypeVar

F = TypeVar("F", bound=Callable[..., object])


def constant_result(function: F) -> F:
    """`torch.compiler.assume_constant_result`: called once a trace, its result taken as a constant.

    torch's own decorator does this and nothing else, but imports torch._dynamo for it, which takes
    most of a second. A test holds the two together.
    """
    function._dynamo_marked_constant = True  # pyright: ignore[reportFunctionMemberAccess]
    return function
