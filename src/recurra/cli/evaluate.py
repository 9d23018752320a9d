"""`recurra evaluate`: the figures of a run's best model."""

import json
import math
from pathlib import Path
from typing import Annotated, Any

import typer

from recurra.cli.options import (
    DEVICES,
    RUN,
    check_installed,
    check_replaceable,
    checked_run,
    named,
    option,
    path,
)
from recurra.errors import argument

CAPTIONS = "Captions"  # panel of the help


def evaluate(
    run: Annotated[Path, RUN],
    split: Annotated[
        str | None,
        option(
            None,
            "A part of the run's own data, or of --data.",
            default="test; with --data, all of it",
            choices=("train", "val", "test"),
            parser=named,
        ),
    ] = None,
    data: Annotated[
        list[str] | None,
        option(
            None,
            "Another file of the same kind, read as the run reads its own; several files are read "
            "as one.",
            default="the run's own",
            parser=named,
        ),
    ] = None,
    encoding: Annotated[
        str | None,
        option(None, "Of the text files of --data.", default="the run's own", parser=named),
    ] = None,
    as_json: Annotated[bool, option(None, "Print one JSON object.", "--json")] = False,
    confusion: Annotated[
        Path | None,
        option(
            None,
            "Of labels: draw what was taken for what into this file, .svg or .png.",
            default="not drawn",
            parser=path,
        ),
    ] = None,
    gif: Annotated[
        Path | None,
        option(
            None,
            "Of motion: draw a window, what came and what was said side by side, into this file, "
            ".gif; the one whose error is in the middle.",
            default="not drawn",
            parser=path,
        ),
    ] = None,
    timeline: Annotated[
        Path | None,
        option(
            None,
            "Of frames: draw clips along time, what is true and what was said of each frame, into "
            "this file, .svg or .png.",
            default="not drawn",
            parser=path,
        ),
    ] = None,
    beam_size: Annotated[
        int | None,
        option(CAPTIONS, "Beams with which pictures are captioned.", default="the run's own"),
    ] = None,
    neighbours: Annotated[
        int | None,
        option(
            CAPTIONS,
            "Pictures of training among which the nearest is looked for, whose caption is a floor; "
            "0: all.",
            default="the run's own, 10000",
        ),
    ] = None,
    ranked: Annotated[
        int | None,
        option(
            CAPTIONS,
            "Pictures among which sentences look for theirs; 0: none.",
            default="the run's own, 100",
        ),
    ] = None,
    java: Annotated[
        bool | None,
        option(
            CAPTIONS,
            "METEOR too, and SPICE where its models are, if Java is there.",
            "--java/--no-java",
            default="the run's own, java",
        ),
    ] = None,
    device: Annotated[str, option(None, "Where the model runs.", choices=DEVICES)] = "cpu",
) -> None:
    """Measure a run's best model on a part of its data, or on another file.

    Of a language model nll is in nats a token, every token predicted once; bpc is in bits per
    character of the text, so that levels compare; ppl is exp(nll), per word or piece; unk is the
    share of tokens that stand for unknown words. Of a classifier there are accuracy, macro F1, nll
    in nats an example, and what was taken for what; of a tagger accuracy, F1 of spans, the accuracy
    of each word's most frequent label, and the commonest confusions with an example each, or of
    numbers their mean squared and absolute errors; of frames also how many events were found, and
    how soon; of an aligner how often a sentence finds its picture, and a picture a sentence.

    Examples: recurra evaluate runs/first; recurra evaluate runs/first --data other.txt --json
    """
    from recurra.tasks import Run
    from recurra.views import bar_on

    opened = Run.open(checked_run(run))
    if confusion is not None and not opened.task_class.has_confusion:
        raise ValueError(
            f"confusion: expected the run of a classifier or a tagger, got one of "
            f"{opened.task_class.name}. Leave it out."
        )
    if confusion is not None:
        _check_picture("confusion", confusion)
    if timeline is not None:
        _check_timeline(timeline, opened.task_class.name, data)
    if gif is not None:
        _check_gif(gif, opened.task_class.name, data)
    asked = {
        "encoding": encoding,
        "beam_size": beam_size,
        "neighbours": neighbours,
        "ranked": ranked,
        "java": java,
    }
    how = {name: value for name, value in asked.items() if value is not None}
    with bar_on() as watch:
        figures = opened.evaluate(split, data=data, device=device, watch=watch, **how)
    if confusion is not None:
        _draw(figures, confusion)
    if gif is not None:
        _draw_motion(opened, split or "test", gif)
    if timeline is not None:
        _draw_timeline(opened, split or "test", timeline)
    if as_json:
        typer.echo(json.dumps({name: _number(value) for name, value in figures.items()}))
        return
    said = opened.task_class.say(figures)
    typer.echo(f"{figures['run']}, {figures['split']}: {said}")


def _check_picture(name: str, file: Path) -> None:
    """Raise ValueError where a figure could not be drawn into a file, that of the option `name`."""
    if file.suffix not in (".svg", ".png", ".pdf"):
        raise ValueError(
            f"{name}: expected a file that ends in .svg, .png or .pdf, got {str(file)!r}. "
            "Name such a file."
        )
    check_replaceable(name, file)
    check_installed("recurra evaluate", "compare", "matplotlib")


def _check_timeline(file: Path, task: str, data: list[str] | None) -> None:
    """Raise ValueError where clips could not be drawn into a file."""
    if task != "frames":
        raise ValueError(
            f"timeline: expected the run of a tagger of frames, got one of {task}. Leave it out."
        )
    _check_own("timeline", data)
    _check_picture("timeline", file)


def _check_own(name: str, data: list[str] | None) -> None:
    """Raise ValueError where other data are named than the run's own, which the option draws."""
    if data:
        raise ValueError(
            f"{name}: expected a part of the run's own data, got {argument('data=')} beside it. "
            "Leave one of them out."
        )


def _check_gif(file: Path, task: str, data: list[str] | None) -> None:
    """Raise ValueError where motion could not be drawn into a file."""
    if task != "motion":
        raise ValueError(
            f"gif: expected the run of a forecaster of motion, got one of {task}. Leave it out."
        )
    _check_own("gif", data)
    if file.suffix != ".gif":
        raise ValueError(f"gif: expected a file that ends in .gif, got {str(file)!r}. Rename it.")
    check_replaceable("gif", file)
    check_installed("recurra evaluate", "compare", "PIL")


def _draw_motion(opened: Any, split: str, file: Path) -> None:
    from recurra.insight import draw_motion

    task = opened.task
    panels = task.panels(opened.model, split)
    seen = task.data.look_back
    drawn = draw_motion(panels, file, seen=seen)
    typer.echo(f"a window of motion is in {drawn}", err=True)


def _draw_timeline(opened: Any, split: str, file: Path) -> None:
    from recurra.insight import draw_timelines

    title = f"{opened.folder}, {split}"
    drawn = draw_timelines(opened.task.timelines(opened.model, split), file, title=title)
    typer.echo(f"clips along time are in {drawn}", err=True)


def _draw(figures: dict[str, Any], file: Path) -> None:
    from recurra.insight import draw_confusion
    from recurra.models import Confusion

    if "confusion" not in figures:
        raise ValueError("confusion: expected a model of labels, got one of numbers. Leave it out.")
    title = f"{figures['run']}, {figures['split']}"
    drawn = draw_confusion(Confusion.from_config(figures["confusion"]), file, title=title)
    typer.echo(f"the confusion matrix is in {drawn}", err=True)


def _number(value: object) -> object:
    """The value, or None for a number that JSON has no way to write: null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
