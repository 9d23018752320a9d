"""Beam search against every sequence there is, and against each input by itself."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from recurra.decoding import Sampler, beam_search, first_choices
from recurra.decoding.beam import largest, length_norm

MARK = 4  # of five tokens


class Bigrams:
    """A decoder whose scores depend on the token before and on the input of the row."""

    def __init__(self, tables: Tensor, rows: Tensor) -> None:
        self.tables, self.rows = tables, rows  # [inputs, V, V]
        self.seen: list[int] = []

    def __call__(self, tokens: Tensor) -> Tensor:
        self.seen.append(len(tokens))
        return self.tables[self.rows, tokens].clone()

    def reorder(self, rows: Tensor) -> None:
        self.rows = self.rows[rows]


def tables(count: int, seed: int = 3, size: int = 5) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return 2 * torch.randn((count, size, size), generator=draw, dtype=torch.float32)


def every_sequence(table: Tensor, longest: int, penalty: float) -> list[tuple[float, tuple]]:
    log_p = table.double().log_softmax(1)
    found = []
    for steps in range(longest + 1):
        for tokens in itertools.product(range(MARK), repeat=steps):
            path = (MARK, *tokens, MARK)
            total = sum(float(log_p[a, b]) for a, b in itertools.pairwise(path))
            found.append((total / float(length_norm(steps + 1, penalty)), tokens))
    return sorted(found, reverse=True)


def rows_of(count: int, beams: int) -> Tensor:
    return torch.arange(count).repeat_interleave(beams)


@pytest.mark.parametrize("penalty", [0.0, 0.7, 1.5])
def test_wide_enough_it_finds_what_trying_everything_finds(penalty: float) -> None:
    given, limits, K = tables(3), [1, 3, 2], MARK**3
    found = beam_search(
        Bigrams(given, rows_of(3, K)),
        limits,
        beam_size=K,
        mark=MARK,
        length_penalty=penalty,
        num_best=4,
        exact=True,
    )
    for table, longest, best in zip(given, limits, found, strict=True):
        expected = every_sequence(table, longest, penalty)[:4]
        assert [each.tokens for each in best] == [tokens for _, tokens in expected]
        for each, (score, _) in zip(best, expected, strict=True):
            assert math.isclose(each.score, score, abs_tol=1e-5)


@pytest.mark.parametrize("beams", [1, 2, 3, 5])
def test_an_input_does_not_see_the_others(beams: int) -> None:
    """With inputs that are done long before others, which leave the batch."""
    given = tables(9, seed=5)
    given[::2, :, MARK] += 4  # ends soon
    given[1::2, :, MARK] -= 3
    limits = [12, 9, 3, 20, 1, 17, 5, 2, 8]
    options = {"beam_size": beams, "mark": MARK, "num_best": beams}
    decoder = Bigrams(given, rows_of(9, beams))
    together = beam_search(decoder, limits, **options)
    alone = [
        beam_search(Bigrams(given[n : n + 1], rows_of(1, beams)), [limits[n]], **options)[0]
        for n in range(9)
    ]
    assert together == alone
    assert decoder.seen[-1] < decoder.seen[0]  # those that were done have left


def test_more_beams_find_no_worse_and_sometimes_better() -> None:
    given, gained = tables(40, seed=8), 0
    best = {}
    for beams in (1, 2, 8):
        decoder = Bigrams(given, rows_of(40, beams))
        found = beam_search(
            decoder, [6] * 40, beam_size=beams, mark=MARK, length_penalty=0.0, exact=True
        )
        best[beams] = [each[0].score for each in found]
    for one, eight in zip(best[1], best[8], strict=True):
        assert eight >= one - 1e-6
        gained += eight > one + 1e-6
    assert gained > 0


def test_a_limit_is_kept_and_said() -> None:
    given = tables(1)
    given[:, :, MARK] = -50.0
    (best,) = beam_search(Bigrams(given, rows_of(1, 3)), [4], beam_size=3, mark=MARK)
    assert len(best[0].tokens) == 4
    assert not best[0].finished


def test_the_most_probable_token_each_time() -> None:
    given = tables(6, seed=2)
    found = first_choices(
        Bigrams(given, torch.arange(6)), [7] * 6, mark=MARK, sampler=Sampler(temperature=0)
    )
    for table, each in zip(given, found, strict=True):
        log_p, token, words, total = table.log_softmax(1), MARK, [], 0.0
        for step in range(8):
            chosen = MARK if step == 7 else int(log_p[token].argmax())
            total += float(log_p[token, chosen])
            token = chosen
            if token == MARK:
                break
            words.append(token)
        assert each.tokens == tuple(words)
        assert math.isclose(each.log_probability, total, abs_tol=1e-5)


def test_without_scores_the_tokens_are_the_same() -> None:
    given = tables(5, seed=6, size=700)
    options = {"mark": 2, "sampler": Sampler(temperature=0)}
    found = first_choices(Bigrams(given, torch.arange(5)), [6] * 5, **options)
    plain = first_choices(Bigrams(given, torch.arange(5)), [6] * 5, scored=False, **options)
    assert [each.tokens for each in plain] == [each.tokens for each in found]
    assert all(math.isnan(each.score) for each in plain)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("size", [5, 700])
def test_one_score_that_is_not_finite_is_told(bad: float, size: int) -> None:
    """Whoever looks for tokens, with scores or without, and whatever the mark's own score is."""
    given = tables(2, size=size)
    given[1, :, 3] = bad
    greedy = {"mark": MARK, "sampler": Sampler(temperature=0)}
    with pytest.raises(ValueError, match="expected finite scores"):
        beam_search(Bigrams(given, rows_of(2, 3)), [4] * 2, beam_size=3, mark=MARK)
    for scored in (True, False):
        with pytest.raises(ValueError, match="expected finite scores"):
            first_choices(Bigrams(given, torch.arange(2)), [4] * 2, scored=scored, **greedy)


