"""`recurra train caption`: a sentence about a picture.

Letters: N images, M captions, T tokens of a caption, D features of an image.
"""

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from recurra.data import Buckets, Source, worlds
from recurra.data.caption_store import CaptionBatch, CaptionExamples
from recurra.data.opening import warn_of_one_held_out
from recurra.errors import DataError, argument
from recurra.models import Caption, Captioner
from recurra.nn.plain import evaluating
from recurra.settings import Settings
from recurra.tasks import caption_data
from recurra.tasks.caption_floors import blind_model, nearest, recalls
from recurra.tasks.caption_rewards import self_critical
from recurra.tasks.caption_scores import Consensus, check_scorers, scene_of, scored, warnings
from recurra.tasks.cells import with_cell
from recurra.tasks.options import CaptionerSettings, CaptionSettings, CaptionTraining
from recurra.text import Vocabulary
from recurra.training.settings import RunSettings, TrainingSettings
from recurra.training.task import Carried, Description, Figure, Loss, Moment, Task
from recurra.vision import Preprocessing, encoder, names
from recurra.vision.preprocessing import IMAGENET_MEAN, IMAGENET_STD

VALIDATED = 500  # images of the validation part that are captioned each time
RANKED = 100  # images among which sentences find theirs
NUM_SHOWN = 4  # captions of a preview
_BATCH = 64  # images that are read side by side where nothing is learned
_SCALED = ("convnet", "resnet")  # encoders whose sizes settings say
_COLUMNS = ("bleu1", "bleu4", "rouge_l", "meteor", "spice", "cider", "exact", "facts", "ppl")


