"""Translating and learning to: against the same weights in a loop of torch.nn.GRUCell.

Letters: B sources side by side, K beams. All sources have 13 tokens, all translations 15, of a
vocabulary of 8,000; vectors of 256, 256 units.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

import recurra as rc
from benchmarks.oracle import check_agreement
from benchmarks.peers.translator import TorchTranslator
from benchmarks.registry import Benchmark, Row, Settings, Target
from benchmarks.timing import interleaved, local, row
from recurra.models.translation import Writing
from recurra.models.writing import searched

LOOP, TORCH = "GRUCell loop", "torch.nn.GRU"
SOURCE, TARGET, BEAMS = 13, 15, 5
SIZES = {"embedding_size": 256, "hidden_size": 256}
SMALL = {"embedding_size": 9, "hidden_size": 11}


def _pair(
    vocabulary: int, attention: str, sizes: dict[str, int]
) -> tuple[rc.Translator, TorchTranslator]:
    torch.manual_seed(0)
    options: dict[str, Any] = {"cell": "torch_gru", "attention": attention, **sizes}
    model = rc.Translator(vocabulary, vocabulary, **options)
    with torch.no_grad():
        model.output.bias[model.mark] = -20.0  # translations of one length, as `max_length` says
        model.output.weight.normal_(std=0.3)
    return model, TorchTranslator(model)


def _sources(batch: int, vocabulary: int) -> Tensor:
    draw = torch.Generator().manual_seed(1)
    return torch.randint(0, vocabulary, (SOURCE, batch), generator=draw)


def _ours(model: rc.Translator, source: Tensor, beams: int) -> list[list[int]]:
    model.eval()
    how = Writing(beam_size=beams, max_length=TARGET, scored=beams > 1)
    with torch.no_grad():
        found = searched(model, list(source.T), how)
    return [list(each[0].tokens) for each in found]


def _theirs(peer: TorchTranslator, source: Tensor, beams: int) -> list[list[int]]:
    lengths = torch.full((source.shape[1],), len(source))
    if beams == 1:
        return peer.greedy(source, lengths, TARGET)
    return peer.beam(source, lengths, TARGET + 1, beams)


def _check() -> None:
    """Both write the same, and learn the same from a batch."""
    for attention in ("additive", "none"):
        model, peer = _pair(300, attention, SMALL)
        source = _sources(4, 300)
        for beams in (1, BEAMS):
            ours, theirs = _ours(model, source, beams), _theirs(peer, source, beams)
            if ours != theirs:
                raise AssertionError(f"attention {attention}, {beams} beams: {ours} and {theirs}")
        target = _sources(4, 299)
        lengths, ends = torch.tensor([13, 4, 9, 1]), torch.tensor([3, 13, 0, 8])
        losses = {
            "loss": model.loss(source, target, lengths, ends).detach(),
        }
        check_agreement(
            f"attention {attention}",
            {"loss": peer.loss(source, target, lengths, ends).detach()},
            {"recurra": losses},
        )


def _run(settings: Settings) -> Iterator[Row]:
    model, peer = _pair(8000, "additive", SIZES)
    for beams, least in ((1, 3.0), (BEAMS, 4.0)):
        for batch in (1, 64):
            source = _sources(batch, 8000)
            turns = {
                "recurra": local(lambda s=source, k=beams: _ours(model, s, k)),
                LOOP: local(lambda s=source, k=beams: _theirs(peer, s, k)),
            }
            how = "greedy" if beams == 1 else f"beam {beams}"
            rounds = interleaved(turns, settings)
            target = Target(value=least)
            yield row(rounds, f"translating, {how}, B{batch}", LOOP, settings, target=target)
    for attention, other, target in (("none", TORCH, Target(value=1.3)), ("additive", LOOP, None)):
        model, peer = _pair(8000, attention, SIZES)
        source, target_ids = _sources(64, 8000), _sources(64, 7999)
        ends = torch.full((64,), len(target_ids))

        def step(
            each: rc.Translator | TorchTranslator,
            given: tuple[Tensor, Tensor, Tensor, Tensor] = (source, target_ids, ends, ends),
        ) -> None:
            each.train()
            loss = each.loss(*given)
            torch.autograd.grad(loss, list(each.parameters()), allow_unused=True)

        turns = {
            "recurra": local(lambda m=model, s=step: s(m)),
            other: local(lambda m=peer, s=step: s(m)),
        }
        rounds = interleaved(turns, settings)
        yield row(
            rounds,
            f"a step of training, attention {attention}, B64",
            other,
            settings,
            target=target,
        )


BENCHMARKS = (
    Benchmark(
        name="translation",
        doc="translating and learning to, with the same weights; ratio: the other's time over "
        "recurra's",
        check=_check,
        run=_run,
    ),
)
