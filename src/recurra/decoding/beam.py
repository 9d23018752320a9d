"""Beam search: the sequences that a model finds most probable, for many inputs at once.

Letters: B inputs, K beams of each, N = B K rows that a decoder runs side by side, V tokens.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from recurra.decoding.sampler import Sampler

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


def length_norm(steps: int | Tensor, penalty: float) -> float | Tensor:
    """What log-probabilities are divided by: ((5 + steps) / 6) ** penalty.

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
    """One search. Inputs that are done stay, with nothing to go on with, until half of them are."""

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
        self.length_penalty, self.num_best, self.exact = length_penalty, num_best, exact
        B = len(max_steps)
        self.found: list[list[Hypothesis]] = [[] for _ in range(B)]
        # of each input that is still here:
        self.numbers = _whole(range(B))
        self.limits = _whole(max_steps)
        self.is_done = torch.zeros(B, dtype=torch.bool, device="cpu")
        self.log_p = torch.full((B, beam_size), -math.inf, dtype=torch.float32, device="cpu")
        self.log_p[:, 0] = 0.0  # all beams begin alike
        # what was ended, the best first: its score, its log-probability, how many tokens it has,
        # and the beam that it was of
        self.scores = torch.full_like(self.log_p, -math.inf)
        self.ended = self.scores.clone()
        self.steps = torch.zeros_like(self.log_p, dtype=torch.int64)
        self.beams = self.steps.clone()
        # the tokens of each step, and the beams that they went on from
        self.tokens: list[Tensor] = []
        self.parents: list[Tensor] = []

    def run(self) -> list[list[Hypothesis]]:
        tokens = torch.full((self.log_p.numel(),), self.mark, dtype=torch.int64, device="cpu")
        with torch.no_grad():
            while True:
                values, ids, end = top_log_probabilities(self.decoder(tokens), self.K, self.mark)
                self._end(end.cpu())
                rows = self._go_on(values.cpu(), ids.cpu())
                self._see_who_is_done()
                if self.is_done.all():
                    self._give(self.is_done)
                    return self.found
                if 2 * int(self.is_done.sum()) >= len(self.is_done):
                    rows = rows[~self.is_done]
                    self._give(self.is_done)
                self.decoder.reorder(rows.flatten())
                tokens = self.tokens[-1].flatten()

    def _end(self, end: Tensor) -> None:
        """Keep what has a better score, ended now, than what was ended before."""
        steps = len(self.tokens)
        log_p = self.log_p + end.view_as(self.log_p)
        log_p = log_p.masked_fill(self.is_done[:, None], -math.inf)
        scores = log_p / length_norm(steps + 1, self.length_penalty)
        self.scores, chosen = torch.cat([self.scores, scores], dim=1).topk(self.K, dim=1)
        now = torch.arange(self.K, dtype=torch.int64, device="cpu").expand_as(self.beams)
        self.ended = torch.cat([self.ended, log_p], dim=1).gather(1, chosen)
        both = torch.cat([self.steps, torch.full_like(self.steps, steps)], dim=1)
        self.steps = both.gather(1, chosen)
        self.beams = torch.cat([self.beams, now], dim=1).gather(1, chosen)

    def _go_on(self, values: Tensor, ids: Tensor) -> Tensor:
        """The most probable beginnings with a token more; which rows they go on from, [B, K]."""
        B, K = self.log_p.shape
        size = values.shape[1]
        sums = self.log_p[..., None] + values.view(B, K, size)
        self.log_p, chosen = sums.view(B, K * size).topk(K, dim=1)
        parents = chosen // size
        self.tokens.append(ids.view(B, K * size).gather(1, chosen))
        self.parents.append(parents)
        return parents + torch.arange(B, dtype=torch.int64, device="cpu")[:, None] * K

    def _see_who_is_done(self) -> None:
        steps = len(self.tokens)
        longest = self.limits if self.exact else torch.full_like(self.limits, steps)
        norm = length_norm(longest + 1, self.length_penalty)
        at_most = self.log_p[:, 0] / norm  # no token makes a log-probability larger
        self.is_done |= (steps > self.limits) | (self.scores[:, self.num_best - 1] >= at_most)
        self.log_p[self.is_done] = -math.inf

    def _give(self, leaving: Tensor) -> None:
        """The sequences of inputs that leave."""
        tokens = torch.stack(self.tokens).numpy()
        parents = torch.stack(self.parents).numpy()
        for b in leaving.nonzero().flatten().tolist():
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
    limits = _whole(max_steps)
    numbers = _whole(range(len(limits)))
    words: list[list[int]] = [[] for _ in max_steps]
    log_p, ended = [0.0] * len(words), [False] * len(words)
    tokens = torch.full_like(limits, mark)
    with torch.no_grad():
        for step in range(int(limits.max()) + scored):
            scores = decoder(tokens).float()
            if sampler.temperature == 0:
                tokens = _largest(scores)
            else:
                assert generators is not None
                drawn = zip(scores, numbers.tolist(), strict=True)
                tokens = torch.stack([sampler.draw(row, generators[n]) for row, n in drawn])
            is_last = limits[numbers] <= step
            tokens = tokens.cpu().masked_fill(is_last, mark)
            gained = [math.nan] * len(tokens)
            if scored:
                taken = scores.gather(1, tokens.to(scores.device)[:, None]).squeeze(1)
                gained = (taken - scores.logsumexp(dim=1)).tolist()
            for n, token, gain, last in zip(
                numbers.tolist(), tokens.tolist(), gained, is_last.tolist(), strict=True
            ):
                log_p[n] += gain
                if token == mark:
                    ended[n] = not last
                else:
                    words[n].append(token)
            stay = tokens != mark
            if not stay.any():
                break
            if not stay.all():
                numbers, tokens = numbers[stay], tokens[stay]
                decoder.reorder(stay.nonzero().flatten())
    return [
        Hypothesis(tokens=tuple(w), log_probability=p, score=p, finished=e)
        for w, p, e in zip(words, log_p, ended, strict=True)
    ]


