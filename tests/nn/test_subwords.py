"""Vectors of words from their pieces: against a loop, and padding never counts."""

import pytest
import torch

from recurra.nn.subwords import SubwordVectors

PIECES = torch.tensor([[1, 3, 2, -1], [1, 2, -1, -1], [0, 4, 5, 6], [-1, -1, -1, -1]])


def test_ngrams_are_averaged() -> None:
    subwords = SubwordVectors("ngrams", 7, 5)
    rows = subwords.pieces.weight[1:]
    wanted = torch.stack(
        [rows[[1, 3, 2]].mean(0), rows[[1, 2]].mean(0), rows[[0, 4, 5, 6]].mean(0)]
    )
    found = subwords(PIECES)
    torch.testing.assert_close(found[:3], wanted)
    assert not found[3].any()
    found.sum().backward()
    assert not subwords.pieces.weight.grad[0].any()


def test_characters_are_read_both_ways() -> None:
    subwords = SubwordVectors("characters", 7, 6, piece_size=4)
    found = subwords(PIECES)
    assert found.shape == (4, 6)
    assert not found[3].any()
    for row, pieces in zip(found, PIECES[:3], strict=False):
        characters = pieces[pieces >= 0]
        _, state = subwords.recurrent(subwords.pieces(characters))
        torch.testing.assert_close(row, torch.cat([state[0], state[1]]))


@pytest.mark.parametrize("kind", ["characters", "ngrams"])
def test_longer_neighbours_change_nothing(kind: str) -> None:
    subwords = SubwordVectors(kind, 7, 6)
    torch.testing.assert_close(subwords(PIECES[:2, :3]), subwords(PIECES)[:2])
    assert subwords(PIECES[:0]).shape == (0, 6)


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="subwords: expected one of characters, ngrams, got 'bpe'"):
        SubwordVectors("bpe", 7, 6)
    with pytest.raises(ValueError, match=r"expected an even size, .* got 5"):
        SubwordVectors("characters", 7, 5)
    with pytest.raises(ValueError, match="num_pieces >= 1, got 0"):
        SubwordVectors("ngrams", 0, 5)
    for wrong in (-2, 7):
        with pytest.raises(ValueError, match=rf"expected pieces in 0..6, .* got {wrong}"):
            SubwordVectors("ngrams", 7, 5)(torch.tensor([[0, wrong]]))
