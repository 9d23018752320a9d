"""Weights that others have trained, from a file: .safetensors, or .pth as torch saves it."""

import hashlib
import os
import pickle
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from recurra.errors import CheckpointError, argument
from recurra.files import opened, read_tensors

_WHAT = "file of weights"
_PICKLED = (".pth", ".pt", ".bin")
_NESTED = ("state_dict", "model")  # where trainers put the weights beside other things
_LEAST_DIGITS = 8
_BLOCK = 1 << 22
# torchvision's names end with the first digits of the file's hash, as vgg16-397923af.pth
_IN_NAME = re.compile(rf"-([0-9a-f]{{{_LEAST_DIGITS},64}})\.[a-z]+$")


def load_weights(
    network: nn.Module,
    path: str | os.PathLike[str],
    *,
    sha256: str | None = None,
    optional: Sequence[str] = (),
) -> None:
    """Copy the weights of a file into a network that has tensors of the same names and shapes.

    Args:
        network: to fill; as it was before, where this fails.
        path: a .safetensors, or a .pth, .pt or .bin, of which only tensors are taken: nothing in it
            is run.
        sha256: the hash of the file, or its first digits, at least 8. Where the name of the file
            ends with such digits, as torchvision's do, it is checked against these too.
        optional: beginnings of names that the file may have and the network not.
    Raises:
        CheckpointError: when the file is missing, is damaged, has another hash, holds other things
            than tensors, or tensors of other names or shapes.
        ValueError: when sha256 is no hash.
    """
    path = Path(path)
    _check_hash(path, sha256)
    found = read_weights(path)
    own = network.state_dict()
    for name in list(found):
        if name not in own and name.startswith(tuple(optional)):
            del found[name]
    for name in [*(own.keys() - found.keys()), *(found.keys() - own.keys())]:
        if name.endswith("num_batches_tracked"):
            continue  # older files have none
        expected, got = ("one", "none") if name in own else ("none of that name", "one")
        raise CheckpointError(
            f"{path}: expected {expected} for tensor {name:.80}, got {got}. "
            f"The file belongs to another network than {type(network).__name__}."
        )
    for name, value in found.items():
        if name in own and value.shape != own[name].shape:
            raise CheckpointError(
                f"{path}: expected tensor {name} of shape {list(own[name].shape)}, got "
                f"{list(value.shape)}. The file belongs to a network of other sizes."
            )
    network.load_state_dict(found, strict=False)


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name, on the CPU; see `load_weights`."""
    if path.suffix not in _PICKLED:
        return read_tensors(path, _WHAT)[0]
    try:
        with opened(path) as file:
            content = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{path}: expected a {_WHAT}, got no file. Check its name."
        ) from error
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: expected tensors alone, got a file that would run code, or is damaged. "
            f"Save the network's state_dict() by itself, as .safetensors at best."
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, AttributeError) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(
            f"{path}: expected a whole {_WHAT}, got one that is cut short or damaged "
            f"({said:.100}). Get it again."
        ) from error
    for key in _NESTED:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    ):
        raise CheckpointError(
            f"{path}: expected tensors by name, got {type(content).__name__}. Save the network's "
            f"state_dict()."
        )
    return dict(content)


def _check_hash(path: Path, sha256: str | None) -> None:
    """Raise CheckpointError where a file has another hash than was given, or than its name says."""
    named = _IN_NAME.search(path.name)
    wanted = {argument("sha256="): sha256 or "", "its name": named[1] if named else ""}
    if sha256 is not None and not re.fullmatch(rf"[0-9a-fA-F]{{{_LEAST_DIGITS},64}}", sha256):
        raise ValueError(
            f"{argument('sha256=')}: expected {_LEAST_DIGITS} to 64 hexadecimal digits, got "
            f"{sha256!r:.80}. As `sha256sum {path.name}` prints them."
        )
    if not any(wanted.values()):
        return
    try:
        with opened(path) as file:
            content = hashlib.sha256()
            while block := file.read(_BLOCK):
                content.update(block)
    except OSError as error:
        raise CheckpointError(
            f"{path}: expected a {_WHAT}, got: {error.strerror or error}. Check its name."
        ) from error
    digest = content.hexdigest()
    for source, digits in wanted.items():
        if not digest.startswith(digits.lower()):
            raise CheckpointError(
                f"{path}: expected a file of sha256 {digits}, by {source}, got {digest}. It is "
                f"another file, or was cut short: get it again."
            )
