"""The language model: its equations, its options, and that it learns."""

import copy
import itertools
import json
import math

import pytest
import torch
from torch import nn
from torch.nn import functional

import recurra as rc
from recurra.backends.cpu import found_compiler
from recurra.decoding import Sampler, generate

V, T, B = 11, 6, 3


def as_torch(model: rc.LanguageModel, ids: torch.Tensor) -> torch.Tensor:
    """The same model from torch.nn's parts; `model` has the cell torch_lstm."""
    lstm = nn.LSTM(model.embedding_size, model.recurrent.hidden_size, model.recurrent.num_layers)
    lstm.load_state_dict(model.recurrent.state_dict(), strict=True)
    y, _ = lstm(functional.embedding(ids, model.embedding.weight))
    return functional.linear(y, model.decoder.weight, model.decoder.bias)


def test_equals_the_same_model_from_torch() -> None:
    model = rc.LanguageModel(V, embedding_size=5, hidden_size=8, num_layers=2, cell="torch_lstm")
    ids = torch.randint(V, (T, B))
    logits, (h, c) = model(ids)
    assert logits.shape == (T, B, V)
    assert h.shape == c.shape == (2, B, 8)
    torch.testing.assert_close(logits, as_torch(model, ids))


@pytest.mark.parametrize("cell", ["gru", "lstm", "mut1", "rnn"])
def test_state_carries_text_on(cell: str) -> None:
    model = rc.LanguageModel(V, embedding_size=5, hidden_size=8, cell=cell).double()
    ids = torch.randint(V, (T, B))
    whole, final = model(ids, model.initial_state(B))
    first, state = model(ids[:2])
    second, final_again = model(ids[2:], state)
    torch.testing.assert_close(torch.cat([first, second]), whole)
    torch.testing.assert_close(final_again, final)


def test_one_sequence_without_a_batch() -> None:
    model = rc.LanguageModel(V, embedding_size=5, hidden_size=8)
    ids = torch.randint(V, (T, B))
    torch.testing.assert_close(model(ids[:, 0])[0], model(ids)[0][:, 0])


def test_first_predictions_are_close_to_uniform() -> None:
    model = rc.LanguageModel(V)
    logits, _ = model(torch.randint(V, (T, B)))
    nll = functional.cross_entropy(logits.flatten(0, 1), torch.randint(V, (T * B,)))
    assert abs(nll.item() - math.log(V)) < 0.2


def test_tied_weights_are_one_parameter() -> None:
    model = rc.LanguageModel(V, embedding_size=8, hidden_size=8, tied=True)
    assert model.decoder.weight is model.embedding.weight
    count = sum(1 for _ in model.parameters())
    assert count == 2 + sum(1 for _ in model.recurrent.parameters())
    model(torch.randint(V, (T, B)))[0].sum().backward()
    assert model.embedding.weight.grad is not None


def test_tied_needs_equal_sizes() -> None:
    with pytest.raises(ValueError, match=r"embedding_size equal to the output size 8.*got 5"):
        rc.LanguageModel(V, embedding_size=5, hidden_size=8, tied=True)


def test_dropout_in_training_only() -> None:
    model = rc.LanguageModel(V, hidden_size=8, num_layers=2, dropout=0.5, embedding_dropout=0.3)
    ids = torch.randint(V, (T, B))
    assert not torch.equal(model(ids)[0], model(ids)[0])
    model.eval()
    torch.testing.assert_close(model(ids)[0], model(ids)[0])
    model.train()
    model.dropout = 1.0
    logits, _ = model(ids)
    torch.testing.assert_close(logits, model.decoder.bias.expand(T, B, V))


def test_embedding_dropout_drops_whole_tokens() -> None:
    model = rc.LanguageModel(200, embedding_size=4, hidden_size=8, embedding_dropout=0.5)
    ids = torch.arange(200).unsqueeze(0)
    (d_weight,) = torch.autograd.grad(model(ids)[0].sum(), model.embedding.weight)
    dropped = (d_weight == 0).all(dim=1)
    assert 60 < dropped.sum() < 140
    assert (d_weight[~dropped] != 0).all()


