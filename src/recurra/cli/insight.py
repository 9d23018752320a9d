"""`recurra insight`: what the encoder of a run looks for in pictures, as one sheet."""

from pathlib import Path
from typing import Annotated, Any

import typer

from recurra.cli.options import DEVICES, RUN, check_installed, check_replaceable, option, path
from recurra.terminal import printable

_KIND = ".png"


def insight(
    run: Annotated[Path, RUN],
    images: Annotated[
        list[str], typer.Argument(help="Pictures, and folders of them.", metavar="IMAGE...")
    ],
    out: Annotated[Path, option(None, "File of the sheet, a .png.", parser=path)],
    layer: Annotated[
        str | None,
        option(None, "Layer of the encoder, by its name.", default="the last one"),
    ] = None,
    maps: Annotated[int, option(None, "Maps of the layer: those that are excited most.")] = 9,
    patches: Annotated[int, option(None, "Patches of each map, each of another picture.")] = 9,
    device: Annotated[str, option(None, "Where the encoder runs.", choices=DEVICES)] = "cpu",
) -> None:
    """Draw what excites the maps of a run's encoder most, in these pictures.

    Of each map, at the left what of its strongest patches excited it, back in pixels by a
    deconvnet, at the right the patches.

    Example: recurra insight runs/captioner holiday/ --out sheet.png
    """
    from recurra.insight import draw_deconvnet
    from recurra.models import load

    for name, count in (("maps", maps), ("patches", patches)):
        if count < 1:
            raise ValueError(f"{name}: expected 1 or more, got {count}. Raise it.")
    if out.suffix != _KIND:
        raise ValueError(f"out: expected a file that ends in {_KIND}, got {str(out)!r}. Rename it.")
    check_replaceable("out", out)
    check_installed("recurra insight", "vision", "PIL")
    model = load(run, device=device)
    encoder, preprocessing = _eyes(model, run)
    pixels = _pixels(images, preprocessing, encoder)
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
    typer.echo(printable(f"{out}: {chosen} in {len(pixels):,} pictures"), err=True)


def _eyes(model: Any, run: Path) -> tuple[Any, Any]:
    """The encoder of a model, and its preprocessing."""
    from recurra.vision import Encoder, Preprocessing

    encoders = [each for each in model.modules() if isinstance(each, Encoder)]
    made = [each for each in model.parts.values() if isinstance(each, Preprocessing)]
    if not encoders or not made:
        missing = "a preprocessing" if encoders else "an encoder of pictures"
        raise ValueError(
            f"run: expected a run whose model has {missing}, got {str(run)!r}, a "
            f"{type(model).__name__} without. Choose a run that reads pictures."
        )
    return encoders[0], made[0]


def _pixels(given: list[str], preprocessing: Any, encoder: Any) -> Any:
    """[N, C, Y, X] of the pictures that are named, and of those in folders that are."""
    import torch

    from recurra.errors import DataError
    from recurra.vision import SUFFIXES, open_picture

    files = []
    for name in given:
        place = Path(name)
        inside = [place]
        if place.is_dir():
            inside = sorted(p for p in place.iterdir() if p.suffix.lower() in SUFFIXES)
            if not inside:
                raise DataError(
                    f"{place}: expected pictures in this folder, got none. Name others."
                )
        files += inside
    pixels = [preprocessing(open_picture(file)) for file in files]
    for file, each in zip(files, pixels, strict=True):
        if each.shape != pixels[0].shape:
            raise DataError(
                f"{file}: expected a picture of {list(pixels[0].shape[1:])} rows and columns, as "
                f"the first, got {list(each.shape[1:])}. Give pictures of one size."
            )
    parameter = next(encoder.parameters())
    return torch.stack(pixels).to(parameter.device, parameter.dtype)
