import csv
import errno
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import recurra as rc
from recurra.data import Vocabulary
from recurra.errors import CheckpointError, DataError, RunError
from recurra.files import AppendLog, read_tensors
from recurra.models import Model, save
from recurra.runs.logbook import FolderLogbook
from recurra.training import (
    Hook,
    LanguageTrainer,
    Moment,
    SilentView,
    Status,
    TrainingConfig,
    TrainingResult,
    evaluate_run,
    load_checkpoint,
    load_run,
)
from recurra.training.machine import build_fabric
from recurra.training.step import Stepper
from recurra.training.trainer import CHECKPOINT_SHARE

pytestmark = pytest.mark.medium

SIZES = {"batch_size": 8, "bptt": 20, "device": "cpu", "sample_length": 10}


class Recorder(SilentView):
    """Keeps what it is told; can press Ctrl-C at a step."""

    def __init__(self, interrupt_at: int | None = None) -> None:
        self.statuses: list[Status] = []
        self.notes: list[str] = []
        self.interrupt_at = interrupt_at

    def progressed(self, status: Status) -> None:
        self.statuses.append(status)
        if status.step == self.interrupt_at:
            os.kill(os.getpid(), signal.SIGINT)

    def noted(self, message: str) -> None:
        self.notes.append(message)


class Lab:
    """Makes trainers of the same run, each from a fresh model."""

    def __init__(
        self, folder: Path, vocabulary: Vocabulary, tokens: np.ndarray, model: Any
    ) -> None:
        self.folder, self.vocabulary, self.tokens = folder, vocabulary, tokens
        self.model_class = type(model)

    def trainer(self, name: str, **options: Any) -> LanguageTrainer:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        torch.manual_seed(5)
        model: Model = self.model_class(len(self.vocabulary))
        extra = {name: options.pop(name) for name in ("view", "hooks", "clock") if name in options}
        config = TrainingConfig(**{**SIZES, **options})
        cut = int(0.9 * len(self.tokens))
        train, val = self.tokens[:cut], self.tokens[cut:]
        return LanguageTrainer(model, self.vocabulary, train, val, config, folder, **extra)

    def fit(self, name: str, resume: bool = False, **settings: Any) -> TrainingResult:
        return self.trainer(name, **settings).fit(resume=resume)

    def rows(self, name: str) -> list[dict[str, str]]:
        with (self.folder / name / "metrics.csv").open(newline="") as file:
            return list(csv.DictReader(file))

    def assert_same(self, name: str, other: str) -> None:
        """The two runs came to the same, bit by bit; only their clocks may differ."""
        for file in ("training.safetensors", "model.safetensors"):
            a, _ = read_tensors(self.folder / name / file, "file")
            b, _ = read_tensors(self.folder / other / file, "file")
            assert a.keys() == b.keys()
            assert all(torch.equal(a[key], b[key]) for key in a)
        timeless = [
            [{k: v for k, v in row.items() if not k.endswith("_s")} for row in self.rows(each)]
            for each in (name, other)
        ]
        assert timeless[0] == timeless[1]
        samples = [(self.folder / each / "samples.txt").read_text() for each in (name, other)]
        assert samples[0] == samples[1]


@pytest.fixture
def lab(tmp_path: Path, vocabulary: Vocabulary, tokens: np.ndarray, model: Any) -> Lab:
    return Lab(tmp_path, vocabulary, tokens, model)


def test_it_learns(lab: Lab) -> None:
    result = lab.fit("run", max_steps=250, lr=0.02)
    # Three sentences in a random order have 0.06 nats a character; letters alone have 2.6.
    assert result.best < 0.25
    assert result.steps == 250
    assert list(result.figures) == ["nll", "bpc"]
    samples = [sample.text for sample in result.samples]
    assert len(samples) == 4
    assert float(lab.rows("run")[-1]["val_nll"]) == pytest.approx(result.best, rel=1e-4)


@pytest.mark.parametrize("optimizer", ["rmsprop", "sgd"])
def test_the_other_optimizers_learn(lab: Lab, optimizer: str) -> None:
    rate = {"rmsprop": 0.01, "sgd": 1.0}[optimizer]
    assert lab.fit("run", max_steps=100, optimizer=optimizer, lr=rate).best < 1.5


