"""Mistakes in equations: found when the cell is defined, at the user's own line."""

import inspect
import math
import random
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from recurra import cells, lang
from recurra.errors import CellError, CellWarning, RecurraError
from recurra.lang import (
    cell,
    clamp,
    concat,
    exp,
    layer_norm,
    leaky_relu,
    outer,
    relu,
    sigmoid,
    softmax,
    split,
    sum,
    tanh,
)


def error_of(function: Callable[..., Any], **options: Any) -> str:
    """The message of the CellError that defining `function` as a cell raises.

    It must begin with this file and the line of `function` that is marked with an arrow, or the
    line of its def where none is.
    """
    lines, first = inspect.getsourcelines(function)
    marked = [first + i for i, line in enumerate(lines) if line.rstrip().endswith("# <-")]
    with pytest.raises(CellError) as caught:
        cell(**options)(function)
    message = str(caught.value)
    line = marked[0] if marked else first
    assert message.startswith(f'File "{__file__}", line {line}, in {function.__name__}: '), message
    return message


def assert_says(message: str, *parts: str) -> None:
    for part in parts:
        assert part in message, message


# ---- names ---------------------------------------------------------------------------------------


def test_unknown_function_gets_the_nearest_name() -> None:
    def f(x, h, W):
        return sigmod(W @ x + h)  # <-

    assert_says(error_of(f), "'sigmod'", "Did you mean sigmoid?")


def test_unknown_function_like_none_of_the_language() -> None:
    def f(x, h, W):
        return qqq(W @ x + h)  # <-

    assert_says(error_of(f), "'qqq'", "Import it from recurra.lang.")


def test_variable_read_before_it_is_set() -> None:
    def f(x, h, W):
        g = g + W @ x  # <-
        return g + h

    assert_says(error_of(f), "expected a name that is defined", "'g'")


def test_unknown_function_in_a_helper_is_placed_in_the_cell() -> None:
    def helper(v):
        return tanhh(v)

    def f(x, h, W):
        return helper(W @ x + h)  # <-

    assert_says(error_of(f), "'tanhh'", "Did you mean tanh?")


# ---- what is returned ----------------------------------------------------------------------------


def test_state_that_is_not_returned() -> None:
    def f(x, h, c, W):
        return tanh(W @ x + h + c)

    message = error_of(f, state=("h", "c"))
    assert_says(message, "expected 2 returned values (h, c), got 1", "state=('h', 'c')")


def test_nothing_returned() -> None:
    def f(x, h, W):
        tanh(W @ x + h)

    assert_says(error_of(f), "expected 1 returned values (h), got nothing")


def test_output_that_is_not_returned() -> None:
    def f(x, h, W):
        return tanh(W @ x + h)

    message = error_of(f, output=True)
    assert_says(message, "expected 2 returned values (output, h), got 1", "after the output")


def test_new_state_of_another_size() -> None:
    def f(x, h, W):
        return tanh(W @ concat(x, h)) + concat(x, h)

    assert_says(error_of(f), "the new state h of shape [H]", "got [H + I]", "sizes={'h': ...}")


def test_scalar_as_new_state() -> None:
    def f(x, h, W):
        return sum(W @ x + h)

    assert_says(error_of(f), "the new state h of shape [H], got a scalar")


def test_parameter_as_new_state() -> None:
    def f(x, h, b):
        return b

    assert_says(error_of(f), "the new state h of shape [H], got a parameter")


@pytest.mark.parametrize("returned", ["h", {"h": 1}, object()])
def test_returned_value_that_is_no_symbol(returned: object) -> None:
    with pytest.raises(CellError, match="expected a symbol, a number or an array, got") as caught:

        @cell
        def f(x, h):
            return returned

    assert type(returned).__name__ in str(caught.value)
    assert str(caught.value).startswith(f'File "{__file__}"')


def test_matrix_as_output() -> None:
    def f(x, h, W):
        return W, tanh(W @ x + h)

    assert_says(error_of(f, output=True), "expected a vector as output, got W")


# ---- sizes ---------------------------------------------------------------------------------------


def test_open_size_is_named() -> None:
    def f(x, h, W, V):
        return tanh(h + sum(W @ x) * sum(V @ h))  # <-

    assert_says(error_of(f), "the rows of W open", "sizes={'W': ('R', 'I')}")


