"""What the encoder of a run reads of the pictures, or clips, that a command is given."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from recurra.cli.pictures import pictures

if TYPE_CHECKING:
    from torch import Tensor

    from recurra.vision import Encoder, Preprocessing

MOST_FRAMES = 4096  # of clips, evenly over all of them


def seen(
    model: Any, run: Path, given: list[str]
) -> tuple["Encoder", "Preprocessing | None", "Tensor"]:
    """The encoder of a model, its preprocessing, and [N, C, Y, X] as the encoder reads them.

    Args:
        model: of pictures, which has a preprocessing; or of the frames of clips, which has none.
        run: its folder.
        given: files of pictures, or of clips, and folders of them.
    Raises:
        ValueError: when the model has no encoder, or is of neither kind.
        DataError: when one of them cannot be read, or is unlike the others.
    """
    from recurra.models import FrameTagger
    from recurra.vision import Encoder, Preprocessing

    encoders = [each for each in model.modules() if isinstance(each, Encoder)]
    if encoders and isinstance(model, FrameTagger):
        return encoders[0], None, _frames(model, run, given)
    made = [each for each in model.parts.values() if isinstance(each, Preprocessing)]
    if not encoders or not made:
        missing = "a preprocessing" if encoders else "an encoder of pictures"
        raise ValueError(
            f"run: expected a run whose model has {missing}, got {str(run)!r}, a "
            f"{type(model).__name__} without. Choose a run that reads pictures."
        )
    return encoders[0], made[0], _pixels(given, made[0], encoders[0])


def _pixels(given: list[str], preprocessing: Any, encoder: Any) -> "Tensor":
    """[N, C, Y, X] of pictures."""
    import torch

    from recurra.errors import DataError
    from recurra.vision import open_picture

    files = list(pictures(given))
    pixels = [preprocessing(open_picture(file)) for file in files]
    for file, each in zip(files, pixels, strict=True):
        if each.shape != pixels[0].shape:
            raise DataError(
                f"{file}: expected a picture of {list(pixels[0].shape[1:])} rows and columns, as "
                f"the first, got {list(each.shape[1:])}. Give pictures of one size."
            )
    parameter = next(encoder.parameters())
    return torch.stack(pixels).to(parameter.device, parameter.dtype)


def _frames(model: Any, run: Path, given: list[str]) -> "Tensor":
    """[N, C, Y, X] of the frames of clips, read as the run read its own."""
    import numpy as np
    import torch

    from recurra.errors import DataError
    from recurra.tasks import Run

    opened = Run.open(run)
    clips: list[np.ndarray] = []
    for name in given:
        for record in opened.task_class.inputs(model, Path(name), opened.data_settings):
            clip = model.clip(record.value, record.place)
            if clips and clip.shape[2:] != clips[0].shape[2:]:
                raise DataError(
                    f"{record.place}: expected frames of {list(clips[0].shape[2:])} rows and "
                    f"columns, as of others, got {list(clip.shape[2:])}. Give clips of one size."
                )
            clips.append(clip)
    every = np.concatenate(clips)
    some = every[:: -(-len(every) // MOST_FRAMES)]
    with torch.no_grad():
        return model.pixels(torch.from_numpy(some))
