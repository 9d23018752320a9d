"""Runs: folders whose config.json says everything needed to make them again, or go on with them."""

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recurra.data import Vocabulary
from recurra.errors import CheckpointError, DataError, RunError, argument
from recurra.files import FolderLock, read_header
from recurra.interrupts import ending_signals
from recurra.models import LanguageModel, Model, load
from recurra.models.files import CONFIG_NAME, FORMAT, read_config
from recurra.models.saving import build, model_config, write_config
from recurra.training.checkpoints import TENSORS_NAME, WHAT
from recurra.training.config import LIMITS, RESUMABLE, TrainingConfig, resolve_clipping
from recurra.training.evaluation import evaluate
from recurra.training.folders import new_folder
from recurra.training.language import TASK, LanguageTrainer, TrainingResult
from recurra.training.measures import of_text
from recurra.training.randomness import generators_kept, seed_all
from recurra.training.settings import LanguageSettings
from recurra.training.text import Text, check_sources, open_text, other_text, prepare_text
from recurra.training.view import SilentView, View

logger = logging.getLogger("recurra")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A finished or stopped run, loaded: its best model and the vocabulary of its tokens."""

    folder: Path
    model: Model
    vocabulary: Vocabulary


def train_language_model(
    folder: str | os.PathLike[str],
    given: Mapping[str, Any] | None = None,
    *,
    resume: bool = False,
    view: Callable[[str], View] | None = None,
) -> TrainingResult:
    """Train a language model into a run folder; with `resume`, go on with the run that is there.

    A new run is prepared in a hidden folder beside its own and put in place when it can start, its
    first checkpoint included: a start that fails leaves everything as it was. torch's settings
    (threads, generators) are as before afterwards.

    Args:
        folder: of the run: not there yet, or empty.
        given: settings by name, of `TextSettings`, `ModelSettings` and `TrainingConfig`, and
            `no_clip`; the others have their defaults, or on resuming the run's own values.
        resume: go on from the last checkpoint. What a run is may not change then; how long it
            goes on, how often it is saved and what it runs on may, and `lr` may be lowered.
            `epochs`, `max_steps` and `max_minutes` are one setting: any of them that is given takes
            the place of all that the run had.
        view: makes the view from a title.
    Raises:
        ValueError: when a setting is out of its range.
        DataError: when the text cannot be read or is too short.
        RunError: when the folder holds anything already, or a run that another process trains;
            when it holds none to resume, cannot be written, or training stops because its numbers
            are not finite.
        CheckpointError: when the checkpoint is missing, cut short, or of other sizes.
        KeyboardInterrupt: after Ctrl-C, once the checkpoint is written.
        Terminated: after SIGTERM or SIGHUP, likewise; it ends a process with 128 + the signal.
    """
    folder, given = Path(folder), resolve_clipping(given or {})
    go = _go_on if resume else _start
    with ending_signals(), _settings_kept():
        return go(folder, given, view)


def _start(
    folder: Path, given: Mapping[str, Any], view: Callable[[str], View] | None
) -> TrainingResult:
    settings = LanguageSettings.of(_absolute(given))
    check_sources(settings.text)
    _use_threads(settings.training)
    with new_folder(folder) as new:
        text = prepare_text(new.path, settings.text)
        model = _new_model(settings, len(text.vocabulary))
        trainer = _trainer(folder, model, text, settings, view, new.lock)
        _write_new_config(new.path, settings, trainer.model, text)
        trainer.begin(new.path)
        new.begin()
        return trainer.fit()


def _go_on(
    folder: Path, given: Mapping[str, Any], view: Callable[[str], View] | None
) -> TrainingResult:
    _read_run_config(folder, RunError)  # before anything is made in a folder that holds no run
    with FolderLock(folder) as lock:
        config = _read_run_config(folder, RunError)
        saved, settings = _resumed_settings(folder, config, given)
        _use_threads(settings.training)
        where, weights = folder / CONFIG_NAME, folder / TENSORS_NAME
        text = _text_of(folder, config)
        shapes = {
            name.removeprefix("model/"): shape
            for name, shape in read_header(weights, WHAT)[0].items()
            if name.startswith("model/")
        }
        model = build(where, config, weights, shapes, backend=settings.training.backend)
        try:
            trainer = _trainer(folder, model, text, settings, view, lock)
        except DataError as error:
            raise DataError(f"{where}: settings that its text does not fit: {error}") from error
        trainer.restore()
        # Only a checkpoint that is accepted, and a limit that is still ahead, change the run.
        if settings != saved and not trainer.is_over:
            write_config(where, {**config, "training": settings.training.to_dict()})
        return trainer.fit()


def is_run(folder: Path) -> bool:
    """Whether there is a run in `folder` that has begun, and can be resumed."""
    return all((folder / name).exists() for name in (CONFIG_NAME, TENSORS_NAME))


def load_run(folder: str | os.PathLike[str], *, device: str | None = None) -> Run:
    """The best model of a run and its vocabulary.

    Raises:
        CheckpointError: when the folder holds no run, or its files are cut short.
        DeviceError: when this machine lacks the device.
    """
    folder = Path(folder)
    config = _read_run_config(folder, CheckpointError)
    vocabulary = _vocabulary_of(folder, config, CheckpointError)
    model = load(folder, device=device)
    if getattr(model, "vocab_size", len(vocabulary)) != len(vocabulary):
        raise CheckpointError(
            f"{folder / CONFIG_NAME}: expected a vocabulary as large as the model's, "
            f"{getattr(model, 'vocab_size', None)}, got {len(vocabulary)} symbols. Restore the "
            "file from a copy."
        )
    return Run(folder=folder, model=model, vocabulary=vocabulary)


def evaluate_run(
    folder: str | os.PathLike[str],
    *,
    split: str | None = None,
    data: str | None = None,
    device: str | None = None,
) -> dict[str, Any]:
    """The loss of a run's best model over one of its splits, or over another file.

    Args:
        folder: of the run.
        split: "train", "val" or "test"; None: the test split, or the whole of `data`.
        data: another text file; with `split`, that part of it by position.
        device: where to run; None: the CPU.
    Returns:
        `nll` in nats a token, `bpc` in bits per character of the text, of words and pieces `ppl`,
        of words `unk`, the share of unknown ones; `tokens`, `seconds`, `split`, `level`, `run`.
    """
    run = load_run(folder, device=device)
    if data is not None:
        with other_text(data, run.vocabulary, split) as tokens:
            figures = _figures(run, tokens)
    else:
        text = _text_of(run.folder, _read_run_config(run.folder, CheckpointError))
        figures = _figures(run, text.split(split or "test"))
    name = split or ("all" if data is not None else "test")
    return {**figures, "split": name, "level": run.vocabulary.level, "run": str(folder)}


def _figures(run: Run, tokens: np.ndarray) -> dict[str, float]:
    size, level = len(run.vocabulary), run.vocabulary.level
    figures = evaluate(run.model, tokens, level=level, vocab_size=size)
    return figures | of_text(figures, tokens, run.vocabulary)


def _new_model(settings: LanguageSettings, vocab_size: int) -> LanguageModel:
    seed_all(settings.training.seed)
    try:
        return LanguageModel(
            vocab_size, **asdict(settings.model), backend=settings.training.backend
        )
    except (RuntimeError, MemoryError, OverflowError) as error:
        raise RunError(
            f"{settings.model.cell} language model: expected sizes that fit into memory, got "
            f"hidden_size {settings.model.hidden_size:,}, num_layers {settings.model.num_layers:,} "
            f"and embedding_size {settings.model.embedding_size:,} "
            f"({str(error).splitlines()[0]:.120}). Make it smaller."
        ) from error


def _trainer(
    folder: Path,
    model: Model,
    text: Text,
    settings: LanguageSettings,
    view: Callable[[str], View] | None,
    lock: FolderLock,
) -> LanguageTrainer:
    title = f"{settings.model.cell} language model, {folder}"
    return LanguageTrainer(
        model,
        text.vocabulary,
        text.split("train"),
        text.split("val"),
        settings.training,
        folder,
        view=SilentView() if view is None else view(title),
        lock=lock,
    )


@contextmanager
def _settings_kept() -> Iterator[None]:
    """Leave torch's threads and generators as they were before the block."""
    threads = torch.get_num_threads()
    try:
        with generators_kept():
            yield
    finally:
        torch.set_num_threads(threads)