def test_metrics_have_the_named_columns(lab: Lab) -> None:
    lab.fit("run", max_steps=25)
    rows = lab.rows("run")
    columns = {"step", "nll", "bpc", "val_nll", "val_bpc", "lr", "grad_norm", "tokens_per_s"}
    columns |= {"grad_norm_max", "clipped"}
    assert columns | {"epoch", "skipped", "elapsed_s"} == set(rows[0])
    assert [int(row["step"]) for row in rows][-1] == 25
    assert all(float(row["grad_norm"]) > 0 for row in rows)
    assert list(lab.folder.glob("run/events.out.tfevents.*"))


@pytest.mark.parametrize("schedule", ["cosine", "plateau"])
def test_a_run_in_three_sessions_equals_one_in_one(lab: Lab, schedule: str) -> None:
    settings = {"max_steps": 60, "schedule": schedule, "eval_every": 7, "lr": 0.02}
    lab.fit("whole", **settings)
    for stop in (17, 43):
        with pytest.raises(KeyboardInterrupt):
            lab.trainer("parts", hooks=[At(stop, leave)], **settings).fit(resume=stop > 17)
    lab.fit("parts", resume=True, **settings)
    lab.assert_same("whole", "parts")


class At(Hook):
    """Does something at a step, before what is due at it."""

    def __init__(self, step: int, act: Any) -> None:
        self.step, self.act = step, act

    def stepped(self, trainer: Any, outcome: Any) -> None:
        if trainer.progress.step == self.step:
            self.act()


class Timed(Hook):
    """A clock by which a step takes a second."""

    def __init__(self) -> None:
        self.now, self.saved_at = 0.0, []

    def stepped(self, trainer: Any, outcome: Any) -> None:
        self.now += 1.0

    def saved(self, trainer: Any) -> None:
        self.saved_at.append(trainer.progress.step)


def leave() -> None:
    """Without a word, as a kill does."""
    raise KeyboardInterrupt


def test_checkpoints_and_samples_do_not_change_the_weights(lab: Lab) -> None:
    lab.fit("often", max_steps=40, checkpoint_every=1, sample_length=30)
    lab.fit("never", max_steps=40, checkpoint_every=1000, sample_length=0)
    often = load_checkpoint(lab.folder / "often").group("model")
    never = load_checkpoint(lab.folder / "never").group("model")
    assert all(torch.equal(often[name], never[name]) for name in never)
    assert (lab.folder / "never" / "samples.txt").read_text() == ""


def test_another_seed_gives_other_dropout(lab: Lab) -> None:
    results = [
        lab.fit(f"run{index}", max_steps=10, seed=seed).best for index, seed in enumerate((1, 1, 2))
    ]
    assert results[0] == results[1] != results[2]


def test_a_finished_run_can_be_extended(lab: Lab) -> None:
    first = lab.fit("run", epochs=1)
    again = lab.fit("run", resume=True, epochs=1)
    assert again.steps == first.steps
    assert again.best == first.best
    longer = lab.fit("run", resume=True, epochs=2)
    assert longer.steps == 2 * first.steps
    text = (lab.folder / "run" / "samples.txt").read_text()
    assert text.count("=== end") == 2
    assert text.count("=== start") == 1


def test_ctrl_c_keeps_a_checkpoint(lab: Lab) -> None:
    lab.fit("whole", max_steps=40)
    handler = signal.getsignal(signal.SIGINT)  # ignored in a process that a shell has put aside
    with pytest.raises(KeyboardInterrupt):
        lab.fit("run", max_steps=40, view=Recorder(interrupt_at=20))
    assert load_checkpoint(lab.folder / "run").record["progress"]["step"] == 20
    assert signal.getsignal(signal.SIGINT) is handler
    lab.fit("run", resume=True, max_steps=40)
    lab.assert_same("whole", "run")


def test_a_run_stopped_before_its_first_validation_has_a_model(lab: Lab) -> None:
    with pytest.raises(KeyboardInterrupt):
        lab.fit("run", max_steps=40, eval_every=40, view=Recorder(interrupt_at=10))
    assert (lab.folder / "run" / "model.safetensors").exists()


