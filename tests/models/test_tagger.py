"""A label, or numbers, at every step."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import recurra as rc
from recurra.models import Scaling, Tagger
from recurra.text import CharacterSpelling, WordVocabulary

T, B, V, K = 7, 3, 11, 4
LENGTHS = torch.tensor([7, 1, 4])
WORDS = ["a", "dog", "barks", "cats", "sleep"]


def of_ids(**options: Any) -> Tagger:
    return Tagger(K, vocab_size=V, embedding_size=6, hidden_size=8, cell="gru", **options)


def of_series(**options: Any) -> Tagger:
    return Tagger(K, input_size=2, hidden_size=8, cell="gru", **options)


def inputs(model: Tagger) -> Tensor:
    return torch.randint(V, (T, B)) if model.embedding is not None else torch.randn(T, B, 2)


@pytest.mark.parametrize("make", [of_ids, of_series])
@pytest.mark.parametrize("options", [{}, {"bidirectional": True}, {"delay": 2}, {"num_layers": 2}])
def test_each_sequence_is_tagged_as_it_is_alone(make: Any, options: dict[str, Any]) -> None:
    model = make(**options).eval()
    x = inputs(model)
    scores = model(x, LENGTHS)
    assert scores.shape == (T, B, K)
    for b, length in enumerate(LENGTHS.tolist()):
        torch.testing.assert_close(scores[:length, b], model(x[:length, b]))


@pytest.mark.parametrize("make", [of_ids, of_series])
def test_what_lies_past_the_lengths_is_not_looked_at(make: Any) -> None:
    model = make(delay=2).eval()
    x = inputs(model)
    past = torch.arange(T)[:, None] >= LENGTHS
    other = x.clone()
    other[past] = V + 5 if model.embedding is not None else torch.nan
    for b, length in enumerate(LENGTHS.tolist()):
        found, wanted = model(other, LENGTHS)[:length, b], model(x, LENGTHS)[:length, b]
        torch.testing.assert_close(found, wanted)


@pytest.mark.medium
@pytest.mark.parametrize("make", [of_ids, of_series])
@pytest.mark.parametrize("ahead", [0, 2])
@pytest.mark.parametrize("options", [{}, {"crf": True}, {"constrain": "bio"}])
def test_a_stream_says_what_the_model_says_of_the_whole(
    make: Any, ahead: int, options: dict[str, Any]
) -> None:
    model = make(delay=ahead, labels=["O", "B-x", "I-x", "I-y"], **options).eval()
    if model.crf is not None:
        for parameter in model.crf.parameters():
            torch.nn.init.normal_(parameter)
    x = inputs(model)
    whole = model.decoded(model(x), torch.full((B,), T))
    stream = model.stream(B, delay=T)  # it waits for all of the sequence
    assert stream.delay == ahead + T
    assert [stream(step) for step in x] == [None] * T
    assert torch.equal(torch.stack(stream.finish()), whole)


@pytest.mark.parametrize("ahead", [0, 2])
def test_a_stream_says_something_as_soon_as_it_may(ahead: int) -> None:
    model = of_ids(delay=ahead).eval()
    x = inputs(model)
    whole = model(x).argmax(-1)
    stream = model.stream(B, delay=1)
    said = [stream(step) for step in x]
    wait = ahead + 1
    assert said[:wait] == [None] * wait
    rest = stream.finish()
    assert len(rest) == wait
    found = [step for step in [*said, *rest] if step is not None]
    assert torch.equal(torch.stack(found), whole)
    again = [stream(step) for step in x]  # a new sequence
    assert torch.equal(torch.stack([*again[wait:], *stream.finish()]), whole)  # type: ignore[list-item]


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("options", [{}, {"num_layers": 2}, {"delay": 2}])
def test_a_stream_has_the_states_of_a_call_to_the_bit(options: dict[str, Any], batch: int) -> None:
    sentences = [["A", "dog", "barks", "x", "a"], ["sleep"] * 5, ["cats", "a", "x", "x", "dog"]]
    model = of_words(bidirectional=False, **options).eval()
    ids, _, pieces = model.encode(sentences[:batch])
    assert pieces is not None
    stream = model.stream(batch)
    for step in range(len(ids)):
        stream(ids[step], pieces=pieces[step])
    x = model._vectors(ids.flatten(), pieces.flatten(0, 1)).unflatten(0, ids.shape)
    y, state = model.recurrent(x)
    assert torch.equal(stream._layer.state, state)
    assert torch.equal(model._features(ids, None, pieces, False)[0], y)


def test_the_loss_is_the_mean_over_the_steps_that_count() -> None:
    model = of_ids().eval()
    x, target = inputs(model), torch.randint(K, (T, B))
    target[2, 0] = -1
    scores = model(x, LENGTHS).log_softmax(-1)
    counted = [
        -scores[t, b, target[t, b]]
        for b, length in enumerate(LENGTHS.tolist())
        for t in range(length)
        if (t, b) != (2, 0)
    ]
    torch.testing.assert_close(model.loss(x, target, LENGTHS), torch.stack(counted).mean())


def test_a_crf_learns_whole_sequences() -> None:
    model = of_ids(crf=True).eval()
    x, target = inputs(model), torch.randint(K, (T, B))
    assert model.crf is not None
    nll = model.crf.nll(model(x, LENGTHS), target, LENGTHS)
    torch.testing.assert_close(model.loss(x, target, LENGTHS), nll.sum() / LENGTHS.sum())
    target[0, 1] = -1  # the second sequence, of one step, is not known
    torch.testing.assert_close(model.loss(x, target, LENGTHS), nll[[0, 2]].sum() / 11)
    target.fill_(-1)
    assert model.loss(x, target, LENGTHS) == 0


def test_numbers_are_scaled_and_gaps_do_not_count() -> None:
    scaling = Scaling(mean=(10.0, -1.0), spread=(2.0, 0.5))
    model = Tagger(input_size=2, hidden_size=8, target_scaling=scaling).eval()
    x, target = torch.randn(T, B, 2), torch.randn(T, B, 2)
    target[1, 0, 0] = torch.nan
    error = (model(x) - scaling(target)).square()
    counted = ~target.isnan()
    loss = model.loss(x, target)
    torch.testing.assert_close(loss, error[counted].mean())
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    said = model.predict([x[:, 0].numpy()])[0]
    assert said.values is not None
    wanted = scaling.undone(model(x[:, 0])).detach().double().numpy()
    np.testing.assert_allclose(said.values, wanted, rtol=1e-5)


def of_words(**options: Any) -> Tagger:
    own: dict[str, Any] = {"bidirectional": True, "hidden_size": 8, **options}
    return Tagger(
        labels=["DET", "NOUN", "VERB"],
        vocabulary=WordVocabulary.of_words(WORDS, lower=True),
        spelling=CharacterSpelling.build(WORDS),
        embedding_size=6,
        subword_size=4,
        cell="gru",
        **own,
    )


def test_sentences_are_words_or_strings() -> None:
    model = of_words()
    one, other = model.predict([["A", "dog", "barks"], "a dog barks"])
    assert len(one) == 3
    assert set(one.labels) <= {"DET", "NOUN", "VERB"}
    assert all(1 / 3 <= p <= 1 for p in one.probabilities)
    # the first word differs in how it is spelled, not in what word it is
    assert model.encode([["A", "dog"]])[0].tolist() == model.encode(["a dog"])[0].tolist()
    assert one.labels[1:] == other.labels[1:]


def test_a_word_with_a_space_is_a_word() -> None:
    assert len(of_words().predict([["New York", "sleep"]])[0]) == 2


def test_what_is_predicted_depends_on_nothing_beside_it() -> None:
    model = of_words()
    sentences = [["a", "dog", "barks"], ["cats"], ["cats", "sleep"]]
    together = [tags.labels for tags in model.predict(sentences)]
    assert together == [model.predict([each])[0].labels for each in sentences]


@pytest.mark.parametrize("options", [{}, {"crf": True}, {"delay": 3}, {"constrain": "bio"}])
def test_it_is_saved_and_loaded(options: dict[str, Any], tmp_path: Path) -> None:
    model = of_ids(labels=["O", "B-x", "I-x", "B-y"], **options).eval()
    model.save(tmp_path / "model")
    again = rc.load(tmp_path / "model")
    assert isinstance(again, Tagger)
    assert again.config == model.config
    assert again.labels == model.labels
    x = inputs(model)
    assert torch.equal(again(x), model(x))


@pytest.mark.medium
def test_it_learns_what_only_the_other_side_tells() -> None:
    """The label of a step is the parity of the sum of itself and of the step after it."""
    x = torch.randint(2, (12, 32))
    target = (x + x.roll(-1, 0)) % 2
    several: list[dict[str, Any]] = [{"bidirectional": True}, {"delay": 1}]
    for options in several:
        torch.manual_seed(0)
        model = Tagger(2, vocab_size=2, embedding_size=4, hidden_size=16, **options)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
        for _ in range(150):
            optimizer.zero_grad()
            model.loss(x, target).backward()
            optimizer.step()
        found = model(x).argmax(-1)
        assert (found == target)[:-1].float().mean() > 0.98


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "Tagger: expected num_labels or labels, or output_size"),
        ({"num_labels": 3, "output_size": 2}, "got both"),
        ({"num_labels": 1}, "expected num_labels >= 2"),
        ({"output_size": 2, "crf": True}, "expected labels for a CRF"),
        ({"output_size": 2, "constrain": "bio"}, "expected labels for a constraint"),
        ({"num_labels": 2, "constrain": "bioes"}, "expected constrain to be one of none, bio"),
        ({"num_labels": 2, "delay": -1}, "delay"),
        ({"num_labels": 2, "delay": 2, "bidirectional": True}, "one-way model to look ahead"),
    ],
)
def test_arguments_that_do_not_go_together(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Tagger(vocab_size=5, **options)


@pytest.mark.parametrize("ahead", [0, 1, 9])
def test_a_stream_reads_words(ahead: int) -> None:
    model = of_words(bidirectional=False, delay=ahead).eval()
    whole = model.predict([["A", "dog", "barks"]])[0]
    stream = model.stream()
    for _ in range(2):  # a new sentence begins where one has ended
        soon = list(stream.read("A dog", ends=False))
        assert len(soon) == max(0, 2 - ahead)
        said = [*soon, *stream.read(["barks"])]
        assert said == list(zip(whole.tokens, whole.labels, strict=True))
    with pytest.raises(ValueError, match="one sequence to read text, got batch_size=2"):
        next(model.stream(2).read("A dog"))


def test_a_model_that_reads_from_the_end_has_no_stream() -> None:
    with pytest.raises(ValueError, match="expected a one-way model"):
        of_ids(bidirectional=True).stream()
