"""The settings of taggers of frames."""

from dataclasses import dataclass

from recurra.settings import MAX_SIZE, declared_as, fraction, setting
from recurra.tasks.options.common import EXAMPLES, MODEL, Options, RecurrentSettings
from recurra.tasks.options.reading import FileSettings, ReaderSettings
from recurra.tasks.options.tag import TaggedSettings, TaggerSettings, one_kind_learned
from recurra.training.settings import LEARNING, TrainingSettings

ENCODER = "Encoder"
MEASURES = ("auto", "numbers", "angle", "joints")


def numbers(name: str, value: object) -> None:
    """Check that a setting is whole numbers of 1 or more with commas between."""
    parts = str(value).split(",")
    if not all(part.strip().isdecimal() and 1 <= int(part) <= MAX_SIZE for part in parts):
        raise ValueError(
            f"{name}: expected whole numbers with commas between, got {value!r:.60}. Give them as "
            "in 16,32,64."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FramesSettings(FileSettings):
    """Which clips a tagger of frames learns from."""

    data: str | tuple[str, ...] | None = declared_as(
        FileSettings,
        "data",
        default=None,
        help="A folder of clips: folders of pictures, GIFs, videos, .npy, .h5, with tables of "
        "labels beside them, in folders train, val and test or not; what is not divided is, 80 / "
        "10 / 10 %. Or a world of clips that recurra makes, gestures, eyes or stick-figures, with "
        "what it is given: gestures:train=3000,noise=2.",
    )
    val_data: str | tuple[str, ...] | None = declared_as(
        FileSettings, "val_data", default=None, help="Validate on these clips instead."
    )
    test_data: str | tuple[str, ...] | None = declared_as(
        FileSettings, "test_data", default=None, help="Test on these clips instead."
    )
    tag_column: str | None = declared_as(
        TaggedSettings,
        "tag_column",
        default=None,
        help="Column of labels in tables, its name or number.",
        unset="label, gesture and the like",
    )
    target: str | tuple[str, ...] | None = declared_as(TaggedSettings, "target", default=None)
    size: int | None = setting(
        None,
        "Rows and columns that pictures are scaled to.",
        EXAMPLES,
        most=4096,
        unset="as they are; all must be of one size",
    )
    colours: str = setting("grey", "Of pictures.", EXAMPLES, choices=("grey", "rgb"))
    every: int = setting(1, "Of so many frames one is kept.", EXAMPLES, most=1000)
    splits: str | None = setting(
        None,
        "A JSON file with lists of the clips' names by part, as Soli's recordings have one.",
        EXAMPLES,
        unset="folders say it, or parts are drawn",
        is_path=True,
    )
    strict: bool = setting(
        False,
        "Refuse what cannot be read; else it is named and left out.",
        EXAMPLES,
        flags="--strict",
    )
    fresh: bool = setting(
        False,
        "Draw the clips of a world that are trained on anew for every pass, so that none is seen "
        "twice.",
        EXAMPLES,
        flags="--fresh",
    )
    background: str | None = setting(
        None,
        "The label of frames in which nothing happens; runs of the others are events to be found.",
        EXAMPLES,
        unset="background, where there is such a label",
    )
    measure: str = setting(
        "auto",
        "What errors of numbers are measured in: of a gaze, yaw and pitch, the angle; of joints, "
        "across and down, the distance.",
        EXAMPLES,
        choices=MEASURES,
    )

    def check(self) -> None:
        """Labels or numbers are learned, not both."""
        one_kind_learned(self.target, self.tag_column)


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameTaggerSettings(RecurrentSettings):
    """What a tagger of frames is: an encoder of pictures, and recurrent layers over its vectors."""

    encoder: str = setting(
        "convnet", "The network that reads a frame.", ENCODER, choices=("convnet", "resnet")
    )
    widths: str = setting(
        "16,32,64",
        "Maps of each of its stages, each of half the rows and columns of the one before.",
        ENCODER,
        check=numbers,
    )
    depth: int = setting(1, "Convolutions, or blocks, of each stage.", ENCODER, most=100)
    pool: int = setting(
        4, "Rows and columns of the grid of places that the vector is made of.", ENCODER, most=256
    )
    downsample: str = setting(
        "stride",
        "How a stage of a convnet halves rows and columns: by max pooling, or by the stride of its "
        "first convolution, which computes less than half as much; a resnet strides.",
        ENCODER,
        choices=("pool", "stride"),
    )
    vector: str = setting(
        "places",
        "What a frame's vector is made of: averages over places of a grid, or points, where and "
        "how bright each map is.",
        ENCODER,
        choices=("places", "points"),
    )
    vector_size: int = setting(128, "Features of a frame's vector.", ENCODER, most=MAX_SIZE)
    norm: str = setting(
        "batch",
        "What normalises its maps; group is the same in training and in use, and learns later.",
        ENCODER,
        choices=("group", "batch", "none"),
    )
    recurrence: bool = setting(
        True,
        "Read frames in their order; without, units as many see one frame alone, to compare with.",
        MODEL,
        flags="--recurrence/--no-recurrence",
    )
    hidden_size: int = declared_as(RecurrentSettings, "hidden_size", default=128)
    dropout: float = declared_as(RecurrentSettings, "dropout", default=0.0)
    bidirectional: bool = declared_as(ReaderSettings, "bidirectional", default=False)
    input_dropout: float = setting(
        0.0, "Share of each frame's vector dropped in training.", MODEL, check=fraction
    )
    delay: int = declared_as(TaggerSettings, "delay", default=0)

    def check(self) -> None:
        """A model that reads from the end as well needs no look ahead."""
        TaggerSettings.check(self)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True, kw_only=True)
class FramesTraining(TrainingSettings):
    """How a tagger of frames is trained."""

    batch_size: int = setting(4, "Clips read side by side.", LEARNING)
    lr: float = declared_as(TrainingSettings, "lr", default=3e-3)


OPTIONS = Options(
    task="frames",
    about="Train a tagger of frames: a label, or numbers, at every frame of a clip.\n\nA "
    "convolutional network reads each frame and recurrent layers read its vectors; both learn "
    "together.",
    examples=(
        "recurra train frames --data gestures --fresh --out runs/gestures",
        "recurra train frames --data gestures:train=3000 --no-recurrence",
        "recurra train frames --data stick-figures --fresh --vector points",
        "recurra train frames --data my_clips --size 64 --target yaw --target pitch",
        "recurra train frames --data soli --splits file_half.json",
    ),
    data=FramesSettings,
    model=FrameTaggerSettings,
    training=FramesTraining,
    next_lines=(
        "recurra evaluate {run} --timeline timeline.png",
        "recurra frames {run} CLIP --out frames.csv",
    ),
    predicts=("Say the label, or the numbers, of each frame of each clip.", "runs/gestures"),
)
