"""Beam search: the sequences that a model finds most probable, for many inputs at once.

Letters: B inputs, K beams of each, N = B K rows that a decoder runs side by side, V tokens.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from recurra.decoding.sampler import Sampler, check_largest

_BLOCK = 64  # scores whose largest is looked at first


@runtime_checkable
class StepDecoder(Protocol):
    """What writes a token a step, for several rows side by side, each from a state of its own."""

    def __call__(self, tokens: Tensor) -> Tensor:
        """The scores [N, V] of the next token of each row, after reading tokens [N]."""
        ...

    def reorder(self, rows: Tensor) -> None:
        """Row i goes on as row rows[i] would; there are as many rows afterwards as in `rows`."""
        ...


@runtime_checkable
class ChoosingDecoder(StepDecoder, Protocol):
    """One that finds the largest scores by itself, sooner than they could be looked through."""

    def choose(
        self, tokens: Tensor, count: int, mark: int, *, left_out: bool, log_probabilities: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """A step, and what `largest` makes of its scores."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Hypothesis:
    """A sequence that was found.

    Attributes:
        tokens: without the mark of the end.
        log_probability: of all of them and of the end, in nats.
        score: what it was chosen by; see `length_norm`.
        finished: whether the end was chosen, and not come upon after as many steps as are allowed.
    """

    tokens: tuple[int, ...]
    log_probability: float
    score: float
    finished: bool = True


def length_norm(steps: Any, penalty: float) -> Any:
    """What log-probabilities are divided by: ((5 + steps) / 6) ** penalty; of a number or an array.

    Source: Wu et al. (2016), "Google's Neural Machine Translation System", arXiv:1609.08144,
    eq. (14).
    """
    return ((5.0 + steps) / 6.0) ** penalty


def beam_search(
    decoder: StepDecoder,
    max_steps: Sequence[int],
    *,
    beam_size: int,
    mark: int,
    length_penalty: float = 1.0,
    num_best: int = 1,
    exact: bool = False,
) -> list[list[Hypothesis]]:
    """The best sequences of each input, the best first.

    In each step the `beam_size` most probable beginnings of each input go on. Each beginning that
    went on is also ended, and the best of what was ended is kept by its score. An input is done
    when no beginning of it, ended now, would be among its `num_best`. Inputs do not see each other.

    Args:
        decoder: with B * K rows, those of an input side by side, all in their first state.
        max_steps: [B], the most tokens for each input, 1 or more; then the end is taken.
        beam_size: K.
        mark: the id of the mark, which is read first, and ends a sequence.
        length_penalty: see `length_norm`; 0 compares log-probabilities as they are.
        num_best: sequences that are given for each input, at most K.
        exact: go on until no beginning could still become one of the best, whatever it went on
            with. With K of V ** steps or more nothing is missed then.
    Returns:
        B lists of `num_best` sequences, fewer where there are not so many.
    """
    search = _Search(decoder, max_steps, beam_size, mark, length_penalty, num_best, exact)
    return search.run()


