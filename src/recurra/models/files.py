"""The files of a saved model: written so that a whole one is always there."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from recurra.errors import CheckpointError

FORMAT = 1
CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a file under another name, sync it, and rename it to `path`.

    Raises:
        CheckpointError: when it cannot be written; what was at `path` is as before.
    """
    # One fixed name: what a killed process left behind is overwritten, not gathered.
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(part)
            _sync(part)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        _sync(path.parent)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{path}: expected to write it, got: {error}. Free some space or choose another "
            f"folder; what was there before is unchanged."
        ) from error


def _sync(path: Path) -> None:
    """Have the disk hold what was written: of a file its bytes, of a folder its names."""
    if path.is_dir() and os.name != "posix":
        return  # other systems cannot open a folder
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_config(path: Path) -> dict[str, Any]:
    """The content of a config.json that is recurra's.

    Raises:
        CheckpointError: when it is missing, damaged, or of another format.
    """
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{path}: expected the config of a saved model, got no file. "
            f"Check that the folder is one that recurra wrote."
        ) from error
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path}: expected JSON, got: {error}. The file is damaged or cut short; "
            f"restore it from a copy."
        ) from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        got = config.get("format") if isinstance(config, dict) else type(config).__name__
        raise CheckpointError(
            f"{path}: expected format {FORMAT} of recurra, got {got!r}. "
            f"Use the version of recurra that wrote it, or another folder."
        )
    return config


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, on the CPU.

    Raises:
        CheckpointError: when it is missing or damaged.
    """
    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{path}: expected a model's weights, got no file. "
            f"Check the folder; a run that was just started has saved no model yet."
        ) from error
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{path}: expected a whole safetensors file, got: {error}. "
            f"It is damaged or cut short; restore it from a copy."
        ) from error
