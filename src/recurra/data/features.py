"""Features of pictures, made once: kept on disk by a frozen encoder, or made by another program.

Letters: N pictures, P positions of a grid, D numbers of a vector.
"""

import hashlib
import json
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock
import numpy as np
import safetensors
import torch
from jaxtyping import Float32
from torch import Tensor

from recurra.data.decoding import WORKERS, ahead
from recurra.errors import DataError
from recurra.files import read_header, read_json, tensor_bytes, write_atomically
from recurra.vision import SUFFIXES, Encoder, Preprocessing, open_picture

if TYPE_CHECKING:
    from PIL.Image import Image

VECTOR, GRID = "vector", "grid"
NAMES_FILE = "names.txt"
FORMAT = 1
BATCH = 16
SHARD_BYTES = 1 << 27
_INDEX = "features.json"
_OPEN = 64  # files held open at a time
_WHAT = "file of features"


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an array of a picture is: an entry of a file, and which row of it, or all of it."""

    path: Path
    entry: str
    row: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """Vectors and grids of pictures, read from disk when they are asked for.

    Attributes:
        names: of the pictures.
        size: D of the vectors; None where there are none.
        grid_shape: (P, D) of the grids; None where there are none.
        source: the folder, for messages.
    """

    names: tuple[str, ...]
    size: int | None
    grid_shape: tuple[int, int] | None
    source: Path
    _places: Mapping[str, Sequence[_Place]] = field(repr=False)
    _numbers: Mapping[str, int] = field(repr=False)
    _files: "_Files" = field(repr=False)

    def __len__(self) -> int:
        return len(self.names)

    def number(self, name: str) -> int:
        """Which picture has that name, with or without the suffix of a picture.

        Raises:
            DataError: when none has.
        """
        for known in (name, _bare(name)):
            if known in self._numbers:
                return self._numbers[known]
        raise DataError(
            f"{self.source}: expected features of the picture {name!r:.100}, got none of that name "
            f"among {len(self)}. Make them, or leave the picture out."
        )

    def vectors(self, numbers: Sequence[int]) -> Float32[Tensor, "n size"]:
        """[N, D] of these pictures.

        Raises:
            DataError: when there are no vectors, or a file has changed.
        """
        return self._read(VECTOR, numbers)

    def grids(self, numbers: Sequence[int]) -> Float32[Tensor, "n p size"]:
        """[N, P, D] of these pictures.

        Raises:
            DataError: when there are no grids, or a file has changed.
        """
        return self._read(GRID, numbers)

    def _read(self, kind: str, numbers: Sequence[int]) -> Tensor:
        if kind not in self._places:
            other = GRID if kind == VECTOR else VECTOR
            raise DataError(
                f"{self.source}: expected a {kind} of each picture, got a {other} alone. Make "
                f"features with {kind}s, or take a model that reads a {other}."
            )
        shape = self.grid_shape if kind == GRID else (self.size or 0,)
        assert shape is not None
        result = torch.empty((len(numbers), *shape), dtype=torch.float32, device="cpu")
        for at, number in enumerate(numbers):
            place = self._places[kind][number]
            found = self._files.read(place)
            if tuple(found.shape) != shape:
                raise DataError(
                    f"{place.path}: expected a {kind} of shape {list(shape)} for "
                    f"{self.names[number]}, got {list(found.shape)}. Make all features alike."
                )
            result[at] = found
        return result


class _Files:
    """Files of arrays, kept open, the least lately read closed first."""

    def __init__(self) -> None:
        self._open: OrderedDict[Path, Any] = OrderedDict()

    def read(self, place: _Place) -> Tensor:
        """The array at a place, a grid as [P, D].

        Raises:
            DataError: when the file is not there any more, or damaged.
        """
        try:
            file = self._opened(place.path)
            if place.path.suffix == ".npy":
                found = torch.from_numpy(np.array(file if place.row is None else file[place.row]))
            elif place.row is None:
                found = file.get_tensor(place.entry)
            else:
                found = file.get_slice(place.entry)[place.row]
        except (OSError, ValueError, safetensors.SafetensorError) as error:
            raise DataError(
                f"{place.path}: expected a whole {_WHAT}, got: {error!s:.120} Make it again."
            ) from error
        return _as_grid(found)

    def _opened(self, path: Path) -> Any:
        if path not in self._open:
            if path.suffix == ".npy":
                self._open[path] = np.load(path, mmap_mode="r", allow_pickle=False)
            else:
                self._open[path] = safetensors.safe_open(path, framework="pt")
            if len(self._open) > _OPEN:
                self._open.popitem(last=False)
        self._open.move_to_end(path)
        return self._open[path]

    def __getstate__(self) -> dict[str, Any]:  # a process of its own opens files of its own
        return {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._open = OrderedDict()


def _as_grid(found: Tensor) -> Tensor:
    """Maps [D, Y, X] as a grid [Y * X, D]; others as they are."""
    return found.flatten(1).t() if found.ndim == 3 else found


def _bare(name: str) -> str:
    """A name without the suffix of a picture."""
    stem, dot, suffix = name.rpartition(".")
    return stem if dot and f".{suffix.lower()}" in SUFFIXES else name


# ---- made once, and kept -------------------------------------------------------------------------


def cached_features(
    folder: str | os.PathLike[str],
    encoder: Encoder,
    preprocessing: Preprocessing,
    pictures: "Mapping[str, Path | np.ndarray | Image]",
    *,
    grids: bool = False,
    batch_size: int = BATCH,
    workers: int = WORKERS,
    said: Callable[[int, int], None] | None = None,
) -> Features:
    """The features of pictures by a frozen encoder, from disk where they were made before.

    Each encoder, with its weights, and each preprocessing has a folder of its own in `folder`,
    named by their digests, so that features of one are never taken for those of another. A picture
    that has changed since is read again. What was made before an interruption stays.

    Args:
        folder: where features are kept.
        encoder: in evaluation mode while they are made.
        preprocessing: of the pictures; one without a size needs pictures of one size.
        pictures: by name: a file, an array or an image of Pillow.
        grids: whether the grid of each is kept too, P times as large.
        batch_size: pictures that are encoded at a time.
        workers: threads that decode.
        said: called with how many of the pictures have features, and how many there are.
    Raises:
        DataError: when a picture cannot be read, the folder cannot be written, or what is there is
            damaged.
    Cost: a pass of the encoder over each picture the first time, 4 bytes a number on disk.
    """
    kinds = (VECTOR, GRID) if grids else (VECTOR,)
    key = f"{encoder.digest}-{preprocessing.digest}" + ("-grids" if grids else "")
    place = Path(folder) / key
    try:
        place.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(place / ".lock"):  # another process may be making them
            cache = _Cache.opened(place, kinds)
            stamps = {name: _stamp(picture) for name, picture in pictures.items()}
            missing = [name for name, stamp in stamps.items() if cache.stamps.get(name) != stamp]
            for shard in _shards(missing, pictures, encoder, preprocessing, kinds,
                                 batch_size, workers):  # fmt: skip
                cache.add(shard, stamps)
                if said is not None:
                    said(len(stamps) - len(missing) + cache.added, len(stamps))
    except OSError as error:
        raise DataError(
            f"{place}: expected a folder that can be written, got: {error.strerror or error}. "
            f"Free some space or choose another."
        ) from error
    return cache.features(tuple(pictures))


@dataclass(slots=True, kw_only=True)
class _Cache:
    """The index of a folder of shards.

    Attributes:
        stamps: of each picture that has features.
        rows: of each, the number of its shard and its row there.
    """

    folder: Path
    kinds: tuple[str, ...]
    stamps: dict[str, str]
    rows: dict[str, tuple[int, int]]
    shapes: dict[str, tuple[int, ...]]
    shards: int = 0
    added: int = 0

    @classmethod
    def opened(cls, folder: Path, kinds: tuple[str, ...]) -> "_Cache":
        empty = cls(folder=folder, kinds=kinds, stamps={}, rows={}, shapes={})
        path = folder / _INDEX
        if not path.exists():
            return empty
        try:
            index = read_json(path)
            if index["format"] != FORMAT:
                raise ValueError(f"the format {index['format']!r:.20}")
            rows = {str(n): (int(s), int(r)) for n, (_, s, r) in index["pictures"].items()}
            stamps = {str(n): str(stamp) for n, (stamp, _, _) in index["pictures"].items()}
            shapes = {kind: tuple(index["shapes"][kind]) for kind in kinds}
            shards = int(index["shards"])
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise DataError(
                f"{path}: expected an index of features, got: {error!s:.120} Remove its folder, "
                f"and they are made again."
            ) from error
        return cls(
            folder=folder, kinds=kinds, stamps=stamps, rows=rows, shapes=shapes, shards=shards
        )

    def add(self, shard: "_Shard", stamps: Mapping[str, str]) -> None:
        """Write a shard, then the index that knows it."""
        for kind, values in shard.values.items():
            shape = tuple(values.shape[1:])
            if self.shapes.setdefault(kind, shape) != shape:
                raise DataError(
                    f"{shard.names[0]}: expected a {kind} of shape {list(self.shapes[kind])}, as "
                    f"of other pictures, got {list(shape)}. Give the preprocessing a size."
                )
        content = tensor_bytes(shard.values)
        path = self._path(self.shards)
        write_atomically(path, lambda part: part.write_bytes(content))
        for row, name in enumerate(shard.names):
            self.rows[name], self.stamps[name] = (self.shards, row), stamps[name]
        self.shards += 1
        self.added += len(shard.names)
        index = {
            "format": FORMAT,
            "shards": self.shards,
            "shapes": {kind: [*shape] for kind, shape in self.shapes.items()},
            "pictures": {name: [self.stamps[name], *row] for name, row in self.rows.items()},
        }
        text = json.dumps(index)
        write_atomically(self.folder / _INDEX, lambda part: part.write_text(text, "utf-8"))

    def features(self, names: tuple[str, ...]) -> Features:
        """Those of these pictures, which are all there."""
        paths = [self._path(number) for number in range(self.shards)]
        rows = [self.rows[name] for name in names]
        places = {
            kind: [_Place(paths[shard], kind, row) for shard, row in rows] for kind in self.kinds
        }
        shapes = {kind: self.shapes.get(kind) for kind in self.kinds}
        return _features(self.folder, names, places, shapes)

    def _path(self, number: int) -> Path:
        return self.folder / f"features-{number:05}.safetensors"


@dataclass(frozen=True, slots=True)
class _Shard:
    """Features of some pictures.

    Attributes:
        names: N of them.
        values: by kind, [N, ...].
    """

    names: list[str]
    values: dict[str, Tensor]


def _shards(
    names: Sequence[str],
    pictures: Mapping[str, Any],
    encoder: Encoder,
    preprocessing: Preprocessing,
    kinds: Sequence[str],
    batch_size: int,
    workers: int,
) -> Iterator[_Shard]:
    """The features of these pictures, as many at a time as a shard has."""

    def read(name: str) -> Tensor:
        picture = pictures[name]
        return preprocessing(open_picture(picture) if isinstance(picture, Path) else picture)

    parameter = next(encoder.parameters())
    mode = encoder.training
    encoder.eval()
    try:
        batch: list[tuple[str, Tensor]] = []
        shard = _Shard([], {})
        for name, image in ahead(names, read, workers=workers):
            if isinstance(image, DataError):
                raise image
            if batch and batch[0][1].shape != image.shape:
                raise DataError(
                    f"{name}: expected a picture of {list(batch[0][1].shape)}, as others, got "
                    f"{list(image.shape)}. Give the preprocessing a size."
                )
            batch.append((name, image))
            if len(batch) == batch_size:
                shard = _joined(shard, _encoded(batch, encoder, kinds, parameter))
                batch = []
                if sum(v.numel() * 4 for v in shard.values.values()) >= SHARD_BYTES:
                    yield shard
                    shard = _Shard([], {})
        if batch:
            shard = _joined(shard, _encoded(batch, encoder, kinds, parameter))
        if shard.names:
            yield shard
    finally:
        encoder.train(mode)


def _encoded(
    batch: Sequence[tuple[str, Tensor]],
    encoder: Encoder,
    kinds: Sequence[str],
    parameter: Tensor,
) -> _Shard:
    images = torch.stack([image for _, image in batch]).to(parameter.device, parameter.dtype)
    with torch.inference_mode():
        vectors, grids = encoder.both(images)
    found = {VECTOR: vectors, GRID: grids}
    values = {kind: found[kind].to("cpu", torch.float32) for kind in kinds}
    return _Shard([name for name, _ in batch], values)


def _joined(first: _Shard, second: _Shard) -> _Shard:
    if not first.names:
        return second
    values = {kind: torch.cat([first.values[kind], v]) for kind, v in second.values.items()}
    return _Shard([*first.names, *second.names], values)


def _stamp(picture: Any) -> str:
    """What tells whether a picture is the one that features were made of."""
    if isinstance(picture, Path):
        try:
            state = picture.stat()
        except OSError as error:
            raise DataError(
                f"{picture}: expected a picture, got: {error.strerror or error}. Check its name."
            ) from error
        return f"{state.st_size} {state.st_mtime_ns}"
    values = np.ascontiguousarray(np.asarray(picture))
    content = hashlib.sha256(f"{values.dtype} {values.shape}".encode())
    content.update(values.tobytes())
    return content.hexdigest()[:16]


# ---- made by another program ---------------------------------------------------------------------


def read_features(folder: str | os.PathLike[str]) -> Features:
    """The features in a folder of .npy or .safetensors files that another program made.

    - NAME.npy: an array for each picture: a vector [D], a grid [P, D], or maps [D, Y, X], which
      become a grid [Y * X, D].
    - one .npy [N, D] or [N, P, D], and names.txt beside it, the name of a picture in each line.
    - NAME.safetensors with the entries `vector`, `grid`, or both.
    - any .safetensors whose entries are the names of pictures, with arrays as in NAME.npy.

    The name of a picture is its path below the folder; it is found with and without the suffix of a
    picture, so that the features of cats/1.jpg may be in cats/1.npy or cats/1.jpg.npy.

    Raises:
        DataError: when there are none, or a file is damaged or has arrays of other shapes than the
            others.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(
            f"{folder}: expected a folder of features, got "
            f"{'a file' if folder.exists() else 'nothing there'}. Check the path."
        )
    paths = sorted(p for p in folder.rglob("*") if p.suffix in (".npy", ".safetensors"))
    if not paths:
        raise DataError(
            f"{folder}: expected files .npy or .safetensors, got none. Put the features of each "
            f"picture in one of its name."
        )
    found: dict[str, dict[str, _Place]] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for path in paths:
        for name, entry, row, shape in _arrays(path, folder):
            kind = _kind(path, entry, shape)
            shape = shape if len(shape) < 3 else (shape[1] * shape[2], shape[0])
            if shapes.setdefault(kind, shape) != shape:
                raise DataError(
                    f"{path}: expected a {kind} of shape {list(shapes[kind])} for {name!r:.80}, as "
                    f"of other pictures, got {list(shape)}. Make all features alike."
                )
            places = found.setdefault(name, {})
            if kind in places:
                raise DataError(
                    f"{path}: expected one {kind} of {name!r:.80}, got another in "
                    f"{places[kind].path}. Remove one."
                )
            places[kind] = _Place(path, entry, row)
    names = tuple(found)
    kinds = [kind for kind in (VECTOR, GRID) if kind in shapes]
    for name, places in found.items():
        for kind in kinds:
            if kind not in places:
                raise DataError(
                    f"{folder}: expected a {kind} of each picture, got none of {name!r:.80}. Make "
                    f"all features alike."
                )
    by_kind = {kind: [found[name][kind] for name in names] for kind in kinds}
    return _features(folder, names, by_kind, shapes)


