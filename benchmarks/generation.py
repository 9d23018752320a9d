"""One step at a time at batch 1: text from a language model, and a stream fed from Python.

Every side runs with one thread and with all; its better number is counted. For weights in bfloat16
the other side may also be in float32, where that is faster.
"""

import copy
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

import recurra as rc
from benchmarks.oracle import DisagreementError, check_agreement
from benchmarks.peers.characters import LOOPS, Weights
from benchmarks.registry import Benchmark, Row, Settings, Target
from benchmarks.timing import Rounds, Turn, interleaved, local
from recurra.decoding import Sampler, generate

VOCABULARY, EMBEDDING, TEMPERATURE = 96, 64, 0.8
MODELS = {(1, 128): 3.0, (1, 256): 3.0, (2, 512): 5.0}  # layers and units: target
STREAMS = {128: 3.0, 256: 3.0, 512: 2.0}  # units: target
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
# A chosen id may be so much less likely for the other side than its own choice, in nats.
SLACK = {"float32": 1e-3, "bfloat16": 0.1}


def _models(num_layers: int, hidden_size: int) -> dict[str, rc.LanguageModel]:
    """Ours in both precisions; the float32 weights are those that bfloat16 can hold."""
    torch.manual_seed(0)
    wide = rc.LanguageModel(
        VOCABULARY,
        embedding_size=EMBEDDING,
        hidden_size=hidden_size,
        num_layers=num_layers,
    ).eval()
    narrow = copy.deepcopy(wide).to(torch.bfloat16)
    wide.load_state_dict(narrow.state_dict())
    return {"float32": wide, "bfloat16": narrow}


def _check_text(models: dict[str, rc.LanguageModel], length: int) -> None:
    """Each greedily chosen id is a likeliest one for torch's modules in float32."""
    judge = Weights(models["float32"])
    for dtype, model in models.items():
        ids = [1, *generate(model, [1], length, sampler=Sampler(temperature=0))]
        scores = judge.logits(torch.tensor(ids[:-1])).log_softmax(-1)
        chosen = scores.gather(1, torch.tensor(ids[1:]).unsqueeze(1)).squeeze(1)
        worst = float((scores.max(1).values - chosen).max())
        if not worst <= SLACK[dtype]:
            raise DisagreementError(
                f"generation in {dtype}: an id was chosen that is {worst:.3f} nats less likely "
                f"than the likeliest, more than {SLACK[dtype]}"
            )


def _check_stream(hidden_size: int, num_steps: int) -> tuple[rc.LSTM, nn.LSTMCell, Tensor]:
    """Our layer and torch's cell with the same weights, after they agreed on the inputs."""
    torch.manual_seed(0)
    layer, cell = rc.LSTM(hidden_size, hidden_size), nn.LSTMCell(hidden_size, hidden_size)
    layer.load_state_dict({f"{name}_l0": value for name, value in cell.state_dict().items()})
    x = torch.randn(num_steps, 1, hidden_size)
    stream = layer.stream()
    found = torch.stack([stream(x_t).clone() for x_t in x])
    with torch.inference_mode():
        state, outputs = None, []
        for x_t in x:
            state = cell(x_t, state)
            outputs.append(state[0])
    expected = {"y": torch.stack(outputs)}
    check_agreement(f"stream H{hidden_size}", expected, {"recurra": {"y": found}})
    return layer, cell, x


def _check() -> None:
    _check_text(_models(2, 40), length=50)
    _check_stream(33, num_steps=20)


def with_threads(run: Callable[[], object], threads: int) -> Turn:
    """A turn with a number of threads of its own; a call before it, not counted, settles them."""
    timed = local(run)

    def turn(calls: int) -> float:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            run()
            return timed(calls)
        finally:
            torch.set_num_threads(before)

    return turn


def _at_each_number(sides: dict[str, Callable[[], object]], threads: int) -> dict[str, Turn]:
    numbers = sorted({1, threads})
    return {
        f"{name}, {number} thread{'s' * (number > 1)}": with_threads(run, number)
        for name, run in sides.items()
        for number in numbers
    }


def _row(job: str, unit: str, steps: int, rounds: Rounds, mine: str, target: float) -> Row:
    """The best of our sides against the best of the others; amounts in steps a second or us."""
    ours = rounds.fastest([side for side in rounds.ms if side.startswith(mine)])
    theirs = rounds.fastest([side for side in rounds.ms if not side.startswith("recurra")])
    ratio = rounds.ratio(ours, theirs)

    def amount(side: str) -> float:
        us = rounds.median_ms(side) * 1e3 / steps
        return us if unit == "us" else 1e6 / us

    return Row(
        job=job,
        peer=theirs,
        ours=amount(ours),
        theirs=amount(theirs),
        unit=unit,
        ratio=ratio.median,
        low=ratio.low,
        high=ratio.high,
        target=Target(value=target),
        rounds=len(rounds),
        threads="best",
        details={"ours": ours, "ms": rounds.ms, "steps": steps},
    )


def _generation(settings: Settings) -> Iterator[Row]:
    length = 200 if settings.quick else 2000
    for (num_layers, hidden_size), target in MODELS.items():
        models = _models(num_layers, hidden_size)
        _check_text(models, length)
        sides: dict[str, Callable[[], object]] = {}
        for dtype, model in models.items():
            sides[f"recurra {dtype}"] = lambda model=model: list(
                generate(model, [1], length, sampler=Sampler(temperature=TEMPERATURE))
            )
            peer = Weights(model)
            for name, loop in LOOPS.items():
                sides[f"{name} {dtype}"] = lambda loop=loop, peer=peer: loop(
                    peer, 1, length, TEMPERATURE
                )
        rounds = interleaved(_at_each_number(sides, settings.threads), settings)
        for dtype in models:
            wanted = [side for side in rounds.ms if dtype == "bfloat16" or "bfloat16" not in side]
            kept = Rounds(ms={side: rounds.ms[side] for side in wanted})
            job = f"text, {num_layers} x {hidden_size}, {dtype} weights"
            yield _row(job, "char/s", length, kept, f"recurra {dtype}", target)


def _streams(settings: Settings) -> Iterator[Row]:
    for hidden_size, target in STREAMS.items():
        layer, cell, x = _check_stream(hidden_size, num_steps=200)
        stream = layer.stream()

        def run_ours(stream: Callable[[Tensor], Tensor] = stream, x: Tensor = x) -> None:
            for x_t in x:
                stream(x_t)

        @torch.inference_mode()
        def run_theirs(cell: nn.LSTMCell = cell, x: Tensor = x) -> None:
            state = None
            for x_t in x:
                state = cell(x_t, state)

        sides = {"recurra": run_ours, "nn.LSTMCell": run_theirs}
        rounds = interleaved(_at_each_number(sides, settings.threads), settings)
        yield _row(f"stream(x), I = H = {hidden_size}", "us", len(x), rounds, "recurra", target)


def _run(settings: Settings) -> Iterator[Row]:
    yield from _generation(settings)
    yield from _streams(settings)


BENCHMARKS = (
    Benchmark(
        name="generation",
        doc="text and streams, a step at a time at batch 1; ratio: the best torch.nn loop's time "
        "over recurra's",
        check=_check,
        run=_run,
    ),
)
