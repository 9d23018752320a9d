"""The tagger: a label, or a vector of numbers, at every step of a sequence.

    ids or series -> vectors -> recurrent layers -> dropout -> linear decoder at each step [-> CRF]

Letters: T time, B batch, I channels of a series, C pieces of a word, K labels, O numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Unpack

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from recurra.errors import argument
from recurra.models.checks import (
    check_labels,
    check_numbers,
    check_reduction,
    check_shape,
    check_share,
)
from recurra.models.parts import Names, Part
from recurra.models.prediction import EncodedInputs
from recurra.models.reading import Reader, Reading
from recurra.models.scaling import Scaling
from recurra.models.tagger_stream import TaggerStream
from recurra.nn.checks import check_flags, check_sizes, checked_lengths
from recurra.nn.crf import CRF, Allowed, Chain
from recurra.nn.dropout import dropout
from recurra.text import WordVocabulary

CONSTRAINTS = ("none", "bio")
UNKNOWN = -1  # the label of a step that does not count


@dataclass(frozen=True, slots=True, kw_only=True)
class Tags:
    """What a tagger says of one sequence, step by step.

    Attributes:
        tokens: what was read at each step, of a text; nothing of a series.
        labels: of each step; numbers of labels where the model has no names.
        probabilities: of each of these labels, by the scores of its step alone.
        values: [T, O] of a tagger of numbers, which has no labels.
    """

    tokens: tuple[str, ...] = ()
    labels: tuple[str, ...] | tuple[int, ...] = ()
    probabilities: tuple[float, ...] = ()
    values: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels) if self.values is None else len(self.values)


class Tagger(Reader):
    """Vectors of words or steps, recurrent layers of any cell, and a linear decoder at each step.

    Args:
        num_labels: K; None takes the number of labels. Of a tagger of numbers it is left out.
        labels: the names of the labels, saved with the model; they may be given later.
        output_size: O, to say numbers of each step, not labels: angles, positions.
        target_scaling: of these numbers; the model learns scaled ones, and says unscaled ones.
        delay: steps that a one-way model reads before it says something of one, so that it knows
            what comes next: the label of step t is read out at step t + delay.
        crf: whether labels have scores behind one another, so that a whole sequence of them is
            what is probable.
        constrain: "bio" keeps what it predicts to spans that begin before they go on; see
            `Allowed.bio`.
        reading: what it reads, and by which layers: the arguments of `Reader`. Its `dropout` drops
            features of the last layer as well.

    Raises:
        ValueError: when arguments do not go together, or one is wrong.

    Source: bidirectional layers below a CRF, with a recurrence over each word's letters, as Lample,
    Ballesteros, Subramanian, Kawakami, Dyer (2016), arXiv:1603.01360.
    """

    labels = Part(Names, convert=Names)
    target_scaling = Part(Scaling)

    def __init__(
        self,
        num_labels: int | None = None,
        *,
        labels: Sequence[str] | None = None,
        output_size: int | None = None,
        target_scaling: Scaling | None = None,
        delay: int = 0,
        crf: bool = False,
        constrain: str = "none",
        **reading: Unpack[Reading],
    ) -> None:
        if num_labels is None and labels is not None:
            num_labels = len(labels)
        if output_size is None and target_scaling is not None:
            output_size = len(target_scaling.mean)
        _check_outputs(num_labels, output_size, crf, constrain)
        check_sizes("Tagger", least=0, delay=delay)
        super().__init__(**reading)
        if delay and self.recurrent.bidirectional:
            raise ValueError(
                f"Tagger: expected a one-way model to look ahead, got {argument(f'delay={delay}')} "
                f"beside bidirectional=True, which reads to the end. Leave it out."
            )
        self.delay = delay
        self.num_labels, self.output_size = num_labels, output_size
        self.constrain = constrain
        dtype, device = reading.get("dtype"), reading.get("device")
        width = num_labels if output_size is None else output_size
        assert width is not None
        self.decoder = nn.Linear(self.recurrent.output_size, width, dtype=dtype, device=device)
        backend = reading.get("backend", "auto")
        self.crf = CRF(width, backend=backend, dtype=dtype, device=device) if crf else None
        self.labels, self.target_scaling = labels, target_scaling
        self._reset_own_parameters()

    def reset_parameters(self) -> None:
        """Draw all parameters anew; the first predictions are close to uniform."""
        self.recurrent.reset_parameters()
        for part in (self.subwords, self.crf):
            if part is not None:
                part.reset_parameters()
        self._reset_own_parameters()

    def _reset_own_parameters(self) -> None:
        self.reset_vectors()
        self.decoder.reset_parameters()
        nn.init.zeros_(self.decoder.bias)

    def check_part(self, name: str, part: Any) -> None:
        """Labels are as many as the model says, and with a constraint those of spans."""
        super().check_part(name, part)
        if name == "labels" and self.constrain == "bio":
            Allowed.bio(part)

    def _sizes_of(self, name: str, part: Any) -> tuple[Any, Any, str]:
        if name == "labels":
            return len(part), self.num_labels, "labels, the model's num_labels"
        if name == "target_scaling":
            return len(part.mean), self.output_size, "numbers, the model's output_size"
        return super()._sizes_of(name, part)

    def forward(
        self,
        x: Tensor,
        lengths: Tensor | Sequence[int] | None = None,
        *,
        pieces: Tensor | None = None,
    ) -> Tensor:
        """The scores of the labels of each step, or the numbers of each step, scaled.

        Args:
            x: [T, B] int64 token ids, or [T, B, I] series, scaled in here by the model's scaling;
                [B, T] and [B, T, I] with batch_first; without B for one sequence.
            lengths: [B] integers in 0..T, true steps of each sequence; None means all T. What x and
                pieces hold past them is not looked at.
            pieces: [T, B, C] int64 (with batch_first [B, T, C]), how each word is spelled, -1 past
                the end of a word; only for a model with subwords.

        Returns:
            [T, B, K] or [T, B, O], arranged as x is; past the lengths what the decoder makes of
            zeros.

        Raises:
            ValueError: when a shape, a length or an id is wrong.
            TypeError: when a dtype is.
        """
        x, pieces, single = self._arranged(x, pieces)
        if lengths is not None:
            lengths = checked_lengths(type(self).__name__, lengths, len(x), x.shape[1], x.device)
        y = self._delayed(x, lengths, pieces, single)
        scores = self.decoder(dropout(y, self.dropout) if self.training else y)
        return scores.squeeze(1) if single else self._turned(scores)

    def _delayed(
        self,
        x: Tensor,
        lengths: Tensor | Sequence[int] | None,
        pieces: Tensor | None,
        single: bool,
    ) -> Tensor:
        """What the layers give at each step, [T, B, H], or as many steps later as it is delayed."""
        if not self.delay:
            return self._features(x, lengths, pieces, single)[0]
        # steps of zeros behind each sequence, and behind the whole of the longest
        y = self._features(x, lengths, pieces, single, more=self.delay)[0]
        return y[self.delay :]

    def loss(
        self,
        x: Tensor,
        target: Tensor,
        lengths: Tensor | Sequence[int] | None = None,
        *,
        pieces: Tensor | None = None,
        label_smoothing: float = 0.0,
        reduction: str = "mean",
    ) -> Tensor:
        """The loss of each step that counts: nats a label, or squared error of scaled numbers.

        Args:
            x, lengths, pieces: as for a call.
            target: [T, B] int64 labels, or [T, B, O] unscaled numbers, arranged as x is. A step
                whose label is -1, and a number that is NaN, does not count; with a CRF a sequence
                that has such a step does not.
            label_smoothing: probability that is spread evenly over all labels; without a CRF.
            reduction: "mean" over what counts, or "sum".
        """
        check_reduction(type(self).__name__, reduction)
        scores = self(x, lengths, pieces=pieces)
        if scores.dim() == 2:  # of one sequence, without a batch
            scores, target = scores.unsqueeze(1), target.unsqueeze(1)
        elif self.batch_first and target.dim() > 1:
            scores, target = self._turned(scores), self._turned(target)
        total, count = self.total_loss(scores, target, lengths, label_smoothing=label_smoothing)
        return total / count.clamp(min=1) if reduction == "mean" else total

    def total_loss(
        self,
        scores: Tensor,
        target: Tensor,
        lengths: Tensor | Sequence[int] | None = None,
        *,
        label_smoothing: float = 0.0,
    ) -> tuple[Tensor, Tensor]:
        """The sum of the losses of all steps that count, and how many they are.

        Args:
            scores: of a call, time first.
            target: as for `loss`, time first.
        Raises:
            TypeError, ValueError: when the target is not as `loss` takes it.
        """
        where = type(self).__name__
        check_share(where, label_smoothing=label_smoothing)
        if label_smoothing and (self.crf is not None or self.output_size is not None):
            raise ValueError(
                f"{where}: expected labels without a CRF for label_smoothing, got a model of "
                f"{'numbers' if self.crf is None else 'whole sequences'}. Leave it out."
            )
        numbers = self.output_size is not None
        check_shape(where, target, scores.shape if numbers else scores.shape[:2])
        if lengths is not None:
            T, B = scores.shape[:2]
            lengths = checked_lengths(where, lengths, T, B, scores.device)
            steps = torch.arange(T, dtype=torch.int64, device=scores.device)
            is_there = steps[:, None] < lengths
            gap = torch.nan if numbers else UNKNOWN
            is_there = is_there[..., None] if numbers else is_there
            target = target.masked_fill(~is_there, gap)
        if numbers:
            check_numbers(where, target, scores.shape)
            wanted = target if self.target_scaling is None else self.target_scaling(target)
            counts = ~wanted.isnan()
            error = (scores - wanted.where(counts, scores.detach())).square()
            return (error * counts).sum(), counts.sum()
        check_labels(where, target, scores.shape[:2], scores.shape[2], unknown=UNKNOWN)
        if self.crf is None:
            each = functional.cross_entropy(
                scores.flatten(0, -2),
                target.flatten(),
                ignore_index=UNKNOWN,
                label_smoothing=label_smoothing,
                reduction="sum",
            )
            return each, (target != UNKNOWN).sum()
        if not len(scores):
            return scores.sum(), (target != UNKNOWN).sum()
        if lengths is None:
            lengths = torch.full_like(target[0], len(scores))
        known = ((target != UNKNOWN).sum(0) == lengths) & (lengths > 0)
        nll = self.crf.nll(scores[:, known], target[:, known].clamp(min=0), lengths[known])
        return nll.sum(), lengths[known].sum()

    # ---- what users get

    def predict(
        self, inputs: Sequence[Any] | np.ndarray | Tensor, *, batch_size: int = 64
    ) -> list[Tags]:
        """The label, or the numbers, of each step of each input.

        Args:
            inputs: sentences, each a list of words, as the model was trained on, or a string that
                the vocabulary splits; or series, each [T, I] of numbers ([T] where I is 1): an
                array, a tensor or lists, unscaled. A sentence may be without a word.
            batch_size: inputs that are read at a time.
        Raises:
            ValueError: when a series is empty, or the model lacks what it needs to read texts.
            DataError: when a series is no table of numbers of the model's channels.
        """
        if self.vocabulary is None or isinstance(inputs, str) or not hasattr(inputs, "__len__"):
            return self._predicted(inputs, batch_size, self._tags)
        texts: Any = inputs
        words = [tuple(self.words(text)) for text in texts]
        there = [text for text, each in zip(texts, words, strict=True) if each]
        said = iter(self._predicted(there, batch_size, self._tags))
        return [replace(next(said), tokens=each) if each else self._nothing() for each in words]

    def _nothing(self) -> Tags:
        """What is said of a sentence without a word."""
        if self.output_size is None:
            return Tags(labels=(), probabilities=())
        return Tags(values=np.zeros((0, self.output_size), dtype=np.float32))

    def _encoded(self, inputs: Any, where: str) -> EncodedInputs:
        if isinstance(self.vocabulary, WordVocabulary):
            inputs = [self.words(text) if isinstance(text, str) else text for text in inputs]
        return super()._encoded(inputs, where)

    def words(self, text: str | Sequence[str]) -> Sequence[str]:
        """What is read of a text step by step: its words, which keep their case, or whatever else
        the vocabulary has; words that are given, as they are.

        Raises:
            ValueError: when the model has no vocabulary.
        """
        vocabulary = self.needed("vocabulary", f"{type(self).__name__}.words")
        if not isinstance(text, str):
            return text
        if isinstance(vocabulary, WordVocabulary):
            return vocabulary.split(text)
        ids = vocabulary.encode(text, unknown="skip")
        return [vocabulary.decode([one]) for one in ids.tolist()]

    def named(self, said: Tensor) -> str | int | np.ndarray:
        """What a stream says of a step: the name of the label, its number, or [O] numbers."""
        if self.output_size is not None:
            return said.cpu().numpy()
        return int(said) if self.labels is None else self.labels[int(said)]

    def _tags(self, scores: Tensor, lengths: Tensor) -> list[Tags]:
        """What a call says of each sequence."""
        return self.tags(self._turned(scores).double().cpu(), lengths)

    def tags(self, scores: Tensor, lengths: Tensor) -> list[Tags]:
        """What the scores [T, B, K] or numbers [T, B, O] of a call say, each sequence by itself."""
        if self.output_size is not None:
            values = scores if self.target_scaling is None else self.target_scaling.undone(scores)
            return [
                Tags(values=values[:length, b].clone().numpy())
                for b, length in enumerate(lengths.tolist())
            ]
        path = self.decoded(scores, lengths)
        shares = scores.softmax(dim=-1).gather(-1, path[..., None]).squeeze(-1)
        names: Sequence[str | int] = self.labels or range(scores.shape[-1])
        return [
            Tags(
                labels=tuple(names[k] for k in path[:length, b].tolist()),  # type: ignore[arg-type]
                probabilities=tuple(shares[:length, b].tolist()),
            )
            for b, length in enumerate(lengths.tolist())
        ]

    def decoded(self, scores: Tensor, lengths: Tensor) -> Tensor:
        """The labels [T, B] of the best sequences, 0 past the lengths."""
        chain = self.chain()
        if chain is not None:
            return chain.best_path(scores, lengths)
        steps = torch.arange(len(scores), dtype=torch.int64, device=scores.device)
        return scores.argmax(dim=-1).where(steps[:, None] < lengths, 0)

    def chain(self) -> Chain | None:
        """What a CRF and a constraint say of labels behind one another; None without either."""
        if self.crf is None and self.constrain == "none":
            return None
        allowed = None
        if self.constrain == "bio":
            allowed = Allowed.bio(self.needed("labels", type(self).__name__))
        return Chain(self.decoder.out_features, crf=self.crf, allowed=allowed)

    def stream(self, batch_size: int = 1, *, delay: int = 0) -> TaggerStream:
        """This model one step at a time, keeping its state: what it says of each step.

        Args:
            batch_size: sequences side by side.
            delay: steps to wait for before something is said of one, besides those that the model
                looks ahead; a CRF or a constraint then knows what comes next.
        Raises:
            ValueError: when the model is bidirectional, which needs the whole sequence.
        """
        return TaggerStream(self, batch_size, delay=delay)

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that rebuild this model, the cell as `cell_config` writes it."""
        return {
            "num_labels": self.num_labels,
            "output_size": self.output_size,
            **self.reading_config,
            "delay": self.delay,
            "crf": self.crf is not None,
            "constrain": self.constrain,
        }


def _check_outputs(
    num_labels: int | None, output_size: int | None, crf: bool, constrain: str
) -> None:
    check_flags("Tagger", crf=crf)
    if (num_labels is None) == (output_size is None):
        got = "neither" if num_labels is None else "both"
        raise ValueError(
            f"Tagger: expected num_labels or labels, or output_size for numbers at each step, got "
            f"{got}. Give what it is to say."
        )
    if num_labels is not None:
        check_sizes("Tagger", least=2, num_labels=num_labels)
    if output_size is not None:
        check_sizes("Tagger", output_size=output_size)
    if constrain not in CONSTRAINTS:
        raise ValueError(
            f"Tagger: expected constrain to be one of {', '.join(CONSTRAINTS)}, got {constrain!r}. "
            "Choose one."
        )
    if output_size is not None and (crf or constrain != "none"):
        got = argument("crf=True") if crf else argument(f"constrain={constrain}")
        raise ValueError(
            f"Tagger: expected labels for a {'CRF' if crf else 'constraint'}, got {got} beside "
            f"{argument(f'output_size={output_size}')}. Leave it out."
        )
