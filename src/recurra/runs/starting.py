"""Starting a run, and going on with one: what rank 0 does, and what the other ranks do."""

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from recurra.errors import DataError, RecurraError, RunError, argument
from recurra.files import FolderLock, read_header
from recurra.interrupts import ending_signals
from recurra.models import Model, load
from recurra.models.files import CONFIG_NAME
from recurra.models.saving import build, write_config
from recurra.models.starting import take_weights
from recurra.parallel import (
    Ranks,
    by_torchrun,
    check_devices,
    launched,
    reported_by_torchrun,
    use_threads,
    with_devices,
)
from recurra.runs.checkpoints import TENSORS_NAME, WHAT, how_to_go_on
from recurra.runs.fitting import TrainingResult, begin, describe, fit_in, restore, result_of
from recurra.runs.folder import (
    absolute,
    kinds_of,
    new_run,
    next_name,
    read_run,
    settings_of,
    write_new_config,
)
from recurra.settings import check_known, declared, option_of, plain
from recurra.training.hooks import Hook, Logbook
from recurra.training.machine import generators_kept
from recurra.training.settings import (
    DEVICES,
    MAX_DEVICES,
    RunSettings,
    TrainingSettings,
    resolve_clipping,
)
from recurra.training.task import Task
from recurra.training.trainer import Trainer
from recurra.views import View

logger = logging.getLogger("recurra")

ViewMaker = Callable[[str], View]

last_started: Path | None = None  # for whoever has to say where a run is that was stopped


def start(
    task: type[Task[Any, Any]] | Task[Any, Any],
    folder: Path | None,
    given: Mapping[str, Any],
    *,
    view: ViewMaker | None = None,
    hooks: Sequence[Hook] = (),
    init_from: str | os.PathLike[str] | None = None,
) -> TrainingResult:
    """Train a new model into a run folder.

    A new run is prepared in a hidden folder beside its own and put in place when it can start, its
    first checkpoint included: a start that fails leaves everything as it was. torch's settings
    (threads, generators) are as before afterwards.

    Args:
        task: its class, which reads the data that `given` names; or one that has its data.
        folder: of the run: not there yet, or empty; None: a new one under runs/.
        given: settings by name, and `no_clip`; the others have their defaults.
        view: makes the view from a title.
        hooks: told what the trainer does.
        init_from: a run or saved model whose weights the new one starts from, where names and
            shapes agree.
    Raises:
        ValueError: when a setting is out of its range or unknown.
        DataError: when the data cannot be read or are too few.
        RunError: when the folder holds anything already, or cannot be written, or training stops
            because its numbers are not finite.
        KeyboardInterrupt: after Ctrl-C, once the checkpoint is written.
        Terminated: after SIGTERM or SIGHUP, likewise; it ends a process with 128 + the signal.
    """
    kind = task if isinstance(task, type) else type(task)
    if not by_torchrun().is_first:
        return _follow_by_torchrun(task)
    global last_started
    last_started = folder = next_name(kind.name) if folder is None else folder
    with ending_signals(), _torch_kept():
        given = with_devices(given)
        _check_devices(given)
        asked = RunSettings.of(kinds_of(kind), absolute(kind, given))
        settings = kind.check(asked)
        with _launched(settings.training, folder, task) as ranks, new_run(folder) as new:
            use_threads(settings.training.threads, ranks)
            ready = kind.prepare(new.path, settings.data) if isinstance(task, type) else task
            model, taken = _new_model(ready, settings, init_from)
            trainer = _trainer(folder, ready, model, settings.training, view, hooks, ranks)
            trainer.about += taken
            write_new_config(new.path, kind, asked, model, ready)
            marks = begin(new.path, trainer)
            _have_followed(ranks, folder, new.path, settings.training)
            new.begin()
            return fit_in(folder, trainer, new.lock, marks)


def rehearse(
    task: type[Task[Any, Any]],
    given: Mapping[str, Any],
    *,
    init_from: str | os.PathLike[str] | None = None,
) -> str:
    """What a run of these settings would train, and on which batches, in lines; nothing is left.

    Args:
        task: its class.
        given: settings by name, as for `start`.
        init_from: as for `start`.
    Raises:
        ValueError, DataError: as for `start`.
    """
    with ending_signals(), _torch_kept(), TemporaryDirectory(prefix="recurra-dry-") as made:
        asked = RunSettings.of(kinds_of(task), absolute(task, given))
        settings = task.check(asked)
        ready = task.prepare(Path(made), settings.data)
        model, taken = _new_model(ready, settings, init_from)
        trainer = Trainer(ready, model, replace(settings.training, devices=1))
        return describe(trainer, ready.batches(settings.training)) + taken


