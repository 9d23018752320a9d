"""Runs: folders whose config.json says everything needed to make them again, or go on with them."""

import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from recurra.data import Vocabulary
from recurra.errors import CheckpointError, RunError
from recurra.models import LanguageModel, Model, load, write_atomically
from recurra.training.checkpoints import TENSORS_NAME
from recurra.training.config import RESUMABLE, TrainingConfig, flag, resolve_clipping
from recurra.training.evaluation import evaluate
from recurra.training.language import LanguageTrainer, TrainingResult
from recurra.training.randomness import seed_all
from recurra.training.settings import LanguageSettings
from recurra.training.text import FOLDER, Text, open_text, prepare_text, read_other_text
from recurra.training.view import SilentView, View

FORMAT = 1
TASK = "lm"
CONFIG_NAME = "config.json"

logger = logging.getLogger("recurra")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A finished or stopped run, loaded: its best model and the vocabulary of its tokens."""

    folder: Path
    model: LanguageModel
    vocabulary: Vocabulary


def train_language_model(
    folder: str | os.PathLike[str],
    given: Mapping[str, Any] | None = None,
    *,
    resume: bool = False,
    view: Callable[[str], View] | None = None,
) -> TrainingResult:
    """Train a language model into a run folder; with `resume`, go on with the run that is there.

    Args:
        folder: of the run; made when it is not there.
        given: settings by name, of `TextSettings`, `ModelSettings` and `TrainingConfig`, and
            `no_clip`; the others have their defaults, or on resuming the run's own values.
        resume: go on from the last checkpoint. What a run is may not change then; how long it
            goes on, how often it is saved and what it runs on may.
        view: makes the view from a title.
    Raises:
        ValueError: when a setting is out of its range.
        DataError: when the text cannot be read or is too short.
        RunError: when the folder holds a run already, holds none to resume, cannot be written, or
            training stops because its numbers are not finite.
        CheckpointError: when the checkpoint is cut short, or of other sizes.
        KeyboardInterrupt: after Ctrl-C, once the checkpoint is written.
    """
    folder = Path(folder)
    given = resolve_clipping(given or {})
    if resume:
        settings = _resumed_settings(folder, given)
        _use_threads(settings.training)
        text = open_text(folder)
        trainer = _trainer(folder, settings, text, view)
        _update_training(folder, settings.training)
        return trainer.fit(resume=(folder / TENSORS_NAME).exists())
    settings = LanguageSettings.of(_absolute(given))
    _refuse_existing(folder)
    _use_threads(settings.training)
    with _new_folder(folder):
        text = prepare_text(folder, settings.text)
        trainer = _trainer(folder, settings, text, view)
        _write_config(folder, settings, trainer.model, text)
    return trainer.fit()


def load_run(folder: str | os.PathLike[str], *, device: str | None = None) -> Run:
    """The best model of a run and its vocabulary.

    Raises:
        CheckpointError: when the folder holds no run, or its files are cut short.
    """
    folder = Path(folder)
    config = _read_config(folder, CheckpointError)
    model = load(folder, device=device)
    if not isinstance(model, LanguageModel):
        raise CheckpointError(
            f"{folder}: expected the run of a language model, got a {type(model).__name__}. "
            "Use the command for its task."
        )
    return Run(folder=folder, model=model, vocabulary=Vocabulary.from_config(config["vocabulary"]))


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
        `nll`, `bpc` or `ppl`, `tokens`, `seconds`, and `split`, `level` and `run`.
    """
    run = load_run(folder, device=device)
    if data is not None:
        tokens = read_other_text(data, run.vocabulary, split)
    else:
        tokens = open_text(run.folder).split(split or "test")
    figures = evaluate(run.model, tokens, level=run.vocabulary.level)
    name = split or ("all" if data is not None else "test")
    return {**figures, "split": name, "level": run.vocabulary.level, "run": str(folder)}


def _trainer(
    folder: Path,
    settings: LanguageSettings,
    text: Text,
    view: Callable[[str], View] | None,
) -> LanguageTrainer:
    seed_all(settings.training.seed)
    model = LanguageModel(
        len(text.vocabulary), **asdict(settings.model), backend=settings.training.backend
    )
    title = f"{settings.model.cell} language model, {folder}"
    return LanguageTrainer(
        model,
        text.vocabulary,
        text.train,
        text.val,
        settings.training,
        folder,
        view=SilentView() if view is None else view(title),
    )


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


