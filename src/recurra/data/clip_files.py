"""The frames of a clip, from a folder of pictures, a GIF, a video, an array or Soli's HDF5.

Letters: T frames, C channels, Y rows, X columns.
Source of Soli's layout: Wang et al. (2016), "Interacting with Soli", UIST, and its data as
github.com/simonwsw/deep-soli describes them: `ch0` to `ch3`, [T, 1024] float32 in 0..1, are what
four antennas hear at 32 distances and 32 speeds, `label` [T] or [T, 1] the gesture of each frame.
"""

import io
import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recurra.data.files import why_no_array
from recurra.data.image_folders import IMAGES
from recurra.errors import DataError, argument
from recurra.files import read_bytes
from recurra.text.corpus import is_hidden
from recurra.vision import as_rgb, check_picture, open_picture
from recurra.vision.pictures import MAX_BYTES, MAX_PIXELS

if TYPE_CHECKING:
    from PIL.Image import Image

VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv")
HDF5 = (".h5", ".hdf5")
FORMATS = (".gif", ".npy", *HDF5, *VIDEOS)
COLOURS = ("rgb", "grey")
MAX_CLIP_BYTES = 1 << 31  # of the frames of one clip in memory
_CHANNEL = re.compile(r"ch(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipReading:
    """How clips are read.

    Attributes:
        size: (rows, columns) that pictures are stretched to; None: as they are. Arrays and HDF5
            are numbers, which are not scaled.
        colours: "rgb", three channels, or "grey", one.
        every: of so many frames one is kept, the first and so on.
        label: the column of labels in tables, by name or number from 1; None finds it.
        targets: the columns of numbers to learn in place of labels.
        encoding: of tables.
    """

    size: tuple[int, int] | None = None
    colours: str = "rgb"
    every: int = 1
    label: str | None = None
    targets: tuple[str, ...] = ()
    encoding: str | None = None

    def __post_init__(self) -> None:
        if self.colours not in COLOURS:
            raise ValueError(
                f"colours: expected one of {', '.join(COLOURS)}, got {self.colours!r}. Choose one."
            )
        if self.every < 1:
            raise ValueError(f"every: expected 1 or more, got {self.every}. 1 keeps all frames.")
        if self.size is not None and (len(self.size) != 2 or min(self.size) < 1):
            raise ValueError(f"size: expected rows and columns, got {self.size}. As in 64, 64.")


def is_clip(path: Path) -> bool:
    """Whether a path is that of a clip: a file of frames, or a folder that has pictures in it."""
    if path.is_dir():
        return any(each.name.lower().endswith(IMAGES) for each in _visible(path))
    return path.suffix.lower() in FORMATS


def read_frames(path: Path, how: ClipReading) -> tuple[np.ndarray, int]:
    """The frames of a clip that are kept, and how many there are.

    Returns:
        [T, C, Y, X]: uint8 of pictures, uint8 or float32 of arrays; and the number of all frames.
    Raises:
        DataError: when it cannot be read, is cut short or damaged, has no frame, has frames of
            different sizes where none is given, or is too large.
        ModuleNotFoundError: without what reads it, naming the extra that brings it.
    """
    suffix = "" if path.is_dir() else path.suffix.lower()
    if suffix in (".npy", *HDF5):
        values = _of_array(path) if suffix == ".npy" else _of_soli(path)
        return np.ascontiguousarray(values[:: how.every]), len(values)
    if suffix == "":
        files = _frame_files(path)
        return _stacked(path, map(open_picture, files[:: how.every]), how), len(files)
    count = 0

    def kept() -> Iterator["Image"]:
        nonlocal count
        for image in _of_gif(path) if suffix == ".gif" else _of_video(path):
            if count % how.every == 0:
                yield image
            count += 1

    frames = _stacked(path, kept(), how)
    return frames, count


def own_labels(path: Path) -> tuple[str, ...] | None:
    """The labels that the file of a clip has itself, one a frame; None of formats without any.

    Raises:
        DataError: when they are not as the format wants.
    """
    if path.is_dir() or path.suffix.lower() not in HDF5:
        return None
    with _hdf5(path) as file:
        if "label" not in file:
            raise DataError(
                f"{path}: expected a data set label, as Soli's recordings have it, got "
                f"{', '.join(file) or 'none'}. Name recordings of that layout."
            )
        values = np.asarray(file["label"][()])
    flat = values.reshape(-1)
    if values.ndim > 2 or values.size != values.shape[0] or not (flat == np.round(flat)).all():
        raise DataError(
            f"{path}: expected label to be whole numbers [T] or [T, 1], got {values.dtype} "
            f"{list(values.shape)}. Name recordings of Soli's layout."
        )
    return tuple(str(int(value)) for value in flat)


# ---- pictures ------------------------------------------------------------------------------------


def _visible(folder: Path) -> list[Path]:
    return [each for each in folder.iterdir() if each.is_file() and not is_hidden(each)]


def natural(text: str) -> list[tuple[bool, int | str]]:
    """What names are sorted by: numbers in them by what they count, so 2 stands before 10."""
    return [
        (part.isdecimal(), int(part) if part.isdecimal() else part)
        for part in re.split(r"(\d+)", text.lower())
    ]


def _frame_files(folder: Path) -> list[Path]:
    files = [each for each in _visible(folder) if each.name.lower().endswith(IMAGES)]
    return sorted(files, key=lambda file: natural(file.name))


def _stacked(path: Path, images: Iterable["Image"], how: ClipReading) -> np.ndarray:
    from PIL.Image import Resampling

    frames: list[np.ndarray] = []
    for number, image in enumerate(images, 1):
        if how.size is not None and (image.height, image.width) != how.size:
            image = image.resize((how.size[1], how.size[0]), Resampling.BILINEAR)
        values = np.asarray(image.convert("L") if how.colours == "grey" else image)
        values = values[None] if values.ndim == 2 else np.moveaxis(values, 2, 0)
        if frames and values.shape != frames[0].shape:
            rows, columns = frames[0].shape[1:]
            raise DataError(
                f"{path}, frame {number}: expected {rows} rows and {columns} columns as of the "
                f"first, got {values.shape[1]} and {values.shape[2]}. Scale them: "
                f"{argument('size=')}."
            )
        if number * values.nbytes > MAX_CLIP_BYTES:
            raise DataError(
                f"{path}: expected a clip of at most {MAX_CLIP_BYTES >> 30} GB, got more at frame "
                f"{number}. Scale it down, {argument('size=')}, or keep fewer, "
                f"{argument('every=')}."
            )
        frames.append(values)
    if not frames:
        raise DataError(f"{path}: expected a clip of one frame or more, got none. Leave it out.")
    return np.stack(frames)


def _of_gif(path: Path) -> Iterator["Image"]:
    check_picture(path)
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(read_bytes(path, MAX_BYTES)), formats=["GIF"])
            number = 0
            while True:
                try:
                    image.seek(number)
                except EOFError:
                    return
                image.load()
                yield as_rgb(image.copy(), str(path))
                number += 1
    except Exception as error:
        raise _damaged(path, error) from error