def _use_threads(config: TrainingConfig) -> None:
    if config.threads is not None:
        torch.set_num_threads(config.threads)


def _absolute(given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with full paths, so that a run can be resumed from any folder."""
    paths = {
        name: str(Path(given[name]).resolve())
        for name in ("data", "val_data", "test_data")
        if given.get(name) is not None
    }
    return {**given, **paths}


def _write_new_config(folder: Path, settings: LanguageSettings, model: Model, text: Text) -> None:
    write_config(
        folder / CONFIG_NAME,
        {
            "format": FORMAT,
            "task": TASK,
            "model": model_config(model),
            "vocabulary": text.vocabulary.to_config(),
            "data": {**settings.text.to_dict(), "tokens": text.sizes},
            "training": settings.training.to_dict(),
        },
    )


def _read_run_config(folder: Path, kind: type[RunError] | type[CheckpointError]) -> dict[str, Any]:
    """A run's config.json, or an error of `kind`."""
    path = folder / CONFIG_NAME
    if not os.path.lexists(path):
        raise kind(
            f"{folder}: expected a run, got no config.json there. Check the name of the run."
        )
    try:
        config = read_config(path)
    except CheckpointError as error:
        raise kind(str(error)) from error
    if config.get("task") != TASK or "vocabulary" not in config:
        raise kind(
            f"{path}: expected the run of a language model (task {TASK!r}), got "
            f"{config.get('task')!r:.60}. Check the name of the run."
        )
    return config


def _vocabulary_of(
    folder: Path, config: Mapping[str, Any], kind: type[CheckpointError] | type[DataError]
) -> Vocabulary:
    try:
        return Vocabulary.from_config(config["vocabulary"])
    except DataError as error:
        raise kind(f"{folder / CONFIG_NAME}: {error}") from error


def _text_of(folder: Path, config: Mapping[str, Any]) -> Text:
    """A run's text; DataError unless its tokens are those of the vocabulary in config.json."""
    data = config.get("data")
    text = open_text(folder, data if isinstance(data, dict) else {})
    if text.vocabulary != _vocabulary_of(folder, config, DataError):
        raise DataError(
            f"{folder / CONFIG_NAME}: expected the vocabulary of the run's tokens, got another. "
            "Restore the file from a copy."
        )
    return text


def _resumed_settings(
    folder: Path, config: Mapping[str, Any], given: Mapping[str, Any]
) -> tuple[LanguageSettings, LanguageSettings]:
    """The run's own settings, and those with what may be changed changed; other values must agree.

    A value that the run could not have been started with is a RunError.
    """
    try:
        saved = LanguageSettings.from_config(config)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        what = f"them without {error}" if isinstance(error, KeyError) else str(error)
        what = " ".join(what.split())
        raise RunError(
            f"{folder / CONFIG_NAME}: expected the settings of a run, got {what:.300}. "
            "Restore the file from a copy."
        ) from error
    own = saved.flat()
    wanted = _absolute(given)
    unknown = sorted(set(wanted) - set(own))
    if unknown:
        raise ValueError(f"settings: expected known names, got {', '.join(unknown)}.")
    lowered = "lr" in wanted and _is_lower(wanted["lr"], own["lr"])
    may_change = RESUMABLE | ({"lr"} if lowered else set())
    changed = [
        argument(f"{name}={value}") + f" (the run has {own[name]})"
        for name, value in wanted.items()
        if name not in may_change and value != own[name]
    ]
    if changed:
        raise RunError(
            f"{folder}: expected the settings that the run was started with, got "
            f"{', '.join(changed)}. Leave them out, or start another run with {argument('out=')}."
        )
    changes = {name: value for name, value in wanted.items() if name in may_change}
    if not LIMITS.isdisjoint(changes):
        changes = {**dict.fromkeys(LIMITS), **changes}
    return saved, replace(saved, training=replace(saved.training, **changes))


def _is_lower(value: Any, than: float) -> bool:
    return isinstance(value, int | float) and 0 < value < than