def go_on(
    folder: str | os.PathLike[str],
    given: Mapping[str, Any],
    *,
    task: Task[Any, Any] | str | None = None,
    view: ViewMaker | None = None,
    hooks: Sequence[Hook] = (),
) -> TrainingResult:
    """Go on with the run in a folder from its last checkpoint.

    What a run is may not change then; how long it goes on, how often it is saved and what it runs
    on may, and `lr` may be lowered. `epochs`, `max_steps` and `max_minutes` are one setting: any of
    them that is given takes the place of all that the run had.

    Raises:
        ValueError: when a setting is out of its range or unknown.
        DataError: when the data in the folder are damaged or gone.
        RunError: when the folder holds no run, or one that another process trains.
        CheckpointError: when the checkpoint is missing, cut short, or of other sizes.
    """
    if not by_torchrun().is_first:
        return _follow_by_torchrun(task)
    folder = Path(folder)
    name = task.name if isinstance(task, Task) else task
    ready = task if isinstance(task, Task) else None
    with ending_signals(), _torch_kept():
        read_run(folder, RunError, name)  # before anything is made in a folder that holds no run
        with FolderLock(folder) as lock:
            kind, config = read_run(folder, RunError, name)
            saved = settings_of(folder, kind, config)
            wanted = _resumed(folder, saved, absolute(kind, with_devices(given)))
            with _launched(wanted.training, folder, kind if ready is None else ready) as ranks:
                use_threads(wanted.training.threads, ranks)
                task, model = _opened(folder, kind, config, wanted.training, ready)
                try:
                    trainer = _trainer(folder, task, model, wanted.training, view, hooks, ranks)
                except DataError as error:
                    raise DataError(
                        f"{folder / CONFIG_NAME}: settings that its data do not fit: {error}"
                    ) from error
                marks = restore(trainer, folder)
                _have_followed(ranks, folder, folder, wanted.training)
                # Only a checkpoint that is accepted, and a limit still ahead, change the run.
                if wanted != saved and not trainer.is_over:
                    training = {"training": wanted.training.to_dict()}
                    write_config(folder / CONFIG_NAME, {**config, **training})
                return fit_in(folder, trainer, lock, marks)


def _trainer(
    folder: Path,
    task: Task[Any, Any],
    model: Model,
    settings: TrainingSettings,
    view: ViewMaker | None,
    hooks: Sequence[Hook],
    ranks: Ranks,
) -> Trainer[Any, Any]:
    shown = None if view is None else view(f"{task.titled(model)}, {folder}")
    trainer = Trainer(task, model, settings, view=shown, hooks=hooks, ranks=ranks)
    trainer.about = describe(trainer)
    return trainer


def _new_model(
    task: Task[Any, Any], settings: RunSettings, init_from: str | os.PathLike[str] | None
) -> tuple[Model, str]:
    """The model, and in words what it took from another."""
    torch.manual_seed(settings.training.seed)
    try:
        model = task.build(settings.model, backend=settings.training.backend)
    except (RuntimeError, MemoryError, OverflowError) as error:
        sizes = ", ".join(
            f"{name} {value:,}"
            for name, value in settings.model.to_dict().items()
            if isinstance(value, int) and not isinstance(value, bool)
        )
        raise RunError(
            f"{task.name}: expected sizes that fit into memory, got {sizes} "
            f"({str(error).splitlines()[0]:.120}). Make it smaller."
        ) from error
    said, names = "", set[str]()
    if init_from is not None:
        taken = take_weights(model, load(init_from))
        said = f"\nfrom {init_from}  {taken}"
        logger.info("%s: %s", init_from, taken)
        if not taken.tensors:
            same = ", ".join(argument(name) for name in taken.others)
            remedy = f"Give the same {same}, or start" if same else "Start"
            raise RunError(
                f"{argument('init_from')}: expected a run with weights of the same names, shapes "
                f"and meaning, got {init_from}, where none of {len(taken.left)} agree: "
                f"{taken.cause}. {remedy} from another."
            )
        names.update(taken.tensors)
    task.check_start(settings, names)
    return model, said


