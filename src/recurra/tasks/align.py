"""`recurra train align`: words and regions of pictures in one space.

Letters: N images, M sentences, T words of a sentence, R regions of an image.
"""

import math
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from recurra.data import worlds
from recurra.data.boxes import read_boxes, with_boxes
from recurra.data.caption_store import CaptionBatch, padded
from recurra.data.captions import CaptionData
from recurra.errors import argument
from recurra.insight.alignment import figure_of_alignments
from recurra.models import Aligner, Alignment
from recurra.models.aligned import smoothed
from recurra.models.alignment import Regions
from recurra.models.ranking import max_margin
from recurra.nn.plain import evaluating
from recurra.settings import Settings
from recurra.tasks.align_scores import (
    RANKS,
    WAYS,
    Pointing,
    lie_in,
    recall_of,
    recalls_by_chance,
    shapes_of,
    told_shapes,
)
from recurra.tasks.caption_floors import recalls
from recurra.tasks.captioned import CaptionedTask
from recurra.tasks.options import AlignerSettings, AlignSettings, AlignTraining, CaptionSettings
from recurra.text import WordVocabulary
from recurra.training.settings import RunSettings, TrainingSettings
from recurra.training.task import Carried, Figure, Loss, Moment

VALIDATED = 200  # images of the validation part that are ranked each time
RANKED = 1000  # images of a part that are ranked, as in the paper
POINTED = 200  # images whose words are followed to their regions
NUM_SHOWN = 4  # images of a preview
NUM_DRAWN = 8  # images of a report
_BATCH = 64  # images, or sentences, that are read side by side where nothing is learned


