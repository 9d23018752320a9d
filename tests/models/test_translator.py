"""The translator: its loss, its search against trying everything, its parts and its way to disk."""

import copy
import gc
import itertools
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

import recurra as rc
from recurra.decoding import beam_search
from recurra.decoding.beam import length_norm
from recurra.models.translation import Writing
from recurra.models.writing import Rows, attention_of, searched
from recurra.text import WordVocabulary
from recurra.text.characters import CharacterVocabulary

pytestmark = pytest.mark.medium

SOURCE = WordVocabulary.of_words(["a", "b", "c", "d", "e"])
TARGET = WordVocabulary.of_words(["x", "y"])
KINDS: dict[str, dict[str, Any]] = {
    "additive": {},
    "dot": {"attention": "dot"},
    "general": {"attention": "general"},
    "scaled_dot, lstm, layers": {
        "attention": "scaled_dot",
        "cell": "lstm",
        "num_layers": 2,
        "decoder_layers": 2,
    },
    "location": {"attention": "location"},
    "coverage": {"attention": "coverage"},
    "none": {"attention": "none"},
    "input feeding": {"attention": "general", "cell": "lstm", "input_feeding": True},
    "a cell of its own": {"decoder": "conditional_gru"},
    "reversed": {"reverse_source": True},
    "one way, untied": {"bidirectional": False, "tied": False},
}


def translator(**options: Any) -> rc.Translator:
    torch.manual_seed(3)
    sizes = {"embedding_size": 6, "hidden_size": 8}
    model = rc.Translator(
        source_vocabulary=SOURCE, target_vocabulary=TARGET, **{**sizes, **options}
    )
    with torch.no_grad():  # far from uniform, so that what is searched differs
        for parameter in model.parameters():
            parameter.normal_(std=0.7)
    return model.eval()


@pytest.fixture(params=KINDS, scope="module")
def model(request: pytest.FixtureRequest) -> rc.Translator:
    return translator(**KINDS[request.param])


def batch() -> tuple[torch.Tensor, torch.Tensor, list[int], list[int]]:
    draw = torch.Generator().manual_seed(1)
    source = torch.randint(0, 7, (5, 3), generator=draw)
    target = torch.randint(0, 4, (4, 3), generator=draw)
    return source, target, [5, 3, 1], [4, 0, 2]


def test_a_batch_is_each_pair_by_itself(model: rc.Translator) -> None:
    """What lies past the lengths counts for nothing, and all parameters learn."""
    source, target, sources, targets = batch()
    logits = model(source, target, sources, targets)
    assert logits.shape == (5, 3, 5)
    for b, (S, T) in enumerate(zip(sources, targets, strict=True)):
        alone = model(source[:S, b : b + 1], target[:T, b : b + 1])
        torch.testing.assert_close(logits[: T + 1, b], alone[:, 0], rtol=1e-4, atol=1e-5)
    source[4, 2], target[3, 2] = -100, 10**6
    again = model(source, target, sources, targets)
    for b, T in enumerate(targets):
        assert again[: T + 1, b].equal(logits[: T + 1, b])
    packed = model(source, target, sources, targets, packed=True)
    within = torch.arange(5)[:, None] <= torch.tensor(targets)
    torch.testing.assert_close(packed, logits[within])
    packed.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    model.zero_grad()


def test_the_loss_is_that_of_every_token_and_of_the_mark(model: rc.Translator) -> None:
    source, target, sources, targets = batch()
    logits = model(source, target, sources, targets).log_softmax(2)
    total, count = torch.tensor(0.0), 0
    for b, T in enumerate(targets):
        for t, token in enumerate([*target[:T, b].tolist(), model.mark]):
            total, count = total - logits[t, b, token], count + 1
    found = model.loss(source, target, sources, targets)
    torch.testing.assert_close(found, total / count)
    found = model.loss(source, target, sources, targets, reduction="sum")
    torch.testing.assert_close(found, total)


