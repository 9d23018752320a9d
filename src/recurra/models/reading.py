"""What reads a sequence: token ids or numeric series through recurrent layers, of any model.

    ids or series -> vectors -> recurrent layers

Letters: T time, B batch, V vocabulary, E word vector, S vector of a word's spelling, C pieces of a
word, I channels of a series, H output of the recurrent layers.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from recurra.compose.spelling import resolved
from recurra.errors import argument
from recurra.lang import Cell
from recurra.models.cell_entries import cell_config
from recurra.models.checks import check_said, check_tensor
from recurra.models.parts import Part
from recurra.models.prediction import EncodedInputs
from recurra.models.saving import Model, layer_options
from recurra.models.scaling import Scaling, as_series, without_gaps, wrong_channels
from recurra.models.starting import Taken, take_weights
from recurra.nn import Recurrent
from recurra.nn.checks import (
    check_dropout,
    check_flags,
    check_reads_x_alone,
    check_sizes,
    check_token_ids,
)
from recurra.nn.dropout import chosen, dropout
from recurra.nn.initial import Rule
from recurra.nn.plain import evaluating
from recurra.nn.subwords import SubwordVectors
from recurra.text import Spelling, Vocabulary, WordVectors, WordVocabulary

_SCALE = 0.1  # of word vectors that start from nothing

SaidT = TypeVar("SaidT")


class Reading(TypedDict, total=False):
    """The arguments of a `Reader`, which every model that is one takes by name."""

    vocab_size: int | None
    input_size: int | None
    vocabulary: Vocabulary | None
    spelling: Spelling | None
    scaling: Scaling | None
    subwords: str | None
    num_pieces: int | None
    embedding_size: int
    subword_size: int
    hidden_size: int
    num_layers: int
    cell: Cell | str
    sizes: Mapping[str, int | str] | None
    bidirectional: bool
    dropout: float
    input_dropout: float
    word_dropout: float
    batch_first: bool
    init: Mapping[str, Rule] | None
    learned_state: bool
    memory: str
    backend: str
    dtype: torch.dtype | None
    device: torch.device | str | None


class Reader(Model):
    """The half of a model that reads: vectors of words or of steps, and recurrent layers.

    It reads either token ids, with `vocab_size` or a vocabulary, or series of numbers, with
    `input_size` or a scaling. The vector of a word may be joined with one that comes from its
    spelling, so that words which training never saw have one too.

    A subclass adds what it makes of the layers' output, and takes these arguments besides its own.

    Args:
        vocab_size: V, for token ids; None takes that of the vocabulary.
        input_size: I, for series; None takes that of the scaling.
        vocabulary, spelling, scaling: saved with the model; only what reads texts needs the first
            two. They may be given later: `model.vocabulary = vocabulary`.
        subwords: "characters" or "ngrams", what a spelling's pieces are; None takes it of the
            spelling, or has words alone.
        num_pieces: how many pieces the spelling has; None takes that of the spelling.
        embedding_size: E.
        subword_size: S.
        hidden_size: H of each layer and direction.
        num_layers: L.
        cell: a cell, or its spelling: "gru", "zoneout(lstm, 0.1)", "my_file.py:my_cell".
        sizes: the cell's size names besides I and H.
        bidirectional: a second set of cells reads each sequence from its end.
        dropout: probability of dropping a feature of each layer's output, in training.
        input_dropout: probability of dropping a feature of a word's vector, or of a step, in
            training; of a word the same features wherever it stands in the batch.
        word_dropout: probability of dropping a word, whose vector then is zeros, in training.
        batch_first: ids are [B, T], series [B, T, I].
        backend, memory, init, learned_state: of the recurrent layers; see `Recurrent`.

    Raises:
        ValueError: when arguments do not go together, or one is wrong.
    """

    vocabulary = Part(Vocabulary)
    spelling = Part(Spelling)
    scaling = Part(Scaling)

    def __init__(
        self,
        *,
        vocab_size: int | None = None,
        input_size: int | None = None,
        vocabulary: Vocabulary | None = None,
        spelling: Spelling | None = None,
        scaling: Scaling | None = None,
        subwords: str | None = None,
        num_pieces: int | None = None,
        embedding_size: int = 100,
        subword_size: int = 50,
        hidden_size: int = 128,
        num_layers: int = 1,
        cell: Cell | str = "lstm",
        sizes: Mapping[str, int | str] | None = None,
        bidirectional: bool = False,
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
        where = type(self).__name__
        if vocab_size is None and vocabulary is not None:
            vocab_size = len(vocabulary)
        if input_size is None and scaling is not None:
            input_size = len(scaling.mean)
        if subwords is None and spelling is not None:
            subwords = spelling.kind
        if num_pieces is None and spelling is not None:
            num_pieces = spelling.num_pieces
        _check_inputs(where, vocab_size, input_size, subwords, num_pieces)
        for name, rate in (
            *(("dropout", dropout), ("input_dropout", input_dropout)),
            ("word_dropout", word_dropout),
        ):
            check_dropout(where, name, rate)
        check_flags(where, batch_first=batch_first)
        self.vocab_size, self.input_size = vocab_size, input_size
        self.num_pieces = num_pieces
        self.dropout, self.input_dropout = dropout, input_dropout
        self.word_dropout = word_dropout
        self.batch_first = batch_first
        options: dict[str, Any] = {"dtype": dtype, "device": device}
        self.embedding: nn.Embedding | None = None
        self.subwords: SubwordVectors | None = None
        if vocab_size is not None:
            check_sizes(where, vocab_size=vocab_size, embedding_size=embedding_size)
            self.embedding = nn.Embedding(vocab_size, embedding_size, dtype=dtype, device=device)
            input_size = embedding_size
            if subwords is not None and num_pieces is not None:
                self.subwords = SubwordVectors(
                    subwords, num_pieces, subword_size, backend=backend, **options
                )
                input_size += subword_size
        assert input_size is not None
        cell = resolved(where, cell)
        check_reads_x_alone(where, cell)
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
        self.vocabulary, self.spelling, self.scaling = vocabulary, spelling, scaling

    def reset_vectors(self) -> None:
        """Draw the vectors of words anew."""
        if self.embedding is not None:
            nn.init.normal_(self.embedding.weight, std=_SCALE)

    def check_part(self, name: str, part: Any) -> None:
        """Parts have the sizes that the model was made with."""
        found, wanted, what = self._sizes_of(name, part)
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

    def _sizes_of(self, name: str, part: Any) -> tuple[Any, Any, str]:
        """The size of a part, that which the model wants, and what is counted."""
        if name == "vocabulary":
            return len(part), self.vocab_size, "symbols, the model's vocab_size"
        if name == "scaling":
            return len(part.mean), self.input_size, "channels, its input_size"
        own = None if self.subwords is None else (self.subwords.kind, self.num_pieces)
        return (
            *((part.kind, part.num_pieces), own),
            "pieces, the model's subwords and num_pieces",
        )

    def _arranged(self, x: Tensor, pieces: Tensor | None) -> tuple[Tensor, Tensor | None, bool]:
        """x and pieces time first and with a batch, and whether there was none."""
        rank, form = (2, "[time, batch]") if self.embedding is not None else (3, "[time, batch, I]")
        check_tensor(type(self).__name__, "x", x)
        if pieces is not None:
            check_tensor(type(self).__name__, "pieces", pieces)
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
        return self._turned(x), None if pieces is None else self._turned(pieces), False

    def _features(
        self,
        x: Tensor,
        lengths: Tensor | Sequence[int] | None,
        pieces: Tensor | None,
        single: bool,
        more: int = 0,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """What the recurrent layers give for x as `_arranged` has it, [T, B, H]; x without what
        lies past the lengths; and which words are not dropped, if any are.

        Args:
            more: steps of zeros that are read behind each sequence; y then has T + more.
        """
        if self.embedding is None:
            vectors = self._read_steps(x, lengths)
            if more:
                past = past_lengths(x, lengths)
                vectors = vectors if past is None else vectors.masked_fill(past[..., None], 0)
                vectors = functional.pad(vectors, (0, 0, 0, 0, 0, more))
            y, _ = self.recurrent(vectors, lengths=_longer(lengths, more))
            return y, x, None
        past = None if single else past_lengths(x, lengths)
        x = x if past is None else x.masked_fill(past, 0)
        y, kept = self._read(x, past, pieces, lengths, more)
        return y, x, kept

    def _read_steps(self, x: Tensor, lengths: Tensor | Sequence[int] | None = None) -> Tensor:
        """The vectors [T, B, I] of steps that are no words, of which nothing past the lengths
        counts."""
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
        more: int,
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
        if more:
            places = places if past is None else places.masked_fill(past, len(table))
            places = functional.pad(places, (0, 0, 0, more), value=len(table))
        if kept is not None or more:
            table = functional.pad(table, (0, 0, 0, 1))  # the last row is of what is no word
        y, _ = self.recurrent(places, lengths=_longer(lengths, more), embedding=table)
        return y, kept

    def _vectors(self, words: Tensor, pieces: Tensor | None) -> Tensor:
        """The vector [N, E + S] of each of the words [N]."""
        assert self.embedding is not None
        vectors = self.embedding(words)
        if self.subwords is None or pieces is None:
            return vectors
        return torch.cat([vectors, self.subwords(pieces)], dim=-1)

    # ---- what users have

    def encode(self, texts: Sequence[str | Sequence[str]]) -> tuple[Tensor, Tensor, Tensor | None]:
        """Texts as the model reads them: ids, lengths, and pieces where it has subwords.

        Words that the vocabulary lacks are <unk>; characters that it lacks are left out.

        Args:
            texts: each a string, which the vocabulary splits, or a list of words, which are taken
                as they are.
        Raises:
            ValueError: when the model has no vocabulary, or its subwords no spelling; when words
                are given to a model of characters, bytes or pieces.
        """
        where = f"{type(self).__name__}.encode"
        vocabulary: Vocabulary = self.needed("vocabulary", where)
        if isinstance(texts, str) or len(texts) == 0:
            raise ValueError(f"{where}: expected a list of texts, got {texts!r:.40}. Give one.")
        each = [torch.from_numpy(_ids(vocabulary, text, where)) for text in texts]
        lengths = torch.tensor([len(ids) for ids in each], dtype=torch.int64, device="cpu")
        ids = self._padded(each, 0)
        if self.subwords is None:
            return ids, lengths.to(ids.device), None
        spelling: Spelling = self.needed("spelling", where)
        assert isinstance(vocabulary, WordVocabulary)
        words = [vocabulary.tokens(text) if isinstance(text, str) else text for text in texts]
        spelled = spelling.encode([word for some in words for word in some])
        pieces = torch.from_numpy(spelled).split(lengths.tolist())
        return ids, lengths.to(ids.device), self._padded(pieces, -1)

    def unseen(self, text: str | Sequence[str]) -> tuple[list[str], int]:
        """The symbols of a text that the model has no id for, and how many the text has.

        Raises:
            ValueError: when the model has no vocabulary.
        """
        vocabulary: Vocabulary = self.needed("vocabulary", f"{type(self).__name__}.unseen")
        return vocabulary.unseen(text)

    def _predicted(
        self,
        inputs: Any,
        batch_size: int,
        say: Callable[[Tensor, Tensor], Sequence[SaidT]],
    ) -> list[SaidT]:
        """What the model says of each input, in their order; those of like length are read
        together.

        Args:
            inputs: as `predict` takes them.
            batch_size: inputs that are read at a time.
            say: makes, of what a call of the model gives, time first, and of the lengths, what it
                says of each sequence.
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
        found: dict[int, SaidT] = {}
        with evaluating(self), torch.no_grad():
            for some in order.split(batch_size):
                part = batch.chosen(some)
                scores = self._called(part)
                check_said(where, scores)
                said = say(scores, part.lengths)
                found.update(zip(some.tolist(), said, strict=True))
        return [found[number] for number in range(len(inputs))]

    def _called(self, batch: EncodedInputs) -> Tensor:
        """A call of the model on inputs that are time first."""
        pieces = None if batch.pieces is None else self._turned(batch.pieces)
        return self(self._turned(batch.x), batch.lengths, pieces=pieces)

    def _turned(self, x: Tensor) -> Tensor:
        """What is time first as the model takes and gives it, and the other way round."""
        return x.transpose(0, 1) if self.batch_first else x

    def _encoded(self, inputs: Any, where: str) -> EncodedInputs:
        if self.embedding is not None:
            for i, text in enumerate(inputs):
                if not _is_text(text):
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
        values = as_series(series, where)
        if values.shape[1] != self.input_size:
            raise wrong_channels(where, self.input_size or 0, values)
        return without_gaps(values, "fail", where)

    def _padded(self, each: Sequence[Tensor], value: int) -> Tensor:
        """Sequences side by side, [T, B, ...], where the model is and of its dtype."""
        like = next(self.recurrent.parameters())
        padded = nn.utils.rnn.pad_sequence(list(each), padding_value=value)
        return padded.to(like.device, like.dtype if padded.is_floating_point() else None)

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
    def reading_config(self) -> dict[str, Any]:
        """The arguments of the half that reads, the cell as `cell_config` writes it."""
        ids: dict[str, Any] = {"input_size": self.input_size}
        if self.embedding is not None:
            ids = {"vocab_size": self.vocab_size, "embedding_size": self.embedding.embedding_dim}
        if self.subwords is not None:
            kind, size = self.subwords.kind, self.subwords.size
            ids |= {"subwords": kind, "num_pieces": self.num_pieces, "subword_size": size}
        return {
            **ids,
            "hidden_size": self.recurrent.hidden_size,
            "num_layers": self.recurrent.num_layers,
            **cell_config(self.recurrent.cell),
            "sizes": dict(self.recurrent.sizes),
            "bidirectional": self.recurrent.bidirectional,
            "dropout": self.dropout,
            "input_dropout": self.input_dropout,
            "word_dropout": self.word_dropout,
            "batch_first": self.batch_first,
            **layer_options(self.recurrent),
            "dtype": str(next(self.recurrent.parameters()).dtype).removeprefix("torch."),
        }