def _arrays(path: Path, folder: Path) -> Iterator[tuple[str, str, int | None, tuple[int, ...]]]:
    """Name of the picture, entry, row and shape of each array of a file."""
    own = path.relative_to(folder).with_suffix("").as_posix()
    if path.suffix == ".safetensors":
        entries = read_header(path, _WHAT)[0]
        for entry, shape in entries.items():
            yield (own if entry in (VECTOR, GRID) else entry), entry, None, shape
        return
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(
            f"{path}: expected an array of numbers, got: {str(error).splitlines()[0]:.120}. Save "
            f"it with numpy.save."
        ) from error
    if values.dtype.kind not in "fiu":
        raise DataError(f"{path}: expected numbers, got {values.dtype}. Save them as float32.")
    listed = path.parent / NAMES_FILE
    if not listed.exists():
        yield own, "", None, values.shape
        return
    names = [line.strip() for line in listed.read_text("utf-8").splitlines() if line.strip()]
    if values.ndim < 2 or len(values) != len(names):
        raise DataError(
            f"{path}: expected a row for each of the {len(names)} names in {NAMES_FILE}, got "
            f"{list(values.shape)}. Give both as many."
        )
    for row, name in enumerate(names):
        yield name, "", row, values.shape[1:]


def _kind(path: Path, entry: str, shape: tuple[int, ...]) -> str:
    """Whether an array is a vector or a grid."""
    kind = {1: VECTOR, 2: GRID, 3: GRID}.get(len(shape))
    if kind is None or 0 in shape or (entry in (VECTOR, GRID) and entry != kind):
        raise DataError(
            f"{path}: expected vectors [D], grids [P, D] or maps [D, Y, X]"
            f"{f' for {entry!r:.80}' if entry else ''}, got {list(shape)}. Save one of these for "
            f"each picture; with several in one .npy, name them in {NAMES_FILE}."
        )
    return kind


def _features(
    folder: Path,
    names: tuple[str, ...],
    places: Mapping[str, Sequence[_Place]],
    shapes: Mapping[str, tuple[int, ...] | None],
) -> Features:
    vector, grid = shapes.get(VECTOR), shapes.get(GRID)
    numbers = {_bare(name): number for number, name in enumerate(names)}
    return Features(
        names=names,
        size=vector[0] if vector else None,
        grid_shape=(grid[0], grid[1]) if grid else None,
        source=folder,
        _places=places,
        _numbers={**numbers, **{name: number for number, name in enumerate(names)}},
        _files=_Files(),
    )
