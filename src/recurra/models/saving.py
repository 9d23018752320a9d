"""Models on disk: a folder with a JSON config and a safetensors file, from any model and back.

`config.json` is {"format": 1, "model": {...}} and each part that the model owns under its name,
such as "vocabulary"; a run folder is a saved model too, and what else stands in its config.json is
left as it is. Nothing is pickled, so loading a folder from elsewhere runs no code of it.

A class of models declares what its models may own besides their weights:

    class Classifier(Model):
        vocabulary = Part(Vocabulary)
        labels = Part(Names, convert=Names)

    model.labels = ["neg", "pos"]        # a Names; None until it is set
    model.save(folder)                   # config.json: {..., "labels": ["neg", "pos"]}
    rc.load(folder).labels               # Names(("neg", "pos"))

The kind of a part is any class with `to_config()`, which gives JSON, and `from_config(json)`. A
model without a part trains and saves; what cannot do without it asks by `model.needed("labels",
"Classifier.predict")`, which says how to give it. `check_part` of the class says what a part must
fulfil, such as as many labels as the model has outputs.
"""

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from inspect import signature
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from recurra.compose.kept import nothing_runs
from recurra.compose.spelling import resolved
from recurra.errors import CellError, CheckpointError, DataError
from recurra.files import read_header, read_tensors, tensor_bytes, write_atomically
from recurra.lang import Cell
from recurra.models.cell_entries import cell_of
from recurra.models.devices import find_device
from recurra.models.files import CONFIG_NAME, FORMAT, WEIGHTS_NAME, read_config
from recurra.models.parts import check_part_names, declared_parts
from recurra.nn import Recurrent
from recurra.nn.initial import words_of

ModelT = TypeVar("ModelT", bound="Model")  # typing.Self is beyond the run-time type checker

Shapes = Mapping[str, tuple[int, ...]]

# By the name that a config has for them, see `class_name`: a class of the user's own never stands
# in for one of recurra's, whatever it is called.
_classes: dict[str, "type[Model]"] = {}
_WEIGHTS = "file of a model's weights"
_DTYPES = ("float32", "float64", "bfloat16", "float16")


class Model(nn.Module, ABC):
    """What every model has: a config that rebuilds it, and a way to disk and back.

    A subclass takes the entries of its config as keyword arguments, and `backend`, `dtype` and
    `device` besides.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        check_part_names(cls)
        _classes[class_name(cls)] = cls

    @property
    @abstractmethod
    def config(self) -> dict[str, Any]:
        """The arguments that rebuild this model, as JSON has them; not where or by what it runs."""

    @property
    def parts(self) -> dict[str, Any]:
        """What the model owns besides its weights, by name; see `Part`."""
        own = {name: getattr(self, name) for name in declared_parts(type(self))}
        return {name: part for name, part in own.items() if part is not None}

    def check_part(self, name: str, part: Any) -> None:
        """Raise a ValueError unless `part` is one that this model can have; called when it is set.

        A class that has requirements defines it; here anything will do.
        """

    def needed(self, name: str, where: str) -> Any:
        """The part, which `where` cannot do without.

        Raises:
            ValueError: when the model has none, saying how to give it.
        """
        part = getattr(self, name)
        if part is None:
            raise ValueError(
                f"{where}: expected a model with {name}, got one without. Give it: "
                f"{type(self).__name__}(..., {name}={name}), or model.{name} = {name}."
            )
        return part

    def num_parameters(self, only_trainable: bool = False) -> int:
        """How many numbers the model has to learn, each once; with `only_trainable` those that an
        optimizer may change."""
        parameters = self.parameters()
        return sum(p.numel() for p in parameters if p.requires_grad or not only_trainable)

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
        cell: Cell | str | None = None,
    ) -> ModelT:
        """The model of this class saved in `folder`; see `recurra.load`."""
        model = load(folder, device=device, backend=backend, cell=cell)
        if not isinstance(model, cls):
            raise CheckpointError(
                f"{folder}: expected a {cls.__name__}, got a {type(model).__name__}. "
                f"Load it with {type(model).__name__}.load or recurra.load."
            )
        return model


def class_name(model_class: type[Model]) -> str:
    """What a config calls a class of models: recurra's by their names, others with their module."""
    if model_class.__module__.partition(".")[0] == "recurra":
        return model_class.__name__
    return f"{model_class.__module__}.{model_class.__qualname__}"


