"""Cells as text, which must be the same cell when read again, and as LaTeX."""

import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import recurra.lang
from recurra import cells, show
from recurra.ir import Graph, apply, leaf
from recurra.ir.dims import Dim
from recurra.lang import (
    Cell,
    abs,
    cell,
    clamp,
    elu,
    exp,
    layer_norm,
    leaky_relu,
    max,
    mean,
    minimum,
    sigmoid,
    softplus,
    split,
    sum,
    tanh,
    where,
    windows,
)
from recurra.lang.symbols import language_names
from recurra.show.names import latex_symbol, plain_symbol


def define(body: list[str], like: Cell) -> Cell:
    """A cell with the arguments and options of `like` and these lines as its equations."""
    step = [like.step] if like.step else []
    given = [*like.inputs, *like.states, *like.context, *like.memory, *step]
    names = [*given, *like.parameters]
    constants = [f"{name}={value!r}" for name, value in like.constants.items()]
    head = f"def again({', '.join([*names, *constants])}):\n"
    source = head + "\n".join(f"    {line}" for line in body)
    scope: dict = {name: getattr(recurra.lang, name) for name in language_names()}
    scope |= like.arrays
    exec(source, scope)
    return Cell(scope["again"], like.options)


def body_of(text: str) -> list[str]:
    """The assignments in the text of a cell."""
    return [line.strip() for line in text.partition("\n\n")[2].splitlines()]


def assert_reads_back(original: Cell) -> None:
    again = define(body_of(str(original)), original)
    assert again.equations.outputs == original.equations.outputs, str(original)


@cell(state=("h", "s"), output=True, context="v", sizes={"alpha": "1"})
def everything(x, h, s, v, t, W_xh, U, alpha, gain, bias_h, W_v, A, k=0.5):
    x = abs(x)
    u = layer_norm(W_xh @ x + U @ (U @ h) + W_v @ v, gain, bias_h)
    decay = exp(-softplus(A))
    h_new = alpha * h + (1 - alpha) * (u - (h - s)) / (1e-7 + sum(u * u)) ** 2
    y = where(t * 0.5 > 0, h_new, clamp(h_new, max=1.0)) + leaky_relu(u, 0.2) - elu(A)
    return y, decay * h_new * k - h_new, h


@cell(state=("h", "c"))
def exchange(x, h, c, W):
    """Both states are read after both have been computed."""
    c, h = tanh(h + W @ x), sigmoid(c)
    return h, c


@cell(state=("h", "c"))
def keeps_the_old(x, h, c, W):
    """A new value takes the name of a state whose old value is read once more."""
    old = c
    c = tanh(W @ x + c)
    h = c * old + h
    return h, c


@cell(state="h")
def unread_part(x, h, W):
    a, _, b = split(W @ x, 3)
    return a * h + b


# ---- text ----------------------------------------------------------------------------------------


def test_text_of_the_lstm() -> None:
    assert str(cells.lstm) == "\n".join(
        [
            "lstm",
            "    input       x [I]",
            "    state       h, c [H]",
            "    learned     W_xi, W_xf, W_xo, W_xg [H, I]",
            "                W_hi, W_hf, W_ho, W_hg [H, H]",
            "                b_i, b_f, b_o, b_g [H]",
            "",
            "    i = sigmoid(W_xi @ x + W_hi @ h + b_i)",
            "    f = sigmoid(W_xf @ x + W_hf @ h + b_f)",
            "    o = sigmoid(W_xo @ x + W_ho @ h + b_o)",
            "    g = tanh(W_xg @ x + W_hg @ h + b_g)",
            "    c = f * c + i * g",
            "    h = o * tanh(c)",
            "    return h, c",
        ]
    )


def test_text_of_an_unnamed_result() -> None:
    assert body_of(str(cells.gru))[-1] == "return z * h + (1 - z) * h_tilde"


def test_text_of_a_split() -> None:
    first = "i, f, o, g = split(W @ concat(x, h) + b, 4)"
    assert body_of(str(cells.lstm_stacked))[0] == first
    assert body_of(str(unread_part)) == ["a, _, b = split(W @ x, 3)", "return a * h + b"]


def test_text_tells_sizes() -> None:
    assert "weight_ih [4H, I]" in str(cells.torch_lstm_projected)
    assert "h [P]" in str(cells.torch_lstm_projected)


def test_a_name_that_is_still_needed_is_not_taken() -> None:
    assert body_of(str(keeps_the_old)) == [
        "c_new = tanh(W @ x + c)",
        "h = c_new * c + h",
        "return h, c_new",
    ]


