"""`recurra insight`: the report of a run, or of runs side by side; a neuron; an encoder's sheet."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from recurra.cli.options import (
    DEVICES,
    check_installed,
    check_replaceable,
    given,
    option,
    path,
)
from recurra.errors import RunError, argument
from recurra.settings import MAX_THREADS, whole
from recurra.terminal import printable

_REPORT, _SHEET = ".html", ".png"
_OF_SHEETS, _OF_CELLS = "The sheet of an encoder", "Fresh cells"
_OF_NEURONS = "A neuron of a language model"
_NAMES = typer.Argument(
    help="Folders of runs; behind the first of them, for a sheet, pictures and folders of them.",
    metavar="RUN [RUN...|IMAGE...]",
)


# What is asked for, and the options that are for it beside --out.
_REPORT_OF_RUNS, _REPORT_OF_CELLS = "the report of a run", "fresh cells"
_PAGE_OF_UNIT, _SHEET_OF_ENCODER = "a unit", "the sheet of an encoder"
_OPTIONS = {
    _REPORT_OF_RUNS: {"figures", "device"},
    _REPORT_OF_CELLS: {"compare", "figures", "steps", "hidden_size", "seed"},
    _PAGE_OF_UNIT: {"find", "unit", "clamp", "text", "figures", "device"},
    _SHEET_OF_ENCODER: {"layer", "maps", "patches", "device"},
}


def insight(
    context: typer.Context,
    names: Annotated[list[str] | None, _NAMES] = None,
    out: Annotated[
        Path | None,
        option(
            None,
            "File of the report, a .html; or of the sheet, a .png.",
            default="report.html in the folder of the run",
            parser=path,
        ),
    ] = None,
    figures: Annotated[
        Path | None,
        option(
            None,
            "Folder for each figure by itself, as SVG and PNG, with its numbers as CSV.",
            default="none",
            parser=path,
        ),
    ] = None,
    compare: Annotated[
        str | None,
        option(
            _OF_CELLS,
            "Cells to show beside one another before any training, without a run: rnn,lstm,gru.",
            default="none",
        ),
    ] = None,
    steps: Annotated[int, option(_OF_CELLS, "Steps of noise that they read.")] = 100,
    hidden_size: Annotated[int, option(_OF_CELLS, "Hidden units of each.")] = 64,
    seed: Annotated[int, option(_OF_CELLS, "Of the noise and of the weights.")] = 1,
    find: Annotated[
        str | None,
        option(
            _OF_NEURONS,
            "Find the unit that tracks a property: inside quotes, indentation, line position, ..., "
            "or an expression in slashes, /[0-9]+/.",
            default="none",
        ),
    ] = None,
    unit: Annotated[
        str | None,
        option(
            _OF_NEURONS,
            "Look at this unit: c[17], in a layer above the first 1.c[17].",
            default="none",
        ),
    ] = None,
    clamp: Annotated[
        float | None,
        option(
            _OF_NEURONS,
            "Hold the unit at this value, and show what the model expects and writes then.",
            default="the means inside and outside of what --find found",
        ),
    ] = None,
    text: Annotated[
        Path | None,
        option(
            _OF_NEURONS,
            "Look at the unit over this text: it is searched in the first half of it.",
            default="searched in the run's validation part, shown over its test part",
            parser=path,
        ),
    ] = None,
    layer: Annotated[
        str | None,
        option(_OF_SHEETS, "Layer of the encoder, by its name.", default="the last one"),
    ] = None,
    maps: Annotated[int, option(_OF_SHEETS, "Maps of the layer: those that are excited most.")] = 9,
    patches: Annotated[
        int, option(_OF_SHEETS, "Patches of each map, each of another picture.")
    ] = 9,
    device: Annotated[str, option(None, "Where the model runs.", choices=DEVICES)] = "cpu",
    threads: Annotated[int | None, option(None, "CPU threads.", default="torch's choice")] = None,
) -> None:
    """Write what there is to see of a run as one page, which needs no other file and no network.

    Several runs stand side by side in one report. A run's folder is its best model; its file
    training.safetensors is the weights that training goes on from.

    With --find, or --unit, look at one neuron of a language model: what it does over a text, on the
    terminal, and with --out as a page.

    With pictures behind the run, or clips where it reads frames, and --out sheet.png, draw what
    excites the maps of its encoder most in them: of each map, at the left what of its strongest
    patches excited it, back in pixels by a deconvnet, at the right the patches.

    With --compare and no run, show what becomes of gradients in fresh cells, on the same noise.

    Examples: recurra insight runs/first; recurra insight runs/first runs/second --out both.html;
    recurra insight runs/first --find "inside quotes" --out quotes.html;
    recurra insight --compare rnn,lstm,gru --out cells.html; recurra insight runs/captioner holiday/
    --out sheet.png
    """
    least = {"maps": (maps, 1), "patches": (patches, 1), "hidden_size": (hidden_size, 1)}
    for name, (count, fewest) in {**least, "steps": (steps, 3), "seed": (seed, 0)}.items():
        if count < fewest:
            raise ValueError(f"{name}: expected {fewest} or more, got {count}. Raise it.")
    whole("threads", threads, least=1, most=MAX_THREADS, optional=True)
    names = names or []
    is_sheet = out is not None and out.suffix == _SHEET
    if compare is not None:
        asked = _REPORT_OF_CELLS
    elif find is not None or unit is not None:
        asked = _PAGE_OF_UNIT
    else:
        asked = _SHEET_OF_ENCODER if is_sheet else _REPORT_OF_RUNS
    _check_options(given(context), asked)
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    if compare is not None:
        _compare_cells(compare, names, out, figures, steps, hidden_size, seed)
        return
    if not names:
        raise ValueError(
            "run: expected the folder of a run, or --compare with cells, got neither. Name one, as "
            "in recurra insight runs/first."
        )
    if find is not None or unit is not None:
        how: dict[str, Any] = {"find": find, "unit": unit, "clamp": clamp, "text": text}
        _show_neuron(names, out, figures, {**how, "device": device})
        return
    if out is not None and is_sheet:
        _draw_sheet(names, out, layer, maps, patches, device)
        return
    _write_report(names, out, figures, device)


def _check_options(chosen: Mapping[str, Any], asked: str) -> None:
    """Raise ValueError where an option is given that has no effect on what is asked for."""
    for name in chosen:
        others = [what for what, own in _OPTIONS.items() if name in own]
        if not others or asked in others:
            continue
        how = {
            _REPORT_OF_CELLS: f", asked for with {argument('compare=')}",
            _PAGE_OF_UNIT: f", asked for with {argument('find=')} or {argument('unit=')}",
            _SHEET_OF_ENCODER: f", asked for with {argument(f'out=sheet{_SHEET}')}",
        }
        wanted = " or ".join(f"{what}{how.get(what, '')}" for what in others)
        raise ValueError(
            f"{name}: expected it for {wanted}, got it for {asked}. Leave it out, or ask for that."
        )


# ---- the report ----------------------------------------------------------------------------------


def _write_report(names: list[str], out: Path | None, figures: Path | None, device: str) -> None:
    from recurra.runs.folder import REPORT_NAME
    from recurra.runs.reporting import report_of, report_of_several

    check_installed("recurra insight", "compare", "matplotlib")
    chosen = [_chosen(name) for name in names]
    if out is None and len(chosen) > 1:
        raise ValueError(
            "out: expected a file for the report of several runs, got none. Name one, as in "
            "--out both.html."
        )
    out = chosen[0][0] / REPORT_NAME if out is None else out
    _check_places(out, figures)
    runs = [_opened(folder, checkpoint, device) for folder, checkpoint in chosen]
    _write(report_of(runs[0]) if len(runs) == 1 else report_of_several(runs), out, figures)


def _compare_cells(
    spelled: str,
    names: list[str],
    out: Path | None,
    figures: Path | None,
    steps: int,
    hidden_size: int,
    seed: int,
) -> None:
    from recurra.compose.spelling import cell_of_spelling, split_spellings
    from recurra.insight.through_time import report_of_cells

    check_installed("recurra insight", "compare", "matplotlib")
    if names:
        raise ValueError(
            f"compare: expected cells and no run, got {names[0]!r} beside them. Leave one of them "
            "out."
        )
    if out is None:
        raise ValueError(
            "out: expected a file for the report of cells, got none. Name one, as in --out "
            "cells.html."
        )
    _check_places(out, figures)
    try:
        cells = [cell_of_spelling(each) for each in split_spellings(spelled)]
    except ValueError as error:  # the option that was given, not the argument that it stands for
        raise ValueError(f"compare: {str(error).removeprefix('cell: ')}") from None
    report = report_of_cells(cells, steps=steps, hidden_size=hidden_size, seed=seed)
    _write(report, out, figures)


def _write(report: Any, out: Path, figures: Path | None) -> None:
    """Write a report, and say what was found."""
    report.write(out, figures)
    for each in report.figures:
        typer.echo(printable(f"{each.title}: {each.found}"))
    for note in report.notes:
        typer.echo(printable(note), err=True)
    beside = "" if figures is None else f"; each by itself is in {figures}"
    typer.echo(printable(f"{len(report.figures)} figures are in {out}{beside}"), err=True)


def _check_places(out: Path, figures: Path | None) -> None:
    """Raise ValueError where a report, or its figures, could not be written or would take the place
    of something else."""
    from recurra.insight.report import check_figures

    _check_report(out)
    _check_room("out", out.parent)
    if figures is not None:
        check_figures(figures)
        _check_room("figures", figures)


def _check_room(name: str, folder: Path) -> None:
    """Raise ValueError where nothing can be written into a folder, there already or to be made."""
    whole = folder.absolute()
    nearest = next(each for each in (whole, *whole.parents) if os.path.lexists(each))
    got = "no folder" if not nearest.is_dir() else "write-protected"
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise ValueError(
            f"{name}: expected a place in a folder that can be written, got {str(nearest)!r}, "
            f"{got}. Choose another name."
        )


def _chosen(name: str) -> tuple[Path, str]:
    """The folder of a run, and which of its checkpoints is meant."""
    from recurra.models.files import WEIGHTS_NAME
    from recurra.runs.checkpoints import TENSORS_NAME

    file = path(name)
    kinds = {WEIGHTS_NAME: "best", TENSORS_NAME: "last"}
    if file.name in kinds and not file.is_dir():
        return file.parent, kinds[file.name]
    if file.is_file():
        raise RunError(
            f"{file}: expected the folder of a run, or its {TENSORS_NAME}, got another file. Name "
            f"a folder; pictures go with --out sheet{_SHEET}."
        )
    return file, "best"


def _opened(folder: Path, checkpoint: str, device: str) -> Any:
    from recurra.tasks import Run

    return Run.open(folder).reported(checkpoint, device=device)


def _check_report(out: Path) -> None:
    """Raise ValueError where a report would take the place of something that is none."""
    from recurra.insight.report import other_than_report

    if out.suffix != _REPORT:
        raise ValueError(
            f"out: expected a file that ends in {_REPORT}, or in {_SHEET} for the sheet of an "
            f"encoder, got {str(out)!r}. Rename it."
        )
    got = other_than_report(out)
    if got is not None:
        raise ValueError(
            f"out: expected a new file, or an older report to replace, got {str(out)!r}, {got}. "
            "Choose another name."
        )


# ---- a neuron ------------------------------------------------------------------------------------


def _show_neuron(
    names: list[str], out: Path | None, figures: Path | None, how: dict[str, Any]
) -> None:
    from recurra.cli.neurons import show_neuron

    if len(names) > 1:
        raise ValueError(
            f"find: expected one run, got {len(names)}. Name the run whose neuron it is."
        )
    if out is not None:
        check_installed("recurra insight", "compare", "matplotlib")
        _check_places(out, figures)
    elif figures is not None:
        raise ValueError(
            "out: expected a file for the page beside its figures, got none. Name one, as in --out "
            "quotes.html."
        )
    show_neuron(path(names[0]), **how, out=out, figures=figures)


# ---- the sheet -----------------------------------------------------------------------------------


def _draw_sheet(
    names: list[str], out: Path, layer: str | None, maps: int, patches: int, device: str
) -> None:
    from recurra.cli.seen import seen
    from recurra.insight import draw_deconvnet
    from recurra.models import load

    run, images = path(names[0]), names[1:]
    if not images:
        raise ValueError(
            f"out: expected pictures behind the run for a sheet, got none beside {str(out)!r}. "
            f"Name some, or a file that ends in {_REPORT} for the report of the run."
        )
    check_replaceable("out", out)
    _check_room("out", out.parent)
    check_installed("recurra insight", "vision", "PIL")
    model = load(run, device=device)
    encoder, preprocessing, pixels = seen(model, run, images)
    layers = list(encoder.layers())
    chosen = layers[-1] if layer is None else layer
    if chosen not in layers:
        raise ValueError(
            f"layer: expected one of {', '.join(layers)}, got {chosen!r}. Choose one of them."
        )
    draw_deconvnet(
        encoder,
        chosen,
        pixels,
        out,
        preprocessing=preprocessing,
        num_channels=maps,
        top=patches,
    )
    what = "frames" if preprocessing is None else "pictures"
    typer.echo(printable(f"{out}: {chosen} in {len(pixels):,} {what}"), err=True)
