"""`recurra insight RUN --find` and `--unit`: one neuron of a language model, on the terminal and as
a page."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from recurra.errors import DataError, argument
from recurra.terminal import printable

if TYPE_CHECKING:
    import numpy as np

    from recurra.insight.neurons import Study

_SHOWN = 600  # characters of the text on the terminal


def show_neuron(
    run: Path,
    *,
    find: str | None,
    unit: str | None,
    clamp: float | None,
    text: Path | None,
    out: Path | None,
    figures: Path | None,
    device: str,
) -> None:
    """Say what was found, show the unit over a text, and write the page where one is named."""
    from recurra.insight.neurons import (
        property_of,
        sizes_of,
        study_of_property,
        study_of_unit,
        unit_of,
    )
    from recurra.insight.report import Report
    from recurra.models import LanguageModel
    from recurra.tasks import Run

    if (find is None) == (unit is None):
        raise ValueError(
            f"find: expected a property to find a unit for, or a unit to be looked at, got "
            f"{'neither' if find is None else 'both'}. Give one of them."
        )
    if clamp is not None and not math.isfinite(clamp):
        raise ValueError(
            f"clamp: expected a finite number, got {clamp}. Give one, as in {argument('clamp=0')}."
        )
    which = None if find is None else property_of(find)
    opened = Run.open(run)
    model = opened.load(device=device)
    if not isinstance(model, LanguageModel):
        raise ValueError(
            f"run: expected the run of a language model, got {str(run)!r}, a "
            f"{type(model).__name__}. Choose a run of recurra train lm."
        )
    with _texts(opened, model, text) as (search, held_out):
        if which is not None:
            study = study_of_property(model, search, held_out, which, hold_at=clamp)
        else:
            chosen = unit_of(unit or "", sizes_of(model))
            study = study_of_unit(model, held_out, chosen, hold_at=clamp)
    for each in study.figures:
        typer.echo(printable(f"{each.title}: {each.found}"))
    for note in study.notes:
        typer.echo(printable(note), err=True)
    _show(study)
    if out is not None:
        subtitle = f"one unit of {run.resolve().name}, a language model"
        report = Report(
            title=study.title, subtitle=subtitle, figures=study.figures, notes=study.notes
        )
        report.write(out, figures)
        typer.echo(printable(f"{len(study.figures)} figures are in {out}"), err=True)


@contextmanager
def _texts(run: Any, model: Any, text: Path | None) -> Iterator[tuple["np.ndarray", "np.ndarray"]]:
    """Tokens to search and tokens to score on: the run's validation and test parts, or either half
    of a text; none of them was trained on."""
    from recurra.data.parts import other_text

    if text is None:
        parts = run.task.text
        yield parts.split("val"), parts.split("test")
        return
    with other_text(str(text), model.vocabulary) as tokens:
        if len(tokens) < 2:
            raise DataError(f"{text}: expected a text of two halves, got {len(tokens)} tokens.")
        middle = len(tokens) // 2
        yield tokens[:middle], tokens[middle:]


def _show(study: "Study") -> None:
    """The unit over the part of the text that shows most, in colours."""
    from rich.console import Console

    from recurra.insight.neurons import coloured, scaled

    start, stop = study.stretch
    stop = min(stop, start + _SHOWN)
    values = scaled(study.text.of_unit(study.unit))[start:stop]
    console = Console(highlight=False)
    console.print()
    console.print(coloured(study.text.pieces[start:stop], values), end="\n\n")
