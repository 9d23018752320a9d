"""The classifier: a sentence or a numeric series in, the probabilities of its classes out.

    ids or series -> vectors -> recurrent layers -> pooling over time -> dropout -> linear decoder

Letters: T time, B batch, I channels of a series, C pieces of a word, K classes.
"""

from collections.abc import Sequence
from typing import Any, Unpack

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from recurra.errors import argument
from recurra.models.checks import check_labels, check_reduction, check_share
from recurra.models.classifier_stream import ClassifierStream
from recurra.models.parts import Names, Part
from recurra.models.prediction import Prediction
from recurra.models.reading import Reader, Reading
from recurra.nn import Pooling
from recurra.nn.checks import check_sizes, checked_lengths
from recurra.nn.dropout import dropout
from recurra.nn.pairs import PairVectors


class Classifier(Reader):
    """Vectors of words or of steps, recurrent layers of any cell, pooling, and a linear decoder.

    Args:
        num_classes: K; None takes the number of labels.
        labels: the names of the classes, saved with the model; only what names classes needs them.
            They may be given later: `model.labels = ["no", "yes"]`.
        pair_buckets: vectors that pairs of neighbouring tokens share by their hash, whose mean is
            joined to the pooled vector; 0 reads no pairs. See `PairVectors`.
        pair_size: features of the mean of the pairs.
        pooling: "last", "mean", "max", "attention", or several joined by "+"; see `Pooling`.
        attention_size: of pooling by attention; None means the size of what it pools.
        reading: what it reads, and by which layers: the arguments of `Reader`. Its `dropout` drops
            features of the pooled vector as well.

    Raises:
        ValueError: when arguments do not go together, or one is wrong.

    Source: bidirectional layers with max pooling as Conneau, Kiela, Schwenk, Barrault, Bordes
    (2017), arXiv:1705.02364, section 3.2; word dropout as Iyyer, Manjunatha, Boyd-Graber, Daume III
    (2015), "Deep Unordered Composition Rivals Syntactic Methods for Text Classification", ACL.
    """

    labels = Part(Names, convert=Names)

    def __init__(
        self,
        num_classes: int | None = None,
        *,
        labels: Sequence[str] | None = None,
        pair_buckets: int = 0,
        pair_size: int = 20,
        pooling: str = "max+mean",
        attention_size: int | None = None,
        **reading: Unpack[Reading],
    ) -> None:
        if num_classes is None and labels is not None:
            num_classes = len(labels)
        num_classes = _checked_classes(num_classes)
        check_sizes("Classifier", least=0, pair_buckets=pair_buckets)
        super().__init__(**reading)
        if pair_buckets and self.embedding is None:
            raise ValueError(
                f"Classifier: expected token ids to read pairs of, got "
                f"{argument(f'pair_buckets={pair_buckets}')} for series of numbers. Leave it out."
            )
        self.num_classes = num_classes
        dtype, device = reading.get("dtype"), reading.get("device")
        self.pooling = Pooling(
            pooling,
            self.recurrent.output_size,
            bidirectional=self.recurrent.bidirectional,
            attention_size=attention_size,
            dtype=dtype,
            device=device,
        )
        self.pairs: PairVectors | None = None
        if pair_buckets:
            self.pairs = PairVectors(pair_buckets, pair_size, dtype=dtype, device=device)
        features = self.pooling.output_size + (pair_size if pair_buckets else 0)
        self.decoder = nn.Linear(features, self.num_classes, dtype=dtype, device=device)
        self.labels = labels
        self._reset_own_parameters()

    def reset_parameters(self) -> None:
        """Draw all parameters anew; the first predictions are close to uniform."""
        self.recurrent.reset_parameters()
        self.pooling.reset_parameters()
        for part in (self.subwords, self.pairs):
            if part is not None:
                part.reset_parameters()
        self._reset_own_parameters()

    def _reset_own_parameters(self) -> None:
        self.reset_vectors()
        self.decoder.reset_parameters()
        nn.init.zeros_(self.decoder.bias)

    def _sizes_of(self, name: str, part: Any) -> tuple[Any, Any, str]:
        if name == "labels":
            return len(part), self.num_classes, "labels, the model's num_classes"
        return super()._sizes_of(name, part)

    def forward(
        self,
        x: Tensor,
        lengths: Tensor | Sequence[int] | None = None,
        *,
        pieces: Tensor | None = None,
    ) -> Tensor:
        """The logits of the classes of each sequence.

        Args:
            x: [T, B] int64 token ids, or [T, B, I] series, scaled in here by the model's scaling;
                [B, T] and [B, T, I] with batch_first; without B for one sequence.
            lengths: [B] integers in 0..T, true steps of each sequence; None means all T. What x and
                pieces hold past them is not looked at.
            pieces: [T, B, C] int64 (with batch_first [B, T, C]), how each word is spelled, -1 past
                the end of a word; only for a model with subwords.

        Returns:
            logits: [B, K]; [K] for one sequence.

        Raises:
            ValueError: when a shape, a length or an id is wrong.
            TypeError: when a dtype is.
        """
        x, pieces, single = self._arranged(x, pieces)
        if lengths is not None:
            lengths = checked_lengths(type(self).__name__, lengths, len(x), x.shape[1], x.device)
        y, x, kept = self._features(x, lengths, pieces, single)
        pooled = self.pooling(y, lengths)
        if self.pairs is not None:
            pooled = torch.cat([pooled, self.pairs(x, lengths, kept=kept)], dim=-1)
        logits = self.decoder(dropout(pooled, self.dropout) if self.training else pooled)
        return logits.squeeze(0) if single else logits

    def loss(
        self,
        x: Tensor,
        target: Tensor,
        lengths: Tensor | Sequence[int] | None = None,
        *,
        pieces: Tensor | None = None,
        class_weights: Tensor | Sequence[float] | None = None,
        label_smoothing: float = 0.0,
        reduction: str = "mean",
    ) -> Tensor:
        """The cross-entropy of the true classes, in nats.

        Args:
            x, lengths, pieces: as for a call.
            target: [B] int64, the class of each sequence.
            class_weights: [K], how much an example of each class counts; None counts all alike.
            label_smoothing: probability that is spread evenly over all classes.
            reduction: "mean" (weighted, where classes have weights), "sum" or "none", as torch's.
        """
        where = type(self).__name__
        check_reduction(where, reduction, ("mean", "sum", "none"))
        check_share(where, label_smoothing=label_smoothing)
        logits = self(x, lengths, pieces=pieces)
        check_labels(where, target, logits.shape[:-1], self.num_classes)
        weight = class_weights
        if weight is not None:
            weight = torch.as_tensor(weight, dtype=logits.dtype, device=logits.device)
        return functional.cross_entropy(
            logits, target, weight, label_smoothing=label_smoothing, reduction=reduction
        )

    # ---- what users get

    def predict(
        self, inputs: Sequence[Any] | np.ndarray | Tensor, *, batch_size: int = 64
    ) -> list[Prediction]:
        """The class of each input, with its probability and that of the others.

        Args:
            inputs: texts, each a string; or series, each [T, I] of numbers ([T] where I is 1): an
                array, a tensor or lists, unscaled.
            batch_size: inputs that are read at a time.
        Raises:
            ValueError: when an input is empty, or the model lacks what it needs to read texts.
            DataError: when a series is no table of numbers of the model's channels.
        """
        return self._predicted(inputs, batch_size, self._predictions)

    def _predictions(self, logits: Tensor, lengths: Tensor) -> list[Prediction]:
        """What the logits [B, K] say of each sequence."""
        return [self._prediction(row) for row in logits.double().softmax(dim=-1).cpu()]

    def _prediction(self, probabilities: Tensor) -> Prediction:
        names: Sequence[str | int] = self.labels or range(self.num_classes)
        values = dict(zip(names, probabilities.tolist(), strict=True))
        best = names[int(probabilities.argmax())]
        return Prediction(label=best, probability=values[best], probabilities=values)

    def stream(self, batch_size: int = 1) -> ClassifierStream:
        """This model one step at a time, keeping its state: what it believes after each.

        Raises:
            ValueError: when the model is bidirectional, or pools by attention: both need the whole
                sequence.
        """
        return ClassifierStream(self, batch_size)

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that rebuild this model, the cell as `cell_config` writes it."""
        pairs = {}
        if self.pairs is not None:
            pairs = {"pair_buckets": self.pairs.num_buckets, "pair_size": self.pairs.size}
        return {
            "num_classes": self.num_classes,
            **self.reading_config,
            **pairs,
            "pooling": self.pooling.kind,
            "attention_size": self.pooling.attention_size,
        }


def _checked_classes(num_classes: int | None) -> int:
    if num_classes is None:
        raise ValueError(
            "Classifier: expected num_classes or labels, got neither. Give how many classes there "
            "are, or labels=[...]."
        )
    check_sizes("Classifier", least=2, num_classes=num_classes)
    return num_classes
