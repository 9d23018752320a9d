"""`recurra train frames`: a label, or numbers, at every frame of a clip.

A tagger whose steps are pictures: an encoder and recurrent layers, trained from end to end.

Letters: N clips, T frames, B batch, C channels, Y rows, X columns, S frames of all clips, K labels,
O numbers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn

from recurra.data import Source, measure_scaling
from recurra.data.clip_store import open_clips, write_clips
from recurra.data.records import Records
from recurra.data.tagged_store import TaggedBatch, TaggedExamples
from recurra.data.worlds.catalogue import CLIP_WORLDS, is_world
from recurra.data.worlds.fresh import FreshClips
from recurra.errors import DataError, argument
from recurra.insight import Timeline
from recurra.insight.timelines import figure_of_timelines
from recurra.models import FrameTagger, Names, Scaling, Tagger, Tags
from recurra.models.frames import framewise
from recurra.settings import Settings, one_or_several
from recurra.tasks.cells import with_cell
from recurra.tasks.encoding import FOLDER, check_files
from recurra.tasks.frame_figures import WITHIN, angles_between, event_figures, joint_distances
from recurra.tasks.frames_data import ClipRecords, FoundClips, clips_of, other_clips, reading_of
from recurra.tasks.options import FramesSettings, FramesTraining, FrameTaggerSettings
from recurra.tasks.tag import TagTask
from recurra.tasks.tag_figures import Judged, said_of
from recurra.training.settings import RunSettings, TrainingSettings
from recurra.training.task import Description, Figure
from recurra.vision import encoder

BACKGROUND = "background"
_SAMPLE = 2000  # frames of which the scaling of pixels is measured


class FramesTask(TagTask):
    """Clips with a label, or numbers, at each frame.

    Args:
        parts: by split, "train" and "val" at least; values are frames [S, C, Y, X].
        labels: their names; empty where numbers are learned.
        target_names: of the numbers that are learned, where they have some.
        background: the label of frames in which nothing happens; None: "background", if there is
            one.
        measure: what errors of numbers are measured in; "auto" goes by their names.
        fresh: the world, as `--data` names it, of which clips are drawn anew for every pass; None:
            those of the part "train" are trained on.
        others: the arguments of `TagTask` besides those of words.
    """

    name: ClassVar[str] = "frames"
    title: ClassVar[str] = "tagger of frames"
    model_class: ClassVar[type[Tagger]] = FrameTagger
    counted: ClassVar[str] = "frames"
    predicted: ClassVar[tuple[str, ...]] = ("labels",)
    forms: ClassVar[tuple[str, ...]] = ()
    data_settings: ClassVar[type[Settings]] = FramesSettings
    model_settings: ClassVar[type[Settings]] = FrameTaggerSettings
    training_settings: ClassVar[type[TrainingSettings]] = FramesTraining

    def __init__(
        self,
        parts: Mapping[str, TaggedExamples],
        labels: Sequence[str] = (),
        *,
        target_names: Sequence[str] = (),
        background: str | None = None,
        measure: str = "auto",
        fresh: str | None = None,
        **others: Any,
    ) -> None:
        super().__init__(parts, labels, **others)
        self.fresh = fresh
        self.target_names = Names(list(target_names))
        self.background = self._number_of(background)
        self.measure = _measure_of(self.target_names) if measure == "auto" else measure

    def _number_of(self, background: str | None) -> int | None:
        name = BACKGROUND if background is None else background
        if name in self.labels:
            return self.labels.index(name)
        if background is not None:
            raise DataError(
                f"{argument('background=')}: expected one of the labels, "
                f"{', '.join(self.labels) or 'of which there are none'}, got {background!r}. Name "
                "one of them, or leave it out."
            )
        return None

    # ---- data ------------------------------------------------------------------------------------

    @classmethod
    def check(cls, settings: RunSettings) -> RunSettings:
        """The settings with the cell that they name; DataError when there are no such data."""
        data = settings.data
        is_made = is_world(data.data, CLIP_WORLDS)
        if data.fresh and not is_made:
            raise DataError(
                f"{argument('fresh=')}: expected a world of clips ({', '.join(CLIP_WORLDS)}), of "
                f"which new ones can be drawn, got {argument(f'data={data.data!r:.60}')}. Leave it "
                f"out."
            )
        check_files(replace(data, data=None) if is_made else data)
        found = with_cell(settings)
        if settings.model.recurrence:
            return found
        return replace(found, model=replace(found.model, cell=framewise))

    @classmethod
    def prepare(cls, folder: Path, data: Any) -> "FramesTask":
        """Make the clips, or read them, and write their frames into the folder."""
        if data.data is None:
            raise DataError(
                f"{argument('data=')}: expected a folder of clips, or a world of them "
                f"({', '.join(CLIP_WORLDS)}), got none. Name one."
            )
        return cls.of_clips(clips_of(data), data, folder=folder)

    @classmethod
    def of_clips(
        cls,
        found: FoundClips,
        data: FramesSettings | None = None,
        *,
        folder: Path | None = None,
    ) -> "FramesTask":
        """The task of clips, in memory, or written into a folder.

        Args:
            found: by part, "train", "val" and "test".
            data: how figures are measured.
        """
        data = data or FramesSettings()
        parts = {}
        for name, part in found.parts.items():
            if folder is None:
                parts[name] = TaggedExamples.of(*zip(*part, strict=True))
                continue
            path = folder / FOLDER / f"{name}.examples"
            write_clips(path, part)
            parts[name] = open_clips(path)
        options: dict[str, Any] = {"scaling": measured_pixels(parts["train"].values)}
        if not found.labels:
            targets = parts["train"].targets
            options["target_scaling"] = measure_scaling(
                targets, missing="fill", names=found.target_names, what="targets"
            )
        return cls(
            parts,
            found.labels,
            target_names=found.target_names,
            description={"notes": [*found.notes, *found.defects.notes]},
            **cls.options_of(data.arguments()),
            **options,
        )

    @classmethod
    def open_part(cls, path: Path) -> TaggedExamples:
        """The clips of a part."""
        return open_clips(path)

    @classmethod
    def options_of(cls, data: Mapping[str, Any]) -> dict[str, Any]:
        """How figures are measured, and whether clips are drawn anew."""
        found = {name: data[name] for name in ("background", "measure") if data.get(name)}
        return {**found, "fresh": str(data["data"])} if data.get("fresh") else found

    def describe(self) -> Description:
        """How many clips and frames there are, of which size, with which labels or numbers."""
        found = super().describe()
        frame = self.parts["train"].values
        size = " x ".join(map(str, frame.shape[1:]))
        lines = [(name, text) for name, text in found.lines if name != "channels"]
        lines.append(("a frame", f"{size}, {frame.dtype}"))
        if self.target_names:
            lines.append(("numbers", ", ".join(self.target_names)))
        if self.fresh:
            lines.append(("trained on", "as many clips, drawn anew for every pass"))
        return Description(lines=lines, facts=found.facts)

    @property
    def unit(self) -> str:
        """What a step of an example is, in the plural."""
        return "frames"

    # ---- model -----------------------------------------------------------------------------------

    def build(self, model: Any, *, backend: str = "auto") -> FrameTagger:
        """A model for the data, with its encoder."""
        options = model.arguments()
        del options["recurrence"]  # the cell says it
        name, downsample = options.pop("encoder"), options.pop("downsample")
        made = encoder(
            name,
            channels=self.parts["train"].values.shape[1],
            widths=[int(width) for width in options.pop("widths").split(",")],
            size=options.pop("vector_size"),
            depth=options.pop("depth"),
            pool=options.pop("pool"),
            norm=options.pop("norm"),
            vector=options.pop("vector"),
            **({"downsample": downsample} if name == "convnet" else {}),
        )
        return FrameTagger(made, **self.owned, **options, backend=backend)

    def source(self, split: str, training: Any) -> Source[TaggedBatch]:
        """Batches of clips: those of the part, or new ones for every pass."""
        if split == "train" and self.fresh:
            return FreshClips(self.fresh, training.batch_size, seed=training.seed)
        return super().source(split, training)

    # ---- figures ---------------------------------------------------------------------------------

    @property
    def figures(self) -> Sequence[Figure]:
        """Of labels the share of frames that is right, and of events found in time; of numbers the
        error that people measure, then those of all numbers."""
        if self.labels:
            return (
                Figure(name="accuracy", higher_is_better=True, is_discrete=True),
                Figure(name="found", higher_is_better=True),
                Figure(name="nll", unit="nats a label"),
            )
        own = {"angle": Figure(name="angle", unit="degrees"), "joints": Figure(name="distance")}
        return (*([own[self.measure]] if self.measure in own else []), *super().figures)

    def read(self, model: nn.Module, batch: TaggedBatch) -> Tensor:
        """What the model gives for a batch, where the model is."""
        device = next(model.parameters()).device
        return model(batch.x.to(device), batch.lengths.to(device))

    def figures_of_labels(self, judged: Sequence[Judged]) -> dict[str, Any]:
        """The share of frames that is right, and how many events are found, and how soon."""
        return {**super().figures_of_labels(judged), **event_figures(judged, self.background)}

    def figures_of_numbers(self, judged: Sequence[Judged]) -> dict[str, Any]:
        """The errors of all numbers, and that which people measure."""
        found = super().figures_of_numbers(judged)
        ways = {"angle": ("angle", angles_between), "joints": ("distance", joint_distances)}
        if self.measure not in ways:
            return found
        name, measured = ways[self.measure]
        errors = np.concatenate([measured(each.said, each.true).ravel() for each in judged])
        return {name: float(np.nanmean(errors)), **found}

    def evaluate(self, model: Any, split: str) -> dict[str, Any]:
        """The figures, of frames that are read one by one, as a stream has them: besides those of
        `TagTask.evaluate` those of `event_figures`, or `angle` in degrees or `distance`."""
        with model.online():
            return super().evaluate(model, split)

    def timelines(self, model: FrameTagger, split: str, count: int = 3) -> list[Timeline]:
        """Clips of a part, as `draw_timelines` takes them: of all clips, ordered by their errors,
        those in the middle of equal shares."""
        judged = self.judged(model, split)
        errors = [
            float(np.mean(each.true != each.said))
            if self.labels
            else float(np.nanmean(np.abs(each.true - each.said)))
            for each in judged
        ]
        order = np.argsort(errors, kind="stable")
        count = min(count, len(order))
        chosen = [judged[order[(2 * k + 1) * len(order) // (2 * count)]] for k in range(count)]
        return [self._timeline(each, split) for each in chosen]

    def _timeline(self, judged: Judged, split: str) -> Timeline:
        part = self.part(split)
        name = f"clip {judged.number + 1:,}, {len(judged.true)} frames"
        if not self.labels:
            return Timeline(
                frames=part.sequence(judged.number),
                true=judged.true,
                said=judged.said,
                name=name,
                numbers=self.target_names,
                are_points=self.measure == "joints",
            )
        true, said = (
            ["" if k < 0 else self.labels[k] for k in labels.tolist()]
            for labels in (judged.true, judged.said)
        )
        right = np.mean(judged.true == judged.said)
        return Timeline(
            frames=part.sequence(judged.number),
            true=true,
            said=said,
            name=f"{name}, {right:.0%} right",
            labels=self.labels,
            quiet="" if self.background is None else self.labels[self.background],
        )

    def insights(self, model: Any, *, brief: bool = False) -> list[Any]:
        """Clips along time, and what is taken for what."""
        clips = figure_of_timelines(self.timelines(model, "val"))
        return [clips, *super().insights(model, brief=brief)]

    def _memory(self, model: Any) -> list[Any]:
        """Nothing: each place would have the encoder see all frames before it again."""
        return []

    @classmethod
    def evaluate_file(cls, model: Any, data: Any, split: str | None, how: Any) -> dict[str, Any]:
        """The figures on other clips, read as the run read its own, or on those of a world."""
        named = one_or_several(data)
        named = tuple(map(str, named)) if isinstance(named, tuple) else str(named)
        found = other_clips(replace(how, data=named), split)
        return cls.for_model(model, found, how).evaluate(model, "test")

    @classmethod
    def for_model(
        cls,
        model: FrameTagger,
        found: FoundClips,
        how: FramesSettings | None = None,
    ) -> "FramesTask":
        """The task of clips of the part "test", to evaluate a model on them.

        Raises:
            DataError: when their labels, or their numbers, are not those of the model.
        """
        how = how or FramesSettings()
        labels, names = model.labels or (), model.target_names or ()
        unknown = [label for label in found.labels if label not in labels]
        if unknown or tuple(names) != tuple(found.target_names):
            got = ", ".join(unknown or found.target_names) or "labels"
            raise DataError(
                f"{argument('data=')}: expected clips with {', '.join(labels or names)}, as in "
                f"training, got {got}. Name others."
            )
        number_of = np.array([labels.index(label) for label in found.labels] + [-1])
        clips = [
            (frames, wanted if names else number_of[wanted].astype(np.int32))
            for frames, wanted in found.parts["test"]
        ]
        return cls(
            {"test": TaggedExamples.of(*zip(*clips, strict=True))},
            labels,
            target_names=names,
            background=how.background,
            measure=how.measure,
            scaling=model.scaling,
            target_scaling=model.target_scaling,
        )

    @classmethod
    def say(cls, figures: Mapping[str, Any]) -> str:
        """The figures on one line, and the commonest confusions."""
        said = []
        if "angle" in figures:
            said.append(f"angle {figures['angle']:.2f} degrees")
        if "distance" in figures:
            said.append(f"mean distance {figures['distance']:.4f}")
        if figures.get("events"):
            said.append(
                f"of {figures['events']:,} events {figures['found']:.1%} found within {WITHIN} "
                f"frames, {figures['named']:.1%} named rightly, {figures['false_alarms']:.2f} "
                f"false alarms in 1,000 frames"
            )
        return "; ".join([*said, said_of(figures)])

    # ---- predicting ------------------------------------------------------------------------------

    @classmethod
    def inputs(cls, model: Any, path: Path, how: Any) -> Records:
        """The clips of a file or a folder, without labels, read as the run read its own."""
        return ClipRecords(path, reading_of(how))

    @classmethod
    def rows(cls, prediction: Tags) -> list[dict[str, Any]]:
        """A row for each frame."""
        rows = super().rows(replace(prediction, tokens=()))
        return [{name: row[name] for name in row if name != "tagged"} for row in rows]

    @classmethod
    def row(cls, prediction: Tags) -> dict[str, Any]:
        """The labels with commas between, for they may be of several words; of numbers, as JSON
        has them."""
        if prediction.values is not None:
            return {"labels": super().row(prediction)["labels"]}
        return {"labels": ", ".join(map(str, prediction.labels))}


def measured_pixels(frames: np.ndarray) -> Scaling:
    """The mean and spread of each channel over an even sample of frames [S, C, Y, X]."""
    some = np.asarray(frames[:: -(-len(frames) // _SAMPLE)])
    return measure_scaling(np.moveaxis(some, 1, -1).reshape(-1, some.shape[1]))


def _measure_of(names: Sequence[str]) -> str:
    """How errors of numbers of these names are measured."""
    if [name.partition("_")[0] for name in names] == ["yaw", "pitch"]:
        return "angle"
    if names and [name[-2:] for name in names] == ["_x", "_y"] * (len(names) // 2):
        return "joints"
    return "numbers"
