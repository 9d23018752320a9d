"""How far back a model looks: the loss with so much context, the gradient by lag, time constants.

Letters: T time, B batch, P places in a text, I features of an input, H units, N contexts.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from recurra.errors import DataError
from recurra.models import Classifier, LanguageModel, Tagger
from recurra.models.language_model import token_losses
from recurra.nn.plain import evaluating

CONTEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
_PLACES = 512
_TOKENS_AT_ONCE = 65_536
_CLOSE = 0.01  # nats: a context that is this close to the longest is all that counts


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextLoss:
    """The loss on the same tokens, with so many steps read before each.

    Attributes:
        contexts: [N] steps that were read since the state was the first one; growing.
        losses: [N, P] the loss at each place, in nats.
        unit: what a step is.
    """

    contexts: tuple[int, ...]
    losses: np.ndarray
    unit: str = "tokens"

    @property
    def nll(self) -> np.ndarray:
        """[N] the mean loss with each context, in nats a place."""
        return self.losses.mean(axis=1)

    @property
    def error(self) -> np.ndarray:
        """[N] the standard error of how much worse each is than the longest context, place by
        place."""
        return (self.losses - self.losses[-1]).std(axis=1) / np.sqrt(self.losses.shape[1])

    @property
    def reach(self) -> int:
        """The least context whose loss is within 0.01 nats of that with the longest."""
        is_close = self.nll <= self.nll[-1] + _CLOSE
        return next(n for n, each in zip(self.contexts, is_close, strict=True) if each)


@dataclass(frozen=True, slots=True, kw_only=True)
class Saliency:
    """How much the loss at a step depends on what was read so many steps before.

    Attributes:
        norms: [T, P] Euclidean norm of d loss_t / d x_{t-lag} by lag from 0, at each place; nan
            where a sequence has no such step.
        unit: what a step is.
    """

    norms: np.ndarray
    unit: str = "tokens"

    @property
    def by_lag(self) -> np.ndarray:
        """[T] the mean over the places."""
        return np.nanmean(self.norms, axis=1)

    @property
    def half(self) -> int:
        """The least lag within which half of all saliency lies."""
        share = np.cumsum(self.by_lag) / self.by_lag.sum()
        return int(np.searchsorted(share, 0.5))


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeConstants:
    """How long units keep what they hold, by their forget gates.

    Attributes:
        gate: its name in the equations.
        steps: [H] after how many steps 1/e of a unit's content is left: -1 / mean log f.
    """

    gate: str
    steps: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class Paths:
    """The additive path of a cell beside what it shows: how either changes through time.

    Attributes:
        names: of the two, such as "c" and "h".
        kept: [T, H] the state that is added to; shown: [T, H] what comes of it.
        kept_persistence, shown_persistence: [H] correlation of a unit with itself a step before.
    """

    names: tuple[str, str]
    kept: np.ndarray
    shown: np.ndarray
    kept_persistence: np.ndarray
    shown_persistence: np.ndarray


# ---- the loss with so much context ---------------------------------------------------------------


def context_loss(
    losses: Callable[[int], Tensor], contexts: Sequence[int] = CONTEXTS, *, unit: str = "tokens"
) -> ContextLoss:
    """The losses [P] that a function gives for each number of steps of context.

    Raises:
        ValueError: when contexts do not grow from 1 or more.
    """
    contexts = tuple(contexts)
    if not contexts or contexts[0] < 1 or list(contexts) != sorted(set(contexts)):
        raise ValueError(
            f"contexts: expected numbers of steps that grow, the first 1 or more, got "
            f"{list(contexts)}. Sort them, each once."
        )
    rows = [losses(n).detach().double().cpu().numpy() for n in contexts]
    return ContextLoss(contexts=contexts, losses=np.stack(rows), unit=unit)


def language_context(
    model: LanguageModel,
    ids: np.ndarray | Tensor,
    *,
    contexts: Sequence[int] = CONTEXTS,
    places: int = _PLACES,
    seed: int = 0,
) -> ContextLoss:
    """The loss of a language model on the same tokens, its state reset n tokens before each.

    Args:
        ids: [T] token ids of a text.
        contexts: how many tokens are read before the one that is predicted; those that the text is
            too short for are left out.
        places: P, tokens that are predicted, spread over the text by `seed`.
    Raises:
        DataError: when the text is shorter than two contexts.
    Cost: P times the sum of contexts steps, forward.
    """
    ids = _whole(ids)
    contexts = [n for n in contexts if 2 * n <= len(ids)]
    at = _places(len(ids), max(contexts, default=0), places, seed)

    def losses(context: int) -> Tensor:
        found = []
        for some in at.split(max(1, _TOKENS_AT_ONCE // context)):
            window = ids[
                some[None, :] + torch.arange(-context, 0, dtype=torch.int64, device="cpu")[:, None]
            ]
            with evaluating(model), torch.no_grad():
                y = _last_logits(model, window)
            found.append(token_losses(y, ids[some].to(y.device), "none"))
        return torch.cat(found)

    return context_loss(losses, contexts)


def classifier_context(
    model: Classifier,
    x: Tensor,
    target: Tensor,
    lengths: Tensor | Sequence[int] | None = None,
    *,
    pieces: Tensor | None = None,
    contexts: Sequence[int] = CONTEXTS,
) -> ContextLoss:
    """The loss of a classifier that reads only the last n steps of each sequence.

    Args:
        x: [T, B] token ids or [T, B, I] series; target: [B] classes; lengths: [B].
        pieces: [T, B, C], how words are spelled, of a model that reads that.
        contexts: numbers of steps; those beyond the longest sequence are left out but for one.
    """
    lengths = _lengths(x, lengths)
    longest = int(lengths.max())
    shorter = [n for n in contexts if n < longest]

    def losses(context: int) -> Tensor:
        kept = lengths.clamp(max=context)
        steps = (
            torch.arange(int(kept.max()), dtype=torch.int64, device="cpu")[:, None]
            + (lengths - kept)[None, :]
        )
        which = torch.arange(x.shape[1], dtype=torch.int64, device=x.device)[None, :]
        window = steps.clamp(max=len(x) - 1).to(x.device), which
        spelled = None if pieces is None else pieces[window]
        with evaluating(model), torch.no_grad():
            return model.loss(x[window], target, kept, pieces=spelled, reduction="none")

    return context_loss(losses, [*shorter, longest], unit="steps")


def tagger_context(
    model: Tagger,
    x: Tensor,
    target: Tensor,
    lengths: Tensor | Sequence[int] | None = None,
    *,
    pieces: Tensor | None = None,
    contexts: Sequence[int] = CONTEXTS,
    places: int = _PLACES,
    seed: int = 0,
) -> ContextLoss:
    """The loss of a tagger at the same steps, its state reset n steps before each.

    What follows a step is read as always: all of it by a model of both directions, as far as it
    looks ahead by others.

    Args:
        x: [T, B] token ids or [T, B, I] series; target: [T, B] labels, -1 or less where unknown.
        pieces: [T, B, C], how words are spelled, of a model that reads that.
        places: steps of all sequences that are looked at, chosen by `seed`.
    Raises:
        DataError: when no step has a label.
    """
    lengths = _lengths(x, lengths)
    steps = torch.arange(len(x), dtype=torch.int64, device="cpu")[:, None]
    has_label = (target >= 0) & (steps < lengths[None, :]).to(target.device)
    rows = has_label.nonzero()
    if len(rows) == 0:
        raise DataError("tagger_context: expected labels of some steps, got none. Give others.")
    order = np.random.default_rng(seed).permutation(len(rows))[:places]
    rows = rows[torch.from_numpy(order)]
    after = len(x) if model.recurrent.bidirectional else model.delay + 1
    longest = int(rows[:, 0].max()) + 1
    contexts = [*(n for n in contexts if n < longest), longest]

    def losses(context: int) -> Tensor:
        return torch.cat([
            _tag_losses(model, x, target, lengths, pieces, some, context, after)
            for some in rows.split(256)
        ])  # fmt: skip

    return context_loss(losses, contexts, unit="steps")


def _tag_losses(
    model: Tagger,
    x: Tensor,
    target: Tensor,
    lengths: Tensor,
    pieces: Tensor | None,
    rows: Tensor,
    context: int,
    after: int,
) -> Tensor:
    """The losses at the steps `rows` [P, 2], of sequences that begin `context` steps before."""
    at, which = rows[:, 0], rows[:, 1]
    first = (at - context + 1).clamp(min=0)
    stop = torch.minimum(at + after, lengths.to(at.device)[which])
    counts = stop - first
    steps = (
        first[None, :]
        + torch.arange(int(counts.max()), dtype=torch.int64, device=at.device)[:, None]
    )
    window = steps.clamp(max=len(x) - 1), which[None, :].expand_as(steps)
    spelled = None if pieces is None else pieces[window]
    with evaluating(model), torch.no_grad():
        logits = model(x[window], counts, pieces=spelled)
    chosen = logits[at - first, torch.arange(len(at), dtype=torch.int64, device=at.device)]
    return functional.cross_entropy(chosen.float(), target[at, which], reduction="none")


# ---- the gradient by lag -------------------------------------------------------------------------


def saliency_by_lag(
    layer: nn.Module,
    losses: Callable[[], Tensor],
    *,
    lengths: Tensor | None = None,
    unit: str = "steps",
) -> Saliency:
    """The norm of d loss_t / d x_{t-lag}, with t the last step of each sequence, in one pass back.

    Args:
        layer: the recurrent layer whose input x [T, B, I] is meant; it is called once, time first.
        losses: runs the model and gives the loss [B] at the last step of each sequence; each must
            depend on its own sequence alone.
        lengths: [B] true steps of each; None: all T.
        unit: what a step is.
    Returns:
        norms [T, B], by lag, T the steps of the longest sequence.
    """
    with _inputs_kept(layer) as kept:
        total = losses().sum()
    if len(kept) != 1:
        raise ValueError(
            f"saliency_by_lag: expected losses() to call the layer once, got {len(kept)} calls. "
            f"Give the layer that reads the sequences."
        )
    (gradient,) = torch.autograd.grad(total, kept)
    norms = gradient.detach().double().norm(dim=-1).cpu()  # [T, B]
    T, B = norms.shape
    counts = (
        torch.full((B,), T, dtype=torch.int64, device="cpu") if lengths is None else lengths.cpu()
    )
    lags = torch.arange(int(counts.max()), dtype=torch.int64, device="cpu")
    lag = lags[:, None].expand(-1, B)
    step = counts[None, :] - 1 - lag
    found = norms.gather(0, step.clamp(min=0))
    found[step < 0] = torch.nan
    return Saliency(norms=found.numpy(), unit=unit)


def language_saliency(
    model: LanguageModel,
    ids: np.ndarray | Tensor,
    *,
    length: int = 200,
    places: int = 64,
    seed: int = 0,
) -> Saliency:
    """Of a language model: how the loss at a token depends on the vectors of those before it.

    Args:
        ids: [T] token ids of a text.
        length: lags that are looked at, fewer in a short text.
        places: tokens that are predicted, spread over the text by `seed`.
    Raises:
        DataError: when the text has fewer than 4 tokens.
    """
    ids = _whole(ids)
    length = min(length, len(ids) // 2)
    at = _places(len(ids), length, places, seed)
    window = ids[at[None, :] + torch.arange(-length, 0, dtype=torch.int64, device="cpu")[:, None]]

    def losses() -> Tensor:
        y = _last_logits(model, window)
        return token_losses(y, ids[at].to(y.device), "none")

    with evaluating(model):
        return saliency_by_lag(model.recurrent, losses, unit="tokens")


def classifier_saliency(
    model: Classifier,
    x: Tensor,
    target: Tensor,
    lengths: Tensor | Sequence[int] | None = None,
    *,
    pieces: Tensor | None = None,
) -> Saliency:
    """Of a classifier: how the loss depends on each step, counted back from the sequence's end.

    Args:
        x, target, lengths, pieces: as for `classifier_context`.
    """
    counts = _lengths(x, lengths)
    with evaluating(model):
        return saliency_by_lag(
            model.recurrent,
            lambda: model.loss(x, target, counts, pieces=pieces, reduction="none"),
            lengths=counts,
        )


@contextmanager
def _inputs_kept(layer: nn.Module) -> Iterator[list[Tensor]]:
    """Vectors that a layer reads become leaves of the graph; of token ids, their own vectors."""
    kept: list[Tensor] = []

    def before(_: nn.Module, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        x, table = args[0], options.pop("embedding", None)
        vectors = (x if table is None else functional.embedding(x, table)).detach()
        kept.append(vectors.requires_grad_())
        return (kept[-1], *args[1:]), options

    hook = layer.register_forward_pre_hook(before, with_kwargs=True)
    try:
        with torch.enable_grad():
            yield kept
    finally:
        hook.remove()


# ---- what the gates say --------------------------------------------------------------------------


def time_constants(gate: str, values: np.ndarray) -> TimeConstants:
    """After how many steps 1/e of what a unit holds is left, by its forget gate.

    c_t keeps prod f of what was there, so with a mean log f over all steps the content falls by e
    in -1 / mean(log f) of them.

    Args:
        gate: its name in the equations: "f" of the LSTM, "z" of the GRU here, which keeps z of h.
        values: [..., H] traced values, in 0..1.
    Raises:
        ValueError: when values are outside 0..1: they are no gate's.
    """
    if values.size == 0 or values.min() < 0.0 or values.max() > 1.0:
        raise ValueError(
            f"time_constants: expected values of a gate, in 0..1, got {gate!r} of shape "
            f"{list(values.shape)}"
            + (f" in {values.min():.3g}..{values.max():.3g}" if values.size else "")
            + ". Name a gate that says what is kept."
        )
    rows = values.reshape(-1, values.shape[-1]).astype(np.float64)
    logs = np.log(np.clip(rows, 1e-12, 1.0 - 1e-9)).mean(axis=0)
    return TimeConstants(gate=gate, steps=-1.0 / logs)


def paths(kept: np.ndarray, shown: np.ndarray, names: tuple[str, str] = ("c", "h")) -> Paths:
    """The additive path of a cell, [T, H], beside what it shows at each step, [T, H]; its units in
    the order of how long the path holds them, longest first."""
    persistence = _persistence(kept)
    order = np.argsort(-persistence, kind="stable")
    return Paths(
        names=names,
        kept=kept[:, order],
        shown=shown[:, order],
        kept_persistence=persistence[order],
        shown_persistence=_persistence(shown)[order],
    )


def _persistence(values: np.ndarray) -> np.ndarray:
    """[H] the correlation of each unit with itself a step before; 1 of what never changes."""
    wide = values.astype(np.float64)
    before, after = wide[:-1], wide[1:]
    before, after = before - before.mean(axis=0), after - after.mean(axis=0)
    scale = np.sqrt((before**2).sum(axis=0) * (after**2).sum(axis=0))
    product = (before * after).sum(axis=0)
    return np.divide(product, scale, out=np.ones_like(scale), where=scale > 1e-12)


# ---- helpers -------------------------------------------------------------------------------------


def _whole(ids: np.ndarray | Tensor) -> Tensor:
    found = ids if isinstance(ids, Tensor) else torch.from_numpy(np.asarray(ids, dtype=np.int64))
    return found.long().cpu()


def _places(length: int, context: int, places: int, seed: int) -> Tensor:
    """Places of a text with so much before them, in order."""
    if length < 4 or context < 1:
        raise DataError(
            f"ids: expected a text of at least 4 tokens, got {length}. Give a longer one."
        )
    possible = length - context
    chosen = np.random.default_rng(seed).permutation(possible)[:places] + context
    return torch.from_numpy(np.sort(chosen))


def _last_logits(model: LanguageModel, window: Tensor) -> Tensor:
    """The logits [B, V] after the last token of [T, B] ids."""
    window = window.to(next(model.parameters()).device)
    logits, _ = model.read(window.T if model.batch_first else window)
    return logits[:, -1] if model.batch_first else logits[-1]


def _lengths(x: Tensor, lengths: Tensor | Sequence[int] | None) -> Tensor:
    if lengths is None:
        return torch.full((x.shape[1],), len(x), dtype=torch.int64, device="cpu")
    return torch.as_tensor(lengths, dtype=torch.int64, device="cpu")
