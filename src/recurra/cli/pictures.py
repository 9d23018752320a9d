"""Pictures that commands are given, and sheets of them that they make."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from recurra.cli.options import check_installed, check_replaceable


def pictures(given: Iterable[str]) -> Iterator[Path]:
    """The files that are named, and those in folders that are.

    Raises:
        DataError: when a folder has no pictures.
    """
    from recurra.errors import DataError
    from recurra.vision import SUFFIXES

    for name in given:
        place = Path(name)
        if not place.is_dir():
            yield place
            continue
        inside = sorted(p for p in place.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())
        if not inside:
            raise DataError(f"{place}: expected pictures in this folder, got none. Name others.")
        yield from inside


def check_sheets(command: str, grid: Path | None, html: Path | None) -> None:
    """Raise ValueError where a sheet or a page could not be written into a file.

    Args:
        command: whose they are, for messages.
        grid: a picture; None: none is asked for.
        html: a page, likewise.
    """
    from recurra.insight.report import other_than_report

    for name, file, suffixes in (
        ("grid", grid, (".png", ".pdf", ".svg")),
        ("html", html, (".html",)),
    ):
        if file is None:
            continue
        if file.suffix not in suffixes:
            raise ValueError(
                f"{name}: expected a file that ends in {' or '.join(suffixes)}, got "
                f"{str(file)!r}. Rename it."
            )
        if name == "grid":
            check_replaceable(name, file)
        elif (there := other_than_report(file)) is not None:
            raise ValueError(
                f"{name}: expected a new file, or an older page to replace, got {str(file)!r}, "
                f"{there}. Choose another name."
            )
        check_installed(command, "compare", "matplotlib")
