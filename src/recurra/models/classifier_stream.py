"""A classifier one step at a time: what it believes after each token, or each step of a series."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from recurra.models.prediction import Prediction
from recurra.models.stepping import Steps
from recurra.nn.checks import check_token_ids
from recurra.nn.plain import evaluating

if TYPE_CHECKING:
    from recurra.models.classifier import Classifier


class ClassifierStream:
    """A classifier step by step, without gradients or dropout: `model.stream()`.

    Called with one step it returns the probabilities of the classes after it and keeps the state.
    """

    def __init__(self, model: "Classifier", batch_size: int = 1) -> None:
        if model.recurrent.bidirectional:
            raise ValueError(
                f"{type(model).__name__}.stream: expected a one-way model, got bidirectional=True, "
                f"which reads from the end too and believes nothing before it is there. Use "
                f"predict, or a model with bidirectional=False."
            )
        self._read_in = Steps(model)
        self.model = model
        self._pooling = model.pooling.running()
        self._pairs = None if model.pairs is None else model.pairs.running()
        self._layer = model.recurrent.stream(batch_size)

    def reset(self) -> None:
        """Begin new sequences."""
        self._layer.reset()
        self._read_in.reset()
        self._pooling.reset()
        if self._pairs is not None:
            self._pairs.reset()

    def __call__(
        self, x_t: Tensor, *, pieces: Tensor | None = None
    ) -> Float[Tensor, "batch classes"]:
        """The probabilities after this step, [B, K].

        Args:
            x_t: token ids [B], or unscaled values [B, I].
            pieces: [B, C], how the words are spelled; only for a model with subwords.
        """
        model = self.model
        x_t = self._read_in.read(x_t)
        with evaluating(model), torch.no_grad():
            x, spelled, _ = model._arranged(
                x_t.unsqueeze(0 if not model.batch_first else 1),
                None if pieces is None else pieces.unsqueeze(0 if not model.batch_first else 1),
            )
            if model.embedding is None:
                vectors = model._read_steps(x)[0]
            else:
                check_token_ids(type(model).__name__, x, model.vocab_size or 0)
                vectors = model._vectors(x[0], None if spelled is None else spelled[0])
            pooled = self._pooling(self._layer(vectors))
            if self._pairs is not None:
                pooled = torch.cat([pooled, self._pairs(x[0])], dim=-1)
            return model.decoder(pooled).softmax(dim=-1)

    def read(self, text: str) -> Iterator[tuple[str, Prediction]]:
        """Each token of a text, and what the model says after it; goes on where it stands."""
        model = self.model
        ids, _, pieces = model.encode([text])
        for step, token_id in enumerate(ids[:, 0]):
            spelled = None if pieces is None else pieces[step]
            probabilities = self(token_id[None], pieces=spelled)
            assert model.vocabulary is not None
            token = model.vocabulary.decode([int(token_id)])
            yield token, model._prediction(probabilities[0])