def _largest(scores: Tensor) -> Tensor:
    """Where the largest of each row stands, the first of equal ones, [N].

    The largest of each block are found by vector instructions, which one of them is largest not.
    """
    whole = scores.shape[1] // _BLOCK * _BLOCK
    if scores.shape[1] < 8 * _BLOCK:
        return scores.argmax(dim=1)
    blocks = scores[:, :whole].view(len(scores), -1, _BLOCK)
    value, block = blocks.amax(dim=2).max(dim=1)
    inside = blocks[torch.arange(len(scores), dtype=torch.int64, device=scores.device), block]
    best = block * _BLOCK + inside.argmax(dim=1)
    if whole == scores.shape[1]:
        return best
    last, place = scores[:, whole:].max(dim=1)
    return torch.where(last > value, place + whole, best)


def top_log_probabilities(scores: Tensor, count: int, mark: int) -> tuple[Tensor, Tensor, Tensor]:
    """The most probable tokens of each row but the mark, and the log-probability of the mark.

    Args:
        scores: [N, V] unnormalised; written over.
        count: of tokens; fewer are given where there are not so many.
        mark: its id.
    Returns:
        values: [N, count], log-probabilities, the largest first.
        ids: [N, count].
        end: [N].
    """
    scores = scores.float()
    N, V = scores.shape
    total = scores.logsumexp(dim=1)
    end = scores[:, mark] - total
    scores[:, mark] = -math.inf
    count = min(count, V - 1)
    whole = V // _BLOCK * _BLOCK
    if 2 * count * _BLOCK > V:
        values, ids = scores.topk(count, dim=1)
        return values - total[:, None], ids, end
    # the largest are in the blocks whose largest are largest: few scores need to be put in order
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
    return values - total[:, None], ids, end


def _whole(numbers: Sequence[int] | range) -> Tensor:
    return torch.tensor(list(numbers), dtype=torch.int64, device="cpu")
