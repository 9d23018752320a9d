"""What a recurrent layer demands of its arguments: one function for each rule, all raising alike.

Letters: T time, B batch, I input, H hidden, V vocabulary, C context, L layers, D directions.
Every message reads `<where>: expected <what>, got <value>. <what to do>.`
"""

import contextlib
import difflib
import numbers
import reprlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, library
from torch.nn.utils.rnn import PackedSequence

from recurra import backends
from recurra.errors import TensorError, argument
from recurra.ir import Dim, shape_text
from recurra.lang import Cell

_ARGUMENTS = ("x", "state", "lengths", "context", "embedding", "start", "memory", "memory_lengths")
_LENGTHS = {  # the least of each, and why
    "lengths": (
        0,
        "x has {T} steps; a sequence of length 0 is empty, its state stays the first one.",
    ),
    "memory_lengths": (1, "The memory has {T} positions; a softmax over none has no value."),
    "source_lengths": (1, "The sources have {T} steps; of nothing there is no translation."),
    "target_lengths": (0, "The targets have {T} steps; an empty one is the mark alone."),
    "lengths of captions": (0, "The captions have {T} steps; an empty one is the mark alone."),
    "lengths of sentences": (0, "The sentences have {T} words."),
    "box_counts": (0, "There are {T} boxes of each image."),
    "lengths of series": (1, "The series have {T} steps; of nothing there is no forecast."),
}
_IF_FEATURES = "; or, if these are features, make them floating-point numbers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """Where a layer lives: the name it has in messages, and its parameters' dtype and device."""

    where: str
    dtype: torch.dtype
    device: torch.device

    def takes(self, dtype: torch.dtype) -> bool:
        """Whether tensors of `dtype` may come in: under autocast, every floating-point dtype."""
        return dtype == self.dtype or (self.in_autocast and dtype.is_floating_point)

    @property
    def in_autocast(self) -> bool:
        """Whether autocast is on for the device."""
        return in_autocast(self.device)


def in_autocast(device: torch.device) -> bool:
    """Whether autocast is on for `device`."""
    kind = device.type
    return torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)


def check_sizes(where: str, *, least: int = 1, **sizes: int) -> None:
    """Every size is a whole number of at least `least`."""
    for name, value in sizes.items():
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(
                f"{where}: expected {name} to be an int, got {value!r}. "
                f"{name} should be of type int, got: {type(value).__name__}."
            )
        if value < least:
            raise ValueError(
                f"{where}: expected {name} >= {least}, got {value}. "
                + (
                    f"{name} must be greater than zero."
                    if least == 1
                    else f"Choose {least} or more."
                )
            )


def check_flags(where: str, **flags: object) -> None:
    """Every flag is True or False; a string would count as True, whatever it says."""
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise TypeError(
                f"{where}: expected {name} to be True or False, got {value!r}. "
                f"{name} should be of type bool, got: {type(value).__name__}."
            )


def check_init_names(where: str, cell: Cell, given: Mapping[str, object]) -> None:
    """`given` names parameters of `cell`."""
    for name in given:
        if name not in cell.parameters:
            raise ValueError(
                f"{where}: init: expected one of {', '.join(cell.parameters)}, got {name!r}. "
                f"Use the name of a parameter of the cell."
            )


def check_dropout(where: str, name: str, dropout: float) -> None:
    """A dropout probability is a number in 0..1."""
    is_number = isinstance(dropout, numbers.Real) and not isinstance(dropout, bool)
    if not is_number or not 0.0 <= dropout <= 1.0:
        raise ValueError(
            f"{where}: expected {name} in 0..1, got {dropout!r}. {name} should be a number in "
            f"range [0, 1]: the probability of setting a feature to zero."
        )


def check_dtype(where: str, dtype: torch.dtype | None) -> None:
    """Parameters are real floating-point numbers."""
    if dtype is not None and not dtype.is_floating_point:
        raise TypeError(
            f"{where}: expected a floating-point dtype, got {dtype}. Use torch.float32, "
            f"torch.float64 or torch.bfloat16."
        )


def check_start(where: str, cell: Cell, dtype: torch.dtype, start: int, steps: int) -> None:
    """The index of a step is a whole number that the numbers of the layer can hold."""
    check_sizes(where, least=0, start=start)
    most = 2**53 if dtype == torch.float64 else 2**24
    reads = any(leaf.attr("kind") == "step" for leaf in cell.equations.inputs)
    if reads and start + steps > most:
        raise ValueError(
            f"{where}: expected start + steps of at most {most}, above which {dtype} has no whole "
            f"numbers one apart, got {start + steps}. Take an index that begins again."
        )


