"""The options of a forecaster that are more than a size: checked, and what they stand for."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from recurra.errors import argument
from recurra.models.checks import check_seed, check_tensor
from recurra.models.series import Categories, Series
from recurra.nn.checks import check_sizes, check_token_ids, in_autocast
from recurra.nn.densities import Density, named
from recurra.nn.densities.base import check_levels

if TYPE_CHECKING:
    from recurra.models.forecaster import Forecaster

DECODINGS = ("direct", "recursive", "segments")
MISSING = ("fail", "fill", "mask")


def density_of(given: Density | Mapping[str, Any] | str) -> Density:
    """The density, by its name, or of its config."""
    if isinstance(given, str):
        return named(given)
    return given if isinstance(given, Density) else Density.from_config(given)


def segment_length_of(decoding: str, given: int | None, horizon: int, look_back: int) -> int:
    """The steps of a segment; 1 of models without segments."""
    if decoding != "segments":
        if given is not None:
            raise ValueError(
                f"{argument('segment_length=')}: expected {argument('decoding=segments')} beside "
                f"it, got {argument(f'decoding={decoding}')}. Leave it out."
            )
        return 1
    if given is None:
        half = max(1, min(horizon, look_back) // 2)
        given = next(each for each in range(half, 0, -1) if horizon % each == 0)
    check_sizes("Forecaster", segment_length=given)
    return given


def check_kinds(decoding: str, residual: bool, missing: str) -> None:
    """Raise ValueError unless these are known, and go together."""
    for name, value, choices in (
        ("decoding", decoding, DECODINGS),
        ("missing", missing, MISSING),
    ):
        if value not in choices:
            raise ValueError(
                f"{argument(f'{name}=')}: expected one of {', '.join(choices)}, got {value!r}. "
                "Choose one."
            )
    if residual and decoding != "recursive":
        raise ValueError(
            f"{argument('residual=')}: expected {argument('decoding=recursive')} beside it, got "
            f"{argument(f'decoding={decoding}')}, which says no step of the one before. Leave it "
            "out."
        )


def check_call(
    model: "Forecaster",
    x: Tensor,
    *,
    past: Tensor | None,
    known: Tensor | None,
    ahead: Tensor | None,
    series: Tensor | None,
) -> None:
    """Raise unless a call is given what the model was made for."""
    beside = {"past": past, "known": known, "ahead": ahead, "series": series}
    for name, tensor in {"x": x, **beside}.items():
        if tensor is not None:
            check_tensor("Forecaster", name, tensor)
    if x.dim() != 3 or x.shape[-1] != model.num_channels or not len(x):
        raise ValueError(
            f"Forecaster: expected series [time, batch, {model.num_channels}], got shape "
            f"{tuple(x.shape)}. Forecaster.predict takes series as users have them."
        )
    wanted = model.decoder.weight.dtype
    if x.dtype != wanted and not (x.is_floating_point() and in_autocast(x.device)):
        raise TypeError(
            f"Forecaster: expected series of {wanted}, as the model's parameters, got {x.dtype}. "
            f"Convert them with .to({wanted})."
        )
    T, B, _ = x.shape
    for name, given, steps, size in (
        ("past", past, T, model.past_size),
        ("known", known, T, model.known_width),
        ("ahead", ahead, None, model.known_width),
    ):
        found = 0 if given is None else given.shape[-1]
        if found != size:
            raise ValueError(
                f"Forecaster: expected {name} with {size} covariates, got {found}. Give what "
                f"the model was made for."
            )
        if given is None:
            continue
        shape = (given.shape[0] if steps is None else steps, B, size)
        if given.shape != shape:
            raise ValueError(
                f"Forecaster: expected {name} of shape {shape}, beside x, got "
                f"{tuple(given.shape)}. Give a row a step, of each series."
            )
    if (series is None) != (model.vectors is None):
        got = "none" if series is None else "some"
        raise ValueError(
            f"Forecaster: expected {'no ' if model.vectors is None else ''}numbers of series, "
            f"got {got}. A model with num_series has a vector for each."
        )
    if series is not None and model.vectors is not None:
        if series.shape != (B,):
            raise ValueError(
                f"Forecaster: expected the numbers of {B} series, got shape "
                f"{tuple(series.shape)}. Give one each."
            )
        check_token_ids("Forecaster, series", series, model.vectors.num_embeddings)


def check_asked(where: str, inputs: Any, seed: object, **sizes: int) -> None:
    """Raise unless what is asked of `predict` is a list of series, a seed and sizes."""
    check_sizes(where, **sizes)
    if isinstance(inputs, str | Series) or not hasattr(inputs, "__len__"):
        raise ValueError(
            f"{where}: expected a list of series, got {inputs!r:.40}. Put it into one: [...]."
        )
    check_seed(where, seed)


def levels_of(levels: Sequence[float]) -> tuple[float, ...]:
    """The probabilities of quantiles that are asked for, checked; none where none are."""
    is_none = isinstance(levels, list | tuple) and not levels
    return () if is_none else tuple(check_levels(levels))


def horizon_of(model: "Forecaster", horizon: int | None) -> int:
    """The steps to come that are asked for, or the model's own.

    Raises:
        ValueError: when the model does not go so far.
    """
    if horizon is None:
        return model.horizon
    check_sizes("Forecaster", horizon=horizon)
    if horizon > model.horizon and model.decoding != "recursive":
        raise ValueError(
            f"{argument('horizon=')}: expected at most {model.horizon}, which the model was "
            f"trained for, got {horizon}. Train one with {argument(f'horizon={horizon}')}, or "
            f"with {argument('decoding=recursive')}, which has no end."
        )
    return horizon


def columns_of(categories: Categories, size: int) -> tuple[int, int, str]:
    """How many columns categories have, how many they have to have, and what these are: all that
    fit into the covariates of a model do."""
    columns = sum(map(len, categories.values()))
    return columns, min(columns, size), "columns, those of the model's covariates"
