"""A tagger one step at a time: what it says of each step, as soon as it may."""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from recurra.models.stepping import Steps
from recurra.nn.checks import check_sizes, check_token_ids
from recurra.nn.plain import evaluating

if TYPE_CHECKING:
    from recurra.models.tagger import Tagger


class TaggerStream:
    """A tagger step by step, without gradients or dropout: `model.stream()`.

    Called with one step it returns what the model says of the step `delay` steps before, and keeps
    the state.

    Attributes:
        delay: steps between reading a step and saying something of it: those that the model looks
            ahead, and those that the stream was told to wait for. A CRF and a constraint decide by
            the best sequence of all that was read by then.
    """

    def __init__(self, model: "Tagger", batch_size: int = 1, *, delay: int = 0) -> None:
        where = f"{type(model).__name__}.stream"
        check_sizes(where, least=0, delay=delay)
        if model.recurrent.bidirectional:
            raise ValueError(
                f"{where}: expected a one-way model, got bidirectional=True, which reads from the "
                f"end too and knows nothing before it is there. Use predict, or train a model with "
                f"bidirectional=False, which may look ahead a few steps: delay=8."
            )
        self._read_in = Steps(model)
        self.model = model
        self.batch_size = batch_size
        self.delay = model.delay + delay
        self._layer = model.recurrent.stream(batch_size)
        self._waits = delay
        self.reset()

    def reset(self) -> None:
        """Begin new sequences."""
        self._layer.reset()
        self._read_in.reset()
        self._num_read = 0
        self._scores: list[Tensor] = []  # of the steps since the last that something was said of
        self._before: Tensor | None = None  # the last label that was said, [B]
        self._words: deque[str] = deque()  # of which nothing was said yet

    def __call__(self, x_t: Tensor, *, pieces: Tensor | None = None) -> Tensor | None:
        """What the model says of the step `delay` steps before this one: labels [B], or numbers
        [B, O]; None while there is no such step.

        Args:
            x_t: token ids [B], or unscaled values [B, I].
            pieces: [B, C], how the words are spelled; only for a model with subwords.
        """
        model = self.model
        x_t = self._read_in.read(x_t)
        with evaluating(model), torch.no_grad():
            axis = 1 if model.batch_first else 0
            x, spelled, _ = model._arranged(
                x_t.unsqueeze(axis), None if pieces is None else pieces.unsqueeze(axis)
            )
            if model.embedding is None:
                vectors = model._read_steps(x)[0]
            else:
                check_token_ids(type(model).__name__, x, model.vocab_size or 0)
                vectors = model._vectors(x[0], None if spelled is None else spelled[0])
            return self._step(vectors)

    def read(self, text: str | Sequence[str], *, ends: bool = True) -> Iterator[tuple[str, Any]]:
        """Each word of a sentence with its label, as soon as that may be said; of one sequence.

        Args:
            text: words, or a string that the vocabulary splits; goes on where the stream stands.
            ends: whether the sentence ends here: then what was waited for is said of all.
        Yields:
            a word, and the name of its label, its number without names, or [O] numbers.
        """
        model = self.model
        if self.batch_size != 1:
            raise ValueError(
                f"{type(model).__name__}.stream: expected a stream of one sequence to read text, "
                f"got batch_size={self.batch_size}. Call it with ids."
            )
        words = model.words(text)
        ids, _, pieces = model.encode([words])
        for step, word in enumerate(words):
            self._words.append(word)
            said = self(ids[step], pieces=None if pieces is None else pieces[step])
            if said is not None:
                yield self._words.popleft(), model.named(said[0])
        if ends:
            waiting = list(self._words)
            yield from zip(waiting, (model.named(one[0]) for one in self.finish()), strict=True)

    def finish(self) -> list[Tensor]:
        """What the model says of the steps that it has not said anything of; ends the sequences."""
        model, said = self.model, []
        with evaluating(model), torch.no_grad():
            size = model.recurrent.input_size
            like = model.decoder.weight
            for _ in range(model.delay if self._num_read else 0):
                zeros = torch.zeros(self.batch_size, size, dtype=like.dtype, device=like.device)
                step = self._step(zeros)
                said += [] if step is None else [step]
            while self._scores:
                said.append(self._first(ends=True))
        self.reset()
        return said

    def _step(self, vectors: Tensor) -> Tensor | None:
        scores = self.model.decoder(self._layer(vectors))
        self._num_read += 1
        if self._num_read <= self.model.delay:
            return None
        self._scores.append(scores)
        return self._first() if len(self._scores) > self._waits else None

    def _first(self, *, ends: bool = False) -> Tensor:
        """What is said of the first of the steps that wait, which waits no more."""
        model, scores = self.model, self._scores.pop(0)
        if model.output_size is not None:
            return scores if model.target_scaling is None else model.target_scaling.undone(scores)
        chain = model.chain()
        if chain is None:
            return scores.argmax(dim=-1)
        known = torch.stack([scores, *self._scores])
        self._before = chain.best_path(known, before=self._before, ends=ends)[0].clone()
        return self._before.clone()