def save(
    model: Model, folder: str | os.PathLike[str], *, note: Mapping[str, str] | None = None
) -> None:
    """Write config and weights of `model` into `folder`, made if it is not there.

    Each file is written under another name, synced and renamed, so a crash or a full disk leaves
    the file that was there. In a config.json that exists, every entry but the model's own and its
    parts' stays. A part that the model lacks is taken out, but in the folder of a run.

    Args:
        model: to save.
        folder: where to.
        note: strings to keep in the header of the weights' file.
    Raises:
        CheckpointError: when a file cannot be written, config.json is not one of recurra's, or the
            folder has a model of another class, which would be lost.
    """
    folder = _folder("save", folder)
    path = folder / CONFIG_NAME
    existing = written = read_config(path) if path.exists() else {}
    there = existing.get("model")
    kind = there.get("class") if isinstance(there, Mapping) else None
    if kind not in (None, class_name(type(model))) and (folder / WEIGHTS_NAME).exists():
        raise CheckpointError(
            f"{folder}: expected a new folder, or one of a {class_name(type(model))}, got one that "
            f"holds a {kind}. Choose another folder."
        )
    if "task" not in existing:  # a run's are its own: it cannot go on without its vocabulary
        existing = {k: v for k, v in existing.items() if k not in declared_parts(type(model))}
    config = {**existing, **entries(model)}
    content = tensor_bytes(_own_tensors(model), note)
    write_atomically(folder / WEIGHTS_NAME, lambda part: part.write_bytes(content))
    if config != written:
        write_config(path, config)


def _folder(where: str, folder: str | os.PathLike[str]) -> Path:
    """The folder; no name would be the working folder, which nobody means by it."""
    if os.fspath(folder) == "":
        raise ValueError(f"{where}: expected the name of a folder, got ''. Name one.")
    return Path(folder)


def entries(model: Model) -> dict[str, Any]:
    """The entries of a config.json that are the model's: what rebuilds it, and its parts."""
    parts = {name: part.to_config() for name, part in model.parts.items()}
    return {"format": FORMAT, "model": model_config(model), **parts}


def model_config(model: Model) -> dict[str, Any]:
    """The entry of a config.json that rebuilds the model."""
    return {"class": class_name(type(model)), **model.config}


def layer_options(recurrent: Recurrent) -> dict[str, Any]:
    """The entries of a config for what most models leave alone in their layers: init, learned_state
    and memory, where they are not as usual."""
    options = {
        "init": (words_of(recurrent.init), {}),
        "learned_state": (recurrent.learned_state, False),
        "memory": (recurrent.memory, "normal"),
    }
    return {name: value for name, (value, usual) in options.items() if value != usual}


def write_config(path: Path, config: Mapping[str, Any]) -> None:
    """Write a config.json."""
    text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
    # a byte of no UTF-8 in a prime or a path becomes an escape, as JSON itself writes it: \udce9
    write_atomically(path, lambda part: part.write_text(text, "utf-8", "backslashreplace"))


def read_note(folder: Path) -> dict[str, str]:
    """The strings that `save` was given to keep with the weights in `folder`; none without a file.

    Raises:
        CheckpointError: when the file is damaged.
    """
    path = folder / WEIGHTS_NAME
    return read_header(path, _WEIGHTS)[1] if path.exists() else {}


def load(
    folder: str | os.PathLike[str],
    *,
    device: torch.device | str | None = None,
    backend: str = "auto",
    cell: Cell | str | None = None,
) -> Model:
    """The model saved in `folder`, in evaluation mode; of a run folder, the best so far.

    Args:
        folder: where `model.save` or a training run wrote.
        device: where the parameters go; None means the CPU, "auto" the best there is.
        backend: what runs the recurrence; a model does not remember the one it was trained by.
        cell: the cell, or its spelling; what is saved has its equations, with which it must agree.
            A cell of the user's own that an older version saved is needed here.

    Raises:
        CheckpointError: when files are missing, cut short, of other sizes or of unknown format.
        DeviceError: when this machine lacks the device.
        BackendError: when a backend is asked for by name and cannot run here.
    """
    folder, device = _folder("load", folder), find_device(device)
    if not folder.is_dir():
        raise CheckpointError(
            f"{folder}: expected the folder of a saved model or run, got "
            f"{'a file' if folder.exists() else 'nothing there'}. Check the path."
        )
    config, path = read_config(folder / CONFIG_NAME), folder / WEIGHTS_NAME
    given = None if cell is None else resolved("load", cell)
    with torch.random.fork_rng():  # the weights drawn here are replaced: leave no trace in the seed
        model = build(
            folder / CONFIG_NAME,
            config,
            path,
            read_header(path, _WEIGHTS)[0],
            given,
            device,
            backend,
        )
    _fill(model, read_tensors(path, _WEIGHTS)[0])
    return model.eval()


