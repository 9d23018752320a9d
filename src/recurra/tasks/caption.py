"""`recurra train caption`: a sentence about a picture.

Letters: N images, M captions, T tokens of a caption, D features of an image.
"""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from recurra.data.caption_store import CaptionBatch, CaptionExamples
from recurra.errors import argument
from recurra.insight.captions import figure_of_captions
from recurra.models import Caption, Captioner
from recurra.nn.dropout import chosen
from recurra.nn.plain import evaluating
from recurra.settings import Settings
from recurra.tasks import caption_data
from recurra.tasks.beside import digest, kept
from recurra.tasks.caption_floors import blind_model, nearest
from recurra.tasks.caption_reading import (
    BLOCK,
    blocks,
    read,
    surprise,
    surprise_of_all,
    vectors_of,
)
from recurra.tasks.caption_recall import recalled
from recurra.tasks.caption_rewards import self_critical
from recurra.tasks.caption_scores import Consensus, check_scorers, scene_of, scored, warnings
from recurra.tasks.captioned import CaptionedTask
from recurra.tasks.encoding import FOLDER
from recurra.tasks.options import CaptionerSettings, CaptionSettings, CaptionTraining
from recurra.text import Vocabulary
from recurra.training.settings import RunSettings, TrainingSettings
from recurra.training.task import Carried, Figure, Loss, Moment

VALIDATED = 500  # images of the validation part that are captioned each time
NUM_SHOWN = 4  # captions of a preview
NUM_DRAWN = 8  # pictures of a report
_COLUMNS = ("bleu1", "bleu4", "rouge_l", "meteor", "spice", "cider", "exact", "facts", "ppl")


