"""Generating: the model reads the prime once, goes on token by token, and is left as it was."""

import codecs
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from recurra.decoding import Sampler, TextCodec, generate, generate_text, greedy
from recurra.errors import DataError

pytestmark = pytest.mark.medium

V = 7
GREEDY = Sampler(temperature=0)


class Accumulator(nn.Module):
    """A language model whose likeliest next id is the sum of all ids read so far, modulo V."""

    def __init__(self, sharpness: float = 20.0) -> None:
        super().__init__()
        self.sharpness = nn.Parameter(torch.tensor(sharpness))
        self.dropout = nn.Dropout(0.5)
        self.calls: list[tuple[list[int], int | None]] = []
        self.modes: list[tuple[bool, bool]] = []

    def forward(self, ids: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        before = torch.zeros(ids.shape[1], dtype=torch.int64) if state is None else state
        self.calls.append((ids[:, 0].tolist(), None if state is None else int(state[0])))
        self.modes.append((self.training, torch.is_grad_enabled()))
        sums = before + ids.cumsum(0)
        logits = self.sharpness * nn.functional.one_hot(sums % V, V).float()
        return self.dropout(logits), sums[-1]


class Bytes:
    """A codec of UTF-8 bytes, modulo nothing: as small as `generate_text` allows."""

    start_id = 10

    def encode(self, text: str, *, where: str = "text") -> Sequence[int]:
        if "\0" in text:
            raise DataError(f"{where}: expected no NUL")
        return list(text.encode())

    def decoder(self) -> "ByteDecoder":
        return ByteDecoder()


class ByteDecoder:
    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def feed(self, token_id: int) -> str:
        return self._decoder.decode(bytes([token_id]))

    def flush(self) -> str:
        return self._decoder.decode(b"", final=True)


class Reciter(nn.Module):
    """A language model over bytes that recites a text, whatever it reads."""

    def __init__(self, text: bytes) -> None:
        super().__init__()
        self.text = text
        self.primes: list[list[int]] = []

    def forward(self, ids: Tensor, state: int | None = None) -> tuple[Tensor, int]:
        if state is None:
            self.primes.append(ids[:, 0].tolist())
        position = 0 if state is None else state
        logits = torch.full((len(ids), 1, 256), -torch.inf)
        logits[:, :, self.text[position]] = 0.0
        return logits, position + 1


def expected_sums(prime: list[int], length: int) -> list[int]:
    ids = list(prime)
    for _ in range(length):
        ids.append(sum(ids) % V)
    return ids[len(prime) :]


@pytest.mark.parametrize(
    "prime", [[3], [1, 2, 3], np.array([1, 2, 3], dtype=np.uint8), torch.tensor([5, 6])]
)
def test_the_state_is_carried_from_the_prime_on(prime: Sequence[int]) -> None:
    ids = [int(token_id) for token_id in prime]
    drawn = list(generate(Accumulator(), prime, 9, sampler=GREEDY))
    assert drawn == expected_sums(ids, 9)
    assert all(type(token_id) is int for token_id in drawn)
    assert list(greedy(Accumulator(), prime, 9)) == drawn


def test_the_prime_is_read_at_once_and_then_each_token_once() -> None:
    model = Accumulator()
    assert list(generate(model, [1, 2, 3], 3, sampler=GREEDY)) == [6, 5, 3]
    assert model.calls == [([1, 2, 3], None), ([6], 6), ([5], 12)]


def test_no_tokens_take_no_call() -> None:
    model = Accumulator()
    assert list(generate(model, [1], 0, sampler=GREEDY)) == []
    assert model.calls == []


def test_an_empty_prime_starts_from_the_start_id() -> None:
    model = Accumulator()
    assert list(generate(model, [], 3, sampler=GREEDY, start_id=2)) == expected_sums([2], 3)
    assert model.calls[0] == ([2], None)
    assert list(greedy(Accumulator(), [], 3, start_id=2)) == expected_sums([2], 3)
    assert list(greedy(Accumulator(), [1], 3, start_id=2)) == expected_sums([1], 3)


def test_wrong_arguments_are_named_at_the_call() -> None:
    with pytest.raises(ValueError, match="expected at least one id, got none, and no start_id"):
        generate(Accumulator(), [], 3, sampler=GREEDY)
    with pytest.raises(ValueError, match=r"expected one dimension, got shape \(2, 1\)"):
        generate(Accumulator(), torch.tensor([[1], [2]]), 3, sampler=GREEDY)
    with pytest.raises(ValueError, match="length: expected 0 or more tokens, got -1"):
        generate(Accumulator(), [1], -1, sampler=GREEDY)


def test_scores_that_are_not_finite_stop_it() -> None:
    model = Accumulator(sharpness=float("nan")).train()
    ids = generate(model, [1], 3, sampler=Sampler())
    with pytest.raises(ValueError, match="largest is nan"):
        next(ids)
    assert model.training


def test_the_model_evaluates_and_the_caller_keeps_its_modes() -> None:
    model = Accumulator().train()
    model.dropout.eval()
    for _ in itertools.islice(generate(model, [1], 5, sampler=GREEDY), 3):
        assert (model.training, model.dropout.training) == (True, False)
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()
    assert model.modes == [(False, False)] * 3
    assert (model.training, model.dropout.training) == (True, False)
    model.eval()
    assert len(list(generate(model, [1], 2, sampler=GREEDY))) == 2
    assert not model.training


def test_training_goes_on_after_a_sample() -> None:
    model = Accumulator().train()
    ids = generate(model, [1], 5, sampler=GREEDY)
    next(ids)
    logits, _ = model(torch.tensor([[1]]))
    logits.sum().backward()
    assert model.sharpness.grad is not None


def test_seeds_reproduce_and_leave_the_global_generator_alone() -> None:
    def draw(seed: int) -> list[int]:
        generator = torch.Generator().manual_seed(seed)
        return list(generate(Accumulator(0.5), [1], 40, sampler=Sampler(), generator=generator))

    state = torch.get_rng_state()
    assert draw(3) == draw(3)
    assert draw(3) != draw(4)
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(5)
    first = list(generate(Accumulator(0.5), [1], 40, sampler=Sampler()))
    torch.manual_seed(5)
    assert list(generate(Accumulator(0.5), [1], 40, sampler=Sampler())) == first


def test_text_comes_as_its_characters_complete() -> None:
    text = "né €!".encode()
    model = Reciter(text)
    pieces = list(generate_text(model, Bytes(), "So: ", len(text), sampler=GREEDY))
    assert pieces == ["n", "é", " ", "€", "!"]
    assert model.primes == [list(b"So: ")]


def test_text_cut_inside_a_character_ends_with_a_replacement() -> None:
    pieces = list(generate_text(Reciter("a€".encode()), Bytes(), "x", 3, sampler=GREEDY))
    assert pieces == ["a", "\ufffd"]


def test_text_without_a_prime_starts_from_the_start_id() -> None:
    model = Reciter(b"abc")
    assert "".join(generate_text(model, Bytes(), "", 3, sampler=GREEDY)) == "abc"
    assert model.primes == [[10]]


def test_text_that_the_vocabulary_refuses_is_called_the_prime() -> None:
    with pytest.raises(DataError, match="prime: expected no NUL"):
        generate_text(Reciter(b"abc"), Bytes(), "\0", 3, sampler=GREEDY)


def test_the_vocabularies_of_this_package_are_text_codecs() -> None:
    from recurra.data import Vocabulary, WordVocabulary

    for level in ("char", "byte", "word", "bpe"):
        assert isinstance(Vocabulary.of_level(level).build(["some\ntext"]), TextCodec)
    words = WordVocabulary.build(["it is so.\n"])
    text = bytes(words.encode("so.\nit is").tolist())
    prime = "it is"
    assert (
        prime + "".join(generate_text(Reciter(text), words, prime, len(text), sampler=GREEDY))
        == "it is so.\nit is"
    )


# ---- models that write ---------------------------------------------------------------------------


class Draft(NamedTuple):
    ids: list[int]
    largest: float | None = None


class Drafting(Accumulator):
    """An accumulator that also writes tokens by itself, up to a limit."""

    def __init__(self, limit: int, largest: float | None = None) -> None:
        super().__init__(sharpness=0.5)
        self.limit, self.largest = limit, largest
        self.blocks: list[int] = []

    def token_writer(self, state: Tensor) -> "Drafting | None":
        self.state = state
        return self if self.limit else None

    def write(
        self,
        token_id: int,
        uniforms: Tensor,
        *,
        temperature: float,
        top_k: int | None,
        top_p: float | None,
        forbid: Sequence[int],
    ) -> Draft | None:
        if sum(self.blocks) + len(uniforms) > self.limit:
            return None if self.largest is None else Draft([], self.largest)
        self.blocks.append(len(uniforms))
        sampler, ids = Sampler(temperature=temperature, top_k=top_k, top_p=top_p, forbid=forbid), []
        with torch.no_grad():
            for uniform in uniforms:
                logits, self.state = self.eval()(torch.tensor([[token_id]]), self.state)
                token_id = int(sampler.pick(logits, uniform.reshape(1, 1)))
                ids.append(token_id)
        return Draft(ids)


def drawn(model: nn.Module, length: int, **options: Any) -> list[int]:
    generator = torch.Generator().manual_seed(1)
    sampler = Sampler(**options)
    return list(generate(model, [1, 2], length, sampler=sampler, generator=generator))


@pytest.mark.parametrize("limit", [0, 3, 4, 40, 1000])
@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 0},
        {},
        {"temperature": 0.7, "top_p": 0.9},
        {"temperature": 3, "forbid": (1, 4)},
    ],
)
def test_a_writer_gives_the_same_tokens(limit: int, options: dict[str, Any]) -> None:
    model = Drafting(limit)
    assert drawn(model, 70, **options) == drawn(Accumulator(0.5), 70, **options)
    assert model.blocks == {0: [], 3: [], 4: [4], 40: [4, 8, 16]}.get(limit, [4, 8, 16, 32, 9])
    assert drawn(Drafting(limit), 1, **options) == drawn(Accumulator(0.5), 1, **options)


def test_a_writer_whose_scores_are_not_finite_stops_it() -> None:
    ids = generate(Drafting(4, largest=float("inf")), [1], 20, sampler=Sampler())
    assert len(list(itertools.islice(ids, 5))) == 5
    with pytest.raises(ValueError, match="largest is inf"):
        next(ids)


def test_the_callers_generator_moves_once_however_many_tokens_are_heard() -> None:
    states = []
    for model, length, heard in (
        (Accumulator(), 9, 9),
        (Accumulator(), 90, 3),
        (Drafting(99), 90, 7),
    ):
        generator = torch.Generator().manual_seed(1)
        ids = generate(model, [1], length, sampler=Sampler(), generator=generator)
        assert len(list(itertools.islice(ids, heard))) == heard
        states.append(generator.get_state())
    assert torch.equal(states[0], states[1])
    assert torch.equal(states[0], states[2])


def test_a_longer_text_begins_as_a_shorter_one() -> None:
    text = drawn(Accumulator(0.5), 2500)
    for length in (1, 5, 1025):
        assert drawn(Accumulator(0.5), length) == text[:length]
