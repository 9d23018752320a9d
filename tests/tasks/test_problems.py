"""Made-up tasks: what is drawn is what the papers say, and no memory gives the baseline."""

import math
import re

import pytest
import torch
from torch import Tensor

from recurra.data import make_task
from recurra.tasks.made_up import (
    PROBLEMS,
    Adding,
    Arithmetic,
    Batch,
    Copying,
    FlipFlop,
    Nesting,
    TemporalOrder,
)

MADE_UP = list(PROBLEMS)


def drawn(task, size: int = 200, seed: int = 0) -> Batch:
    return task.batch(size, torch.Generator().manual_seed(seed))


def text_of(task, batch: Batch, b: int) -> str:
    ids = [*batch.x[:, b].tolist(), int(batch.target[-1, b])]
    return "".join(task.alphabet[i] for i in ids)


@pytest.mark.parametrize("name", MADE_UP)
def test_batches_have_the_shapes_they_say(name: str) -> None:
    task = make_task(name)
    batch = drawn(task, 7)
    assert batch.x.shape[1] == 7
    if task.reads_tokens:
        assert batch.x.dtype == torch.int64
        assert int(batch.x.min()) >= 0
        assert int(batch.x.max()) < task.input_size
    else:
        assert batch.x.shape[2] == task.input_size
    lead = tuple(batch.x.shape[:2]) if task.at_each_step else (7,)
    y = torch.zeros(*lead, task.output_size, requires_grad=True)
    loss = task.loss(y, batch)
    assert loss.shape == ()
    loss.backward()
    assert math.isfinite(task.score(y, batch))


@pytest.mark.parametrize("name", MADE_UP)
def test_held_out_parts_stay_the_same_and_differ_from_each_other(name: str) -> None:
    task = make_task(name)
    val, again, test = ([b.x for b in task.held_out(part, 4)] for part in ("val", "val", "test"))
    assert len(val) == len(test) > 1
    assert all(torch.equal(*pair) for pair in zip(val, again, strict=True))
    assert not any(a.shape == b.shape and torch.equal(a, b) for a in val for b in test)


@pytest.mark.parametrize("name", MADE_UP)
def test_a_seed_gives_the_same_sequences_again(name: str) -> None:
    task = make_task(name)
    first, again, other = drawn(task, 5), drawn(task, 5), drawn(task, 5, seed=1)
    assert torch.equal(first.x, again.x)
    assert torch.equal(first.target, again.target)
    assert first.x.shape != other.x.shape or not torch.equal(first.x, other.x)


def test_adding() -> None:
    task = Adding(steps=30)
    batch = drawn(task, 3000)
    numbers, marks = batch.x.unbind(-1)
    assert marks[:15].sum(0).eq(1).all()
    assert marks[15:].sum(0).eq(1).all()
    torch.testing.assert_close(batch.target[:, 0], (numbers * marks).sum(0))
    assert task.score(torch.ones(3000, 1), batch) == pytest.approx(task.baseline, rel=0.05)


def test_flip_flop() -> None:
    task = FlipFlop(bits=3, steps=50, every=10)
    batch = drawn(task, 400)
    held = torch.zeros(400, 3)
    for x, target in zip(batch.x, batch.target, strict=True):
        held = torch.where(x != 0, x, held)
        assert torch.equal(target, held)
    assert (batch.x[1:] != 0).float().mean().item() == pytest.approx(0.1, rel=0.05)
    assert task.score(batch.x, batch) == pytest.approx(task.baseline, rel=0.05)


def test_copying() -> None:
    task = Copying(delay=20, symbols=5)
    batch = drawn(task, 2000)
    assert batch.x.shape == (30, 2000)
    shown, rest = batch.x[:5], batch.x[5:]
    assert int(shown.max()) < 8
    assert torch.equal(batch.target[-5:], shown)
    assert batch.target[:-5].eq(8).all()
    assert rest[19].eq(9).all()
    assert torch.cat([rest[:19], rest[20:]]).eq(8).all()
    # the best answer without memory: a blank until the signal, then any symbol
    y = torch.full((30, 2000, 9), -40.0)
    y[:-5, :, 8] = 0.0
    y[-5:, :, :8] = 0.0
    assert task.score(y, batch) == pytest.approx(task.baseline, rel=1e-3)


