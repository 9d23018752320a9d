"""A language model as users of torch expect one: losses, options, and modules that are called."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations, prune

import recurra as rc
from recurra import cells, compose
from recurra.nn.initial import Opposite, chrono
from recurra.text import CharacterVocabulary

pytestmark = pytest.mark.medium

V, T, B, H = 11, 6, 3, 8
VOCABULARY = CharacterVocabulary("abcdefghijk")


def model_of(**options: Any) -> rc.LanguageModel:
    torch.manual_seed(0)
    return rc.LanguageModel(
        vocabulary=VOCABULARY, **{"embedding_size": 5, "hidden_size": H, **options}
    )


@pytest.fixture
def ids() -> Tensor:
    return torch.randint(V, (T, B))


# ---- losses --------------------------------------------------------------------------------------


def test_the_loss_is_the_cross_entropy_of_what_follows(ids: Tensor) -> None:
    model = model_of()
    logits, _ = model(ids[:-1])
    expected = functional.cross_entropy(logits.flatten(0, 1), ids[1:].flatten())
    torch.testing.assert_close(model.loss(ids), expected)
    torch.testing.assert_close(model.loss(ids[:-1], ids[1:]), expected)
    torch.testing.assert_close(
        model.loss(ids, reduction="sum"), model.loss(ids, reduction="none").sum()
    )
    assert model.loss(ids, reduction="none").shape == (T - 1, B)
    each = torch.stack([model.loss(ids[:, i], reduction="none") for i in range(B)], dim=1)
    torch.testing.assert_close(each, model.loss(ids, reduction="none"))


def test_targets_of_minus_100_are_not_counted(ids: Tensor) -> None:
    model = model_of()
    targets = ids[1:].clone()
    targets[2:] = -100
    torch.testing.assert_close(model.loss(ids[:-1], targets), model.loss(ids[:3]))


def test_the_loss_of_low_precision_is_summed_in_float32(ids: Tensor) -> None:
    assert model_of(dtype=torch.bfloat16).loss(ids).dtype == torch.float32
    assert model_of(dtype=torch.float64).loss(ids).dtype == torch.float64


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_windows_are_handed_their_state_and_no_gradient_goes_back(cell: str, ids: Tensor) -> None:
    model = model_of(cell=cell)
    inputs, targets = ids[:-1], ids[1:]
    first, state = model.loss_and_state(inputs[:2], targets[:2], reduction="sum")
    second, _ = model.loss_and_state(inputs[2:], targets[2:], state, reduction="sum")
    torch.testing.assert_close(first + second, model.loss(ids, reduction="sum"))
    second.backward()  # with the graph of the first gone or not
    first.backward()
    assert all(p.grad is not None for p in model.parameters())


def test_a_window_knows_its_place() -> None:
    @rc.cell(state="h")
    def clocked(x, h, t, W_xh, W_hh):
        from recurra.lang import tanh

        return tanh(W_xh @ x + W_hh @ h + t / 5)

    model = model_of(cell=clocked, backend="reference")
    ids = torch.randint(V, (T, B))
    _, state = model.loss_and_state(ids[:3])
    rest = model.loss_and_state(ids[2:-1], ids[3:], state, start=2, reduction="none")[0]
    torch.testing.assert_close(rest, model.loss(ids, reduction="none")[2:])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model: model.loss(torch.zeros(1, B, dtype=torch.int64)), r"at least 2 tokens.*1"),
        (
            lambda model: model.loss(
                torch.zeros(T, B, dtype=torch.int64), torch.zeros(T - 1, B, dtype=torch.int64)
            ),
            r"a target for each of the inputs \(6, 3\), got shape \(5, 3\)",
        ),
        (lambda model: model.loss(torch.full((T, B), V)), r"token ids in 0..10"),
    ],
)
def test_mistakes_of_a_loss_are_named(
    call: Callable[[rc.LanguageModel], Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        call(model_of())


def test_three_lines_learn() -> None:
    model = model_of(cell="gru", hidden_size=16)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    ids = (torch.arange(20)[:, None] + torch.arange(8)) % V
    for _ in range(80):
        optimizer.zero_grad()
        loss = model.loss(ids)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1
    assert model.generate("abc", 20, temperature=0) == "abcdefghijkabcdefghijka"
    assert model.nll("abcdefghijk") < 0.1


# ---- options -------------------------------------------------------------------------------------


def test_parameters_are_counted_once() -> None:
    model = model_of(embedding_size=H, tied=True)
    recurrent = sum(p.numel() for p in model.recurrent.parameters())
    assert model.num_parameters() == V * H + V + recurrent
    model.embedding.weight.requires_grad_(False)
    assert model.num_parameters(only_trainable=True) == V + recurrent


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_batch_first_turns_ids_and_logits(cell: str, ids: Tensor) -> None:
    model, turned = model_of(cell=cell), model_of(cell=cell, batch_first=True)
    logits, state = model(ids)
    logits_turned, state_turned = turned(ids.T)
    torch.testing.assert_close(logits_turned, logits.transpose(0, 1))
    torch.testing.assert_close(state_turned, state)
    torch.testing.assert_close(turned(ids.T, state)[0], model(ids, state)[0].transpose(0, 1))
    torch.testing.assert_close(turned(ids[:, 0])[0], model(ids[:, 0])[0])
    torch.testing.assert_close(turned.read(ids.T)[0], model.read(ids)[0].transpose(0, 1))
    torch.testing.assert_close(turned.loss(ids.T), model.loss(ids))
    torch.testing.assert_close(
        turned.loss(ids.T, reduction="none"), model.loss(ids, reduction="none").T
    )
    assert turned.generate(["ab", "c", "de"], 20, seed=1) == model.generate(
        ["ab", "c", "de"], 20, seed=1
    )
    assert turned.generate("ab", 20, seed=1) == model.generate("ab", 20, seed=1)
    assert turned.nll("abcdeabc") == pytest.approx(model.nll("abcdeabc"))


def test_batch_first_text_of_a_model_that_is_called(ids: Tensor) -> None:
    model = model_of(batch_first=True)
    text = model.generate("ab", 20, seed=1)
    seen: list[torch.Size] = []
    model.register_forward_hook(lambda _, args, out: seen.append(out[0].shape))
    assert model.generate("ab", 20, seed=1) == text
    assert model.generate(["ab", "cd"], 20, seed=1)[0] == text
    assert set(seen) == {(1, 2, V), (1, 1, V), (2, 2, V), (2, 1, V)}


EVERY_OPTION: dict[str, Any] = {
    "cell": compose.layer_norm(cells.lstm),
    "num_layers": 2,
    "dropout": 0.1,
    "embedding_dropout": 0.2,
    "batch_first": True,
    "init": {"W_hf": "orthogonal", "b_f": chrono(40), "b_i": Opposite("b_f"), "b_o": 2},
    "learned_state": True,
    "memory": "low",
}


def test_every_option_is_saved_and_loaded(tmp_path: Path) -> None:
    model = model_of(**EVERY_OPTION)
    with torch.no_grad():
        model.recurrent.first_h_l0.fill_(0.5)
    model.save(tmp_path)
    loaded = rc.load(tmp_path)
    assert isinstance(loaded, rc.LanguageModel)
    assert loaded.config == model.config
    config = json.loads((tmp_path / "config.json").read_text())["model"]
    assert config["init"] == {"W_hf": "orthogonal", "b_f": "chrono40", "b_i": "-b_f", "b_o": 2}
    assert (config["batch_first"], config["learned_state"], config["memory"]) == (True, True, "low")
    assert loaded.recurrent.memory == "low"
    assert loaded.vocabulary == VOCABULARY
    x = torch.randint(V, (B, T))
    torch.testing.assert_close(loaded(x)[0], model.eval()(x)[0])
    torch.manual_seed(5)
    model.reset_parameters()
    torch.manual_seed(5)
    loaded.reset_parameters()
    torch.testing.assert_close(loaded.state_dict(), model.state_dict())


def test_a_function_of_one_s_own_to_start_by_is_not_saved(tmp_path: Path) -> None:
    model = model_of(init={"b_f": lambda p: p.fill_(3.0), "b_o": 1})
    model.save(tmp_path)
    loaded = rc.load(tmp_path)
    assert loaded.config["init"] == {"b_o": 1}
    torch.testing.assert_close(loaded.state_dict(), model.state_dict())


def test_learned_states_are_where_texts_begin() -> None:
    model = model_of(learned_state=True, cell="gru")
    text = model.generate(["ab", "c"], 30, seed=2)
    with torch.no_grad():
        model.recurrent.first_h_l0.uniform_(-20, 20)
    other = model.generate(["ab", "c"], 30, seed=2)
    assert other != text
    assert other == [model.generate(p, 30, seed=2 + i) for i, p in enumerate(["ab", "c"])]
    model.loss(torch.randint(V, (T, B))).backward()
    assert model.recurrent.first_h_l0.grad is not None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"init": {"W": 0}}, r"init: expected one of .*W_hf.*, got 'W'"),
        ({"init": {"b_f": "chrono2"}}, r"at least 3 steps"),
        ({"memory": "none"}, r"memory"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        model_of(**options)


# ---- modules are called as modules ---------------------------------------------------------------


def hook_on_layers(model: rc.LanguageModel) -> None:
    model.recurrent.register_forward_hook(lambda _, args, out: (out[0] * 3, out[1]))


def hook_on_decoder(model: rc.LanguageModel) -> None:
    model.decoder.register_forward_hook(lambda _, args, out: out * 3)


def hook_on_embedding(model: rc.LanguageModel) -> None:
    model.embedding.register_forward_hook(lambda _, args, out: out * 3)


def hook_on_model(model: rc.LanguageModel) -> None:
    model.register_forward_hook(lambda _, args, out: (out[0] * 3, out[1]))


def pruned(model: rc.LanguageModel) -> None:
    for module, name in (
        (model.embedding, "weight"),
        (model.decoder, "weight"),
        (model.recurrent, "W_hf_l0"),
    ):
        prune.l1_unstructured(module, name, amount=0.5)


def normed(model: rc.LanguageModel) -> None:
    for module, name in ((model.decoder, "weight"), (model.recurrent, "W_hf_l0")):
        parametrizations.weight_norm(module, name)
    with torch.no_grad():
        model.decoder.parametrizations.weight.original0.mul_(2)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize(
    "change", [hook_on_layers, hook_on_decoder, hook_on_embedding, hook_on_model, pruned, normed]
)
def test_what_is_put_on_modules_holds_everywhere(
    change: Callable[[rc.LanguageModel], None], batch_first: bool
) -> None:
    model = model_of(batch_first=batch_first)
    plain = copy.deepcopy(model)
    change(model)
    prime, ids = "abcd", torch.tensor(VOCABULARY.encode("abcd"))
    text = prime
    for _ in range(8):  # greedy, by nothing but calls of the model
        every = torch.tensor(VOCABULARY.encode(text))[:, None]
        logits, _ = model.eval()(every.T if batch_first else every)
        text += VOCABULARY.decode([int(logits.flatten(0, 1)[-1].argmax())])
    logits, _ = model(ids)
    expected = functional.cross_entropy(logits[:-1], ids[1:])
    torch.testing.assert_close(model.loss(ids), expected)
    assert model.nll(prime) == pytest.approx(expected.item(), rel=1e-5)
    assert model.generate(prime, 8, temperature=0) == text
    assert model.generate([prime, "b"], 8, temperature=0)[0] == text
    assert abs(plain.nll(prime) - model.nll(prime)) > 1e-4


def test_a_layer_in_the_place_of_a_part_is_called() -> None:
    class Twice(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, y: Tensor) -> Tensor:
            return 2 * self.inner(y)

    model = model_of()
    ids = torch.randint(V, (T, B))
    logits, _ = model(ids)
    model.decoder = Twice(model.decoder)  # pyright: ignore[reportAttributeAccessIssue]
    torch.testing.assert_close(model(ids)[0], 2 * logits)
    assert len(model.generate("ab", 5)) == 7
