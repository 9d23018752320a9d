"""`recurra caption`: what a run's best model says of pictures, and sheets of them."""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from recurra.cli.options import (
    DEVICES,
    RUN,
    given,
    of_setting,
    opened,
    option,
    path,
    with_parameters,
)
from recurra.cli.pictures import check_sheets, pictures
from recurra.settings import declared
from recurra.tasks.options import CaptionWritingSettings
from recurra.terminal import printable

_CHUNK = 32  # pictures that are read at a time


def caption(context: typer.Context, **_: Any) -> None:
    """Caption each picture: a line for each, its log-probability in nats, the caption, the file.

    An IMAGE is a picture, or a folder, whose pictures are taken in the order of their names. With
    --num-best there is a line for each caption.

    Examples: recurra caption runs/captioner photo.jpg; recurra caption runs/captioner holiday/
    --html holiday.html
    """
    from recurra.data.predictions import json_line
    from recurra.errors import DataError, argument

    found = dict(context.params)
    check_sheets("recurra caption", found["grid"], found["html"])
    names = {each.name for each in declared(CaptionWritingSettings)}
    asked = {name: value for name, value in given(context).items() if name in names}
    writing = CaptionWritingSettings.pick(asked).arguments()
    files = list(pictures(found["images"]))
    model = opened(found["run"], "caption").load(device=found["device"])
    if model.encoder is None:
        raise ValueError(
            "caption: expected a run that has an encoder, got one that was trained on vectors. "
            "Make them of the pictures, and call its model's predict."
        )
    maps = found["attention"] and model.inject == "attend"
    shown, damaged = [], []
    for start in range(0, len(files), _CHUNK):
        some = files[start : start + _CHUNK]
        for file, said in _said(model, some, writing | {"attention": maps, "first": start}):
            if isinstance(said, DataError):
                damaged.append(said)
                typer.echo(printable(str(said)), err=True)
                continue
            shown.append((file, said))
            if found["as_json"]:
                row = {"image": str(file), "caption": said.text}
                row |= {"log_probability": said.log_probability, "finished": said.finished}
                others = [{"caption": t, "log_probability": p} for t, p in said.others]
                typer.echo(json_line(row | ({"others": others} if others else {})))
                continue
            for text, log_p in ((said.text, said.log_probability), *said.others):
                typer.echo(printable(f"{log_p:.4f}\t{text}\t{file}"))
    if cut := sum(not said.finished for _, said in shown):
        said = "1 caption was" if cut == 1 else f"{cut:,} captions were"
        limit = argument(f"max_length={writing['max_length']}")
        typer.echo(f"{said} cut at {limit}, behind a whole word: raise it to read on", err=True)
    if shown and found["grid"] is not None:
        from recurra.insight.captions import draw_captions

        drawn = draw_captions(shown, found["grid"], model.preprocessing)
        typer.echo(printable(f"{len(shown):,} pictures with captions are in {drawn}"), err=True)
    if shown and found["html"] is not None:
        from recurra.insight.captions import write_page

        made = write_page(shown, found["html"], model.preprocessing)
        typer.echo(printable(f"{len(shown):,} pictures with captions are in {made}"), err=True)
    if damaged and not shown:
        raise typer.Exit(2)


def _said(model: Any, files: list[Path], writing: dict[str, Any]) -> Iterator[tuple[Path, Any]]:
    """What the model says of each file; the error of one that cannot be read."""
    from recurra.errors import DataError

    read = []
    for file in files:
        try:
            read.append((file, model.pixels([file])))
        except DataError as error:
            read.append((file, error))
    whole = [pixels for _, pixels in read if not isinstance(pixels, DataError)]
    said = iter(())
    if whole:
        import torch

        said = iter(model.predict(torch.cat(whole), **writing))
    for file, pixels in read:
        yield file, pixels if isinstance(pixels, DataError) else next(said)


with_parameters(
    caption,
    {
        "run": (Path, RUN, inspect.Parameter.empty),
        "images": (
            list[str],
            typer.Argument(help="Pictures, and folders of them.", metavar="IMAGE..."),
            inspect.Parameter.empty,
        ),
        "as_json": (bool, option(None, "Print a JSON object for each picture.", "--json"), False),
        "grid": (
            Path | None,
            option(
                None,
                "Draw the pictures with their captions into this file, .png, .pdf or .svg.",
                default="not drawn",
                parser=path,
            ),
            None,
        ),
        "html": (
            Path | None,
            option(
                None,
                "Write a page with the pictures and their captions, which needs no other file.",
                default="not written",
                parser=path,
            ),
            None,
        ),
        "attention": (
            bool,
            option(
                None,
                "Draw where each word looks, of a model with attention.",
                "--attention",
            ),
            False,
        ),
        "device": (str, option(None, "Where the model runs.", choices=DEVICES), "cpu"),
        **{
            each.name: of_setting(CaptionWritingSettings, each)
            for each in declared(CaptionWritingSettings)
        },
    },
)