class AlignTask(CaptionedTask[Aligner]):
    """Images with sentences, encoded, for an aligner; see `CaptionedTask`."""

    name: ClassVar[str] = "align"
    title: ClassVar[str] = "aligner"
    counted: ClassVar[str] = "sentences"
    loss_name: ClassVar[str] = "hinge"
    data_settings: ClassVar[type[Settings]] = AlignSettings
    model_settings: ClassVar[type[Settings]] = AlignerSettings
    training_settings: ClassVar[type[TrainingSettings]] = AlignTraining

    @classmethod
    def check(cls, settings: RunSettings) -> RunSettings:
        """The settings, checked; boxes are there where they are looked at, and only there.

        Raises:
            ValueError: when they are not; and as the task of captions does.
        """
        data, regions = settings.data, settings.model.regions
        if regions == "grid" and data.boxes is not None:
            raise ValueError(
                f"boxes: expected none where words look at the places of a grid, got "
                f"{data.boxes!r}. Give {argument('regions=boxes')} too, or leave them out."
            )
        first = data.data[0] if isinstance(data.data, tuple) else data.data
        is_world = first is None or worlds.is_world(first, worlds.PICTURE_WORLDS)
        if regions == "boxes" and data.boxes is None and not is_world:
            raise ValueError(
                f"regions: expected {argument('boxes=')} with those of the pictures, got none. "
                f"Give a file of them, or take {argument('regions=grid')}."
            )
        return super().check(settings)

    @classmethod
    def read(cls, data: CaptionSettings) -> CaptionData:
        """The pictures and captions that settings name, with boxes where they name some."""
        found = super().read(data)
        if not isinstance(data, AlignSettings) or data.boxes is None:
            return found
        return with_boxes(found, read_boxes(Path(data.boxes), data.encoding), data.boxes)

    # ---- model -----------------------------------------------------------------------------------

    @property
    def figures(self) -> Sequence[Figure]:
        """The mean recall first; of scenes, the share of words that look at their shape."""
        recall = Figure(name="recall", higher_is_better=True, is_discrete=True)
        first = Figure(name="text_to_image_1", higher_is_better=True, is_discrete=True)
        pointed = Figure(name="pointed", higher_is_better=True, is_discrete=True)
        return (recall, first, pointed) if "val" in self.known_shapes else (recall, first)

    def build(self, model: AlignerSettings, *, backend: str = "auto") -> Aligner:
        """An aligner for the data, with an encoder where they are pictures.

        Raises:
            ValueError: when boxes are asked for and the data have none.
        """
        if model.regions == "boxes" and self.parts["train"].boxes is None:
            raise ValueError(
                "regions: expected data with boxes to look at them, got data without. Take "
                "'grid', or data that have some, such as scenes."
            )
        own = model.arguments()
        options = {name: own[name] for name in own if not name.startswith("encoder")}
        reading = {
            n: self.description[n] for n in ("lower", "punctuation") if n in self.description
        }
        return Aligner(**self.seeing(model), **options, **reading, backend=backend)

    def titled(self, model: Aligner) -> str:
        """What a view calls the run."""
        return f"{model.cell.name} {self.title}, {model.kind}"

    def adopt(self, model: Aligner) -> None:
        """Give the model what reads text."""
        model.vocabulary = self.vocabulary

    # ---- training --------------------------------------------------------------------------------

    def is_blind(self, model: Aligner) -> bool:
        """It never is."""
        return False

    def features(self, model: Aligner, images: Tensor) -> Tensor:
        """Grids."""
        return model.features(images)

    def loss(self, model: nn.Module, batch: CaptionBatch, state: Carried, moment: Moment) -> Loss:
        """How far sentences and images are from being told from the others of the batch; see
        `max_margin`."""
        training = self._training
        of: Aligner = getattr(model, "module", model)  # type: ignore[assignment]
        if of.encoder is not None and of.training:
            of.encoder.advance(moment.fraction)
        device = of.word.weight.device
        images = self.images(of, "train", batch)
        captions, lengths, which = (
            each.to(device) for each in (batch.captions, batch.lengths, batch.which)
        )
        scores = model(images, captions, lengths, **_boxes_for(of, batch))
        lost = max_margin(
            scores.float(), which, margin=training.margin, negatives=training.negatives
        ).mean()
        counts = bool(batch.weight.any())
        return Loss(mean=lost if counts else lost * 0, count=len(which) if counts else 0)

    @property
    def _training(self) -> AlignTraining:
        given = self.training
        return given if isinstance(given, AlignTraining) else AlignTraining()

    @property
    def chance(self) -> float:
        """The loss where all scores are the same."""
        return 2 * self._training.margin

    def validate(self, model: Aligner, device: torch.device) -> dict[str, float]:
        """The figures on an even sample of the validation part."""
        found = self.ranked(model, "val", VALIDATED)
        if "val" in self.known_shapes:
            found |= self.pointed(model, "val")
        # captions that are cut short may name no shape
        return {figure.name: found.get(figure.name, math.nan) for figure in self.figures}

    def validation_cost(self, training: AlignTraining) -> tuple[float, float]:
        """In images; validation ranks but learns nothing, which takes a third."""
        return min(VALIDATED, len(self.parts["val"])) / 3, float(training.batch_size)

    # ---- evaluating ------------------------------------------------------------------------------

    def scores(self, model: Aligner, split: str, chosen: Sequence[int]) -> tuple[Tensor, list[int]]:
        """The score [N, M] of each of these images of a part with all of their sentences, and the
        image, 0 to N - 1, that each sentence is of."""
        part = self.part(split)
        rows = [ids for number in chosen for ids in part.captions[number]]
        which = [n for n, number in enumerate(chosen) for _ in part.captions[number]]
        device = model.word.weight.device
        with torch.no_grad(), evaluating(model):
            regions = []
            for start in range(0, len(chosen), _BATCH):
                batch = part.gather(np.array(chosen[start : start + _BATCH]))
                images = self.images(model, split, batch)
                regions.append(model.regions(images, **_boxes_for(model, batch)))
            found = []
            for start in range(0, len(rows), _BATCH):
                captions, lengths = (e.to(device) for e in padded(rows[start : start + _BATCH]))
                words = model.words(captions, lengths)
                each = [model.scores_of(r, words, captions, lengths) for r in regions]
                found.append(torch.cat(each))
        return torch.cat(found, dim=1), which

    def ranked(self, model: Aligner, split: str, most: int = RANKED) -> dict[str, float]:
        """The recalls of `recalls`, and `recall`, their mean, of some images of a part."""
        scores, which = self.scores(model, split, self.sample(split, most))
        found = recalls(scores, which)
        return {**found, "recall": recall_of(found)}

    @cached_property
    def known_shapes(self) -> frozenset[str]:
        """The parts that are of scenes, and say where their shapes are."""
        if not isinstance(self.vocabulary, WordVocabulary):
            return frozenset()
        return frozenset(
            name
            for name, part in self.parts.items()
            if part.boxes is not None
            and all(map(shapes_of, self.texts[name][:20], part.boxes[:20]))
        )

    def pointed(self, model: Aligner, split: str) -> dict[str, float]:
        """How often words of colours and kinds look at their shape; see `Pointing`."""
        part, counted = self.part(split), Pointing()
        assert part.boxes is not None
        assert isinstance(self.vocabulary, WordVocabulary)
        chosen = self.sample(split, POINTED)
        for start in range(0, len(chosen), _BATCH):
            some = chosen[start : start + _BATCH]
            batch = part.gather(np.array(some))
            scores, regions = self._looked_at(model, split, batch)
            looked = smoothed(scores, batch.lengths, 0.0).T.tolist()
            drawn = smoothed(scores, batch.lengths, self._training.smoothness).T.tolist()
            own = [part.boxes[number] for number in some]
            inside = [
                lie_in(r, b) for r, b in zip(regions.boxes.float().cpu().numpy(), own, strict=True)
            ]
            sentences = [(n, text) for n, k in enumerate(some) for text in self.texts[split][k]]
            for m, (n, text) in enumerate(sentences):
                shapes = shapes_of(self.texts[split][some[n]], own[n]) or []
                told = told_shapes(self.vocabulary.split(text)[: len(scores)], shapes)
                there = None if regions.there is None else regions.there[n].cpu().numpy()
                counted.add(told, inside[n], looked[m], drawn[m], there)
        return counted.figures()

    def _looked_at(self, model: Aligner, split: str, batch: CaptionBatch) -> tuple[Tensor, Regions]:
        """Scores [T, M, R] of the words of a batch with the regions of their images, and these."""
        device = model.word.weight.device
        with torch.no_grad(), evaluating(model):
            scores, regions = model.looked_at(
                self.images(model, split, batch),
                batch.captions.to(device),
                batch.lengths.to(device),
                which=batch.which.to(device),
                **_boxes_for(model, batch),
            )
        return scores.float().cpu(), regions

    def evaluate(self, model: Aligner, split: str) -> dict[str, Any]:
        """Recalls and median ranks both ways among `RANKED` images of a part, `recall`, their mean,
        and, of scenes, the figures of `Pointing`; what is found by chance, `chance`."""
        self.part(split)
        started = time.perf_counter()
        found = self.ranked(model, split)
        seconds = time.perf_counter() - started
        chosen = self.sample(split, RANKED)
        counts = [len(self.parts[split].captions[n]) for n in chosen]
        pointed = self.pointed(model, split) if split in self.known_shapes else {}
        return {
            **found,
            **pointed,
            "smoothness": self._training.smoothness,
            "images": len(chosen),
            "sentences": sum(counts),
            "seconds": seconds,
            "chance": recalls_by_chance(counts),
        }

    @classmethod
    def say(cls, figures: Mapping[str, Any]) -> str:
        """A table of recalls beside chance, and where words look."""
        ways = {"text_to_image": "sentence to image", "image_to_text": "image to sentence"}
        lines = [" " * 20 + "".join(f"{f'@{k}':>9}" for k in RANKS) + "   median"]
        for way in WAYS:
            shares = "".join(f"{figures[f'{way}_{k}']:9.1%}" for k in RANKS)
            lines.append(f"{ways[way]:<20}{shares}{figures[f'{way}_median']:9g}")
            lucky = "".join(f"{figures['chance'][f'{way}_{k}']:9.1%}" for k in RANKS)
            lines.append(f"{'  by chance':<20}{lucky}")
        if "pointed" in figures:
            lines.append(
                f"words on their shape {figures['pointed']:.1%} (colours "
                f"{figures['pointed_colour']:.1%}, kinds {figures['pointed_kind']:.1%}), smoothed "
                f"by {figures['smoothness']:g} {figures['pointed_smoothed']:.1%}, by chance "
                f"{figures['pointed_chance']:.1%}"
            )
        lines.append(
            f"{figures['images']:,} images, {figures['sentences']:,} sentences, ranked in "
            f"{figures['seconds']:.1f} s"
        )
        return "\n".join(["", *lines])

    # ---- showing ---------------------------------------------------------------------------------

    def preview(
        self, model: Aligner, moment: Moment, training: AlignTraining
    ) -> tuple[str, str] | None:
        """Where phrases of a few sentences of the validation part look, the same ones each time."""
        count = len(self.parts["val"])
        order = np.random.default_rng(training.seed).permutation(count)[:NUM_SHOWN]
        lines = []
        for number, said in zip(sorted(order.tolist()), self.shown(model, order), strict=True):
            lines.append(f"image {number}")
            for phrase, region in said.phrases():
                left, top, right, bottom = (100 * said.boxes[region]).tolist()
                lines.append(
                    f"    {(left + right) / 2:3.0f} % across, {(top + bottom) / 2:3.0f} % down  "
                    f"{phrase}"
                )
        return "\n".join(lines), "of the validation part, where phrases look"

    def insights(self, model: Aligner, *, brief: bool = False) -> list[Any]:
        """Which word looks at which region of some pictures, where they are pictures."""
        part = self.part("val")
        if self.size is None or brief:
            return []
        chosen = self.sample("val", NUM_DRAWN)
        said = self.shown(model, chosen)
        return [
            figure_of_alignments(
                [(np.asarray(part.images[n]), each) for n, each in zip(chosen, said, strict=True)]
            )
        ]

    def shown(self, model: Aligner, chosen: Sequence[int] | np.ndarray) -> list[Alignment]:
        """Images of the validation part, in the order of their numbers, each with its first
        sentence: where the words look."""
        part, numbers = self.parts["val"], sorted(int(n) for n in chosen)
        batch = part.gather(np.array(numbers))
        with torch.no_grad(), evaluating(model):
            images = self.images(model, "val", batch)
        pairs = [(image, self.texts["val"][n][0]) for image, n in zip(images, numbers, strict=True)]
        boxes = None
        if model.kind == "boxes":
            assert part.boxes is not None
            boxes = [part.boxes[n] for n in numbers]
        return model.predict(pairs, smoothness=self._training.smoothness, boxes=boxes)


def _boxes_for(model: Aligner, batch: CaptionBatch) -> dict[str, Any]:
    """The boxes of a batch as the model is called with them."""
    if model.kind != "boxes":
        return {}
    assert batch.boxes is not None
    assert batch.box_counts is not None
    device = model.word.weight.device
    return {"boxes": batch.boxes.to(device), "box_counts": batch.box_counts.to(device)}
