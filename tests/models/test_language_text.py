"""A language model that owns its vocabulary writes text, and says how likely a text is."""

import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import recurra as rc
from recurra.cli import app
from recurra.errors import DataError
from recurra.text import BPEVocabulary, CharacterVocabulary, Vocabulary, WordVocabulary

pytestmark = pytest.mark.medium

TEXT = "To be, or not to be, that is the question:\nWhether 'tis nobler in the mind to suffer\n"
CHARACTERS = CharacterVocabulary.build([TEXT])
RUNS = Path(__file__).parents[1] / "runs" / "format-1"
PRIMES = ["To be", "n", "", "That is".lower(), "To"]


def model_of(vocabulary: Vocabulary = CHARACTERS, **options: Any) -> rc.LanguageModel:
    torch.manual_seed(1)
    return rc.LanguageModel(
        vocabulary=vocabulary, **{"embedding_size": 8, "hidden_size": 12, **options}
    )


@pytest.fixture(scope="module")
def model() -> rc.LanguageModel:
    return model_of(num_layers=2, dropout=0.3)


def test_the_text_begins_with_its_prime_and_has_so_many_tokens(model: rc.LanguageModel) -> None:
    text = model.generate("To be", 40, temperature=0.8, seed=1)
    assert text.startswith("To be")
    assert len(text) == 45
    assert model.generate("To be", 40, temperature=0.8, seed=1, include_prime=False) == text[5:]
    assert "".join(model.stream_text("To be", 40, temperature=0.8, seed=1)) == text
    assert model.generate("To be", 40, temperature=0.8, seed=2) != text
    assert len(model.generate()) == 500


def test_the_model_and_the_global_generators_are_left_as_they_were(
    model: rc.LanguageModel,
) -> None:
    model.train()
    before = torch.get_rng_state()
    model.generate("To", 5)
    model.generate(["To", "be"], 5, scores=True)
    model.nll("to be")
    for _ in model.stream_text("To", 5):
        assert model.training
        assert torch.is_grad_enabled()
    assert all(part.training for part in model.modules())
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize(
    ("cell", "options"),
    [("lstm", {}), ("gru", {"temperature": 0.5, "top_k": 9}), ("mut1", {"temperature": 0})],
)
def test_several_primes_are_written_as_each_alone(
    cell: str, options: dict[str, Any], backend: str
) -> None:
    model = model_of(cell=cell, backend=backend)
    texts = model.generate(PRIMES, 40, seed=3, **options)
    assert isinstance(texts, list)
    assert texts == [
        model.generate(prime, 40, seed=3 + i, **options) for i, prime in enumerate(PRIMES)
    ]