class _Search:
    """One search. Inputs that are done stay, with nothing to go on with, until some are."""

    def __init__(
        self,
        decoder: StepDecoder,
        max_steps: Sequence[int],
        beam_size: int,
        mark: int,
        length_penalty: float,
        num_best: int,
        exact: bool,
    ) -> None:
        self.decoder, self.K, self.mark = decoder, beam_size, mark
        self.choose = _chooser(decoder)
        self.length_penalty, self.num_best, self.exact = length_penalty, num_best, exact
        B = len(max_steps)
        self.found: list[list[Hypothesis]] = [[] for _ in range(B)]
        # Of each input that is still here; arrays, as they are small and many.
        self.numbers = np.arange(B)
        self.limits = np.array(max_steps, dtype=np.int64)
        self.is_done = np.zeros(B, dtype=bool)
        self.log_p = np.full((B, beam_size), -np.inf, dtype=np.float32)
        self.log_p[:, 0] = 0.0  # all beams begin alike
        # what was ended, the best first: its score, its log-probability, how many tokens it has,
        # and the beam that it was of
        self.scores = np.full_like(self.log_p, -np.inf)
        self.ended = self.scores.copy()
        self.steps = np.zeros_like(self.log_p, dtype=np.int64)
        self.beams = self.steps.copy()
        # the tokens of each step, and the beams that they went on from
        self.tokens: list[np.ndarray] = []
        self.parents: list[np.ndarray] = []

    def run(self) -> list[list[Hypothesis]]:
        tokens = torch.full((self.log_p.size,), self.mark, dtype=torch.int64, device="cpu")
        with torch.no_grad():
            while True:
                values, ids, end = self.choose(
                    tokens, self.K, self.mark, left_out=True, log_probabilities=True
                )
                of_mark = end.cpu().numpy()
                _check_told_apart(float(of_mark.sum()))
                self._end(of_mark)
                rows = self._go_on(values.cpu().numpy(), ids.cpu().numpy())
                self._see_who_is_done()
                done = int(self.is_done.sum())
                if done == len(self.is_done):
                    self._give(self.is_done)
                    return self.found
                if _may_leave(done, len(self.is_done)):
                    rows = rows[~self.is_done]
                    self._give(self.is_done)
                self.decoder.reorder(torch.from_numpy(rows.reshape(-1)))
                tokens = torch.from_numpy(self.tokens[-1].reshape(-1))

    def _end(self, end: np.ndarray) -> None:
        """Keep what has a better score, ended now, than what was ended before."""
        steps = len(self.tokens)
        log_p = self.log_p + end.reshape(self.log_p.shape)
        log_p[self.is_done] = -np.inf
        scores = log_p / length_norm(steps + 1, self.length_penalty)
        both = np.concatenate([self.scores, scores], axis=1)
        chosen = _largest_of(both, self.K)
        rows = np.arange(len(both))[:, None]
        self.scores = both[rows, chosen]
        self.ended = np.concatenate([self.ended, log_p], axis=1)[rows, chosen]
        is_new = chosen >= self.K
        before = np.where(is_new, 0, chosen)
        self.steps = np.where(is_new, steps, self.steps[rows, before])
        self.beams = np.where(is_new, chosen - self.K, self.beams[rows, before])

    def _go_on(self, values: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """The most probable beginnings with a token more; which rows they go on from, [B, K]."""
        B, K = self.log_p.shape
        size = values.shape[1]
        sums = (self.log_p[..., None] + values.reshape(B, K, size)).reshape(B, K * size)
        chosen = _largest_of(sums, K)
        rows = np.arange(B)[:, None]
        self.log_p = sums[rows, chosen]
        parents = chosen // size
        self.tokens.append(ids.reshape(B, K * size)[rows, chosen])
        self.parents.append(parents)
        return parents + rows * K

    def _see_who_is_done(self) -> None:
        steps = len(self.tokens)
        norm: Any = length_norm(steps + 1, self.length_penalty)
        if self.exact:
            norm = length_norm(self.limits + 1, self.length_penalty).astype(np.float32)
        at_most = self.log_p[:, 0] / norm  # no token makes a log-probability larger
        self.is_done |= (steps > self.limits) | (self.scores[:, self.num_best - 1] >= at_most)
        self.log_p[self.is_done] = -np.inf

    def _give(self, leaving: np.ndarray) -> None:
        """The sequences of inputs that leave."""
        tokens, parents = np.stack(self.tokens), np.stack(self.parents)
        for b in np.flatnonzero(leaving).tolist():
            number, limit = int(self.numbers[b]), int(self.limits[b])
            for k in range(self.num_best):
                score, steps = float(self.scores[b, k]), int(self.steps[b, k])
                if score == -math.inf:
                    break
                beam, words = int(self.beams[b, k]), []
                for t in range(steps - 1, -1, -1):
                    words.append(int(tokens[t, b, beam]))
                    beam = int(parents[t, b, beam])
                self.found[number].append(
                    Hypothesis(
                        tokens=tuple(reversed(words)),
                        log_probability=float(self.ended[b, k]),
                        score=score,
                        finished=steps < limit,
                    )
                )
        stay = ~leaving
        for name in ("numbers", "limits", "is_done", "log_p", "scores", "ended", "steps", "beams"):
            setattr(self, name, getattr(self, name)[stay])
        self.tokens = [each[stay] for each in self.tokens]
        self.parents = [each[stay] for each in self.parents]


def first_choices(
    decoder: StepDecoder,
    max_steps: Sequence[int],
    *,
    mark: int,
    sampler: Sampler,
    generators: Sequence[torch.Generator] | None = None,
    scored: bool = True,
) -> list[Hypothesis]:
    """A sequence for each input, token by token: the most probable one, or one that is drawn.

    Args:
        decoder: with B rows.
        max_steps: [B], the most tokens for each.
        mark: the id of the mark, which is read first, and ends a sequence.
        sampler: how a token is chosen; of temperature 0 the most probable.
        generators: of each input, to draw with, so that it does not depend on the others.
        scored: whether log-probabilities are wanted, for which all scores are added up; without
            them they are NaN.
    Returns:
        B sequences; their score is their log-probability by the model itself.
    """
    choose = _chooser(decoder)
    words: list[list[int]] = [[] for _ in max_steps]
    log_p, ended = [0.0] * len(words), [False] * len(words)
    finished = ended.copy()
    numbers = list(range(len(words)))  # whose rows there are
    tokens = torch.full((len(words),), mark, dtype=torch.int64, device="cpu")
    with torch.no_grad():
        for step in range(max(max_steps) + scored):
            if sampler.temperature == 0:
                values, chosen, of_mark = choose(
                    tokens, 1, mark, left_out=False, log_probabilities=scored
                )
                tokens, gained = chosen[:, 0].cpu(), values[:, 0].tolist()
                gained_by_mark = of_mark.tolist()
                _check_told_apart(sum(gained_by_mark))
                check_largest(sum(gained))
            else:
                assert generators is not None
                scores = decoder(tokens).float()
                tokens, gained, gained_by_mark = _drawn(
                    scores, [None if ended[n] else generators[n] for n in numbers], sampler, mark
                )
            stay = []
            for row, (n, token) in enumerate(zip(numbers, tokens.tolist(), strict=True)):
                if ended[n]:
                    continue
                last = step >= max_steps[n]
                if last or token == mark:
                    log_p[n] += gained_by_mark[row]
                    ended[n], finished[n] = True, not last
                else:
                    log_p[n] += gained[row]
                    words[n].append(token)
                    stay.append(row)
            if not stay:
                break
            if _may_leave(len(numbers) - len(stay), len(numbers)):
                numbers = [numbers[row] for row in stay]
                rows = _whole(stay)
                tokens = tokens[rows]
                decoder.reorder(rows)
    return [
        Hypothesis(
            tokens=tuple(w),
            log_probability=p if scored else math.nan,
            score=p if scored else math.nan,
            finished=f,
        )
        for w, p, f in zip(words, log_p, finished, strict=True)
    ]


def _drawn(
    scores: Tensor,
    generators: Sequence[torch.Generator | None],
    sampler: Sampler,
    mark: int,
) -> tuple[Tensor, list[float], list[float]]:
    """A token for each row (the mark without a generator), its log-probability, and the mark's."""
    ids = [
        mark if each is None else int(sampler.draw(row, each))
        for row, each in zip(scores, generators, strict=True)
    ]
    tokens = _whole(ids)
    log_p = scores.log_softmax(dim=1)
    of_tokens = log_p.gather(1, tokens.to(scores.device)[:, None]).squeeze(1)
    return tokens, of_tokens.tolist(), log_p[:, mark].tolist()


def _may_leave(done: int, count: int) -> bool:
    """Whether so many have nothing more to do that it is worth to go on without them."""
    return 4 * done >= count


def _chooser(decoder: StepDecoder) -> Callable[..., tuple[Tensor, Tensor, Tensor]]:
    """`ChoosingDecoder.choose` of any decoder."""
    if isinstance(decoder, ChoosingDecoder):
        return decoder.choose

    def choose(tokens: Tensor, *wanted: int, **options: bool) -> tuple[Tensor, Tensor, Tensor]:
        return largest(decoder(tokens), *wanted, **options)

    return choose


def largest(
    scores: Tensor, count: int, mark: int, *, left_out: bool, log_probabilities: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The largest scores of each row.

    Args:
        scores: [N, V] unnormalised; written over.
        count: how many; fewer are given where there are not so many.
        mark: an id whose value is wanted besides.
        left_out: whether it is none of the largest.
        log_probabilities: whether values are these, or the scores as they are.
    Returns:
        values: [N, count], the largest first.
        ids: [N, count].
        of_mark: [N].
    """
    scores = scores.float()
    total = scores.new_zeros(len(scores))
    if log_probabilities:
        total = scores.logsumexp(dim=1)
        total[total.isinf()] = math.nan  # no share of it means anything
    of_mark = scores[:, mark] - total
    if left_out:
        scores[:, mark] = -math.inf
    values, ids = _top(scores, min(count, scores.shape[1] - left_out))
    return values - total[:, None], ids, of_mark


def _top(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """`topk`, where many scores need not be put in order."""
    N, V = scores.shape
    whole = V // _BLOCK * _BLOCK
    if 2 * count * _BLOCK > V:
        if count == 1:  # of equal ones the first
            ids = scores.argmax(dim=1, keepdim=True)
            return scores.gather(1, ids), ids
        return scores.topk(count, dim=1)
    # the largest are in the blocks whose largest are largest
    blocks = scores[:, :whole].view(N, -1, _BLOCK)
    best = blocks.amax(dim=2).topk(count, dim=1).indices
    near = blocks.gather(1, best[..., None].expand(-1, -1, _BLOCK)).flatten(1)
    values, places = torch.cat([near, scores[:, whole:]], dim=1).topk(count, dim=1)
    block = best.gather(1, (places // _BLOCK).clamp(max=count - 1))
    ids = torch.where(
        places < count * _BLOCK,
        block * _BLOCK + places % _BLOCK,
        places - count * _BLOCK + whole,
    )
    return values, ids


def _check_told_apart(of_mark: float) -> None:
    """Raise ValueError where the scores of the mark add up to NaN, as those of a model do whose
    weights are: no token is more probable than another then, and none is certain."""
    if math.isnan(of_mark):  # -inf of a mark that is ruled out is no fault
        check_largest(math.nan)


def _largest_of(values: np.ndarray, count: int) -> np.ndarray:
    """[B, count], where the largest of each row [B, n] stand, the first of equal ones first."""
    return (-values).argsort(axis=1, kind="stable")[:, :count]


def _whole(numbers: Sequence[int] | range) -> Tensor:
    return torch.tensor(list(numbers), dtype=torch.int64, device="cpu")