def test_a_long_value_read_twice_gets_a_name() -> None:
    @cell(state="h")
    def twice(x, h, W):
        values = [tanh(W @ x + h)]
        return values[0] * sigmoid(values[0])

    assert body_of(str(twice)) == ["v1 = tanh(W @ x + h)", "return v1 * sigmoid(v1)"]


@pytest.mark.parametrize("name", cells.names())
def test_text_of_every_cell_is_the_cell(name: str) -> None:
    assert_reads_back(cells.get(name))


@pytest.mark.parametrize("odd", [everything, exchange, keeps_the_old, unread_part], ids=repr)
def test_text_of_odd_cells_is_the_cell(odd: Cell) -> None:
    assert_reads_back(odd)


def test_text_of_a_graph_that_was_cut() -> None:
    size = (Dim.named("H"),)
    product = apply("matvec", leaf("parameter", "W", (*size, *size)), leaf("input", "x", size))
    graph = Graph(inputs=(product,), outputs=(("a", apply("tanh", product)),))
    assert show.text("cut", graph).splitlines()[-1].strip() == "return tanh(u1)"


# ---- text of random cells ------------------------------------------------------------------------

UNARY = ["-{0}", "tanh({0})", "abs({0})", "clamp({0}, -1.0, 2.0)", "leaky_relu({0}, 0.3)"]
UNARY += ["{0} + 2", "1 - {0}", "{0} * 0.5", "-1.5 * {0}", "{0} ** 2", "2 ** {0}", "{0} / -0.5"]
BINARY = ["{0} + {1}", "{0} - {1}", "{0} * {1}", "{0} / {1}", "{0} ** {1}", "{0} < {1}"]
BINARY += ["{0} % {1}", "{0} // {1}"]
BINARY += ["maximum({0}, {1})", "where({0} > {1}, {0}, -1)", "W @ (V.T @ ({0} + {1}))"]
EXPRESSIONS = st.recursive(
    st.sampled_from(["x", "h", "a", "b", "u"]),
    lambda inner: st.one_of(
        st.builds(lambda form, a: f"({form.format(a)})", st.sampled_from(UNARY), inner),
        st.builds(
            lambda form, a, b: f"({form.format(a, b)})", st.sampled_from(BINARY), inner, inner
        ),
    ),
    max_leaves=8,
)
NAMES = st.sampled_from(["h", "x", "a", "p", "q", "r"])


@cell(state="h", sizes={"x": "H", "W": ("H", "R")})
def arguments(x, h, a, b, W, V):
    return W @ (V.T @ (x + h)) + a * b


@pytest.mark.medium
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(NAMES, EXPRESSIONS), max_size=4), EXPRESSIONS)
def test_text_of_random_cells_is_the_cell(statements: list[tuple[str, str]], result: str) -> None:
    body = ["u = W @ (V.T @ (x + h)) + a * b"]
    body += [f"{name} = {expression}" for name, expression in statements]
    assert_reads_back(define([*body, f"return {result} + u"], arguments))


# ---- LaTeX ---------------------------------------------------------------------------------------


def latex_lines(of: Cell) -> list[str]:
    return [line.strip().removesuffix(r" \\") for line in of.latex().splitlines()[2:-1]]


def test_latex_of_the_gru() -> None:
    assert cells.gru.latex() == "\n".join(
        [
            "% gru",
            r"\begin{aligned}",
            r"  r_t &= \sigma(W_{xr} x_t + W_{hr} h_{t-1} + b_r) \\",
            r"  z_t &= \sigma(W_{xz} x_t + W_{hz} h_{t-1} + b_z) \\",
            r"  \tilde{h}_t &= \tanh(W_{xh} x_t + W_{hh} (r_t \odot h_{t-1}) + b_h) \\",
            r"  h_t &= z_t \odot h_{t-1} + (1 - z_t) \odot \tilde{h}_t",
            r"\end{aligned}",
        ]
    )


def test_latex_of_a_split() -> None:
    stacked = r"\begin{bmatrix} i_t \\ f_t \\ o_t \\ g_t \end{bmatrix}"
    assert latex_lines(cells.lstm_stacked)[0] == rf"{stacked} &= W [x_t, h_{{t-1}}] + b"


def test_latex_of_the_peephole_lstm_has_the_new_memory_in_its_output_gate() -> None:
    *_, o, h = latex_lines(cells.peephole_lstm)
    assert o == r"o_t &= \sigma(W_{xo} x_t + W_{ho} h_{t-1} + p_o \odot c_t + b_o)"
    assert h == r"h_t &= o_t \odot \tanh(c_t)"


