"""Compiled steps against the reference, over the registry and random cells; the writing loop."""

import random
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from oracle import Case, fitted, registry
from random_cells import random_case, random_cell, source_of
from recurra import cells
from recurra.backends import ReferenceBackend
from recurra.backends.cpu import (
    Snapshot,
    StepLayer,
    Stepper,
    Tokens,
    TokenWriter,
    affine_layer,
    found_compiler,
    obstacle,
    step_layer,
)
from recurra.backends.cpu import steps as compiled_steps
from recurra.backends.cpu.unstepped import why_not_stepped
from recurra.decoding import Sampler
from recurra.lang import Cell, tanh
from recurra.lang import cell as define

pytestmark = pytest.mark.skipif(found_compiler() is None, reason="needs a C++ compiler")

TOLERANCE = 1e-5
CASES = {
    "one sequence": Case(T=4, B=1, sizes={"I": 7, "H": 33}),
    "three sequences": Case(T=3, B=3),
    "ids": Case(T=4, B=1, ids="embedding", vocabulary=7),
    "ids of three": Case(T=4, B=3, ids="embedding", vocabulary=7),
    "one-hot": Case(T=3, B=1, ids="one-hot"),
    "one-hot of three": Case(T=3, B=3, ids="one-hot"),
}


def steps_of(of: Cell, case: Case, threads: int = 1) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The output and the last states, step by step."""
    inputs = case.tensors(of, torch.float32)
    inputs = replace(inputs, further=tuple(each.detach() for each in inputs.further))
    tokens = Tokens(embedding=inputs.embedding) if inputs.x.dtype == torch.int64 else None
    layer = StepLayer(cell=of, sizes=case.sizes, parameters=inputs.weights())
    stepper = Stepper(
        [layer],
        [inputs.states],
        context=inputs.context,
        tokens=tokens,
        start=inputs.start,
        threads=threads,
    )
    x, outputs = inputs.x.detach().contiguous(), []
    for t in range(len(x)):
        stepper.give([each[t] for each in inputs.further])
        y = torch.empty(x.shape[1], stepper.output_size)
        if tokens is None:
            stepper.step(x[t].data_ptr(), y.data_ptr())
        else:
            assert stepper.step_on_ids(x[t].data_ptr(), y.data_ptr())
        outputs.append(y)
    assert stepper.index == case.start + len(x)
    return torch.stack(outputs), stepper.states()[0]


def check(of: Cell, case: Case, threads: int = 1, message: str = "") -> None:
    """Steps in float32 agree with the reference in float64."""
    inputs = case.tensors(of)
    with torch.no_grad():
        y, finals = inputs.run(ReferenceBackend(of))
    found_y, found_finals = steps_of(of, case, threads)
    for found, expected in zip((found_y, *found_finals), (y, *finals), strict=True):
        torch.testing.assert_close(
            found.double(), expected, rtol=TOLERANCE, atol=TOLERANCE, msg=lambda m: m + message
        )


def with_all_sizes(of: Cell, case: Case) -> Case:
    return Case(**{**vars(case), "sizes": {**dict.fromkeys(of.size_names, 4), **case.sizes}})


@define(state="h", context="v")
def clocked(x, h, v, t, W_xh, W_hh, W_vh):
    """An RNN that reads a context and the index of the step."""
    return tanh(W_xh @ x + W_hh @ h + W_vh @ v) / (1 + t)


@define(state=("a", "b"), output=True, sizes={"W": ("P", "I")})
def passing(x, a, b, W):
    """A cell with an output of its own, and states that only change places."""
    return W @ x, b, a


@pytest.mark.medium
@pytest.mark.parametrize(("name", "case"), registry(CASES))
def test_cell_of_the_registry(name: str, case: Case) -> None:
    of = cells.get(name)
    if of.input is None and case.ids is not None:
        pytest.skip("the cell takes no input")
    if of.memory:
        pytest.skip("streams of what reads a memory are tested with memories, in tests/nn")
    if why_not_stepped(of):
        pytest.skip(why_not_stepped(of))
    case = with_all_sizes(of, case)
    if name == "slstm":  # it divides by a state, and the first ones are drawn at random
        case = Case(**{**vars(case), "seed": 4})
    check(fitted(of, case.sizes), case)


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_cells_that_read_more_than_the_input(case: Case) -> None:
    check(clocked, with_all_sizes(clocked, Case(**{**vars(case), "start": 3})))
    check(passing, with_all_sizes(passing, case))


@pytest.mark.medium
@pytest.mark.parametrize("seed", range(15))
def test_random_cell(seed: int) -> None:
    rng = random.Random(seed)
    of = random_cell(rng)
    case = random_case(of, rng)
    case = Case(**{**vars(case), "lengths": None, "reverse": False})
    check(of, case, rng.choice((1, 2)), f"seed {seed}\n{source_of(of)}")


@pytest.mark.medium
@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_two_threads_share_a_step(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled_steps, "_SHARED_BYTES", 0)
    monkeypatch.setattr(compiled_steps, "_SHARED_LAYER_BYTES", 0)
    for case in (Case(B=1, sizes={"I": 5, "H": 70}), Case(B=3, sizes={"I": 5, "H": 20})):
        check(cells.get(name), case, threads=2)


def test_a_table_that_would_be_too_large_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_layer, "_LARGEST_TABLE", 0)
    for case in (CASES["ids"], CASES["ids of three"], CASES["one-hot"]):
        check(cells.lstm, case)


# ---- one stepper ---------------------------------------------------------------------------------


def one_layer(hidden_size: int = 4, vocabulary: int = 6) -> tuple[StepLayer, Tokens]:
    case = Case(B=1, sizes={"I": 3, "H": hidden_size}, ids="embedding", vocabulary=vocabulary)
    inputs = case.tensors(cells.gru, torch.float32)
    layer = StepLayer(cell=cells.gru, sizes=case.sizes, parameters=inputs.parameters)
    return layer, Tokens(embedding=inputs.embedding)


def test_an_id_outside_the_vocabulary_does_nothing() -> None:
    layer, tokens = one_layer()
    stepper = Stepper([layer], [(torch.ones(1, 4),)], tokens=tokens)
    y = torch.zeros(1, 4)
    for wrong in (-1, 6):
        assert not stepper.step_on_ids(torch.tensor([wrong]).data_ptr(), y.data_ptr())
    assert torch.equal(stepper.states()[0][0], torch.ones(1, 4))
    assert stepper.index == 0
    assert not y.any()


def test_restart_goes_on_from_a_state_after_any_number_of_steps() -> None:
    layer, tokens = one_layer()
    ids, y, first = torch.tensor([2]), torch.empty(1, 4), torch.empty(1, 4)
    stepper = Stepper([layer], [(torch.ones(1, 4),)], tokens=tokens)
    stepper.step_on_ids(ids.data_ptr(), first.data_ptr())
    for steps in (0, 1, 2):
        for _ in range(steps):
            stepper.step_on_ids(ids.data_ptr(), y.data_ptr())
        stepper.restart([(torch.ones(1, 4),)], start=5)
        assert stepper.index == 5
        stepper.step_on_ids(ids.data_ptr(), y.data_ptr())
        assert torch.equal(y, first)


def test_what_cannot_be_compiled() -> None:
    assert obstacle([torch.zeros(2), torch.zeros(2, dtype=torch.bfloat16)]) is None
    assert "torch.float64" in str(obstacle([torch.zeros(2, dtype=torch.float64)]))
    assert "device meta" in str(obstacle([torch.zeros(2, device="meta")]))
    with torch.autocast("cpu"):
        assert "autocast" in str(obstacle([torch.zeros(2)]))


def test_a_snapshot_sees_changes_and_moves() -> None:
    a, b = torch.nn.Parameter(torch.zeros(3)), torch.zeros(2)
    snapshot = Snapshot([a, b])
    assert snapshot.holds([a, b])
    assert not snapshot.holds([a])
    assert not snapshot.holds([b, a])
    with torch.no_grad():
        a.add_(1)
    assert not snapshot.holds([a, b])
    snapshot = Snapshot([a, b])
    a.data = torch.zeros(3)
    assert not snapshot.holds([a, b])
    a.data = torch.zeros(3)  # cannot lie where the first one lay
    assert not snapshot.holds([a, b])


# ---- writing -------------------------------------------------------------------------------------

SAMPLERS = [
    Sampler(temperature=0),
    Sampler(),
    Sampler(temperature=0.7),
    Sampler(top_k=5),
    Sampler(top_k=1000),
    Sampler(top_p=0.8),
    Sampler(temperature=1.5, top_k=9, top_p=0.6),
    Sampler(temperature=1e-30, top_p=0.5),
    Sampler(temperature=0, forbid=(0, 2)),
    Sampler(temperature=2.0, forbid=(3, 5, 1)),
    Sampler(top_k=3, top_p=0.9, forbid=(4,)),
]


def writer_of(vocabulary: int, seed: int = 0) -> tuple[Stepper, Stepper]:
    """Two steppers of a small language model, alike: one to write, one to look at its scores."""
    layer, tokens = one_layer(vocabulary=vocabulary)
    torch.manual_seed(seed)
    decoder = affine_layer(3 * torch.randn(vocabulary, 4), torch.randn(vocabulary))
    states = [(torch.zeros(1, 4),), (torch.zeros(1, 1),)]
    return Stepper([layer, decoder], states, tokens=tokens), Stepper(
        [layer, decoder], states, tokens=tokens
    )


@pytest.mark.parametrize(
    ("sampler", "vocabulary"),
    [(sampler, size) for sampler in SAMPLERS for size in (1, 6, 100) if len(sampler.forbid) < size],
    ids=str,
)
def test_writing_draws_what_the_sampler_draws(sampler: Sampler, vocabulary: int) -> None:
    writing, looking = writer_of(vocabulary)
    uniforms = torch.rand(50, dtype=torch.float64)
    choice = {"top_k": sampler.top_k, "top_p": sampler.top_p, "forbid": sampler.forbid}
    written = TokenWriter(writing).write(0, uniforms, temperature=sampler.divisor, **choice)
    assert written.largest is None
    token, expected, scores = torch.tensor([0]), [], torch.empty(1, vocabulary)
    for uniform in uniforms:
        looking.step_on_ids(token.data_ptr(), scores.data_ptr())
        token = sampler.pick(scores, uniform.reshape(1))
        expected.append(int(token))
    assert written.ids == expected
    assert not {*sampler.forbid} & {*expected}


@pytest.mark.parametrize("options", [{}, {"top_k": 3}, {"top_p": 0.5}, {"temperature": 0}])
def test_of_equal_scores_the_lower_ids_are_kept(options: dict[str, float]) -> None:
    layer, tokens = one_layer(vocabulary=6)
    decoder = affine_layer(torch.zeros(6, 4), torch.tensor([1.0, 2, 2, 2, 2, 1]))
    stepper = Stepper([layer, decoder], [(torch.zeros(1, 4),), (torch.zeros(1, 1),)], tokens=tokens)
    sampler = Sampler(**options)
    uniforms = torch.linspace(0, 0.9999, 40, dtype=torch.float64)
    choice = {"top_k": sampler.top_k, "top_p": sampler.top_p}
    written = TokenWriter(stepper).write(0, uniforms, temperature=sampler.divisor, **choice)
    logits = torch.tensor([1.0, 2, 2, 2, 2, 1]).expand(40, 6)
    assert written.ids == sampler.pick(logits, uniforms).tolist()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_writing_stops_at_scores_that_are_not_finite(bad: float) -> None:
    layer, tokens = one_layer(vocabulary=6)
    assert tokens.embedding is not None
    embedding = tokens.embedding.detach().clone()
    embedding[3] = float("nan")
    bias = torch.tensor([0.0, 0, 0, 50, 0, 0])
    decoder = affine_layer(torch.ones(6, 4), bias)
    states = [(torch.zeros(1, 4),), (torch.zeros(1, 1),)]
    stepper = Stepper([layer, decoder], states, tokens=Tokens(embedding=embedding))
    choice = {"temperature": 1.0, "top_k": None, "top_p": None}
    written = TokenWriter(stepper).write(0, torch.zeros(5, dtype=torch.float64) + 0.5, **choice)
    assert written.ids == [3]
    assert str(written.largest) == "nan"
    bias[0] = bad
    stepper = Stepper([layer, affine_layer(torch.ones(6, 4), bias)], states, tokens=tokens)
    written = TokenWriter(stepper).write(0, torch.zeros(5, dtype=torch.float64), **choice)
    assert written.ids == []
    assert str(written.largest) == str(bad)


# ---- choosing ------------------------------------------------------------------------------------


def chooser_of(scores: Tensor, threads: int = 1, bias: Tensor | None = None) -> Stepper:
    """A stepper whose output for every token is a row of scores, [B, V], and the bias."""
    batch, vocabulary = scores.shape
    bias = torch.zeros(vocabulary) if bias is None else bias
    tokens = Tokens(embedding=torch.eye(batch))
    sizes = {"I": batch, "P": batch}
    layer = StepLayer(cell=passing, sizes={**sizes, "H": 1}, parameters={"W": torch.eye(batch)})
    decoder = affine_layer(scores.T.contiguous(), bias)
    states = [(torch.zeros(batch, 1), torch.zeros(batch, 1)), (torch.zeros(batch, 1),)]
    return Stepper([layer, decoder], states, tokens=tokens, threads=threads)


@pytest.mark.medium
@pytest.mark.parametrize("batch", [5, 150])  # whole, and a block of scores at a time
@pytest.mark.parametrize("vocabulary", [2, 5, 64, 512, 700, 1287])
@pytest.mark.parametrize("count", [1, 3, 10])
@pytest.mark.parametrize("threads", [1, 2])
def test_the_largest_of_a_step(
    batch: int, vocabulary: int, count: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled_steps, "_SHARED_BYTES", 0)
    monkeypatch.setattr(compiled_steps, "_SHARED_LAYER_BYTES", 0)
    scores, bias = 4 * torch.randn(batch, vocabulary), torch.randn(vocabulary).round()
    scores[1] = (scores[1] + bias).sort().values - bias  # each one larger than those before
    scores[-1] = scores[-1].round()  # many alike: of equal ones the lower ids
    stepper, ids = chooser_of(scores, threads, bias), torch.arange(batch)
    scores = scores + bias
    for left_out in (False, True):
        for log_probabilities in (False, True):
            options = {"left_out": left_out, "log_probabilities": log_probabilities}
            found = stepper.choose(ids.data_ptr(), count, 1, **options)
            assert found is not None
            values, chosen, of_mark = found
            wanted = scores.double().log_softmax(1) if log_probabilities else scores.double()
            torch.testing.assert_close(of_mark.double(), wanted[:, 1], rtol=1e-6, atol=1e-5)
            order = scores.clone()
            if left_out:
                order[:, 1] = -float("inf")
            places = order.sort(dim=1, descending=True, stable=True).indices
            places = places[:, : min(count, vocabulary - left_out)]
            assert chosen.equal(places)
            expected = wanted.gather(1, places)
            torch.testing.assert_close(values.double(), expected, rtol=1e-6, atol=1e-5)
    assert stepper.index == 4


@pytest.mark.parametrize("weights", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("threads", [1, 2])
def test_what_is_chosen_does_not_depend_on_how_many_rows_there_are(
    threads: int, weights: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the bit: of few rows all scores are there at once, of many a block of them."""
    monkeypatch.setattr(compiled_steps, "_SHARED_BYTES", 0)
    monkeypatch.setattr(compiled_steps, "_SHARED_LAYER_BYTES", 0)
    vocabulary, batch = 1287, 150
    layer, tokens = one_layer(vocabulary=vocabulary)
    decoder = affine_layer(torch.randn(vocabulary, 4), torch.randn(vocabulary))
    options: dict[str, Any] = {"left_out": True, "log_probabilities": True}

    def chosen(first: int, count: int) -> tuple[Tensor, ...]:
        states = [(torch.zeros(count, 4),), (torch.zeros(count, 1),)]
        given: dict[str, Any] = {"tokens": tokens, "threads": threads, "weights": weights}
        stepper, ids = Stepper([layer, decoder], states, **given), torch.arange(count) + first
        for _ in range(3):
            found = stepper.choose(ids.data_ptr(), 7, 3, **options)
            assert found is not None
        return found

    whole = chosen(0, batch)
    for first in (0, 63, 64, 147):
        for one, of_all in zip(chosen(first, 3), whole, strict=True):
            assert torch.equal(one, of_all[first : first + 3])


