"""What streams make from weights: held once while the bytes are the same, and never written to."""

import gc
import os
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import recurra as rc
from recurra.backends.cpu import found_compiler
from recurra.backends.cpu.shared import SHARED, SharedMemory
from recurra.lang import cell, tanh
from recurra.nn.stream import Stream

compiled = pytest.mark.skipif(found_compiler() is None, reason="needs a C++ compiler")
V, H = 70, 33  # panels of the last rows are not full
IDS = torch.tensor([5])


# ---- the memory ----------------------------------------------------------------------------------


def test_the_same_bytes_are_held_once_and_others_by_themselves() -> None:
    memory = SharedMemory()
    first = memory.of(torch.arange(5000.0))
    assert memory.of(torch.arange(5000.0)) is first
    other = torch.arange(5000.0)
    other[4321] = -1  # not among what is looked up
    assert memory.of(other) is other
    assert memory.of(other.clone()) is other
    assert memory.of(torch.arange(5000.0).view(50, 100)) is not first
    assert memory.of(torch.arange(5000, dtype=torch.int32)) is not first
    assert first.equal(torch.arange(5000.0))


def test_nothing_is_held_that_nobody_has() -> None:
    memory = SharedMemory()
    held = memory.of(torch.ones(5000))
    assert memory.nbytes == held.nbytes
    del held
    assert memory.nbytes == 0
    small = memory.of(torch.ones(3))
    assert memory.of(torch.ones(3)) is not small


def test_bytes_are_compared_not_numbers() -> None:
    memory = SharedMemory()
    zeros, nans = memory.of(torch.zeros(5000)), memory.of(torch.full((5000,), torch.nan))
    assert memory.of(-torch.zeros(5000)) is not zeros
    assert memory.of(torch.full((5000,), torch.nan)) is nans


# ---- streams -------------------------------------------------------------------------------------


def model_of(seed: int = 0, **options: Any) -> rc.LanguageModel:
    torch.manual_seed(seed)
    sizes = {"embedding_size": 40, "hidden_size": H, "cell": "lstm", **options}
    return rc.LanguageModel(V, **sizes).eval()


def held_by(stream: Stream) -> list[tuple[int, int]]:
    """Where what a stream made from weights lies, and how many bytes there are of it."""
    assert stream._stepper is not None
    layers = stream._stepper._layers
    held = [each for of in layers for each in (of._packed.memory, *of._tables.values())]
    return [(tensor.data_ptr(), tensor.nbytes) for tensor in held]


def stream_of(
    model: rc.LanguageModel, batch_size: int = 1, weights: torch.dtype | None = None
) -> Stream:
    parts = {"embedding": model.embedding, "decoder": model.decoder}
    return Stream(model.recurrent, batch_size, **parts, weights=weights)


def begun(
    model: rc.LanguageModel, batch_size: int = 1, weights: torch.dtype | None = None
) -> Stream:
    stream = stream_of(model, batch_size, weights)
    stream(IDS.repeat(batch_size))
    return stream


def check(stream: Stream, model: rc.LanguageModel) -> None:
    """A stream goes on, to the bit, as one that is made now."""
    fresh, state = stream_of(model, stream.batch_size, stream._weights), stream.state
    fresh.reset(state)
    ids = torch.arange(stream.batch_size)
    y = stream(ids)
    assert y.equal(fresh(ids))
    if stream._weights is None:
        with torch.no_grad():
            torch.testing.assert_close(y, model(ids[None], state)[0][0])


OPTIONS = [
    {},
    {"num_layers": 2},
    {"cell": "gru", "tied": True, "embedding_size": H},
    {"dtype": torch.bfloat16},
]


@compiled
@pytest.mark.parametrize("weights", [None, torch.bfloat16])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_streams_of_equal_weights_hold_the_same_memory(
    options: dict[str, Any], weights: torch.dtype | None
) -> None:
    gc.collect()
    before, model = SHARED.nbytes, model_of(**options)
    first = begun(model, weights=weights)
    alone = SHARED.nbytes
    assert alone > before
    others = [begun(model, weights=weights), begun(model_of(**options), weights=weights)]
    others.append(begun(model, 3, weights))
    assert SHARED.nbytes == alone
    assert all(held_by(each) == held_by(first) for each in others)
    del first, others, model
    gc.collect()
    assert SHARED.nbytes == before


def halved(module: nn.Module) -> None:
    for parameter in module.parameters():
        parameter.data.mul_(0.5)


def by_an_optimizer(model: rc.LanguageModel) -> None:
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1, weight_decay=0.1)  # all change
    model(IDS[None])[0].square().sum().backward()
    optimizer.step()


def through_data(model: rc.LanguageModel) -> None:
    halved(model)


def by_loading(model: rc.LanguageModel) -> None:
    model.load_state_dict(model_of(7).state_dict())


CHANGES = [by_an_optimizer, through_data, by_loading]


@compiled
@pytest.mark.parametrize("weights", [None, torch.bfloat16])
@pytest.mark.parametrize("change", CHANGES)
def test_who_changes_its_weights_changes_those_of_nobody_else(
    change: Callable[[rc.LanguageModel], None], weights: torch.dtype | None
) -> None:
    changed, kept = model_of(), model_of()
    first, second = (begun(changed, weights=weights) for _ in range(2))
    others = [begun(kept, weights=weights), begun(kept, 3, weights)]
    expected = [begun(kept, each.batch_size, weights) for each in others]
    at = held_by(others[0])
    assert held_by(first) == at
    change(changed)
    check(first, changed)  # before the second has seen it
    assert held_by(second) == held_by(others[0]) == at
    for other, alone in zip(others, expected, strict=True):
        ids = torch.arange(other.batch_size)
        for _ in range(2):
            assert other(ids).equal(alone(ids))
        check(other, kept)
    check(second, changed)
    assert held_by(first) == held_by(second)
    assert not {place for place, _ in held_by(first)} & {place for place, _ in at}
    assert held_by(others[0]) == held_by(others[1]) == at
    by_loading(kept)
    for each in others:
        check(each, kept)
    check(first, changed)


