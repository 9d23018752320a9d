"""The classifier: its equations, what pads a batch, what it owns, and that it learns."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import recurra as rc
from recurra.errors import CheckpointError, DataError
from recurra.models import Prediction, Scaling
from recurra.text import (
    CharacterSpelling,
    CharacterVocabulary,
    NgramSpelling,
    WordVectors,
    WordVocabulary,
)

pytestmark = pytest.mark.medium

V, IN, K, T, B = 11, 3, 4, 6, 3
LENGTHS = torch.tensor([6, 2, 4])
TEXTS = ["A good film .", "bad", "not a good one , not at all bad though"]
WORDS = WordVocabulary.build(TEXTS[:2], lower=True)
POOLINGS = ["last", "mean", "max", "attention", "max+mean"]


def past(lengths: Tensor = LENGTHS) -> Tensor:
    return torch.arange(T)[:, None] >= lengths


def of_ids(**options: Any) -> rc.Classifier:
    sizes = {"vocab_size": V, "embedding_size": 5, "hidden_size": 8}
    return rc.Classifier(**{"num_classes": K, **sizes, **options})


def of_pairs(**options: Any) -> rc.Classifier:
    model = of_ids(pair_buckets=30, pair_size=3, **options)
    nn.init.normal_(model.get_parameter("pairs.weight"))
    return model


def of_series(**options: Any) -> rc.Classifier:
    return rc.Classifier(**{"num_classes": K, "input_size": IN, "hidden_size": 8, **options})


def of_texts(spelling: Any = None, **options: Any) -> rc.Classifier:
    sizes = {"embedding_size": 5, "hidden_size": 8, "subword_size": 6}
    parts = {"vocabulary": WORDS, "spelling": spelling, "labels": ["bad", "good"]}
    return rc.Classifier(**{**parts, **sizes, **options})


SPELLINGS = {
    "words": None,
    "characters": CharacterSpelling.build(WORDS.words),
    "ngrams": NgramSpelling(50),
}

# ---- equations -----------------------------------------------------------------------------------


@pytest.mark.parametrize("bidirectional", [False, True])
def test_equals_the_same_model_from_torch(bidirectional: bool) -> None:
    model = of_ids(cell="torch_lstm", num_layers=2, bidirectional=bidirectional)
    lstm = nn.LSTM(5, 8, 2, bidirectional=bidirectional)
    lstm.load_state_dict(model.recurrent.state_dict(), strict=True)
    ids = torch.randint(V, (T, B))
    packed = nn.utils.rnn.pack_padded_sequence(
        functional.embedding(ids, model.embedding.weight), LENGTHS, enforce_sorted=False
    )
    y, _ = nn.utils.rnn.pad_packed_sequence(lstm(packed)[0])
    mean = y.sum(0) / LENGTHS[:, None]
    top = y.masked_fill(past()[..., None], -math.inf).amax(0)
    wanted = functional.linear(torch.cat([top, mean], -1), *model.decoder.parameters())
    torch.testing.assert_close(model(ids, LENGTHS), wanted)


@pytest.mark.parametrize("make", [of_ids, of_pairs, of_series])
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_padding_reaches_neither_results_nor_gradients(
    make: Any, pooling: str, bidirectional: bool
) -> None:
    model = make(pooling=pooling, bidirectional=bidirectional)
    if make is of_series:
        model.scaling = Scaling(mean=(0.5, -1.0, 2.0), spread=(2.0, 0.0, 0.1))
        clean, padding = torch.randn(T, B, IN), math.nan
        clean = clean.masked_fill(past()[..., None], 0.0)
        padded = clean.masked_fill(past()[..., None], padding)
    else:
        clean = torch.randint(V, (T, B)).masked_fill(past(), 0)
        padded = clean.masked_fill(past(), -100)

    def run(x: Tensor) -> list[Tensor]:
        logits = model(x, LENGTHS)
        weight = torch.linspace(-1, 1, logits.numel()).view_as(logits)
        return [logits, *torch.autograd.grad((logits * weight).sum(), list(model.parameters()))]

    found = run(padded)
    assert all(value.isfinite().all() for value in found)
    torch.testing.assert_close(found, run(clean), rtol=0, atol=0)
    for b, length in enumerate(LENGTHS.tolist()):
        torch.testing.assert_close(found[0][b], model(clean[:length, b]))  # alone, without a batch


@pytest.mark.parametrize("make", [of_ids, of_pairs, of_series])
def test_batch_first(make: Any) -> None:
    first, model = make(batch_first=True), make()
    first.load_state_dict(model.state_dict())
    x = torch.randn(T, B, IN) if make is of_series else torch.randint(V, (T, B))
    torch.testing.assert_close(first(x.transpose(0, 1), LENGTHS), model(x, LENGTHS))


def test_pieces_are_joined_with_the_word_and_their_padding_is_not_read() -> None:
    model = of_texts(SPELLINGS["ngrams"])
    ids, lengths, pieces = model.encode(TEXTS)
    assert pieces is not None
    vectors = torch.cat(
        [model.embedding(ids), model.subwords(pieces.flatten(0, 1)).view(*ids.shape, 6)], -1
    )
    y, _ = model.recurrent(vectors, lengths=lengths)
    wanted = model.decoder(model.pooling(y, lengths))
    torch.testing.assert_close(model(ids, lengths, pieces=pieces), wanted)
    wrong = torch.arange(len(ids))[:, None] >= lengths
    logits = model(
        ids.masked_fill(wrong, 10_000), lengths, pieces=pieces.masked_fill(wrong[..., None], 9999)
    )
    torch.testing.assert_close(logits, wanted)


def test_the_mean_of_pairs_is_joined_to_what_is_pooled() -> None:
    model, ids = of_pairs(), torch.randint(V, (T, B))
    assert model.embedding is not None
    assert model.pairs is not None
    y, _ = model.recurrent(model.embedding(ids), lengths=LENGTHS)
    features = torch.cat([model.pooling(y, LENGTHS), model.pairs(ids, LENGTHS)], -1)
    torch.testing.assert_close(model(ids, LENGTHS), model.decoder(features))
    model.word_dropout = 1.0
    y, _ = model.recurrent(torch.zeros(T, B, 5), lengths=LENGTHS)  # no pair of dropped words counts
    features = torch.cat([model.pooling(y, LENGTHS), torch.zeros(B, 3)], -1)
    torch.testing.assert_close(model(ids, LENGTHS), model.decoder(features))
    model.reset_parameters()
    assert (model.pairs.weight == 0).all()


def test_first_predictions_are_close_to_uniform() -> None:
    nll = of_ids().loss(torch.randint(V, (T, 50)), torch.randint(K, (50,)))
    assert abs(nll.item() - math.log(K)) < 0.1


def test_loss_counts_classes_by_their_weights() -> None:
    model, ids = of_ids(), torch.randint(V, (T, B))
    target, weights = torch.tensor([0, 3, 1]), [1.0, 2.0, 0.0, 0.5]
    nll = -model(ids, LENGTHS).log_softmax(-1)[range(B), target]
    wanted = (nll * torch.tensor([1.0, 0.5, 2.0])).sum()
    loss = model.loss(ids, target, LENGTHS, class_weights=weights, reduction="sum")
    torch.testing.assert_close(loss, wanted)
    mean = model.loss(ids, target, LENGTHS, class_weights=weights)
    torch.testing.assert_close(mean, wanted / 3.5)
    torch.testing.assert_close(model.loss(ids, target, LENGTHS), nll.mean())


def test_dropout_in_training_only() -> None:
    for options in ({"dropout": 0.5}, {"input_dropout": 0.5}, {"word_dropout": 0.5}):
        for model, x in (
            (of_ids(**options), torch.randint(V, (T, B))),
            (of_series(**options), None),
        ):
            x = torch.randn(T, B, IN) if x is None else x
            # words are dropped, steps are not
            same = model.embedding is None and "word_dropout" in options
            assert torch.equal(model(x), model(x)) == same
            model.eval()
            assert torch.equal(model(x), model(x))


def test_a_dropped_word_is_zeros() -> None:
    model = of_ids(word_dropout=1.0)
    ids = torch.randint(V, (T, B))
    y, _ = model.recurrent(torch.zeros(T, B, 5), lengths=LENGTHS)
    torch.testing.assert_close(model(ids, LENGTHS), model.decoder(model.pooling(y, LENGTHS)))


def test_num_parameters() -> None:
    embedding, decoder = V * 5, 2 * 8 * K + K
    assert of_ids(cell="gru").num_parameters() == embedding + 3 * 8 * (5 + 8 + 1) + decoder


@pytest.mark.parametrize("cell", ["gru", "mut1", rc.compose.layer_norm(rc.cells.lstm)])
def test_any_cell(cell: Any) -> None:
    backend = "auto" if isinstance(cell, str) else "reference"
    model = of_ids(cell=cell, backend=backend, learned_state=True, memory="low", init={})
    model.loss(torch.randint(V, (T, B)), torch.tensor([0, 1, 2]), LENGTHS).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


# ---- what users have, and what they get ----------------------------------------------------------


@pytest.mark.parametrize("kind", SPELLINGS)
@pytest.mark.parametrize("batch_first", [False, True])
def test_predicts_texts_one_by_one_and_together(kind: str, batch_first: bool) -> None:
    model = of_texts(SPELLINGS[kind], dropout=0.5, word_dropout=0.5, batch_first=batch_first)
    found = model.predict(TEXTS, batch_size=2)
    assert model.training
    assert model.predict([]) == []
    for text, prediction in zip(TEXTS, found, strict=True):
        (alone,) = model.predict([text])
        assert alone.label == prediction.label
        assert alone.probability == pytest.approx(prediction.probability, abs=1e-6)
        assert list(prediction.probabilities) == ["bad", "good"]
        assert sum(prediction.probabilities.values()) == pytest.approx(1)
        assert prediction.probability == max(prediction.probabilities.values())
        assert prediction.probabilities[prediction.label] == prediction.probability


def test_unknown_words_differ_only_by_their_spelling() -> None:
    """Words that the vocabulary lacks are one word; what they are spelled with tells them apart."""
    for kind, differ in (("words", False), ("characters", True), ("ngrams", True)):
        model = of_texts(SPELLINGS[kind])
        first, second = (p.probability for p in model.predict(["goodness", "badly"]))
        assert (first != second) == differ


def test_predicts_with_characters_as_tokens() -> None:
    model = rc.Classifier(2, vocabulary=CharacterVocabulary("abc"), hidden_size=4)
    (known, with_unknown) = model.predict(["cab", "c?ab!"])
    assert known == with_unknown  # what has no id is left out
    assert known.label in (0, 1)  # without labels, the number of the class


def test_predicts_series() -> None:
    scaling = Scaling(mean=(1.0, 2.0, 3.0), spread=(1.0, 10.0, 0.1))
    model = rc.Classifier(labels=["a", "b"], scaling=scaling, hidden_size=4)
    series = [np.random.default_rng(0).normal(size=(n, IN)) for n in (5, 1, 3)]
    found = model.predict([series[0], torch.tensor(series[1]), series[2].tolist()])
    for one, prediction in zip(series, found, strict=True):
        x = torch.tensor(one, dtype=torch.float32)
        wanted = model(x).softmax(-1).max().item()
        assert prediction.probability == pytest.approx(wanted, abs=1e-6)
    stacked = model.predict(np.stack([series[0], series[0]]))
    assert [p.label for p in stacked] == [found[0].label] * 2
    (one_channel,) = rc.Classifier(2, input_size=1, hidden_size=4).predict([[1.0, 2.0]])
    assert isinstance(one_channel, Prediction)


def test_what_cannot_be_predicted_is_named() -> None:
    model, series = of_texts(), of_series()
    with pytest.raises(ValueError, match=r"predict: expected a list of inputs, got 'good'"):
        model.predict("good")
    with pytest.raises(ValueError, match=r"something to read in each input, got none in input 1"):
        model.predict(["good", " "])
    with pytest.raises(ValueError, match=r"predict: expected texts, got Tensor for input 0"):
        model.predict([torch.tensor([1, 2])])
    with pytest.raises(ValueError, match=r"expected a model with vocabulary, got one without"):
        of_ids().predict(["good"])
    with pytest.raises(DataError, match=r"input 1: expected a number at every step, got 1 missing"):
        series.predict([np.zeros((2, IN)), np.array([[0, math.nan, 0]])])
    with pytest.raises(DataError, match=r"input 0: expected numbers"):
        series.predict(["good"])


@pytest.mark.parametrize("pair_buckets", [0, 30])
@pytest.mark.parametrize("kind", SPELLINGS)
@pytest.mark.parametrize("pooling", ["last", "max", "max+mean"])
def test_stream_of_texts_believes_what_the_model_says_of_the_text_so_far(
    kind: str, pooling: str, pair_buckets: int
) -> None:
    options = {"num_layers": 2, "dropout": 0.3, "pair_buckets": pair_buckets}
    model = of_texts(SPELLINGS[kind], pooling=pooling, **options)
    if model.pairs is not None:
        nn.init.normal_(model.pairs.weight)
    stream = model.stream()
    for _ in range(2):
        so_far = []
        for token, prediction in stream.read(TEXTS[0]):
            so_far.append(token)
            (wanted,) = model.predict([" ".join(so_far)])
            assert prediction.probability == pytest.approx(wanted.probability, abs=1e-6)
        assert so_far == ["a", "good", "film", "."]
        stream.reset()


def test_stream_of_series_and_its_new_weights() -> None:
    for batch_first in (False, True):
        model = of_series(pooling="mean", batch_first=batch_first)
        model.scaling = Scaling(mean=(0.5, 1.0, 2.0), spread=(2.0, 0.5, 0.1))
        stream, x = model.stream(B), torch.randn(T, B, IN)
        for t in range(T):
            so_far = x[: t + 1].transpose(0, 1) if batch_first else x[: t + 1]
            torch.testing.assert_close(stream(x[t]), model(so_far).softmax(-1).detach())


def test_stream_of_what_needs_the_end_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected a one-way model, got bidirectional=True"):
        of_ids(bidirectional=True).stream()
    with pytest.raises(ValueError, match=r"kinds last, mean or max, got kind 'attention'"):
        of_ids(pooling="attention").stream()


# ---- to disk and back ----------------------------------------------------------------------------


@pytest.mark.parametrize("pair_buckets", [0, 30])
@pytest.mark.parametrize("kind", SPELLINGS)
def test_saves_all_that_it_needs(tmp_path: Path, kind: str, pair_buckets: int) -> None:
    model = of_texts(
        SPELLINGS[kind],
        pair_buckets=pair_buckets,
        bidirectional=True,
        pooling="attention+last",
        attention_size=3,
        num_layers=2,
        cell="gru",
        learned_state=True,
        memory="low",
        init={"W_hh": "orthogonal", "b_z": 1.0},
        dropout=0.1,
        word_dropout=0.2,
        input_dropout=0.3,
    )
    if model.pairs is not None:
        nn.init.normal_(model.pairs.weight)
    model.save(tmp_path)
    loaded = rc.load(tmp_path)
    assert isinstance(loaded, rc.Classifier)
    assert loaded.config == model.config
    assert ("pair_buckets" in loaded.config) == (pair_buckets > 0)
    assert loaded.predict(TEXTS) == model.predict(TEXTS)


def test_saves_a_model_of_series(tmp_path: Path) -> None:
    model = of_series(scaling=Scaling(mean=(0.0,) * IN, spread=(2.0,) * IN), batch_first=True)
    model.double().save(tmp_path)
    loaded = rc.Classifier.load(tmp_path)
    x = [np.random.default_rng(0).normal(size=(4, IN))]
    assert loaded.predict(x) == model.predict(x)
    assert loaded.decoder.weight.dtype == torch.float64


def test_parts_of_another_model_are_refused(tmp_path: Path) -> None:
    model = of_texts(SPELLINGS["ngrams"])
    for name, part, message in (
        ("labels", ["a", "b", "c"], r"expected labels of 2 labels.*got 3"),
        ("vocabulary", WordVocabulary(["a"]), r"expected vocabulary of 7 symbols.*got 3"),
        ("spelling", NgramSpelling(51), r"expected spelling of \('ngrams', 50\).*got .*51"),
        ("scaling", Scaling(mean=(0.0,), spread=(1.0,)), r"expected scaling of None.*got 1"),
    ):
        with pytest.raises(ValueError, match=message):
            setattr(model, name, part)
    with pytest.raises(ValueError, match=r"a vocabulary of words, .* got one of level 'char'"):
        rc.Classifier(2, vocabulary=CharacterVocabulary("ab"), spelling=NgramSpelling(5))
    model.save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["labels"].append("so-so")
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"labels: Classifier: expected labels of 2"):
        rc.load(tmp_path)


# ---- weights from elsewhere ----------------------------------------------------------------------


def test_starts_from_a_language_model() -> None:
    other = WordVocabulary(["film", "good", "elsewhere"])
    language = rc.LanguageModel(
        vocabulary=other, embedding_size=5, hidden_size=8, cell="gru", num_layers=2
    )
    model = of_texts(cell="gru", num_layers=2, bidirectional=True)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    taken = model.init_from(language)
    first = [name for name, _ in language.recurrent.named_parameters() if name.endswith("_l0")]
    assert set(taken.tensors) == {"embedding.weight", *(f"recurrent.{name}" for name in first)} | {
        f"recurrent.{name}"  # the second layer reads both directions, but itself as before
        for name, tensor in language.recurrent.named_parameters()
        if tensor.shape == getattr(model.recurrent, name).shape
    }
    for name in first:
        assert torch.equal(getattr(model.recurrent, name), getattr(language.recurrent, name))
    assert taken.tensors["embedding.weight"] == "4 of 7 words"
    places = {word: i for i, word in enumerate(WORDS.words)}
    for word, index in places.items():
        theirs = other.words.index(word) if word in other.words else None
        wanted = before["embedding.weight"][index]
        wanted = wanted if theirs is None else language.embedding.weight[theirs]
        assert torch.equal(model.embedding.weight[index], wanted)
    assert (
        taken.left["decoder.weight"] == "[5, 16] there" or "there" in taken.left["decoder.weight"]
    )
    assert all(name in taken.left for name in before if name.endswith("_reverse"))
    assert "embedding.weight (4 of 7 words)" in str(taken)


def test_takes_nothing_that_means_something_else() -> None:
    source = of_texts(SPELLINGS["ngrams"], cell="gru")
    model = of_texts(SPELLINGS["ngrams"], cell="gru")
    taken = model.init_from(source)
    assert not taken.left
    assert model.predict(TEXTS) == source.predict(TEXTS)
    swapped = of_texts(SPELLINGS["ngrams"], cell="gru", labels=["good", "bad"])
    left = swapped.init_from(source).left
    assert left == dict.fromkeys(["decoder.weight", "decoder.bias"], "other outputs there")
    words = WordVocabulary.build(TEXTS, lower=True)
    pairs, others = (of_texts(vocabulary=v, pair_buckets=9) for v in (WORDS, words))
    assert not of_texts(pair_buckets=9).init_from(pairs).left
    assert others.init_from(pairs).left["pairs.weight"] == "another vocabulary there"
    mut = of_texts(SPELLINGS["ngrams"], cell="mgu")
    left = mut.init_from(source).left
    assert {why for name, why in left.items() if name.startswith("recurrent")} <= {
        "another cell there, gru",
        "none there",
    }


def test_starts_from_vectors_of_a_file() -> None:
    model = of_texts()
    before = model.embedding.weight.detach().clone()
    values = np.arange(10, dtype=np.float32).reshape(2, 5)
    model.load_vectors(WordVectors(ids=np.array([2, 4]), values=values, missing=()))
    assert model.embedding.weight[[2, 4]].tolist() == values.tolist()
    rest = [i for i in range(len(WORDS)) if i not in (2, 4)]
    assert torch.equal(model.embedding.weight[rest], before[rest])
    wrong = WordVectors(ids=np.array([2]), values=np.zeros((1, 4), np.float32), missing=())
    for other in (model, of_series()):
        with pytest.raises(ValueError, match=r"vectors of the model's embedding_size, .* got 4"):
            other.load_vectors(wrong)


# ---- mistakes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"vocab_size or a vocabulary for token ids, or input_size .* got neither"),
        ({"vocab_size": 5, "input_size": 3}, r"got both"),
        ({"vocab_size": 5, "num_classes": None}, r"expected num_classes or labels, got neither"),
        ({"vocab_size": 5, "num_classes": 1}, r"expected num_classes >= 2, got 1"),
        ({"vocab_size": 5, "subwords": "ngrams"}, r"expected num_pieces beside subwords, got none"),
        ({"vocab_size": 5, "num_pieces": 9}, r"expected subwords beside num_pieces, got none"),
        ({"input_size": 5, "subwords": "ngrams", "num_pieces": 9}, r"words to be spelled"),
        ({"input_size": 5, "pair_buckets": 9}, r"token ids to read pairs of, got pair_buckets=9"),
        ({"vocab_size": 5, "pair_buckets": -1}, r"expected pair_buckets >= 0, got -1"),
        ({"vocab_size": 5, "pair_buckets": 9, "pair_size": 0}, r"PairVectors: expected size >= 1"),
        ({"vocab_size": 0}, r"Classifier: expected vocab_size >= 1, got 0"),
        ({"vocab_size": 5, "embedding_size": 0}, r"expected embedding_size >= 1, got 0"),
        ({"vocab_size": 5, "word_dropout": 1.5}, r"expected word_dropout in 0..1, got 1.5"),
        ({"vocab_size": 5, "pooling": "median"}, r"pooling: expected one of last, mean"),
        ({"vocab_size": 5, "cell": "gruu"}, r"'gruu'.*gru"),
        ({"vocab_size": 5, "subwords": "x", "num_pieces": 9}, r"subwords: expected one of"),
    ],
)
def test_wrong_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rc.Classifier(**{"num_classes": K, **options})


def test_wrong_inputs() -> None:
    ids, spelled = of_ids(), of_texts(SPELLINGS["ngrams"])
    with pytest.raises(ValueError, match=r"expected token ids \[time, batch\], got .*float32"):
        ids(torch.randn(T, B))
    with pytest.raises(
        ValueError, match=r"expected series of numbers \[time, batch, I\], got .*int64"
    ):
        of_series()(torch.zeros(T, B, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"token ids in 0..10 .*got 11"):
        ids(torch.full((T, B), V))
    with pytest.raises(ValueError, match=r"lengths in 0..6, got 7"):
        ids(torch.zeros(T, B, dtype=torch.int64), [1, 2, 7])
    with pytest.raises(ValueError, match=r"expected pieces of a word's spelling, got none"):
        spelled(torch.zeros(T, B, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"expected no pieces of a word's spelling, got some"):
        ids(torch.zeros(T, B, dtype=torch.int64), pieces=torch.zeros(T, B, 2, dtype=torch.int64))
    with pytest.raises(
        ValueError, match=r"pieces for each of the words \(6, 3\), got .*\(6, 2, 2\)"
    ):
        spelled(
            torch.zeros(T, B, dtype=torch.int64), pieces=torch.zeros(T, 2, 2, dtype=torch.int64)
        )


def test_no_sequences_and_no_steps() -> None:
    for model, shape in ((of_ids(), ()), (of_pairs(), ()), (of_series(), (IN,))):
        for T_, B_ in ((0, B), (T, 0)):
            x = torch.zeros(T_, B_, *shape, dtype=torch.float32 if shape else torch.int64)
            assert model(x).shape == (B_, K)
            model(x, [0] * B_ if T_ == 0 else []).sum().backward()


# ---- it learns -----------------------------------------------------------------------------------


def fitted(model: rc.Classifier, batches: Any, steps: int, lr: float = 0.02) -> float:
    optimizer = torch.optim.Adam(model.parameters(), lr)
    loss = torch.zeros(())
    for _ in range(steps):
        x, target, lengths, pieces = batches()
        loss = model.loss(x, target, lengths, pieces=pieces)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


@pytest.mark.parametrize("kind", ["characters", "ngrams"])
def test_spelling_tells_words_that_were_never_seen(kind: str) -> None:
    """Words in -ly are of one class, those in -ness of the other; the test has other stems."""
    stems = [a + b + c for a in "bdfgklm" for b in "aeiou" for c in "nrst"]
    rng = np.random.default_rng(0)
    rng.shuffle(stems)
    seen, unseen = stems[:100], stems[100:]
    words = [stem + end for stem in seen for end in ("ly", "ness")]
    spelling = CharacterSpelling.build(words) if kind == "characters" else NgramSpelling(2000)
    model = rc.Classifier(
        labels=["adverb", "noun"],
        vocabulary=WordVocabulary(words),
        spelling=spelling,
        embedding_size=4,
        subword_size=16,
        hidden_size=8,
        cell="gru",
        word_dropout=0.0,
    )

    def batch() -> Any:
        some = rng.choice(len(words), 32)
        ids, lengths, pieces = model.encode([words[i] for i in some])
        return ids, torch.tensor(some % 2), lengths, pieces

    fitted(model, batch, 60)
    tested = [stem + end for stem in unseen for end in ("ly", "ness")]
    labels = [p.label for p in model.predict(tested)]
    right = sum(
        found == wanted for found, wanted in zip(labels, ["adverb", "noun"] * 40, strict=True)
    )
    assert right >= 76


def test_learns_where_in_a_series_something_happened() -> None:
    model = of_series(num_classes=2, cell="gru", pooling="last", hidden_size=16)

    def batch() -> Any:
        x, lengths = torch.randn(20, 64, IN), torch.randint(10, 21, (64,))
        target = torch.randint(2, (64,))
        x[torch.where(target == 1, 2, 7), torch.arange(64), 0] += 8.0
        return x, target, lengths, None

    assert fitted(model, batch, 150) < 0.2
