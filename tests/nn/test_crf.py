"""A conditional random field against all sequences of labels, one by one."""

from itertools import product

import pytest
import torch
from torch import Tensor

from recurra.nn.crf import CRF, Allowed, Chain

T, B, K = 4, 3, 3
LENGTHS = torch.tensor([4, 1, 3])


def drawn(backend: str = "reference", dtype: torch.dtype = torch.float64) -> tuple[CRF, Tensor]:
    crf = CRF(K, backend=backend, dtype=dtype)
    for parameter in crf.parameters():
        torch.nn.init.normal_(parameter)
    return crf, torch.randn(T, B, K, dtype=dtype, requires_grad=True)


def paths(length: int) -> Tensor:
    return torch.tensor(list(product(range(K), repeat=length)))


def score_by_hand(crf: CRF, scores: Tensor, path: Tensor) -> Tensor:
    total = crf.first[path[0]] + crf.last[path[-1]]
    for step, label in enumerate(path):
        total = total + scores[step, label]
        if step:
            total = total + crf.transitions[label, path[step - 1]]
    return total


def test_the_partition_is_the_sum_over_all_paths() -> None:
    crf, scores = drawn()
    found = crf.log_partition(scores, LENGTHS)
    for b, length in enumerate(LENGTHS.tolist()):
        each = torch.stack([score_by_hand(crf, scores[:, b], path) for path in paths(length)])
        torch.testing.assert_close(found[b], each.logsumexp(0))


@pytest.mark.medium
def test_probabilities_of_all_paths_are_one_and_gradients_are_right() -> None:
    crf, scores = drawn()
    labels = paths(T).T  # every path is a sequence of the batch
    same = scores[:, :1].expand(T, labels.shape[1], K)
    lengths = torch.full((labels.shape[1],), T)
    total = (-crf.nll(same, labels, lengths)).exp().sum()
    torch.testing.assert_close(total, torch.ones_like(total))
    names, given = zip(*crf.named_parameters(), strict=True)
    gold = torch.randint(K, (T, B))

    def nll(scores: Tensor, *parameters: Tensor) -> Tensor:
        own = dict(zip(names, parameters, strict=True))
        return torch.func.functional_call(_Nll(crf), {f"crf.{k}": v for k, v in own.items()},
                                          (scores, gold, LENGTHS))  # fmt: skip

    assert torch.autograd.gradcheck(nll, (scores, *given))


class _Nll(torch.nn.Module):
    def __init__(self, crf: CRF) -> None:
        super().__init__()
        self.crf = crf

    def forward(self, *given: Tensor) -> Tensor:
        return self.crf.nll(*given)


def test_what_lies_past_a_length_is_not_looked_at() -> None:
    crf, scores = drawn()
    gold = torch.randint(K, (T, B))
    past = torch.arange(T)[:, None] >= LENGTHS
    other = scores.detach().masked_fill(past[..., None], float("nan"))
    found = crf.nll(other, gold.masked_fill(past, -1), LENGTHS)
    torch.testing.assert_close(found, crf.nll(scores, gold, LENGTHS))


@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_scores_of_every_size_have_their_partition_and_gradients(backend: str) -> None:
    """Judged in float64, where a logarithm of a sum of exponentials is torch's."""
    for scale in (1.0, 100.0, 1e4):
        torch.manual_seed(0)
        crf, like = CRF(K, backend=backend), CRF(K, dtype=torch.float64)
        with torch.no_grad():
            for own, wide in zip(crf.parameters(), like.parameters(), strict=True):
                wide.copy_(own.normal_(0, scale))
        scores = torch.randn(T, B, K, requires_grad=True)
        wanted = scores.detach().double().requires_grad_()
        alpha = [wanted[0] + like.first]
        for step in range(1, T):
            moved = (alpha[-1][:, None] + like.transitions).logsumexp(-1) + wanted[step]
            inside = LENGTHS[:, None] > step
            alpha.append(torch.where(inside, moved, alpha[-1]))
        total = (alpha[-1] + like.last).logsumexp(-1)
        found = crf.log_partition(scores, LENGTHS)
        torch.testing.assert_close(found.double(), total, rtol=1e-6, atol=1e-4)
        own = torch.autograd.grad(found.sum(), [scores, *crf.parameters()])
        wide = torch.autograd.grad(total.sum(), [wanted, *like.parameters()])
        for gradient, right in zip(own, wide, strict=True):
            torch.testing.assert_close(gradient.double(), right, rtol=1e-3, atol=1e-3)


def test_what_cannot_be_is_not_whatever_it_scores() -> None:
    scores = torch.tensor([[[0.0, 0.0, 1e7]], [[0.0, 0.0, 1e7]]])
    chain = Chain(3, allowed=Allowed.bio(["O", "B-x", "I-x"]))
    assert chain.best_path(scores)[:, 0].tolist() == [1, 2]
    assert chain.best_path(scores[:0]).shape == (0, 1)


def test_compiled_equals_the_reference() -> None:
    crf, scores = drawn(dtype=torch.float32)
    compiled = CRF(K, dtype=torch.float32)
    compiled.load_state_dict(crf.state_dict())
    torch.testing.assert_close(
        compiled.log_partition(scores, LENGTHS), crf.log_partition(scores, LENGTHS)
    )


@pytest.mark.parametrize("with_crf", [False, True])
@pytest.mark.parametrize("constrained", [False, True])
def test_the_best_path_is_the_best_of_all(with_crf: bool, constrained: bool) -> None:
    crf, scores = drawn()
    allowed = Allowed.bio(["O", "B-x", "I-x"]) if constrained else None
    chain = Chain(K, crf=crf if with_crf else None, allowed=allowed)
    found = chain.best_path(scores, LENGTHS)
    plain = CRF(K, dtype=torch.float64)
    for b, length in enumerate(LENGTHS.tolist()):
        may = [
            path
            for path in paths(length)
            if allowed is None
            or (
                allowed.first[path[0]]
                and allowed.last[path[-1]]
                and all(allowed.behind[path[i], path[i - 1]] for i in range(1, length))
            )
        ]
        each = [score_by_hand(crf if with_crf else plain, scores[:, b], path) for path in may]
        best = may[int(torch.stack(each).argmax())]
        assert found[:length, b].tolist() == best.tolist()
        assert not found[length:, b].any()


def test_spans_begin_before_they_go_on() -> None:
    labels = ["O", "B-x", "I-x", "I-y"]
    allowed = Allowed.bio(labels)
    assert allowed.first.tolist() == [True, True, False, False]
    assert allowed.last.all()
    assert allowed.behind[2].tolist() == [False, True, True, False]
    assert allowed.behind[3].tolist() == [False, False, False, True]
    ends = Allowed.bio(["O", "B-x", "I-x", "E-x", "S-x"])
    assert ends.last.tolist() == [True, False, False, True, True]
    assert ends.behind[0].tolist() == [True, False, False, True, True]
