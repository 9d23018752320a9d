"""Checkpoints of a run: one file of tensors that holds its own record, put in place by one rename.

`training.safetensors` is the checkpoint: its tensors, and in its header the record of everything
that is no tensor. `training.json` is a copy of that record for people and tools; nothing is read
from it, so the two need not be replaced at the same instant. Neither is a pickle.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recurra.errors import CheckpointError, RunError, argument
from recurra.files import read_tensors, tensor_bytes, write_atomically
from recurra.training.progress import Checkpoint

FORMAT = 1
TENSORS_NAME = "training.safetensors"
RECORD_NAME = "training.json"
WHAT = "checkpoint"


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Replace the checkpoint in `folder`; until the last instant the one before stays whole.

    Raises:
        RunError: when the folder cannot be written or the disk is full.
    """
    record = {"format": FORMAT, **checkpoint.record}
    header = {"record": json.dumps(record, allow_nan=False)}
    content = tensor_bytes(checkpoint.tensors, header)
    copy = json.dumps(record, allow_nan=False, indent=2)
    with reported_as_run_error(folder):
        write_atomically(folder / TENSORS_NAME, lambda part: part.write_bytes(content))
        write_atomically(folder / RECORD_NAME, lambda part: part.write_text(copy))


def load_checkpoint(folder: Path) -> Checkpoint:
    """The last checkpoint in `folder`.

    Raises:
        CheckpointError: when there is none, or it was cut short or damaged.
    """
    path = folder / TENSORS_NAME
    tensors, metadata = read_tensors(path, WHAT)
    try:
        record = json.loads(metadata["record"])
        if record["format"] != FORMAT:
            raise CheckpointError(
                f"{path}: expected a checkpoint of format {FORMAT}, got {record['format']}. "
                "Use the version of recurra that wrote the run."
            )
    except (KeyError, ValueError, TypeError, RecursionError) as error:
        raise CheckpointError(
            f"{path}: expected a checkpoint of a training run, got tensors without its record. "
            "Restore the file from a copy, or start the run again under another name."
        ) from error
    return Checkpoint(tensors=tensors, record=record)


def how_to_go_on(folder: Path) -> str:
    """A sentence on what there is to do about a run that could not go on."""
    if not (folder / TENSORS_NAME).exists():
        return "There is no checkpoint yet: once that is mended, start again."
    again = argument("resume=True")
    return f"The last checkpoint is whole: once that is mended, go on with {again}."


@contextmanager
def reported_as_run_error(folder: Path) -> Iterator[None]:
    """Turn a file that could not be written into a RunError that says how the run can go on."""
    hint = how_to_go_on(folder)
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