def test_open_size_of_a_vector_is_named() -> None:
    def f(x, h, b):
        return tanh(h + sum(b * b))  # <-

    assert_says(error_of(f), "the size of b open", "sizes={'b': 'R'}")


def test_clashing_sizes_are_both_named() -> None:
    def f(x, h, W):
        u = W @ x + h
        return tanh(u + x)  # <-

    assert_says(error_of(f), "+: expected equal sizes", "[H] (u)", "[I] (x)")


def test_two_uses_of_one_matrix_clash() -> None:
    def f(x, h, W):
        u = W @ x
        return tanh(u + W @ h)  # <-

    message = error_of(f)
    assert_says(message, "expected W with H columns, to multiply h, got I columns")


def test_fixed_sizes_clash() -> None:
    def f(x, h, a, b):
        return h * sum(a * b)  # <-

    assert_says(error_of(f, sizes={"a": "3", "b": "4"}), "[3] (a)", "[4] (b)")


def test_split_into_parts_that_do_not_divide() -> None:
    def f(x, h, a):
        u, v, w = split(a, 3)
        return h * sum(u * concat(v, w, 2.0 * x))  # <-

    assert_says(error_of(f, sizes={"a": "9", "x": "1"}), "[3] (u)", "[7] (concat(")


def test_parts_of_two_splits_clash() -> None:
    def f(x, h):
        a, b = split(h, 2)
        c, d, e = split(h, 3)
        return concat(a + c, b, d + e)  # <-

    assert_says(error_of(f), "[H/2]", "[H/3]")


def test_layer_norm_gain_of_another_size() -> None:
    def f(x, h, W):
        return layer_norm(W @ x + h, gain=x)  # <-

    assert_says(error_of(f), "layer_norm: expected x of size H, got I")


# ---- matrices and vectors ------------------------------------------------------------------------


def test_vector_left_of_the_product() -> None:
    def f(x, h, W):
        return tanh(W @ x + h @ h)  # <-

    assert_says(error_of(f), "expected a matrix, got h of shape [H]", "write sum(a * b)")


def test_parameter_used_as_vector_then_as_matrix() -> None:
    def f(x, h, p):
        u = p * h
        return tanh(p @ u)  # <-

    message = error_of(f)
    assert_says(message, "expected a matrix, got p of shape [H]", "p was used as a vector at")
    assert f"test_errors.py:{inspect.getsourcelines(f)[1] + 1}" in message


def test_matrix_used_as_a_vector() -> None:
    def f(x, h, W):
        u = W @ x
        return tanh(W + u + h)  # <-

    message = error_of(f)
    assert_says(message, "+: expected equal sizes", "(W) and", "(u)", "u * (W @ v)")


@pytest.mark.parametrize("function", [sum, split])
def test_matrix_given_to_a_function_of_vectors(function: Callable[..., Any]) -> None:
    parts = (2,) if function is split else ()

    def f(x, h, W):
        u = W @ x + h
        return u * function(W, *parts)  # <-

    kinds = {
        "sum": "expected a vector, got the matrix W of shape [H, I]",
        "split": "expected dim=0 (the rows",
    }
    assert_says(error_of(f), kinds[function.__name__], "Multiply a matrix")


def test_product_with_a_scalar() -> None:
    def f(x, h, W):
        return tanh(W @ sum(x) + h)  # <-

    assert_says(error_of(f), "got the scalar sum(x). Use *.")


def test_matrix_that_changes_from_step_to_step() -> None:
    def f(x, h, W, U):
        return tanh((U.T * sum(h)) @ h + W @ x)  # <-

    assert_says(error_of(f), "expected matrices made of parameters alone", "s * (W @ v)")


# ---- operations outside the language -------------------------------------------------------------


def test_torch_function_outside_gets_the_nearest_inside() -> None:
    def f(x, h, W):
        return F.hardtanh(W @ x + h)  # <-

    assert_says(error_of(f), "got torch's hardtanh", "Write clamp(v, -1, 1).")


@pytest.mark.parametrize("name", ["max", "var"])
def test_torch_function_of_a_name_with_another_meaning_inside(name: str) -> None:
    def f(x, h, W):
        return getattr(torch, name)(W @ x + h)  # <-

    assert_says(error_of(f), f"got torch's {name}", f"Use recurra.lang.{name}")


