"""A folder of figures by themselves, in which nothing that is somebody else's is replaced."""

import os
from collections.abc import Iterable
from pathlib import Path

from recurra.files import write_atomically

_LIST = ".recurra-figures"  # the names of the files that were written there, a line each
_KINDS = (".svg", ".png", ".csv")


def check_figures(folder: Path) -> None:
    """Raise ValueError where a folder of figures could not be, or holds pictures or tables that no
    report has written there: names of figures are as simple as `training.csv`."""
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise ValueError(
            f"figures: expected a folder, or the name of a new one, got {str(folder)!r}, a file. "
            "Choose another name."
        )
    own = _listed(folder)
    others = sorted(each.name for each in folder.iterdir() if each.suffix.lower() in _KINDS)
    others = [name for name in others if name not in own]
    if others:
        raise ValueError(
            f"figures: expected a new folder, or one of an older report's figures, got "
            f"{str(folder)!r}, which holds {others[0]}. Choose another name."
        )


def write_figures(folder: Path, files: Iterable[tuple[str, bytes]]) -> None:
    """Write files of figures, by their names, into a folder that is theirs.

    Raises:
        ValueError: see `check_figures`.
        CheckpointError: when something cannot be written.
    """
    check_figures(folder)
    made = dict(files)
    names = "".join(f"{name}\n" for name in sorted({*made, *_listed(folder)}))
    write_atomically(folder / _LIST, lambda part: part.write_text(names))
    for name, content in made.items():
        write_atomically(folder / name, lambda part, c=content: part.write_bytes(c))


def _listed(folder: Path) -> set[str]:
    place = folder / _LIST
    return set(place.read_text("utf-8", "replace").split("\n")) if place.is_file() else set()
