"""The sampler against a plain reference, at its edges, and by the frequencies it draws."""

import math
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recurra.decoding import Sampler

rows = st.lists(
    st.one_of(st.integers(-5, 5).map(float), st.floats(-30, 30), st.just(-math.inf)),
    min_size=1,
    max_size=12,
).filter(lambda row: max(row) > -math.inf)


def reference(
    row: list[float], temperature: float, top_k: int | None, top_p: float | None
) -> list[float]:
    """Temperature, top-k and top-p one after the other, as the definitions say."""
    best = max(row)
    weights = [math.exp((score - best) / temperature) for score in row]
    order = sorted(range(len(row)), key=lambda index: (-row[index], index))
    kept = order[:top_k]
    if top_p is not None:
        total = sum(weights[index] for index in kept)
        share, num_kept = 0.0, 0
        while num_kept < len(kept) and share < top_p - 1e-6:
            share += weights[kept[num_kept]] / total
            num_kept += 1
        kept = kept[:num_kept]
    total = sum(weights[index] for index in kept)
    return [weights[index] / total if index in kept else 0.0 for index in range(len(row))]


@pytest.mark.medium
@given(rows, st.sampled_from([0.1, 0.7, 1.0, 3.0]), st.one_of(st.none(), st.integers(1, 14)))
def test_temperature_and_top_k_are_their_definition(
    row: list[float], temperature: float, top_k: int | None
) -> None:
    sampler = Sampler(temperature=temperature, top_k=top_k)
    probabilities = sampler.probabilities(torch.tensor(row))
    # The border between kept and not kept is decided on float32 scores.
    rounded = torch.tensor(row).tolist()
    expected = torch.tensor(reference(rounded, temperature, top_k, None))
    torch.testing.assert_close(probabilities, expected, rtol=1e-3, atol=1e-6)
    if top_k is not None:
        assert int((probabilities > 0).sum()) <= top_k


@pytest.mark.medium
@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=10),
    st.integers(1, 99).map(lambda percent: percent / 100 + 0.00123),
    st.one_of(st.none(), st.integers(1, 12)),
)
def test_top_p_is_its_definition(counts: list[int], top_p: float, top_k: int | None) -> None:
    row = torch.tensor(counts).double().log()
    probabilities = Sampler(top_p=top_p, top_k=top_k).probabilities(row)
    assert probabilities.dtype == torch.float64
    expected = torch.tensor(reference(row.tolist(), 1.0, top_k, top_p), dtype=torch.float64)
    torch.testing.assert_close(probabilities, expected)


def test_top_p_keeps_the_token_that_crosses_the_share() -> None:
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    kept = {
        top_p: int((Sampler(top_p=top_p).probabilities(logits) > 0).sum())
        for top_p in (0.01, 0.49, 0.51, 0.79, 0.81, 1)
    }
    assert kept == {0.01: 1, 0.49: 1, 0.51: 2, 0.79: 2, 0.81: 3, 1: 4}


def test_of_equal_scores_the_lower_ids_are_kept() -> None:
    logits = torch.tensor([1.0, 2.0, 2.0, 2.0, 1.0])
    assert Sampler(top_k=2).probabilities(logits).tolist() == [0, 0.5, 0.5, 0, 0]
    assert Sampler(top_p=0.2).probabilities(logits).tolist() == [0, 1, 0, 0, 0]
    assert Sampler(temperature=0).probabilities(logits).tolist() == [0, 1, 0, 0, 0]
    assert Sampler(temperature=0).draw(logits).item() == 1


@pytest.mark.parametrize("temperature", [1e-3, 1e-30, 1e-45, 5e-324])
@pytest.mark.parametrize("options", [{}, {"top_k": 3}, {"top_p": 0.9}])
def test_a_tiny_temperature_takes_the_best(temperature: float, options: dict[str, float]) -> None:
    logits = torch.tensor([3e38, -1.0, 3.001e38, -math.inf])
    sampler = Sampler(temperature=temperature, **options)
    assert sampler.probabilities(logits).tolist() == [0, 0, 1, 0]


def test_large_scores_do_not_overflow() -> None:
    probabilities = Sampler().probabilities(torch.tensor([1e4, 1e4, -1e4]))
    assert probabilities.tolist() == [0.5, 0.5, 0]


def test_a_token_ruled_out_is_never_drawn() -> None:
    logits = torch.full((2000, 5), -math.inf)
    logits[:, 3] = -7.0
    logits[:, 1] = -7.0
    for options in ({}, {"top_k": 4}, {"top_p": 0.999}, {"top_k": 5, "top_p": 1.0}):
        assert set(Sampler(**options).draw(logits).tolist()) == {1, 3}


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize(
    ("row", "largest"),
    [
        ([0.0, math.nan, 1.0], "nan"),
        ([0.0, math.inf], "inf"),
        ([-math.inf, -math.inf], "-inf"),
    ],
)
def test_scores_without_a_largest_are_named(
    temperature: float, row: list[float], largest: str
) -> None:
    logits = torch.tensor([[0.0] * len(row), row])
    sampler = Sampler(temperature=temperature)
    message = rf"logits: expected finite scores, .* largest is {largest}\. .*earlier checkpoint"
    for call in (sampler.probabilities, sampler.draw):
        with pytest.raises(ValueError, match=message):
            call(logits)


