"""The compiled loops against the reference: every registered cell."""

import pytest
import torch

from compiled import Call, compare
from oracle import Case, assert_same, fitted, registry, results
from recurra import cells, compose
from recurra.backends import ReferenceBackend, load
from recurra.backends.choose import AutoBackend
from recurra.backends.cpu import CpuBackend, building, execute, extents, found_compiler
from recurra.backends.cpu.loops import CompiledLoop
from recurra.errors import BackendError, BuildError
from recurra.lang import (
    cell,
    clamp,
    concat,
    expm1,
    layer_norm,
    mean,
    sigmoid,
    sin,
    softmax,
    split,
    tanh,
    where,
)

pytestmark = pytest.mark.skipif(found_compiler() is None, reason="needs a C++ compiler")

CASES = {
    "small": Case(),
    "equal sizes": Case(T=4, B=4, sizes={"I": 4, "H": 4}),
    "one step": Case(T=1, B=1),
    "wide": Case(T=3, B=17, sizes={"I": 33, "H": 70}),
    "narrow input": Case(T=4, B=18, sizes={"I": 2, "H": 34}, lengths=(4, 2, 3) * 6),
    "one sequence": Case(T=5, B=1, sizes={"I": 7, "H": 130}),
    "ragged": Case(T=5, B=4, lengths=(5, 1, 3, 2)),
    "ragged, reverse": Case(T=5, B=4, lengths=(5, 1, 3, 2), reverse=True),
    "longest first": Case(T=7, B=6, lengths=(6, 6, 4, 2, 1, 0)),
    "longest first, reverse": Case(T=7, B=6, lengths=(6, 6, 4, 2, 1, 0), reverse=True),
    "ids, longest first": Case(T=6, B=4, ids="embedding", vocabulary=7, lengths=(6, 5, 2, 1)),
    "ids": Case(T=6, B=5, ids="embedding", vocabulary=7),
    "one-hot, reverse": Case(T=3, B=5, ids="one-hot", reverse=True),
}


# A random state may be nearly zero, which its own recurrence never gives.
DIVIDE_BY_A_STATE = {"slstm", "mlstm", "ntm"}


@pytest.mark.medium
@pytest.mark.parametrize(("name", "case"), registry(CASES, always=("wide", "ragged, reverse")))
def test_cell_of_the_registry(name: str, case: Case) -> None:
    of = cells.get(name)
    if of.input is None and case.ids is not None:
        pytest.skip("the cell takes no input")
    sizes = {**dict.fromkeys(of.size_names, 4), **case.sizes}
    call = Call(case=Case(**{**vars(case), "sizes": sizes}))
    compare(fitted(of, sizes), call, strict=name not in DIVIDE_BY_A_STATE)


@pytest.mark.medium
def test_threads_and_one_thread_agree() -> None:
    case = Case(T=7, B=9, sizes={"I": 5, "H": 40})
    threads = torch.get_num_threads()
    found = []
    try:
        for count in (1, 2, 4):
            torch.set_num_threads(count)
            found.append(results(CpuBackend(cells.gru), case.tensors(cells.gru, torch.float32)))
    finally:
        torch.set_num_threads(threads)
    for other in found[1:]:
        assert_same(other, found[0], 1e-6)


@cell(state="h")
def halving(h):
    return 0.5 * h


@pytest.mark.parametrize("threads", [1, 2])
def test_subnormal_numbers_are_zero_in_loops_and_nowhere_else(
    threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extents, "_SHARED_CHUNK", 0)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        y, _ = CpuBackend(halving).run(torch.empty(150, 3, 0), (torch.ones(3, 40),), {})
        elsewhere = torch.full((1 << 20,), 1e-38) * 0.5  # on all threads of torch
    finally:
        torch.set_num_threads(before)
    assert (y[125] == 2.0**-126).all()  # the smallest normal number
    assert (y[126:] == 0.0).all()
    assert (elsewhere != 0.0).all()


def test_no_gradients_gives_the_same_output() -> None:
    inputs = CASES["small"].tensors(cells.lstm, torch.float32)
    y, _ = inputs.run(CpuBackend(cells.lstm))
    with torch.no_grad():
        again, _ = inputs.run(CpuBackend(cells.lstm))
    torch.testing.assert_close(again, y)


@pytest.mark.medium
@pytest.mark.parametrize(("name", "sequences"), registry({"one": 1, "eleven": 11}))
def test_chunks_and_shared_columns(name: str, sequences: int) -> None:
    of = cells.get(name)
    sizes = {**dict.fromkeys(of.size_names, 4), "I": 5, "H": 48}
    case = Case(T=7, B=sequences, sizes=sizes)
    for chunk_rows in (1, 20):
        call = Call(case=case, threads=2, chunk_rows=chunk_rows, cache_bytes=0)
        compare(of, call, strict=name not in DIVIDE_BY_A_STATE)


