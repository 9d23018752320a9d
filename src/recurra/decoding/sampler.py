"""How a token is drawn from the scores of a model: temperature, top-k, top-p."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

# Smaller temperatures give the same probabilities, and their reciprocal overflows float32.
_MIN_TEMPERATURE = 1e-30


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampler:
    """Turns scores into probabilities, and probabilities into a token.

    p = softmax(logits / temperature) of the tokens that may be drawn, of which the top_k largest
    are kept, and of these the fewest whose share adds up to top_p; what is kept is scaled to add
    up to 1. Of equal scores at the border the lower id is kept.

    Args:
        temperature: 1 is the model's own distribution, less is more certain, more is more
            varied; 0 takes the highest score always, of equal ones the lowest id.
        top_k: keep only so many of the likeliest tokens; None keeps all.
        top_p: keep only the likeliest tokens that make up this share, in (0, 1]; None keeps all.
        forbid: ids that are never drawn, before anything else is chosen.
    Raises:
        ValueError: when an argument is out of its range.
    Source: top-p is nucleus sampling, Holtzman et al. (2020), arXiv:1904.09751.
    """

    temperature: float | int = 1.0
    top_k: int | None = None
    top_p: float | int | None = None
    forbid: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise ValueError(
                f"temperature: expected a finite number, 0 or more, got {self.temperature}. "
                "Use 1.0 for the model's own distribution, 0 for the likeliest token."
            )
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(
                f"top_k: expected at least 1, got {self.top_k}. Leave it out to keep all tokens."
            )
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(
                f"top_p: expected more than 0 and at most 1, got {self.top_p}. "
                "Leave it out to keep all tokens."
            )
        if any(token_id < 0 for token_id in self.forbid):
            raise ValueError(
                f"forbid: expected token ids, 0 or more, got {self.forbid}. Leave others out."
            )

    def probabilities(self, logits: Float[Tensor, "*batch vocab"]) -> Float[Tensor, "*batch vocab"]:
        """The probability of each token to be drawn, in float32 or wider.

        Args:
            logits: [..., V] unnormalised scores; -inf rules a token out.
        Raises:
            ValueError: when a score is NaN or +inf, all of a row are -inf, or all tokens are
                forbidden.
        """
        weights = self._weights(logits)
        shares = weights / weights.sum(dim=-1, keepdim=True)
        return shares if logits.dtype == torch.float64 else shares.float()

    def _weights(self, logits: Tensor) -> Tensor:
        """The probabilities times a number for each row, in float64."""
        scores = _checked(self._allowed(logits))
        if self.temperature == 0:
            first = scores.argmax(dim=-1, keepdim=True)
            return torch.zeros_like(scores, dtype=torch.float64).scatter(-1, first, 1.0)
        # The best score becomes 0 before the division, so that nothing overflows upwards.
        best = scores.amax(dim=-1, keepdim=True)
        weights = ((scores - best) / self.divisor).exp().double()
        if self.top_k is None and self.top_p is None:
            return weights
        ids = scores.sort(dim=-1, descending=True, stable=True).indices
        ordered = weights.gather(-1, ids)
        if self.top_k is not None:
            ordered[..., self.top_k :] = 0
        if self.top_p is not None:
            likelier = ordered.cumsum(dim=-1) - ordered  # of the tokens before this one
            enough = self.top_p * ordered.sum(dim=-1, keepdim=True)
            ordered = ordered.masked_fill(likelier >= enough, 0)
        return torch.zeros_like(weights).scatter(-1, ids, ordered)

    def _allowed(self, logits: Tensor) -> Tensor:
        """The scores with -inf for the tokens that are never drawn."""
        if not self.forbid:
            return logits
        vocab_size = logits.shape[-1]
        if max(self.forbid) >= vocab_size or len(set(self.forbid)) == vocab_size:
            raise ValueError(
                f"forbid: expected ids of 0..{vocab_size - 1} that leave a token to draw, got "
                f"{self.forbid}. Forbid fewer, of the model's own vocabulary."
            )
        ids = torch.tensor(self.forbid, dtype=torch.int64, device=logits.device)
        return logits.index_fill(-1, ids, -math.inf)

    @property
    def divisor(self) -> float:
        """What scores are divided by; 0 stands for the highest score alone."""
        return max(float(self.temperature), _MIN_TEMPERATURE) if self.temperature else 0.0

    def draw(
        self, logits: Float[Tensor, "*batch vocab"], generator: torch.Generator | None = None
    ) -> Int64[Tensor, "*batch"]:
        """One token for each row of scores.

        Args:
            logits: [..., V] unnormalised scores.
            generator: its state decides the draw and moves on; None takes torch's global one.
                Sampling runs on its device, so a CPU generator draws the same on any machine.
        Returns:
            ids: [...], on the device of the logits.
        Raises:
            ValueError: as `probabilities`.
        """
        if self.temperature == 0:
            return _checked(self._allowed(logits)).argmax(dim=-1)
        device = logits.device if generator is None else generator.device
        uniforms = torch.rand(
            logits.shape[:-1], generator=generator, dtype=torch.float64, device=device
        )
        return self.pick(logits, uniforms)

    def pick(
        self, logits: Float[Tensor, "*batch vocab"], uniforms: Float64[Tensor, "*batch"]
    ) -> Int64[Tensor, "*batch"]:
        """The token that a uniform number in [0, 1) chooses, for each row of scores.

        It is the first whose probability and those of the ids before it add up to more than the
        number.

        Args:
            logits: [..., V] unnormalised scores.
            uniforms: [...], on the device that is to choose.
        Returns:
            ids: [...], on the device of the logits.
        Raises:
            ValueError: as `probabilities`.
        """
        sums = self._weights(logits.to(uniforms.device)).cumsum(dim=-1)
        wanted = uniforms.unsqueeze(-1) * sums[..., -1:]
        return (sums <= wanted).sum(dim=-1).to(logits.device)


def check_largest(largest: float) -> None:
    """Raise ValueError unless the largest of a row of scores is finite."""
    if not math.isfinite(largest):
        raise ValueError(
            f"logits: expected finite scores, or -inf for some tokens, got a row whose largest "
            f"is {largest}. The model's weights or its state are not finite: use an earlier "
            f"checkpoint."
        )


def _checked(logits: Tensor) -> Tensor:
    """The scores in float32 or wider, once it is sure that each row has a largest one."""
    if logits.ndim == 0 or logits.shape[-1] == 0:
        raise ValueError(
            f"logits: expected [..., V] with V at least 1, got shape {tuple(logits.shape)}. "
            "Pass the scores of at least one token."
        )
    scores = logits.float() if logits.dtype.itemsize < 4 else logits
    best = scores.amax(dim=-1)  # NaN if any score is
    if not torch.isfinite(best).all():
        check_largest(best[~torch.isfinite(best)][0].item())
    return scores
