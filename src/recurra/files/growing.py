"""Files that grow during a run, and can be cut back to the length they had at a checkpoint."""

import contextlib
import os
from pathlib import Path
from types import TracebackType

from recurra.files.reading import open_file
from recurra.files.writing import replacing


class AppendLog:
    """A file that only grows, and is cut back to a checkpoint's length when the run is resumed.

    A checkpoint stores `mark()`; opening with `keep=mark` drops what was written after it, so that
    rows written between the checkpoint and a kill are not there twice. A symbolic link or a pipe is
    refused with an OSError; a file that has a second name (a hard link) is copied first, so that
    what the other name shows stays as it is.
    """

    def __init__(self, path: Path, *, keep: int | None = None) -> None:
        self.path = path
        with contextlib.suppress(FileNotFoundError):
            if path.lstat().st_nlink > 1 and path.is_file() and not path.is_symlink():
                with replacing(path) as part:
                    part.write_bytes(path.read_bytes())
        self._file = open_file(path, write=True, create=True)
        self._file.seek(0, os.SEEK_END)
        if keep is not None and self.size > keep:
            self._file.truncate(keep)
            self._file.seek(0, os.SEEK_END)

    @property
    def size(self) -> int:
        """Bytes in the file, those not yet flushed included."""
        return self._file.tell()

    def append(self, content: bytes) -> None:
        """Add `content` at the end and hand it to the system, so a killed process loses nothing."""
        self._file.write(content)
        self._file.flush()

    def mark(self) -> int:
        """Bring the file to the disk and return its length in bytes."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self.size

    def close(self) -> None:
        """Close the file; what a full disk refuses here was reported by `append` already."""
        with contextlib.suppress(OSError):
            self._file.close()

    def __enter__(self) -> "AppendLog":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
