"""The translator: a sequence in, another one out, of another length.

    source ids -> embedding -> recurrent layers -> memory
    target ids so far -> embedding -> recurrent layers that attend to the memory -> logits

Letters: S steps of a source, T of a target, B batch, V tokens of the target, E embedding, H hidden,
K vector of the memory.
Sources: Cho et al. (2014), arXiv:1406.1078, and Sutskever, Vinyals, Le (2014), arXiv:1409.3215
(encoder and decoder); Bahdanau, Cho, Bengio (2015), arXiv:1409.0473 (attention); Luong, Pham,
Manning (2015), arXiv:1508.04025 (its other scores, input feeding).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from recurra import compose
from recurra.compose.spelling import resolved
from recurra.errors import argument
from recurra.ir import has_positions
from recurra.lang import Cell
from recurra.models.cell_entries import cell_config, cell_of
from recurra.models.checks import check_reduction, check_share, check_tensor, counts_of
from recurra.models.decoders import first_state, looking_cell, start_sizes
from recurra.models.parts import Part
from recurra.models.saving import Model, layer_options
from recurra.models.translation import Translation, Writing
from recurra.models.writing import write
from recurra.nn import Recurrent
from recurra.nn.checks import (
    check_dropout,
    check_flags,
    check_reads_x_alone,
    check_sizes,
)
from recurra.nn.checks import check_token_ids as check_ids
from recurra.nn.dropout import dropout
from recurra.nn.stack import one_or_all
from recurra.text import Vocabulary

ATTENTIONS = ("additive", "dot", "general", "scaled_dot", "location", "coverage", "none")
_OWN_CELLS = {"location": "location_attention_gru", "coverage": "coverage_gru"}
_FEEDING = {"dot": "dot_attention_lstm", "general": "general_attention_lstm"}
_SCALE = 0.1  # of vectors of tokens that start from nothing

Lengths = Tensor | Sequence[int] | None


class Translator(Model):
    """An encoder, and a decoder that attends to what it made, of any cells.

    The mark, whose id is V, stands at both ends of a target: the decoder reads it first, and says
    it when it is done.

    Args:
        source_size: tokens of the source; None takes that of its vocabulary.
        target_size: V; None takes that of the vocabulary.
        source_vocabulary, target_vocabulary: saved with the model; what reads and writes text needs
            them. They may be given later.
        embedding_size: E, of both sides.
        hidden_size: H, of each layer and direction of the encoder, and of the decoder.
        num_layers: of the encoder.
        decoder_layers: of the decoder; each attends by itself.
        cell: of both: a cell, or its spelling.
        attention: how the decoder reads: "additive", "dot", "general", "scaled_dot" by
            `compose.attend`; "location" and "coverage", which know where they looked before, have
            a GRU of their own; "none" reads a summary of the whole source at each step.
        input_feeding: whether the decoder reads what it attended to the step before; of an LSTM,
            with "dot" or "general".
        decoder: another cell that reads a memory, in place of one made of `cell` and `attention`:
            "conditional_gru".
        bidirectional: whether the encoder reads from the end as well.
        reverse_source: read the source from its end, as Sutskever et al. do.
        shared_embedding: one table of vectors for both sides, which have one vocabulary.
        tied: whether logits are products with the vectors of the target's tokens, as Press, Wolf
            (2017), arXiv:1608.05859.
        lower: whether texts are taken in lower case.
        dropout: probability of dropping a feature of the memory, and of what logits are made of, in
            training.
        input_dropout: likewise of a token's vector.
        memory, backend: of the recurrent layers; see `Recurrent`.

    Raises:
        ValueError: when arguments do not go together, or one is wrong.
    """

    source_vocabulary = Part(Vocabulary)
    target_vocabulary = Part(Vocabulary)

    def __init__(
        self,
        source_size: int | None = None,
        target_size: int | None = None,
        *,
        source_vocabulary: Vocabulary | None = None,
        target_vocabulary: Vocabulary | None = None,
        embedding_size: int = 256,
        hidden_size: int = 256,
        num_layers: int = 1,
        decoder_layers: int = 1,
        cell: Cell | str = "gru",
        attention: str = "additive",
        input_feeding: bool = False,
        decoder: Cell | str | Mapping[str, Any] | None = None,
        bidirectional: bool = True,
        reverse_source: bool = False,
        shared_embedding: bool = False,
        tied: bool = True,
        lower: bool = False,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        memory: str = "normal",
        backend: str = "auto",
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        where = type(self).__name__
        if source_size is None and source_vocabulary is not None:
            source_size = len(source_vocabulary)
        if target_size is None and target_vocabulary is not None:
            target_size = len(target_vocabulary)
        if source_size is None or target_size is None:
            raise ValueError(
                f"{where}: expected source_size and target_size, or vocabularies, got "
                f"{source_size} and {target_size}. Give what it is to read and write."
            )
        check_sizes(where, source_size=source_size, target_size=target_size)
        check_sizes(where, embedding_size=embedding_size, decoder_layers=decoder_layers)
        for name, rate in (("dropout", dropout), ("input_dropout", input_dropout)):
            check_dropout(where, name, rate)
        check_flags(
            where,
            shared_embedding=shared_embedding,
            tied=tied,
            lower=lower,
            reverse_source=reverse_source,
            input_feeding=input_feeding,
        )
        if shared_embedding and source_size != target_size:
            raise ValueError(
                f"{where}: expected one vocabulary for {argument('shared_embedding=True')}, got "
                f"{source_size} and {target_size} tokens. Give both sides the same, or leave it "
                f"out."
            )
        cell = resolved(where, cell)
        check_reads_x_alone(where, cell)
        reading = _decoder_cell(where, cell, attention, input_feeding, decoder)
        self.source_size, self.target_size = source_size, target_size
        self.attention, self.input_feeding = attention, input_feeding
        self._decoder_given = None if decoder is None else reading
        self.reverse_source, self.lower, self.tied = reverse_source, lower, tied
        self.shared_embedding = shared_embedding
        self.dropout, self.input_dropout = dropout, input_dropout
        place: dict[str, Any] = {"dtype": dtype, "device": device}
        layers: dict[str, Any] = {"memory": memory, "backend": backend}
        self.target_embedding = nn.Embedding(
            target_size + 1, embedding_size, dtype=dtype, device=device
        )
        self.source_embedding = self.target_embedding
        if not shared_embedding:
            self.source_embedding = nn.Embedding(
                source_size, embedding_size, dtype=dtype, device=device
            )
        self.encoder = Recurrent(
            cell,
            embedding_size,
            hidden_size,
            num_layers,
            bidirectional=bidirectional,
            dropout=dropout if num_layers > 1 else 0.0,
            **layers,
            **place,
        )
        width = self.encoder.output_size
        K = width if "K" in reading.size_names else hidden_size
        sizes = {"K": K} if "K" in reading.size_names else {}
        self.bridge = None if width == K else nn.Linear(width, K, dtype=dtype, device=device)
        self.decoder = Recurrent(
            compose.deep_output(reading),
            embedding_size,
            hidden_size,
            decoder_layers,
            sizes={**sizes, "O": embedding_size},
            dropout=dropout if decoder_layers > 1 else 0.0,
            **layers,
            **place,
        )
        size = sum(start_sizes(self.decoder))
        self.start = nn.Linear(width, size, dtype=dtype, device=device) if size else None
        self.output = nn.Linear(embedding_size, target_size + 1, dtype=dtype, device=device)
        if tied:
            self.output.weight = self.target_embedding.weight
        self.source_vocabulary = source_vocabulary
        self.target_vocabulary = target_vocabulary
        self._reset_own_parameters()

    @property
    def mark(self) -> int:
        """The id that stands at both ends of a target: V."""
        return self.target_size

    @property
    def over_positions(self) -> list[bool]:
        """Which states of the decoder have a number for each position of the memory."""
        return [has_positions(shape) for shape in self.decoder.cell.state_shapes]

    def reset_parameters(self) -> None:
        """Draw all parameters anew; the first predictions are close to uniform."""
        for part in (self.encoder, self.decoder, self.bridge, self.start, self.output):
            if part is not None:
                part.reset_parameters()
        self._reset_own_parameters()

    def _reset_own_parameters(self) -> None:
        nn.init.normal_(self.target_embedding.weight, std=_SCALE)
        if not self.shared_embedding:
            nn.init.normal_(self.source_embedding.weight, std=_SCALE)
        nn.init.zeros_(self.output.bias)

    def check_part(self, name: str, part: Any) -> None:
        """A vocabulary has as many tokens as the model."""
        wanted = self.source_size if name == "source_vocabulary" else self.target_size
        if len(part) != wanted:
            raise ValueError(
                f"{type(self).__name__}: expected {name} of {wanted} tokens, got {len(part)}. Make "
                f"the model for it: {type(self).__name__}(..., {name}={name})."
            )

    # ---- reading

    def encode(
        self, source: Int[Tensor, "steps batch"], lengths: Lengths = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What the encoder makes of sources.

        Args:
            source: [S, B] int64 token ids.
            lengths: [B] integers in 1..S; None means all S.
        Returns:
            memory: [S, B, K], of attention "none" [1, B, K], the summary alone.
            counts: [B], the positions of each memory that are there.
            summary: [B, D*H], the last output of each direction.
        """
        where = type(self).__name__
        check_tensor(where, "the source", source)
        if source.dim() != 2 or source.is_floating_point():
            raise ValueError(
                f"{where}: expected token ids [time, batch], got shape {tuple(source.shape)} of "
                f"{source.dtype}. Pass lengths for sources of different lengths."
            )
        S, B = source.shape
        device = source.device
        counts = counts_of(where, "source_lengths", lengths, S, B, device)
        steps = torch.arange(S, dtype=torch.int64, device=device)
        within = steps[:, None] < counts
        source = source.where(within, 0)
        check_ids(where, source, self.source_size)
        if self.reverse_source:
            back = (counts - 1 - steps[:, None]).clamp(min=0)
            source = source.gather(0, back).where(within, 0)
        x = self._dropped(self.source_embedding(source), self.input_dropout)
        y, _ = self.encoder(x, lengths=counts)
        forward, *backward = y.chunk(2 if self.encoder.bidirectional else 1, dim=2)
        last = (counts - 1).view(1, B, 1).expand(1, B, forward.shape[2])
        summary = torch.cat([forward.gather(0, last)[0], *(each[0] for each in backward)], dim=1)
        rows = summary[None].clone() if self.attention == "none" else y
        if self.attention == "none":
            counts = torch.ones_like(counts)
        rows = self._dropped(rows, self.dropout)
        return (rows if self.bridge is None else self.bridge(rows)), counts, summary

    def first_state(self, summary: Tensor, positions: int) -> tuple[Tensor, ...]:
        """The state that the decoder starts from, [L, B, size] each; over positions it is zeros.

        Args:
            summary: [B, D*H], of `encode`.
            positions: S of the memory.
        """
        made = None if self.start is None else torch.tanh(self.start(summary))
        return first_state(self.decoder, made, len(summary), positions, summary)

    def _dropped(self, x: Tensor, rate: float) -> Tensor:
        return dropout(x, rate) if self.training and rate > 0 else x

    # ---- training

    def forward(
        self,
        source: Tensor,
        target: Tensor,
        source_lengths: Lengths = None,
        target_lengths: Lengths = None,
        *,
        read: Tensor | None = None,
        packed: bool = False,
    ) -> Float[Tensor, "*steps vocab"]:
        """The logits of each token of the targets, and of the mark behind them, given those before.

        Args:
            source: [S, B] int64 token ids.
            target: [T, B] int64 token ids, without the mark.
            source_lengths: [B] integers in 1..S.
            target_lengths: [B] integers in 0..T.
            read: [T + 1, B] int64, what the decoder reads in place of the mark and the target, as
                scheduled sampling draws it.
            packed: whether only the logits of true steps are given, [N, V + 1], those of the first
                step of all sequences first.
        Returns:
            [T + 1, B, V + 1]; past the lengths what the output layer makes of zeros.
        """
        where = type(self).__name__
        check_tensor(where, "the source", source)
        check_tensor(where, "the target", target)
        if target.dim() != 2 or source.shape[1:] != target.shape[1:]:
            raise ValueError(
                f"{where}: expected targets [time, batch], one for each source of shape "
                f"{tuple(source.shape)}, got shape {tuple(target.shape)}. Pass both time first."
            )
        T, B = target.shape
        device = target.device
        counts = counts_of(where, "target_lengths", target_lengths, T, B, device)
        steps = torch.arange(T + 1, dtype=torch.int64, device=device)
        within = steps[:, None] <= counts
        check_ids(where, target.where(steps[:T, None] < counts, 0), self.target_size)
        if read is None:
            first = target.new_full((1, B), self.mark)
            read = torch.cat([first, target])
        elif read.shape != (T + 1, B):
            raise ValueError(
                f"{where}: expected read of shape {(T + 1, B)}, the mark and a token for each of "
                f"the target, got {tuple(read.shape)}. Put the mark in front."
            )
        read = read.where(within, self.mark)
        check_ids(where, read, self.target_size + 1)
        memory, positions, summary = self.encode(source, source_lengths)
        x = self._dropped(self.target_embedding(read), self.input_dropout)
        state = self.first_state(summary, len(memory))
        y, _ = self.decoder(
            x,
            one_or_all(state),
            lengths=counts + 1,
            memory=memory,
            memory_lengths=positions,
        )
        if packed:
            y = y[within]
        return self.output(self._dropped(y, self.dropout))

    def loss(
        self,
        source: Tensor,
        target: Tensor,
        source_lengths: Lengths = None,
        target_lengths: Lengths = None,
        *,
        label_smoothing: float = 0.0,
        reduction: str = "mean",
    ) -> Tensor:
        """The loss of each token of the targets and of their marks, in nats.

        Args:
            source, target, source_lengths, target_lengths: as for a call.
            label_smoothing: probability that is spread evenly over all tokens.
            reduction: "mean" or "sum".
        """
        check_reduction(type(self).__name__, reduction)
        check_share(type(self).__name__, label_smoothing=label_smoothing)
        logits = self(source, target, source_lengths, target_lengths, packed=True)
        wanted = self.wanted(target, target_lengths)
        return functional.cross_entropy(
            logits, wanted, label_smoothing=label_smoothing, reduction=reduction
        )

    def wanted(self, target: Tensor, lengths: Lengths = None) -> Tensor:
        """What packed logits should say: the tokens and, behind each target, the mark, [N]."""
        T, B = target.shape
        counts = counts_of(type(self).__name__, "target_lengths", lengths, T, B, target.device)
        last = target.new_full((1, B), self.mark)
        steps = torch.arange(T + 1, dtype=torch.int64, device=target.device)[:, None]
        padded = torch.cat([target, last]).where(steps < counts, self.mark)
        return padded[steps <= counts]

    # ---- what users have

    def ids_of(self, texts: Sequence[str]) -> list[Tensor]:
        """Each source as token ids; words that the vocabulary lacks are <unk>."""
        vocabulary: Vocabulary = self.needed("source_vocabulary", f"{type(self).__name__}.predict")
        return [torch.from_numpy(encoded(vocabulary, text, self.lower)) for text in texts]

    def unseen(self, text: str) -> tuple[list[str], int]:
        """The symbols of a source that the model has no id for, and how many it has.

        Raises:
            ValueError: when the model has no vocabulary of sources.
        """
        vocabulary: Vocabulary = self.needed("source_vocabulary", f"{type(self).__name__}.unseen")
        return vocabulary.unseen(one_line(text, self.lower))

    def predict(self, inputs: Sequence[Any], **writing: Any) -> list[Translation]:
        """The translation of each text.

        Args:
            inputs: texts. Of an empty one the translation is empty.
            writing: fields of `Writing`: beam_size, length_penalty, num_best, temperature, ...
        Raises:
            ValueError: when the model lacks vocabularies, or an option is wrong.
        """
        where = f"{type(self).__name__}.predict"
        if isinstance(inputs, str) or not hasattr(inputs, "__len__"):
            raise ValueError(
                f"{where}: expected a list of texts, got {inputs!r:.40}. Put it into one: [...]."
            )
        for i, text in enumerate(inputs):
            if not isinstance(text, str):
                raise ValueError(
                    f"{where}: expected texts, got {type(text).__name__} for input {i}. Token ids "
                    f"go into a call of the model."
                )
        return write(self, list(inputs), Writing(**writing), where)

    def attention_cell(self) -> Cell | None:
        """The decoder's cell with the weights of its attention as output; None without attention.

        Its parameters have the names of the decoder's own.
        """
        return looking_cell(self.decoder)

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that rebuild this model, cells as `cell_config` writes them."""
        given = self._decoder_given
        return {
            "source_size": self.source_size,
            "target_size": self.target_size,
            "embedding_size": self.target_embedding.embedding_dim,
            "hidden_size": self.encoder.hidden_size,
            "num_layers": self.encoder.num_layers,
            "decoder_layers": self.decoder.num_layers,
            **cell_config(self.encoder.cell),
            "attention": self.attention,
            "input_feeding": self.input_feeding,
            **({} if given is None else {"decoder": cell_config(given)}),
            "bidirectional": self.encoder.bidirectional,
            "reverse_source": self.reverse_source,
            "shared_embedding": self.shared_embedding,
            "tied": self.tied,
            "lower": self.lower,
            "dropout": self.dropout,
            "input_dropout": self.input_dropout,
            **layer_options(self.encoder),
            "dtype": str(self.output.weight.dtype).removeprefix("torch."),
        }


def _decoder_cell(
    where: str,
    cell: Cell,
    attention: str,
    input_feeding: bool,
    given: Cell | str | Mapping[str, Any] | None,
) -> Cell:
    """The cell of the decoder, which reads a memory."""
    if attention not in ATTENTIONS:
        raise ValueError(
            f"{where}: expected attention to be one of {', '.join(ATTENTIONS)}, got "
            f"{attention!r}. Choose one."
        )
    if given is not None:
        made = cell_of(dict(given), None) if isinstance(given, Mapping) else resolved(where, given)
        if len(made.memory) != 1 or made.input is None:
            raise ValueError(
                f"{where}: expected a decoder that reads x and one memory, got {made.name}, which "
                f"reads {', '.join(made.memory) or 'none'}. Use one of cells/attention.py, or "
                f"attend(...) around a cell."
            )
        return made
    if input_feeding:
        if cell.name != "lstm" or attention not in _FEEDING:
            raise ValueError(
                f"{where}: expected {argument('cell=lstm')} with {argument('attention=dot')} or "
                f"general for {argument('input_feeding=True')}, got {cell.name} with {attention}. "
                f"Give these, or a decoder of your own."
            )
        return resolved(where, _FEEDING[attention])
    if attention in _OWN_CELLS:
        if cell.name != "gru":
            raise ValueError(
                f"{where}: expected {argument('cell=gru')} for {argument(f'attention={attention}')}"
                f", whose decoder is a GRU, got {cell.name}. Give it, or a decoder of your own."
            )
        return resolved(where, _OWN_CELLS[attention])
    return compose.attend(cell, "mean" if attention == "none" else attention)


def one_line(text: str, lower: bool) -> str:
    """A text with single spaces between its words, in lower case if asked for."""
    text = " ".join(text.split())
    return text.lower() if lower else text


def encoded(vocabulary: Vocabulary, text: str, lower: bool) -> Any:
    """The ids of a text, which is one line; pieces of BPE begin words with their space."""
    text = one_line(text, lower)
    if vocabulary.level == "bpe":
        text = f" {text}" if text else ""
    unknown = "skip" if vocabulary.unknown_id is None else "replace"
    return vocabulary.encode(text, unknown=unknown)