def test_no_scores_are_named() -> None:
    with pytest.raises(ValueError, match=re.escape("V at least 1, got shape (2, 0)")):
        Sampler().draw(torch.zeros(2, 0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -0.5}, "temperature: expected a finite number, 0 or more, got -0.5"),
        ({"temperature": math.nan}, "temperature: expected a finite number, 0 or more, got nan"),
        ({"temperature": math.inf}, "temperature: expected a finite number, 0 or more, got inf"),
        ({"top_k": 0}, "top_k: expected at least 1, got 0"),
        ({"top_p": 0.0}, "top_p: expected more than 0 and at most 1, got 0.0"),
        ({"top_p": 1.1}, "top_p: expected more than 0 and at most 1, got 1.1"),
        ({"top_p": math.nan}, "top_p: expected more than 0 and at most 1, got nan"),
    ],
)
def test_arguments_out_of_range_are_named(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Sampler(**options)


@pytest.mark.parametrize(
    "options", [{}, {"temperature": 2.0}, {"top_k": 4}, {"top_p": 0.8}, {"top_k": 5, "top_p": 0.7}]
)
def test_tokens_are_drawn_as_often_as_they_should(options: dict[str, float]) -> None:
    logits = torch.tensor([0.3, -1.0, 1.2, 0.0, 2.0, -0.4, 0.9])
    sampler = Sampler(**options)
    num_draws = 20_000
    drawn = sampler.draw(logits.expand(num_draws, -1), torch.Generator().manual_seed(1))
    counts = torch.bincount(drawn, minlength=len(logits)).double()
    expected = sampler.probabilities(logits).double() * num_draws
    possible = expected > 0
    assert int(counts[~possible].sum()) == 0
    chi_square = float(((counts - expected)[possible] ** 2 / expected[possible]).sum())
    # The 99.99 % point of chi-square with 6 degrees of freedom is 27.9.
    assert chi_square < 27.9


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (1, 4, 2)])
@pytest.mark.parametrize("temperature", [0, 1])
def test_one_token_is_drawn_for_each_row(shape: tuple[int, ...], temperature: int) -> None:
    logits = torch.zeros(*shape, 6)
    logits[..., 2] = 100.0
    ids = Sampler(temperature=temperature).draw(logits)
    assert ids.shape == shape
    assert ids.dtype == torch.int64
    assert (ids == 2).all()


def test_seeds_reproduce_and_differ() -> None:
    logits = torch.randn(50, 20)

    def draw(seed: int) -> list[int]:
        return Sampler(top_p=0.95).draw(logits, torch.Generator().manual_seed(seed)).tolist()

    assert draw(7) == draw(7)
    assert draw(7) != draw(8)


@pytest.mark.medium
@given(rows, st.floats(0, 1, exclude_max=True), st.sampled_from([0.0, 0.5, 2.0]))
def test_a_token_is_picked_by_where_the_number_falls(
    row: list[float], uniform: float, temperature: float
) -> None:
    sampler, logits = Sampler(temperature=temperature), torch.tensor(row).double()
    probabilities = sampler.probabilities(logits).tolist()
    picked = int(sampler.pick(logits, torch.tensor(uniform, dtype=torch.float64)))
    assert probabilities[picked] > 0
    assert sum(probabilities[:picked]) <= uniform + 1e-12
    assert sum(probabilities[: picked + 1]) >= uniform - 1e-12


def test_half_precision_scores_are_widened() -> None:
    logits = torch.tensor([0.0, 1.0, 2.0], dtype=torch.bfloat16)
    probabilities = Sampler().probabilities(logits)
    assert probabilities.dtype == torch.float32
    torch.testing.assert_close(probabilities, logits.float().softmax(-1))


def test_the_scores_are_left_alone() -> None:
    logits = torch.tensor([2.0, 1.0, 3.0])
    Sampler(temperature=0.5, top_k=1, top_p=0.5).draw(logits)
    assert logits.tolist() == [2.0, 1.0, 3.0]


@pytest.mark.gpu
def test_a_cpu_generator_draws_the_same_on_a_gpu() -> None:
    logits = torch.randn(50, 20)
    draws = [
        Sampler(top_k=5).draw(logits.to(device), torch.Generator().manual_seed(3))
        for device in ("cpu", "cuda")
    ]
    assert draws[1].device.type == "cuda"
    assert draws[0].tolist() == draws[1].tolist()
