"""Each message that wrong arguments of a layer raise, on its key parts."""

import inspect
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence

import recurra as rc
from recurra.backends import load
from recurra.compose.spelling import resolved
from recurra.lang import sum, tanh
from recurra.nn import checks
from recurra.nn.checks import Home, checked_states

T, B, IN, H = 5, 3, 4, 6


@rc.cell(state="h", context="v")
def contextual(x, h, v, W_xh, W_hh, W_vh):
    """An RNN that sees a context at every step."""
    return tanh(W_xh @ x + W_hh @ h + W_vh @ v)


@pytest.fixture
def layer() -> rc.Recurrent:
    return rc.Recurrent("lstm", IN, H, 2)


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(T, B, IN)


# --- construction


@pytest.mark.parametrize("value", [0, -3])
@pytest.mark.parametrize("name", ["input_size", "hidden_size", "num_layers"])
def test_sizes_are_positive(name: str, value: int) -> None:
    sizes = {"input_size": IN, "hidden_size": H, "num_layers": 2, name: value}
    with pytest.raises(ValueError, match=rf"Recurrent\(gru\): expected {name} >= 1, got {value}"):
        rc.Recurrent("gru", **sizes)


def test_sizes_are_numbers() -> None:
    with pytest.raises(TypeError, match="expected num_layers to be an int, got True"):
        rc.Recurrent("gru", IN, H, True)


@pytest.mark.parametrize("dropout", [-0.1, 1.5, float("nan")])
def test_dropout_is_a_probability(dropout: float) -> None:
    with pytest.raises(ValueError, match=rf"expected dropout in 0..1, got {dropout}"):
        rc.Recurrent("gru", IN, H, 2, dropout=dropout)


def test_dtype_is_floating_point() -> None:
    with pytest.raises(TypeError, match=r"expected a floating-point dtype, got torch.int32"):
        rc.Recurrent("gru", IN, H, dtype=torch.int32)


def test_unknown_cell_names_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"got 'lsmt'.*lstm"):
        rc.Recurrent("lsmt", IN, H)


def test_a_plain_function_is_not_a_cell() -> None:
    with pytest.raises(TypeError, match=r"got function. Decorate the equations with @recurra.cell"):
        resolved("Recurrent", lambda x, h: h)


def test_unknown_backend() -> None:
    with pytest.raises(ValueError, match="'refrence'"):
        rc.Recurrent("gru", IN, H, backend="refrence")


@rc.cell(state="h", sizes={"b": "R", "p": "P"})
def low_rank(x, h, W, U, V, Q, b, p):
    return tanh(W @ x + U @ (V @ h + b) + Q @ p)


def test_size_names_of_the_cell() -> None:
    with pytest.raises(ValueError, match=r"for P, R besides I and H, got 'Q'.*'R': 4\}"):
        rc.Recurrent(low_rank, IN, H, sizes={"R": 4, "Q": 3})
    with pytest.raises(ValueError, match=r"for P, R besides I and H, got none.*'R': ...\}"):
        rc.Recurrent(low_rank, IN, H)
    with pytest.raises(ValueError, match=r"expected sizes for nothing .*got 'P'. Leave"):
        rc.Recurrent("lstm", IN, H, sizes={"P": 2})
    with pytest.raises(ValueError, match="expected P >= 1, got 0"):
        rc.Recurrent("torch_lstm_projected", IN, H, sizes={"P": 0})