def test_searched_wide_enough_it_says_the_best_of_all(model: rc.Translator) -> None:
    ids, longest, penalty = model.ids_of(["c a e"])[0], 3, 0.8
    scored = []
    with torch.no_grad():
        for steps in range(longest + 1):
            for tokens in itertools.product(range(model.mark), repeat=steps):
                target = torch.tensor(tokens, dtype=torch.int64)[:, None]
                log_p = model(ids[:, None], target).log_softmax(2)[:, 0]
                path = [*tokens, model.mark]
                total = sum(float(log_p[t, k]) for t, k in enumerate(path))
                scored.append((total / float(length_norm(steps + 1, penalty)), tokens))
        memory, counts, summary = model.encode(ids[:, None])
        K = 4**3
        rows = torch.zeros(K, dtype=torch.int64)
        found = beam_search(
            Rows(model, memory[:, rows], counts[rows], summary[rows]),
            [longest],
            beam_size=K,
            mark=model.mark,
            length_penalty=penalty,
            num_best=5,
            exact=True,
        )[0]
    best = sorted(scored, reverse=True)[:5]
    assert [each.tokens for each in found] == [tokens for _, tokens in best]
    scores = torch.tensor([each.score for each in found])
    torch.testing.assert_close(scores, torch.tensor([s for s, _ in best]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("writing", [{}, {"beam_size": 1}, {"temperature": 1.0, "seed": 5}])
def test_a_translation_does_not_depend_on_the_others(
    model: rc.Translator, writing: dict[str, Any]
) -> None:
    texts = ["a b c", "e", "", "d d d d a b c", "zz b", "a b c"]
    together = [each.text for each in model.predict(texts, **writing)]
    for number, text in enumerate(texts):
        if not text:
            assert together[number] == ""
        elif "temperature" not in writing:  # what is drawn depends on the place of the input
            assert model.predict([text], **writing)[0].text == together[number]
    assert [each.text for each in model.predict(texts, batch_size=2, **writing)] == together


def test_saved_and_loaded_it_says_the_same(model: rc.Translator, tmp_path: Path) -> None:
    model.save(tmp_path / "kept")
    again = rc.load(tmp_path / "kept")
    assert isinstance(again, rc.Translator)
    assert again.config == model.config
    texts = ["a b c d", "e e a"]
    assert again.predict(texts, num_best=3) == model.predict(texts, num_best=3)


def test_greedy_is_the_most_probable_token_each_time(model: rc.Translator) -> None:
    ids = model.ids_of(["b a d"])[0]
    (found,) = searched(model, [ids], Writing(beam_size=1, max_length=6))
    target = torch.tensor(found[0].tokens, dtype=torch.int64)[:, None]
    with torch.no_grad():
        logits = model(ids[:, None], target)[:, 0]
    path = [*found[0].tokens, model.mark]
    best = logits.argmax(1).tolist()
    assert best[:-1] == path[:-1]
    assert best[-1] == path[-1] or len(path) == 7
    log_p = logits.log_softmax(1)
    total = float(sum(log_p[t, k] for t, k in enumerate(path)))
    assert found[0].log_probability == pytest.approx(total, abs=1e-3)


@pytest.mark.parametrize("name", [name for name in KINDS if name != "none"])
def test_attention_is_over_the_source_as_it_stands(name: str) -> None:
    """Its rows add up to 1; what the decoder reads with them is what the model reads."""
    model = translator(**KINDS[name])
    pairs = [(torch.tensor([2, 5, 3]), (0, 1, 2)), (torch.tensor([4]), ())]
    maps = attention_of(model, [s for s, _ in pairs], [t for _, t in pairs])
    assert [tuple(each.shape) for each in maps] == [(4, 3), (1, 1)]
    for each in maps:
        torch.testing.assert_close(each.sum(1), torch.ones(len(each)))
    (said,) = model.predict(["a b c"], attention=True, max_length=4)
    assert said.attention is not None
    assert said.attention.shape == (len(said.tokens) + 1, 3)


def test_reversed_attention_is_turned_back() -> None:
    """A reader of the reversed source gives the same map as one of the source turned round."""
    model = translator(reverse_source=True)
    ids = torch.tensor([2, 5, 3, 3])
    (turned,) = attention_of(model, [ids], [(1, 0)])
    model.reverse_source = False
    (plain,) = attention_of(model, [ids.flip(0)], [(1, 0)])
    torch.testing.assert_close(turned, plain.flip(1))


def test_a_bottleneck_has_no_attention_to_show() -> None:
    model = translator(attention="none")
    assert model.attention_cell() is None
    with pytest.raises(ValueError, match="expected a model with attention"):
        attention_of(model, [torch.tensor([1])], [()])
    assert model.predict(["a b"], attention=True)[0].attention is None


def test_unknown_words_are_copied_from_where_it_looked() -> None:
    model = translator()
    with torch.no_grad():  # it says <unk> twice and ends
        model.output.weight.zero_()
        model.output.bias.copy_(torch.tensor([5.0, 0, 0, 0, -1.0]))
    said = model.predict(["Zebra quagga"], beam_size=1, max_length=2, attention=True)[0]
    assert said.attention is not None
    words = ("Zebra", "quagga")
    looked = [words[int(row.argmax())] for row in said.attention[:2]]
    assert said.text == " ".join(looked)
    assert said.tokens == tuple(looked)
    plain = model.predict(["Zebra quagga"], beam_size=1, max_length=2, copy_unknown=False)[0]
    assert plain.text == "<unk> <unk>"
    said = model.predict(["Zebra quagga"], beam_size=3, num_best=3, max_length=2)[0]
    assert len(said.others) == 2
    assert not any("<unk>" in text for text in (said.text, *(text for text, _ in said.others)))


def test_coverage_prefers_what_looked_everywhere() -> None:
    model = translator()
    found = model.predict(["a b c d e a b"], beam_size=8, num_best=8)[0]
    covered = model.predict(["a b c d e a b"], beam_size=8, num_best=8, coverage_penalty=5.0)[0]

    def texts(each: Any) -> list[str]:
        return sorted([each.text, *(text for text, _ in each.others)])

    assert texts(covered) == texts(found)
    scores = [covered.score, *(score for _, score in covered.others)]
    assert scores == sorted(scores, reverse=True)
    assert covered.score < found.score


def test_one_vocabulary_and_one_table_for_both_sides(tmp_path: Path) -> None:
    chars = CharacterVocabulary.build(["abc"])
    model = rc.Translator(
        source_vocabulary=chars,
        target_vocabulary=chars,
        shared_embedding=True,
        embedding_size=4,
        hidden_size=5,
    )
    assert model.source_embedding.weight is model.output.weight
    model.save(tmp_path / "kept")
    again = rc.load(tmp_path / "kept")
    assert isinstance(again, rc.Translator)
    assert again.source_embedding.weight is again.output.weight
    assert again.predict(["abca"]) == model.predict(["abca"])


def test_label_smoothing_and_scheduled_reading() -> None:
    model = translator()
    source, target, sources, targets = batch()
    read = torch.cat([torch.full((1, 3), model.mark), target])
    same = model(source, target, sources, targets, read=read)
    assert same.equal(model(source, target, sources, targets))
    read[2] = 3
    other = model(source, target, sources, targets, read=read)
    assert other[:2].equal(same[:2])
    assert not other[2].equal(same[2])
    logits = model(source, target, sources, targets, packed=True)
    wanted = model.wanted(target, targets)
    smooth = model.loss(source, target, sources, targets, label_smoothing=0.2)
    assert smooth == functional.cross_entropy(logits, wanted, label_smoothing=0.2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attention": "global"}, "expected attention to be one of additive, dot,"),
        ({"attention": "location", "cell": "lstm"}, "expected cell=gru for attention=location"),
        ({"input_feeding": True}, "expected cell=lstm with attention=dot or general"),
        ({"decoder": "gru"}, "expected a decoder that reads x and one memory, got gru"),
        ({"shared_embedding": True}, "expected one vocabulary for shared_embedding=True"),
        ({"dropout": 1.5}, "dropout"),
        ({"source_size": None}, "expected source_size and target_size, or vocabularies"),
    ],
)
def test_arguments_that_do_not_go_together(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rc.Translator(**{"source_size": 5, "target_size": 4, "embedding_size": 3, **options})


def test_what_cannot_be_translated() -> None:
    model = translator()
    with pytest.raises(ValueError, match="expected a list of texts"):
        model.predict("a b")
    with pytest.raises(ValueError, match="expected beam_size of 1 or more, got 0"):
        model.predict(["a"], beam_size=0)
    with pytest.raises(ValueError, match="expected num_best of at most beam_size, 2"):
        model.predict(["a"], beam_size=2, num_best=3)
    with pytest.raises(ValueError, match="expected texts, got NoneType for input 1"):
        model.predict(["a", None])
    bare = rc.Translator(5, 4, embedding_size=3, hidden_size=3)
    with pytest.raises(ValueError, match="expected a model with target_vocabulary"):
        bare.predict(["a"])
    with pytest.raises(ValueError, match="expected source_vocabulary of 5 tokens, got 7"):
        bare.source_vocabulary = SOURCE
    assert model.predict(["zz zz"])[0].source == ("zz", "zz")  # of unknown words alone
    assert model.predict([]) == []


def test_what_is_kept_between_calls_follows_the_weights() -> None:
    """However they change, a call says what a model made of them says."""
    model, texts = translator(), ["a b c d", "e", "d d d d a b"]

    def optimize() -> None:
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.5)
        source, target, sources, targets = batch()
        model.loss(source, target, sources, targets).backward()
        optimizer.step()
        model.zero_grad()

    def edit_one_number() -> None:
        model.decoder.parameters_of(0)["U_a"].data[1, 2] += 9.0

    def edit_the_output() -> None:
        model.output.weight.data[0] += 2.0

    def replace() -> None:
        model.output = torch.nn.Linear(6, 5)

    def load() -> None:
        model.load_state_dict(translator(tied=False).state_dict())

    def hook() -> None:
        model.output.register_forward_hook(lambda module, given, made: -made)

    options = ({"beam_size": 1}, {"beam_size": 3, "num_best": 3})
    for change in (optimize, edit_one_number, edit_the_output, replace, load, hook):
        for writing in options:
            model.predict(texts, **writing)
        change()
        for writing in options:
            fresh = copy.deepcopy(model)
            for found, expected in zip(
                model.predict(texts, **writing), fresh.predict(texts, **writing), strict=True
            ):
                assert found.tokens == expected.tokens
                assert found.score == pytest.approx(expected.score, abs=1e-4)


def test_several_threads_may_write_at_once() -> None:
    model, texts = translator(), [["a b c d"], ["e"], ["d d d d a b"], ["b", "c c"]]
    alone = [model.predict(each) for each in texts]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(10):
            assert list(pool.map(model.predict, texts)) == alone


def test_a_model_that_wrote_is_let_go_of() -> None:
    model = translator()
    model.predict(["a"])
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


def test_a_stream_takes_other_rows_and_goes_on() -> None:
    layer = rc.Recurrent("attend(lstm)", 3, 4, sizes={"K": 2})
    memory = torch.randn(5, 1, 2).expand(5, 3, 2)
    for first in (layer.stream(3, memory=memory),):
        x = torch.randn(3, 3, 3)
        first(x[0])
        kept = [state.clone() for state in first.state]
        rows = torch.tensor([2, 0, 2])
        first.reorder(rows)
        for now, before in zip(first.state, kept, strict=True):
            assert now.equal(before[:, rows])
        y = first(x[1])
        other = layer.stream(3, memory=memory)
        other.reset(tuple(state[:, rows] for state in kept))
        torch.testing.assert_close(other(x[1]), y)
    with pytest.raises(ValueError, match=r"expected rows \[3\], got shape \(2,\)"):
        first.reorder(torch.tensor([0, 1]))


def test_a_seed_draws_the_same_weights_in_any_process() -> None:
    """Tables are drawn in one order, and not in that of their addresses."""
    torch.manual_seed(1)
    first = rc.Translator(5, 4, embedding_size=3, hidden_size=3)
    kept = [torch.empty(1000, dtype=torch.float32, device="cpu") for _ in range(50)]
    for _ in range(20):
        torch.manual_seed(1)
        other = rc.Translator(5, 4, embedding_size=3, hidden_size=3)
        kept.append(other.output.weight.detach())
        for name, weight in first.state_dict().items():
            assert other.state_dict()[name].equal(weight)


def test_functional_calls_have_the_gradients_of_the_model() -> None:
    """Through torch.func: of parameters that are given, and of each pair by itself."""
    model = translator()
    source, target, sources, targets = batch()
    own = {name: p.detach() for name, p in model.named_parameters()}

    def loss_of(weights: dict[str, torch.Tensor]) -> torch.Tensor:
        made = torch.func.functional_call(model, weights, (source, target, sources, targets))
        return made.square().mean()

    found, value = torch.func.grad_and_value(loss_of)(own)
    expected = model(source, target, sources, targets).square().mean()
    torch.testing.assert_close(value, expected)
    expected.backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, msg=name)


def test_a_functional_call_writes_with_the_weights_that_it_is_given() -> None:
    model, other = translator(), translator()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(-0.5)
    texts = ["a b c", "e d"]
    expected = [each.tokens for each in other.predict(texts)]
    before = [each.tokens for each in model.predict(texts)]
    weights = {name: p.detach() for name, p in other.named_parameters()}

    class Writer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self) -> list[tuple[str, ...]]:
            return [each.tokens for each in self.model.predict(texts)]

    given = {f"model.{name}": weight for name, weight in weights.items()}
    assert torch.func.functional_call(Writer(), given, ()) == expected
    assert [each.tokens for each in model.predict(texts)] == before
    assert expected != before
