"""A cell that reads the index of the step: a sequence in pieces gives what it gives in one."""

import logging
from collections.abc import Callable
from math import pi
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import recurra as rc
from recurra.decoding import Sampler, generate
from recurra.lang import sin, tanh
from recurra.nn import Bidirectional
from recurra.tasks import LanguageTask
from recurra.text import CharacterVocabulary
from recurra.training import Moment, TrainingConfig, evaluate
from recurra.training.machine import build_fabric
from recurra.training.step import Stepper

T, B, IN, H, V = 12, 3, 4, 6, 11
CUTS = [(0, 1), (1, 3), (3, 8), (8, T)]  # one step, few steps, and as many as compiled loops take


@rc.cell(state="h")
def clocked(x, h, t, W, U, b, period=7):  # pyright: ignore
    """An RNN whose output swings with the index of the step."""
    return tanh(W @ x + U @ h + b + sin(2 * pi / period * t))


class Outer(rc.Recurrent):
    """A class of a user's that does what its base does."""

    def forward(self, *args, **kwargs):  # pyright: ignore
        return super().forward(*args, **kwargs)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_low_precision_does_not_round_the_index(backend: str, dtype: torch.dtype) -> None:
    layer = rc.Recurrent(clocked, IN, H, backend=backend, dtype=dtype)
    exact = rc.Recurrent(clocked, IN, H, backend="reference", dtype=torch.float64)
    exact.load_state_dict({name: w.double() for name, w in layer.state_dict().items()})
    x = torch.randn(T, B, IN, dtype=dtype)
    for steps in (2, T):  # too few to be compiled, and enough
        with torch.no_grad():
            got, _ = layer(x[:steps], start=1001)
            want, _ = exact(x[:steps].double(), start=1001)
        assert got.dtype is dtype
        torch.testing.assert_close(got.double(), want, rtol=0, atol=0.02)


def test_an_index_that_numbers_cannot_hold_is_refused() -> None:
    layer, x = rc.Recurrent(clocked, IN, H), torch.randn(T, B, IN)
    layer(x, start=2**24 - T)
    with pytest.raises(ValueError, match=r"start \+ steps of at most 16777216"):
        layer(x, start=2**24 - T + 1)
    with pytest.raises(ValueError, match=r"start \+ steps"):
        layer.stream(B).reset(start=2**24)
    layer.double()(x.double(), start=2**24)
    rc.GRU(IN, H)(x)  # which reads no index


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("kind", [rc.Recurrent, Outer])
@pytest.mark.parametrize("batch_first", [False, True])
def test_a_layer(kind: type[rc.Recurrent], backend: str, batch_first: bool) -> None:
    layer = kind(clocked, IN, H, 2, backend=backend, batch_first=batch_first)
    x = torch.randn(T, B, IN)
    along = 1 if batch_first else 0
    x = x.transpose(0, 1) if batch_first else x
    whole, final = layer(x)
    state, pieces = None, []
    for begin, end in CUTS:
        y, state = layer(x.narrow(along, begin, end - begin), state, start=begin)
        pieces.append(y)
    torch.testing.assert_close(torch.cat(pieces, along), whole)
    torch.testing.assert_close(state, final)
    (gradient,) = torch.autograd.grad(whole.square().sum(), layer.U_l0)
    (in_pieces,) = torch.autograd.grad(torch.cat(pieces, along).square().sum(), layer.U_l0)
    torch.testing.assert_close(in_pieces, gradient)
    # a stream may begin anywhere
    _, before = layer(x.narrow(along, 0, 5))
    stream = layer.stream(B)
    for _ in range(2):
        stream.reset(before, start=5)
        for t in range(5, T):
            torch.testing.assert_close(stream(x.select(along, t)), whole.select(along, t).detach())


def test_two_layers_that_read_both_ways() -> None:
    ahead = rc.Recurrent(clocked, IN, H)
    layer = Bidirectional(ahead, rc.Recurrent("gru", IN, H, reverse=True))
    x = torch.randn(T, B, IN)
    found = layer(x, start=3)[0][..., :H]
    torch.testing.assert_close(found, ahead(x, start=3)[0])
    assert not torch.allclose(found, ahead(x)[0])


def test_a_start_that_is_no_index() -> None:
    layer, x = rc.Recurrent(clocked, IN, H), torch.randn(T, B, IN)
    with pytest.raises(ValueError, match="expected start >= 0, got -1"):
        layer(x, start=-1)
    with pytest.raises(ValueError, match="expected start >= 0, got -2"):
        layer.stream().reset(start=-2)


def model(backend: str = "auto") -> rc.LanguageModel:
    torch.manual_seed(0)
    return rc.LanguageModel(V, embedding_size=IN, hidden_size=H, cell=clocked, backend=backend)


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("hooked", [False, True])
def test_text_is_what_the_model_says_of_the_whole(backend: str, hooked: bool) -> None:
    lm = model(backend).eval()
    if hooked:  # called for each token
        lm.decoder.register_forward_hook(lambda *_: None)
    for prime in ([1], [1, 2, 3, 4, 5, 6]):
        text = list(generate(lm, prime, 40, sampler=Sampler(temperature=0)))
        with torch.no_grad():
            scores = lm(torch.tensor([*prime, *text])[:, None])[0]
        assert text == scores[len(prime) - 1 : -1, 0].argmax(-1).tolist()