def test_sizes_in_those_that_the_layer_has() -> None:
    layer = rc.Recurrent(low_rank, IN, H, sizes={"R": "H/2", "P": "I + 1"})
    assert layer.sizes == {"R": H // 2, "P": IN + 1}
    with pytest.raises(ValueError, match=r"'R' got 'H/4': expected H/4 to be a whole number"):
        rc.Recurrent(low_rank, IN, H, sizes={"R": "H/4", "P": 2})
    with pytest.raises(ValueError, match=r"'R' got 'P': expected a size in I and H, got P"):
        rc.Recurrent(low_rank, IN, H, sizes={"R": "P", "P": 2})


def test_size_with_a_default_is_not_asked_for() -> None:
    with pytest.raises(ValueError, match=r"sizes for K besides .* Pass sizes=\{'K': ...\}"):
        rc.Recurrent(rc.compose.attend("gru"), IN, H)


def test_hidden_size_that_the_cell_fixes() -> None:
    @rc.cell(sizes={"h": 5})
    def fixed(x, h, W, U):
        return tanh(W @ x + U @ h)

    rc.Recurrent(fixed, IN, 5)
    with pytest.raises(
        ValueError, match=r"expected hidden_size=5, .* its state h the size 5 .*got 6. Pass"
    ):
        rc.Recurrent(fixed, IN, H)

    @rc.cell(sizes={"h": "P"}, default_sizes={"P": 5})
    def named(x, h, W, U):
        return tanh(W @ x + U @ h)

    rc.Recurrent(named, IN, 5)
    rc.Recurrent(named, IN, 7, sizes={"P": 7})
    with pytest.raises(ValueError, match=r"expected hidden_size=5, .* size P = 5 .*got 6\. .*'P'"):
        rc.Recurrent(named, IN, H)
    with pytest.raises(ValueError, match=r"expected hidden_size=7, .* size P = 7 .*got 6\. "):
        rc.Recurrent(named, IN, H, sizes={"P": 7})


def test_constants_that_the_dtype_cannot_hold() -> None:
    @rc.cell
    def large(x, h, W):
        return tanh(W @ x + 1e39 * h)

    A = np.array([1.0, -1e39])

    @rc.cell
    def from_array(x, h, W):
        return tanh(W @ x + h) * sum(A)

    with pytest.raises(ValueError, match=r"within float32, got the constant 1e\+39, which would"):
        rc.Recurrent(large, IN, H)
    with pytest.raises(ValueError, match=r"within float32, got in A 1e\+39, which would"):
        rc.Recurrent(from_array, IN, H)
    wide = rc.Recurrent(large, IN, H, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"within float32, got the constant 1e\+39, which would"):
        torch.nn.Sequential(wide).float()


def test_memory_and_context_are_tensors() -> None:
    home, wrong = rc.Recurrent("rnn", IN, H).home, np.zeros((5, B, 2))
    for what in ("memory", "context", "state"):  # without the tests' own hook
        with pytest.raises(TypeError, match=rf"expected {what} to be a tensor, .*got ndarray. Ma"):
            inspect.unwrap(checks._tensors)(home, what, wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"'normal' or 'low', got ndarray\. .*layer\(x, memory="):
        inspect.unwrap(load)(rc.cells.gru, memory=wrong)  # type: ignore[arg-type]


def test_sizes_that_make_a_vector_right_are_named() -> None:
    layer = rc.Recurrent(contextual, IN, H, sizes={"C": 2})
    x = torch.zeros(T, B, IN)
    with pytest.raises(
        ValueError, match=r"got \(3, 9\)\. .* For vectors of 9: sizes=\{'C': 9\} of "
    ):
        layer(x, context=torch.zeros(B, 9))
    with pytest.raises(ValueError, match=r"got \(9, 2\)\. .*for a single sequence\.$"):
        layer(x, context=torch.zeros(9, 2))

    @rc.cell(inputs=("x", "m"))
    def more(x, h, m, W, U):
        return tanh(W @ x + h + U @ m)

    with pytest.raises(ValueError, match=r"For vectors of 9: sizes=\{'I_m': 9\} of the layer"):
        rc.Recurrent(more, IN, H, sizes={"I_m": 2})(x, m=torch.zeros(T, B, 9))


@pytest.mark.parametrize("cell", ["additive_attention_gru", "gru_d"])
def test_models_refuse_a_cell_before_they_ask_for_its_sizes(cell: str) -> None:
    for model in (
        lambda: rc.Classifier(2, input_size=IN, cell=cell),
        lambda: rc.LanguageModel(9, cell=cell),
    ):
        with pytest.raises(ValueError, match="expected a cell that reads x alone at each step"):
            model()


def test_cell_without_input_stands_alone() -> None:
    with pytest.raises(ValueError, match=r"expected input_size=0 and num_layers=1.*input_size=4"):
        rc.Recurrent("dynamical_system", IN, H)
    with pytest.raises(ValueError, match="num_layers=2"):
        rc.Recurrent("dynamical_system", 0, H, 2)
    with pytest.raises(TypeError, match="reads no input, got token ids"):
        rc.Recurrent("dynamical_system", 0, H)(torch.zeros(T, B, dtype=torch.int64))


# --- x


def test_x_rank(layer: rc.Recurrent) -> None:
    with pytest.raises(ValueError, match=r"x of 2 or 3 dimensions, got 4 \(shape \(1, 5, 3, 4\)\)"):
        layer(torch.randn(1, T, B, IN))
    with pytest.raises(ValueError, match="x of 1 or 2 dimensions, got 3"):
        layer(torch.zeros(T, B, IN, dtype=torch.int64))


def test_x_features(layer: rc.Recurrent) -> None:
    with pytest.raises(ValueError, match=r"expected x of 4 features, got 3 \(shape \(5, 3, 3\)\)"):
        layer(torch.randn(T, B, 3))
    packed = pack_padded_sequence(torch.randn(T, B, 3), torch.full((B,), T))
    with pytest.raises(ValueError, match="expected x of 4 features, got 3"):
        layer(packed)


@pytest.mark.parametrize("dtype", [torch.float64, torch.int32, torch.bool])
def test_x_dtype(layer: rc.Recurrent, dtype: torch.dtype) -> None:
    with pytest.raises(TypeError, match=rf"x of torch.float32 features or .* ids, got {dtype}"):
        layer(torch.ones(T, B, IN, dtype=dtype))


@pytest.mark.parametrize("wrong", [None, [[1.0, 2.0]], 3])
def test_x_is_a_tensor(layer: rc.Recurrent, wrong: Any) -> None:
    with pytest.raises(TypeError, match="expected x to be a tensor or a PackedSequence, got"):
        inspect.unwrap(checks.check_input)(layer.home, wrong, IN)  # without the tests' own hook


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
def test_x_is_dense(layer: rc.Recurrent, x: torch.Tensor) -> None:
    with pytest.raises(TypeError, match=r"dense tensor, got one of layout torch\.sparse_coo"):
        layer(x.to_sparse())
    nested = torch.nested.as_nested_tensor([x[0], x[1, :1]])
    with pytest.raises(TypeError, match="dense tensor, got a nested one"):
        layer(nested)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
@pytest.mark.parametrize("bidirectional", [False, True])
def test_all_that_goes_in_is_dense(x: torch.Tensor, bidirectional: bool) -> None:
    layer = rc.GRU(IN, H, bidirectional=bidirectional)
    state, lengths = torch.zeros(layer.state_shapes(B)[0]), torch.full((B,), T)
    for _ in range(4):  # a call that is known, too
        for wrong in (state.to_sparse(), state.to_mkldnn(), torch.nested.nested_tensor([state])):
            with pytest.raises(TypeError, match="state to be a dense tensor, got"):
                layer(x, wrong)
        for wrong in (lengths.to_sparse(), torch.nested.nested_tensor([lengths])):
            with pytest.raises(TypeError, match="lengths to be a dense tensor, got"):
                layer(x, lengths=wrong)
        layer(x, state)
    with pytest.raises(TypeError, match="embedding to be a dense tensor, got"):
        layer(torch.zeros(T, B, dtype=torch.int64), embedding=torch.eye(IN).to_sparse())
    timed, looking = rc.Recurrent("time_aware_lstm", IN, H), rc.Recurrent("conditional_gru", IN, H)
    (name,) = timed.further_sizes
    with pytest.raises(TypeError, match=f"input {name} to be a dense tensor, got"):
        timed(x, **{name: torch.zeros(T, B).to_sparse()})
    with pytest.raises(TypeError, match="memory to be a dense tensor, got"):
        looking(x, memory=torch.zeros(T, B, H).to_sparse())


def test_whole_numbers_as_features(layer: rc.Recurrent) -> None:
    with pytest.raises(ValueError, match="if these are features, make them floating-point"):
        layer(torch.ones(T, B, IN, dtype=torch.int64))


def test_x_device(layer: rc.Recurrent) -> None:
    with pytest.raises(ValueError, match=r"expected x on cpu, got meta"):
        layer(torch.empty(T, B, IN, device="meta"))


@pytest.mark.parametrize(("wrong", "embedded"), [(4, False), (-1, False), (7, True), (-2, True)])
def test_ids_outside_the_vocabulary(layer: rc.Recurrent, wrong: int, embedded: bool) -> None:
    ids = torch.zeros(T, B, dtype=torch.int64)
    ids[2, 1] = wrong
    embedding = torch.randn(7, IN) if embedded else None
    highest, source = (6, "rows of the embedding") if embedded else (3, "input_size")
    with pytest.raises(ValueError, match=rf"token ids in 0..{highest} \({source}.*got {wrong}"):
        layer(ids, embedding=embedding)


def test_embedding(layer: rc.Recurrent, x: torch.Tensor) -> None:
    ids = torch.zeros(T, B, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"embedding of shape \(vocabulary, 4\), got \(7, 5\)"):
        layer(ids, embedding=torch.randn(7, 5))
    with pytest.raises(TypeError, match=r"expected embedding of torch.float32, got torch.float64"):
        layer(ids, embedding=torch.randn(7, IN, dtype=torch.float64))
    with pytest.raises(TypeError, match=r"token ids with an embedding, got torch.float32"):
        layer(x, embedding=torch.randn(7, IN))


# --- lengths


@pytest.mark.parametrize(
    ("lengths", "error", "message"),
    [
        ([1, 2], ValueError, r"expected lengths of shape \(3,\).*got \(2,\)"),
        (torch.ones(3, 1, dtype=torch.int64), ValueError, r"of shape \(3,\).*got \(3, 1\)"),
        ([], ValueError, r"of shape \(3,\).*got \(0,\)"),
        ([1, 6, 2], ValueError, r"expected lengths in 0..5, got 6"),
        ([1, -2, 2], ValueError, r"expected lengths in 0..5, got -2"),
        (torch.tensor([1.0, 2.0, 3.0]), TypeError, "lengths of integers, got torch.float32"),
        (torch.tensor([True, True, True]), TypeError, "lengths of integers, got torch.bool"),
        ([True, 2, 3], TypeError, r"lengths of integers, got \[True, 2, 3\]"),
        ([2**80, 1, 1], TypeError, "lengths of integers, got"),
    ],
)
def test_lengths(
    layer: rc.Recurrent, x: torch.Tensor, lengths: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        layer(x, lengths=lengths)


def test_lengths_where_there_is_no_place_for_them(layer: rc.Recurrent, x: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"no lengths with a PackedSequence"):
        layer(pack_padded_sequence(x, torch.full((B,), T)), lengths=[T] * B)
    with pytest.raises(ValueError, match=r"no lengths for a sequence without a batch.*x\[:length"):
        layer(x[:, 0], lengths=[T])


# --- state


def test_state_number(layer: rc.Recurrent, x: torch.Tensor) -> None:
    h = torch.zeros(2, B, H)
    with pytest.raises(ValueError, match=r"a tuple of 2 tensors \(h, c\), got one tensor"):
        layer(x, h)
    with pytest.raises(ValueError, match=r"a tuple of 2 tensors \(h, c\), got a tuple of 3"):
        layer(x, (h, h, h))
    with pytest.raises(ValueError, match=r"to be one tensor \(h\), got a tuple of 1"):
        rc.Recurrent("gru", IN, H, 2)(x, (h,))


@pytest.mark.parametrize("shape", [(1, B, H), (2, 1, H), (2, B, IN), (B, H)])
def test_state_shape(layer: rc.Recurrent, x: torch.Tensor, shape: tuple[int, ...]) -> None:
    good = torch.zeros(2, B, H)
    with pytest.raises(ValueError) as caught:
        layer(x, (good, torch.zeros(shape)))
    assert f"expected state c of shape (2, 3, 6), got {shape}" in str(caught.value)


def test_state_shape_without_a_batch(layer: rc.Recurrent, x: torch.Tensor) -> None:
    good = torch.zeros(2, H)
    with pytest.raises(ValueError, match=r"state c of shape \(2, 6\), got \(2, 1, 6\)"):
        layer(x[:, 0], (good, torch.zeros(2, 1, H)))


def test_state_dtype_and_device(layer: rc.Recurrent, x: torch.Tensor) -> None:
    good = torch.zeros(2, B, H)
    with pytest.raises(TypeError, match=r"expected state h of torch.float32, got torch.float64"):
        layer(x, (good.double(), good))
    with pytest.raises(ValueError, match=r"expected state c on cpu, got meta"):
        layer(x, (good, good.to("meta")))


def test_state_that_is_a_list_is_a_tuple() -> None:
    home = Home(where="layer", dtype=torch.float32, device=torch.device("cpu"))
    states = checked_states(home, [torch.zeros(1), torch.ones(1)], ("h", "c"), ((1,), (1,)))
    assert isinstance(states, tuple)


# --- context


def test_context_missing_unexpected_or_of_wrong_shape(layer: rc.Recurrent, x: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"expected no context, got 1. Leave it out"):
        layer(x, context=torch.zeros(B, 2))
    contextual_layer = rc.Recurrent(contextual, IN, H, sizes={"C": 2})
    with pytest.raises(ValueError, match=r"expected 1 context tensors \(v\), got none"):
        contextual_layer(x)
    with pytest.raises(ValueError, match=r"context v of shape \(3, 2\), got \(3, 3\)"):
        contextual_layer(x, context=torch.zeros(B, 3))
    with pytest.raises(TypeError, match=r"context v of torch.float32, got torch.float64"):
        contextual_layer(x, context=torch.zeros(B, 2, dtype=torch.float64))