@pytest.mark.medium
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("cache_bytes", [0, 1 << 20], ids=["by column", "by sequence"])
@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        *((name, torch.float32) for name in ("lstm", "mut1", "rhn", "qrnn_fo", "without_products")),
        ("lstm", torch.bfloat16),
        *(
            pytest.param(name, torch.bfloat16, marks=pytest.mark.slow, id=f"{name}-bfloat16")
            for name in ("mut1", "rhn")
        ),
    ],
)
def test_longest_first_by_threads_in_chunks(
    name: str, cache_bytes: int, dtype: torch.dtype, reverse: bool
) -> None:
    of = without_products if name == "without_products" else cells.get(name)
    sizes = {**dict.fromkeys(of.size_names, 4), "I": 5, "H": 48}
    for lengths in ((19, 19, 16, 11, 11, 7, 3, 1, 1), (20,) * 8 + (4,), (3,) * 9):
        case = Case(T=20, B=9, sizes=sizes, lengths=lengths, reverse=reverse)
        for threads, chunk_rows in ((1, 40), (2, 40), (3, 256)):
            compare(
                of,
                Call(
                    case=case,
                    threads=threads,
                    chunk_rows=chunk_rows,
                    cache_bytes=cache_bytes,
                    dtype=dtype,
                ),
            )


@pytest.mark.medium
@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
@pytest.mark.parametrize("name", ["lstm", "torch_gru", "mut1", "peephole_lstm"])
def test_products_of_bfloat16(name: str, case: Case) -> None:
    compare(cells.get(name), Call(case=case, dtype=torch.bfloat16, threads=2, chunk_rows=20))


def test_autocast_rounds_products_and_gives_float32() -> None:
    case = Case(T=9, B=6, sizes={"I": 20, "H": 40})
    expected = results(ReferenceBackend(cells.gru), case.tensors(cells.gru))
    with torch.autocast("cpu", torch.bfloat16):
        found = results(CpuBackend(cells.gru), case.tensors(cells.gru, torch.float32))
    for name, value in expected.items():
        far = float((found[name] - value).norm() / value.norm())
        assert found[name].dtype is torch.float32
        assert 1e-5 < far < 2e-2, name


# ---- what it refuses, and what may go wrong ------------------------------------------------------


def test_other_dtypes_are_refused_by_name_and_run_by_auto() -> None:
    inputs = CASES["small"].tensors(cells.rnn)
    with pytest.raises(
        BackendError, match=r"float32 or bfloat16 on the CPU, got torch.float64.*reference"
    ):
        inputs.run(load(cells.rnn, "cpu"))
    expected = results(ReferenceBackend(cells.rnn), CASES["small"].tensors(cells.rnn))
    found = results(load(cells.rnn), CASES["small"].tensors(cells.rnn))
    assert_same(found, expected, 1e-12)


def test_second_derivative_names_the_backend_that_has_it() -> None:
    inputs = CASES["small"].tensors(cells.rnn, torch.float32)
    y, _ = inputs.run(CpuBackend(cells.rnn))
    with pytest.raises(BackendError, match="backend='reference'"):
        torch.autograd.grad(y.sum(), [inputs.x], create_graph=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["ids", "ragged"])