def check_input(home: Home, x: Tensor | PackedSequence, input_size: int) -> None:
    """`x` is features of the layer's size and dtype, or int64 token ids, on the layer's device."""
    data = x.data if isinstance(x, PackedSequence) else x
    if not isinstance(data, Tensor):
        raise TypeError(
            f"{home.where}: expected x to be a tensor or a PackedSequence, got "
            f"{type(x).__name__}. Make a tensor of it with torch.as_tensor."
        )
    _check_dense(home.where, "x", data, "Use x.to_dense(), or pad it and pass lengths.")
    if data.dtype == torch.int64:
        ranks, forms = (1, 2), "[time, batch] or, for one sequence, [time]"
    elif home.takes(data.dtype):
        ranks, forms = (2, 3), "[time, batch, features] or, for one sequence, [time, features]"
    else:
        raise TensorError(
            f"{home.where}: expected x of {home.dtype} features or torch.int64 token ids, "
            f"got {data.dtype}. RNN input dtype ({data.dtype}) does not match weight dtype "
            f"({home.dtype}). Convert input: input.to({home.dtype}), or convert model: "
            f"model.to({data.dtype})."
        )
    if not isinstance(x, PackedSequence) and x.dim() not in ranks:
        raise TensorError(
            f"{home.where}: expected x of {ranks[0]} or {ranks[1]} dimensions, got "
            f"{x.dim()} (shape {tuple(x.shape)}). Arrange it as {forms}, batch first with "
            f"batch_first=True{_IF_FEATURES if data.dtype == torch.int64 else ''}."
        )
    if data.dtype != torch.int64 and data.shape[-1] != input_size:
        raise TensorError(
            f"{home.where}: expected x of {input_size} features, got {data.shape[-1]} "
            f"(shape {tuple(data.shape)}). The last dimension is the layer's input_size."
        )
    _check_device(home, "x", data)


def check_ids(
    home: Home,
    x: Tensor,
    embedding: Tensor | None,
    cell: Cell,
    input_size: int,
    lengths: Tensor | None = None,
) -> None:
    """Token ids [T, B] within `lengths` lie inside the vocabulary: the rows of `embedding`, or
    input_size without one. What stands past a length is not looked at."""
    if x.dtype != torch.int64:
        if embedding is not None:
            raise TypeError(
                f"{home.where}: expected torch.int64 token ids with an embedding, got {x.dtype}. "
                f"Leave the embedding out for features."
            )
        return
    if cell.input is None:
        raise TypeError(
            f"{home.where}: expected x without features for a cell that reads no input, got token "
            f"ids. Pass torch.empty(time, batch, 0)."
        )
    if embedding is not None:
        _check_embedding(home, embedding, input_size)
    vocab_size = input_size if embedding is None else embedding.shape[0]
    if not backends.has_values(x):
        return
    if _outside(x, vocab_size) is not None and lengths is not None:
        steps = torch.arange(x.shape[0], dtype=torch.int64, device=x.device)
        x = x[steps[:, None] < lengths]
    wrong = _outside(x, vocab_size)
    if wrong is not None:
        source = "input_size" if embedding is None else "rows of the embedding"
        raise ValueError(
            f"{home.where}: expected token ids in 0..{vocab_size - 1} ({source}: {vocab_size}), "
            f"got {wrong}. Use the vocabulary that the layer was made for."
        )


def _outside(ids: Tensor, vocab_size: int) -> int | None:
    """One of the ids that are not in 0..vocab_size - 1; None where all are."""
    if ids.numel() == 0:
        return None
    lowest, highest = (int(value) for value in torch.aminmax(ids))
    if lowest < 0:
        return lowest
    return highest if highest >= vocab_size else None


def check_token_ids(where: str, ids: Tensor, vocab_size: int) -> None:
    """`ids` are int64 and lie inside a vocabulary."""
    if ids.dtype != torch.int64:
        raise TypeError(
            f"{where}: expected torch.int64 token ids, got {ids.dtype}. Convert them with .long()."
        )
    wrong = None if torch.compiler.is_compiling() else _outside(ids, vocab_size)
    if wrong is not None:
        raise ValueError(
            f"{where}: expected token ids in 0..{vocab_size - 1} (vocabulary: {vocab_size}), got "
            f"{wrong}. Use the vocabulary that the model was made for."
        )