def build(
    where: Path,
    config: Mapping[str, Any],
    weights: Path,
    shapes: Shapes,
    cell: Cell | None = None,
    device: torch.device | str = "cpu",
    backend: str = "auto",
) -> Model:
    """A new model of the class and sizes that a config names, which are those of its weights.

    Args:
        where: the config was read from.
        config: its content.
        weights: the file that the weights will be read from.
        shapes: of the tensors in that file. Sizes are compared with them before anything is made,
            since a size from elsewhere may be any number.
        cell: the cell, where it was given; None: the one that the config names.
        device: of the parameters.
        backend: what runs the recurrence.
    Raises:
        CheckpointError: when they do not fit, or the config names no model that there is.
    """
    arguments = config.get("model")
    found = _class_of(arguments.get("class")) if isinstance(arguments, dict) else None
    if found is None:
        got = arguments.get("class") if isinstance(arguments, dict) else arguments
        raise CheckpointError(
            f"{where}: expected a model of class {', '.join(sorted(_classes))}, got {got!r:.80}. "
            f"Use the version of recurra that wrote it; for a class of your own, import the module "
            f"that defines it first."
        )
    arguments = dict(arguments or {})
    del arguments["class"]
    try:
        if "cell" in arguments or "cell" in signature(found).parameters:
            arguments["cell"] = cell_of(arguments, cell)
        elif cell is not None:
            raise ValueError(f"a model without a cell, not one of {cell.name!r}. Leave cell= out.")
        dtype = str(arguments.pop("dtype", "float32"))
        if dtype not in _DTYPES:
            raise ValueError(f"dtype {dtype:.40}, not one of {', '.join(_DTYPES)}")
        arguments["dtype"] = getattr(torch, dtype)
        layers = arguments.get("num_layers", 1)
        if isinstance(layers, int | float) and layers > len(shapes):
            raise ValueError(f"num_layers {layers} for weights of {len(shapes)} tensors")
        with nothing_runs():
            blank = found(**arguments, device="meta", backend=backend)
            check_shapes(weights, shapes, blank)
            model = found(**arguments, device=device, backend=backend)
    except _MISFITS as error:
        # torch goes on for many lines
        said = [str(error)] if isinstance(error, ValueError) else str(error).splitlines()[:1]
        raise CheckpointError(
            f"{where}: expected the arguments of {found.__name__}, got: {''.join(said)}"
        ) from error
    _take_parts(where, config, model)
    return model


def _take_parts(where: Path, config: Mapping[str, Any], model: Model) -> None:
    """Give the model those of its parts that the config has."""
    for name, part in declared_parts(type(model)).items():
        if config.get(name) is None:
            continue
        try:
            setattr(model, name, part.kind.from_config(config[name]))
        except _MISFITS as error:
            said = str(error) if isinstance(error, DataError | ValueError) else repr(error)
            said = said.removeprefix(f"{name}: ")
            raise CheckpointError(f"{where}: {name}: {said:.400}") from error


# What a constructor raises at arguments that make no sense to it.
_MISFITS = (
    *(AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError),
    *(CellError, DataError, MemoryError, RecursionError, RuntimeError),
)


def _class_of(name: object) -> "type[Model] | None":
    """The class that a config names; users' own once stood there without their modules."""
    if not isinstance(name, str):
        return None
    same = [kind for kind in _classes.values() if kind.__name__ == name]
    return _classes.get(name) or (same[-1] if same else None)


def check_shapes(path: Path, found: Shapes, model: nn.Module) -> None:
    """Raise CheckpointError naming the first tensor that is missing, unknown or of another size.

    A tensor that has two names, such as tied weights, may be there under one or both.
    """
    named = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    own = _own_tensors(model)
    for name in (own.keys() - found.keys()) | (found.keys() - named.keys()):
        expected, got = ("one", "none") if name in own else ("none of that name", "one")
        raise CheckpointError(
            f"{path}: expected {expected} for tensor {name:.80}, got {got}. "
            f"The file belongs to another model than {CONFIG_NAME} describes."
        )
    for name, shape in named.items():
        if found.get(name, shape) != shape:
            raise CheckpointError(
                f"{path}: expected tensor {name} of shape {shape}, got {found[name]}. "
                f"The file belongs to another model than {CONFIG_NAME} describes: of other sizes."
            )


def _own_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The state dict without second names of one tensor, such as tied weights have."""
    own: dict[str, Tensor] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if not any(tensor is other for other in own.values()):
            own[name] = tensor
    return own


def _fill(model: nn.Module, saved: Mapping[str, Tensor]) -> None:
    """Copy the tensors, whose shapes are the model's, into it."""
    with torch.no_grad():
        for name, tensor in _own_tensors(model).items():
            tensor.copy_(saved[name])