def test_reading_gives_the_last_logits_alone() -> None:
    lm, ids = model(), torch.randint(V, (T, B))
    shapes: list[tuple[int, ...]] = []
    for start in (0, 4):
        logits, state = lm(ids, start=start)
        last, again = lm.read(ids, start=start)
        torch.testing.assert_close(last, logits[-1:])
        torch.testing.assert_close(again, state)
    lm.recurrent.register_forward_hook(lambda *_: None)
    inner = lm.decoder.forward
    lm.decoder.forward = lambda y: (shapes.append(tuple(y.shape)), inner(y))[1]  # pyright: ignore
    torch.testing.assert_close(lm.read(ids)[0], lm(ids)[0][-1:])
    assert shapes == [(T, B, H), (T, B, H)]  # a decoder of the user's is called as ever


def test_a_prime_is_not_decoded_whole() -> None:
    lm, rows = model().eval(), []
    inner = torch.nn.functional.linear

    def counted(y: Tensor, weight: Tensor, *args: Tensor) -> Tensor:
        if weight is lm.decoder.weight:
            rows.append(y.shape[0])
        return inner(y, weight, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.functional, "linear", counted)
        next(generate(lm, [1] * 50, 1, sampler=Sampler()))
    assert rows == [1]


def test_windows_of_training_count_on() -> None:
    config = TrainingConfig(device="cpu", batch_size=B, bptt=T, clip_norm=None)
    task = LanguageTask(CharacterVocabulary.build(["abcdefghijk"]), {"train": np.zeros(1, "u1")})
    step = Stepper(task, model(), config, build_fabric(config))

    def loss(window: tuple[Tensor, Tensor]) -> float:
        index = 0 if step.state is None else step.index
        return step(window, 0.0, Moment(index=index)).loss

    ids = torch.randint(V, (2 * T + 1, B))
    with torch.no_grad():
        logits = step.model(ids[:-1])[0]
    whole = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[1:].flatten()).item()
    windows = [(ids[k : k + T], ids[k + 1 : k + T + 1]) for k in (0, T)]
    losses = [loss(window) for window in windows]
    assert sum(losses) / 2 == pytest.approx(whole, rel=1e-5)
    assert step.index == 2 * T
    step.state = None  # a new pass
    assert loss(windows[0]) == pytest.approx(losses[0], rel=1e-5)


@pytest.mark.medium
def test_evaluation_reads_in_one_piece() -> None:
    lm = model()
    tokens = np.random.default_rng(0).integers(0, V, 5000)
    with torch.no_grad():
        logits = lm(torch.from_numpy(tokens[:-1, None]))[0][:, 0]
    expected = torch.nn.functional.cross_entropy(logits, torch.from_numpy(tokens[1:])).item()
    assert evaluate(lm, tokens, level="char")["nll"] == pytest.approx(expected, rel=1e-5)
    part = evaluate(lm, tokens, level="char", max_tokens=1000)
    assert part["tokens"] < 5000


def test_a_resumed_run_counts_on(tmp_path: Path) -> None:
    from recurra.data import Vocabulary
    from recurra.training import LanguageTrainer

    text = "abcdefghij " * 200
    vocabulary = Vocabulary.of_level("char").build([text])
    tokens = vocabulary.encode(text)
    settings = {
        "device": "cpu",
        "batch_size": 2,
        "bptt": 10,
        "sample_length": 0,
        "epochs": None,
        "schedule": "plateau",
    }

    def trainer(folder: str, steps: int) -> LanguageTrainer:
        (tmp_path / folder).mkdir(exist_ok=True)
        torch.manual_seed(0)
        lm = rc.LanguageModel(len(vocabulary), embedding_size=IN, hidden_size=H, cell=clocked)
        config = TrainingConfig(max_steps=steps, **settings)  # pyright: ignore
        return LanguageTrainer(lm, vocabulary, tokens, tokens[:50], config, tmp_path / folder)

    at_once = trainer("a", 6)
    at_once.fit()
    trainer("b", 3).fit()
    resumed = trainer("b", 6)
    resumed.fit(resume=True)
    for mine, other in zip(
        at_once.trainer.model.parameters(), resumed.trainer.model.parameters(), strict=True
    ):
        assert torch.equal(mine, other)


@pytest.mark.parametrize("compose", [rc.compose.variational_dropout, rc.compose.weight_drop])
def test_masks_of_a_sequence_that_is_taken_step_by_step_are_spoken_of(
    compose: Callable[..., rc.lang.Cell], caplog: pytest.LogCaptureFixture
) -> None:
    layer, x = rc.Recurrent(compose(rc.cells.gru), IN, H), torch.randn(T, B, IN)
    with caplog.at_level(logging.WARNING, "recurra"):
        state = layer(x)[1]
        layer.eval()
        layer(x[:1], state)
        assert "random masks" not in caplog.text
        layer.train()
        for x_t in x[:3]:
            state = layer(x_t[None], state)[1]
    assert caplog.text.count("at each step, the random masks") == 1


@pytest.mark.parametrize("every", [3, 7, 49])
@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_every_so_many_steps(every: int, backend: str) -> None:
    """A remainder of the index is exact, in float32 and after thousands of steps."""

    @rc.cell(sizes={"x": "H"})
    def counting(x, h, t, every=1):
        return h + x * (t % every == 0)

    layer = rc.Recurrent(counting.with_constants(every=every), 2, 2, backend=backend)
    y, _ = layer(torch.ones(3000, 1, 2))
    expected = 1 + torch.arange(3000) // every
    assert torch.equal(y[:, 0, 0], expected.float())
