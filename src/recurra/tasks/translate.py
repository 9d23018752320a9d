"""`recurra train translate`: a sequence into another one, of words, pieces, characters or bytes.

Letters: N pairs, S steps of a source, T of a target, B batch.
"""

import json
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from recurra.data import Buckets, Sequential, Source
from recurra.data.inputs import LineRecords
from recurra.data.opening import open_inputs, warn_of_one_held_out
from recurra.data.parallel_text import (
    Pair,
    PairBatch,
    PairData,
    PairExamples,
    SourceRecords,
    open_pairs,
    pairs_in_memory,
    read_pairs,
    write_pairs,
)
from recurra.data.records import Records
from recurra.data.tables import lines_of, suffix_of
from recurra.errors import DataError, argument
from recurra.files import read_json, write_atomically
from recurra.insight.translation import figure_of_attention, figure_of_lengths
from recurra.models import Translation, Translator
from recurra.models.translator import encoded
from recurra.nn.plain import evaluating
from recurra.nn.stack import one_or_all
from recurra.settings import Settings
from recurra.tasks.cells import with_cell
from recurra.tasks.encoding import FOLDER
from recurra.tasks.evaluation import LOGITS
from recurra.tasks.options import ParallelSettings, TranslateTraining, TranslatorSettings
from recurra.tasks.translations import SHORTEST, bleu_by_length, scored
from recurra.text import Vocabulary
from recurra.text.words import WordVocabulary
from recurra.training.settings import RunSettings, TrainingSettings
from recurra.training.task import Carried, Description, Figure, Loss, Moment, Task

PIECES = 8000  # of a bpe vocabulary, unless another size is asked for
NUM_SHOWN = 3  # translations of a preview
NUM_DRAWN = 4  # maps of attention
SHORT_WORDS = 5  # of most targets: such are right as a whole, and of 3 words BLEU is always 0
TABLES_OF_INPUTS = (".tsv", ".csv", ".jsonl", ".ndjson", ".parquet", ".pq")
_BATCH = 64  # pairs that are read side by side where nothing is learned