def _check_embedding(home: Home, embedding: Tensor, input_size: int) -> None:
    _check_dense(home.where, "embedding", embedding)
    if embedding.dim() != 2 or embedding.shape[1] != input_size:
        raise TensorError(
            f"{home.where}: expected embedding of shape (vocabulary, {input_size}), got "
            f"{tuple(embedding.shape)}. Its second dimension is the layer's input_size."
        )
    _check_like(home, "embedding", embedding)


def checked_lengths(
    where: str,
    lengths: Tensor | Sequence[int],
    T: int,
    B: int,
    device: torch.device,
    *,
    name: str = "lengths",
) -> Tensor:
    """`lengths` as int64 [B] on `device`, each in 0..T, or from 1, as `_LENGTHS` has it by name."""
    if not isinstance(lengths, Tensor):
        lengths = _tensor_of(lengths, where, name)
    _check_dense(where, name, lengths)
    if lengths.numel() == 0:  # torch makes a list of none float32
        lengths = lengths.to(torch.int64)
    if lengths.is_floating_point() or lengths.is_complex() or lengths.dtype == torch.bool:
        raise TypeError(
            f"{where}: expected {name} of integers, got {lengths.dtype}. "
            f"Pass true steps for each sequence as int64."
        )
    if lengths.shape != (B,):
        raise ValueError(
            f"{where}: expected {name} of shape ({B},), one for each sequence, got "
            f"{tuple(lengths.shape)}. Pass one length for each of the {B} sequences."
        )
    lengths = lengths.to(device=device, dtype=torch.int64)
    if torch.compiler.is_compiling():  # a trace has no values: they are looked at when it runs
        return torch.ops.recurra.lengths_within(lengths, T, where, name)
    if backends.has_values(lengths):
        _check_within(lengths, T, where, name)
    return lengths


def _tensor_of(lengths: Sequence[int], where: str, name: str) -> Tensor:
    """A list, a tuple or an array of lengths as a tensor."""
    found: Tensor | None = None
    with contextlib.suppress(TypeError, ValueError, RuntimeError):
        found = torch.as_tensor(lengths, device="cpu")
        if any(isinstance(each, bool) for each in lengths):  # taken as 0 and 1 beside numbers
            found = None
    if found is None:
        raise TypeError(
            f"{where}: expected {name} of integers, got {reprlib.repr(lengths)}. "
            f"Pass true steps for each sequence as int64."
        )
    return found


def _check_within(lengths: Tensor, T: int, where: str, name: str) -> None:
    least, why = _LENGTHS[name]
    wrong = lengths[(lengths < least) | (lengths > T)]
    if wrong.numel():
        raise ValueError(
            f"{where}: expected {name} in {least}..{T}, got {wrong[0].item()}. {why.format(T=T)}"
        )


@library.custom_op("recurra::lengths_within", mutates_args=())
def _lengths_within(lengths: Tensor, T: int, where: str, name: str) -> Tensor:
    """The check as an operation of a traced graph, which goes on with what it returns."""
    _check_within(lengths, T, where, name)
    return lengths.clone()


@_lengths_within.register_fake
def _lengths_within_shape(lengths: Tensor, T: int, where: str, name: str) -> Tensor:
    return torch.empty_like(lengths)


def checked_states(
    home: Home,
    state: Tensor | Sequence[Tensor],
    names: tuple[str, ...],
    shapes: tuple[tuple[int, ...], ...],
) -> tuple[Tensor, ...]:
    """The caller's state as a tuple, each of its shape, dtype and device."""
    form = "one tensor" if len(names) == 1 else f"a tuple of {len(names)} tensors"
    given = _tensors(home, "state", state)
    # A one-state cell's state is the bare tensor, as torch.nn has it.
    if len(given) != len(names) or isinstance(state, Tensor) != (len(names) == 1):
        got = "one tensor" if isinstance(state, Tensor) else f"a tuple of {len(given)}"
        raise TensorError(
            f"{home.where}: expected state to be {form} ({', '.join(names)}), got {got}. "
            f"Pass what the layer returned as its state."
        )
    for name, tensor, shape in zip(names, given, shapes, strict=True):
        if tuple(tensor.shape) != shape:
            raise TensorError(
                f"{home.where}: expected state {name} of shape {shape}, got "
                f"{tuple(tensor.shape)}. It is [layers * directions, batch, size], without "
                f"batch for a single sequence."
            )
        _check_like(home, f"state {name}", tensor)
    return given


