"""Where pictures lie that files of captions or labels name."""

import os
from collections.abc import Sequence
from pathlib import Path

from recurra.data.records import named
from recurra.errors import DataError, argument
from recurra.text.corpus import is_hidden

IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")


class ImageFolders:
    """Pictures below some folders, by their paths there or by their names alone.

    `find` looks for FOLDER/NAME first, then for a picture of that name anywhere below the folders,
    which are gone through once, when that is needed.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        """Take the folders.

        Raises:
            DataError: when one is not there.
        """
        for folder in folders:
            if not folder.is_dir():
                got = "a file" if folder.exists() else "no such folder"
                raise DataError(
                    f"{folder}: expected a folder of pictures, got {got}. Check the path, "
                    f"{argument('images=')}."
                )
        self.folders = tuple(folders)
        self._by_name: dict[str, list[Path]] | None = None

    @property
    def where(self) -> str:
        """The folders, for messages."""
        return named(map(str, self.folders))

    def find(self, name: str, place: str) -> Path | None:
        """The picture of a name, which may be a path from a folder; None where there is none.

        Args:
            name: as the file of captions has it.
            place: where that stands, for messages.
        Raises:
            DataError: when several pictures below the folders have the name.
        """
        wanted = Path(name.replace("\\", "/"))
        for folder in self.folders:
            if (folder / wanted).is_file():
                return folder / wanted
        found = self._of_name(wanted.name)
        if len(wanted.parts) > 1:  # a path from some folder above or below
            found = [
                each for each in found if each.parts[-len(wanted.parts) :] == wanted.parts
            ] or found
        if len(found) > 1:
            raise DataError(
                f"{place}: expected one picture {name} below {self.where}, got "
                f"{named(map(str, found))}. Write its path there, or name its folder, "
                f"{argument('images=')}."
            )
        return found[0] if found else None

    def _of_name(self, name: str) -> list[Path]:
        if self._by_name is None:
            self._by_name = {}
            seen: set[str] = set()
            for path in images_below(*self.folders):
                real = os.path.realpath(path)
                if real not in seen:  # one folder may lie in another
                    seen.add(real)
                    self._by_name.setdefault(path.name, []).append(path)
        return self._by_name.get(name, [])


def images_below(*folders: Path) -> list[Path]:
    """The pictures below folders, hidden ones left out, in the order of their paths."""
    found: list[Path] = []
    for folder in folders:
        for parent, below, names in os.walk(folder):
            below[:] = [name for name in below if not is_hidden(Path(name))]
            found += [
                Path(parent, name)
                for name in names
                if name.lower().endswith(IMAGES) and not is_hidden(Path(name))
            ]
    return sorted(found)
