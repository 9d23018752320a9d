"""What losses are given is what they learn, or an error: no shape is spread, no label replaced.

Each model with targets of another shape, dtype or range, in one table.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from recurra.models import Classifier, Forecaster, Tagger, Translator

T, B, V, K, F, C = 5, 3, 7, 4, 2, 2
SMALL: dict[str, Any] = {"hidden_size": 6}


def translator() -> tuple[Callable[..., Tensor], Tensor]:
    model = Translator(V, K, embedding_size=5, **SMALL)
    source = torch.randint(V, (T, B))
    return lambda target, **options: model.loss(source, target, **options), torch.randint(K, (4, B))


def tagger(**options: Any) -> tuple[Callable[..., Tensor], Tensor]:
    model = Tagger(K, vocab_size=V, embedding_size=5, **SMALL, **options)
    x = torch.randint(V, (T, B))
    return lambda target, **more: model.loss(x, target, **more), torch.randint(K, (T, B))


def tagger_with_crf() -> tuple[Callable[..., Tensor], Tensor]:
    return tagger(crf=True)


def tagger_of_numbers() -> tuple[Callable[..., Tensor], Tensor]:
    model = Tagger(output_size=2, input_size=3, **SMALL)
    x = torch.randn(T, B, 3)
    return lambda target, **more: model.loss(x, target, **more), torch.randn(T, B, 2)


def classifier() -> tuple[Callable[..., Tensor], Tensor]:
    model = Classifier(K, vocab_size=V, embedding_size=5, **SMALL)
    x = torch.randint(V, (T, B))
    return lambda target, **more: model.loss(x, target, **more), torch.randint(K, (B,))


def forecaster(**options: Any) -> tuple[Callable[..., Tensor], Tensor]:
    model = Forecaster(C, F, T, **SMALL, **options)
    x = torch.randn(T, B, C)
    return lambda target, **more: model.loss(x, target, **more), torch.randn(F, B, C)


def recursive_forecaster() -> tuple[Callable[..., Tensor], Tensor]:
    return forecaster(decoding="recursive", density="gaussian")


def forecaster_of_channels() -> tuple[Callable[..., Tensor], Tensor]:
    return forecaster(shared_channels=True, decoding="segments")


OF_LABELS = [translator, tagger, tagger_with_crf, classifier]
OF_NUMBERS = [tagger_of_numbers, forecaster, recursive_forecaster, forecaster_of_channels]


@pytest.mark.parametrize("make", [*OF_LABELS, *OF_NUMBERS])
def test_a_target_of_another_shape_is_refused(make: Any) -> None:
    loss, target = make()
    loss(target).backward()
    wrong = [target[..., :1], target.unsqueeze(-1), target.flatten()[:2]]
    if target.dim() > 1 and make is not translator:  # which says a token more than it is given
        wrong += [target[:1], target[:-1]]
    for other in wrong:
        with pytest.raises(ValueError, match=r"expected.*shape"):
            loss(other)


@pytest.mark.parametrize("make", OF_LABELS)
def test_a_label_that_there_is_not_is_refused(make: Any) -> None:
    loss, target = make()
    for label in (K, -2, -100, 10**9):
        other = target.clone()
        other.view(-1)[1] = label
        with pytest.raises(ValueError, match=f"got {label}"):
            loss(other)
    with pytest.raises((TypeError, ValueError), match=r"expected.*int64"):
        loss(target.to(torch.int32))
    with pytest.raises((TypeError, ValueError), match=r"expected.*int64"):
        loss(target.float())


@pytest.mark.parametrize("make", [*OF_LABELS, *OF_NUMBERS])
def test_a_reduction_that_there_is_not_is_refused(make: Any) -> None:
    loss, target = make()
    with pytest.raises(ValueError, match=r"reduction.*'men'"):
        loss(target, reduction="men")


def test_labels_are_not_smoothed_where_whole_sequences_are_learned() -> None:
    for make in (tagger_with_crf, tagger_of_numbers):
        loss, target = make()
        with pytest.raises(ValueError, match="label_smoothing"):
            loss(target, label_smoothing=0.1)


@pytest.mark.parametrize("crf", [False, True])
def test_a_sequence_without_a_batch_has_the_loss_that_it_has_in_one(crf: bool) -> None:
    model = Tagger(K, vocab_size=V, embedding_size=5, crf=crf, **SMALL)
    x, target = torch.randint(V, (T,)), torch.randint(K, (T,))
    torch.testing.assert_close(model.loss(x, target), model.loss(x[:, None], target[:, None]))


@pytest.mark.parametrize("make", [tagger, tagger_with_crf, tagger_of_numbers])
def test_nothing_to_learn_is_a_loss_of_zero_with_a_gradient(make: Any) -> None:
    model = Tagger(K, vocab_size=V, embedding_size=5, crf=make is tagger_with_crf, **SMALL)
    empty = torch.zeros(0, B, dtype=torch.int64)
    for x in (empty, empty.T):
        loss = model.loss(x, x)
        loss.backward()
        assert float(loss.detach()) == 0


@pytest.fixture(scope="module")
def writes() -> Translator:
    return Translator(V, K, embedding_size=5, **SMALL)


@pytest.fixture(scope="module")
def say() -> list[Forecaster]:
    """One for each way to decode."""
    ways = ("direct", "recursive", "segments")
    return [Forecaster(C, F, T, decoding=way, **SMALL) for way in ways]


@pytest.mark.parametrize(
    ("lengths", "error"),
    [([0, T, T], ValueError), ([T + 1, T, T], ValueError), ([T, T], ValueError),
     (torch.full((B,), 4.0), TypeError), ([True] * B, TypeError)],
)  # fmt: skip
def test_lengths_of_sources_and_series_are_checked(
    writes: Translator, say: list[Forecaster], lengths: Any, error: type[Exception]
) -> None:
    with pytest.raises(error, match="source_lengths"):
        writes(torch.randint(V, (T, B)), torch.randint(K, (4, B)), lengths)
    for says in say:
        with pytest.raises(error, match="lengths of series"):
            says(torch.randn(T, B, C), lengths)


@pytest.mark.parametrize("lengths", [[-1, 4, 4], [5, 4, 4], [4, 4]])
def test_lengths_of_targets_are_checked(writes: Translator, lengths: list[int]) -> None:
    with pytest.raises(ValueError, match="target_lengths"):
        writes(torch.randint(V, (T, B)), torch.randint(K, (4, B)), None, lengths)
    with pytest.raises(ValueError, match="target_lengths"):
        writes.wanted(torch.randint(K, (4, B)), lengths)


def test_the_mark_is_no_token_of_a_target() -> None:
    model = Translator(V, K, embedding_size=5, **SMALL)
    target = torch.randint(K, (4, B))
    target[2, 1] = model.mark
    with pytest.raises(ValueError, match=f"got {model.mark}"):
        model.loss(torch.randint(V, (T, B)), target)
    ends = model.loss(torch.randint(V, (T, B)), target, None, [4, 2, 4])  # past a length it may be
    assert ends.isfinite()


def test_covariates_of_another_batch_are_refused() -> None:
    model = Forecaster(C, F, T, known_size=2, past_size=1, num_series=3, **SMALL)
    x, past, known = torch.randn(T, B, C), torch.randn(T, B, 1), torch.randn(T, B, 2)
    ahead, series = torch.randn(F, B, 2), torch.tensor([0, 1, 2])
    given = {"past": past, "known": known, "ahead": ahead, "series": series}
    model(x, **given)
    for name, wrong in (
        ("past", past[:, :1]),
        ("known", known[:1]),
        ("ahead", ahead[:, :1]),
        ("series", series[:1]),
        ("series", series + 1),
    ):
        with pytest.raises(ValueError, match="Forecaster"):
            model(x, **{**given, name: wrong})
    with pytest.raises(TypeError, match="float64"):
        model(x.double(), **given)