class CaptionTask(Task[Captioner, CaptionBatch]):
    """Images with captions, encoded.

    Args:
        parts: by split.
        texts: by split, the captions of each image as they are learned.
        vocabulary: of the captions.
        size: rows and columns of the pictures; None where images are vectors.
        description: of the data as they were read, as JSON has it.
    """

    name: ClassVar[str] = "caption"
    title: ClassVar[str] = "captioner"
    counted: ClassVar[str] = "words"
    predicted: ClassVar[tuple[str, ...]] = ("caption", "log_probability")
    data_settings: ClassVar[type[Settings]] = CaptionSettings
    model_settings: ClassVar[type[Settings]] = CaptionerSettings
    training_settings: ClassVar[type[TrainingSettings]] = CaptionTraining

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
        self.is_of_scenes = all(scene_of(each) is not None for each in texts["val"][:20])
        self._reward: Consensus | None = None
        self._said: list[Caption] = []  # of the last validation
        self._features: dict[str, Tensor] = {}  # of an encoder that stays as it is, by part
        self._blind: Captioner | None = None

    # ---- data ------------------------------------------------------------------------------------

    @classmethod
    def check(cls, settings: RunSettings) -> RunSettings:
        """The settings with the cell that they name; what scores captions is there."""
        check_scorers()
        _check_files(settings.data)
        warn_of_one_held_out(settings.data.val_data, settings.data.test_data)
        _check_encoder(settings.model, settings.training)
        return with_cell(settings)

    @classmethod
    def prepare(cls, folder: Path, data: CaptionSettings) -> "CaptionTask":
        """Read pictures and captions, and write them into the folder as they are learned."""
        found = caption_data.kept(caption_data.read(data), data)
        notes = [*found.notes, *caption_data.write_parts(folder, found, data)]
        vocabulary = caption_data.vocabulary_of([e.captions for e in found.parts["train"]], data)
        described = {"notes": notes, "max_tokens": data.max_tokens}
        return cls._opened(folder, vocabulary, described)

    @classmethod
    def open(cls, folder: Path, config: Mapping[str, Any]) -> "CaptionTask":
        """The pictures and captions in a run's folder."""
        described = config.get("data", {}).get("described", {})
        return cls._opened(folder, Vocabulary.from_config(config["vocabulary"]), described)

    @classmethod
    def _opened(
        cls, folder: Path, vocabulary: Vocabulary, described: Mapping[str, Any]
    ) -> "CaptionTask":
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

    # ---- model -----------------------------------------------------------------------------------

    @property
    def figures(self) -> Sequence[Figure]:
        """CIDEr first; of scenes the share of captions that are true in every fact."""
        facts = Figure(name="facts", higher_is_better=True, is_discrete=True)
        cider = Figure(name="cider", higher_is_better=True)
        bleu = Figure(name="bleu4", higher_is_better=True)
        nll = Figure(name="nll", unit="nats a token")
        return (facts, cider, nll) if self.is_of_scenes else (cider, bleu, nll)

    def build(self, model: CaptionerSettings, *, backend: str = "auto") -> Captioner:
        """A captioner for the data, with an encoder where they are pictures."""
        own = model.arguments()
        options = {name: own[name] for name in own if not name.startswith("encoder")}
        if self.size is None:
            options["image_size"] = int(self.parts["train"].images.shape[-1])
            return Captioner(vocabulary=self.vocabulary, **options, backend=backend)
        sees = encoder(**_encoder_options(model))
        if model.encoder_weights is not None:
            sees.load_weights(model.encoder_weights)
        return Captioner(
            vocabulary=self.vocabulary,
            encoder=sees,
            preprocessing=self._preprocessing(model.encoder),
            **options,
            backend=backend,
        )

    def _preprocessing(self, name: str) -> Preprocessing:
        assert self.size is not None
        if name in _SCALED:
            return Preprocessing(size=self.size)
        return Preprocessing(size=self.size, mean=IMAGENET_MEAN, std=IMAGENET_STD)

    def titled(self, model: Captioner) -> str:
        """What a view calls the run."""
        return f"{model.cell.name} {self.title}, inject {model.inject}"

    def adopt(self, model: Captioner) -> None:
        """Give the model what writes text."""
        model.vocabulary = self.vocabulary

    # ---- training --------------------------------------------------------------------------------

    def tune(self, model: Captioner) -> None:
        """The encoder learns at a rate of its own, or from a share of the run on, or not at all."""
        if model.encoder is not None and isinstance(self.training, CaptionTraining):
            model.encoder.tune(self.training.encoder_rate, after=self.training.encoder_after)

    def source(self, split: str, training: CaptionTraining) -> Source[CaptionBatch]:
        """Batches of images whose captions are of like length."""
        return Buckets(self.part(split), training.batch_size, seed=training.seed)

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

    def batches(self, training: CaptionTraining) -> Sequence[tuple[str, str]]:
        """How many, and of how many images."""
        source = self.source("train", training)
        return [("batches", f"{len(source):,} a pass, of {training.batch_size} images")]

    def images(self, model: Captioner, split: str, batch: CaptionBatch) -> Tensor:
        """The images of a batch as the model is called with them: pixels, or what an encoder made
        of them, which is kept where it stays as it is."""
        like = model.output.weight
        if model.encoder is None or batch.images.dim() != 4:
            return batch.images.to(like)
        if model.encoder.learning_rate_scale > 0 or model.inject == "none":
            return pixels(model, batch.images)
        kept = self._features.get(split)
        if kept is None:
            with torch.no_grad():
                like = model.features(pixels(model, batch.images[:1]))
            shape = (len(self.parts[split]), *like.shape[1:])
            kept = torch.full(shape, math.nan, dtype=like.dtype, device="cpu")
            self._features[split] = kept
        new = kept[batch.numbers].flatten(1).isnan().any(1)
        if new.any():
            with torch.no_grad():
                kept[batch.numbers[new]] = model.features(pixels(model, batch.images[new])).cpu()
        return kept[batch.numbers].to(like)

    def loss(self, model: nn.Module, batch: CaptionBatch, state: Carried, moment: Moment) -> Loss:
        """The mean over tokens and the marks behind captions, in nats; with a memory, what it says
        of the image; at the end of a run that asks for it, the reward of what is drawn."""
        given = self.training
        training = given if isinstance(given, CaptionTraining) else CaptionTraining()
        of: Captioner = getattr(model, "module", model)  # type: ignore[assignment]
        if of.encoder is not None and of.training:
            of.encoder.advance(moment.fraction)
        device = of.output.weight.device
        images = self.images(of, "train", batch)
        counts = bool(batch.weight.any())
        if of.training and moment.fraction > 1 - training.self_critical:
            mean, count = self_critical(
                model,
                images,
                batch.numbers.tolist(),
                self._rewards(),
                max_length=self._longest,
                seed=moment.seed,
            )
            return Loss(mean=mean if counts else mean * 0, count=count if counts else 0)
        captions, lengths, which = (
            each.to(device) for each in (batch.captions, batch.lengths, batch.which)
        )
        wanted = of.wanted(captions, lengths)
        smoothing = training.label_smoothing if of.training else 0.0
        extra: Any = 0.0
        if of.inject == "memory" and of.training and training.reconstruction:
            logits, said, true = model(
                images, captions, lengths, which=which, packed=True, imagined=True
            )
            lost = of.reconstruction_loss(said, true, captions, lengths)
            extra = training.reconstruction * lost.mean()
        else:
            logits = model(images, captions, lengths, which=which, packed=True)
        mean = functional.cross_entropy(logits.float(), wanted, label_smoothing=smoothing) + extra
        return Loss(mean=mean if counts else mean * 0, count=len(wanted) if counts else 0)

    @property
    def _longest(self) -> int:
        return int(self.parts["train"].lengths.max())

    def _rewards(self) -> Consensus:
        if self._reward is None:
            self._reward = Consensus(self._references("train"))
        return self._reward

    def _references(self, split: str) -> list[list[str]]:
        each = self.texts[split]
        return [[caption_data.tokens_of(self.vocabulary, t) for t in several] for several in each]

    @property
    def chance(self) -> float:
        """The loss of a guess among all tokens."""
        return math.log(len(self.vocabulary) + 1)

    def validate(self, model: Captioner, device: torch.device) -> dict[str, float]:
        """The figures on the validation part, by the most probable token each time."""
        chosen = self._sample("val", VALIDATED)
        self._said = self.captioned(model, "val", chosen, beam_size=1)
        references = self._references("val")
        scores = scored(self._words(self._said), [references[n] for n in chosen])
        found = {**scores, "nll": self.nll(model, "val", chosen)}
        return {figure.name: found[figure.name] for figure in self.figures}

    def _sample(self, split: str, most: int) -> list[int]:
        """Some images of a part, evenly."""
        count = len(self.parts[split])
        return sorted({int(n) for n in np.linspace(0, count - 1, min(most, count))})

    def validation_cost(self, training: CaptionTraining) -> tuple[float, float]:
        """In images; to caption one costs about as much as to learn from it."""
        return float(min(VALIDATED, len(self.parts["val"]))), float(training.batch_size)

    def remark(self, figures: Mapping[str, float]) -> str | None:
        """What is wrong with the captions of the last validation."""
        return "; ".join(warnings(self._said)) or None

    # ---- evaluating ------------------------------------------------------------------------------

    def captioned(
        self, model: Captioner, split: str, chosen: Sequence[int] | None = None, **writing: Any
    ) -> list[Caption]:
        """The captions of images of a part, of all or of those with these numbers."""
        part = self.part(split)
        numbers = np.arange(len(part)) if chosen is None else np.array(chosen)
        writing = {"max_length": self._longest + 5, **writing}
        found: list[Caption] = []
        with torch.no_grad(), evaluating(model):
            for start in range(0, len(numbers), _BATCH):
                batch = part.gather(numbers[start : start + _BATCH])
                found += model.predict(self.images(model, split, batch), **writing)
        return found

    def nll(self, model: Captioner, split: str, chosen: Sequence[int] | None = None) -> float:
        """In nats a token, given the caption's own tokens before."""
        part = self.part(split)
        numbers = np.arange(len(part)) if chosen is None else np.array(chosen)
        total, count = 0.0, 0
        device = model.output.weight.device
        with torch.no_grad(), evaluating(model):
            for start in range(0, len(numbers), _BATCH):
                batch = part.gather(numbers[start : start + _BATCH])
                images = self.images(model, split, batch)
                captions, lengths = batch.captions.to(device), batch.lengths.to(device)
                which = batch.which.to(device)
                log_p = model.log_probabilities(images, captions, lengths, which=which)
                total -= float(log_p.double().sum())
                count += int(lengths.sum()) + len(lengths)
        return total / count

    def _words(self, said: Sequence[Caption]) -> list[str]:
        return [caption_data.tokens_of(self.vocabulary, each.text) for each in said]

    def evaluate(self, model: Captioner, split: str) -> dict[str, Any]:
        """The scores of `caption_scores.scored`, `nll`, `ppl`, recalls of `RANKED` images both
        ways, what is wrong (`warnings`), and the same scores of the `floors`; free-running, with
        the beams that the run's settings name."""
        self.part(split)
        given = self.training
        training = given if isinstance(given, CaptionTraining) else CaptionTraining()
        writing = {"beam_size": training.beam_size, "length_penalty": training.length_penalty}
        started = time.perf_counter()
        said = self.captioned(model, split, **writing)
        seconds = time.perf_counter() - started
        references = self._references(split)
        nll = self.nll(model, split)
        return {
            **scored(self._words(said), references, java=True),
            "nll": nll,
            "ppl": math.exp(nll),
            **self.recalled(model, split),
            "unfinished": sum(not each.finished for each in said) / len(said),
            "different": len({each.text for each in said}),
            "images": len(said),
            **writing,
            "images_per_s": len(said) / max(seconds, 1e-9),
            "seconds": seconds,
            "warnings": warnings(said),
            "floors": self.floors(model, split),
        }

    def recalled(self, model: Captioner, split: str) -> dict[str, float]:
        """How sentences find images, and images sentences, among `RANKED` images of a part."""
        if model.inject == "none":
            return {}
        chosen = self._sample(split, RANKED)
        batch = self.parts[split].gather(np.array(chosen))
        with torch.no_grad(), evaluating(model):
            images = self.images(model, split, batch)
            features = images if images.dim() != 4 else model.features(images)
            if model.inject == "memory":
                said = model.imagined(batch.captions.to(features.device), batch.lengths)
                alike = functional.normalize(said, dim=1) @ functional.normalize(features, dim=1).T
                return recalls(alike.T, batch.which.tolist())
            captions = batch.captions.to(features.device)
            M = captions.shape[1]
            scores = torch.stack(
                [
                    model.log_probabilities(
                        each[None],
                        captions,
                        batch.lengths,
                        which=torch.zeros(M, dtype=torch.int64, device=features.device),
                    )
                    for each in features
                ]
            )
        # an image finds what it makes more probable than others do; a sentence as it is
        own = scores - scores.logsumexp(0)
        found = recalls(own, batch.which.tolist())
        plain = recalls(scores, batch.which.tolist())
        return found | {k: v for k, v in plain.items() if k.startswith("text_to_image")}

    def floors(self, model: Captioner, split: str) -> dict[str, dict[str, float]]:
        """The scores of captions of the most alike image of training, as the model's own vectors
        have it, and of a language model that sees no image."""
        references = self._references(split)
        found = {}
        if model.inject != "none":
            own, others = (self._vectors(model, each) for each in (split, "train"))
            texts = self._references("train")
            found["nearest"] = scored([texts[n][0] for n in nearest(own, others)], references)
        if self._blind is None:
            self._blind = blind_model(self.parts["train"], self.vocabulary)
        part = self.parts[split]
        nothing = np.zeros((len(part), 1), dtype=np.float32)
        blind = CaptionTask(
            {**self.parts, split: CaptionExamples(nothing, part.captions)},
            self.texts,
            self.vocabulary,
        )
        said = blind.captioned(self._blind, split, [0], beam_size=3)
        nll = blind.nll(self._blind, split)
        scores = scored(self._words(said) * len(part), references)
        found["no image"] = {**scores, "nll": nll, "ppl": math.exp(nll)}
        return found

    def _vectors(self, model: Captioner, split: str) -> Tensor:
        """[N, D]: what the model's encoder makes of each image; of a grid the mean."""
        part, found = self.parts[split], []
        with torch.no_grad(), evaluating(model):
            for start in range(0, len(part), _BATCH):
                numbers = np.arange(start, min(start + _BATCH, len(part)))
                images = self.images(model, split, part.gather(numbers))
                features = images if images.dim() != 4 else model.features(images)
                found.append(features.mean(1) if features.dim() == 3 else features)
        return torch.cat(found)

    @classmethod
    def say(cls, figures: Mapping[str, Any]) -> str:
        """A table of the scores beside the floors, and what else there is to say."""
        rows = {"the model": figures}
        rows |= {
            {"nearest": "nearest picture's"}.get(n, n): f for n, f in figures["floors"].items()
        }
        names = [name for name in _COLUMNS if name in figures]
        lines = [" " * 18 + "".join(f"{name:>9}" for name in names)]
        for name, each in rows.items():
            cells = (f"{each[n]:9.3f}" if n in each else " " * 9 for n in names)
            lines.append(f"{name:<18}{''.join(cells)}")
        if "text_to_image_1" in figures:
            ways = {"text_to_image": "sentence to image", "image_to_text": "image to sentence"}
            for way, name in ways.items():
                shares = ", ".join(f"@{k} {figures[f'{way}_{k}']:.1%}" for k in (1, 5, 10))
                lines.append(f"{name}, of {RANKED}: {shares}, median {figures[f'{way}_median']:g}")
        lines.append(
            f"{figures['images']:,} images, {figures['images_per_s']:.1f} a second, "
            f"{figures['different']:,} different captions, beam {figures['beam_size']}"
        )
        return "\n".join(["", *lines, *(f"warning: {line}" for line in figures["warnings"])])

    # ---- showing ---------------------------------------------------------------------------------

    @classmethod
    def row(cls, prediction: Caption) -> dict[str, Any]:
        """The caption and its log-probability."""
        return {"caption": prediction.text, "log_probability": prediction.log_probability}

    def preview(
        self, model: Captioner, moment: Moment, training: CaptionTraining
    ) -> tuple[str, str] | None:
        """What the model says of a few images of the validation part, the same ones each time."""
        count = len(self.parts["val"])
        order = np.random.default_rng(training.seed).permutation(count)[:NUM_SHOWN]
        chosen = sorted(order.tolist())
        said = self.captioned(model, "val", chosen, beam_size=1)
        lines = []
        for n, each in zip(chosen, said, strict=True):
            lines += [
                f"image {n}",
                f"    says  {each.text}",
                f"    true  {self.texts['val'][n][0]}",
            ]
        return "\n".join(lines), "of the validation part, the most probable token each time"