def checked_context(
    home: Home,
    context: Tensor | Sequence[Tensor] | None,
    cell: Cell,
    shapes: tuple[tuple[int, ...], ...],
) -> tuple[Tensor, ...]:
    """The caller's context as a tuple, each of its shape, dtype and device."""
    given, names = _tensors(home, "context", context), cell.context
    if len(given) != len(names):
        wanted = f"{len(names)} context tensors ({', '.join(names)})" if names else "no context"
        raise TensorError(
            f"{home.where}: expected {wanted}, got {len(given) or 'none'}. "
            + ("Pass context=..., a tuple if there are several." if names else "Leave it out.")
        )
    for name, tensor, shape, size in zip(names, given, shapes, cell.context_sizes, strict=True):
        if tuple(tensor.shape) != shape:
            raise TensorError(
                f"{home.where}: expected context {name} of shape {shape}, got "
                f"{tuple(tensor.shape)}. It is [batch, size], without batch for a single sequence."
                + _where_size_is_said(cell, size, tensor, shape)
            )
        _check_like(home, f"context {name}", tensor)
    return given


def _tensors(home: Home, what: str, given: Tensor | Sequence[Tensor] | None) -> tuple[Tensor, ...]:
    """One tensor, a tuple of them or none, as a tuple."""
    if given is None:
        return ()
    given = (given,) if isinstance(given, Tensor) else given
    several = isinstance(given, list | tuple)
    wrong = [each for each in (given if several else [given]) if not isinstance(each, Tensor)]
    if wrong:
        raise TypeError(
            f"{home.where}: expected {what} to be a tensor, or a tuple of them, got "
            f"{type(wrong[0]).__name__}. Make a tensor of it with torch.as_tensor."
        )
    for tensor in given:
        _check_dense(home.where, what, tensor)
    return tuple(given)


def checked_memory(
    home: Home,
    memory: Tensor | Sequence[Tensor] | None,
    cell: Cell,
    sizes: tuple[int, ...],
    lead: tuple[int | None, ...],
) -> tuple[Tensor, ...]:
    """The caller's memories as a tuple, each of its size, dtype and device, all of one length.

    Args:
        lead: what stands before the size, None for S.
    """
    given, names = _tensors(home, "memory", memory), cell.memory
    if len(given) != len(names):
        wanted = f"{len(names)} memory tensors ({', '.join(names)})" if names else "no memory"
        wanted = f"the memory {names[0]}" if len(names) == 1 else wanted
        raise TensorError(
            f"{home.where}: expected {wanted}, got {len(given) or 'none'}. "
            + ("Pass memory=..., a tuple if there are several." if names else "Leave it out.")
        )
    counts = {tensor.shape[lead.index(None)] for tensor in given if tensor.dim() > len(lead)}
    positions = max(counts, default=0)
    for name, tensor, size, dim in zip(names, given, sizes, cell.memory_sizes, strict=True):
        shape = (*(positions if length is None else length for length in lead), size)
        if tuple(tensor.shape) != shape or positions == 0:
            wanted = ", ".join("S" if length is None else str(length) for length in lead)
            raise TensorError(
                f"{home.where}: expected memory {name} of shape ({wanted}, {size}), got "
                f"{tuple(tensor.shape)}. It is [positions, batch, size], batch first with "
                f"batch_first=True, with one S >= 1 for all memories of a call."
                + _where_size_is_said(cell, dim, tensor, shape)
            )
        _check_like(home, f"memory {name}", tensor)
    return given


def _where_size_is_said(cell: Cell, size: Dim, tensor: Tensor, shape: tuple[int, ...]) -> str:
    """What makes the last size of a tensor right, where that is what is wrong."""
    if tensor.dim() != len(shape) or tensor.shape[-1] == shape[-1]:
        return ""
    (name, *_) = (*size.names, "")
    if size != Dim.named(name) or name in ("I", "H"):
        return f" The equations of {cell.name} give its vectors size {size}."
    return (
        f" For vectors of {tensor.shape[-1]}: sizes={{{name!r}: {tensor.shape[-1]}}} of the layer."
    )


def check_input_names(
    where: str, cell: Cell, given: Collection[str], *, arguments: Sequence[str] = _ARGUMENTS
) -> None:
    """`given` names all that the cell reads at each step besides x, and nothing else."""
    if set(given) == set(cell.further):
        return
    if cell.further:
        wanted = f"{', '.join(cell.further)} besides x"
        missing = [name for name in cell.further if name not in given]
        example = ", ".join(f"{name}=..." for name in cell.further)
        hint = f"Pass {example}" + ("." if missing else " and nothing else.")
    else:
        wanted = f"no arguments but {', '.join(arguments)}"
        hint = "What a cell reads at each step besides x is named by inputs=(...) of @cell."
    near = [n for name in given for n in difflib.get_close_matches(name, arguments, n=1)]
    hint = f"Did you mean {near[0]!r}?" if near else hint
    got = ", ".join(given) or "none of them"
    raise TypeError(f"{where}: expected {wanted}, got {got}. {hint}")


