"""Token files: a text encoded once, then memory-mapped, so that it may be larger than memory.

A token file is raw little-endian uint8, uint16 or uint32, the narrowest that holds the vocabulary.
Beside it stands its header, the same name with ".json" added: dtype, count, vocabulary, and what
the file was made from. The header is written last, so a file without one is not finished.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from recurra.data.files import map_file, put_in_place
from recurra.errors import DataError
from recurra.files import read_json
from recurra.text.vocabulary import Vocabulary

_FORMAT = "recurra tokens 1"
_DTYPES = tuple(np.dtype(name) for name in ("<u1", "<u2", "<u4"))


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenFile:
    """A finished token file: where it is, how many tokens it has, and what they mean."""

    path: Path
    count: int
    dtype: np.dtype
    vocabulary: Vocabulary
    made_from: dict[str, Any] = field(default_factory=dict)

    def tokens(self) -> np.memmap:
        """The tokens, mapped from the file, read-only.

        Raises:
            DataError: when the file is gone, or shorter or longer than its header says.
        """
        contents = f"{self.count} tokens of {self.dtype.name}"
        return map_file(self.path, self.dtype, self.count, "a token file", contents)


def check_whole(tokens: np.ndarray) -> None:
    """Raise DataError when the file under a map of tokens was cut since it was opened.

    To read a page of it that is gone would end the process.
    """
    mapped = getattr(tokens, "_mmap", None)
    if mapped is not None and mapped.size() < len(mapped):
        raise DataError(
            f"{getattr(tokens, 'filename', 'tokens')}: expected {len(mapped):,} bytes, got "
            f"{mapped.size():,}: the file was cut while it was read. Restore it from a copy."
        )


def check_ids(tokens: np.ndarray, found: np.ndarray | Tensor, vocab_size: int) -> None:
    """Raise DataError when ids `found` in `tokens` are not below the vocabulary's size."""
    largest, smallest = int(found.max()), int(found.min())
    if largest >= vocab_size or smallest < 0:
        wrong = largest if largest >= vocab_size else smallest
        raise DataError(
            f"{getattr(tokens, 'filename', None) or 'tokens'}: expected ids in "
            f"0..{vocab_size - 1}, got {wrong}. The tokens are damaged, or of another vocabulary."
        )


def open_tokens(path: str | PathLike[str]) -> np.memmap:
    """The tokens of a token file, mapped, read-only.

    Raises:
        DataError: when the file or its header is missing, not in the format, or cut short.
    """
    return read_token_file(path).tokens()


def read_token_file(path: str | PathLike[str]) -> TokenFile:
    """What the header of a token file says; the tokens themselves are not touched.

    Raises:
        DataError: when there is no header, or it is not in the format.
    """
    target = Path(path)
    header_path = _header_path(target)
    try:
        header = read_json(header_path)
        if header["format"] != _FORMAT:
            raise ValueError(f"format {header['format']!r}")
        dtype = np.dtype(header["dtype"])
        count = int(header["count"])
        if dtype not in _DTYPES or count < 1:
            raise ValueError(f"{count} tokens of {dtype}")
        vocabulary = Vocabulary.from_config(header["vocabulary"])
        made_from = dict(header["made_from"])
    except OSError as error:
        raise DataError(
            f"{target}: expected a token file with its header {header_path.name}, got "
            f"{error.strerror or error}. Prepare it again."
        ) from error
    except (LookupError, TypeError, ValueError, OverflowError, DataError) as error:
        raise DataError(
            f"{header_path}: expected the header of a token file ({_FORMAT}), got {error!r}. "
            "Delete it and prepare the file again."
        ) from error
    return TokenFile(
        path=target, count=count, dtype=dtype, vocabulary=vocabulary, made_from=made_from
    )


def write_tokens(
    path: str | PathLike[str],
    chunks: Iterable[np.ndarray],
    vocabulary: Vocabulary,
    made_from: dict[str, Any] | None = None,
) -> TokenFile:
    """A token file of ids that come in chunks; it appears whole or not at all.

    Args:
        path: the file to write; its folder is made, and an older file of the name is replaced.
        chunks: the ids, each in 0..V-1; whatever raises in here leaves the older file in place.
        vocabulary: what the ids mean.
        made_from: JSON values to keep in the header.
    Raises:
        DataError: when there is no token at all, or the file cannot be written.
    """
    target = Path(path)
    dtype = next(dtype for dtype in _DTYPES if len(vocabulary) <= 256**dtype.itemsize)
    made_from = made_from or {}
    count = 0
    with put_in_place(target, "a token file") as file:
        for ids in chunks:
            file.write(ids.astype(dtype).tobytes())
            count += len(ids)
        if count == 0:
            source = made_from.get("source")
            where = source["path"] if isinstance(source, dict) else target
            raise DataError(f"{where}: expected at least one token, got none. Add text.")
        # From here on an older header would describe the wrong tokens.
        _header_path(target).unlink(missing_ok=True)
    header = {
        "format": _FORMAT,
        "dtype": dtype.str,
        "count": count,
        "made_from": made_from,
        "vocabulary": vocabulary.to_config(),
    }
    with put_in_place(_header_path(target), "the header of a token file") as file:
        file.write(json.dumps(header, indent=1).encode())
    return TokenFile(
        path=target, count=count, dtype=dtype, vocabulary=vocabulary, made_from=made_from
    )


def _header_path(target: Path) -> Path:
    return target.with_name(target.name + ".json")
