"""`recurra train lm` against a plain PyTorch character model, each in processes of its own.

Tokens a second come from short runs in turn (A B A B ...), the loss from one long run of each after
the other, of equal minutes. Both count everything between a run's first step and its last,
validation and checkpoints included. Only the short runs take no samples: a run takes a handful,
whatever its length, which in half a minute would weigh twenty times what they do in ten.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

import recurra as rc
from benchmarks.oracle import DisagreementError, check_agreement
from benchmarks.peers import char_rnn as peer
from benchmarks.registry import Benchmark, Row, Settings, Target
from benchmarks.timing import Rounds
from recurra.data import TokenStreams, split_by_position

SPEED, LOSS = Target(value=1.3), Target(value=1.0, at_most=True)
OURS, THEIRS = "recurra train lm", "PyTorch char-RNN"
SLICE_MINUTES, SLICES = 0.5, 5
LARGE = 512  # models of so many units train half as long again


def _check() -> None:
    """Both are one model with one text: same logits, same windows, same split."""
    torch.manual_seed(0)
    ours = rc.LanguageModel(11, embedding_size=peer.EMBEDDING, hidden_size=17, cell="torch_lstm")
    theirs = peer.CharRNN(11, 17).eval()
    theirs.load_state_dict(
        {name.replace("recurrent.", "lstm."): value for name, value in ours.state_dict().items()}
    )
    ids = torch.randint(11, (2 * peer.BATCH_SIZE * peer.BPTT,))
    windows = TokenStreams(ids.numpy(), peer.BATCH_SIZE, peer.BPTT)
    streams = peer.Streams(ids.numpy())
    for index in range(len(windows)):
        for a, b in zip(windows.window(index), streams.window(index), strict=True):
            if not torch.equal(a, b):
                raise DisagreementError(f"char_rnn: window {index} differs")
    inputs, _ = windows.window(0)
    found = {"recurra": {"y": ours.eval()(inputs)[0]}}
    check_agreement("char_rnn", {"y": theirs(inputs)[0]}, found)


def _check_text(data: Path) -> None:
    text = peer.Text.read(data)
    theirs = [text.train, text.val, text.test]
    ours = split_by_position(np.concatenate(theirs))
    if not all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True)):
        raise DisagreementError("char_rnn: the text is split in different places")


def _ours(data: Path, hidden_size: int, minutes: float, threads: int, loss: bool) -> dict:
    """One run of the command line: its tokens a second and, if asked for, its test loss."""
    command = [sys.executable, "-m", "recurra.cli"]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "run")
        training = ["train", "lm", f"--data={data}", f"--out={out}", f"--threads={threads}"]
        training += [f"--hidden-size={hidden_size}", f"--max-minutes={minutes}"]
        training += [] if loss else ["--sample-length=0"]
        _output([*command, *training], threads)
        progress = json.loads(Path(out, "training.json").read_text())["progress"]
        figures = {
            "tokens": progress["counted"],
            "seconds": progress["elapsed_s"],
            "tokens_per_s": progress["counted"] / progress["elapsed_s"],
            "val_nll": progress["best"],
        }
        if loss:
            printed = _output([*command, "evaluate", str(out), "--split=test", "--json"], threads)
            figures["test_nll"] = json.loads(printed)["nll"]
    return figures


def _theirs(data: Path, hidden_size: int, minutes: float, threads: int, loss: bool) -> dict:
    """One run of the peer; it always measures its test loss, after the clock has stopped."""
    command = [sys.executable, "-m", "benchmarks.peers.char_rnn", f"--data={data}"]
    command += [f"--hidden-size={hidden_size}", f"--minutes={minutes}", f"--threads={threads}"]
    return json.loads(_output(command, threads))


RUNS = {OURS: _ours, THEIRS: _theirs}


def _output(command: list[str], threads: int) -> str:
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    asked = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if asked.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{asked.stderr}")
    return asked.stdout


def _speed(data: Path, hidden_size: int, settings: Settings) -> Row:
    """Tokens a second, by short runs in turn."""
    minutes, slices = (0.05, 1) if settings.quick else (SLICE_MINUTES, SLICES)
    _ours(data, hidden_size, 0.01, settings.threads, False)  # compiles the loops
    us: dict[str, list[float]] = {side: [] for side in RUNS}
    for _ in range(slices):
        for side, run in RUNS.items():
            figures = run(data, hidden_size, minutes, settings.threads, False)
            us[side].append(1e6 / figures["tokens_per_s"])
    rounds = Rounds(ms=us)  # a ratio has no unit
    ratio = rounds.ratio(OURS, THEIRS)
    return Row(
        job=f"{hidden_size} units, tokens a second, {slices} x {minutes:g} minutes",
        peer=THEIRS,
        ours=1e6 / rounds.median_ms(OURS),
        theirs=1e6 / rounds.median_ms(THEIRS),
        unit="/s",
        ratio=ratio.median,
        low=ratio.low,
        high=ratio.high,
        target=SPEED,
        rounds=slices,
        threads=settings.threads,
        details={"us_a_token": us},
    )


def _loss(data: Path, hidden_size: int, settings: Settings) -> Row:
    """The test loss after equal minutes, each alone on the machine."""
    minutes = settings.minutes * (1.5 if hidden_size >= LARGE else 1.0)
    minutes = 0.1 if settings.quick else minutes
    found = {
        side: run(data, hidden_size, minutes, settings.threads, True) for side, run in RUNS.items()
    }
    return Row(
        job=f"{hidden_size} units, test nll after {minutes:g} minutes",
        peer=THEIRS,
        ours=found[OURS]["test_nll"],
        theirs=found[THEIRS]["test_nll"],
        unit="nats",
        ratio=found[OURS]["test_nll"] / found[THEIRS]["test_nll"],
        target=LOSS,
        rounds=1,
        threads=settings.threads,
        details=found,
    )


def _run(settings: Settings) -> Iterator[Row]:
    data = settings.data
    if data is None or not data.is_file():
        raise FileNotFoundError(
            f"char_rnn: expected a text file, got {data}. Name one with --data, or set "
            "RECURRA_DATA to the folder that has tinyshakespeare/input.txt."
        )
    _check_text(data)
    for hidden_size in settings.hidden_sizes:
        yield _speed(data, hidden_size, settings)
        yield _loss(data, hidden_size, settings)


BENCHMARKS = (
    Benchmark(
        name="char_rnn",
        doc="training on a text through the command line; ratio: tokens a second, recurra's over "
        "the other's (more is better), and test nll, recurra's over the other's (less is better)",
        check=_check,
        run=_run,
        by_default=False,
    ),
)
