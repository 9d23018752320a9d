"""The classifier: a sentence or a numeric series in, the probabilities of its classes out.

    ids or series -> vectors -> recurrent layers -> pooling over time -> dropout -> linear decoder

Letters: T time, B batch, V vocabulary, E word vector, S vector of a word's spelling, C pieces of a
word, I channels of a series, H output of the recurrent layers, K classes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from recurra.compose.spelling import resolved
from recurra.errors import argument
from recurra.lang import Cell
from recurra.models.cell_entries import cell_config
from recurra.models.classifier_stream import ClassifierStream
from recurra.models.parts import Names, Part
from recurra.models.prediction import EncodedInputs, Prediction
from recurra.models.saving import Model, layer_options
from recurra.models.scaling import Scaling, as_series, without_gaps
from recurra.models.starting import Taken, take_weights
from recurra.nn import Pooling, Recurrent
from recurra.nn.checks import (
    check_dropout,
    check_flags,
    check_reads_x_alone,
    check_sizes,
    check_token_ids,
)
from recurra.nn.dropout import chosen, dropout
from recurra.nn.initial import Rule
from recurra.nn.pairs import PairVectors
from recurra.nn.plain import evaluating
from recurra.nn.subwords import SubwordVectors
from recurra.text import Spelling, Vocabulary, WordVectors, WordVocabulary

_SCALE = 0.1  # of word vectors that start from nothing


class Classifier(Model):
    """Vectors of words or of steps, recurrent layers of any cell, pooling, and a linear decoder.

    It reads either token ids, with `vocab_size` or a vocabulary, or series of numbers, with
    `input_size` or a scaling. The vector of a word may be joined with one that comes from its
    spelling, so that words which training never saw have one too.

    Args:
        num_classes: K; None takes the number of labels.
        vocab_size: V, for token ids; None takes that of the vocabulary.
        input_size: I, for series; None takes that of the scaling.
        vocabulary, spelling, labels, scaling: saved with the model; only what reads texts or names
            classes needs them. They may be given later: `model.labels = ["no", "yes"]`.
        subwords: "characters" or "ngrams", what a spelling's pieces are; None takes it of the
            spelling, or has words alone.
        num_pieces: how many pieces the spelling has; None takes that of the spelling.
        pair_buckets: vectors that pairs of neighbouring tokens share by their hash, whose mean is
            joined to the pooled vector; 0 reads no pairs. See `PairVectors`.
        embedding_size: E.
        subword_size: S.
        pair_size: features of the mean of the pairs.
        hidden_size: H of each layer and direction.
        num_layers: L.
        cell: a cell, or its spelling: "gru", "zoneout(lstm, 0.1)", "my_file.py:my_cell".
        sizes: the cell's size names besides I and H.
        bidirectional: a second set of cells reads each sequence from its end.
        pooling: "last", "mean", "max", "attention", or several joined by "+"; see `Pooling`.
        attention_size: of pooling by attention; None means the size of what it pools.
        dropout: probability of dropping a feature of each layer's output and of the pooled vector,
            in training.
        input_dropout: probability of dropping a feature of a word's vector, or of a step, in
            training; of a word the same features wherever it stands in the batch.
        word_dropout: probability of dropping a word, whose vector then is zeros, in training.
        batch_first: ids are [B, T], series [B, T, I].
        backend, memory, init, learned_state: of the recurrent layers; see `Recurrent`.

    Raises:
        ValueError: when arguments do not go together, or one is wrong.

    Source: bidirectional layers with max pooling as Conneau, Kiela, Schwenk, Barrault, Bordes
    (2017), arXiv:1705.02364, section 3.2; word dropout as Iyyer, Manjunatha, Boyd-Graber, Daume III
    (2015), "Deep Unordered Composition Rivals Syntactic Methods for Text Classification", ACL.
    """

    vocabulary = Part(Vocabulary)
    spelling = Part(Spelling)
    labels = Part(Names, convert=Names)
    scaling = Part(Scaling)

    def __init__(
        self,
        num_classes: int | None = None,
        *,
        vocab_size: int | None = None,
        input_size: int | None = None,
        vocabulary: Vocabulary | None = None,
        spelling: Spelling | None = None,
        labels: Sequence[str] | None = None,
        scaling: Scaling | None = None,
        subwords: str | None = None,
        num_pieces: int | None = None,
        pair_buckets: int = 0,
        embedding_size: int = 100,
        subword_size: int = 50,
        pair_size: int = 20,
        hidden_size: int = 128,
        num_layers: int = 1,
        cell: Cell | str = "lstm",
        sizes: Mapping[str, int | str] | None = None,
        bidirectional: bool = False,
        pooling: str = "max+mean",
        attention_size: int | None = None,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        word_dropout: float = 0.0,
        batch_first: bool = False,
        init: Mapping[str, Rule] | None = None,
        learned_state: bool = False,
        memory: str = "normal",
        backend: str = "auto",
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        if num_classes is None and labels is not None:
            num_classes = len(labels)
        if vocab_size is None and vocabulary is not None:
            vocab_size = len(vocabulary)
        if input_size is None and scaling is not None:
            input_size = len(scaling.mean)
        if subwords is None and spelling is not None:
            subwords = spelling.kind
        if num_pieces is None and spelling is not None:
            num_pieces = spelling.num_pieces
        self.num_classes = _checked_classes(num_classes)
        self._check_inputs(vocab_size, input_size, subwords, num_pieces, pair_buckets)
        for name, rate in (
            *(("dropout", dropout), ("input_dropout", input_dropout)),
            ("word_dropout", word_dropout),
        ):
            check_dropout("Classifier", name, rate)
        check_flags("Classifier", batch_first=batch_first)
        self.vocab_size, self.input_size = vocab_size, input_size
        self.num_pieces = num_pieces
        self.dropout, self.input_dropout = dropout, input_dropout
        self.word_dropout = word_dropout
        self.batch_first = batch_first
        options: dict[str, Any] = {"dtype": dtype, "device": device}
        self.embedding: nn.Embedding | None = None
        self.subwords: SubwordVectors | None = None
        if vocab_size is not None:
            check_sizes("Classifier", vocab_size=vocab_size, embedding_size=embedding_size)
            self.embedding = nn.Embedding(vocab_size, embedding_size, dtype=dtype, device=device)
            input_size = embedding_size
            if subwords is not None and num_pieces is not None:
                self.subwords = SubwordVectors(
                    subwords, num_pieces, subword_size, backend=backend, **options
                )
                input_size += subword_size
        assert input_size is not None
        cell = resolved("Classifier", cell)
        check_reads_x_alone("Classifier", cell)
        self.recurrent = Recurrent(
            cell,
            input_size,
            hidden_size,
            num_layers,
            bidirectional=bidirectional,
            dropout=dropout if num_layers > 1 else 0.0,
            backend=backend,
            memory=memory,
            sizes=sizes,
            init=init,
            learned_state=learned_state,
            **options,
        )
        self.pooling = Pooling(
            pooling,
            self.recurrent.output_size,
            bidirectional=bidirectional,
            attention_size=attention_size,
            **options,
        )
        self.pairs = PairVectors(pair_buckets, pair_size, **options) if pair_buckets else None
        features = self.pooling.output_size + (pair_size if pair_buckets else 0)
        self.decoder = nn.Linear(features, self.num_classes, dtype=dtype, device=device)
        self.vocabulary, self.spelling = vocabulary, spelling
        self.labels, self.scaling = labels, scaling
        self._reset_own_parameters()

    def _check_inputs(
        self,
        vocab_size: int | None,
        input_size: int | None,
        subwords: str | None,
        num_pieces: int | None,
        pair_buckets: int,
    ) -> None:
        if (vocab_size is None) == (input_size is None):
            got = "neither" if vocab_size is None else "both"
            raise ValueError(
                f"Classifier: expected vocab_size or a vocabulary for token ids, or input_size or "
                f"a scaling for series of numbers, got {got}. Give what it is to read."
            )
        if (subwords is None) != (num_pieces is None):
            missing = "num_pieces" if num_pieces is None else "subwords"
            raise ValueError(
                f"Classifier: expected {missing} beside "
                f"{'subwords' if num_pieces is None else 'num_pieces'}, got none. Give both, or a "
                f"spelling, which has both."
            )
        if subwords is not None and vocab_size is None:
            raise ValueError(
                f"Classifier: expected words to be spelled, got {argument(f'subwords={subwords}')} "
                f"for series of numbers. Leave it out."
            )
        check_sizes("Classifier", least=0, pair_buckets=pair_buckets)
        if pair_buckets and vocab_size is None:
            raise ValueError(
                f"Classifier: expected token ids to read pairs of, got "
                f"{argument(f'pair_buckets={pair_buckets}')} for series of numbers. Leave it out."
            )

    def reset_parameters(self) -> None:
        """Draw all parameters anew; the first predictions are close to uniform."""
        self.recurrent.reset_parameters()
        self.pooling.reset_parameters()
        for part in (self.subwords, self.pairs):
            if part is not None:
                part.reset_parameters()
        self._reset_own_parameters()

    def _reset_own_parameters(self) -> None:
        if self.embedding is not None:
            nn.init.normal_(self.embedding.weight, std=_SCALE)
        self.decoder.reset_parameters()
        nn.init.zeros_(self.decoder.bias)

    def check_part(self, name: str, part: Any) -> None:
        """Parts have the sizes that the model was made with."""
        found, wanted, what = {
            "vocabulary": lambda: (len(part), self.vocab_size, "symbols, the model's vocab_size"),
            "labels": lambda: (len(part), self.num_classes, "labels, the model's num_classes"),
            "scaling": lambda: (len(part.mean), self.input_size, "channels, its input_size"),
            "spelling": lambda: (
                (part.kind, part.num_pieces),
                (self.subwords.kind, self.num_pieces) if self.subwords is not None else None,
                "pieces, the model's subwords and num_pieces",
            ),
        }[name]()
        if found != wanted:
            raise ValueError(
                f"{type(self).__name__}: expected {name} of {wanted} {what}, got {found}. Make the "
                f"model for it: {type(self).__name__}(..., {name}={name})."
            )
        words = part if name == "vocabulary" else self.vocabulary
        if (
            self.subwords is not None
            and words is not None
            and not isinstance(words, WordVocabulary)
        ):
            raise ValueError(
                f"{type(self).__name__}: expected a vocabulary of words, which have a spelling, "
                f"got one of level {words.level!r}. Leave the spelling out."
            )

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
        kept: Tensor | None = None
        if self.embedding is None:
            y, _ = self.recurrent(self._scaled(x), lengths=lengths)
        else:
            past = None if single else _past(x, lengths)
            x = x if past is None else x.masked_fill(past, 0)
            y, kept = self._read(x, past, pieces, lengths)
        pooled = self.pooling(y, lengths)
        if self.pairs is not None:
            pooled = torch.cat([pooled, self.pairs(x, lengths, kept=kept)], dim=-1)
        logits = self.decoder(dropout(pooled, self.dropout) if self.training else pooled)
        return logits.squeeze(0) if single else logits

    def _arranged(self, x: Tensor, pieces: Tensor | None) -> tuple[Tensor, Tensor | None, bool]:
        """x and pieces time first and with a batch, and whether there was none."""
        rank, form = (2, "[time, batch]") if self.embedding is not None else (3, "[time, batch, I]")
        if x.dim() not in (rank, rank - 1) or x.is_floating_point() == (self.embedding is not None):
            what = "token ids" if self.embedding is not None else "series of numbers"
            raise ValueError(
                f"{type(self).__name__}: expected {what} {form}, got shape {tuple(x.shape)} of "
                f"{x.dtype}. Pass lengths for sequences of different lengths."
            )
        if (pieces is None) != (self.subwords is None):
            got = "none" if pieces is None else "some"
            raise ValueError(
                f"{type(self).__name__}: expected {'' if self.subwords is not None else 'no '}"
                f"pieces of a word's spelling, got {got}. {type(self).__name__}.encode makes what "
                f"the model reads."
            )
        if pieces is not None and pieces.shape[:-1] != x.shape:
            raise ValueError(
                f"{type(self).__name__}: expected pieces for each of the words "
                f"{tuple(x.shape)}, got shape {tuple(pieces.shape)}. Its last axis alone is more."
            )
        if x.dim() == rank - 1:
            return x.unsqueeze(1), None if pieces is None else pieces.unsqueeze(1), True
        if self.batch_first:
            x = x.transpose(0, 1)
            pieces = None if pieces is None else pieces.transpose(0, 1)
        return x, pieces, False

    def _scaled(self, x: Tensor) -> Tensor:
        scaled = x if self.scaling is None else self.scaling(x)
        return dropout(scaled, self.input_dropout) if self._drops(self.input_dropout) else scaled

    def _drops(self, rate: float) -> bool:
        return self.training and rate > 0

    def _read(
        self,
        ids: Tensor,
        past: Tensor | None,
        pieces: Tensor | None,
        lengths: Tensor | Sequence[int] | None,
    ) -> tuple[Tensor, Tensor | None]:
        """What the recurrent layers give for token ids [T, B], and which are not dropped, if any
        are."""
        if past is not None:
            pieces = None if pieces is None else pieces.masked_fill(past[..., None], -1)
        check_token_ids(type(self).__name__, ids, self.vocab_size or 0)
        # Vectors are made once for each word that is there, however often; the layer then has a
        # table of them. A trace, which needs sizes that do not depend on values, has all steps.
        if torch.compiler.is_compiling() or ids.numel() == 0:
            rows, flat = torch.arange(ids.numel(), device=ids.device, dtype=torch.int64), ids
            places, words = rows.view(ids.shape), flat.flatten()
            spelled = None if pieces is None else pieces.flatten(0, 1)
        elif pieces is None:
            words, places = torch.unique(ids, return_inverse=True)
            spelled = None
        else:
            each = torch.cat([ids[..., None], pieces], dim=-1).flatten(0, 1)
            distinct, places = torch.unique(each, dim=0, return_inverse=True)
            words, spelled, places = distinct[:, 0], distinct[:, 1:], places.view(ids.shape)
        table = self._vectors(words, spelled)
        if self._drops(self.input_dropout):
            table = dropout(table, self.input_dropout)
        kept: Tensor | None = None
        if self._drops(self.word_dropout):
            kept = chosen(ids.shape, 1 - self.word_dropout, table)
            places = torch.where(kept > 0, places, len(table))
            table = functional.pad(table, (0, 0, 0, 1))  # the last row is of words that are dropped
        y, _ = self.recurrent(places, lengths=lengths, embedding=table)
        return y, kept

    def _vectors(self, words: Tensor, pieces: Tensor | None) -> Tensor:
        """The vector [N, E + S] of each of the words [N]."""
        assert self.embedding is not None
        vectors = self.embedding(words)
        if self.subwords is None or pieces is None:
            return vectors
        return torch.cat([vectors, self.subwords(pieces)], dim=-1)

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
        logits = self(x, lengths, pieces=pieces)
        weight = class_weights
        if weight is not None:
            weight = torch.as_tensor(weight, dtype=logits.dtype, device=logits.device)
        return functional.cross_entropy(
            logits, target, weight, label_smoothing=label_smoothing, reduction=reduction
        )

    # ---- what users have, and what they get

    def encode(self, texts: Sequence[str]) -> tuple[Tensor, Tensor, Tensor | None]:
        """Texts as the model reads them: ids, lengths, and pieces where it has subwords.

        Words that the vocabulary lacks are <unk>; characters that it lacks are left out.

        Raises:
            ValueError: when the model has no vocabulary, or its subwords no spelling.
        """
        where = f"{type(self).__name__}.encode"
        vocabulary: Vocabulary = self.needed("vocabulary", where)
        if isinstance(texts, str) or len(texts) == 0:
            raise ValueError(f"{where}: expected a list of texts, got {texts!r:.40}. Give one.")
        unknown = "skip" if vocabulary.unknown_id is None else "replace"
        each = [torch.from_numpy(vocabulary.encode(text, unknown=unknown)) for text in texts]
        lengths = torch.tensor([len(ids) for ids in each], dtype=torch.int64, device="cpu")
        ids = self._padded(each, 0)
        if self.subwords is None:
            return ids, lengths.to(ids.device), None
        spelling: Spelling = self.needed("spelling", where)
        assert isinstance(vocabulary, WordVocabulary)
        spelled = spelling.encode([word for text in texts for word in vocabulary.tokens(text)])
        pieces = torch.from_numpy(spelled).split(lengths.tolist())
        return ids, lengths.to(ids.device), self._padded(pieces, -1)

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
        where = f"{type(self).__name__}.predict"
        check_sizes(where, batch_size=batch_size)
        if isinstance(inputs, str) or not hasattr(inputs, "__len__"):
            raise ValueError(
                f"{where}: expected a list of inputs, got {inputs!r:.40}. Put it into one: [...]."
            )
        if len(inputs) == 0:
            return []
        batch = self._encoded(inputs, where)
        order = torch.argsort(batch.lengths, stable=True)
        found = torch.empty(len(inputs), self.num_classes, dtype=torch.float64, device="cpu")
        with evaluating(self), torch.no_grad():
            for some in order.split(batch_size):
                found[some] = self._probabilities(batch.chosen(some)).cpu()
        return [self._prediction(row) for row in found]

    def _encoded(self, inputs: Any, where: str) -> EncodedInputs:
        if self.embedding is not None:
            for i, text in enumerate(inputs):
                if not isinstance(text, str):
                    raise ValueError(
                        f"{where}: expected texts, got {type(text).__name__} for input {i}. The "
                        f"model reads text; token ids go into a call of the model."
                    )
            ids, lengths, pieces = self.encode(inputs)
            encoded = EncodedInputs(x=ids, lengths=lengths.cpu(), pieces=pieces)
        else:
            each = [self._series(series, f"{where}: input {i}") for i, series in enumerate(inputs)]
            lengths = torch.tensor([len(s) for s in each], dtype=torch.int64, device="cpu")
            x = self._padded([torch.from_numpy(s) for s in each], 0)
            encoded = EncodedInputs(x=x, lengths=lengths, pieces=None)
        empty = (encoded.lengths == 0).nonzero().flatten().tolist()
        if empty:
            raise ValueError(
                f"{where}: expected something to read in each input, got none in input {empty[0]}"
                f"{f' and {len(empty) - 1} more' if empty[1:] else ''}. Leave it out."
            )
        return encoded

    def _series(self, series: Any, where: str) -> np.ndarray:
        if self.scaling is not None:
            return self.scaling.prepared(series, where)
        return without_gaps(as_series(series, where), "fail", where)

    def _padded(self, each: Sequence[Tensor], value: int) -> Tensor:
        """Sequences side by side, [T, B, ...], where the model is and of its dtype."""
        like = self.decoder.weight
        padded = nn.utils.rnn.pad_sequence(list(each), padding_value=value)
        return padded.to(like.device, like.dtype if padded.is_floating_point() else None)

    def _probabilities(self, batch: EncodedInputs) -> Tensor:
        """[B, K] float64, of a batch that is time first."""
        axes = (0, 1) if self.batch_first else (0, 0)
        x = batch.x.transpose(*axes)
        pieces = None if batch.pieces is None else batch.pieces.transpose(*axes)
        return self(x, batch.lengths, pieces=pieces).double().softmax(dim=-1)

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

    # ---- weights from elsewhere

    def init_from(self, source: Model) -> Taken:
        """Start from the weights of another model, where names and shapes agree; see `Taken`.

        Recurrent weights are taken from a model of the same cell; of a one-way model they become
        the forward direction. Vectors of words are taken word by word where both have a vocabulary.
        """
        return take_weights(self, source)

    def load_vectors(self, vectors: WordVectors) -> None:
        """Start the words that have vectors from them; the others stay as they are.

        Raises:
            ValueError: when the model reads no ids, or its vectors have another size.
        """
        size = None if self.embedding is None else self.embedding.embedding_dim
        if self.embedding is None or size != vectors.size:
            raise ValueError(
                f"{type(self).__name__}.load_vectors: expected vectors of the model's "
                f"embedding_size, {size}, got {vectors.size}. Make the model with "
                f"{argument(f'embedding_size={vectors.size}')}."
            )
        weight = self.embedding.weight
        with torch.no_grad():
            rows = torch.from_numpy(vectors.ids).to(weight.device)
            weight[rows] = torch.from_numpy(vectors.values).to(weight)

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that rebuild this model, the cell as `cell_config` writes it."""
        ids: dict[str, Any] = {"input_size": self.input_size}
        if self.embedding is not None:
            ids = {"vocab_size": self.vocab_size, "embedding_size": self.embedding.embedding_dim}
        if self.subwords is not None:
            kind, size = self.subwords.kind, self.subwords.size
            ids |= {"subwords": kind, "num_pieces": self.num_pieces, "subword_size": size}
        if self.pairs is not None:
            ids |= {"pair_buckets": self.pairs.num_buckets, "pair_size": self.pairs.size}
        return {
            "num_classes": self.num_classes,
            **ids,
            "hidden_size": self.recurrent.hidden_size,
            "num_layers": self.recurrent.num_layers,
            **cell_config(self.recurrent.cell),
            "sizes": dict(self.recurrent.sizes),
            "bidirectional": self.recurrent.bidirectional,
            "pooling": self.pooling.kind,
            "attention_size": self.pooling.attention_size,
            "dropout": self.dropout,
            "input_dropout": self.input_dropout,
            "word_dropout": self.word_dropout,
            "batch_first": self.batch_first,
            **layer_options(self.recurrent),
            "dtype": str(self.decoder.weight.dtype).removeprefix("torch."),
        }


def _checked_classes(num_classes: int | None) -> int:
    if num_classes is None:
        raise ValueError(
            "Classifier: expected num_classes or labels, got neither. Give how many classes there "
            "are, or labels=[...]."
        )
    check_sizes("Classifier", least=2, num_classes=num_classes)
    return num_classes


def _past(ids: Tensor, lengths: Tensor | Sequence[int] | None) -> Tensor | None:
    """Which of ids [T, B] lie past the lengths."""
    if lengths is None:
        return None
    steps = torch.arange(len(ids), dtype=torch.int64, device=ids.device)
    return steps[:, None] >= torch.as_tensor(lengths, device=ids.device)
