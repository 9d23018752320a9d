"""The settings of forecasters."""

from dataclasses import dataclass
from typing import Any

from recurra.errors import argument
from recurra.settings import MAX_SIZE, declared_as, setting
from recurra.tasks.options.common import MODEL, Options, RecurrentSettings, columns
from recurra.tasks.options.reading import FileSettings
from recurra.training.settings import LEARNING, TrainingSettings

SERIES = "Series"
CALENDAR = ("minute", "hour", "weekday", "day", "yearday")
_MAX_STEPS = 100_000  # of a horizon or a look-back


def shares_of(text: str) -> tuple[float, ...]:
    """The shares of train, val and test as they are written: "0.7,0.1,0.2" or "8640,2880,2880".

    Raises:
        ValueError: when they are not three fractions that sum to 1 at most, or three counts.
    """
    try:
        shares = tuple(float(each) for each in text.split(","))
    except ValueError:
        shares = ()
    are_counts = all(each >= 1 and each == int(each) for each in shares)
    are_fractions = all(0 < each < 1 for each in shares) and sum(shares) <= 1 + 1e-9
    if len(shares) != 3 or not (are_counts or are_fractions):
        raise ValueError(
            f"parts: expected three fractions that sum to 1, or three counts of steps, got "
            f"{text!r:.40}. Write them as in 0.7,0.1,0.2 or 8640,2880,2880."
        )
    return shares


def _features(name: str, value: object) -> None:
    several = value if isinstance(value, list | tuple) else (value,)
    for each in several:
        if each not in CALENDAR:
            raise ValueError(
                f"{name}: expected some of {', '.join(CALENDAR)}, got {each!r:.40}. Choose among "
                "them."
            )