@pytest.mark.parametrize("batch", [1, 20])
def test_scores_that_are_not_finite_are_not_lost(batch: int) -> None:
    nan, infinity = float("nan"), float("inf")
    lows = torch.full((600,), -infinity)
    cases = {"nan": (300, nan), "inf": (10, infinity), "low": (599, 2.0)}
    options: dict[str, Any] = {"left_out": False, "log_probabilities": True}
    for name, (place, value) in cases.items():
        scores = torch.zeros(600) if name != "low" else lows.clone()
        scores[place] = value
        if name == "nan":
            scores[599] = infinity  # which does not hide it
        ids_read = torch.arange(batch)
        stepper = chooser_of(torch.zeros(batch, 600), bias=scores)
        found = stepper.choose(ids_read.data_ptr(), 2, 0, **options)
        assert found is not None
        values, ids, of_mark = found
        expected = scores.log_softmax(0)
        torch.testing.assert_close(of_mark, expected[:1].expand(batch), equal_nan=True)
        if name == "low":
            assert ids[:, 0].tolist() == [599] * batch
            assert values[:, 0].tolist() == [0.0] * batch


@pytest.mark.parametrize("batch", [1, 20])
@pytest.mark.parametrize("vocabulary", [3, 600])
@pytest.mark.parametrize("count", [1, 3])
def test_of_scores_alone_nan_is_the_largest(batch: int, vocabulary: int, count: int) -> None:
    """As torch has it: who goes by the largest scores, without their sum, comes upon it."""
    options: dict[str, Any] = {"log_probabilities": False}
    ids_read = torch.arange(batch)
    for places in ([1], [vocabulary - 1], [0, vocabulary // 2]):
        scores = torch.arange(float(vocabulary))
        scores[places] = float("nan")
        stepper = chooser_of(torch.zeros(batch, vocabulary), bias=scores)
        values, ids, _ = stepper.choose(ids_read.data_ptr(), count, 0, left_out=False, **options)
        assert values[:, : len(places)].isnan().all()
        assert ids[:, 0].tolist() == [places[0]] * batch
        best = [n for n in range(vocabulary - 1, -1, -1) if n not in places]
        rest = ids[:, len(places) :]
        assert rest.equal(torch.tensor(best[: rest.shape[1]]).expand(rest.shape))
        values, ids, _ = stepper.choose(
            ids_read.data_ptr(), count, places[-1], left_out=True, **options
        )
        assert values[:, 1:].isfinite().all()
        assert places[-1] not in ids


def test_what_cannot_be_chosen_from() -> None:
    stepper, ids = chooser_of(torch.zeros(1, 4)), torch.tensor([1, 0])
    none, first = ids.data_ptr(), ids[1:].data_ptr()
    options = {"left_out": True, "log_probabilities": True}
    assert stepper.choose(none, 1, 0, **options) is None  # there is no such token
    for count, mark in ((1, 4), (1, -1), (0, 1)):
        with pytest.raises(ValueError, match=r"mark in 0\.\.3"):
            stepper.choose(first, count, mark, **options)
    stepper = chooser_of(torch.full((1, 4), float("nan")))
    found = stepper.choose(first, 2, 0, **options)
    assert found is not None
    assert found[0].isnan().all()
    assert set(found[1].flatten().tolist()) <= set(range(4))
