"""Values in equations that run on plain tensors: vectors, matrices, numbers, and rows.

A vector of features and a number for each position of a memory both have one dimension; what a
value is, its form says. Letters: S positions, P rows in n blocks, Q features of a row.
"""

from collections.abc import Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from recurra.ir import POSITIONS, Dim, Shape, has_own_rows
from recurra.lang.libraries import asked_for
from recurra.lang.symbols import NUMPY_FUNCTIONS, TORCH_FUNCTIONS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@dataclass(frozen=True, slots=True)
class Form:
    """Of what has rows: [S, K] over a memory or [P, Q] in blocks; of one dimension, of a number for
    each row.

    Attributes:
        blocks: in how many blocks the rows lie; 0 for those of a memory.
        turned: whether it is S.T, [Q, P].
    """

    blocks: int
    turned: bool = False

    @property
    def over_positions(self) -> bool:
        """Whether its rows are those of a memory."""
        return self.blocks == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A cell's function that runs on tensors: its sizes by name, and one of the tensors."""

    sizes: "Mapping[str, int]"
    like: Tensor


RUNNING: ContextVar[Running | None] = ContextVar("recurra_running", default=None)


@contextmanager
def running(sizes: "Mapping[str, int]", like: Tensor) -> "Iterator[None]":
    """While a cell's function runs on tensors."""
    token = RUNNING.set(Running(sizes=sizes, like=like))
    try:
        yield
    finally:
        RUNNING.reset(token)


class Operand(Tensor):
    """A tensor in equations, which Python's operators and torch's and numpy's functions take as
    those of the language take a symbol."""

    form: Form | None = None

    def __getitem__(self, index: Any) -> Any:
        with torch._C.DisableTorchFunctionSubclass():
            return operand(plain(self)[_bounds(index)], self.form)

    @property
    def T(self) -> "Operand":  # type: ignore[override] # noqa: N802 - the field's notation
        """The transpose of a matrix."""
        turned = None if self.form is None else replace(self.form, turned=not self.form.turned)
        return operand(plain(self).mT, turned)

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        meant = TORCH_FUNCTIONS.get(function)
        if meant is not None:
            return meant(*args, **asked_for(kwargs or {}))
        return super().__torch_function__(function, types, args, kwargs or {})

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        meant = NUMPY_FUNCTIONS.get(ufunc) if method == "__call__" else None
        return NotImplemented if meant is None else meant(*inputs, **kwargs)

    def __array_function__(
        self, function: Any, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        meant = NUMPY_FUNCTIONS.get(function)
        return NotImplemented if meant is None else meant(*args, **kwargs)


def operand(value: Tensor, form: Form | None = None) -> Operand:
    """A tensor as an operand of a form; what has no dimension is a number, and has none."""
    with torch._C.DisableTorchFunctionSubclass():
        found = value.as_subclass(Operand)
    if form is not None and found.dim():
        found.form = form
    return found


def plain(value: Any) -> Any:
    """The tensor without its form; what is no tensor as it is."""
    if not isinstance(value, Tensor):
        return value
    with torch._C.DisableTorchFunctionSubclass():
        return value.as_subclass(Tensor)


def form_of(value: Any) -> Form | None:
    """The form of what has rows; None of vectors, matrices, numbers and plain tensors."""
    return value.form if isinstance(value, Operand) else None


def of_shape(value: Tensor, shape: Shape) -> Operand:
    """What was given for an argument of that shape."""
    if has_own_rows(shape):
        return operand(value, Form(shape[0].blocks))
    return operand(value, Form(0) if shape[:1] == (POSITIONS,) else None)


# ---- what stands beside one another --------------------------------------------------------------


def tensors(*values: Any) -> list[Tensor]:
    """The values as tensors of the dtype and device of the first tensor among them."""
    found = RUNNING.get()
    like = next((v for v in values if isinstance(v, Tensor) and v.is_floating_point()), None)
    like = found.like if like is None and found is not None else like
    dtype = torch.float64 if like is None else like.dtype
    device = torch.device("cpu") if like is None else like.device
    return [torch.as_tensor(plain(value), dtype=dtype, device=device) for value in values]


def made_of(values: Sequence[Any], made: Tensor, form: Form | None = None) -> Tensor:
    """What a function of the language has made of the values: an operand in equations."""
    in_equations = RUNNING.get() is not None or any(isinstance(v, Operand) for v in values)
    return operand(made, form) if in_equations else made


def beside(values: Sequence[Any], is_product: bool = False) -> tuple[list[Tensor], Form | None]:
    """The values as torch's broadcasting puts them beside one another, and the form of the result.

    A vector goes with each row, its parts with the rows of their blocks; a number for each row goes
    with all of its row; and each number times a vector (`is_product`) is a row.
    """
    forms = [form_of(value) for value in values]
    form = next((each for each in forms if each is not None), None)
    found = tensors(*values)
    if form is None:
        return found, None
    pairs = list(zip(found, forms, strict=True))
    has_vector = any(value.dim() == 1 and own is None for value, own in pairs)
    has_rows = any(value.dim() == 2 for value in found) or (is_product and has_vector)
    if not has_rows:
        return found, form
    count = next(value.shape[0] for value, own in pairs if own is not None)
    return [_along_rows(value, own, form, count) for value, own in pairs], form


def _along_rows(value: Tensor, own: Form | None, form: Form, count: int) -> Tensor:
    if value.dim() != 1:
        return value
    if own is not None:
        return value.reshape(-1, 1)
    if form.blocks < 2:
        return value
    parts = value.reshape(form.blocks, 1, -1).expand(-1, count // form.blocks, -1)
    return parts.reshape(count, -1)


# ---- sizes in brackets ---------------------------------------------------------------------------


def number_of(size: Any) -> int:
    """A size as it is written, 3, "H" or "H/2", as a number."""
    return size if isinstance(size, int) else _size(size).evaluate(_sizes())


def form_of_rows(size: Any) -> Form | None:
    """The form of what has so many rows, where a size says that: "S" of a memory."""
    rows = Dim.of(size) if isinstance(size, int) else _size(size)
    return Form(rows.blocks) if rows.blocks or rows == POSITIONS else None


def _size(size: str | Dim) -> Dim:
    found = size if isinstance(size, Dim) else Dim.parse(size)
    over_memory = {"S": POSITIONS} if POSITIONS.names[0] in _sizes() else {}
    return found.substitute(over_memory)


def _sizes() -> "Mapping[str, int]":
    found = RUNNING.get()
    return {} if found is None else found.sizes


def _bounds(index: Any) -> Any:
    """What stands in brackets, its sizes as numbers."""
    if isinstance(index, tuple):
        return tuple(map(_bounds, index))
    if isinstance(index, slice):
        return slice(_bounds(index.start), _bounds(index.stop), _bounds(index.step))
    return number_of(index) if isinstance(index, str | Dim) else index