def _of_video(path: Path) -> Iterator["Image"]:
    try:
        av = import_module("av")
    except ModuleNotFoundError as error:
        raise _without("av", path, "video") from error
    try:
        with av.open(str(path), options={"protocol_whitelist": "file"}) as container:
            if not container.streams.video:
                raise DataError(f"{path}: expected a video, got sound alone. Leave it out.")
            stream = container.streams.video[0]
            if stream.width * stream.height > MAX_PIXELS:
                raise DataError(
                    f"{path}: expected frames of at most {MAX_PIXELS:,} pixels, got "
                    f"{stream.height:,} rows of {stream.width:,}. Scale it down."
                )
            for frame in container.decode(stream):
                image = frame.to_image()
                turned = getattr(frame, "rotation", 0)
                yield image.rotate(turned, expand=True) if turned else image
    except DataError:
        raise
    except (OSError, ValueError, av.FFmpegError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> DataError:
    said = str(error).splitlines()[0] if str(error) else type(error).__name__
    return DataError(
        f"{path}: expected a whole clip, got one that is cut short or damaged ({said:.100}). Leave "
        f"it out, or copy it again."
    )


# ---- numbers -------------------------------------------------------------------------------------


def _of_array(path: Path) -> np.ndarray:
    try:
        values = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise DataError(
            f"{path}: expected an array of frames as numpy.save writes it, got: "
            f"{why_no_array(error)}. Save it again."
        ) from None
    if not isinstance(values, np.ndarray) or values.ndim not in (3, 4) or 0 in values.shape:
        got = list(values.shape) if isinstance(values, np.ndarray) else "several arrays"
        raise DataError(
            f"{path}: expected frames [T, Y, X] or [T, C, Y, X], got {got}. Put channels before "
            f"rows and columns."
        )
    values = values[:, None] if values.ndim == 3 else values
    return _numbers(path, values)


def _numbers(path: Path, values: np.ndarray) -> np.ndarray:
    if values.dtype == np.uint8:
        return values
    if values.dtype.kind not in "fiub" or not np.isfinite(values).all():
        raise DataError(
            f"{path}: expected finite real numbers, got an array of {values.dtype} with others in "
            f"it. Save it again without them."
        )
    return values.astype(np.float32)


def _of_soli(path: Path) -> np.ndarray:
    with _hdf5(path) as file:
        found = {int(match[1]): name for name in file if (match := _CHANNEL.fullmatch(name))}
        if not found or sorted(found) != list(range(len(found))):
            raise DataError(
                f"{path}: expected data sets ch0, ch1 and so on, as Soli's recordings have them, "
                f"got {', '.join(file) or 'none'}. Name recordings of that layout."
            )
        channels = [np.asarray(file[found[number]][()]) for number in sorted(found)]
    shape = channels[0].shape
    side = int(np.sqrt(shape[-1])) if len(shape) == 2 else 0
    for number, each in enumerate(channels):
        if each.shape != shape or len(shape) != 2 or side * side != shape[1] or 0 in shape:
            raise DataError(
                f"{path}: expected ch{number} of shape [T, 1024], got {list(each.shape)}. Name "
                f"recordings of Soli's layout."
            )
    values = _numbers(path, np.stack(channels, axis=1))
    # to 8 bits, and what is beyond 0..1 cut off, as the authors' own programs do
    levels = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    return levels.reshape(shape[0], len(channels), side, side)


def _hdf5(path: Path) -> Any:
    try:
        h5py = import_module("h5py")
    except ModuleNotFoundError as error:
        raise _without("h5py", path, "hdf5") from error
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise _damaged(path, error) from error


def _without(name: str, path: Path, extra: str) -> ModuleNotFoundError:
    return ModuleNotFoundError(
        f"{path}: expected {name} to read it with, got none. Install it: "
        f"pip install -e '.[{extra}]' in the clone of recurra.",
        name=name,
    )
