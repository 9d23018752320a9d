"""Every exception that a user can meet, besides ValueError and TypeError for wrong arguments.

Messages name arguments, and whoever calls has a way to write them: `resume=True` in Python,
`--resume` on the command line. `argument` marks them where a message is made, so that nothing else
in it, names and values of the user's least of all, is ever rewritten.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_SPELLING: ContextVar[Callable[[str], str]] = ContextVar("recurra_spelling", default=str)


def argument(text: str) -> str:
    """An argument as whoever called writes it: of `lr`, `lr=`, `lr=0.1` or `resume=True`."""
    return _SPELLING.get()(text)


@contextmanager
def arguments_spelled(spelling: Callable[[str], str]) -> Iterator[None]:
    """Have `argument` write arguments by this rule in the block."""
    token = _SPELLING.set(spelling)
    try:
        yield
    finally:
        _SPELLING.reset(token)


class TensorError(ValueError, TypeError, RuntimeError):
    """A tensor of another shape, dtype or device than a layer takes.

    A ValueError and TypeError as any wrong argument is, and to programs written for torch.nn the
    RuntimeError that its layers raise.
    """


def singular(what: str) -> TensorError:
    """The error of an inverse that there is not."""
    return TensorError(
        f"{what}: expected a matrix that has an inverse, got a singular one. Start it from another "
        f"by init=, or add to its diagonal: A + 0.1 * eye('H')."
    )


class RecurraError(Exception):
    """Base of all of recurra's own errors: catch this one to catch them all."""


class CellError(RecurraError):
    """The equations of a cell are wrong; the message begins with the user's own file and line."""


class BackendError(RecurraError):
    """A backend was asked for by name and cannot run here."""


class BuildError(BackendError):
    """Generated source did not compile; the source is kept and its path is in the message."""


class DataError(RecurraError):
    """A data file is missing, empty, too short, or not in the format expected."""


class CheckpointError(RecurraError):
    """A saved model or checkpoint is missing, cut short, or of other sizes."""


class RunError(RecurraError):
    """A run cannot start, go on, or be written where it was asked to."""


class DeviceError(RunError):
    """A device was asked for that there is not, or that this machine does not have."""


class CellWarning(UserWarning):
    """Something in the equations of a cell that is allowed and hardly ever meant; at their line."""
