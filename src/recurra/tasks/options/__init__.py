"""The settings of every task: what `recurra train TASK` takes, and its help.

They stand apart from the tasks, because the command line makes its options of them and its help
waits for no library.
"""

from recurra.tasks.options import (
    align,
    caption,
    classify,
    forecast,
    frames,
    lm,
    motion,
    tag,
    translate,
)
from recurra.tasks.options.align import AlignerSettings, AlignSettings, AlignTraining
from recurra.tasks.options.caption import (
    CaptionerSettings,
    CaptionSettings,
    CaptionTraining,
    CaptionWritingSettings,
)
from recurra.tasks.options.classify import ClassifierSettings, ClassifyTraining, LabelledSettings
from recurra.tasks.options.common import Options, RecurrentSettings
from recurra.tasks.options.forecast import (
    ForecasterSettings,
    ForecastTraining,
    SeriesSettings,
)
from recurra.tasks.options.frames import FramesSettings, FramesTraining, FrameTaggerSettings
from recurra.tasks.options.lm import LanguageModelSettings, LanguageTraining, TextSettings
from recurra.tasks.options.motion import MotionModelSettings, MotionSettings, MotionTraining
from recurra.tasks.options.reading import FileSettings, ReaderSettings, WordSettings
from recurra.tasks.options.tag import TaggedSettings, TaggerSettings, TagTraining
from recurra.tasks.options.translate import (
    ParallelSettings,
    TranslateTraining,
    TranslatorSettings,
    WritingSettings,
)

__all__ = [
    "OPTIONS",
    "AlignSettings",
    "AlignTraining",
    "AlignerSettings",
    "CaptionSettings",
    "CaptionTraining",
    "CaptionWritingSettings",
    "CaptionerSettings",
    "ClassifierSettings",
    "ClassifyTraining",
    "FileSettings",
    "ForecastTraining",
    "ForecasterSettings",
    "FrameTaggerSettings",
    "FramesSettings",
    "FramesTraining",
    "LabelledSettings",
    "LanguageModelSettings",
    "LanguageTraining",
    "MotionModelSettings",
    "MotionSettings",
    "MotionTraining",
    "Options",
    "ParallelSettings",
    "ReaderSettings",
    "RecurrentSettings",
    "SeriesSettings",
    "TagTraining",
    "TaggedSettings",
    "TaggerSettings",
    "TextSettings",
    "TranslateTraining",
    "TranslatorSettings",
    "WordSettings",
    "WritingSettings",
]

# in the order of the help
OPTIONS = {
    each.task: each
    for each in (
        *(lm.OPTIONS, classify.OPTIONS, tag.OPTIONS, frames.OPTIONS),
        *(translate.OPTIONS, caption.OPTIONS, align.OPTIONS),
        *(forecast.OPTIONS, motion.OPTIONS),
    )
}
