"""Models on disk: a folder with a JSON config and a safetensors file, from any model and back.

`config.json` is {"format": 1, "model": {...}}; a run folder is a saved model too, and what else
stands in its config.json is left as it is. Nothing is pickled, so loading a folder from elsewhere
runs no code of it.
"""

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from recurra import cells, compose
from recurra.errors import CheckpointError
from recurra.lang import Cell
from recurra.lang.cell import recipe_of
from recurra.models.files import (
    CONFIG_NAME,
    FORMAT,
    WEIGHTS_NAME,
    read_config,
    read_tensors,
    write_atomically,
)

ModelT = TypeVar("ModelT", bound="Model")  # typing.Self is beyond the run-time type checker

_classes: dict[str, "type[Model]"] = {}


class Model(nn.Module, ABC):
    """What every model has: a config that rebuilds it, and a way to disk and back.

    A subclass takes the entries of its config as keyword arguments, and `backend`, `dtype` and
    `device` besides.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _classes[cls.__name__] = cls

    @property
    @abstractmethod
    def config(self) -> dict[str, Any]:
        """The arguments that rebuild this model, as JSON has them; not where or by what it runs."""

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the model into `folder`; see `recurra.models.save`."""
        save(self, folder)

    @classmethod
    def load(
        cls: type[ModelT],
        folder: str | os.PathLike[str],
        *,
        device: torch.device | str | None = None,
        backend: str = "auto",
        cell: Cell | None = None,
    ) -> ModelT:
        """The model of this class saved in `folder`; see `recurra.load`."""
        model = load(folder, device=device, backend=backend, cell=cell)
        if not isinstance(model, cls):
            raise CheckpointError(
                f"{folder}: expected a {cls.__name__}, got a {type(model).__name__}. "
                f"Load it with {type(model).__name__}.load or recurra.load."
            )
        return model


def save(model: Model, folder: str | os.PathLike[str]) -> None:
    """Write config and weights of `model` into `folder`, made if it is not there.

    Each file is written under another name, synced and renamed, so a crash or a full disk leaves
    the file that was there. In a config.json that exists, every entry but the model's own stays.

    Raises:
        CheckpointError: when a file cannot be written, or config.json is not one of recurra's.
    """
    folder = Path(folder)
    path = folder / CONFIG_NAME
    existing = read_config(path) if path.exists() else {}
    config = {
        **existing,
        "format": FORMAT,
        "model": {"class": type(model).__name__, **model.config},
    }
    text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
    tensors = {
        name: tensor.detach().cpu().contiguous() for name, tensor in _own_tensors(model).items()
    }
    # Not save_file: its files can be read by their owner alone.
    write_atomically(folder / WEIGHTS_NAME, lambda part: part.write_bytes(to_bytes(tensors)))
    write_atomically(path, lambda part: part.write_text(text, "utf-8", "backslashreplace"))