def test_of_a_prime_only_the_last_token_is_decoded(
    model: rc.LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes: list[torch.Size] = []
    forward = nn.Linear.forward

    def recorded(self: nn.Linear, y: torch.Tensor) -> torch.Tensor:
        shapes.append(y.shape)
        return forward(self, y)

    monkeypatch.setattr(nn.Linear, "forward", recorded)
    model.generate("To be, or", 1)
    model.generate(["To be, or", "that", "that"], 1)
    assert shapes == [(1, 1, 12), (1, 1, 12), (1, 2, 12)]


def test_one_prime_many_times_has_many_continuations(model: rc.LanguageModel) -> None:
    assert len(set(model.generate(["To"] * 4, 30, seed=3))) == 4


def test_text_of_a_cell_that_reads_the_index() -> None:
    @rc.cell(state="h")
    def clocked(x, h, t, W_xh, W_hh):
        from recurra.lang import tanh

        return tanh(W_xh @ x + W_hh @ h + t / 10)

    model = model_of(cell=clocked, backend="reference")
    assert model.generate(PRIMES, 20, seed=3) == [
        model.generate(prime, 20, seed=3 + i) for i, prime in enumerate(PRIMES)
    ]


def test_scores_are_the_log_probabilities_of_the_tokens(model: rc.LanguageModel) -> None:
    found = model.generate("To be", 30, seed=4, temperature=0.7, scores=True)
    assert found.text == model.generate("To be", 30, seed=4, temperature=0.7)
    assert len(found.ids) == len(found.scores) == 30
    assert "To be" + CHARACTERS.decode(found.ids) == found.text
    nll = model.nll(found.text.removeprefix("To be"), prime="To be")
    assert -sum(found.scores) / 30 == pytest.approx(nll, rel=1e-5)
    several = model.generate(["To be", "that"], 30, seed=4, temperature=0.7, scores=True)
    assert several[0].ids == found.ids
    assert several[0].scores == pytest.approx(found.scores, rel=1e-4)


def test_stop_ends_the_text_before_it(model: rc.LanguageModel) -> None:
    whole = model.generate("To be", 200, seed=5)
    stop = whole[60:62]
    cut = whole[: whole.index(stop, 5)]
    assert model.generate("To be", 200, seed=5, stop=stop) == cut
    assert "".join(model.stream_text("To be", 200, seed=5, stop=stop)) == cut
    assert model.generate(["To be"], 200, seed=5, stop=("\x00", stop)) == [cut]


@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_forbidden_symbols_are_never_drawn(backend: str) -> None:
    words = WordVocabulary.build([TEXT])
    model = model_of(words, backend=backend)
    with torch.no_grad():
        model.decoder.bias[0] = 8.0
    assert "<unk>" in model.generate("To be", 40, seed=1)
    text = model.generate("To be", 40, seed=1, forbid=("<unk>", "\n"))
    assert "<unk>" not in text
    assert "\n" not in text
    assert model.generate(["To be"], 40, seed=1, forbid=("<unk>", "\n")) == [text]


@pytest.mark.parametrize("kind", [WordVocabulary, BPEVocabulary])
def test_other_vocabularies(kind: type[Vocabulary]) -> None:
    model = model_of(kind.build([TEXT * 3], max_size=280))
    text = model.generate("To be,", 20, seed=1)
    assert text.startswith("To be,")
    assert model.generate(["to", "To be,"], 20, seed=0)[1] == text
    assert "".join(model.stream_text("To be,", 20, seed=1)) == text


# ---- likelihood ----------------------------------------------------------------------------------


def test_nll_is_the_mean_over_all_tokens_but_the_first(model: rc.LanguageModel) -> None:
    ids = torch.tensor(CHARACTERS.encode(TEXT))
    logits, _ = model.eval()(ids[:-1])
    expected = nn.functional.cross_entropy(logits, ids[1:]).item()
    model.train()
    assert model.nll(TEXT) == pytest.approx(expected, rel=1e-5)
    assert model.nll([TEXT, "to be"]) == [model.nll(TEXT), model.nll("to be")]


def test_nll_after_a_prime_counts_every_token(model: rc.LanguageModel) -> None:
    whole = model.nll(TEXT) * (len(TEXT) - 1)
    head = model.nll(TEXT[:20]) * 19
    tail = model.nll(TEXT[20:], prime=TEXT[:20]) * (len(TEXT) - 20)
    assert head + tail == pytest.approx(whole, rel=1e-5)
    assert model.nll("To", prime="") == pytest.approx(model.nll("\nTo"), rel=1e-6)
    assert 0 < model.nll("T", prime="") < 2 * math.log(len(CHARACTERS))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model: model.nll("T"), r"nll: expected a text of at least 2 tokens, got 1.*prime="),
        (lambda model: model.nll("", prime="T"), r"expected a text of at least 1 token, got 0"),
        (lambda model: model.nll("To Ω"), r"text: .*'Ω'"),
        (lambda model: model.generate("Ω"), r"prime: .*'Ω'"),
        (lambda model: model.generate("To", -1), r"length: expected 0 or more tokens, got -1"),
        (lambda model: model.generate("To", temperature=-1.0), r"temperature: .* got -1"),
        (lambda model: model.generate("To", seed=-1), r"seed: expected a whole number"),
        (lambda model: model.generate("To", forbid=("To",)), r"forbid: .*is 2 of them"),
        (
            lambda model: model.generate("To", forbid=tuple(CHARACTERS.characters)),
            r"forbid: expected ids of 0..\d+ that leave a token to draw",
        ),
    ],
)
def test_mistakes_are_named(model: rc.LanguageModel, call: Any, message: str) -> None:
    with pytest.raises((ValueError, DataError), match=message) as error:
        call(model)
    assert "\n" not in str(error.value)


def test_text_needs_a_vocabulary() -> None:
    model = rc.LanguageModel(5, hidden_size=4)
    for name, call in {
        "generate": lambda: model.generate("a"),
        "stream_text": lambda: model.stream_text("a"),
        "nll": lambda: model.nll("a"),
    }.items():
        with pytest.raises(ValueError, match=rf"LanguageModel.{name}: expected a model with voc"):
            call()
    model.vocabulary = CharacterVocabulary("abcde")
    assert set(model.generate("a", 20)) <= set("abcde")


@pytest.mark.parametrize("level", ["char", "byte", "word", "whitespace", "bpe"])
def test_a_run_writes_where_its_text_is_not(level: str, tmp_path: Path) -> None:
    """A model of an old run, of which nothing is left but the model, writes what the run writes."""
    for name in ("config.json", "model.safetensors"):
        shutil.copy(RUNS / level / name, tmp_path / name)
    model = rc.LanguageModel.load(tmp_path)
    assert model.vocabulary is not None
    assert model.vocabulary.level == level
    text = model.generate("the", 40, temperature=0.8, seed=1)
    words = f"sample {RUNS / level} --length 40 --prime the --temperature 0.8 --seed 1".split()
    sampled = CliRunner().invoke(app, words).stdout_bytes.decode("utf-8", "replace")
    assert sampled == text + "\n"
    assert model.nll(["the cat", "the cat"], prime="")[0] > 0


@pytest.mark.parametrize("text", [None, 3, ["To", 3], torch.tensor([1])])
def test_what_is_no_text_is_named(model: rc.LanguageModel, text: Any) -> None:
    with pytest.raises(TypeError, match=r"LanguageModel.nll: expected text, got (Non|int|Ten)"):
        model._vocabulary("nll", text)  # nll itself is checked by types in tests


def test_a_saved_model_writes_the_same(tmp_path: Path, model: rc.LanguageModel) -> None:
    model.save(tmp_path / "model")
    loaded = rc.load(tmp_path / "model")
    assert isinstance(loaded, rc.LanguageModel)
    assert loaded.generate("To be", 30, seed=1) == model.generate("To be", 30, seed=1)