def _resumed(folder: Path, saved: RunSettings, given: Mapping[str, Any]) -> RunSettings:
    """The settings of a run with what resuming may change changed.

    Any limit that is given takes the place of all that the run had.

    Raises:
        RunError: when others are given, naming them all.
    """
    given = resolve_clipping(given)
    check_known(given, *map(type, (saved.data, saved.model, saved.training)))
    kinds = {each.name: option_of(each).on_resume for each in declared(type(saved.training))}
    own = saved.flat()
    changes, refused = {}, []
    for name, value in given.items():
        value = plain(value) if isinstance(value, tuple) else value
        if _may_become(kinds.get(name, "fixed"), value, own[name]):
            changes[name] = value
        elif value != own[name]:
            refused.append(argument(f"{name}={value}") + f" (the run has {own[name]})")
    if refused:
        raise RunError(
            f"{folder}: expected the settings that the run was started with, got "
            f"{', '.join(refused)}. Leave them out, or start another run with {argument('out=')}."
        )
    limits = {name for name, kind in kinds.items() if kind == "limit"}
    if not limits.isdisjoint(changes):
        changes = {**dict.fromkeys(limits), **changes}
    return replace(saved, training=replace(saved.training, **changes))


def _may_become(kind: str, value: Any, own: Any) -> bool:
    """Whether a run that is resumed may have another value of a setting."""
    if kind == "lower":
        return isinstance(value, int | float) and 0 < value < own
    return kind in ("free", "limit")


def _opened(
    folder: Path,
    kind: type[Task[Any, Any]],
    config: Mapping[str, Any],
    settings: TrainingSettings,
    task: Task[Any, Any] | None,
) -> tuple[Task[Any, Any], Model]:
    """The task and a model of a run that is there, whose weights are still to be restored."""
    ready = kind.open(folder, config) if task is None else task
    where, weights = folder / CONFIG_NAME, folder / TENSORS_NAME
    shapes = {
        name.removeprefix("model/"): shape
        for name, shape in read_header(weights, WHAT)[0].items()
        if name.startswith("model/")
    }
    model = build(where, config, weights, shapes, backend=settings.backend)
    ready.adopt(model)
    return ready, model


# ---- ranks but the first -------------------------------------------------------------------------


def _launched(
    settings: TrainingSettings, folder: Path, task: type[Task[Any, Any]] | Task[Any, Any]
) -> AbstractContextManager[Ranks]:
    """Rank 0, the others started, each of which follows."""
    advice = partial(how_to_go_on, folder)
    return launched(settings.devices, settings.device, _follow, task, advice=advice)


def _check_devices(given: Mapping[str, Any]) -> None:
    """Before all that a number of devices asks of other settings: that there are so many."""
    count, device = given.get("devices"), given.get("device", "auto")
    if isinstance(count, int) and 1 < count <= MAX_DEVICES and device in DEVICES:
        check_devices(count, device)


def _have_followed(ranks: Ranks, folder: Path, path: Path, settings: TrainingSettings) -> None:
    """In rank 0: have the other ranks open a run that is at `path` now, and wait for them."""
    ranks.broadcast((folder, path, settings))
    ranks.sum(0.0)


def _follow(
    ranks: Ranks, task: type[Task[Any, Any]] | Task[Any, Any] | str | None
) -> TrainingResult:
    """In any other rank: open what rank 0 has prepared, and train along."""
    folder, path, settings = ranks.broadcast((Path(), Path(), TrainingSettings()))
    ready = task if isinstance(task, Task) else None
    with _torch_kept():
        use_threads(settings.threads, ranks)
        kind, config = read_run(path, RunError)
        opened, model = _opened(path, kind, config, settings, ready)
        trainer = Trainer(opened, model, settings, logbook=Logbook(), ranks=ranks)
        restore(trainer, path)
        steps_before = trainer.progress.step
        ranks.sum(0.0)
        trainer.fit()
    return result_of(folder, trainer, steps_before)


def _follow_by_torchrun(task: type[Task[Any, Any]] | Task[Any, Any] | str | None) -> TrainingResult:
    ranks = by_torchrun()
    with ending_signals(), reported_by_torchrun():
        try:
            return _follow(ranks, task)
        except (RecurraError, ValueError) as error:
            logger.error("rank %d: %s", ranks.rank, error)  # rank 0 cannot say it
            raise


@contextmanager
def _torch_kept() -> Iterator[None]:
    """Leave torch's threads and generators as they were before the block, and have gradients in
    it whatever the caller has turned off."""
    threads = torch.get_num_threads()
    try:
        with generators_kept(), torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        torch.set_num_threads(threads)