def test_torch_function_like_none_inside() -> None:
    def f(x, h, W):
        return torch.erfinv(W @ x + h)  # <-

    assert_says(error_of(f), "got torch's erfinv", "recurra.lang exports")


@pytest.mark.parametrize(
    ("called", "named"),
    [
        (lambda v: F.gelu(v, approximate="tanh"), "approximate"),
        (lambda v: F.softplus(v, beta=2), "beta"),
        (lambda v: F.relu(v, inplace=True), "inplace"),
        (lambda v: torch.add(v, v, alpha=2), "alpha"),
        (lambda v: torch.div(v, v, rounding_mode="floor"), "rounding_mode"),
        (lambda v: torch.mean(v, dim=-1, keepdim=True), "keepdim"),
    ],
)
def test_torch_argument_outside_the_language(called: Callable[..., Any], named: str) -> None:
    def f(x, h, W):
        return h * called(W @ x + h)

    with pytest.raises(CellError, match="arguments that the language's") as caught:
        cell(f)
    assert named in str(caught.value)
    assert str(caught.value).startswith(f'File "{__file__}"')


def test_another_dim_than_the_features() -> None:
    def f(x, h, W):
        return h * torch.sum(W @ x + h, dim=0)  # <-

    assert_says(error_of(f), "sum: expected dim=-1 (the features), got 0")


def test_method_gets_the_nearest_function() -> None:
    def f(x, h, W):
        return (W @ x + h).tanh_()  # <-

    assert_says(error_of(f), "got .tanh_ on W @ x + h", "Did you mean tanh(W @ x + h)?")


def test_method_like_none_inside() -> None:
    def f(x, h, W):
        return (W @ x + h).requires_grad_()  # <-

    assert_says(error_of(f), "got .requires_grad_", "recurra.lang exports")


@pytest.mark.parametrize(
    "operation",
    [
        lambda h: h & h,
        lambda h: h | True,
        lambda h: ~h,
        lambda h: round(h),
    ],
)
def test_operator_outside_the_language(operation: Callable[..., Any]) -> None:
    with pytest.raises(CellError, match="expected an operation of the language") as caught:
        cell(lambda x, h: operation(h))
    assert str(caught.value).startswith(f'File "{__file__}"')


def test_function_of_math() -> None:
    def f(x, h, W):
        return math.tanh(W @ x + h)  # <-

    assert_says(error_of(f), "expected a Python number", "functions of recurra.lang instead")


@pytest.mark.parametrize(
    ("called", "says"),
    [
        (lambda h: np.linalg.norm(h), ("numpy's norm", "Write sqrt(sum(v * v)).")),
        (lambda h: np.einsum("i,i->i", h, h), ("numpy's einsum", "@, * and sum")),
        (lambda h: torch.einsum("i,i->i", h, h), ("torch's einsum", "@, * and sum")),
        (lambda h: np.stack([h, h]), ("numpy's stack", "concat(a, b)")),
        (lambda h: np.ceil(h), ("numpy's ceil", "-floor(-v)")),
        (lambda h: np.logical_and(h, h), ("numpy's logical_and", "a * b")),
        (lambda h: np.add.reduce(h), ("numpy's add.reduce",)),
        (lambda h: np.sum(h, keepdims=True), ("numpy's sum with others", "keepdims")),
        (lambda h: np.sin(h, where=h > 0), ("numpy's sin with others", "where")),
        (lambda h: torch.log_softmax(h, -1), ("torch's log_softmax", "log(softmax(v))")),
        (lambda h: h.std(), (".std on h", "sqrt(var(v))")),
    ],
)
def test_functions_of_libraries_that_mean_nothing_here(
    called: Callable[..., Any], says: tuple[str, ...]
) -> None:
    def f(x, h, W):
        return W @ x + h * called(h)

    with pytest.raises(CellError) as caught:
        cell(f)
    assert_says(str(caught.value), f'File "{__file__}"', *says)


def test_dot_that_may_be_either() -> None:
    def f(x, h, W, p):
        return W @ x + h * np.dot(h, p)  # <-

    assert_says(error_of(f), "sum(h * p)", "p.T @ h")


def test_too_many_arguments() -> None:
    def f(x, h, W):
        return sigmoid(W @ x, h)  # <-

    assert_says(error_of(f), "expected operations of the language", "positional argument")