def _check_inputs(
    where: str,
    vocab_size: int | None,
    input_size: int | None,
    subwords: str | None,
    num_pieces: int | None,
) -> None:
    if (vocab_size is None) == (input_size is None):
        got = "neither" if vocab_size is None else "both"
        raise ValueError(
            f"{where}: expected vocab_size or a vocabulary for token ids, or input_size or "
            f"a scaling for series of numbers, got {got}. Give what it is to read."
        )
    if (subwords is None) != (num_pieces is None):
        missing = "num_pieces" if num_pieces is None else "subwords"
        raise ValueError(
            f"{where}: expected {missing} beside "
            f"{'subwords' if num_pieces is None else 'num_pieces'}, got none. Give both, or a "
            f"spelling, which has both."
        )
    if subwords is not None and vocab_size is None:
        raise ValueError(
            f"{where}: expected words to be spelled, got {argument(f'subwords={subwords}')} "
            f"for series of numbers. Leave it out."
        )


def _is_text(text: object) -> bool:
    """Whether it is a string, or a list of words."""
    if isinstance(text, list | tuple):
        return all(isinstance(word, str) for word in text)
    return isinstance(text, str)


def _ids(vocabulary: Vocabulary, text: str | Sequence[str], where: str) -> np.ndarray:
    """The ids of a text, or of words that are taken as they are."""
    if isinstance(text, str):
        unknown = "skip" if vocabulary.unknown_id is None else "replace"
        return vocabulary.encode(text, unknown=unknown)
    if not isinstance(vocabulary, WordVocabulary):
        raise ValueError(
            f"{where}: expected texts, got lists of words for a model of level "
            f"{vocabulary.level!r}. Join each into one string."
        )
    return vocabulary.word_ids(text)


def _longer(lengths: Tensor | Sequence[int] | None, more: int) -> Tensor | Sequence[int] | None:
    if lengths is None or not more:
        return lengths
    if isinstance(lengths, Tensor):
        return lengths + more
    return [length + more for length in lengths]


def past_lengths(ids: Tensor, lengths: Tensor | Sequence[int] | None) -> Tensor | None:
    """Which of ids [T, B] lie past the lengths."""
    if lengths is None:
        return None
    steps = torch.arange(len(ids), dtype=torch.int64, device=ids.device)
    return steps[:, None] >= torch.as_tensor(lengths, device=ids.device)
