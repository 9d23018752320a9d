"""`recurra train caption`: a sentence about a picture.

Letters: N images, M captions, T tokens of a caption, D features of an image.
"""

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from recurra.data.caption_store import CaptionBatch, CaptionExamples
from recurra.insight.captions import figure_of_captions
from recurra.models import Caption, Captioner
from recurra.nn.dropout import chosen
from recurra.nn.plain import evaluating
from recurra.settings import Settings
from recurra.tasks import caption_data
from recurra.tasks.caption_floors import blind_model, nearest, recalls
from recurra.tasks.caption_rewards import self_critical
from recurra.tasks.caption_scores import Consensus, check_scorers, scene_of, scored, warnings
from recurra.tasks.captioned import CaptionedTask
from recurra.tasks.options import CaptionerSettings, CaptionSettings, CaptionTraining
from recurra.text import Vocabulary
from recurra.training.settings import RunSettings, TrainingSettings
from recurra.training.task import Carried, Figure, Loss, Moment

VALIDATED = 500  # images of the validation part that are captioned each time
RANKED = 100  # images among which sentences find theirs
NUM_SHOWN = 4  # captions of a preview
NUM_DRAWN = 8  # pictures of a report
_BATCH = 64  # images that are read side by side where nothing is learned
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
        self._blind: Captioner | None = None

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
        chosen = self.sample(split, RANKED)
        batch = self.parts[split].gather(np.array(chosen))
        with torch.no_grad(), evaluating(model):
            images = self.images(model, split, batch)
            features = images if images.dim() != 4 else model.features(images)
            if model.inject == "memory":
                said = model.imagined(batch.captions.to(features.device), batch.lengths)
                alike = functional.normalize(said, dim=1) @ functional.normalize(features, dim=1).T
                return recalls(alike.T, batch.which.tolist())
            captions = batch.captions.to(features.device)
            scores = features.new_empty((len(features), len(batch.lengths)))
            # captions of like length side by side: there is less padding to read
            for block in batch.lengths.argsort().split(RANKED):
                lengths = batch.lengths[block]
                some = captions[: int(lengths.max()), block]
                which = torch.zeros_like(block).to(features.device)
                for n, each in enumerate(features):
                    scores[n, block] = model.log_probabilities(
                        each[None], some, lengths, which=which
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