@pytest.mark.parametrize("value", ["one", [1.0], object()])
def test_value_that_is_no_symbol(value: object) -> None:
    def f(x, h, W):
        return W @ x + h * value  # <-

    message = error_of(f)
    assert_says(message, "expected a symbol, a number or an array", type(value).__name__)


@pytest.mark.parametrize("ones", [torch.ones(3), np.ones(3)])
def test_array_of_another_size(ones: object) -> None:
    def f(x, h, W):
        return W @ x + ones * h  # <-

    assert_says(error_of(f), "*: expected equal sizes, got [3] (ones) and [H] (h)", "sizes={...}")


def test_not_a_number() -> None:
    def f(x, h, W):
        return W @ x + h * math.nan  # <-

    assert_says(error_of(f), "got nan")


# ---- symbols are no Python values ----------------------------------------------------------------


def test_truth_value() -> None:
    def f(x, h, W):
        if h > 0:  # <-
            return h
        return W @ x

    assert_says(error_of(f), "got h > 0", "Use where(condition, a, b) for if")


@pytest.mark.parametrize(
    ("use", "says"),
    [
        (lambda h: h and h, "where(condition, a, b)"),
        (lambda h: not h, "where(condition, a, b)"),
        (lambda h: h in (1.0, 2.0), "where(condition, a, b)"),
        (lambda h: list(h), "split(v, n)"),
        (lambda h: [1, 2][h], "functions of recurra.lang"),
        (lambda h: len(h), "Sizes are symbolic"),
        (lambda h: float(h), "functions of recurra.lang"),
        (lambda h: range(h), "functions of recurra.lang"),
    ],
)
def test_use_as_a_python_value(use: Callable[..., Any], says: str) -> None:
    def f(x, h):
        return h * use(h)

    with pytest.raises(CellError) as caught:
        cell(f)
    assert_says(str(caught.value), says, f'File "{__file__}"')


def test_split_by_a_symbol_or_nothing() -> None:
    def f(x, h):
        (a,) = split(h, 0)  # <-
        return a

    assert_says(error_of(f), "split: expected a number of parts >= 1, or a list", "got 0")


# ---- the signature and the options ---------------------------------------------------------------


def test_unused_parameter() -> None:
    def f(x, h, W, b):
        return tanh(W @ x + h)

    assert_says(error_of(f), "got 'b' unused", "default value")


def test_state_that_is_no_argument() -> None:
    def f(x, hidden, W):
        return tanh(W @ x + hidden)

    message = error_of(f, state="hiden")
    assert_says(message, "for the state 'hiden'", "Did you mean 'hidden'?")


def test_state_with_a_default() -> None:
    def f(x, h=0.0):
        return tanh(x)

    assert_says(error_of(f), "for the state 'h'", "Add it, with no default.")


def test_context_that_is_no_argument() -> None:
    def f(x, h, image, W):
        return tanh(W @ x + h * image)

    message = error_of(f, context="imag")
    assert_says(message, "for the context 'imag'", "Did you mean 'image'?")


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"state": ("h", "h")}, "'h'"),
        ({"state": ("h", "v"), "context": "v"}, "'v'"),
        ({"state": ("h", "output")}, "'output'"),
    ],
)
def test_name_with_two_roles(options: dict[str, Any], name: str) -> None:
    def f(x, h, v, output, W):
        return tanh(W @ x + h), v

    assert_says(error_of(f, **options), "a name of its own", name)


@pytest.mark.parametrize("options", [{"sizes": {"V": "P"}}, {"init": {"V": 1.0}}])
def test_option_for_a_name_that_is_no_argument(options: dict[str, Any]) -> None:
    def f(x, h, W):
        return tanh(W @ x + h)

    assert_says(error_of(f, **options), f"{next(iter(options))}: expected one of", "W", "got 'V'")


def test_init_of_a_state() -> None:
    def f(x, h, W):
        return tanh(W @ x + h)

    assert_says(error_of(f, init={"h": 1.0}), "init: expected one of W, got 'h'")


@pytest.mark.parametrize(
    "size", ["", "2.5", "H H", "H / 0", "?0", "-1", "I * H", ("H", "2 I I"), "[H]"]
)
def test_size_that_is_no_size(size: Any) -> None:
    def f(x, h, W):
        return tanh(W @ x + h)

    assert_says(
        error_of(f, sizes={"W": size}), f"sizes: 'W' got {size!r}: expected ", "Write sizes as"
    )


