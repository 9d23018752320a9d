"""What settings of captioners and aligners are checked for before anything is read, and what they
leave open."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from recurra.data import worlds
from recurra.data.features import read_features
from recurra.errors import DataError, argument
from recurra.tasks.options import CaptionSettings
from recurra.training.settings import RunSettings
from recurra.vision import encoder, names


def checked(settings: RunSettings) -> RunSettings:
    """The settings with the kind of features that are read, where they leave it open.

    Raises:
        DataError: where a file or folder is not there, or features are not of the kind that is
            needed.
        ValueError: where there is no such encoder.
    """
    _check_files(settings.data)
    if settings.data.features is not None:
        return replace(settings, data=_with_kind(settings.data, settings.model))
    _check_encoder(settings.model)
    return settings


def _with_kind(data: CaptionSettings, model: Any) -> CaptionSettings:
    """The settings with the kind of features that the model reads."""
    assert data.features is not None
    if model.encoder_weights is not None:
        raise ValueError(
            f"encoder_weights: expected none beside {argument('features=')}, which are read in "
            f"place of pictures, got {model.encoder_weights}. Leave one out."
        )
    inject = getattr(model, "inject", None)  # aligners read grids alone
    reader = "an aligner" if inject is None else argument(f"inject={inject}")
    needed = "grid" if inject in ("attend", None) else "vector"
    kind = needed if data.feature_kind == "auto" else data.feature_kind
    if kind != needed:
        raise ValueError(
            f"feature_kind: expected {needed}, which {reader} reads, got {kind}. Leave it out."
        )
    found = read_features(data.features)
    has = {"vector": found.size is not None, "grid": found.grid_shape is not None}
    if not has[kind]:
        other = next(each for each in has if each != kind)
        others = (
            f", or choose {'another' if kind == 'grid' else 'attend'} for {argument('inject=')}"
        )
        raise DataError(
            f"{data.features}: expected a {kind} of each picture, which {reader} reads, got a "
            f"{other}. Make {kind}s{'' if inject is None else others}."
        )
    return replace(data, feature_kind=kind)


def _check_encoder(model: Any) -> None:
    """Raise ValueError where there is no such encoder, or DataError where its weights are not
    there."""
    if model.encoder not in names():
        encoder(model.encoder)  # says which there are
    if model.encoder_weights is not None and not Path(model.encoder_weights).is_file():
        raise DataError(
            f"{model.encoder_weights}: expected a file of weights, got no such file. Check "
            f"{argument('encoder_weights=')}."
        )


def check_learns(model: Any, training: Any) -> None:
    """Raise ValueError where an encoder's weights are drawn anew and stay as they are drawn."""
    blind = getattr(model, "inject", "") == "none"
    if training.encoder_rate == 0 and model.encoder_weights is None and not blind:
        raise ValueError(
            f"encoder_rate: expected more than 0 for an encoder whose weights are drawn anew, got "
            f"0. Give it {argument('encoder_weights=')}, start from a run with "
            f"{argument('init_from=')}, or let it learn."
        )


def _check_files(data: CaptionSettings) -> None:
    """Raise DataError where a file or folder that settings name is not there."""
    for name in data.paths():
        given = getattr(data, name)
        for path in (given,) if isinstance(given, str) else given or ():
            if name == "data" and worlds.is_world(path, worlds.PICTURE_WORLDS):
                continue
            if not Path(path).exists():
                made = f", or give {argument('data=')} a world: {', '.join(worlds.PICTURE_WORLDS)}"
                raise DataError(
                    f"{path}: expected a file or a folder, got no such file. Check the path"
                    f"{made if name == 'data' else ''}."
                )
