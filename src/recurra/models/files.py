"""The names of a saved model's files, and its config.json read as recurra's own."""

from pathlib import Path
from typing import Any

from recurra.errors import CheckpointError
from recurra.files import read_json

FORMAT = 1
CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"


def read_config(path: Path) -> dict[str, Any]:
    """The content of a config.json that is recurra's: of a saved model, or of a run.

    Raises:
        CheckpointError: when it is missing, damaged, or of another format.
    """
    try:
        config = read_json(path)
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
            f"{path}: expected format {FORMAT} of recurra, got {got!r:.60}. "
            f"Use the version of recurra that wrote it, or another folder."
        )
    return config
