"""The report of a run: what it is, what its task shows of its model, and how it was trained."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from recurra.errors import DataError
from recurra.files.metrics import read_metrics
from recurra.insight.clipping import clipping_report
from recurra.insight.landscape import figure_of_clipping
from recurra.insight.report import Figure, Passage, Report
from recurra.insight.surroundings import resting_points, surface_around
from recurra.insight.through_time import Watched, figures_of_layers
from recurra.insight.training import TrainingCurves, figure_of_training
from recurra.models.saving import read_note
from recurra.nn.stack import CellStack
from recurra.runs.folder import METRICS_NAME, REPORT_NAME
from recurra.training.settings import TrainingSettings
from recurra.training.task import Moment, Task
from recurra.training.trainer import Trainer

Facts = list[tuple[str, str]]

_SEQUENCES = 8  # whose gradients are followed through time


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """What a report is made of.

    Attributes:
        folder: of the run.
        task: with its data.
        settings: of the run, `RunSettings`.
        model: in evaluation mode.
        name: of the run, for people.
    """

    folder: Path
    task: Task[Any, Any]
    settings: Any
    model: Any
    name: str


def report_of(run: Reported) -> Report:
    """The whole report of a run."""
    through, notes = _through_time([run])
    around, left_out = _around(run)
    own = run.task.insights(run.model)
    figures = [*own, *through, *around, *_training([run]), *_clipping(run)]
    return Report(
        title=f"{run.name}: {run.task.titled(run.model)}",
        subtitle=_subtitle(run.task),
        facts=_facts(run.folder, run.task, run.settings.training, run.model),
        figures=figures,
        notes=[*notes, *left_out],
    )


def report_of_several(runs: Sequence[Reported]) -> Report:
    """A report in which runs, or checkpoints of one, stand side by side; those of one name are
    numbered."""
    runs = _told_apart(runs)
    names = [run.name for run in runs]
    facts = [
        dict(_facts(each.folder, each.task, each.settings.training, each.model)) for each in runs
    ]
    labels = list(dict.fromkeys(label for each in facts for label in each))
    own = side_by_side({run.name: run.task.insights(run.model) for run in runs})
    through, notes = _through_time(runs)
    return Report(
        title=" beside ".join(names),
        columns=names,
        facts=[(label, *(each.get(label, "") for each in facts)) for label in labels],
        figures=[*_training(runs), *through, *own],
        notes=notes,
    )


def side_by_side(figures: Mapping[str, Sequence[Figure]]) -> list[Figure]:
    """The figures of runs by their names: one of those that go together, then each of the others by
    itself."""
    several = {
        name: {run: f for run, own in figures.items() for f in own if f.name == name and f.beside}
        for name in dict.fromkeys(f.name for own in figures.values() for f in own)
    }
    together = {name: own for name, own in several.items() if len(own) > 1}
    found = []
    for own in together.values():
        first = next(iter(own.values()))
        assert first.beside is not None
        found.append(first.beside({run: figure.numbers for run, figure in own.items()}))
    for n, (run, own) in enumerate(figures.items(), 1):
        for figure in own:
            if run not in together.get(figure.name, {}):
                title = f"{run}: {figure.title}"
                found.append(replace(figure, name=f"run{n}_{figure.name}", title=title))
    return found


def _told_apart(runs: Sequence[Reported]) -> list[Reported]:
    """The runs; of those of one name, as a/first and b/first, the second is "first (2)"."""
    taken: set[str] = set()
    found = []
    for run in runs:
        names = (run.name, *(f"{run.name} ({number})" for number in range(2, len(runs) + 1)))
        name = next(each for each in names if each not in taken)
        taken.add(name)
        found.append(replace(run, name=name))
    return found


def _through_time(runs: Sequence[Reported]) -> tuple[list[Figure], list[str]]:
    """What goes on through time in the recurrent layers of the runs' models, and notes on those of
    which nothing is shown."""
    watched: dict[str, Watched] = {}
    notes: list[str] = []
    for run in runs:
        try:
            watched[run.name] = _watched(run)
            watched[run.name].check()
        except (DataError, ValueError) as error:
            watched.pop(run.name, None)
            notes.append(f"No gradients through time of {run.name}: {error}")
            continue
        name, _ = _layer_of(run.model)
        if name != "recurrent":
            notes.append(f"What goes on through time in {run.name} is that of its {name}.")
    return (figures_of_layers(watched) if watched else []), notes


def _around(run: Reported) -> tuple[list[Figure], list[str]]:
    """Where the recurrence of a run's model rests and the loss about its weights, and notes on what
    is not shown."""
    try:
        watched = _watched(run)
        call = watched.call()
    except (DataError, ValueError):
        return [], []  # which was said of the gradients through time
    figures, notes = [], []
    for what, make in (
        ("fixed points", lambda: resting_points(call)),
        ("error surface", lambda: surface_around(run.model, watched.loss)),
    ):
        try:
            figures.append(make())
        except ValueError as error:
            notes.append(f"No {what} of {run.name}: {error}")
    return figures, notes


def _clipping(run: Reported) -> list[Figure]:
    """How long a run's gradients were, and the threshold that follows; none of a run that kept no
    norms."""
    try:
        return [figure_of_clipping(clipping_report(read_metrics(run.folder / METRICS_NAME)))]
    except ValueError:
        return []


def _layer_of(model: Any) -> tuple[str, CellStack | None]:
    """The recurrent layer that a report is about, and what the model calls it: of a translator the
    encoder, which has a sentence to keep; of a captioner, whose encoder is none, the decoder."""
    for name in ("recurrent", "encoder", "decoder"):
        layer = getattr(model, name, None)
        if isinstance(layer, CellStack):
            return name, layer
    return "", None


def _watched(run: Reported) -> Watched:
    """A run's recurrent layer, with the loss of a few sequences of its validation part."""
    _, layer = _layer_of(run.model)
    settings = run.settings.training
    if layer is None:
        raise ValueError(f"{type(run.model).__name__} has no recurrent layer that reads all of it.")
    few = replace(settings, batch_size=min(_SEQUENCES, settings.batch_size), devices=1)
    batch = run.task.source("val", few).batch(0, 0)
    return Watched(layer=layer, loss=lambda: run.task.loss(run.model, batch, None, Moment()).mean)