def pixels(model: Captioner, pictures: Tensor) -> Tensor:
    """[N, C, Y, X], what the model's preprocessing makes of pictures of its size.

    Args:
        pictures: [N, Y, X, 3] uint8.
    """
    make = model.preprocessing
    assert make is not None
    like = model.output.weight
    values = pictures.permute(0, 3, 1, 2).float() / 255
    mean, std = (
        torch.tensor(each, dtype=torch.float32, device="cpu").view(-1, 1, 1)
        for each in (make.mean, make.std)
    )
    return ((values - mean) / std).to(like)


def _encoder_options(model: CaptionerSettings) -> dict[str, Any]:
    """What `vision.encoder` is called with."""
    if model.encoder not in _SCALED:
        return {"name": model.encoder}
    widths = [model.encoder_width * 2**stage for stage in range(model.encoder_stages)]
    return {"name": model.encoder, "widths": widths, "size": model.encoder_size}


def _check_encoder(model: CaptionerSettings, training: CaptionTraining) -> None:
    """Raise ValueError where there is no such encoder, or DataError where its weights are not
    there; weights that are drawn anew do not stay as they are."""
    if model.encoder not in names():
        encoder(model.encoder)  # says which there are
    if model.encoder_weights is not None and not Path(model.encoder_weights).is_file():
        raise DataError(
            f"{model.encoder_weights}: expected a file of weights, got no such file. Check "
            f"{argument('encoder_weights=')}."
        )
    if training.encoder_rate == 0 and model.encoder_weights is None and model.inject != "none":
        raise ValueError(
            f"encoder_rate: expected more than 0 for an encoder whose weights are drawn anew, got "
            f"0. Give it {argument('encoder_weights=')}, or let it learn."
        )


def _check_files(data: CaptionSettings) -> None:
    """Raise DataError where a file or folder that settings name is not there."""
    for name in data.paths():
        given = getattr(data, name)
        for path in (given,) if isinstance(given, str) else given or ():
            if name == "data" and worlds.is_world(path, worlds.PICTURE_WORLDS):
                continue
            if not Path(path).exists():
                raise DataError(
                    f"{path}: expected a file or a folder, got no such file. Check the path, or "
                    f"give {argument('data=')} a world: {', '.join(worlds.PICTURE_WORLDS)}."
                )