def test_latex_tells_names_apart() -> None:
    @cell(sizes={"x": "H"})
    def f(x, h, W, W_, p1, p_1):
        return tanh(W @ x + W_ @ h) + p1 * h + p_1 * x

    latex = f.latex()
    assert r"W x_t + \mathtt{W\_} h_{t-1}" in latex
    assert r"p_1 \odot h_{t-1} + \mathtt{p\_1} \odot x_t" in latex


def test_numbers_are_written_as_they_were_meant() -> None:
    @cell
    def f(x, h, W, leak=0.95):
        return leak * h + (1 - leak) * tanh(W @ x) + minimum(h, float("inf"))

    assert "0.95 * h + 0.05 * tanh(W @ x) + minimum(h, float('inf'))" in str(f)


def test_latex_of_outputs_inputs_and_numbers() -> None:
    lines = dict(line.split(" &= ") for line in latex_lines(everything))
    assert lines["x'_t"] == "|x_t|"
    assert lines[r"\mathrm{decay}"] == r"\exp(-\operatorname{softplus}(A))"
    assert lines["s_t"] == "h_{t-1}"
    assert "U U h_{t-1} + W_v v" in lines["u_t"]
    assert "10^{-7}" in lines[r"h_{\mathrm{new},t}"]
    assert r"(u_t - (h_{t-1} - s_{t-1}))" in lines[r"h_{\mathrm{new},t}"]
    assert r"\infty" in lines["y_t"]


def test_remainders_and_numbers_of_one_stand_as_they_were_written() -> None:
    @cell(sizes={"W": ("H + 1", "I")})
    def f(x, h, t, W, b):
        new, d = split(W @ x, ["H", 1])
        return tanh(new + h * d + b * (t % 3 == 0)) * (h % 2)

    assert "tanh(new + h * d[0] + b * (t % 3 == 0)) * (h % 2)" in str(f)
    last = latex_lines(f)[-1]
    assert r"h_{t-1}\,d_t" in last
    assert r"t \bmod 3 = 0" in last
    assert r"\odot (h_{t-1} \bmod 2)" in last
    assert_reads_back(f)


def test_latex_says_what_is_over_rows_and_how_wide_windows_are() -> None:
    @cell(state=("h", "a"), memory="m", sizes={"a": "S", "v": "Q"})
    def f(x, h, a, m, W, F, v):
        a = (F @ windows(a, 5)) @ v
        return tanh(W @ x + h + sum(m, dim=0) - max(m, dim=0) * mean(m, dim=0)), a * sum(a)

    latex = f.latex()
    assert r"\textstyle\sum_{\mathrm{dim}\,0} m" in latex
    assert r"\max_{\mathrm{dim}\,0}(m) \odot \operatorname{mean}_{\mathrm{dim}\,0}(m)" in latex
    assert r"\operatorname{windows}_{5}(a_{t-1})" in latex
    assert latex.count(r"\textstyle\sum") == 2
    assert latex.count(r"\sum_") == 1, "numbers over positions have one dimension"


@pytest.mark.parametrize("name", cells.names())
def test_latex_is_balanced_and_aligned(name: str) -> None:
    latex = cells.get(name).latex()
    assert latex.count("{") == latex.count("}")
    assert latex.count("(") == latex.count(")")
    assert all(line.count("&=") == 1 for line in latex_lines(cells.get(name)))
    greek = {"xi", "pi", "mu", "nu"} - set(cells.get(name).parameters)
    assert not re.search(rf"\\({'|'.join(greek)})\b", latex)  # W_xi is from x to i


@pytest.mark.parametrize(
    ("name", "time", "latex", "plain"),
    [
        ("W_xi", None, "W_{xi}", ("W", "xi")),
        ("h", "t-1", "h_{t-1}", ("h", "t-1")),
        ("h_tilde", "t", r"\tilde{h}_t", ("h\u0303", "t")),
        ("alpha_f", None, r"\alpha_f", ("α", "f")),
        ("z_beta", "t", r"z_{\beta,t}", ("z", "β,t")),
        ("v12", None, "v_{12}", ("v", "12")),
        ("weight_ih", None, r"\mathrm{weight}_{ih}", ("weight", "ih")),
        ("gate_in", "t", r"\mathrm{gate}_{in,t}", ("gate", "in,t")),
        ("x_prime", "t", "x'_t", ("x'", "t")),
        ("_", None, r"\_", ("_", "")),
    ],
)
def test_names_become_symbols(
    name: str, time: str | None, latex: str, plain: tuple[str, str]
) -> None:
    assert latex_symbol(name, time) == latex
    assert plain_symbol(name, time) == plain