def test_temporal_order() -> None:
    task = TemporalOrder()
    batch = drawn(task, 400)
    assert batch.lengths is not None
    assert int(batch.lengths.min()) >= 100
    assert int(batch.lengths.max()) <= 110
    for b in range(400):
        sequence = batch.x[: batch.lengths[b], b].tolist()
        assert (sequence[0], sequence[-1]) == (0, 1)
        at = [t for t, symbol in enumerate(sequence) if symbol >= 6]
        assert len(at) == 2
        assert 10 <= at[0] <= 20
        assert 50 <= at[1] <= 60
        first, second = (sequence[t] - 6 for t in at)
        assert int(batch.target[b]) == 2 * first + second
    y = torch.zeros(400, 4)
    y[:, 0] = 1.0
    assert task.score(y, batch) == pytest.approx(task.baseline, abs=0.08)


def test_arithmetic() -> None:
    task = Arithmetic()
    batch = drawn(task, 60)
    assert batch.weight is not None
    for b in range(60):
        text = text_of(task, batch, b)
        text = text[: text.index(".") + 1]
        question, answer = re.sub("[a-z]", "", text).rstrip(".").split("=")
        a, sign, c = re.fullmatch(r"(\d+)([+-])(\d+)", question).groups()  # type: ignore[union-attr]
        assert int(answer) == (int(a) + int(c) if sign == "+" else int(a) - int(c))
        counted = batch.weight[:, b].nonzero().flatten().tolist()
        start = text.index("=")  # whose target is the first character of the answer
        assert counted == list(range(start, start + len(answer) + 1))


def test_nesting() -> None:
    task = Nesting(length=300, depth=3)
    batch = drawn(task, 20)
    for b in range(20):
        text = text_of(task, batch, b)
        assert len(text) == 300
        opened: list[str] = []
        for closing, name in re.findall(r"<(/?)([a-z]+)>", text):
            if closing:
                assert opened.pop() == name
            else:
                opened.append(name)
            assert len(opened) <= 3
        assert re.fullmatch(r"(</?[a-z]+>)*(<?/?[a-z]*)", text)


def test_settings_by_name() -> None:
    task = make_task("copying:delay=200,symbols=3")
    assert isinstance(task, Copying)
    assert (task.delay, task.symbols, task.alphabet) == (200, 3, 8)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("addition", "task: expected one of adding, .*got 'addition'"),
        ("adding:length=3", "expected settings of adding such as steps=..., got 'length=3'"),
        ("adding:steps=many", "adding:steps=N with a whole number N, got steps='many'"),
        ("adding:steps=", "got 'steps='"),
        ("adding:steps=3,steps=4", "expected steps once"),
        ("adding:steps=1", "adding:steps=N with N from 2 to 1,000,000, got 1"),
        ("adding:steps=-5", "got -5"),
        ("adding:steps=99999999999", "got 99999999999"),
        ("copying:delay=0", "copying:delay=N with N from 1"),
        ("copying:alphabet=1", "copying:alphabet=N with N from 2"),
        ("temporal-order:shortest=9", "shortest=N with N from 10"),
        ("temporal-order:longest=50", "longest: expected at least the 100 steps"),
        ("arithmetic:digits=0", "digits=N with N from 1 to 1,000, got 0"),
        ("nesting:name=1", "name=N with N from 2"),
        ("text", "expected text:path=..., got 'text'"),
        ("copying:delay", "such as copying:KEY=VALUE, got 'delay'"),
    ],
)
def test_wrong_names_and_settings(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_task(text)


def test_the_loss_of_tokens_counts_what_is_weighted() -> None:
    task = Copying(delay=3, symbols=1)
    batch = drawn(task, 2)
    weight = torch.zeros_like(batch.weight) if batch.weight is not None else None
    assert weight is not None
    weight[-1] = 1.0
    y: Tensor = torch.randn(5, 2, 9)
    found = task.loss(y, Batch(x=batch.x, target=batch.target, weight=weight))
    expected = torch.nn.functional.cross_entropy(y[-1], batch.target[-1])
    torch.testing.assert_close(found, expected)
