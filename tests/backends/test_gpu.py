"""Layers on a GPU: torch's kernels where it has them, else the reference's loops as CUDA graphs.

What every test holds against is the reference on the CPU.
"""

import copy
from collections.abc import Iterator
from threading import Thread
from typing import Any

import pytest
import torch
from tests.backends.test_native import results
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

import recurra as rc
from recurra.backends import load

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("_all_bits")]


@pytest.fixture
def _all_bits() -> Iterator[None]:
    """Products without TF32, which torch's own kernels take unless they are told not to."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


T, B, IN, H = 6, 4, 8, 8
LENGTHS = [6, 0, 3, 1]


def twins(cell: Any, *given: Any, **options: Any) -> tuple[rc.Recurrent, rc.Recurrent]:
    """A layer on the GPU, and one of the same weights on the CPU."""
    torch.manual_seed(0)
    here = rc.Recurrent(cell, *given, **options, backend="reference")
    there = rc.Recurrent(cell, *given, **options)
    there.load_state_dict(here.state_dict())
    return there.cuda(), here


def moved(found: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu() for name, value in found.items()}


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["whole", "ragged"])
@pytest.mark.parametrize("name", [n for n in rc.cells.names() if not rc.cells.get(n).memory])
def test_registry(name: str, lengths: list[int] | None) -> None:
    reads = rc.cells.get(name).input is not None
    there, here = twins(name, *((IN, H, 2) if reads else (0, H)), dtype=torch.float64)
    there.eval(), here.eval()
    for _ in range(3):  # run, recorded, and launched from what was recorded
        x = torch.randn(T, B, IN if reads else 0, dtype=torch.float64)
        sizes = here.further_sizes.items()
        more = {n: torch.rand(T, B, *size, dtype=torch.float64) for n, size in sizes}
        wanted = results(here, x, lengths=lengths, **more)
        more = {n: value.cuda() for n, value in more.items()}
        found = moved(results(there, x.cuda(), lengths=lengths, **more))
        torch.testing.assert_close(found, wanted)
        with torch.no_grad():
            torch.testing.assert_close(
                there(x.cuda(), lengths=lengths, **more)[0].cpu(), wanted["y"]
            )
            for one, other in zip(there.parameters(), here.parameters(), strict=True):
                other += 0.01
                one.copy_(other)  # a graph reads the weights of now
        there.zero_grad(), here.zero_grad()


@pytest.mark.parametrize("name", [n for n in rc.cells.names() if rc.cells.get(n).memory])
def test_attention(name: str) -> None:
    there, here = twins(name, IN, H, dtype=torch.float64)
    widths = [size.evaluate(here.layer_sizes[0]) for size in here.cell.memory_sizes]
    counts = torch.tensor([5, 1, 7, 2])
    for _ in range(3):
        x = torch.randn(T, B, IN, dtype=torch.float64)
        memories = [torch.randn(7, B, width, dtype=torch.float64) for width in widths]
        found = read(there, x, memories, counts, "cuda")
        torch.testing.assert_close(moved(found), read(here, x, memories, counts, "cpu"))
        there.zero_grad(), here.zero_grad()


def read(
    layer: rc.Recurrent, x: Tensor, memories: list[Tensor], counts: Tensor, device: str
) -> dict[str, Tensor]:
    """What `results` gives on a device, and the gradients of the memories."""
    own = [memory.to(device, copy=True).requires_grad_() for memory in memories]
    memory = own[0] if len(own) == 1 else tuple(own)
    given = {"lengths": LENGTHS, "memory": memory, "memory_lengths": counts.to(device)}
    found = results(layer, x.to(device), **given)
    return found | {f"memory {i}": each.grad for i, each in enumerate(own) if each.grad is not None}


@pytest.mark.parametrize("name", ["scornn", "exprnn"])
def test_what_waits_for_the_gpu_is_not_recorded(name: str) -> None:
    """A recording that fails leaves its stream the current one, and its generator recording."""
    layer = rc.Recurrent(name, IN, H).cuda()
    for _ in range(3):
        layer(torch.randn(T, B, IN, device="cuda"))[0].sum().backward()
        assert torch.cuda.current_stream() == torch.cuda.default_stream()


KINDS = {"LSTM": (rc.LSTM, nn.LSTM), "GRU": (rc.GRU, nn.GRU), "RNN": (rc.RNN, nn.RNN)}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_drop_in_is_what_torch_has(kind: str, packed: bool) -> None:
    ours, theirs = (make(IN, H, 2, bidirectional=True).cuda() for make in KINDS[kind])
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(T, B, IN, device="cuda")
    given = pack_padded_sequence(x, [6, 4, 3, 1]) if packed else x
    found, wanted = ours(given), theirs(given)
    y, y_wanted = (out[0].data if packed else out[0] for out in (found, wanted))
    torch.testing.assert_close(y, y_wanted)
    y.square().sum().backward()
    y_wanted.square().sum().backward()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-5)
    assert "backend native" in ours.explain()


def test_what_a_graph_gave_stays_when_it_is_launched_again() -> None:
    layer = rc.Recurrent("gru", IN, H).cuda()
    xs = [torch.randn(T, B, IN, device="cuda") for _ in range(5)]
    alone = []
    for x in xs:
        layer.zero_grad()
        layer(x)[0].square().sum().backward()
        alone.append([parameter.grad.clone() for parameter in layer.parameters()])
    outputs = [layer(x)[0] for x in xs]  # all forward before any backward
    for y, wanted in zip(outputs, alone, strict=True):
        layer.zero_grad()
        y.square().sum().backward()
        found = [parameter.grad for parameter in layer.parameters()]
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("name", ["gru", "lstm", "mut1"])
def test_token_ids_with_and_without_an_embedding(name: str) -> None:
    there, here = twins(name, IN, H, dtype=torch.float64)
    for _ in range(3):
        ids = torch.randint(IN, (T, B))
        embedding = torch.randn(IN, IN, dtype=torch.float64)
        for given in (None, embedding):
            moved_too = None if given is None else given.cuda()
            wanted = results(here, ids, embedding=given)
            found = results(there, ids.cuda(), embedding=moved_too)
            torch.testing.assert_close(moved(found), wanted)
            there.zero_grad(), here.zero_grad()


@pytest.mark.parametrize("name", ["gru", "lstm"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast(name: str, dtype: torch.dtype) -> None:
    there, here = twins(name, IN, H)
    for _ in range(3):
        x = torch.randn(T, B, IN)
        wanted, _ = here(x)
        with torch.autocast("cuda", dtype):
            there(x.cuda())
            y, _ = there(x.cuda())
        assert (y.float().cpu() - wanted).norm() / wanted.norm() < 3e-2
        y.float().square().sum().backward()
        assert all(parameter.grad.isfinite().all() for parameter in there.parameters())


@pytest.mark.parametrize("name", ["lstm", "torch_gru", "gru"])
def test_results_are_apart_and_may_be_changed_in_place(name: str) -> None:
    layer = rc.Recurrent(name, IN, H, 2).cuda()
    x = torch.randn(T, B, IN, device="cuda")
    found: list[list[Tensor]] = []
    for change in (False, True, True):
        layer.zero_grad()
        y, state = layer(x)
        results = [y, *((state,) if isinstance(state, Tensor) else state)]
        memory = [each.untyped_storage().data_ptr() for each in (x, *results, *layer.parameters())]
        assert len(set(memory)) == len(memory)
        total = torch.stack([each.sum() for each in results])
        for each in results if change else ():
            each.zero_()
        total.sum().backward()
        found.append([parameter.grad.clone() for parameter in layer.parameters()])
    torch.testing.assert_close(found[1], found[0])
    torch.testing.assert_close(found[2], found[0])


def test_threads_and_streams_share_a_layer() -> None:
    layer = rc.Recurrent("gru", IN, 64).cuda()
    xs = [torch.randn(40, B, IN, device="cuda") for _ in range(4)]
    with torch.no_grad():
        wanted = [layer(x)[0] for x in xs]
    torch.cuda.synchronize()
    wrong = []

    def work(i: int) -> None:
        with torch.cuda.stream(torch.cuda.Stream()), torch.no_grad():
            for _ in range(30):
                y, _ = layer(xs[i])
                torch.cuda.current_stream().synchronize()
                if not torch.allclose(y, wanted[i], atol=1e-6):
                    wrong.append(i)

    threads = [Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_second_derivatives_by_the_reference() -> None:
    layer = rc.Recurrent("gru", 2, 3, backend="reference", dtype=torch.float64).cuda()
    x = torch.randn(3, 2, 2, dtype=torch.float64, device="cuda", requires_grad=True)
    for _ in range(3):
        layer(x)[0].sum().backward()
    assert torch.autograd.gradgradcheck(lambda v: layer(v)[0], x)


def test_masks_are_drawn_anew() -> None:
    layer = rc.Recurrent("zoneout(gru, 0.5)", IN, H).cuda()
    x = torch.randn(T, B, IN, device="cuda")
    drawn = [layer(x)[0] for _ in range(4)]
    assert not any(torch.equal(drawn[0], other) for other in drawn[1:])
    assert not torch.equal(drawn[2], drawn[3])


def test_copies_and_inference() -> None:
    layer = rc.Recurrent("gru", IN, H).cuda()
    x = torch.randn(T, B, IN, device="cuda")
    wanted, _ = layer(x)
    for _ in range(3):
        with torch.inference_mode():
            y, _ = layer(x)
            assert y.is_inference()
        torch.testing.assert_close(y, wanted)
        torch.testing.assert_close(copy.deepcopy(layer)(x)[0], wanted)


def test_explain_says_what_runs_on_a_gpu() -> None:
    assert "launched as one CUDA graph" in rc.Recurrent("gru", IN, H).cuda().explain()
    assert load(rc.cells.gru, device=torch.device("cuda")).name == "reference"


def test_a_step_of_a_stream() -> None:
    for name in ("gru", "lstm"):
        there, here = twins(name, IN, H, 2)
        x = torch.randn(T, B, IN)
        streams = there.stream(B), here.stream(B)
        for step in x:
            one, other = (s(step.to(d)) for s, d in zip(streams, ("cuda", "cpu"), strict=True))
            torch.testing.assert_close(one.cpu(), other)