def test_the_clock_ends_a_run_and_counts_on(lab: Lab) -> None:
    timed, view = Timed(), Recorder()
    told: dict[str, Any] = {"hooks": [timed], "clock": lambda: timed.now}
    result = lab.fit("run", max_minutes=2.0, view=view, **told)
    assert 120 <= result.seconds < 130
    assert view.statuses[-1].fraction == 1.0
    rates = [float(row["lr"]) for row in lab.rows("run")]
    assert rates[-1] < 0.1 * max(rates)
    steps = result.steps
    longer = lab.fit("run", resume=True, max_minutes=4.0, **told)
    assert 240 <= longer.seconds < 260
    assert steps < longer.steps < 3 * steps


def test_ten_steps_that_are_not_finite_stop_the_run(lab: Lab) -> None:
    view = Recorder()
    trainer = lab.trainer("run", max_steps=100, view=view, checkpoint_every=5)
    _break_from(trainer, 12)
    with pytest.raises(RunError) as caught:
        trainer.fit()
    message = str(caught.value)
    assert "10 steps in a row" in message
    assert "lower lr=" in message
    skipped = [note for note in view.notes if "skipped" in note]
    assert len(skipped) == 10
    assert "(10 in a row)" in skipped[-1]
    weights = load_checkpoint(lab.folder / "run").group("model")
    assert all(bool(torch.isfinite(weight).all()) for weight in weights.values())


def test_a_few_skipped_steps_are_counted_and_survived(lab: Lab) -> None:
    trainer = lab.trainer("run", max_steps=40)
    _break_from(trainer, 12, until=15)
    result = trainer.fit()
    assert result.skipped == 3
    assert lab.rows("run")[-1]["skipped"] == "3"


def test_a_validation_that_is_not_finite_is_survived(lab: Lab) -> None:
    settings: dict[str, Any] = {"max_steps": 30, "eval_every": 10, "schedule": "plateau"}
    view = Recorder()
    trainer = lab.trainer("run", view=view, **settings)
    decoder: Any = trainer.trainer.model.decoder
    decoder.register_forward_hook(
        lambda module, _, out: (
            out if module.training or trainer.trainer.progress.step > 10 else out / 0
        )
    )
    result = trainer.fit()
    assert result.best_step > 10
    assert any(note.startswith("step 10: validation nll") for note in view.notes)
    rows = {row["step"]: row["val_nll"] for row in lab.rows("run")}
    assert rows["10"] == ""
    assert rows["30"] != ""


def test_a_run_without_any_finite_validation_ends_with_a_reason(lab: Lab) -> None:
    trainer = lab.trainer("run", max_steps=4)
    decoder: Any = trainer.trainer.model.decoder
    decoder.register_forward_hook(lambda module, _, out: out if module.training else out / 0)
    with pytest.raises(RunError, match="expected a finite validation nll, got none"):
        trainer.fit()


def _break_from(trainer: LanguageTrainer, first: int, until: int = 10**9) -> None:
    """Make the scores infinite in steps first to until - 1."""

    def hook(module: Any, _: Any, output: torch.Tensor) -> torch.Tensor:
        broken = module.training and first <= trainer.trainer.progress.step < until
        return output * float("inf") if broken else output

    decoder: Any = trainer.trainer.model.decoder
    decoder.register_forward_hook(hook)


def test_a_text_shorter_than_one_batch_of_windows(lab: Lab) -> None:
    with pytest.raises(
        DataError, match=r"expected at least .* Use more text, or a smaller batch_size="
    ):
        lab.trainer("run", batch_size=500, bptt=100)


def test_a_validation_text_of_one_token(lab: Lab) -> None:
    trainer = lab.trainer("run")
    with pytest.raises(DataError, match="validation: expected at least 2 tokens, got 1"):
        LanguageTrainer(
            trainer.trainer.model,
            lab.vocabulary,
            lab.tokens,
            lab.tokens[:1],
            TrainingConfig(),
            lab.folder,
        )


def test_a_prime_with_unseen_characters_is_noticed_before_training(lab: Lab) -> None:
    with pytest.raises(DataError, match=r"prime: .*'Ω'"):
        lab.trainer("run", prime="the Ω")