def test_matrix_size_for_a_state() -> None:
    """Of two sizes a state is a matrix, which is no output."""

    def f(x, h, W):
        return tanh(W @ x + h)

    assert_says(error_of(f, sizes={"h": ("H", "H")}), "expected a vector as output")


def test_no_state() -> None:
    def f(x, W):
        return tanh(W @ x)

    assert_says(error_of(f, state=()), "expected at least one state")


@pytest.mark.parametrize("kind", ["args", "kwargs", "positional"])
def test_arguments_without_names(kind: str) -> None:
    def args(x, h, *W):
        return h

    def kwargs(x, h, **W):
        return h

    def positional(x, h, /):
        return h

    function = {"args": args, "kwargs": kwargs, "positional": positional}[kind]
    assert_says(error_of(function), "expected named arguments")


# ---- where a symbol may go -----------------------------------------------------------------------


def test_symbol_of_another_cell() -> None:
    leaked: list[Any] = []

    @cell
    def first(x, h):
        leaked.append(h)
        return relu(h)

    def f(x, h, W):
        return tanh(W @ x + leaked[0])  # <-

    assert_says(error_of(f), "expected a value of this cell, got h of the cell 'first'")


@pytest.mark.parametrize("value", [np.ones(3), "h"])
def test_function_outside_a_cell(value: object) -> None:
    with pytest.raises(TypeError, match="works inside a @cell, and on tensors and numbers"):
        tanh(value)


# ---- how it is raised ----------------------------------------------------------------------------


def test_error_shows_the_line_and_hides_our_frames() -> None:
    def f(x, h, W):
        return F.hardtanh(W @ x + h)

    with pytest.raises(RecurraError) as caught:
        cell(f)
    assert str(caught.value).splitlines()[1] == "    return F.hardtanh(W @ x + h)"
    files = {str(entry.path) for entry in caught.traceback}
    assert not any(file.endswith(("symbols.py", "trace.py", "overrides.py")) for file in files)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_profiler_is_put_back_after_an_error() -> None:
    before = sys.getprofile()
    with pytest.raises(CellError):
        cell(lambda x, h: h[0])
    assert sys.getprofile() is before


def test_errors_of_the_users_own_code_pass_through() -> None:
    with pytest.raises(ZeroDivisionError):
        cell(lambda x, h: h * (1 / 0))


# ---- what looks right and is not, or is meant otherwise ------------------------------------------


def test_product_that_python_brackets_otherwise() -> None:
    def f(x, h, W):
        return sigmoid(h) * W @ x  # <-

    message = error_of(f)
    assert_says(message, "as (sigmoid(h) * W) @ x", "write sigmoid(h) * (W @ x) if W is a matrix.")


@pytest.mark.parametrize("known", [False, True])
def test_vectors_are_columns(known: bool) -> None:
    def f(x, h, W):
        u = W @ h if known else h
        return tanh(x @ W + u)  # <-

    assert_says(error_of(f), "expected a matrix, got x of shape [I]", "write W @ x.")


def test_dim_of_a_concatenation() -> None:
    def f(x, h, W):
        return tanh(W @ torch.cat((x, h), 1) + h)  # <-

    assert_says(error_of(f), "concat: expected dim=-1 (the features), got 1. Leave dim out.")


def test_expression_stands_as_it_was_written() -> None:
    def f(x, h, W, U, b):
        z = sigmoid(W @ x + U @ h + b)
        return z * h + (1 - z) * x  # <-

    assert_says(error_of(f), "*: expected equal sizes, got [H] (1 - z) and [I] (x)")


def test_long_expressions_are_cut() -> None:
    def f(x, h, W, U, b):
        u = W @ x + h
        long = [tanh(exp(W @ x) + exp(U @ h) * sigmoid(U @ exp(b)) - relu(u * u))]
        return u * concat(long[0], h)  # <-

    message = error_of(f)
    assert_says(message, "[H] (u) and [2H] (concat(tanh(exp(...)", "* ... - relu(u * u)), h))")