def load(
    folder: str | os.PathLike[str],
    *,
    device: torch.device | str | None = None,
    backend: str = "auto",
    cell: Cell | None = None,
) -> Model:
    """The model saved in `folder`, in evaluation mode; of a run folder, the best so far.

    Args:
        folder: where `model.save` or a training run wrote.
        device: where the parameters go; None means the CPU.
        backend: what runs the recurrence; a model does not remember the one it was trained by.
        cell: the cell, for a model of a cell that is not in the registry.

    Raises:
        CheckpointError: when files are missing, cut short, of other sizes or of unknown format.
        BackendError: when a backend is asked for by name and cannot run here.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CheckpointError(
            f"{folder}: expected the folder of a saved model or run, got "
            f"{'a file' if folder.exists() else 'nothing there'}. Check the path."
        )
    config = read_config(folder / CONFIG_NAME)
    with torch.random.fork_rng():  # the weights drawn here are replaced: leave no trace in the seed
        model = _built(folder, config, cell, {"device": device or "cpu", "backend": backend})
    _fill(model, folder / WEIGHTS_NAME)
    return model.eval()


def cell_config(cell: Cell) -> dict[str, Any]:
    """The entries of a config that name a cell.

    A registered cell is its name and the constants that were changed, one that was composed also
    the composer and what it was given. A cell of the user's own has its equations written down
    beside the name, for the reader; `load` then needs the cell itself.
    """
    registered = cell.name in cells.names() and cells.get(cell.name).function is cell.function
    recipe = recipe_of(cell)
    base = None if registered or recipe is None else cell_config(recipe.base)
    if recipe is None or base is None or base["equations"] is not None:
        return {
            "cell": cell.name,
            "constants": dict(cell.options.constants),
            "equations": None if registered else str(cell),
        }
    composer, options = recipe.composer.__name__, dict(recipe.options)
    return {
        "cell": cell.name,
        "constants": dict(cell.options.constants),
        "equations": None,
        "composed": {"composer": composer, "options": options, "of": base},
    }


def _built(
    folder: Path, config: Mapping[str, Any], cell: Cell | None, others: Mapping[str, Any]
) -> Model:
    """A new model of the class and sizes that the config names."""
    where = folder / CONFIG_NAME
    arguments = config.get("model")
    if not isinstance(arguments, dict) or arguments.get("class") not in _classes:
        got = arguments.get("class") if isinstance(arguments, dict) else arguments
        raise CheckpointError(
            f"{where}: expected a model of class {', '.join(sorted(_classes))}, got {got!r}. "
            f"Use the version of recurra that wrote it."
        )
    arguments = dict(arguments)
    model_class = _classes[arguments.pop("class")]
    try:
        arguments["cell"] = _cell_of(arguments, cell)
        dtype = getattr(torch, str(arguments.pop("dtype", "float32")))
        return model_class(**arguments, dtype=dtype, **others)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{where}: expected the arguments of {model_class.__name__}, got: {error}"
        ) from error


def _cell_of(arguments: dict[str, Any], given: Cell | None) -> Cell:
    """The cell that the config names; takes the entries of `cell_config` out of `arguments`."""
    name, made = arguments.pop("cell"), arguments.pop("composed", None)
    constants, equations = arguments.pop("constants", {}), arguments.pop("equations", None)
    if given is not None and given.name != name:
        raise ValueError(f"a model of cell {name!r}, not {given.name!r}. Pass the model's own.")
    if given is None and equations is not None:
        raise ValueError(
            f"a cell of the user's own, {name!r}. Pass it: load(folder, cell=...). "
            f"Its equations are\n{equations}"
        )
    if given is None and made is not None:
        if made["composer"] not in compose.__all__:
            raise ValueError(f"a composer of recurra.compose, not {made['composer']!r}.")
        cell = getattr(compose, made["composer"])(
            _cell_of(dict(made["of"]), None), **made["options"]
        )
    else:
        cell = given or cells.get(name)
    # The registry's own object where nothing changed: its plans are made already.
    return cell.with_constants(**constants) if constants else cell


def _own_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The state dict without second names of one tensor, such as tied weights have."""
    own: dict[str, Tensor] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if not any(tensor is other for other in own.values()):
            own[name] = tensor
    return own


def _fill(model: nn.Module, path: Path) -> None:
    """Copy the tensors of the file into the model, each of the size it has there."""
    saved = read_tensors(path)
    own = _own_tensors(model)
    for name in own.keys() ^ saved.keys():
        expected, got = ("one", "none") if name in own else ("none of that name", "one")
        raise CheckpointError(
            f"{path}: expected {expected} for tensor {name}, got {got}. "
            f"The file belongs to another model than {CONFIG_NAME} describes."
        )
    for name, tensor in own.items():
        if saved[name].shape != tensor.shape:
            raise CheckpointError(
                f"{path}: expected tensor {name} of shape {tuple(tensor.shape)}, got "
                f"{tuple(saved[name].shape)}. The file belongs to another model than "
                f"{CONFIG_NAME} describes."
            )
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(saved[name])