def test_a_checkpoint_of_another_model(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.fit("run", max_steps=2)
    other: Any = lab.model_class
    monkeypatch.setattr(lab, "model_class", lambda size: other(size, hidden_size=7))
    trainer = lab.trainer("run", max_steps=4)
    with pytest.raises(
        CheckpointError, match=r"expected tensor lstm\.weight_ih_l0 of shape \(28, 8\)"
    ):
        trainer.fit(resume=True)


def test_a_checkpoint_cut_short(lab: Lab) -> None:
    lab.fit("run", max_steps=2)
    path = lab.folder / "run" / "training.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="cut short or damaged"):
        lab.fit("run", resume=True, max_steps=4)


@pytest.mark.parametrize("failing", ["checkpoint", "metrics", "model"])
def test_a_full_disk_ends_the_run_and_it_goes_on_later(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    settings = {"max_steps": 40, "checkpoint_every": 5, "eval_every": 8}
    lab.fit("whole", **settings)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "the/file")

    def fill() -> None:
        target = {"checkpoint": (Path, "write_bytes"), "model": (Path, "replace")}.get(failing)
        monkeypatch.setattr(*(target or (AppendLog, "append")), full)

    trainer = lab.trainer("run", hooks=[At(24, fill)], **settings)
    with pytest.raises(RunError, match=r"No space left on device.*resume=True"):
        trainer.fit()
    monkeypatch.undo()
    assert load_checkpoint(lab.folder / "run").record["progress"]["step"] == 20
    lab.fit("run", resume=True, **settings)
    lab.assert_same("whole", "run")


def test_a_folder_is_trained_in_once(lab: Lab) -> None:
    trainer = lab.trainer("run", max_steps=20)
    trainer.fit()
    before = {path: path.read_bytes() for path in (lab.folder / "run").rglob("*.*")}
    for again in (trainer, lab.trainer("run", max_steps=20)):
        with pytest.raises(RunError, match=r"expected a folder without a run.*fit\(resume=True\)"):
            again.fit()
    assert {path: path.read_bytes() for path in (lab.folder / "run").rglob("*.*")} == before
    assert trainer.fit(resume=True).steps == 20


def test_a_run_of_a_model_of_one_s_own_is_loaded_and_evaluated(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    own = rc.LanguageModel(len(lab.vocabulary), hidden_size=8, embedding_size=4)
    monkeypatch.setattr(lab, "model_class", lambda _: own)
    result = lab.fit("run", max_steps=10)
    run = load_run(lab.folder / "run")
    assert run.vocabulary == lab.vocabulary
    figures = evaluate_run(lab.folder / "run", split="val")
    assert figures["nll"] == pytest.approx(result.best, rel=1e-5)
    with pytest.raises(DataError, match=r"expected a part that the run keeps, val, got 'test'"):
        evaluate_run(lab.folder / "run")


def test_a_short_window_weighs_its_share(lab: Lab) -> None:
    trainer = lab.trainer("run", max_steps=1, optimizer="sgd", clip_norm=None)
    inputs, targets = trainer.trainer.source.batch(0, 0)
    fabric = build_fabric(trainer.trainer.settings)
    step = Stepper(trainer.task, trainer.trainer.model, trainer.trainer.settings, fabric)
    norms = [step((inputs[:t], targets[:t]), 0.0, Moment()).grad_norm for t in (20, 1)]
    assert norms[1] < 0.3 * norms[0]


def test_a_better_model_on_the_disk_than_the_checkpoint_knows_stays(lab: Lab) -> None:
    lab.fit("run", max_steps=10)
    folder = lab.folder / "run"
    saved = load_checkpoint(folder).record["progress"]["best"]
    other: Any = lab.model_class
    save(other(len(lab.vocabulary)), folder, note={"val_nll": repr(saved - 3), "step": "99"})
    better = (folder / "model.safetensors").read_bytes()
    result = lab.fit("run", resume=True, max_steps=20)
    assert result.best == saved - 3
    assert (folder / "model.safetensors").read_bytes() == better


def test_checkpoints_take_a_twentieth_of_the_time_at_most(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed = Timed()
    trainer = lab.trainer(
        "run", max_steps=399, eval_every=399, hooks=[timed], clock=lambda: timed.now
    )
    keep = FolderLogbook.keep_checkpoint

    def slow(book: FolderLogbook, checkpoint: Any) -> None:
        timed.now += 6.0
        keep(book, checkpoint)

    monkeypatch.setattr(FolderLogbook, "keep_checkpoint", slow)
    trainer.fit()
    first, *others = timed.saved_at
    assert first == 30  # none has been timed yet
    pauses = np.diff([first, *others[:-1]])
    assert all(pause >= 6.0 / CHECKPOINT_SHARE for pause in pauses)
    assert len(pauses) >= 2