@pytest.mark.parametrize(
    "use",
    [
        lambda b: split(b, 2)[0] + b,
        lambda b: concat(b, b) * b,
        lambda b: relu(concat(b, b) - b),
        lambda b: split(b, 3)[1] * split(b, 2)[0],
    ],
)
def test_sizes_that_only_zero_would_make_equal(use: Callable[..., Any]) -> None:
    def f(x, h, W, b):
        return tanh(W @ x + h * sum(use(b)))

    with pytest.raises(
        CellError, match=r"expected equal sizes, got \[.*\(.*b.*\) and \[.*b"
    ) as caught:
        cell(f)
    assert str(caught.value).startswith(f'File "{__file__}"')


def test_array_is_told_by_its_shape() -> None:
    def f(x, h, W):
        return tanh(W @ x + np.zeros((8, 8, 8)) * h)  # <-

    assert_says(error_of(f), "a vector or a matrix, got ndarray of shape (8, 8, 8)")


@pytest.mark.parametrize(
    "use",
    [
        lambda x, h: leaky_relu(h, math.nan),
        lambda x, h: clamp(h, math.nan, 1.0),
        lambda x, h: layer_norm(h, eps=math.nan),
        lambda x, h: h * np.float32("nan"),
        lambda x, h: h * 10**400,
    ],
)
def test_constants_are_numbers(use: Callable[..., Any]) -> None:
    with pytest.raises(CellError, match=r"expected a number( below 1e308)?, got (nan|a larger)"):
        cell(use)


def test_bounds_are_numbers() -> None:
    def f(x, h, W):
        return clamp(W @ x, -h, h)  # <-

    assert_says(error_of(f), "clamp: expected a number beside the value, got -h", "maximum and")


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ("orthogonl", "Did you mean 'orthogonal'?"),
        ("qqq", "got 'qqq'. Use one of them: chrono400."),
        ("chrono2", "chrono: expected a time of at least 3 steps, got 2"),
        (math.inf, "init of W: expected a finite number, got inf"),
    ],
)
def test_rules_are_known_when_the_cell_is_defined(rule: Any, says: str) -> None:
    def f(x, h, W):
        return tanh(W @ x + h)

    assert_says(error_of(f, init={"W": rule}), "init", "W: ", says)


def test_default_of_a_size_that_the_cell_has_not() -> None:
    def f(x, h, W, b):
        return tanh(W @ x + h * sum(b))

    message = error_of(f, sizes={"b": "R"}, default_sizes={"P": "H"})
    assert_says(message, "default_sizes: expected sizes of R, written in I and H, got 'P'")
    message = error_of(f, sizes={"b": "R"}, default_sizes={"R": "P"})
    assert_says(message, "got P for R")


# ---- what is allowed and hardly ever meant -------------------------------------------------------


DRAWN = "random numbers are drawn once, when the cell is defined"


@pytest.mark.filterwarnings("always")
@pytest.mark.parametrize(
    ("function", "options", "says"),
    [
        (lambda x, h, W: tanh(W @ h), {}, "nothing reads the input x"),
        (lambda x, h, W: tanh(W @ x), {}, "nothing reads the state h"),
        (lambda x, h, t, W: tanh(W @ x + h), {}, "nothing reads the step index t"),
        (lambda x, h, v, W: tanh(W @ x + h), {"context": "v"}, "nothing reads the context v"),
        (lambda x, h, dt, W, U: h + dt * tanh(W @ x + U @ h), {}, "dt is a learned vector [H]"),
        (lambda x, h, W, x2: tanh(W @ x + h) + x2, {}, "x2 is a learned vector [H]"),
        (lambda x, h, W: tanh(W @ x + h) + 0.1 * torch.randn(1), {}, DRAWN),
        (lambda x, h, W: tanh(W @ x + h) + 0.1 * np.random.randn(1), {}, DRAWN),
        (lambda x, h, W: tanh(W @ x + h) + random.random(), {}, DRAWN),
    ],
)
def test_warnings_at_definition(
    function: Callable[..., Any], options: dict[str, Any], says: str
) -> None:
    with pytest.warns(CellWarning) as caught:
        cell(**options)(function)
    (warning,) = caught
    assert_says(str(warning.message), says)
    assert (warning.filename, warning.lineno) == (__file__, function.__code__.co_firstlineno)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("function", "options"),
    [
        (lambda x, h, dt, W, U: h + dt * tanh(W @ x + U @ h), {"sizes": {"dt": "H"}}),
        (lambda x, h, dt, W, U: h + dt * tanh(W @ x + U @ h), {"init": {"dt": 0.1}}),
        (lambda x, h, a, b: a * h + b * x, {"sizes": {"x": "H"}}),
        (lambda x, h, W, p, b: tanh(W @ x + p * h + b), {}),
        (lambda x, h: x + 0 * h, {"sizes": {"x": "H"}}),
        (lambda x, h: x + np.random.default_rng(0).random(4) * h, {"sizes": {"x": 4, "h": 4}}),
    ],
)
def test_what_is_said_or_usual_warns_of_nothing(
    function: Callable[..., Any], options: dict[str, Any]
) -> None:
    cell(**options)(function)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", cells.names())