@compiled
def test_what_did_not_change_stays_where_it_is() -> None:
    model = model_of()
    first, second = begun(model), begun(model)
    decoder = held_by(first)[-1]
    with torch.no_grad():
        model.embedding.weight.mul_(0.5)  # pyright: ignore
    check(first, model)
    assert held_by(first)[-1] == held_by(second)[-1] == decoder
    assert held_by(first) != held_by(second)


@compiled
def test_writing_goes_on_after_a_change() -> None:
    model, kept = model_of(), model_of()
    uniforms = torch.linspace(0, 0.99, 40, dtype=torch.float64)
    choice = {"temperature": 1.0, "top_k": None, "top_p": None}
    writing, looking, other = begun(model), begun(model), begun(kept)
    before = other.write(1, uniforms, **choice)
    assert before is not None
    other.reset()
    writing.write(1, uniforms, **choice)
    through_data(model)
    writing.reset()
    looking.reset()
    written, unwritten = writing.write(1, uniforms, **choice), other.write(1, uniforms, **choice)
    again = looking.write(1, uniforms, **choice)
    assert written is not None
    assert unwritten is not None
    assert again is not None
    assert written.ids == again.ids
    other.reset()
    last = begun(kept)
    last.reset()
    assert last.write(1, uniforms, **choice) == other.write(1, uniforms, **choice)


@compiled
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_layers_that_read_contexts_and_memories(dtype: torch.dtype) -> None:
    def layer_of() -> rc.Recurrent:
        torch.manual_seed(3)
        return (
            rc.Recurrent("additive_attention_gru", 40, H, sizes={"K": 20, "A": 24}).to(dtype).eval()
        )

    def memory_of(positions: int) -> Tensor:
        torch.manual_seed(positions)
        return torch.randn(positions, 1, 20, dtype=dtype)

    changed, kept = layer_of(), layer_of()
    x = torch.ones(1, 40, dtype=dtype)
    streams = [each.stream(memory=memory_of(6)) for each in (changed, changed, kept, kept)]
    for stream in streams:
        stream(x)
    with torch.no_grad():
        for parameter in changed.parameters():
            parameter.mul_(0.5)
    for positions in (6, 9, 4):  # others, by weights as they are packed
        for stream in streams:
            stream.reset(memory=memory_of(positions))
        found = [stream(x) for stream in streams]
        for of, y in zip((changed, changed, kept, kept), found, strict=True):
            assert y.equal(of.stream(memory=memory_of(positions))(x))
        assert not found[0].equal(found[2])


@compiled
def test_a_change_while_other_threads_step() -> None:
    changed, kept = model_of(), model_of()
    streams = [begun(kept) for _ in range(2)]
    expected = begun(kept)
    outputs = [expected(IDS).clone() for _ in range(200)]
    wrong: list[int] = []

    def run(stream: Stream) -> None:
        wrong.extend(i for i, y in enumerate(outputs) if not stream(IDS).equal(y))

    threads = [threading.Thread(target=run, args=(stream,)) for stream in streams]
    stream = begun(changed)
    for thread in threads:
        thread.start()
    for _ in range(10):
        through_data(changed)
        stream(IDS)
        begun(kept)
    for thread in threads:
        thread.join()
    assert not wrong


@compiled
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system starts no such process")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_process_that_forks_off_changes_nothing_here() -> None:
    model = model_of()
    stream, expected = begun(model), begun(model)
    child = os.fork()
    if child == 0:
        through_data(model)
        stream(IDS)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert stream(IDS).equal(expected(IDS))


# ---- streams of layers ---------------------------------------------------------------------------


@compiled
def test_token_ids_without_an_embedding() -> None:
    layers = [rc.GRU(V, H).eval() for _ in range(2)]
    layers[1].load_state_dict(layers[0].state_dict())
    streams = [Stream(each, 1) for each in layers]
    for _ in range(2):
        first, other = (stream(IDS) for stream in streams)
        assert first.equal(other)
    assert held_by(streams[0]) == held_by(streams[1])
    halved(layers[0])
    for layer, stream in zip(layers, streams, strict=True):
        fresh, state = Stream(layer, 1), stream.state
        fresh.reset(state)
        assert stream(IDS).equal(fresh(IDS))
    assert held_by(streams[0]) != held_by(streams[1])


@cell(state="h", context="v")
def reads_a_context(x: Any, h: Any, v: Any, W: Any, U: Any, C: Any) -> Any:
    """A step that a context changes."""
    return tanh(W @ x + U @ h + C @ v)


@compiled
def test_each_stream_has_a_context_of_its_own() -> None:
    layer, x = rc.Recurrent(reads_a_context, 40, H, sizes={"C": 3}).eval(), torch.randn(1, 40)
    contexts = [torch.randn(1, 3) for _ in range(2)]
    streams = [Stream(layer, 1, context=each) for each in contexts]
    for change in (lambda: None, lambda: halved(layer)):
        change()
        for stream, context in zip(streams, contexts, strict=True):
            state = stream.state
            y = stream(x)
            with torch.no_grad():
                torch.testing.assert_close(y, layer(x[None], state, context=context)[0][0])
        assert held_by(streams[0]) == held_by(streams[1])