def check_reads_x_alone(where: str, cell: Cell) -> None:
    """The cell is one for a model, which gives it x and nothing else at each step."""
    more = (*cell.further, *cell.memory)
    options = [argument("cell="), argument("cells=")]  # the second is that of comparisons
    option = next((name for name in options if name.startswith("--")), "cell=")
    if cell.input is None:
        raise ValueError(
            f"{where}: expected a cell that reads x at each step, got {cell.name}, which reads no "
            f"input. Choose another by {option}."
        )
    if more:
        names = (*cell.further, *(["memory"] if cell.memory else []))
        given = ", ".join(f"{name}=..." for name in names)
        raise ValueError(
            f"{where}: expected a cell that reads x alone at each step, got {cell.name}, which "
            f"reads {', '.join(more)} too. Choose another by {option}; this one is for "
            f"layers, in Python: Recurrent({cell.name!r}, ...)(x, {given})."
        )


def checked_steps(
    home: Home, cell: Cell, name: str, given: Tensor, lead: tuple[int, ...], size: tuple[int, ...]
) -> Tensor:
    """What is given at each step besides x, [*lead, size]; a scalar may come without its size."""
    if not isinstance(given, Tensor):
        raise TypeError(
            f"{home.where}: expected input {name} to be a tensor, got {type(given).__name__}. "
            f"Make a tensor of it with torch.as_tensor."
        )
    _check_dense(home.where, f"input {name}", given)
    shapes = [(*lead, *size), *([(*lead, 1)] if not size else [])]
    if tuple(given.shape) not in shapes:
        wanted = " or ".join(map(str, shapes))
        one = "it is one number at each step"
        own = f"its size is {shape_text(cell.further_shapes[name])}, by the equations"
        of_layer = ""
        if size and given.shape[-1:] != (1,):
            dim = cell.further_shapes[name][0]
            of_layer = _where_size_is_said(cell, dim, given, shapes[0])
        raise TensorError(
            f"{home.where}: expected input {name} of shape {wanted}, as many steps and sequences "
            f"as x has, got {tuple(given.shape)}. Of {cell.name} "
            + (f"{own}; where {one}, the cell says sizes={{{name!r}: 1}}." if size else f"{one}.")
            + of_layer
        )
    _check_like(home, f"input {name}", given)
    return given if given.dim() > len(lead) else given.unsqueeze(-1)


def wrong_parameter(
    home: Home, name: str, tensor: Tensor, shape: tuple[int, ...]
) -> TypeError | ValueError:
    """What is wrong with a parameter that is not as the layer made it."""
    wanted = f"{home.where}: expected the parameter {name}"
    if tuple(tensor.shape) != tuple(shape):
        return ValueError(
            f"{wanted} of shape {tuple(shape)}, got {tuple(tensor.shape)}. It was replaced: load "
            f"weights of this layer's sizes."
        )
    if tensor.dtype != home.dtype:
        return TypeError(
            f"{wanted} of {home.dtype}, like the layer's first, got {tensor.dtype}. It was "
            f"replaced: convert all at once, with layer.to({home.dtype})."
        )
    return ValueError(
        f"{wanted} on {home.device}, like the layer's first, got {tensor.device}. Move the layer "
        f"as a whole, with layer.to({str(home.device)!r})."
    )


def _check_dense(
    where: str, what: str, tensor: Tensor, instead: str = "Use to_dense(), or pad it."
) -> None:
    if tensor.layout != torch.strided or tensor.is_nested:
        got = "a nested one" if tensor.is_nested else f"one of layout {tensor.layout}"
        raise TensorError(f"{where}: expected {what} to be a dense tensor, got {got}. {instead}")


def _check_like(home: Home, what: str, tensor: Tensor) -> None:
    if not home.takes(tensor.dtype):
        raise TensorError(
            f"{home.where}: expected {what} of {home.dtype}, got {tensor.dtype}. "
            f"Convert it with .to({home.dtype})."
        )
    _check_device(home, what, tensor)


def _check_device(home: Home, what: str, tensor: Tensor) -> None:
    if tensor.device != home.device:
        raise TensorError(
            f"{home.where}: expected {what} on {home.device}, got {tensor.device}. "
            f"Move it with .to({str(home.device)!r}), or move the layer."
        )
