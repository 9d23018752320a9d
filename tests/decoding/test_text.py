"""Text that stops where it should, symbols that are never drawn, and seeds."""

import itertools
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from recurra.decoding import Sampler, generate_text, generate_texts, seeded_generators, symbol_ids
from recurra.errors import DataError
from recurra.text import BPEVocabulary, ByteVocabulary, CharacterVocabulary, WordVocabulary

GREEDY = Sampler(temperature=0)
BYTES = ByteVocabulary()


class Reciter(nn.Module):
    """A language model over bytes that recites a text, whatever it reads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text.encode()
        self.calls = 0

    def forward(self, ids: Tensor, state: int | None = None) -> tuple[Tensor, int]:
        self.calls += 1
        position = state or 0
        logits = torch.full((len(ids), ids.shape[1], 256), -torch.inf)
        logits[:, :, self.text[position % len(self.text)]] = 0.0
        return logits, position + 1


def written(text: str, stop: str | Sequence[str], exact: bool = False) -> list[str]:
    length = len(text.encode())
    return list(
        generate_text(Reciter(text), BYTES, "x", length, sampler=GREEDY, stop=stop, exact=exact)
    )


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize(
    ("text", "stop", "expected"),
    [
        ("one\ntwo", "\n", "one"),
        ("one\ntwo", [], "one\ntwo"),
        ("one\ntwo", ("wo", "e\n"), "on"),
        ("aaab", "aab", "a"),
        ("ababac", "abac", "ab"),
        ("\nall", "\n", ""),
        ("no end", "ends", "no end"),
        ("né€!", "€", "né"),
        ("né€!", ["!", "é€"], "n"),
        ("a b ca b d", "a b d", "a b c"),
    ],
)
def test_text_ends_before_the_first_stop(
    text: str, stop: str | Sequence[str], expected: str, exact: bool
) -> None:
    found = "".join(written(text, stop, exact))
    assert found.encode("utf-8", "surrogateescape").decode() == expected
    if not exact:
        ((again, ids, scores),) = generate_texts(
            Reciter(text),
            BYTES,
            ["x"],
            len(text.encode()),
            sampler=GREEDY,
            generators=seeded_generators(0),
            stop=stop,
        )
        assert again == expected
        assert text.encode().startswith(bytes(ids))
        assert scores == (0.0,) * len(ids)


def test_only_what_may_become_a_stop_is_held_back() -> None:
    assert written("a-b--c", "--") == ["a", "-b"]
    assert written("a-b-", "--") == ["a", "-b", "-"]


def test_nothing_is_drawn_after_the_stop() -> None:
    model = Reciter("ab\ncdef")
    list(generate_text(model, BYTES, "x", 7, sampler=GREEDY, stop="\n"))
    assert model.calls == 3


def test_an_empty_stop_is_refused() -> None:
    with pytest.raises(ValueError, match=r"stop: expected text that ends .* got an empty string"):
        generate_text(Reciter("a"), BYTES, "x", 7, sampler=GREEDY, stop=["a", ""])


def test_each_text_stops_by_itself() -> None:
    class Counter(nn.Module):
        """Counts up from the last id that it read."""

        def forward(self, ids: Tensor, state: Any = None) -> tuple[Tensor, None]:
            return nn.functional.one_hot((ids + 1) % 256, 256) * 50.0, None

    found = generate_texts(
        Counter(),
        BYTES,
        ["a", "d", "bc", ""],
        4,
        sampler=GREEDY,
        generators=seeded_generators(0, 4),
        stop="f",
    )
    assert [each.text for each in found] == ["bcde", "e", "de", "\x0b\x0c\r\x0e"]
    assert [len(each.ids) for each in found] == [4, 2, 3, 4]


# ---- symbols -------------------------------------------------------------------------------------


def test_symbols_have_their_ids() -> None:
    words = WordVocabulary.build(["to be or not to be\n"])
    assert symbol_ids(words, ("<unk>", "\n", "to")) == (0, 1, *words.encode("to").tolist())
    assert symbol_ids(words, "<unk>") == (0,)
    assert symbol_ids(CharacterVocabulary("abc"), ("b", "a", "b")) == (1, 0)
    assert symbol_ids(BYTES, ()) == ()


def test_what_is_no_symbol_is_refused() -> None:
    words = WordVocabulary.build(["to be or not to be\n"])
    with pytest.raises(DataError, match=r"forbid: expected words of the vocabulary.*'question'"):
        symbol_ids(words, ("question",))
    with pytest.raises(ValueError, match=r"forbid: .* got 'to be', which is 2 of them"):
        symbol_ids(words, ("to be",))
    with pytest.raises(ValueError, match=r"got '', which is 0 of them"):
        symbol_ids(words, ("",))
    pieces = BPEVocabulary.build(["the cat sat on the mat, the rat\n"] * 5, max_size=300)
    assert len(symbol_ids(pieces, (" the",))) == 1


# ---- seeds ---------------------------------------------------------------------------------------


def test_sequence_i_is_seeded_by_seed_plus_i() -> None:
    first, second = seeded_generators(7, 2)
    assert torch.equal(first.get_state(), torch.Generator().manual_seed(7).get_state())
    assert torch.equal(second.get_state(), torch.Generator().manual_seed(8).get_state())


def test_no_seed_is_another_each_time_and_leaves_torchs_generator_alone() -> None:
    before = torch.get_rng_state()
    states = [g.get_state() for g in (*seeded_generators(None, 2), *seeded_generators(None))]
    assert not any(torch.equal(a, b) for a, b in itertools.combinations(states, 2))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("seed", [-1, True])
def test_a_wrong_seed_is_named(seed: int) -> None:
    with pytest.raises(ValueError, match=rf"seed: expected a whole number, .* got {seed!r}"):
        seeded_generators(seed)
