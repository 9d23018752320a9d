"""The settings of captioners."""

from dataclasses import dataclass
from typing import Any

from recurra.settings import MAX_LAYERS, MAX_SIZE, Settings, declared_as, fraction, setting
from recurra.tasks.options.common import EXAMPLES, LEVELS, MODEL, PATHS, Options, RecurrentSettings
from recurra.tasks.options.reading import FileSettings, WordSettings
from recurra.tasks.options.translate import not_negative
from recurra.training.settings import LEARNING, REPORTS, TrainingSettings

INJECTIONS = ("first", "input", "every", "merge", "memory", "attend", "none")
SCORES = ("additive", "dot", "general", "scaled_dot")
STARTS = ("mean", "max")
KINDS = ("auto", "vector", "grid")
TOGETHER = ("one", "all")
DOWNSAMPLING = ("pool", "stride")
WORLD = "scenes"
_WRITING = "Writing"
_SEEING = "Encoder"


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionSettings(FileSettings):
    """Which pictures with captions a captioner learns from, and how they are read."""

    data: str | tuple[str, ...] | None = declared_as(
        FileSettings,
        "data",
        default=None,
        help="Pictures with captions: a file of COCO or of Karpathy's splits (.json), Flickr8k's "
        "tokens, a table (.tsv, .csv, .jsonl, .parquet), or a folder with one; or the name of a "
        "made-up world: scenes, numbers, scenes:train=2000,size=64.",
        unset="scenes, a world of coloured shapes that is made up",
    )
    images: str | tuple[str, ...] | None = setting(
        None,
        "Folder of the pictures, or several.",
        EXAMPLES,
        unset="that of the captions, and what is below it",
        **PATHS,
    )
    val_data: str | tuple[str, ...] | None = declared_as(
        FileSettings,
        "val_data",
        default=None,
        help="Validate on these captions instead.",
        unset="as the data say, or 5 % of them",
    )
    test_data: str | tuple[str, ...] | None = declared_as(
        FileSettings,
        "test_data",
        default=None,
        help="Test on these captions instead.",
        unset="as the data say, or 5 % of them",
    )
    image_column: str | None = setting(
        None, "Of a table, the column of pictures, its name or number.", EXAMPLES, unset="found"
    )
    caption_column: str | None = setting(
        None, "Of a table, the column of captions.", EXAMPLES, unset="found"
    )
    strict: bool = setting(
        False,
        "Refuse data of which anything is wrong; otherwise such things are left out and counted.",
        EXAMPLES,
        flags="--strict",
    )
    num_images: int | None = setting(
        None, "Train on so many pictures alone.", EXAMPLES, unset="all there are"
    )
    lower: bool = declared_as(WordSettings, "lower", default=True, panel=EXAMPLES, help="Take captions in lower case.")  # fmt: skip  # noqa: E501
    punctuation: bool = setting(
        False,
        "Learn marks of punctuation too.",
        EXAMPLES,
        flags="--punctuation/--no-punctuation",
    )
    level: str = setting("word", "What a token of a caption is.", EXAMPLES, choices=LEVELS)
    vocab_size: int | None = setting(
        None, "Largest number of words, or of pieces.", EXAMPLES, most=MAX_SIZE, unset="50000"
    )
    min_count: int = declared_as(WordSettings, "min_count", default=2, panel=EXAMPLES)
    max_tokens: int = setting(
        40, "Captions are cut to so many tokens in training.", EXAMPLES, most=MAX_SIZE
    )
    size: int | None = setting(
        None,
        "Rows and columns that pictures are scaled and cut to.",
        EXAMPLES,
        most=4096,
        unset="224 of files, of a world its own",
    )
    features: str | None = setting(
        None,
        "Folder of what another program made of the pictures, .npy or .safetensors, which are read "
        "in their place.",
        EXAMPLES,
        unset="pictures are read, by an encoder",
        is_path=True,
    )
    feature_kind: str = setting(
        "auto",
        "What is read of them, a vector of each picture or a grid of vectors; auto: a grid to "
        "attend to, else a vector.",
        EXAMPLES,
        choices=KINDS,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionerSettings(Settings):
    """The sizes of a captioner, as `Captioner` takes them, and of its encoder."""

    cell: Any = declared_as(RecurrentSettings, "cell", default="lstm")  # noqa: RUF009
    inject: str = setting(
        "attend",
        "How the image reaches the words: at the first step, as the first input, at every step, "
        "merged behind the recurrence, beside a memory that says it back, by attention over its "
        "grid, or not at all.",
        MODEL,
        choices=INJECTIONS,
    )
    attention: str = setting("additive", "How a place is scored.", MODEL, choices=SCORES)
    start: str = setting(
        "mean",
        "What of the grid attention starts from: its mean, or the max over its places, from which "
        "small things are learned sooner.",
        MODEL,
        choices=STARTS,
    )
    hidden_size: int = setting(128, "Units of each layer.", MODEL, most=MAX_SIZE)
    embedding_size: int = setting(64, "Features of a word's vector.", MODEL, most=MAX_SIZE)
    image_features: int | None = setting(
        None,
        "Features that the recurrence is given of an image; 0: those of its vector as it is.",
        MODEL,
        least=0,
        most=MAX_SIZE,
        unset="as many as of a word; with attention as many as units",
    )
    num_layers: int = setting(1, "Recurrent layers.", MODEL, most=MAX_LAYERS)
    memory: str = declared_as(RecurrentSettings, "memory", default="normal")
    dropout: float = setting(
        0.1, "Share of what words are chosen from, dropped in training.", MODEL, check=fraction
    )
    input_dropout: float = setting(
        0.1, "Share of each word's and image's vector dropped in training.", MODEL, check=fraction
    )
    encoder: str = setting(
        "convnet",
        "The network that reads pictures: of recurra.vision.names().",
        _SEEING,
    )
    encoder_weights: str | None = setting(
        None,
        "Weights of it that were published, .pth or .safetensors.",
        _SEEING,
        unset="drawn anew",
        is_path=True,
    )
    encoder_width: int = setting(
        16, "Maps of its first stage, of a convnet or a resnet; each stage has twice as many.",
        _SEEING, most=4096,
    )  # fmt: skip
    encoder_stages: int = setting(3, "Stages, each of which halves the picture.", _SEEING, most=12)
    encoder_depth: int = setting(1, "Convolutions, or blocks, of each stage.", _SEEING, most=100)
    encoder_norm: str = setting(
        "group",
        "What normalises its maps; batch does it by the other images of a step, whose captions are "
        "as long: it tells in training how much there is to say, and in use no more.",
        _SEEING,
        choices=("group", "batch", "none"),
    )
    encoder_downsample: str = setting(
        "stride",
        "How a stage of a convnet halves rows and columns: by max pooling, or by the stride of its "
        "convolution, which computes less than half as much; a resnet strides.",
        _SEEING,
        choices=DOWNSAMPLING,
    )
    encoder_pool: int = setting(
        4, "Rows and columns of the places that a picture's vector is made of.", _SEEING, most=256
    )
    encoder_size: int = setting(
        256,
        "Features of a picture's vector; 0: its places as they are, no layer over them, which is "
        "what an encoder that does not learn is read by.",
        _SEEING,
        least=0,
        most=MAX_SIZE,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionTraining(TrainingSettings):
    """How a captioner is trained."""

    batch_size: int = setting(
        32, "Images read side by side with all their captions, or captions with one each.", LEARNING
    )
    captions_per_image: str = setting(
        "one",
        "Of an image in a step: one, which is best while captions cost as much as images do, or "
        "all, which is best where the encoder is large.",
        LEARNING,
        choices=TOGETHER,
    )
    lr: float = declared_as(TrainingSettings, "lr", default=3e-3)
    average: float = declared_as(TrainingSettings, "average", default=0.99)
    label_smoothing: float = setting(
        0.0, "Probability that is spread over all tokens.", LEARNING, check=fraction
    )
    word_dropout: float = setting(
        0.1,
        "Share of words that are not read while the next ones are learned: these are then told "
        "from the image.",
        LEARNING,
        check=fraction,
    )
    curriculum: float = setting(
        0.0,
        "Share of the run, at its start, in which short captions come first: the bound grows to "
        "the length of the longest. It helps where words are found in pictures that have little "
        "else to tell; 0: all from the start on.",
        LEARNING,
        check=fraction,
    )
    reconstruction: float = setting(
        1.0,
        "With a memory, how much it counts what the words say of the image.",
        LEARNING,
        check=not_negative,
    )
    encoder_rate: float = setting(
        1.0,
        "Times the learning rate at which it learns; 0 leaves it as it is, and computes what it "
        "makes of a picture once.",
        _SEEING,
        check=not_negative,
    )
    encoder_after: float = setting(
        0.0, "Share of the run before it begins to learn.", _SEEING, check=fraction
    )
    self_critical: float = setting(
        0.0,
        "Share of the run, at its end, in which captions are drawn and rewarded by CIDEr.",
        LEARNING,
        check=fraction,
    )
    beam_size: int = setting(
        3,
        "Beams with which the test part is captioned; validation takes the most probable token.",
        REPORTS,
        most=1000,
        on_resume="free",
    )
    length_penalty: float = setting(
        1.0,
        "How much long captions are favoured: scores are divided by ((5 + tokens) / 6) to it.",
        REPORTS,
        check=not_negative,
        on_resume="free",
    )
    neighbours: int = setting(
        10_000,
        "Of evaluation: pictures that are trained on, evenly drawn from all, among which the "
        "nearest is looked for, whose caption is a floor; 0: all.",
        REPORTS,
        least=0,
        on_resume="free",
    )
    ranked: int = setting(
        100,
        "Of evaluation: pictures among which sentences look for theirs, of each of which a "
        "captioner reads all their sentences; 0: none, and no recall is told.",
        REPORTS,
        least=0,
        on_resume="free",
    )
    java: bool = setting(
        True,
        "Of evaluation: METEOR too, and SPICE where its models are, if Java is there.",
        REPORTS,
        flags="--java/--no-java",
        on_resume="free",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionWritingSettings(Settings):
    """How captions are searched, as `Captioner.predict` takes it."""

    beam_size: int = setting(
        3, "Beginnings that are followed at once; 1 takes the most probable token.", _WRITING
    )
    length_penalty: float = setting(
        1.0,
        "How much long captions are favoured: scores are divided by ((5 + tokens) / 6) to it.",
        _WRITING,
        check=not_negative,
    )
    num_best: int = setting(1, "Captions of each image, at most the beams.", _WRITING)
    temperature: float = setting(
        0.0,
        "Above 0 tokens are drawn: below 1 surer, above 1 wilder.",
        _WRITING,
        check=not_negative,
    )
    seed: int = setting(1, "Of what is drawn.", _WRITING, least=0)
    max_length: int = setting(30, "Tokens at most.", _WRITING)
    no_repeat_ngram: int = setting(
        0, "Of how many tokens no run may stand twice; 0 allows all.", _WRITING, least=0
    )
    no_bad_ending: bool = setting(
        False,
        "No caption ends behind a word such as a, the, of or with.",
        _WRITING,
        flags="--no-bad-ending",
    )


OPTIONS = Options(
    task="caption",
    about="Train a captioner: an image in, a sentence out.\n\n"
    "CIDEr on the validation part decides which model is the best; of scenes, the share of "
    "captions that are true in every fact does.",
    examples=(
        "recurra train caption --max-minutes 3",
        "recurra train caption --data flickr8k --images flickr8k/Images --encoder vgg16 "
        "--encoder-weights vgg16.pth --encoder-rate 0",
        "recurra train caption --data captions.tsv --inject first --cell gru",
    ),
    data=CaptionSettings,
    model=CaptionerSettings,
    training=CaptionTraining,
    next_lines=("recurra caption {run} picture.png --grid captions.png",),
)
