"""`recurra forecast`: the next steps of series, by a run's best model."""

from pathlib import Path
from typing import Annotated, Any

import typer

from recurra.cli.options import (
    DEVICES,
    RUN,
    check_installed,
    check_picture,
    named,
    option,
    path,
)
from recurra.cli.predict import predict_inputs

_MOST = 100_000  # steps and ways on, which are held in memory
_NUM_DRAWN = 3  # series of a picture


def forecast(
    run: Annotated[Path, RUN],
    inputs: Annotated[
        list[str] | None,
        typer.Argument(help="Files of series, as --data names them.", metavar="[INPUT]..."),
    ] = None,
    data: Annotated[
        list[Path] | None,
        option(
            None,
            "File or folder of series up to the present, with the columns that the run was trained "
            "on; rows without values at the end have covariates that are known ahead.",
            default="none",
            parser=path,
        ),
    ] = None,
    horizon: Annotated[
        int | None,
        option(
            None,
            "Steps to forecast; more than the run's own only of a recursive model.",
            default="the run's own",
        ),
    ] = None,
    levels: Annotated[
        list[float] | None,
        option(None, "Probabilities of the quantiles.", default="0.1 0.5 0.9; of points none"),
    ] = None,
    num_samples: Annotated[
        int, option(None, "Ways on that a recursive model with a spread draws.")
    ] = 100,
    seed: Annotated[int, option(None, "Of these draws.")] = 0,
    encoding: Annotated[
        str | None, option(None, "Of text files.", default="the run's own", parser=named)
    ] = None,
    as_json: Annotated[
        bool, option(None, "Print a JSON object for each series.", "--json")
    ] = False,
    out: Annotated[
        Path | None,
        option(
            None,
            "Write a table instead, a row a step: .csv, .tsv, .jsonl or .parquet.",
            default="lines are printed",
            parser=path,
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        option(
            None,
            "Also draw the first series, and what comes next: .svg, .png or .pdf.",
            default="nothing is drawn",
            parser=path,
        ),
    ] = None,
    device: Annotated[str, option(None, "Where the model runs.", choices=DEVICES)] = "cpu",
) -> None:
    """Say what comes next in series, a line for each step.

    Examples: recurra forecast runs/load --data new.csv --horizon 96 --out forecast.parquet
    """
    from recurra.settings import MAX_SEED, whole

    whole("horizon", horizon, least=1, most=_MOST, optional=True)
    whole("num_samples", num_samples, least=1, most=_MOST)
    whole("seed", seed, least=0, most=MAX_SEED)
    if not inputs and not data:
        raise ValueError(
            "data: expected files of series, got none. Name one, as in recurra forecast RUN --data "
            "new.csv."
        )
    drawn: list[Any] = []
    if plot is not None:
        check_picture("plot", plot)
        check_installed("plot", "compare", "matplotlib")
    predict_inputs(
        *(run, "forecast", list(inputs or []), list(data or []), (None, encoding)),
        as_json=as_json,
        out=out,
        device=device,
        watch=None if plot is None else lambda record, said: drawn.append((record, said)),
        horizon=horizon,
        levels=levels or None,
        num_samples=num_samples,
        seed=seed,
    )
    if plot is not None:
        _draw(drawn[:_NUM_DRAWN], plot)


def _draw(said: list[Any], path: Path) -> None:
    from recurra.insight import draw_forecasts
    from recurra.tasks.forecast_files import ShownWindow

    windows = [
        ShownWindow(
            past=record.value.values,
            true=None,
            values=forecast.values,
            quantiles=forecast.quantiles,
        )
        for record, forecast in said
    ]
    first = said[0][1]
    ends = first.levels[:1] + first.levels[-1:]
    interval = ends[1] - ends[0] if len(first.levels) > 1 else None
    draw_forecasts(windows, path, channels=first.channels, interval=interval)