def test_dropout_on_one_layer_does_not_warn() -> None:
    rc.LanguageModel(V, dropout=0.5)  # a warning would be an error here


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vocab_size": 0}, r"LanguageModel: expected vocab_size >= 1, got 0"),
        ({"embedding_size": -1}, r"LanguageModel: expected embedding_size >= 1, got -1"),
        ({"hidden_size": 0}, r"expected hidden_size >= 1, got 0"),
        ({"num_layers": 0}, r"expected num_layers >= 1, got 0"),
        ({"dropout": 1.5}, r"LanguageModel: expected dropout in 0..1, got 1.5"),
        ({"embedding_dropout": -1.0}, r"expected embedding_dropout in 0..1, got -1.0"),
        ({"cell": "gruu"}, r"'gruu'.*gru"),
        ({"backend": "fast"}, r"'fast'"),
    ],
)
def test_wrong_arguments(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rc.LanguageModel(**{"vocab_size": V, **options})


def test_ids_outside_the_vocabulary() -> None:
    with pytest.raises(ValueError, match=r"token ids in 0..10 .*got 11"):
        rc.LanguageModel(V)(torch.full((T, B), V))


def test_config_rebuilds_the_model() -> None:
    model = rc.LanguageModel(
        V, embedding_size=8, hidden_size=8, num_layers=2, cell="gru", dropout=0.1, tied=True
    )
    config = json.loads(json.dumps(model.config))
    assert config == {
        "vocab_size": V,
        "embedding_size": 8,
        "hidden_size": 8,
        "num_layers": 2,
        "cell": "gru",
        "constants": {},
        "equations": None,
        "sizes": {},
        "dropout": 0.1,
        "embedding_dropout": 0.0,
        "tied": True,
        "dtype": "float32",
    }


@pytest.mark.medium
@pytest.mark.parametrize("tied", [False, True])
def test_learns_a_cycle(tied: bool) -> None:
    """Ten tokens that repeat: what comes next is certain after a few hundred steps."""
    model = rc.LanguageModel(10, embedding_size=16, hidden_size=16, cell="gru", tied=tied)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    stream = torch.arange(8 * 16 + 1) % 10
    ids, targets = stream[:-1].view(8, 16).T, stream[1:].view(8, 16).T
    for _ in range(80):
        logits, _ = model(ids)
        nll = functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        nll.backward()
        optimizer.step()
    assert nll.item() < 0.1


# ---- text ----------------------------------------------------------------------------------------

PRIME = [1, 2, 3, 4, 5]


def text(model: rc.LanguageModel, length: int = 60, **options: float) -> list[int]:
    sampler = Sampler(**options)
    generator = torch.Generator().manual_seed(4)
    return list(generate(model, PRIME, length, sampler=sampler, generator=generator))


def on_reference(model: rc.LanguageModel) -> rc.LanguageModel:
    """The same model, not compiled."""
    same = copy.deepcopy(model)
    same.recurrent.backend = "reference"
    return same


@pytest.mark.medium
@pytest.mark.parametrize("options", [{"temperature": 0}, {"top_k": 5}, {"top_p": 0.8}])
@pytest.mark.parametrize("cell", ["lstm", "mut1"])
def test_compiled_text_is_the_text_of_the_model(cell: str, options: dict[str, float]) -> None:
    model = rc.LanguageModel(V, embedding_size=5, hidden_size=8, num_layers=2, cell=cell)
    model.dropout = model.embedding_dropout = 0.5  # off while text is written
    same = on_reference(model)
    assert same.token_writer(same.initial_state()) is None
    if found_compiler() is not None:
        assert model.token_writer(model.initial_state()) is not None
    assert text(model, **options) == text(same, **options)


def test_text_with_a_tied_decoder_and_in_bfloat16() -> None:
    tied = rc.LanguageModel(V, embedding_size=8, hidden_size=8, tied=True)
    assert text(tied) == text(on_reference(tied))
    narrow = tied.bfloat16()
    assert len(text(narrow)) == 60


def test_training_between_two_tokens_changes_the_text_that_follows() -> None:
    model = rc.LanguageModel(V, embedding_size=5, hidden_size=8)
    ids = generate(model, PRIME, 200, sampler=Sampler(temperature=0))
    list(itertools.islice(ids, 20))
    with torch.no_grad():
        model.decoder.weight.zero_()
        model.decoder.bias[7] = 1
    assert list(ids)[-100:] == [7] * 100


def test_models_that_do_more_than_their_equations_are_called() -> None:
    class Sharper(rc.LanguageModel):
        def forward(self, ids, state=None):
            logits, state = super().forward(ids, state)
            return 3 * logits, state

    model = rc.LanguageModel(V, hidden_size=8)
    assert Sharper(V, hidden_size=8).token_writer(model.initial_state()) is None
    seen = []
    handle = model.decoder.register_forward_hook(lambda *_: seen.append(1))
    assert len(text(model, 10)) == 10
    assert len(seen) == 10
    handle.remove()
    nn.utils.parametrizations.weight_norm(model.decoder)
    assert model.token_writer(model.initial_state()) is None


def test_scores_that_are_not_finite_stop_the_text() -> None:
    model = rc.LanguageModel(V, hidden_size=8)
    ids = generate(model, PRIME, 100, sampler=Sampler())
    next(ids)
    with torch.no_grad():
        model.decoder.bias.fill_(math.nan)
    with pytest.raises(ValueError, match=r"largest is nan.*earlier checkpoint"):
        list(ids)


def test_a_stream_gives_the_logits_of_each_token() -> None:
    model = rc.LanguageModel(V, hidden_size=8, num_layers=2)
    ids = torch.randint(V, (T, B))
    stream = model.stream(B)
    steps = torch.stack([stream(row) for row in ids])
    torch.testing.assert_close(steps, model(ids)[0].detach())
