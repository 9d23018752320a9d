import itertools
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from recurra.data.lines import LineExamples
from recurra.errors import DataError
from recurra.tasks.evaluation import LOGITS, evaluate_lines
from recurra.training import evaluate


@torch.no_grad()
def one_reading(model: nn.Module, tokens: np.ndarray) -> float:
    """Nats a token, token by token from start to end, with nothing clever."""
    model.eval()
    ids, state, total = torch.from_numpy(tokens), None, 0.0
    for now, following in itertools.pairwise(ids):
        logits, state = model(now.view(1, 1), state)
        total += functional.cross_entropy(logits[0], following.view(1)).item()
    return total / (len(tokens) - 1)


class Counting(nn.Module):
    """Uniform scores, and a count of every token it is asked about."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, ids: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        return torch.zeros(*ids.shape, 4), torch.zeros(1)


@pytest.mark.medium
def test_pieces_side_by_side_give_the_loss_of_one_reading(
    model: nn.Module, tokens: np.ndarray
) -> None:
    expected = one_reading(model, tokens)
    alone = evaluate(model, tokens, level="char", pieces=1)
    together = evaluate(model, tokens, level="char", pieces=7)
    assert alone["nll"] == pytest.approx(expected, rel=1e-5)
    assert together["nll"] == pytest.approx(expected, rel=1e-3)
    assert alone["tokens"] == together["tokens"] == len(tokens) - 1
    assert alone["bpc"] == pytest.approx(alone["nll"] / math.log(2))


@pytest.mark.parametrize("length", [2, 3, 256, 257, 258, 259, 300, 1000, 5001])
@pytest.mark.parametrize("pieces", [None, 1, 3, 64])
def test_every_token_but_the_first_counts_once(length: int, pieces: int | None) -> None:
    tokens = np.zeros(length, dtype=np.uint8)
    figures = evaluate(Counting(), tokens, level="word", pieces=pieces)
    assert figures["tokens"] == length - 1
    assert figures["nll"] == pytest.approx(math.log(4))
    assert figures["ppl"] == pytest.approx(4)


def test_a_limit_counts_about_so_many_tokens_from_all_over_the_split() -> None:
    tokens = np.zeros(100_000, dtype=np.uint8)
    figures = evaluate(Counting(), tokens, level="char", max_tokens=10_000)
    assert 9_000 < figures["tokens"] < 10_500
    assert evaluate(Counting(), tokens[:5_000], level="char", max_tokens=10_000)["tokens"] == 4_999


def test_the_model_is_left_in_its_mode(model: nn.Module, tokens: np.ndarray) -> None:
    for training in (True, False):
        model.train(training)
        evaluate(model, tokens[:300], level="char")
        assert all(module.training == training for module in model.modules())


def test_dropout_does_not_disturb_it(model: nn.Module, tokens: np.ndarray) -> None:
    model.train()
    before = torch.get_rng_state()
    first = evaluate(model, tokens[:500], level="char")["nll"]
    assert evaluate(model, tokens[:500], level="char")["nll"] == first
    assert torch.equal(torch.get_rng_state(), before)


def test_one_token_is_nothing_to_predict() -> None:
    with pytest.raises(ValueError, match="evaluate: expected at least 2 tokens, got 1"):
        evaluate(Counting(), np.zeros(1, dtype=np.uint8), level="char")


@pytest.mark.medium
@pytest.mark.parametrize("vocab_size", [50, 4_000, 50_000])
def test_the_scores_held_at_once_are_bounded_at_any_vocabulary(vocab_size: int) -> None:
    largest = 0

    class Wide(Counting):
        def forward(self, ids: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
            nonlocal largest
            largest = max(largest, ids.numel())
            return torch.zeros(1).expand(*ids.shape, vocab_size), torch.zeros(1)

    tokens = np.zeros(140_000, dtype=np.uint16)
    evaluate(Wide(), tokens, level="word", max_tokens=3_000)
    assert largest * vocab_size <= max(LOGITS, 64 * vocab_size)
    assert largest <= 64 * 100


@pytest.mark.parametrize("vocab_size", [50, 4_000, 50_000])
def test_so_are_those_of_lines_however_long_they_are(vocab_size: int) -> None:
    largest, read = 0, 0

    class Wide(Counting):
        reads_index = True

        def forward(self, ids: Tensor, state: Any, *, start: int) -> tuple[Tensor, Any]:
            nonlocal largest, read
            assert (state is None) is (start == 0)
            assert state is None or int(state) == start
            largest, read = max(largest, ids.numel()), read + ids.numel()
            logits = torch.zeros(1).expand(*ids.shape, vocab_size)
            return logits, torch.tensor(start + len(ids))

    lengths = [1, 900, *[20] * 60]
    tokens = np.concatenate([np.append(np.ones(n, dtype=np.uint16), 0) for n in lengths])
    found = evaluate_lines(Wide(), LineExamples(tokens, 0), level="word")
    assert found["tokens"] == len(tokens)
    assert found["nll"] == pytest.approx(math.log(vocab_size), rel=1e-5)
    assert read >= len(tokens)
    assert largest * vocab_size <= max(LOGITS, 32 * vocab_size)


@pytest.mark.medium
@pytest.mark.skipif(sys.platform == "win32", reason="no resource module")
def test_a_long_text_takes_no_more_memory_to_evaluate_than_a_short_one(tmp_path: Path) -> None:
    """The peak of a process that reads 20 times as much: neither the text, which is mapped from the
    disk, nor the scores of more than a chunk are held."""
    np.random.default_rng(0).integers(0, 50, 2_000_000, dtype=np.uint8).tofile(tmp_path / "tokens")
    program = """
import resource, sys
import numpy as np, torch
import recurra as rc
from recurra.training import evaluate
torch.set_num_threads(1)
model = rc.LanguageModel(50, cell="lstm", hidden_size=4, embedding_size=4, backend="native")
for count in (100_000, 2_000_000):
    tokens = np.memmap(sys.argv[1], dtype=np.uint8, mode="r", shape=(count,))
    assert evaluate(model, tokens, level="char")["tokens"] == count - 1
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "tokens"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    short, long = (int(each) for each in done.stdout.split())  # in KiB; on macOS in bytes
    more = (long - short) * (1 if sys.platform == "darwin" else 1024)
    assert more < 40e6, f"{more / 1e6:.0f} MB more; its scores alone would be 400 MB"


def test_an_id_past_the_vocabulary_is_named() -> None:
    with pytest.raises(DataError, match=r"tokens: expected ids in 0\.\.3, got 9"):
        evaluate(Counting(), np.full(50, 9, dtype=np.uint8), level="char", vocab_size=4)