def _refuse_existing(folder: Path) -> None:
    for name in (CONFIG_NAME, TENSORS_NAME, "model.safetensors"):
        if (folder / name).exists():
            raise RunError(
                f"{folder}: expected a new folder, got one that holds a run already ({name}). "
                "Go on with that run by --resume, or choose another name with --out."
            )


@contextmanager
def _new_folder(folder: Path) -> Iterator[None]:
    """Make the folder; take away what was put into it when the run cannot start."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(None, "no permission to write", str(folder))
    except OSError as error:
        raise RunError(
            f"{folder}: expected a folder that can be made and written, got: "
            f"{error.strerror or error}. Choose another with --out, or change its permissions."
        ) from error
    try:
        yield
    except BaseException:
        shutil.rmtree(folder / FOLDER, ignore_errors=True)
        for path in missing:
            try:
                path.rmdir()
            except OSError:
                break
        raise


def _write_config(folder: Path, settings: LanguageSettings, model: Model, text: Text) -> None:
    sizes = {"train": len(text.train), "val": len(text.val), "test": len(text.test)}
    _write_json(
        folder / CONFIG_NAME,
        {
            "format": FORMAT,
            "task": TASK,
            "model": {"class": type(model).__name__, **model.config},
            "vocabulary": text.vocabulary.to_config(),
            "data": {**settings.text.to_dict(), "tokens": sizes},
            "training": settings.training.to_dict(),
        },
    )


def _update_training(folder: Path, config: TrainingConfig) -> None:
    """Note settings that changed on resuming, such as a longer budget."""
    saved = _read_config(folder, RunError)
    if saved["training"] != config.to_dict():
        _write_json(folder / CONFIG_NAME, {**saved, "training": config.to_dict()})


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    # a byte of no UTF-8 in a prime or a path becomes an escape, as JSON itself writes it: \udce9
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    write_atomically(path, lambda part: part.write_text(text, "utf-8", "backslashreplace"))


def _read_config(folder: Path, kind: type[RunError] | type[CheckpointError]) -> dict[str, Any]:
    """A run's config.json, or an error of `kind`."""
    path = folder / CONFIG_NAME
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise kind(
            f"{folder}: expected a run, got no config.json there. Check the name of the run."
        ) from error
    except (OSError, ValueError) as error:
        raise kind(
            f"{path}: expected the config of a run, got: {error}. Restore it from a copy."
        ) from error
    if not isinstance(config, dict) or config.get("task") != TASK or "vocabulary" not in config:
        got = config.get("task") if isinstance(config, dict) else type(config).__name__
        raise kind(
            f"{path}: expected the run of a language model (task {TASK!r}), got {got!r}. "
            "Check the name of the run."
        )
    return config


def _resumed_settings(folder: Path, given: Mapping[str, Any]) -> LanguageSettings:
    """The run's own settings with what may be changed changed; anything else given must agree."""
    config = _read_config(folder, RunError)
    try:
        saved = LanguageSettings.from_config(config)
    except (KeyError, TypeError) as error:
        raise RunError(
            f"{folder / CONFIG_NAME}: expected the settings of a run, got them without {error}. "
            "Restore the file from a copy."
        ) from error
    own = saved.flat()
    wanted = _absolute(given)
    unknown = sorted(set(wanted) - set(own))
    if unknown:
        raise ValueError(f"settings: expected known names, got {', '.join(unknown)}.")
    changed = [
        f"{flag(name)} {value} (the run has {own[name]})"
        for name, value in wanted.items()
        if name not in RESUMABLE and value != own[name]
    ]
    if changed:
        raise RunError(
            f"{folder}: expected the settings that the run was started with, got "
            f"{', '.join(changed)}. Leave them out, or start another run with --out."
        )
    changes = {name: value for name, value in wanted.items() if name in RESUMABLE}
    return replace(saved, training=replace(saved.training, **changes))
