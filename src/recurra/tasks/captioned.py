"""What tasks share whose examples are pictures with captions: their data, and pictures as a model
reads them.

Letters: N images, C channels, Y rows, X columns of pixels.
"""

import math
from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from recurra.data import Buckets, Curriculum, Source
from recurra.data.caption_store import CaptionBatch, CaptionExamples, SingleCaptions
from recurra.data.captions import CaptionData
from recurra.data.opening import warn_of_one_held_out
from recurra.models.seeing import Seeing
from recurra.tasks import caption_data
from recurra.tasks.caption_checks import check_learns, checked
from recurra.tasks.caption_encoders import encoder_for, pixels, preprocessing_for
from recurra.tasks.cells import with_cell
from recurra.tasks.options import CaptionSettings
from recurra.text import Vocabulary
from recurra.training.settings import RunSettings
from recurra.training.task import Description, Task

SeeingT = TypeVar("SeeingT", bound=Seeing)
TaskT = TypeVar("TaskT", bound="CaptionedTask[Any]")


class CaptionedTask(Task[SeeingT, CaptionBatch]):
    """Images with captions, encoded, for a model that sees.

    Args:
        parts: by split.
        texts: by split, the captions of each image as they are learned.
        vocabulary: of the captions.
        size: rows and columns of the pictures; None where images are vectors.
        description: of the data as they were read, as JSON has it.
    """

    def __init__(
        self,
        parts: Mapping[str, CaptionExamples],
        texts: caption_data.Texts,
        vocabulary: Vocabulary,
        *,
        size: tuple[int, int] | None = None,
        description: Mapping[str, Any] | None = None,
    ) -> None:
        self.parts, self.texts, self.vocabulary = parts, texts, vocabulary
        self.size = size
        self.description = dict(description or {})
        self._features: dict[str, Tensor] = {}  # of an encoder that stays as it is, by part

    # ---- data ------------------------------------------------------------------------------------

    @classmethod
    def check(cls, settings: RunSettings) -> RunSettings:
        """The settings with the cell that they name; the data and the encoder's weights are there.

        Raises:
            DataError: when they are not.
            ValueError: when there is no such cell or encoder, or settings do not go together.
        """
        warn_of_one_held_out(settings.data.val_data, settings.data.test_data)
        return with_cell(checked(settings))

    @classmethod
    def prepare(cls: type[TaskT], folder: Path, data: CaptionSettings) -> TaskT:
        """Read pictures and captions, and write them into the folder as they are learned."""
        found, empty = caption_data.kept(cls.read(data), data)
        notes = [*found.notes, *caption_data.write_parts(folder, found, data)]
        vocabulary = caption_data.vocabulary_of([e.captions for e in found.parts["train"]], data)
        described = {
            "notes": notes,
            "empty": empty,
            "max_tokens": data.max_tokens,
            "lower": data.lower,
            "punctuation": data.punctuation,
        }
        return cls._opened(folder, vocabulary, described)

    @classmethod
    def read(cls, data: CaptionSettings) -> CaptionData:
        """The pictures and captions that settings name."""
        return caption_data.read(data)

    @classmethod
    def open(cls: type[TaskT], folder: Path, config: Mapping[str, Any]) -> TaskT:
        """The pictures and captions in a run's folder."""
        described = config.get("data", {}).get("described", {})
        return cls._opened(folder, Vocabulary.from_config(config["vocabulary"]), described)

    @classmethod
    def _opened(
        cls: type[TaskT], folder: Path, vocabulary: Vocabulary, described: Mapping[str, Any]
    ) -> TaskT:
        parts, texts = caption_data.open_parts(
            folder, vocabulary, max_tokens=int(described.get("max_tokens", 1000))
        )
        shape = parts["train"].images.shape
        size = shape[1:3] if len(shape) == 4 else None
        return cls(parts, texts, vocabulary, size=size, description=described)

    @classmethod
    def has_entries(cls, config: Mapping[str, Any]) -> bool:
        """Whether there is a vocabulary."""
        return "vocabulary" in config

    def entries(self) -> dict[str, Any]:
        """The vocabulary, and what was read."""
        return {
            "vocabulary": self.vocabulary.to_config(),
            "data": {"described": self.description},
        }

    def describe(self) -> Description:
        """How many images and captions, how long, and of which vocabulary."""
        lines = [("read", note) for note in self.description.get("notes", ())]
        for name, part in self.parts.items():
            lengths = [len(ids) for each in part.captions for ids in each]
            lines.append(
                (
                    name,
                    f"{len(part):,} images, {len(lengths):,} captions, {sum(lengths):,} tokens "
                    f"({min(lengths)} to {max(lengths)} each)",
                )
            )
        said = f"{len(self.vocabulary):,} {self.vocabulary.level} tokens"
        if (unknown := self.vocabulary.unknown_id) is not None:
            ids = np.concatenate([ids for each in self.parts["val"].captions for ids in each])
            said += f"; of val {np.mean(ids == unknown):.1%} are others"
        lines.append(("captions", said))
        if self.size is not None:
            lines.append(("pictures", f"{self.size[0]} x {self.size[1]}"))
        return Description(lines=lines, facts={name: len(p) for name, p in self.parts.items()})

    def part(self, name: str) -> CaptionExamples:
        """The images of a part.

        Raises:
            ValueError: when there is no such part.
        """
        if name not in self.parts:
            raise ValueError(
                f"split: expected one of {', '.join(self.parts)}, got {name!r}. Choose one."
            )
        return self.parts[name]

    def sample(self, split: str, most: int) -> list[int]:
        """The numbers of some images of a part, evenly."""
        count = len(self.parts[split])
        return sorted({int(n) for n in np.linspace(0, count - 1, min(most, count))})

    # ---- model -----------------------------------------------------------------------------------

    def seeing(self, model: Any) -> dict[str, Any]:
        """What a model that sees is made with: its vocabulary, and an encoder where images are
        pictures, or else the features of a vector.

        Args:
            model: settings, those of an encoder among them.
        """
        if self.size is None:
            image_size = int(self.parts["train"].images.shape[-1])
            return {"vocabulary": self.vocabulary, "image_size": image_size}
        return {
            "vocabulary": self.vocabulary,
            "encoder": encoder_for(model),
            "preprocessing": preprocessing_for(model.encoder, self.size),
        }

    def check_start(self, settings: RunSettings, taken: Collection[str]) -> None:
        """An encoder that does not learn has weights that are not drawn anew."""
        if self.size is not None and not any(name.startswith("encoder.") for name in taken):
            check_learns(settings.model, settings.training)

    # ---- training --------------------------------------------------------------------------------

    def tune(self, model: SeeingT) -> None:
        """The encoder learns at a rate of its own, or from a share of the run on, or not at all."""
        training: Any = self.training
        if model.encoder is not None and training is not None:
            model.encoder.tune(training.encoder_rate, after=training.encoder_after)

    def source(self, split: str, training: Any) -> Source[CaptionBatch]:
        """Batches of images whose captions are of like length, or of single captions."""
        part = self.part(split)
        examples = SingleCaptions(part) if training.captions_per_image == "one" else part
        buckets = Buckets(examples, training.batch_size, seed=training.seed)
        share = getattr(training, "curriculum", 0.0)  # aligners have none
        return Curriculum(buckets, share) if share else buckets

    def batches(self, training: Any) -> Sequence[tuple[str, str]]:
        """How many, and of how many images."""
        source = self.source("train", training)
        what = "captions, an image each" if training.captions_per_image == "one" else "images"
        said = [("batches", f"{len(source):,} a pass, of {training.batch_size} {what}")]
        if isinstance(source, Curriculum):
            said.append(
                (
                    "curriculum",
                    f"captions of {source.bound(0.0)} tokens and less at first, of all lengths "
                    f"from {source.share:.0%} of the run on",
                )
            )
        return said

    @abstractmethod
    def is_blind(self, model: SeeingT) -> bool:
        """Whether the model looks at no picture."""

    @abstractmethod
    def features(self, model: SeeingT, images: Tensor) -> Tensor:
        """What the model's encoder makes of pixels [N, C, Y, X]: vectors or grids."""

    def images(self, model: SeeingT, split: str, batch: CaptionBatch) -> Tensor:
        """The images of a batch as the model is called with them: pixels, or what an encoder made
        of them, which is kept where it stays as it is."""
        like = next(model.parameters())
        if model.encoder is None or batch.images.dim() != 4:
            return batch.images.to(like)
        if model.encoder.learning_rate_scale > 0 or self.is_blind(model):
            return pixels(model, batch.images)
        kept = self._features.get(split)
        if kept is None:
            with torch.no_grad():
                one = self.features(model, pixels(model, batch.images[:1]))
            shape = (len(self.parts[split]), *one.shape[1:])
            kept = torch.full(shape, math.nan, dtype=one.dtype, device="cpu")
            self._features[split] = kept
        new = kept[batch.numbers].flatten(1).isnan().any(1)
        if new.any():
            with torch.no_grad():
                made = self.features(model, pixels(model, batch.images[new]))
                kept[batch.numbers[new]] = made.cpu()
        return kept[batch.numbers].to(like)
