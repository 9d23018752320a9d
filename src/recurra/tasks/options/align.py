"""The settings of aligners."""

from dataclasses import dataclass
from typing import Any

from recurra.settings import MAX_LAYERS, MAX_SIZE, Settings, declared_as, setting
from recurra.tasks.options.caption import CaptionerSettings, CaptionSettings, CaptionTraining
from recurra.tasks.options.common import EXAMPLES, MODEL, Options, RecurrentSettings
from recurra.tasks.options.translate import not_negative
from recurra.training.settings import LEARNING, REPORTS, TrainingSettings

REGIONS = ("grid", "boxes")
NEGATIVES = ("all", "hardest")


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignSettings(CaptionSettings):
    """Which pictures with sentences an aligner learns from, and how they are read."""

    boxes: str | None = setting(
        None,
        "Regions of the pictures: a table with the columns image, left, top, right and bottom in "
        "pixels (.csv, .tsv, .jsonl, .parquet), or COCO's instances (.json).",
        EXAMPLES,
        unset="none; scenes have their own",
        is_path=True,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignerSettings(Settings):
    """The sizes of an aligner, as `Aligner` takes them, and of its encoder."""

    cell: Any = declared_as(RecurrentSettings, "cell", default="lstm")  # noqa: RUF009
    regions: str = setting(
        "grid",
        "What a word may look at: the places of the encoder's grid, or the boxes that the data "
        "have, as scenes do.",
        MODEL,
        choices=REGIONS,
    )
    whole_image: bool = setting(
        False,
        "The picture as a whole is one more region.",
        MODEL,
        flags="--whole-image",
    )
    hidden_size: int = setting(128, "Units of each layer, in each direction.", MODEL, most=MAX_SIZE)
    embedding_size: int = declared_as(CaptionerSettings, "embedding_size", default=128)
    joint_size: int = setting(
        256, "Features of the space of words and regions.", MODEL, most=MAX_SIZE
    )
    num_layers: int = setting(1, "Recurrent layers.", MODEL, most=MAX_LAYERS)
    memory: str = declared_as(RecurrentSettings, "memory", default="normal")
    dropout: float = declared_as(
        CaptionerSettings,
        "dropout",
        default=0.1,
        help="Share of what words and regions are made of, dropped in training.",
    )
    input_dropout: float = declared_as(
        CaptionerSettings,
        "input_dropout",
        default=0.1,
        help="Share of each word's vector dropped in training.",
    )
    encoder: str = declared_as(CaptionerSettings, "encoder", default="convnet")
    encoder_weights: str | None = declared_as(CaptionerSettings, "encoder_weights", default=None)
    encoder_width: int = declared_as(CaptionerSettings, "encoder_width", default=32)
    encoder_stages: int = declared_as(CaptionerSettings, "encoder_stages", default=3)
    encoder_depth: int = declared_as(CaptionerSettings, "encoder_depth", default=1)
    encoder_norm: str = declared_as(
        CaptionerSettings,
        "encoder_norm",
        default="batch",
        help="What normalises its maps; group does it over all places of a picture, of which each "
        "then tells of the others: words find the picture, and look anywhere in it.",
    )
    encoder_downsample: str = declared_as(CaptionerSettings, "encoder_downsample", default="pool")


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignTraining(TrainingSettings):
    """How an aligner is trained."""

    batch_size: int = declared_as(
        CaptionTraining,
        "batch_size",
        default=64,
        help="Images that are told from one another with all their sentences, or sentences with an "
        "image each.",
    )
    captions_per_image: str = declared_as(CaptionTraining, "captions_per_image", default="one")
    lr: float = declared_as(TrainingSettings, "lr", default=2e-3)
    average: float = declared_as(TrainingSettings, "average", default=0.99)
    margin: float = setting(
        1.0,
        "By which a sentence and its image are to be ahead of others.",
        LEARNING,
        check=not_negative,
    )
    negatives: str = setting(
        "all",
        "Which others of a batch count: the mean of all, or the hardest of each.",
        LEARNING,
        choices=NEGATIVES,
    )
    encoder_rate: float = declared_as(CaptionTraining, "encoder_rate", default=1.0)
    encoder_after: float = declared_as(CaptionTraining, "encoder_after", default=0.0)
    smoothness: float = setting(
        1.0,
        "How much neighbouring words are drawn to one region, where phrases are shown.",
        REPORTS,
        check=not_negative,
        on_resume="free",
    )


OPTIONS = Options(
    task="align",
    about="Train an aligner: words and regions of pictures in one space.\n\n"
    "The mean of the recalls at 1, 5 and 10, of sentences that look for their picture and of "
    "pictures that look for a sentence, decides on the validation part which model is the best.",
    examples=(
        "recurra train align --max-minutes 3",
        "recurra train align --data flickr8k --images flickr8k/Images --encoder vgg16 "
        "--encoder-weights vgg16.pth --encoder-rate 0",
        "recurra train align --regions boxes --cell rnn_relu",
    ),
    data=AlignSettings,
    model=AlignerSettings,
    training=AlignTraining,
    next_lines=('recurra align {run} pictures --sentence "a small red circle" --grid found.png',),
)