class TranslateTask(Task[Translator, PairBatch]):
    """Pairs of a source and a target, encoded.

    Args:
        parts: by split.
        texts: by split, "val" and "test", the pairs as they are written; scores need them.
        source_vocabulary, target_vocabulary: of the two sides.
        lower: whether both are taken in lower case.
        description: of the data as they were read, as JSON has it.
    """

    name: ClassVar[str] = "translate"
    title: ClassVar[str] = "translator"
    counted: ClassVar[str] = "target tokens"
    predicted: ClassVar[tuple[str, ...]] = ("translation", "score")
    takes_empty: ClassVar[bool] = True
    draws: ClassVar[bool] = True
    shows_input: ClassVar[bool] = False
    input_column: ClassVar[str] = "source"
    data_settings: ClassVar[type[Settings]] = ParallelSettings
    model_settings: ClassVar[type[Settings]] = TranslatorSettings
    training_settings: ClassVar[type[TrainingSettings]] = TranslateTraining

    def __init__(
        self,
        parts: Mapping[str, PairExamples],
        texts: Mapping[str, Sequence[tuple[str, str]]],
        source_vocabulary: Vocabulary,
        target_vocabulary: Vocabulary,
        *,
        lower: bool = False,
        description: Mapping[str, Any] | None = None,
    ) -> None:
        self.parts, self.texts = parts, texts
        self.source_vocabulary, self.target_vocabulary = source_vocabulary, target_vocabulary
        self.lower = lower
        self.description = dict(description or {})

    # ---- data ------------------------------------------------------------------------------------

    @classmethod
    def check(cls, settings: RunSettings) -> RunSettings:
        """The settings with the cells that they name."""
        warn_of_one_held_out(settings.data.val_data, settings.data.test_data)
        return with_cell(settings)

    @classmethod
    def prepare(cls, folder: Path, data: ParallelSettings) -> "TranslateTask":
        """Read the pairs and encode them into the folder."""
        if data.data is None:
            raise DataError(
                f"{argument('data=')}: expected pairs of a source and a target, got none. Name a "
                f"table of two columns, pairs.tsv, or a folder with train.en and train.de."
            )
        found = read_pairs(
            data.data,
            val_data=data.val_data,
            test_data=data.test_data,
            source=data.source,
            target=data.target,
            encoding=data.encoding,
        )
        return cls.of(found, data, folder=folder)

    @classmethod
    def of(
        cls,
        found: PairData,
        data: ParallelSettings | None = None,
        *,
        folder: Path | None = None,
    ) -> "TranslateTask":
        """The task of pairs that were read; encoded in memory, or into a folder."""
        data = data or ParallelSettings()
        notes = list(found.notes)
        source, target = _vocabularies(found.parts["train"], data)
        parts: dict[str, PairExamples] = {}
        for name, pairs in found.parts.items():
            both = [
                (encoded(source, p.source, data.lower), encoded(target, p.target, data.lower))
                for p in pairs
            ]
            kept = [pair for pair in both if len(pair[0]) and len(pair[1])]
            if name == "train":
                long = [pair for pair in kept if max(map(len, pair)) > data.max_tokens]
                kept = [pair for pair in kept if max(map(len, pair)) <= data.max_tokens]
                if long:
                    notes.append(
                        f"train: {len(long):,} pairs of more than {data.max_tokens} tokens are "
                        f"left out"
                    )
            if not kept:
                raise DataError(
                    f"{pairs[0].place}: expected pairs of 1 to {data.max_tokens} tokens to "
                    f"{name} on, got none. Give a larger {argument('max_tokens=')}."
                )
            if folder is None:
                parts[name] = pairs_in_memory(kept)
            else:
                path = folder / FOLDER / f"{name}.examples"
                write_pairs(path, kept)
                parts[name] = open_pairs(path)
        texts = {
            name: [(pair.source, pair.target) for pair in found.parts[name]]
            for name in ("val", "test")
        }
        if folder is not None:
            _write_texts(folder, texts)
        described = {"notes": notes, "names": list(found.names)}
        return cls(parts, texts, source, target, lower=data.lower, description=described)

    @classmethod
    def open(cls, folder: Path, config: Mapping[str, Any]) -> "TranslateTask":
        """The pairs in a run's folder, and what they were encoded with."""
        data = config.get("data")
        data = data if isinstance(data, Mapping) else {}
        return cls(
            {n: open_pairs(folder / FOLDER / f"{n}.examples") for n in ("train", "val", "test")},
            _read_texts(folder),
            Vocabulary.from_config(config["source_vocabulary"]),
            Vocabulary.from_config(config["target_vocabulary"]),
            lower=bool(data.get("lower", False)),
            description=data.get("described"),
        )

    @classmethod
    def has_entries(cls, config: Mapping[str, Any]) -> bool:
        """Whether there are both vocabularies."""
        return "source_vocabulary" in config and "target_vocabulary" in config

    def entries(self) -> dict[str, Any]:
        """The vocabularies, and what was read."""
        return {
            "source_vocabulary": self.source_vocabulary.to_config(),
            "target_vocabulary": self.target_vocabulary.to_config(),
            "data": {"described": self.description},
        }

    def describe(self) -> Description:
        """How many pairs, how long, and of which vocabularies."""
        lines = [("read", note) for note in self.description.get("notes", ())]
        for name, part in self.parts.items():
            lines.append(
                (
                    name,
                    f"{len(part):,} pairs, {int(part.source_lengths.sum()):,} source tokens "
                    f"({part.source_lengths.min()} to {part.source_lengths.max()} each), "
                    f"{int(part.target_lengths.sum()):,} target tokens "
                    f"({part.target_lengths.min()} to {part.target_lengths.max()})",
                )
            )
        for side, vocabulary in (
            ("source", self.source_vocabulary),
            ("target", self.target_vocabulary),
        ):
            said = f"{len(vocabulary):,} {vocabulary.level} tokens"
            if vocabulary.unknown_id is not None:
                ids = np.asarray(getattr(self.parts["val"], side).values)
                said += f"; of val {np.mean(ids == vocabulary.unknown_id):.1%} are others"
            lines.append((side, said))
        return Description(lines=lines, facts={name: len(p) for name, p in self.parts.items()})

    # ---- model -----------------------------------------------------------------------------------

    @property
    def is_short(self) -> bool:
        """Whether most targets are so short that they are right or wrong as a whole."""
        words = [len(target.split()) for _, target in self.texts["val"]]
        return statistics.median(words) <= SHORT_WORDS

    @property
    def figures(self) -> Sequence[Figure]:
        """BLEU first; of short targets the share that is right."""
        bleu = Figure(name="bleu", higher_is_better=True, spec=".2f")
        exact = Figure(name="exact", higher_is_better=True, is_discrete=True)
        chrf = Figure(name="chrf", higher_is_better=True, spec=".2f")
        nll = Figure(name="nll", unit="nats a token")
        return (exact, chrf, nll) if self.is_short else (bleu, chrf, nll)

    def build(self, model: TranslatorSettings, *, backend: str = "auto") -> Translator:
        """A translator for the pairs, with what reads and writes text."""
        return Translator(
            source_vocabulary=self.source_vocabulary,
            target_vocabulary=self.target_vocabulary,
            lower=self.lower,
            **model.arguments(),
            backend=backend,
        )

    def titled(self, model: Translator) -> str:
        """What a view calls the run."""
        return f"{model.encoder.cell.name} {self.title}, attention {model.attention}"

    def adopt(self, model: Translator) -> None:
        """Give the model what reads and writes text."""
        model.source_vocabulary = self.source_vocabulary
        model.target_vocabulary = self.target_vocabulary

    # ---- training --------------------------------------------------------------------------------

    def source(self, split: str, training: TranslateTraining) -> Source[PairBatch]:
        """Batches of pairs of like length."""
        return Buckets(self.parts[split], training.batch_size, seed=training.seed)

    def batches(self, training: TranslateTraining) -> Sequence[tuple[str, str]]:
        """How many, the share of padding on each side, and the tokens of a step."""
        source = self.source("train", training)
        read, padded, tokens = np.zeros(2), np.zeros(2), []
        for index in range(len(source)):
            batch = source.batch(0, index)
            for side, (ids, lengths) in enumerate(
                ((batch.source, batch.source_lengths), (batch.target, batch.target_lengths))
            ):
                read[side] += int(lengths.sum())
                padded[side] += ids.numel()
            tokens.append(int(batch.target_lengths.sum()) + len(batch.target_lengths))
        shares = 1 - read / padded
        return (
            ("batches", f"{len(source):,} a pass, of {training.batch_size} pairs of like length"),
            ("padding", f"{shares[0]:.1%} of sources, {shares[1]:.1%} of targets"),
            (
                "a step",
                f"{statistics.mean(tokens):,.0f} target tokens, {min(tokens):,} to {max(tokens):,}",
            ),
        )

    def loss(self, model: nn.Module, batch: PairBatch, state: Carried, moment: Moment) -> Loss:
        """The mean over target tokens and the marks behind them, in nats."""
        training = self.training
        smoothing, share = 0.0, 0.0
        if model.training and isinstance(training, TranslateTraining):
            smoothing = training.label_smoothing
            share = training.scheduled_sampling * moment.fraction
        of: Any = getattr(model, "module", model)  # it may be wrapped for its precision
        given = self._given(of, batch)
        read = None
        if share > 0:
            read = sampled(of, *given, share=share, seed=moment.seed)
        logits = model(*given, read=read, packed=True)
        wanted = of.wanted(given[1], given[3])
        mean = functional.cross_entropy(logits.float(), wanted, label_smoothing=smoothing)
        counts = bool(batch.weight.any())
        return Loss(mean=mean if counts else mean * 0, count=len(wanted) if counts else 0)

    def _given(self, model: Translator, batch: PairBatch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """A batch as the model is called with it."""
        device = next(model.parameters()).device
        each = (batch.source, batch.target, batch.source_lengths, batch.target_lengths)
        source, target, source_lengths, target_lengths = (one.to(device) for one in each)
        return source, target, source_lengths, target_lengths

    @property
    def chance(self) -> float:
        """The loss of a guess among all tokens."""
        return math.log(len(self.target_vocabulary) + 1)

    def validate(self, model: Translator, device: torch.device) -> dict[str, float]:
        """The figures on the validation part, translated by the most probable token each time."""
        said = self._translated(model, "val", beam_size=1, scored=False)
        scores = scored(said, [target for _, target in self.texts["val"]], lower=self.lower)
        found = {**scores, "nll": self._nll(model, "val")}
        return {figure.name: found[figure.name] for figure in self.figures}

    def validation_cost(self, training: TranslateTraining) -> tuple[float, float]:
        """In target tokens; writing them costs about as much as learning from them."""
        val = self.parts["val"].target_lengths
        return float(val.sum()), training.batch_size * float(val.mean())

    def evaluate(self, model: Translator, split: str) -> dict[str, Any]:
        """`bleu`, `chrf`, `exact` (the share that is right as a whole), their `signature`, `nll`,
        `bleu_by_length` of the source, `pairs`, `sentences_per_s`, `seconds`; free-running, with
        the beams that the run's settings name."""
        if split not in self.texts:
            raise ValueError(
                f"split: expected one of {', '.join(self.texts)}, whose texts are kept, got "
                f"{split!r}. Choose one, or name files: {argument('data=')}."
            )
        return {
            **self._evaluated(model, self.texts[split], _writing(self.training), self.lower),
            "nll": self._nll(model, split),
        }

    @classmethod
    def _evaluated(
        cls,
        model: Translator,
        pairs: Sequence[tuple[str, str]],
        writing: Mapping[str, Any],
        lower: bool,
    ) -> dict[str, Any]:
        started = time.perf_counter()
        said = [each.text for each in model.predict([source for source, _ in pairs], **writing)]
        seconds = time.perf_counter() - started
        wanted = [target for _, target in pairs]
        return {
            **scored(said, wanted, lower=lower),
            "bleu_by_length": bleu_by_length([s for s, _ in pairs], said, wanted, lower=lower),
            "pairs": len(pairs),
            **writing,
            "sentences_per_s": len(pairs) / max(seconds, 1e-9),
            "seconds": seconds,
        }

    @classmethod
    def evaluate_file(
        cls, model: Translator, data: Any, split: str | None, how: ParallelSettings
    ) -> dict[str, Any]:
        """The same of other pairs, but for nll."""
        several = [data] if isinstance(data, str | Path) else list(data)
        found = read_pairs(
            several, source=how.source, target=how.target, encoding=how.encoding, whole=True
        )
        pairs = [(pair.source, pair.target) for pair in found.parts["train"]]
        return cls._evaluated(model, pairs, _writing(cls.training), how.lower)

    def _translated(self, model: Translator, split: str, **writing: Any) -> list[str]:
        sources = [source for source, _ in self.texts[split]]
        return [each.text for each in model.predict(sources, **writing)]

    def _nll(self, model: Translator, split: str) -> float:
        """In nats a token, given the target's own tokens before."""
        part = self.parts[split]
        each = (int(part.target_lengths.max()) + 1) * model.target_size  # scores of a sentence
        source = Sequential(part, max(1, min(_BATCH, LOGITS // each)))
        total, count = 0.0, 0
        with torch.no_grad(), evaluating(model):
            for index in range(len(source)):
                given = self._given(model, source.batch(0, index))
                logits = model(*given, packed=True).float()
                wanted = model.wanted(given[1], given[3])
                total += float(functional.cross_entropy(logits, wanted, reduction="sum"))
                count += len(wanted)
        return total / count

    @classmethod
    def say(cls, figures: Mapping[str, Any]) -> str:
        """The figures on one line, and the signature of the scores."""
        whole = f"right as a whole {figures['exact']:.2%}"
        said = [f"BLEU {figures['bleu']:.2f}", f"chrF {figures['chrf']:.2f}"]
        groups = figures["bleu_by_length"]
        is_short = all(each["words"] == SHORTEST for each in groups)
        said = [whole, said[1]] if is_short else [*said, whole]
        if "nll" in figures:
            said.append(f"nll {figures['nll']:.4f} nats a token")
        said.append(f"{figures['pairs']:,} pairs, {figures['sentences_per_s']:.1f} a second")
        said.append(f"beam {figures['beam_size']}")
        lines = [f"{figures['signature']}"]
        lines += [
            f"sources of {each['words']} words: BLEU {each['bleu']:.1f} ({each['pairs']:,} pairs)"
            for each in ([] if is_short else groups)
        ]
        return "\n".join([", ".join(said), *lines])

    # ---- predicting ------------------------------------------------------------------------------

    @classmethod
    def inputs(cls, model: Translator, path: Path, how: ParallelSettings) -> Records:
        """Texts without targets; of a file of lines each line, an empty one too; of a table the
        column of sources, as in training."""
        if path.is_file() and suffix_of(path) not in TABLES_OF_INPUTS:
            return LineRecords(lines_of(path, how.encoding), str(path))
        if path.is_file():
            return SourceRecords(path, how.source, how.encoding)
        return open_inputs(path, series=False, encoding=how.encoding)

    @classmethod
    def row(cls, prediction: Translation) -> dict[str, Any]:
        """The translation and its score."""
        return {"translation": prediction.text, "score": prediction.score}

    @classmethod
    def rows(cls, prediction: Translation) -> list[dict[str, Any]]:
        """A row for each translation, the best first."""
        others = ({"translation": text, "score": score} for text, score in prediction.others)
        return [cls.row(prediction), *others]

    @classmethod
    def lines(cls, prediction: Translation) -> list[list[Any]]:
        """The translation; where several were asked for, each behind its score, a line each."""
        if not prediction.others:
            return [[prediction.text]]
        return [
            [score, text]
            for text, score in ((prediction.text, prediction.score), *prediction.others)
        ]

    def preview(
        self, model: Translator, moment: Moment, training: TranslateTraining
    ) -> tuple[str, str] | None:
        """What the model makes of a few sources of the validation part, the same ones each time."""
        texts = self.texts["val"]
        order = np.random.default_rng(training.seed).permutation(len(texts)).tolist()
        fit = [n for n in order if len(texts[n][0].split()) <= 20][:NUM_SHOWN]
        chosen = sorted(fit or order[:NUM_SHOWN])
        said = model.predict([texts[n][0] for n in chosen], beam_size=1)
        lines = []
        for n, each in zip(chosen, said, strict=True):
            source, target = texts[n]
            lines += [f"{source}", f"    says  {each.text}", f"    true  {target}"]
        return "\n".join(lines), "of the validation part, the most probable token each time"

    def insights(self, model: Translator, *, brief: bool = False) -> list[Any]:
        """Where the decoder looks, and BLEU by the length of the source."""
        texts = self.texts["val"]
        with torch.no_grad(), evaluating(model):
            said = [each.text for each in model.predict([s for s, _ in texts], beam_size=1)]
            drawn = []
            wanted = [target for _, target in texts]
            groups = bleu_by_length([s for s, _ in texts], said, wanted, lower=self.lower)
            if groups and not self.is_short:
                drawn.append(figure_of_lengths({"": groups}))
            if model.attention_cell() is not None:
                fit = [s for s, _ in texts if 4 <= len(s.split()) <= 14][:NUM_DRAWN]
                looked = model.predict(fit or [texts[0][0]], attention=True)
                if any(len(each.source) for each in looked):
                    drawn.insert(0, figure_of_attention(looked))
        return drawn


def _writing(training: TrainingSettings | None) -> dict[str, Any]:
    """How a run translates what it is measured by."""
    if not isinstance(training, TranslateTraining):
        training = TranslateTraining()
    return {"beam_size": training.beam_size, "length_penalty": training.length_penalty}


def sampled(
    model: Translator,
    source: Tensor,
    target: Tensor,
    source_lengths: Tensor,
    target_lengths: Tensor,
    *,
    share: float,
    seed: int,
) -> Tensor:
    """What a decoder reads that takes a share of its tokens from itself: [T + 1, B].

    At each step, with the probability `share`, a sequence reads the token that it would have
    written itself, drawn by its own probabilities, and else the target's.

    Source: Bengio, Vinyals, Jaitly, Shazeer (2015), "Scheduled Sampling for Sequence Prediction
    with Recurrent Neural Networks", arXiv:1506.03099.
    """
    T, B = target.shape
    draw = torch.Generator().manual_seed(seed)
    taken = torch.rand((T, B), generator=draw, dtype=torch.float32, device="cpu") < share
    read = [torch.full((B,), model.mark, dtype=torch.int64, device=target.device)]
    with torch.no_grad(), evaluating(model):
        memory, counts, summary = model.encode(source, source_lengths)
        # of the decoder alone: the weights change at every step of training, and tables with them
        stream = model.decoder.stream(B, memory=memory, memory_lengths=counts)
        stream.reset(one_or_all(model.first_state(summary, len(memory))))
        for t in range(T):
            logits = model.output(stream(model.target_embedding(read[-1])))
            shares = logits.float().softmax(dim=1).cpu()
            shares[:, model.mark] = 0  # within a target no end is read
            own = torch.multinomial(shares, 1, generator=draw).squeeze(1).to(target.device)
            read.append(torch.where(taken[t].to(target.device), own, target[t]))
    return torch.stack(read)


def _vocabularies(train: Sequence[Pair], data: ParallelSettings) -> tuple[Vocabulary, Vocabulary]:
    """Of the sources and of the targets; one for both where that is asked for."""
    sides = [[pair.source for pair in train], [pair.target for pair in train]]
    if data.shared_vocabulary:
        both = _vocabulary([*sides[0], *sides[1]], data.source_level, data)
        return both, both
    source = _vocabulary(sides[0], data.source_level, data)
    return source, _vocabulary(sides[1], data.target_level, data)


def _vocabulary(texts: Sequence[str], level: str, data: ParallelSettings) -> Vocabulary:
    kind = Vocabulary.of_level(level)
    texts = [text.lower() for text in texts] if data.lower else texts
    if issubclass(kind, WordVocabulary):
        lines = (f"{text}\n" for text in texts)
        return kind.build(lines, max_size=data.vocab_size, min_count=data.min_count)
    if level == "bpe":
        # a word is the same at the start of a line as behind a space
        return kind.build((f" {text}\n" for text in texts), max_size=data.vocab_size or PIECES)
    return kind.build(texts)


def _write_texts(folder: Path, texts: Mapping[str, Sequence[tuple[str, str]]]) -> None:
    content = json.dumps({name: list(pairs) for name, pairs in texts.items()}, ensure_ascii=False)
    path = folder / FOLDER / "texts.json"
    write_atomically(path, lambda part: part.write_text(content, "utf-8", "surrogatepass"))


def _read_texts(folder: Path) -> dict[str, list[tuple[str, str]]]:
    path = folder / FOLDER / "texts.json"
    try:
        kept = read_json(path)
        return {name: [(str(s), str(t)) for s, t in kept[name]] for name in ("val", "test")}
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise DataError(
            f"{path}: expected the texts of the run's pairs, got {error!s:.100}. The file is "
            f"damaged or gone: start the run again."
        ) from error