def test_no_cell_of_the_registry_surprises(name: str) -> None:
    of = cells.get(name)
    of.with_constants(**of.constants)


# ---- options -------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [np.zeros((3, 4)), torch.zeros(2), 3, None, {"h": 1}, ("h", 3)])
@pytest.mark.parametrize("option", ["state", "context", "memory", "inputs"])
def test_names_of_arguments_are_no_values(option: str, given: object) -> None:
    said = rf"cell: expected {option} to be the name of an argument or a tuple of names, got "
    with pytest.raises(TypeError, match=said):
        inspect.unwrap(cell)(**{option: given})


@pytest.mark.parametrize("given", ["R", 3, ["a"]])
@pytest.mark.parametrize("option", ["sizes", "init", "heads", "default_sizes"])
def test_options_by_name_are_dicts(option: str, given: object) -> None:
    with pytest.raises(TypeError, match=rf"cell: expected {option} to be a dict by the names of"):
        inspect.unwrap(cell)(**{option: given})


# ---- what is no function of equations ------------------------------------------------------------


@pytest.mark.parametrize("wrong", [None, int, max, "gru", 3])
def test_what_is_no_function_of_equations(wrong: Any) -> None:
    with pytest.raises(TypeError, match="cell: expected a function that is written as equations"):
        cell(state="h")(wrong)


def test_a_function_that_is_async_or_yields() -> None:
    async def later(x, h, W, U):
        return tanh(W @ x + U @ h)

    def piece_by_piece(x, h, W, U):
        yield tanh(W @ x + U @ h)

    for function in (later, piece_by_piece):
        assert_says(error_of(function), "expected a function that returns", "Write a plain def")


def test_arguments_without_names_keep_their_stars() -> None:
    def many(x, h, *W):
        return tanh(h)

    def by_name(x, h, **W):
        return tanh(h)

    assert_says(error_of(many), "named arguments, got *W.")
    assert_says(error_of(by_name), "named arguments, got **W.")


# ---- what Python and numpy have, and equations have not ------------------------------------------


def test_a_value_is_not_assigned_to() -> None:
    def f(x, h, W, U):
        new = tanh(W @ x + U @ h)
        new[0] = 1.0  # <-
        return new

    assert_says(error_of(f), "expected values that stay what they are, got new. Join parts")


def test_the_larger_of_two_is_not_max() -> None:
    def f(x, h, W, U):
        return lang.max(tanh(W @ x), U @ h)  # <-

    assert_says(error_of(f), "got U @ h behind it. maximum(tanh(W @ x), U @ h) is the larger")


def test_a_list_is_no_value() -> None:
    def f(x, h, W, U):
        return sum([W @ x, U @ h])  # <-

    assert_says(error_of(f), "got a list. Add up what is in it, a + b, or join it, concat(a, b).")


def test_a_state_that_is_over_positions_or_a_matrix() -> None:
    def f(x, h, m, W, U):  # <-
        return tanh(W @ x + U @ (softmax(m @ h) * m))

    def g(x, h, S, W, V):  # <-
        return tanh(W @ x + h), S + outer(W @ x, V @ x)

    said = "got [S, ?] (tanh(W @ x + U @ (softmax(m @ h) * m))). Over positions weights @ rows"
    assert_says(error_of(f, memory="m"), said)
    assert_says(error_of(g, state=("h", "S")), "or set sizes={'S': ('H', 'H')}.")


def test_numpys_outer_product_is_that_of_the_language() -> None:
    @cell(state=("h", "S"), sizes={"S": ("H", "I")})
    def f(x, h, S, W):
        return tanh(W @ x + S @ x), S + np.outer(h, x)

    assert "S + outer(h, x)" in str(f)
