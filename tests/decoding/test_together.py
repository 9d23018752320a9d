"""Several sequences side by side are what each is alone; scores are the model's own."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from recurra.decoding import Sampler, generate, generate_together, log_probabilities

V = 7
PRIMES = [[1, 2, 3], [4], [5, 6, 0], [2, 2]]


class Noisy(nn.Module):
    """A language model whose scores depend on the sum of all ids read so far."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.table = nn.Parameter(torch.randn(50, V))
        self.dropout = nn.Dropout(0.5)
        self.batches: list[tuple[int, int]] = []

    def forward(self, ids: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.batches.append((ids.shape[0], ids.shape[1]))
        sums = (0 if state is None else state[0, :, 0]) + ids.cumsum(0)
        return self.dropout(self.table[sums % 50]), sums[-1][None, :, None]


class Together(Noisy):
    """One whose states can be put side by side."""

    def token_steps(self, state: Tensor) -> None:
        assert state.shape == (1, 4, 1)


class Indexed(Noisy):
    """One that reads how many tokens were before."""

    reads_index = True

    def forward(self, ids: Tensor, state: Any = None, start: int = 0) -> tuple[Tensor, Tensor]:
        logits, state = super().forward(ids, state)
        index = start + torch.arange(len(ids))
        return logits + torch.sin(index)[:, None, None] * torch.arange(V), state


def generators() -> list[torch.Generator]:
    return [torch.Generator().manual_seed(10 + i) for i in range(4)]


@pytest.mark.medium
@pytest.mark.parametrize("kind", [Noisy, Together, Indexed])
@pytest.mark.parametrize("sampler", [Sampler(), Sampler(temperature=0.5, top_k=4, forbid=(2,))])
def test_each_is_what_it_is_alone(kind: type[Noisy], sampler: Sampler) -> None:
    model = kind()
    drawn = list(generate_together(model, PRIMES, 30, sampler=sampler, generators=generators()))
    for i, (prime, generator) in enumerate(zip(PRIMES, generators(), strict=True)):
        alone = list(generate(model, prime, 30, sampler=sampler, generator=generator))
        assert [step.ids[i] for step in drawn] == alone
        expected = log_probabilities(model, [*prime, *alone])[-30:].tolist()
        assert [step.scores[i] for step in drawn] == pytest.approx(expected)
    assert model.training
    assert torch.is_grad_enabled()


def test_primes_of_a_length_are_read_in_one_call_and_then_all_that_can_be() -> None:
    for kind, steps in ((Together, [(1, 4)] * 2), (Noisy, [(1, 2), (1, 1), (1, 1)] * 2)):
        model = kind()
        list(generate_together(model, PRIMES, 3, sampler=Sampler(), generators=generators()))
        assert model.batches == [(3, 2), (1, 1), (2, 1), *steps]


def test_nothing_takes_no_call() -> None:
    model = Noisy()
    assert list(generate_together(model, [], 3, sampler=Sampler(), generators=[])) == []
    assert (
        list(generate_together(model, [[1]], 0, sampler=Sampler(), generators=generators()[:1]))
        == []
    )
    assert model.batches == []


def test_wrong_arguments_are_named_at_the_call() -> None:
    model = Noisy()
    with pytest.raises(ValueError, match="generators: expected one for each of 1 primes, got 4"):
        generate_together(model, [[1]], 3, sampler=Sampler(), generators=generators())
    with pytest.raises(ValueError, match="expected at least one id, got none"):
        generate_together(model, [[]], 3, sampler=Sampler(), generators=generators()[:1])
    with pytest.raises(ValueError, match="length: expected 0 or more tokens, got -3"):
        generate_together(model, [[1]], -3, sampler=Sampler(), generators=generators()[:1])


# ---- likelihood ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Noisy, Indexed])
def test_log_probabilities_are_those_of_one_call(
    kind: type[Noisy], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = kind()
    ids = torch.randint(V, (200,))
    logits, _ = model.eval()(ids[:-1, None])
    expected = -nn.functional.cross_entropy(logits[:, 0].double(), ids[1:], reduction="none")
    model.train().batches.clear()
    monkeypatch.setattr("recurra.decoding.likelihood._STEPS", 64)
    torch.testing.assert_close(log_probabilities(model, ids), expected.detach())
    assert model.batches == [(1, 1), (64, 1), (64, 1), (64, 1), (6, 1)]
    assert model.training


def test_one_token_has_nothing_to_predict() -> None:
    assert log_probabilities(Noisy(), [1]).tolist() == []