def write_brief(folder: Path, trainer: Trainer[Any, Any], figures: Sequence[Figure]) -> Path:
    """Write the report that a run has in its folder at its end: what costs next to nothing.

    Args:
        folder: of the run.
        trainer: at its end.
        figures: of its task, of the last weights.
    """
    task, model = trainer.task, trainer.model
    curves = curves_of(folder, task, trainer.settings)
    trained = [figure_of_training({"": curves})] if len(curves.step) else []
    shown = [*trained, *figures, *_samples(trainer)]
    report = Report(
        title=f"{folder.resolve().name}: {task.titled(model)}",
        subtitle=_subtitle(task),
        facts=_facts(folder, task, trainer.settings, model),
        figures=shown,
        notes=(
            "This is the short report that training writes at its end; its figures of the model "
            "are of the last weights.",
            f"The whole one: recurra insight {folder} --out report.html",
        ),
    )
    return report.write(folder / REPORT_NAME)


def curves_of(folder: Path, task: Task[Any, Any], training: TrainingSettings) -> TrainingCurves:
    """How a run was trained, as its metrics.csv has it."""
    judge, step = task.figures[0], read_note(folder).get("step", "")
    return TrainingCurves.of_rows(
        read_metrics(folder / METRICS_NAME),
        loss_name=task.loss_name,
        judge_name=judge.name,
        higher_is_better=judge.higher_is_better,
        clip_norm=training.clip_norm,
        kept=0 if step == "0" else None,  # the weights before training, see `Task.surpasses`
    )


def _training(runs: Sequence[Reported]) -> list[Figure]:
    """How the runs were trained; checkpoints of one run were in one training."""
    curves = {
        run.folder: (run.name, curves_of(run.folder, run.task, run.settings.training))
        for run in runs
    }
    drawn = {name: each for name, each in curves.values() if len(each.step)}
    return [figure_of_training(drawn)] if drawn else []


def _samples(trainer: Trainer[Any, Any]) -> Sequence[Figure]:
    """What the model made first and last."""
    samples = [each for each in trainer.samples if each.text.strip()]
    if not samples:
        return []
    shown = [samples[0], samples[-1]] if len(samples) > 1 else samples
    return [
        Figure(
            name="samples",
            title="What it made",
            lede="Look at what the later one has right that the earlier one has not.",
            found=(
                f"The last was made at step {samples[-1].step:,}, epoch {samples[-1].epoch:.2f}, "
                f"{samples[-1].about}."
            ),
            passages=[Passage(title=each.heading, text=[each.text]) for each in shown],
        )
    ]


def _subtitle(task: Task[Any, Any]) -> str:
    lines = dict(task.describe().lines)
    return f"Trained on {lines['train']}." if "train" in lines else ""


def _facts(folder: Path, task: Task[Any, Any], training: TrainingSettings, model: Any) -> Facts:
    rows = read_metrics(folder / METRICS_NAME)
    _, layer = _layer_of(model)
    facts: Facts = []
    if layer is not None:
        layers, hidden = layer.num_layers, f"{layer.hidden_size:,}"
        facts.append(("cell", layer.cell.name))
        facts.append(("hidden units", f"{layers} × {hidden}" if layers > 1 else hidden))
    facts.append(("parameters", f"{sum(p.numel() for p in model.parameters()):,}"))
    figure, note = task.figures[0], read_note(folder)
    value = note.get(f"val_{figure.name}")
    if value is not None:
        name = figure.name.replace("_", " ")
        facts.append((f"best validation {name}", f"{float(value):{figure.spec}}"))
    if rows:
        last = rows[-1]
        facts.append(("steps", f"{last.get('step') or 0:,.0f}"))
        facts.append(("epochs", f"{last.get('epoch') or 0:.2f}"))
        facts.append(("time", _duration(last.get("elapsed_s") or 0.0)))
    facts.append(("optimizer", f"{training.optimizer}, lr {training.lr:g}"))
    return facts


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"
