"""The language model: token ids in, the next token's distribution out, at every step.

    ids -> embedding -> recurrent layers -> dropout -> linear decoder -> logits

Letters: T time, B batch, V vocabulary, E embedding, H output of the recurrent layers, L layers.
Source: Mikolov, Karafiat, Burget, Cernocky, Khudanpur (2010), "Recurrent neural network based
language model", Interspeech; several layers and dropout between them as Zaremba, Sutskever,
Vinyals (2014), arXiv:1409.2329; tied embedding as Press, Wolf (2017), arXiv:1608.05859; embedding
dropout as Gal, Ghahramani (2016), arXiv:1512.05287.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypedDict, Unpack, overload

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from recurra.compose.spelling import resolved
from recurra.decoding import (
    Continuation,
    Sampler,
    generate_text,
    generate_texts,
    log_probabilities,
    seeded_generators,
    symbol_ids,
)
from recurra.errors import argument
from recurra.lang import Cell
from recurra.models.cell_entries import cell_config
from recurra.models.parts import Part
from recurra.models.saving import Model, layer_options
from recurra.nn import Recurrent
from recurra.nn.checks import (
    check_dropout,
    check_flags,
    check_reads_x_alone,
    check_sizes,
    check_token_ids,
)
from recurra.nn.dropout import dropout
from recurra.nn.initial import Rule
from recurra.nn.plain import is_table, what_else
from recurra.nn.stream import Stream
from recurra.text import Vocabulary

State = Tensor | tuple[Tensor, ...]
Texts = list[str] | tuple[str, ...]


class Choices(TypedDict, total=False):
    """How `LanguageModel.generate` draws."""

    temperature: float | int
    top_k: int | None
    top_p: float | None
    stop: str | Sequence[str]
    forbid: str | Sequence[str]
    seed: int | None
    include_prime: bool


class LanguageModel(Model):
    """Embedding, recurrent layers of any cell, and a decoder to the vocabulary.

    The embedding enters the layer as a table, so it and the first layer's input matrices become
    one gather by token. An embedding that is more than its table is called instead: one with hooks
    (pruning, old-style weight norm), `max_norm`, `padding_idx`, or of another class.

    Args:
        vocab_size: V; None takes that of the vocabulary.
        vocabulary: of the tokens, saved with the model; only what reads or writes text needs it. It
            may be given later: `model.vocabulary = vocabulary`.
        embedding_size: E.
        hidden_size: H of each layer.
        num_layers: L.
        cell: a cell, or its spelling: "gru", "zoneout(lstm, 0.1)", "my_file.py:my_cell".
        sizes: the cell's size names besides I and H.
        dropout: probability of dropping a feature of each layer's output, in training.
        embedding_dropout: probability of dropping a token of the vocabulary for a whole call, in
            training: all its occurrences, so that the table stays one table.
        tied: the decoder uses the embedding's weight; needs E equal to the layers' output size.
        batch_first: ids are [B, T] and logits [B, T, V]; states stay [L, B, H].
        init, learned_state, memory: of the recurrent layers, see `Recurrent`. A rule of init that
            is a function of one's own is not saved: loading needs none.
        backend: what runs the recurrence.
    """

    vocabulary = Part(Vocabulary)

    def __init__(
        self,
        vocab_size: int | None = None,
        *,
        vocabulary: Vocabulary | None = None,
        embedding_size: int = 64,
        hidden_size: int = 256,
        num_layers: int = 1,
        cell: Cell | str = "lstm",
        sizes: Mapping[str, int | str] | None = None,
        dropout: float = 0.0,
        embedding_dropout: float = 0.0,
        tied: bool = False,
        batch_first: bool = False,
        init: Mapping[str, Rule] | None = None,
        learned_state: bool = False,
        memory: str = "normal",
        backend: str = "auto",
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        if vocab_size is None:
            if vocabulary is None:
                raise ValueError(
                    "LanguageModel: expected vocab_size or a vocabulary, got neither. Give the "
                    "number of tokens, or vocabulary=vocabulary."
                )
            vocab_size = len(vocabulary)
        check_sizes("LanguageModel", vocab_size=vocab_size, embedding_size=embedding_size)
        check_dropout("LanguageModel", "dropout", dropout)
        check_dropout("LanguageModel", "embedding_dropout", embedding_dropout)
        check_flags("LanguageModel", tied=tied, batch_first=batch_first)
        self.vocab_size = vocab_size
        self.vocabulary = vocabulary
        self.embedding_size = embedding_size
        self.dropout = dropout
        self.embedding_dropout = embedding_dropout
        self.tied = tied
        self.batch_first = batch_first
        cell = resolved("LanguageModel", cell)
        check_reads_x_alone("LanguageModel", cell)
        self.recurrent = Recurrent(
            cell,
            embedding_size,
            hidden_size,
            num_layers,
            dropout=dropout if num_layers > 1 else 0.0,
            backend=backend,
            memory=memory,
            dtype=dtype,
            device=device,
            sizes=sizes,
            init=init,
            learned_state=learned_state,
        )
        output_size = self.recurrent.output_size
        if tied and embedding_size != output_size:
            raise ValueError(
                f"LanguageModel: expected embedding_size equal to the output size {output_size} "
                f"with {argument('tied=True')}, got {embedding_size}. Set "
                f"{argument(f'embedding_size={output_size}')}, or "
                f"tied=False."
            )
        self.embedding = nn.Embedding(vocab_size, embedding_size, dtype=dtype, device=device)
        self.decoder = nn.Linear(output_size, vocab_size, dtype=dtype, device=device)
        if tied:
            self.decoder.weight = self.embedding.weight
        self.reset_parameters()

    def check_part(self, name: str, part: Any) -> None:
        """A vocabulary has as many symbols as the model."""
        if name == "vocabulary" and len(part) != self.vocab_size:
            raise ValueError(
                f"{type(self).__name__}: expected a vocabulary as large as the model's vocab_size, "
                f"{self.vocab_size}, got {len(part)} symbols. Give the model vocab_size="
                f"{len(part)}, or the vocabulary that its tokens are of."
            )

    def reset_parameters(self) -> None:
        """Draw all parameters anew; the first predictions are close to uniform."""
        self.recurrent.reset_parameters()
        # A wide start learns faster: on tinyshakespeare 600 steps of AdamW at 2e-3 bring an LSTM of
        # H 256 to nll 1.50 with the decoder in +-0.5, to 1.67 with it in +-1/sqrt(H).
        if self.tied:
            nn.init.normal_(self.embedding.weight, std=0.5)
        else:
            nn.init.normal_(self.embedding.weight)
            nn.init.uniform_(self.decoder.weight, -0.5, 0.5)
        nn.init.zeros_(self.decoder.bias)

    def forward(
        self,
        ids: Int[Tensor, "*shape"],
        state: Tensor | Sequence[Tensor] | None = None,
        *,
        start: int = 0,
    ) -> tuple[Float[Tensor, "*shape vocab"], State]:
        """The logits of the token after each one read, and the state after the last.

        Args:
            ids: [T, B] int64 token ids, or [B, T] with batch_first: nothing but the order of the
                axes tells them apart. [T] for one sequence.
            state: as an earlier call returned it, to read on from there; None means zeros.
            start: how many tokens were read before, for a cell that reads the index of the step.

        Returns:
            logits: [T, B, V]; [B, T, V] with batch_first.
            state: [L, B, H], a tuple of them for a cell of several states.

        Raises:
            ValueError: when an id is outside the vocabulary, or the state has another shape.
        """
        y, final = self._read(ids, state, start)
        return self.decoder(y), final  # [T, B, V] or [B, T, V]

    def loss(
        self,
        inputs: Int[Tensor, "*shape"],
        targets: Tensor | None = None,
        *,
        reduction: str = "mean",
    ) -> Tensor:
        """The cross entropy of the tokens that follow, in nats, from the model's first state.

            for inputs, targets in batches:
                optimizer.zero_grad()
                model.loss(inputs, targets).backward()
                optimizer.step()

        Args:
            inputs: token ids, as for a call.
            targets: of the same shape, the token after each one; -100 is not counted. None takes
                them of inputs: each token but the first is predicted.
            reduction: "mean" over the targets, "sum", or "none" for each, as torch's.
        Raises:
            ValueError: when shapes do not agree, or nothing is left to predict.
        """
        return self.loss_and_state(inputs, targets, reduction=reduction)[0]

    def loss_and_state(
        self,
        inputs: Int[Tensor, "*shape"],
        targets: Tensor | None = None,
        state: Tensor | Sequence[Tensor] | None = None,
        *,
        start: int = 0,
        reduction: str = "mean",
    ) -> tuple[Tensor, State]:
        """The loss of a window of a longer text, and the state after it.

        For truncated backpropagation through time: no gradient goes into the state that is given,
        so that of one window is handed to the next.

        Args:
            inputs, targets, reduction: as for `loss`.
            state, start: as for a call.
        """
        if targets is None:
            inputs, targets = self._shifted(inputs)
        if state is not None:
            state = state.detach() if isinstance(state, Tensor) else [s.detach() for s in state]
        logits, final = self(inputs, state, **({"start": start} if self.reads_index else {}))
        if targets.shape != inputs.shape:
            raise ValueError(
                f"LanguageModel.loss: expected a target for each of the inputs "
                f"{tuple(inputs.shape)}, got shape {tuple(targets.shape)}. Give the token that "
                f"follows each, -100 where it does not count."
            )
        loss = token_losses(logits, targets, reduction)
        return (loss.view(targets.shape) if reduction == "none" else loss), final

    def _shifted(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """All tokens but the last, and all but the first."""
        axis = 1 if self.batch_first and ids.dim() > 1 else 0
        T = ids.shape[axis]
        if T < 2:
            raise ValueError(
                f"LanguageModel.loss: expected at least 2 tokens of a sequence, got {T}. Give "
                f"longer ones, or targets."
            )
        return ids.narrow(axis, 0, T - 1), ids.narrow(axis, 1, T - 1)

    @property
    def reads_index(self) -> bool:
        """Whether what the model says depends on how many tokens were before, beside the state."""
        return self.recurrent.cell.step is not None

    def read(
        self,
        ids: Int[Tensor, "_ _"],
        state: Tensor | Sequence[Tensor] | None = None,
        *,
        start: int = 0,
    ) -> tuple[Float[Tensor, "_ _ vocab"], State]:
        """What calling the model gives, of the logits only those after the last token: [1, B, V],
        or [B, 1, V] with batch_first.

        Arguments are those of a call. The other logits, V numbers a token, are not computed, unless
        the model or its decoder is more than its class.
        """
        if not isinstance(self.decoder, nn.Linear) or what_else(self) or what_else(self.decoder):
            logits, final = self(ids, state, **({"start": start} if self.reads_index else {}))
            return self._last(logits), final
        y, final = self._read(ids, state, start)
        return self.decoder(self._last(y)), final

    def _last(self, y: Tensor) -> Tensor:
        """Of each sequence's steps the last."""
        return y[:, -1:] if self.batch_first else y[-1:]

    def _read(
        self, ids: Tensor, state: Tensor | Sequence[Tensor] | None, start: int
    ) -> tuple[Tensor, State]:
        """What the decoder reads at each step, [T, B, H] or [B, T, H], and the state after the
        last."""
        turned = self.batch_first and ids.dim() > 1
        # a layer of the user's is handed an index only where it counts
        options: dict[str, Any] = {"start": start} if self.reads_index else {}
        if is_table(self.embedding):
            table = self._dropped(self.embedding.weight)  # [V, E]
            y, final = self.recurrent(ids.T if turned else ids, state, embedding=table, **options)
        else:
            x = self._embedded(ids)  # in the caller's form, as hooks of the embedding expect it
            x = x.transpose(0, 1) if turned else x
            y, final = self.recurrent(x, state, **options)
        y = y.transpose(0, 1) if turned else y
        return (dropout(y, self.dropout) if self.training else y), final

    def _dropped(self, table: Tensor) -> Tensor:
        """The table, in training with whole rows dropped and the others scaled up."""
        return table * self._kept(table) if self._drops_rows() else table  # [V, E]

    def _embedded(self, ids: Tensor) -> Tensor:
        """What the embedding gives for the ids, called as the module that it is: [T, B, E]."""
        check_token_ids("LanguageModel", ids, self.vocab_size)
        x = self.embedding(ids)
        return x * functional.embedding(ids, self._kept(x)) if self._drops_rows() else x

    def _drops_rows(self) -> bool:
        return self.training and self.embedding_dropout > 0

    def _kept(self, like: Tensor) -> Tensor:
        """For each token 0 where it is dropped for this call, else what keeps the mean: [V, 1]."""
        return functional.dropout(like.new_ones(self.vocab_size, 1), self.embedding_dropout)

    def stream(self, batch_size: int = 1) -> Stream:
        """This model one token at a time, without gradients or dropout, keeping its state.

        Called with the ids [B] of one step it returns the logits [B, V] of the next token.
        """
        return Stream(
            self.recurrent,
            batch_size,
            embedding=self.embedding,
            decoder=self.decoder,
            model=self,
        )

    # ---- text

    @overload
    def generate(self, prime: str = ..., length: int = ..., **choices: Unpack[Choices]) -> str: ...
    @overload
    def generate(
        self,
        prime: str = ...,
        length: int = ...,
        *,
        scores: Literal[True],
        **choices: Unpack[Choices],
    ) -> Continuation: ...
    @overload
    def generate(
        self, prime: Texts, length: int = ..., **choices: Unpack[Choices]
    ) -> list[str]: ...
    @overload
    def generate(
        self, prime: Texts, length: int = ..., *, scores: Literal[True], **choices: Unpack[Choices]
    ) -> list[Continuation]: ...
    def generate(
        self,
        prime: str | Texts = "",
        length: int = 500,
        *,
        temperature: float | int = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        stop: str | Sequence[str] = (),
        forbid: str | Sequence[str] = (),
        seed: int | None = None,
        include_prime: bool = True,
        scores: bool = False,
    ) -> str | list[str] | Continuation | list[Continuation]:
        """The prime and the text that the model writes after it.

        Several primes are written on side by side. Text i is what its prime alone gives with
        `seed + i`, but for rounding, so one prime given many times has as many continuations.

        Args:
            prime: text to go on from, or several; "" starts as after a line end.
            length: how many tokens to write.
            temperature: 1 is the model's own distribution; less is surer, 0 takes the likeliest.
            top_k: draw among so many of the likeliest tokens only.
            top_p: draw among the likeliest tokens that make up this share only.
            stop: the text ends before this string, or the first of several, in what is written.
            forbid: symbols of the vocabulary that are never drawn, such as ("<unk>",).
            seed: the same seed writes the same text; None another each time. torch's global
                generators are neither read nor moved.
            include_prime: whether the text begins with its prime, as typed.
            scores: give a `Continuation` instead: the text, the id of each token drawn, and its log
                probability in nats, that of the model's own distribution.
        Returns:
            A text, or for several primes a list.
        Raises:
            ValueError: when the model has no vocabulary, an argument is out of its range, or the
                model's numbers are not finite.
            DataError: when the vocabulary cannot spell a prime.
        Cost: of a prime only the last token's scores are computed. One text is drawn by compiled
            code where the model's steps are compiled; several texts, and scores, take a call of it
            for each token.
        """
        vocabulary = self._vocabulary("generate", prime)
        sampler = self._sampler(vocabulary, temperature, top_k, top_p, forbid)
        if isinstance(prime, str) and not scores:
            (generator,) = seeded_generators(seed)
            pieces = generate_text(
                self, vocabulary, prime, length, sampler=sampler, generator=generator, stop=stop
            )
            return (prime if include_prime else "") + "".join(pieces)
        primes = [prime] if isinstance(prime, str) else list(prime)
        written = generate_texts(
            self,
            vocabulary,
            primes,
            length,
            sampler=sampler,
            generators=seeded_generators(seed, len(primes)),
            stop=stop,
        )
        if include_prime:
            pairs = zip(primes, written, strict=True)
            written = [found._replace(text=first + found.text) for first, found in pairs]
        if scores:
            return written[0] if isinstance(prime, str) else written
        return [found.text for found in written]

    def stream_text(
        self,
        prime: str = "",
        length: int = 500,
        *,
        temperature: float | int = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        stop: str | Sequence[str] = (),
        forbid: str | Sequence[str] = (),
        seed: int | None = None,
        include_prime: bool = True,
    ) -> Iterator[str]:
        """The text that `generate` gives with the same arguments, piece by piece as it is written.

        The model is in its own mode whenever the caller has control, and may be trained meanwhile.
        """
        vocabulary = self._vocabulary("stream_text", prime)
        (generator,) = seeded_generators(seed)
        pieces = generate_text(
            self,
            vocabulary,
            prime,
            length,
            sampler=self._sampler(vocabulary, temperature, top_k, top_p, forbid),
            generator=generator,
            stop=stop,
        )
        return itertools.chain([prime] if prime and include_prime else [], pieces)

    @overload
    def nll(self, text: str, *, prime: str | None = None) -> float: ...
    @overload
    def nll(self, text: Texts, *, prime: str | None = None) -> list[float]: ...

    def nll(self, text: str | Texts, *, prime: str | None = None) -> float | list[float]:
        """The mean negative log likelihood of a text, in nats a token of the vocabulary.

        The first token has nothing before it and is not counted, as in `recurra evaluate`; with a
        prime all are, "" being what `generate` starts from. exp(nll) is the perplexity, nll / ln 2
        bits a token. For words outside the vocabulary the symbol <unk> is counted.

        Args:
            text: of two tokens or more, with a prime of one or more; or several texts.
            prime: what comes before each text, not counted.
        Returns:
            nats a token, or a list of them for several texts.
        Raises:
            ValueError: when the model has no vocabulary, or a text has too few tokens.
            DataError: when the vocabulary cannot spell a text.
        """
        vocabulary = self._vocabulary("nll", text)
        if not isinstance(text, str):
            return [self.nll(each, prime=prime) for each in text]
        before: list[int] = []
        if prime is not None:
            before = vocabulary.encode(prime, where="prime").tolist() or [vocabulary.start_id]
        ids = vocabulary.encode(text, where="text").tolist()
        least = 1 if before else 2
        if len(ids) < least:
            raise ValueError(
                f"LanguageModel.nll: expected a text of at least {least} "
                f"token{'s' if least > 1 else ''}, got {len(ids)}. Give more text"
                + (", or prime='' to count the first token too." if least > 1 else ".")
            )
        scores = log_probabilities(self, [*before, *ids])
        return -scores[max(len(before) - 1, 0) :].mean().item()

    def _vocabulary(self, method: str, text: object) -> Vocabulary:
        """The vocabulary that a method needs for the text that it was given."""
        where = f"{type(self).__name__}.{method}"
        vocabulary = self.needed("vocabulary", where)
        each = text if isinstance(text, list | tuple) else [text]
        wrong = [type(one).__name__ for one in each if not isinstance(one, str)]
        if wrong:
            raise TypeError(
                f"{where}: expected text, got {wrong[0]}. Token ids go to "
                f"recurra.decoding: generate, log_probabilities."
            )
        return vocabulary

    @staticmethod
    def _sampler(
        vocabulary: Vocabulary,
        temperature: float | int,
        top_k: int | None,
        top_p: float | None,
        forbid: str | Sequence[str],
    ) -> Sampler:
        return Sampler(
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            forbid=symbol_ids(vocabulary, forbid),
        )

    def token_writer(self, state: State, *, start: int = 0) -> Stream | None:
        """What draws the tokens after `state` [L, 1, H], in compiled code; None where that is not
        what calling the model would do, or cannot be compiled. `start` is as for a call."""
        return self._compiled_stream(state, start)

    def token_steps(self, state: State, *, start: int = 0) -> Callable[[Tensor], Tensor] | None:
        """What reads the tokens [B] after `state` [L, B, H] one by one and gives the logits [B, V]
        of each, in compiled code; None as for `token_writer`."""
        return self._compiled_stream(state, start)

    def _compiled_stream(self, state: State, start: int) -> Stream | None:
        first = state if isinstance(state, Tensor) else state[0]
        stream = self.stream(first.shape[1])
        stream.reset(state, start=start)
        return stream if stream.compiles() else None

    def initial_state(self, batch_size: int = 1) -> State:
        """The state before the first token: zeros, [L, B, H] for each of the cell's states."""
        return self.recurrent.initial_state(batch_size)

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that rebuild this model, the cell as `cell_config` writes it."""
        return {
            "vocab_size": self.vocab_size,
            "embedding_size": self.embedding_size,
            "hidden_size": self.recurrent.hidden_size,
            "num_layers": self.recurrent.num_layers,
            **cell_config(self.recurrent.cell),
            "sizes": dict(self.recurrent.sizes),
            "dropout": self.dropout,
            "embedding_dropout": self.embedding_dropout,
            "tied": self.tied,
            **({"batch_first": True} if self.batch_first else {}),
            **layer_options(self.recurrent),
            "dtype": str(self.decoder.weight.dtype).removeprefix("torch."),
        }


def token_losses(logits: Tensor, targets: Tensor, reduction: str = "mean") -> Tensor:
    """Cross entropy of tokens, in nats, computed in float32 at least.

    Args:
        logits: [..., V].
        targets: [...] int64; -100 where it does not count.
        reduction: "mean", "sum" or "none", as torch has it; of "none" the losses come flat.
    """
    scores = logits.flatten(0, -2)
    scores = scores.float() if scores.dtype.itemsize < 4 else scores
    return functional.cross_entropy(scores, targets.flatten(), reduction=reduction)
