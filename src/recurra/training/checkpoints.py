"""Checkpoints of a run: one file of tensors that holds its own record, put in place by one rename.

`training.safetensors` is the checkpoint: its tensors, and in its header the record of everything
that is no tensor. `training.json` is a copy of that record for people and tools; nothing is read
from it, so the two need not be replaced at the same instant. Neither is a pickle.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from recurra.errors import CheckpointError, RunError
from recurra.models import write_atomically

FORMAT = 1
TENSORS_NAME = "training.safetensors"
RECORD_NAME = "training.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What a run needs to go on.

    Attributes:
        tensors: by name; `group/name` for those of one group.
        record: JSON values.
    """

    tensors: Mapping[str, Tensor]
    record: Mapping[str, Any]

    def group(self, name: str) -> dict[str, Tensor]:
        """The tensors of one group, by their names in it."""
        prefix = name + "/"
        return {
            key.removeprefix(prefix): value
            for key, value in self.tensors.items()
            if key.startswith(prefix)
        }


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Replace the checkpoint in `folder`; until the last instant the one before stays whole.

    Raises:
        RunError: when the folder cannot be written or the disk is full.
    """
    record = {"format": FORMAT, **checkpoint.record}
    header = {"record": json.dumps(record, allow_nan=False)}
    content = safetensors.torch.save(_own_memory(checkpoint.tensors), header)
    copy = json.dumps(record, allow_nan=False, indent=2)
    with reported_as_run_error():
        write_atomically(folder / TENSORS_NAME, lambda part: part.write_bytes(content))
        write_atomically(folder / RECORD_NAME, lambda part: part.write_text(copy))


def load_checkpoint(folder: Path) -> Checkpoint:
    """The last checkpoint in `folder`.

    Raises:
        CheckpointError: when there is none, or it was cut short or damaged.
    """
    path = folder / TENSORS_NAME
    tensors, metadata = read_tensors(path)
    try:
        record = json.loads(metadata["record"])
        if record["format"] != FORMAT:
            raise CheckpointError(
                f"{path}: expected a checkpoint of format {FORMAT}, got {record['format']}. "
                "Use the version of recurra that wrote the run."
            )
    except (KeyError, ValueError, TypeError) as error:
        raise CheckpointError(
            f"{path}: expected a checkpoint of a training run, got tensors without its record. "
            "Restore the file from a copy, or start the run again under another name."
        ) from error
    return Checkpoint(tensors=tensors, record=record)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a safetensors file and the strings in its header.

    Raises:
        CheckpointError: when the file is missing, cut short or no safetensors file.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, file.metadata() or {}
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{path}: expected a checkpoint, got no such file. Check the name of the run."
        ) from error
    except (safetensors.SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path}: expected a whole checkpoint, got one that is cut short or damaged ({error}). "
            "Restore it from a copy, or start the run again under another name."
        ) from error


def check_tensors(path: Path, found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Raise CheckpointError naming the first tensor that is missing, unknown or of another size."""
    for name, tensor in expected.items():
        if name not in found:
            raise CheckpointError(
                f"{path}: expected the weight {name} of shape {tuple(tensor.shape)}, got none. "
                "The run's config.json describes another model; start again under another name."
            )
        if found[name].shape != tensor.shape:
            raise CheckpointError(
                f"{path}: expected {name} of shape {tuple(tensor.shape)}, got "
                f"{tuple(found[name].shape)}. The run's config.json describes a model of other "
                "sizes; start again under another name."
            )
    unknown = sorted(set(found) - set(expected))
    if unknown:
        raise CheckpointError(
            f"{path}: expected the weights of the model in config.json, got also {unknown[0]}. "
            "They belong to another model; start again under another name."
        )


@contextmanager
def reported_as_run_error() -> Iterator[None]:
    """Turn a file that could not be written into a RunError that says how the run can go on."""
    hint = "The last checkpoint is whole: once that is mended, go on with --resume."
    try:
        yield
    except CheckpointError as error:
        raise RunError(f"{error} {hint}") from error
    except BrokenPipeError:
        raise  # nothing of the run's: whoever read the terminal output has gone
    except OSError as error:
        where = error.filename or "the run's folder"
        raise RunError(
            f"{where}: expected to write it, got: {error.strerror or error}. "
            f"Free some space or change the permissions. {hint}"
        ) from error


def _own_memory(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous copies on the CPU where two names share memory, as tied weights do."""
    seen: set[int] = set()
    result: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        own = tensor.detach().cpu().contiguous()
        if own.data_ptr() in seen:
            own = own.clone()
        seen.add(own.data_ptr())
        result[name] = own
    return result