def test_a_reverse_loop_that_cannot_be_built(
    name: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """By name it raises; "auto" goes on with the reference, in the middle of the step."""

    def failing(*arguments: object, skip: bool, **options: object) -> CompiledLoop:
        if skip:
            raise BuildError("the compiler is gone")
        return CompiledLoop(*arguments, skip=skip, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(execute, "CompiledLoop", failing)
    for make in (lambda: AutoBackend(cells.gru), lambda: CpuBackend(cells.gru)):
        given, same = (CASES[name].tensors(cells.gru, dtype) for _ in range(2))
        backend = make()
        y, finals = given.run(backend)
        loss = y.float().square().sum() + sum(final.float().sum() for final in finals)
        if isinstance(backend, CpuBackend):
            with pytest.raises(BuildError, match="the compiler is gone"):
                loss.backward()
            continue
        loss.backward()
        y, finals = same.run(ReferenceBackend(cells.gru))
        (y.float().square().sum() + sum(final.float().sum() for final in finals)).backward()
        for leaf, right in zip(given.leaves().values(), same.leaves().values(), strict=True):
            tolerance = 0.05 if dtype is torch.bfloat16 else 1e-4
            torch.testing.assert_close(leaf.grad, right.grad, rtol=tolerance, atol=tolerance)
        assert [r.message for r in caplog.records if "the compiler is gone" in r.message] != []
        assert "the compiler is gone" in backend.explain({"I": 3, "H": 8})


# ---- what random cells have found ----------------------------------------------------------------


@cell
def without_products(x, h, W, u):
    return sin(W @ x) + u * h


@pytest.mark.medium
def test_threads_that_share_features_mask_whole_rows() -> None:
    case = Case(T=60, B=5, sizes={"I": 7, "H": 16}, lengths=(60, 3, 31, 44, 9))
    compare(without_products, Call(case=case, threads=3))


@cell(state=("s", "h"), sizes={"s": "1", "a": "I", "U": ("H", "H"), "V": ("H", "H")})
def pooled(x, s, h, W, b, a, U, V):
    p, q, r = split(W @ x + b, 3)
    normal = tanh(layer_norm(sin(p), bias=tanh(q), gain=sin(r), eps=0.1))
    s = tanh(mean(sin(x + x * a)) + mean(softmax(normal)) * s)
    return s, tanh(V @ sigmoid(U @ p + r))


@cell(context="v")
def says_its_context(x, h, v, W):
    return tanh(W @ v)


def test_output_of_the_context_alone_is_not_taken_for_one_of_all_steps() -> None:
    for T, B, H in ((2, 2, 2), (2, 2, 5), (3, 3, 3)):
        sizes = {"I": 2, "H": H, "C": 3}
        compare(says_its_context, Call(case=Case(T=T, B=B, sizes=sizes)))
        compare(
            says_its_context, Call(case=Case(T=T, B=B, sizes=sizes, lengths=(T,) * (B - 1) + (1,)))
        )


def test_number_of_features_is_no_value_to_keep() -> None:
    compare(pooled, Call(case=Case(T=3, B=35, sizes={"I": 6, "H": 7})))


@cell(
    state=("s0", "s1", "s2", "s3"),
    sizes={"s0": "1", "s1": "1", "s2": "P", "a7": "1"},
    output=True,
)
def divides_after_its_loop(x, s0, s1, s2, s3, W0, b1, b2, W3, W4, W5, W6, a7, W8, b9):
    """A random cell; with weight drop over layer norm, torch divides by what loops have left."""
    stack = W0 @ concat(x, s3) + b1
    u6, u7 = split(stack, 2)
    u6 = tanh(u6 + b2)
    u7 = clamp(u7 + b2, -0.917, 0.931)
    u8 = sigmoid(expm1(0.5 * u7))
    u9 = sin(W3 @ u8 + W4 @ u7 + s2)
    u10, u11 = split(u8, 2)
    u10 = concat(u10, 0.5 * u11)
    u11 = clamp(W5 @ u10, -0.917, 0.931)
    u12 = tanh(W6 @ u10)
    u13 = clamp(where(u9 > -0.49402, u12, s2), -0.917, 0.931)
    u12 = clamp(-u13, -0.917, 0.931)
    u14 = tanh(s1 + mean(u6) * s0)
    u15 = tanh(a7 + mean(x) * s1)
    u13 = sin(W8 @ u13)
    u16 = s2 * sigmoid(W8 @ b9) + u13
    u6 = clamp(W5 @ u7, -0.917, 0.931)
    u11 = s3 * sigmoid(u10) + u6
    u17 = clamp(W8 @ u13, -0.917, 0.931) * u16 + u13
    return u17, u14, u15, u16, u11


@pytest.mark.medium
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("lengths", [(4, 2), (2, 4), (5, 0)])
def test_what_torch_computes_after_a_loop_is_finite_past_the_ends(
    lengths: tuple[int, int], reverse: bool
) -> None:
    """Of sequences that have ended loops leave zeros, and a zero times an infinity is NaN."""
    composed = compose.weight_drop(compose.layer_norm(divides_after_its_loop), 0.4)
    sizes = dict.fromkeys("IHP", 16)
    case = Case(T=5, B=2, sizes=sizes, lengths=lengths, reverse=reverse, nan_padding=True)
    compare(composed, Call(case=case))


@cell
def thirty_euler_steps(x, h, W, U, b):
    for _ in range(30):
        h = h + 0.03 * (tanh(W @ x + U @ h + b) - mean(h))
    return h


@pytest.mark.medium
@pytest.mark.parametrize("threads", [1, 2])
def test_what_unrolled_steps_share_is_one_function(
    threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources: list[str] = []
    real = building.loader
    monkeypatch.setattr(
        building, "loader", lambda text, *more: sources.append(text) or real(text, *more)
    )
    compare(thirty_euler_steps, Call(case=Case(T=3, B=5), threads=threads))
    forward = next(text for text in sources if "v_tanh" in text)
    assert forward.count("v_tanh") <= 3  # the first and the last step have stores of their own
    assert forward.count("group0(") >= 28
