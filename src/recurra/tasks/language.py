"""`recurra train lm`: a language model of a text, one token after the other.

Truncated backpropagation through time over streams of tokens: the state is carried from window to
window and detached there; it starts at zero in each pass. Lines that are read by themselves are
windows by themselves: each starts at zero.
Source of the method: Werbos (1990), "Backpropagation through time"; its truncation as in Williams
and Peng (1990), "An efficient gradient-based algorithm for on-line training of recurrent network
trajectories", with windows that do not overlap.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from recurra.data import Buckets, Source, TokenStreams, Vocabulary, check_ids
from recurra.data.caption_text import caption_tokens, prepare_captions
from recurra.data.lines import LineBatch, LineExamples
from recurra.data.opening import warn_of_one_held_out
from recurra.data.parts import (
    Text,
    check_sources,
    open_text,
    other_text,
    prepare_text,
)
from recurra.decoding import Sampler, generate_text
from recurra.errors import DataError, argument
from recurra.insight.language import memory_of, units_of
from recurra.insight.surprise import figure_of_surprise, surprise
from recurra.models import LanguageModel, Model
from recurra.models.language_model import token_losses
from recurra.settings import Settings
from recurra.tasks.cells import with_cell
from recurra.tasks.evaluation import evaluate, evaluate_lines
from recurra.tasks.measures import measure, measure_name, of_text
from recurra.tasks.options import LanguageModelSettings, LanguageTraining, TextSettings
from recurra.terminal import legible
from recurra.text.corpus import say_what
from recurra.text.words import END_OF_LINE
from recurra.training.settings import RunSettings, TrainingSettings
from recurra.training.task import Carried, Description, Figure, Loss, Moment, Task

VALIDATION_TOKENS = 100_000  # of a longer split, spread over all of it: validating stays cheap
_PIECE = 2**20  # tokens that are counted at once
_MOST_LINES = 10  # of a sample
_SYMBOLS = {"char": "characters", "byte": "bytes", "word": "words"}

Window = tuple[Tensor, Tensor]


class LanguageTask(Task[Model, Window | LineBatch]):
    """A text, encoded: each token is to be predicted from those before it.

    Args:
        vocabulary: of the tokens.
        parts: token ids [N] by split, "train" and "val" at least; may be memory-mapped.
        read: what they were read from, see `Text`.
        by_line: whether each line is read by itself, in any order; the vocabulary is of words.
    """

    name: ClassVar[str] = "lm"
    title: ClassVar[str] = "language model"
    counted: ClassVar[str] = "tokens"
    data_settings: ClassVar[type[Settings]] = TextSettings
    model_settings: ClassVar[type[Settings]] = LanguageModelSettings
    training_settings: ClassVar[type[TrainingSettings]] = LanguageTraining

    def __init__(
        self,
        vocabulary: Vocabulary,
        parts: Mapping[str, np.ndarray],
        read: Mapping[str, Any] | None = None,
        *,
        by_line: bool = False,
    ) -> None:
        self.vocabulary, self.by_line = vocabulary, by_line
        self._lines: dict[str, LineExamples] = {}
        self.text = Text(vocabulary=vocabulary, parts=parts, read=read or {})

    # ---- data ------------------------------------------------------------------------------------

    @classmethod
    def check(cls, settings: RunSettings) -> RunSettings:
        """The settings with the cell that they name; DataError when a file is not there."""
        check_sources(settings.data)
        warn_of_one_held_out(settings.data.val_data, settings.data.test_data)
        return with_cell(settings)

    @classmethod
    def prepare(cls, folder: Path, data: TextSettings) -> "LanguageTask":
        """Encode the text into the folder."""
        text = (prepare_captions if data.unit == "caption" else prepare_text)(folder, data)
        return cls(text.vocabulary, text.parts, text.read, by_line=data.unit != "text")

    @classmethod
    def open(cls, folder: Path, config: Mapping[str, Any]) -> "LanguageTask":
        """The text in a run's folder; DataError unless its tokens are those of the vocabulary in
        config.json."""
        data = config.get("data")
        text = open_text(folder, data if isinstance(data, dict) else {})
        try:
            vocabulary = Vocabulary.from_config(config["vocabulary"])
        except DataError as error:
            raise DataError(f"{folder / 'config.json'}: {error}") from error
        if text.vocabulary != vocabulary:
            raise DataError(
                f"{folder / 'config.json'}: expected the vocabulary of the run's tokens, got "
                "another. Restore the file from a copy."
            )
        unit = data.get("unit", "text") if isinstance(data, dict) else "text"
        return cls(text.vocabulary, text.parts, text.read, by_line=unit != "text")

    @classmethod
    def has_entries(cls, config: Mapping[str, Any]) -> bool:
        """Whether there is a vocabulary."""
        return "vocabulary" in config

    def entries(self) -> dict[str, Any]:
        """The vocabulary, how many tokens each part has, and what they were read from."""
        read = {"read": dict(self.text.read)} if self.text.read else {}
        return {
            "vocabulary": self.vocabulary.to_config(),
            "data": {"tokens": self.text.sizes, **read},
        }

    def describe(self) -> Description:
        """What was read, and how many tokens, of how many kinds."""
        kind = _SYMBOLS.get(self.vocabulary.level, "tokens")
        sizes = self.text.sizes
        main = self.text.read.get("text", {}).get("sha256")  # captions of all parts may be of it
        several = [
            (what, part)
            for part, what in self.text.read.items()
            if part == "text" or what.get("sha256") != main
        ]
        read = [line for what, part in several for line in say_what(what, part)]
        return Description(
            lines=read
            + [(name, f"{count:,} {kind}{self._extent(name)}") for name, count in sizes.items()]
            + [("vocabulary", f"{len(self.vocabulary):,} kinds")],
            facts={"level": self.vocabulary.level, "vocabulary": len(self.vocabulary), **sizes},
        )

    def _extent(self, split: str) -> str:
        """How many lines a part has, where each is read by itself."""
        return f", {len(self.line_examples(split)):,} lines" if self.by_line else ""

    def line_examples(self, split: str) -> LineExamples:
        """The lines of a part, each to be read by itself.

        Raises:
            DataError: when it has none.
        """
        if split not in self._lines:
            tokens = self.text.split(split)
            self._lines[split] = LineExamples(tokens, self.vocabulary.start_id, split)
        return self._lines[split]

    # ---- model -----------------------------------------------------------------------------------

    @property
    def figures(self) -> Sequence[Figure]:
        """The loss, and what it is quoted in."""
        level = self.vocabulary.level
        unit = "bits a character" if measure_name(level) == "bpc" else "perplexity"
        return (
            Figure(name="nll", unit="nats a token"),
            Figure(name=measure_name(level), unit=unit, spec=".4g"),
        )

    def build(self, model: LanguageModelSettings, *, backend: str = "auto") -> LanguageModel:
        """A language model of the vocabulary's size, with the vocabulary."""
        made = LanguageModel(len(self.vocabulary), **model.arguments(), backend=backend)
        self.adopt(made)
        return made

    def adopt(self, model: Model) -> None:
        """Give the model the vocabulary."""
        if getattr(model, "batch_first", False):
            raise ValueError(
                "model: expected one that reads [T, B], got batch_first=True. Training carries the "
                "state from window to window, time first: make the model without it."
            )
        if isinstance(model, LanguageModel):
            model.vocabulary = self.vocabulary

    # ---- training --------------------------------------------------------------------------------

    def source(self, split: str, training: Any) -> Source[Any]:
        """Windows over the split's tokens, or batches of its lines."""
        # unseen characters: now, not hours later
        self.vocabulary.encode(training.prime, where=argument("prime"))
        if self.by_line:
            self.line_examples("val")
            return Buckets(self.line_examples(split), training.batch_size, seed=training.seed)
        streams = TokenStreams(self.text.split(split), training.batch_size, training.bptt)
        if len(self.text.split("val")) < 2:
            raise DataError(
                f"validation: expected at least 2 tokens, got {len(self.text.split('val'))}. "
                f"Use more text, or a text of its own with {argument('val_data=')}."
            )
        return streams

    def loss(
        self, model: nn.Module, batch: Window | LineBatch, state: Carried, moment: Moment
    ) -> Loss:
        """Mean cross entropy over all targets of a window, or of lines, in nats."""
        if isinstance(batch, LineBatch):
            return self._loss_of_lines(model, batch)
        inputs, targets = batch
        check_ids(self.text.split("train"), targets, len(self.vocabulary))
        device = next(model.parameters()).device
        options = {"start": moment.index} if getattr(model, "reads_index", False) else {}
        logits, state = model(inputs.to(device), state, **options)
        mean = token_losses(logits, targets.to(device))
        return Loss(mean=mean, count=inputs.numel(), state=state, steps=len(inputs))

    def _loss_of_lines(self, model: nn.Module, batch: LineBatch) -> Loss:
        check_ids(self.text.split("train"), batch.inputs, len(self.vocabulary))
        device = next(model.parameters()).device
        logits, _ = model(batch.inputs.to(device), None)
        total = token_losses(logits, batch.targets.to(device), "sum")
        count = int((batch.targets >= 0).sum())
        return Loss(mean=total / max(1, count), count=count)

    def whole(self, training: Any) -> int | None:
        """The targets of a whole window."""
        return None if self.by_line else training.batch_size * training.bptt

    @property
    def chance(self) -> float:
        """The loss of a guess among all tokens."""
        return math.log(len(self.vocabulary))

    @property
    def baseline(self) -> float:
        """The entropy of the training part's tokens, each by itself, in nats."""
        tokens, size = self.text.split("train"), len(self.vocabulary)
        pieces = (tokens[start : start + _PIECE] for start in range(0, len(tokens), _PIECE))
        counts = np.sum([np.bincount(piece, minlength=size) for piece in pieces], axis=0)
        share = counts[counts > 0] / len(tokens)
        return float(-(share * np.log(share)).sum())

    def training_figures(self, loss: float) -> dict[str, float]:
        """The loss, and what it is quoted in."""
        level = self.vocabulary.level
        return {"nll": loss, measure_name(level): measure(level, loss)}

    def validate(self, model: Model, device: torch.device) -> dict[str, float]:
        """The loss over the validation part, or 100,000 tokens spread over it."""
        if self.by_line:
            lines = self.line_examples("val").spread(VALIDATION_TOKENS)
            found = evaluate_lines(model, lines, level=self.vocabulary.level, device=device)
            return {figure.name: found[figure.name] for figure in self.figures}
        figures = evaluate(
            model,
            self.text.split("val"),
            level=self.vocabulary.level,
            device=device,
            max_tokens=VALIDATION_TOKENS,
            vocab_size=len(self.vocabulary),
        )
        return {figure.name: figures[figure.name] for figure in self.figures}

    def validation_cost(self, training: Any) -> tuple[float, float]:
        """In tokens."""
        val = min(len(self.text.split("val")), VALIDATION_TOKENS)
        length = (
            float(self.line_examples("train").lengths.mean()) if self.by_line else training.bptt
        )
        return float(val), float(training.batch_size * length)

    def evaluate(self, model: Model, split: str) -> dict[str, Any]:
        """`nll` in nats a token, `bpc` in bits per character of the text, of words and pieces
        `ppl`, of words `unk`, the share of unknown ones; `tokens`, `seconds`, `level`."""
        if self.by_line:
            return _figures_of_lines(model, self.line_examples(split), self.vocabulary)
        return _figures(model, self.text.split(split), self.vocabulary)

    @classmethod
    def evaluate_file(cls, model: Any, data: Any, split: str | None, how: Any) -> dict[str, Any]:
        """The same of other texts, read with the model's vocabulary."""
        vocabulary, by_line = model.vocabulary, how.unit != "text"
        if how.unit == "caption":
            tokens = caption_tokens(data, vocabulary, split, how.encoding)
            lines = LineExamples(tokens, vocabulary.start_id, str(data))
            return _figures_of_lines(model, lines, vocabulary)
        with other_text(data, vocabulary, split, encoding=how.encoding, by_line=by_line) as tokens:
            if by_line:
                lines = LineExamples(tokens, vocabulary.start_id, str(data))
                return _figures_of_lines(model, lines, vocabulary)
            return _figures(model, tokens, vocabulary)

    @classmethod
    def say(cls, figures: Mapping[str, Any]) -> str:
        """The figures on one line."""
        ppl = f"ppl {figures['ppl']:.4f}, " if "ppl" in figures else ""
        unk = f", {figures['unk']:.2%} unknown" if "unk" in figures else ""
        return (
            f"nll {figures['nll']:.4f} nats a token, {ppl}bpc {figures['bpc']:.4f}, "
            f"{figures['tokens']:,} tokens{unk}, {figures['seconds']:.1f} s"
        )

    def insights(self, model: Model, *, brief: bool = False) -> list[Any]:
        """How far back the model looks, in the validation part; what it does not expect there; and
        what its units and gates do."""
        if brief or self.by_line:
            return []
        val = self.text.split("val")
        figures = [figure_of_surprise(surprise(model, self.vocabulary, val))]
        if isinstance(model, LanguageModel):
            figures = [*memory_of(model, val), *figures, *units_of(model, val)]
        return figures

    def preview(self, model: Model, moment: Moment, training: Any) -> tuple[str, str] | None:
        """A sample, drawn from a generator that training does not draw from."""
        if training.sample_length == 0:
            return None
        options: dict[str, Any] = {
            "sampler": Sampler(temperature=training.sample_temperature),
            "generator": torch.Generator().manual_seed(moment.seed),
        }
        how = f"temperature {training.sample_temperature:g}"
        prime = training.prime
        try:
            if self.by_line:
                return self._lines_written(model, prime, training.sample_length, options), how
            pieces = generate_text(model, self.vocabulary, prime, training.sample_length, **options)
            return legible(prime) + "".join(pieces), how
        except ValueError as error:
            # The scores of a model that diverges may overflow; training reports that by itself.
            return f"(no sample: {error})", how

    def _lines_written(self, model: Model, prime: str, length: int, options: dict[str, Any]) -> str:
        """Some lines, of so many tokens in all, each begun anew."""
        lines: list[str] = []
        while length > 0 and len(lines) < _MOST_LINES:
            pieces = generate_text(
                model, self.vocabulary, prime, length, stop=END_OF_LINE, **options
            )
            lines.append(prime + "".join(pieces))
            length -= 1 + len(self.vocabulary.encode(lines[-1]))
        return legible("\n".join(lines))


def _figures_of_lines(model: Any, lines: LineExamples, vocabulary: Vocabulary) -> dict[str, Any]:
    level = vocabulary.level
    figures = evaluate_lines(model, lines, level=level)
    predicted = np.concatenate([[lines.end_id], lines.tokens])  # the first of which is given
    return {**figures, **of_text(figures, predicted, vocabulary), "level": level}


def _figures(model: Any, tokens: np.ndarray, vocabulary: Vocabulary) -> dict[str, Any]:
    level = vocabulary.level
    figures = evaluate(model, tokens, level=level, vocab_size=len(vocabulary))
    return {**figures, **of_text(figures, tokens, vocabulary), "level": level}