def _shares(name: str, value: object) -> None:
    shares_of(str(value))


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesSettings(FileSettings):
    """Which series a forecaster learns from, and how they are read."""

    data: str | tuple[str, ...] | None = declared_as(
        FileSettings,
        "data",
        default=None,
        help="Table with a row a step (.csv, .tsv, .txt, .parquet) or array (.npy, of shape "
        "[T, C] or [N, T, C]); of several, or of a folder, each file is a series.",
    )
    val_data: str | tuple[str, ...] | None = declared_as(
        FileSettings,
        "val_data",
        default=None,
        help="Validate on the series of this file instead.",
        unset="by --parts",
    )
    test_data: str | tuple[str, ...] | None = declared_as(
        FileSettings,
        "test_data",
        default=None,
        help="Test on the series of this file instead.",
        unset="by --parts",
    )
    target: str | tuple[str, ...] | None = setting(
        None,
        "Columns that are forecast, by name or number.",
        SERIES,
        unset="all that are nothing else",
        several=True,
        check=columns,
    )
    past_covariates: str | tuple[str, ...] | None = setting(
        None,
        "Columns that are read beside them, which nobody knows ahead; where a recursive model "
        "feeds itself, each stays at its last value.",
        SERIES,
        unset="none",
        several=True,
        check=columns,
    )
    known_covariates: str | tuple[str, ...] | None = setting(
        None,
        "Columns that are known ahead, such as prices or holidays.",
        SERIES,
        unset="none",
        several=True,
        check=columns,
    )
    categories: str | tuple[str, ...] | None = setting(
        None,
        "Columns among the covariates that are categories though they look like numbers; those of "
        "words are.",
        SERIES,
        unset="those of words",
        several=True,
        check=columns,
    )
    date_column: str | None = setting(
        None, "Column of dates, its name or number.", SERIES, unset="found by what it holds"
    )
    date_format: str | None = setting(
        None, "How dates are written, as strptime has it: %d.%m.%Y.", SERIES, unset="ISO"
    )
    group_column: str | None = setting(
        None,
        "Column that says which series a row is of.",
        SERIES,
        unset="none: a file is a series",
    )
    calendar: str | tuple[str, ...] | None = setting(
        None,
        "What is read of dates: minute, hour, weekday, day (of the month), yearday.",
        SERIES,
        unset="nothing",
        several=True,
        check=_features,
    )
    missing: str = setting(
        "fail",
        "Missing values and gaps between dates: fail, fill with the last value before, or mask, "
        "which fills and reads a channel that says where.",
        SERIES,
        choices=("fail", "fill", "mask"),
    )
    scaling: str = setting(
        "own",
        "Mean and deviation that values are scaled by: its own of each series, or shared.",
        SERIES,
        choices=("own", "shared"),
    )
    parts: str = setting(
        "0.7,0.1,0.2",
        "How each series is divided into train, val and test by position: fractions, or counts "
        "of steps.",
        SERIES,
        check=_shares,
    )
    season: int | None = setting(
        None,
        "Steps of the season that is repeated for comparison.",
        SERIES,
        most=_MAX_STEPS,
        unset="that of the dates, or found",
    )
    flip: bool = setting(
        False,
        "Turn half of the windows of training upside down at their last value, so that no drift is "
        "learned.",
        SERIES,
        flags="--flip",
    )
    horizon: int = setting(24, "Steps that are forecast.", SERIES, most=_MAX_STEPS)
    look_back: int = setting(96, "Steps of the past that are read.", SERIES, most=_MAX_STEPS)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecasterSettings(RecurrentSettings):
    """What a forecaster is, as `Forecaster` takes it."""

    cell: Any = declared_as(RecurrentSettings, "cell", default="gru")  # noqa: RUF009
    hidden_size: int = declared_as(RecurrentSettings, "hidden_size", default=128)
    dropout: float = declared_as(RecurrentSettings, "dropout", default=0.0)
    density: str = setting(
        "point",
        "What is said of each number: a point, quantiles, or a distribution.",
        MODEL,
        choices=("point", "quantiles", "gaussian", "student", "mixture", "pen"),
    )
    point_loss: str = setting(
        "mse", "What a point is learned by.", MODEL, choices=("mse", "mae", "huber")
    )
    components: int = setting(5, "Of a mixture.", MODEL, most=1000)
    decoding: str = setting(
        "segments",
        "direct makes all steps of the last state, recursive feeds each step back, segments reads "
        "and makes many steps at a time.",
        MODEL,
        choices=("direct", "recursive", "segments"),
    )
    segment_length: int | None = setting(
        None,
        "Steps of a segment.",
        MODEL,
        most=_MAX_STEPS,
        unset="the largest divisor of the horizon up to its half",
    )
    subtract_last: bool = setting(
        True,
        "Take the last value away from what is read, and add it to what is said.",
        MODEL,
        flags="--subtract-last/--keep-last",
    )
    residual: bool = setting(
        False, "Say the change from step to step; of --decoding recursive.", MODEL
    )
    shared_channels: bool = setting(
        True,
        "Read each channel as a series by itself, all with the same weights.",
        MODEL,
        flags="--shared-channels/--joint-channels",
    )
    series_size: int = setting(
        0, "Features of a learned vector of each series; 0: none.", MODEL, least=0, most=MAX_SIZE
    )

    def check(self) -> None:
        """Options of one way to decode are not given beside another."""
        if self.residual and self.decoding != "recursive":
            raise ValueError(
                f"residual: expected {argument('decoding=recursive')} beside it, got "
                f"{argument(f'decoding={self.decoding}')}. Leave one of them out."
            )
        if self.segment_length is not None and self.decoding != "segments":
            raise ValueError(
                f"segment_length: expected {argument('decoding=segments')} beside it, got "
                f"{argument(f'decoding={self.decoding}')}. Leave one of them out."
            )
        if self.density == "pen" and (self.shared_channels or self.subtract_last):
            raise ValueError(
                f"density: expected {argument('shared_channels=False')} and "
                f"{argument('subtract_last=False')} beside pen, whose three channels are one "
                "movement, got others. Give both."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastTraining(TrainingSettings):
    """How a forecaster is trained."""

    batch_size: int = setting(64, "Windows read side by side.", LEARNING)
    lr: float = declared_as(TrainingSettings, "lr", default=1e-3)
    feeding: str = setting(
        "own",
        "What a recursive model is fed in training: its own forecasts, the truth (teacher), or the "
        "truth ever more rarely (scheduled).",
        LEARNING,
        choices=("own", "teacher", "scheduled"),
    )


OPTIONS = Options(
    task="forecast",
    about="Train a forecaster: the next steps of series of numbers.\n\nThe error over all windows "
    "of the validation part decides which model is the best: of points the one that they are "
    "learned by, of others the CRPS. Repeating the last value or the last season stands beside it.",
    examples=(
        "recurra train forecast --data ETTh1.csv --parts 8640,2880,2880 --horizon 96",
        "recurra train forecast --data sales.csv --group-column shop --calendar weekday yearday",
        "recurra train forecast --data load.parquet --density quantiles --missing mask",
    ),
    data=SeriesSettings,
    model=ForecasterSettings,
    training=ForecastTraining,
    next_lines=("recurra forecast {run} --data FILE --out forecast.csv",),
)
