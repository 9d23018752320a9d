"""The settings of forecasters of motion."""

from dataclasses import dataclass

from recurra.settings import Settings, declared_as, setting
from recurra.tasks.options.common import PATHS, Options, RecurrentSettings
from recurra.tasks.options.forecast import ForecasterSettings, ForecastTraining, SeriesSettings

MOTION = "Motion"


@dataclass(frozen=True, slots=True, kw_only=True)
class MotionSettings(Settings):
    """Which motion a forecaster learns from, and how it is read."""

    data: str | None = setting(
        None,
        "Folder with train and test, and val or not; in each a folder for each action, with a file "
        "for each recording: a line a frame (.txt, .csv) or an array (.npy), exponential maps of "
        "joints.",
        MOTION,
        unset="none: it must be given",
        **{**PATHS, "several": False},
    )
    every: int = setting(2, "Which frames are kept: every second, say.", MOTION, most=100)
    mirror: bool = setting(
        False, "Train on what a mirror shows too; of the skeleton of CMU, 117 numbers.", MOTION
    )
    train_on_all: bool = setting(
        False,
        "Train on recordings that validate as well, once settings are picked: figures of "
        "validation are of what was learned then.",
        MOTION,
    )
    look_back: int = declared_as(SeriesSettings, "look_back", default=50, panel=MOTION)
    horizon: int = declared_as(SeriesSettings, "horizon", default=25, panel=MOTION)


@dataclass(frozen=True, slots=True, kw_only=True)
class MotionModelSettings(ForecasterSettings):
    """What a forecaster of motion is: all joints are read together."""

    hidden_size: int = declared_as(RecurrentSettings, "hidden_size", default=256)
    dropout: float = declared_as(RecurrentSettings, "dropout", default=0.2)
    density: str = declared_as(
        ForecasterSettings, "density", default="point", choices=("point", "gaussian", "student")
    )
    point_loss: str = declared_as(ForecasterSettings, "point_loss", default="mae")
    shared_channels: bool = declared_as(ForecasterSettings, "shared_channels", default=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class MotionTraining(ForecastTraining):
    """How a forecaster of motion is trained."""

    batch_size: int = declared_as(ForecastTraining, "batch_size", default=32)


OPTIONS = Options(
    task="motion",
    about="Train a forecaster of motion: the next frames of recorded bodies.\n\nThe error is that "
    "which is published, of Euler angles, beside those of zero velocity and damped velocity.",
    examples=(
        "recurra train motion --data cmu_mocap --out runs/motion",
        "recurra train motion --data cmu_mocap --decoding recursive --residual",
    ),
    data=MotionSettings,
    model=MotionModelSettings,
    training=MotionTraining,
    next_lines=(
        "recurra evaluate {run} --gif motion.gif",
        "recurra predict {run} FILE --out forecast.csv",
    ),
)