@pytest.mark.medium
def test_what_is_drawn_has_the_models_probabilities_and_does_not_depend_on_the_others() -> None:
    given, N = tables(1, seed=4), 4000
    options = {"mark": MARK, "sampler": Sampler()}

    def generators(numbers: range) -> list[torch.Generator]:
        return [torch.Generator().manual_seed(n) for n in numbers]

    decoder = Bigrams(given, torch.zeros(N, dtype=torch.int64))
    found = first_choices(decoder, [3] * N, generators=generators(range(N)), **options)
    first = [each.tokens[0] if each.tokens else MARK for each in found]
    counts = torch.bincount(torch.tensor(first), minlength=5) / N
    assert (counts - given[0, MARK].softmax(0)).abs().max() < 0.03
    some = Bigrams(given, torch.zeros(5, dtype=torch.int64))
    assert first_choices(some, [3] * 5, generators=generators(range(5)), **options) == found[:5]


@pytest.mark.parametrize("size", [5, 60, 700, 1287])
@pytest.mark.parametrize("count", [1, 3, 10])
def test_the_largest_scores_of_each_row(size: int, count: int) -> None:
    """By blocks or not: those that sorting finds."""
    scores = torch.randn(7, size)
    expected = scores.log_softmax(1)
    end = expected[:, 2].clone()
    expected[:, 2] = -math.inf
    wanted, ids = expected.sort(dim=1, descending=True)
    options = {"log_probabilities": True}
    values, found, mark = largest(scores.clone(), count, 2, left_out=True, **options)
    count = min(count, size - 1)
    torch.testing.assert_close(values, wanted[:, :count])
    assert found.equal(ids[:, :count])
    torch.testing.assert_close(mark, end)
    plain, found, mark = largest(scores.clone(), 1, 2, left_out=False, log_probabilities=False)
    assert plain[:, 0].equal(scores.amax(1))
    assert found[:, 0].equal(scores.argmax(1))
    assert mark.equal(scores[:, 2])