class CaptionTask(CaptionedTask[Captioner]):
    """Images with captions, encoded, for a captioner; see `CaptionedTask`."""

    name: ClassVar[str] = "caption"
    title: ClassVar[str] = "captioner"
    counted: ClassVar[str] = "words"
    predicted: ClassVar[tuple[str, ...]] = ("caption", "log_probability")
    data_settings: ClassVar[type[Settings]] = CaptionSettings
    model_settings: ClassVar[type[Settings]] = CaptionerSettings
    training_settings: ClassVar[type[TrainingSettings]] = CaptionTraining
    measured_by: ClassVar[tuple[str, ...]] = (
        *("beam_size", "length_penalty", "neighbours", "ranked", "java"),
    )

    def __init__(
        self,
        parts: Mapping[str, CaptionExamples],
        texts: caption_data.Texts,
        vocabulary: Vocabulary,
        *,
        size: tuple[int, int] | None = None,
        description: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(parts, texts, vocabulary, size=size, description=description)
        self.is_of_scenes = all(scene_of(each) is not None for each in texts["val"][:20])
        self._reward: Consensus | None = None
        self._said: list[Caption] = []  # of the last validation

    @classmethod
    def check(cls, settings: RunSettings) -> RunSettings:
        """As of all such tasks; what scores captions is there."""
        check_scorers()
        return super().check(settings)

    # ---- model -----------------------------------------------------------------------------------

    @property
    def figures(self) -> Sequence[Figure]:
        """CIDEr first; of scenes the share of captions that are true in every fact.

        Each stays the same while the same captions are written: of those that come out equal the
        later model is surer of them.
        """
        facts = Figure(name="facts", higher_is_better=True, is_discrete=True)
        cider = Figure(name="cider", higher_is_better=True, is_discrete=True)
        bleu = Figure(name="bleu4", higher_is_better=True, is_discrete=True)
        nll = Figure(name="nll", unit="nats a token")
        return (facts, cider, nll) if self.is_of_scenes else (cider, bleu, nll)

    def build(self, model: CaptionerSettings, *, backend: str = "auto") -> Captioner:
        """A captioner for the data, with an encoder where they are pictures."""
        own = model.arguments()
        options = {name: own[name] for name in own if not name.startswith("encoder")}
        return Captioner(**self.seeing(model), **options, backend=backend)

    def titled(self, model: Captioner) -> str:
        """What a view calls the run."""
        return f"{model.cell.name} {self.title}, inject {model.inject}"

    def adopt(self, model: Captioner) -> None:
        """Give the model what writes text."""
        model.vocabulary = self.vocabulary

    # ---- training --------------------------------------------------------------------------------

    def is_blind(self, model: Captioner) -> bool:
        """Whether it is the language model."""
        return model.inject == "none"

    def features(self, model: Captioner, images: Tensor) -> Tensor:
        """Vectors, or grids for attention."""
        return model.features(images)

    def loss(self, model: nn.Module, batch: CaptionBatch, state: Carried, moment: Moment) -> Loss:
        """The mean over tokens and the marks behind captions, in nats; with a memory, what it says
        of the image; at the end of a run that asks for it, the reward of what is drawn."""
        training = self._training
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
        read = _with_gaps(captions, of.mark, training.word_dropout if of.training else 0.0)
        extra: Any = 0.0
        if of.inject == "memory" and of.training and training.reconstruction:
            logits, said, true = model(
                images, captions, lengths, which=which, read=read, packed=True, imagined=True
            )
            lost = of.reconstruction_loss(said, true, captions, lengths)
            extra = training.reconstruction * lost.mean()
        else:
            logits = model(images, captions, lengths, which=which, read=read, packed=True)
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
        chosen = self.sample("val", VALIDATED)
        self._said = self.captioned(model, "val", chosen, beam_size=1)
        references = self._references("val")
        scores = scored(self._words(self._said), [references[n] for n in chosen])
        found = {**scores, "nll": self.nll(model, "val", chosen)}
        return {figure.name: found[figure.name] for figure in self.figures}

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
            for some in blocks(numbers, BLOCK):
                batch = part.gather(some)
                found += model.predict(self.images(model, split, batch), **writing)
        return found

    def nll(self, model: Captioner, split: str, chosen: Sequence[int] | None = None) -> float:
        """In nats a token, given the caption's own tokens before."""
        part = self.part(split)
        numbers = np.arange(len(part)) if chosen is None else np.array(chosen)
        total, count = 0.0, 0
        with torch.no_grad(), evaluating(model):
            for some in blocks(numbers, BLOCK):
                batch = part.gather(some)
                features = model.features(self.images(model, split, batch))
                nats, tokens = surprise(model, features, batch)
                total, count = total + nats, count + tokens
        return total / count

    def _words(self, said: Sequence[Caption]) -> list[str]:
        return [caption_data.tokens_of(self.vocabulary, each.text) for each in said]

    def evaluate(self, model: Captioner, split: str) -> dict[str, Any]:
        """The scores of `caption_scores.scored`, `nll`, `ppl`, recalls of some images both ways,
        what is wrong (`warnings`), and the same scores of the `floors`; free-running, with the
        beams that the run's settings name. Each image is encoded once."""
        part = self.part(split)
        training = self._training
        writing = {"beam_size": training.beam_size, "length_penalty": training.length_penalty}
        chosen = self.sample(split, training.ranked) if model.inject != "none" else []
        reading = read(
            model,
            part,
            partial(self.images, model, split),
            self.watch,
            chosen=chosen,
            max_length=self._longest + 5,
            **writing,
        )
        said, references = reading.said, self._references(split)
        self.watch("scores", 0, 1)
        scores = scored(self._words(said), references, java=training.java)
        found = {}
        if chosen:
            batch = part.gather(np.array(chosen))
            found = recalled(model, reading.features, batch, self.watch)
            found["ranked"] = len(chosen)
        return {
            **scores,
            "nll": reading.nll,
            "ppl": math.exp(reading.nll),
            **found,
            "unfinished": sum(not each.finished for each in said) / len(said),
            "different": len({each.text for each in said}),
            "images": len(said),
            **writing,
            "images_per_s": len(said) / max(reading.seconds, 1e-9),
            "seconds": reading.seconds,
            "warnings": warnings(said, int(self.description.get("empty", 0))),
            "floors": self.floors(model, split, reading.vectors, references),
        }

    @property
    def _training(self) -> CaptionTraining:
        given = self.training
        return given if isinstance(given, CaptionTraining) else CaptionTraining()

    def floors(
        self, model: Captioner, split: str, vectors: Tensor, references: Sequence[Sequence[str]]
    ) -> dict[str, dict[str, float]]:
        """The scores of captions of the most alike image of training, as the model's own vectors
        have it, and of a language model that sees no image.

        Args:
            vectors: [N, D] of the images of the part.
            references: what people say of each.
        """
        found: dict[str, dict[str, float]] = {}
        if model.inject != "none":
            numbers = self._neighbours()
            others = self._vectors(model, numbers)
            texts = [self.texts["train"][int(numbers[k])][0] for k in nearest(vectors, others)]
            said = [caption_data.tokens_of(self.vocabulary, text) for text in texts]
            whole = len(self.parts["train"])
            found["nearest"] = {**scored(said, references), "among": len(numbers), "of": whole}
        blind = blind_model(
            self.parts["train"], self.vocabulary, path=self._beside("no-image"), watch=self.watch
        )
        with torch.no_grad():
            (said_of_all,) = blind.predict(
                torch.zeros(1, 1, dtype=torch.float32, device="cpu"),
                beam_size=3,
                max_length=self._longest + 5,
            )
            nll = surprise_of_all(blind, self.parts[split], self.watch)
        words = self._words([said_of_all]) * len(references)
        found["no image"] = {**scored(words, references), "nll": nll, "ppl": math.exp(nll)}
        return found

    def _neighbours(self) -> np.ndarray:
        """The numbers of the images of training among which the nearest is looked for."""
        count = len(self.parts["train"])
        return np.array(self.sample("train", self._training.neighbours or count))

    def _vectors(self, model: Captioner, numbers: np.ndarray) -> Tensor:
        """[N, D]: what the model's encoder makes of these images of training; of a grid the mean.
        They are kept beside the run's data, by the encoder and by the pictures."""
        part = self.parts["train"]

        def make() -> dict[str, Tensor]:
            images = partial(self.images, model, "train")
            return {"vectors": vectors_of(model, part, images, self.watch, numbers)}

        if model.encoder is None or model.preprocessing is None or self.size is None:
            return make()["vectors"]
        self.watch("pictures of training", 0, len(numbers))
        own = (model.encoder.digest, model.preprocessing.digest, model.inject == "attend")
        pictures = (np.asarray(part.images[some]) for some in blocks(numbers, BLOCK))
        key = digest(*map(str, own), arrays=pictures)
        made = kept(self._beside("nearest"), key, make)["vectors"]
        return made.to(next(model.parameters()))

    def _beside(self, name: str) -> Path | None:
        """The file of the run where what evaluation makes once is kept; None: there is no run."""
        return None if self.folder is None else self.folder / FOLDER / f"floor-{name}.safetensors"

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
                median = figures[f"{way}_median"]
                lines.append(f"{name}, of {figures['ranked']}: {shares}, median {median:g}")
        near = figures["floors"].get("nearest", {})
        if near and near["among"] < near["of"]:
            lines.append(
                f"nearest of {near['among']:,} of the {near['of']:,} pictures of training, evenly "
                f"drawn; {argument('neighbours=0')} takes all"
            )
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

    def insights(self, model: Captioner, *, brief: bool = False) -> list[Any]:
        """What is said of some pictures, where they are pictures, and where each word looks."""
        part = self.part("val")
        if self.size is None or brief:
            return []
        numbers = self.sample("val", NUM_DRAWN)
        looks = model.attention_cell() is not None
        said = (
            self.captioned(model, "val", numbers, attention=True)
            if looks
            else self.captioned(model, "val", numbers)
        )
        shown = [(np.asarray(part.images[n]), each) for n, each in zip(numbers, said, strict=True)]
        return [figure_of_captions(shown, [self.texts["val"][n][0] for n in numbers])]


def _with_gaps(captions: Tensor, mark: int, rate: float) -> Tensor | None:
    """[T + 1, M], the mark and the captions to be read, some words of which are the mark instead;
    None where all are read.

    Source: Bowman et al. (2016), "Generating Sentences from a Continuous Space", CoNLL,
    arXiv:1511.06349, section 3.1.
    """
    if rate == 0:
        return None
    like = torch.empty(0, dtype=torch.float32, device=captions.device)
    gaps = chosen(captions.shape, rate, like).bool()
    return torch.cat(
        [captions.new_full((1, captions.shape[1]), mark), captions.masked_fill(gaps, mark)]
    )
