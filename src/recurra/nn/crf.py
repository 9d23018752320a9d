"""A linear-chain conditional random field: the probability of a whole sequence of labels.

Its forward algorithm is a recurrence in the log semiring, where a sum of products is the logarithm
of a sum of exponentials of sums. So it is a cell, compiled as any other.

Letters: T time, B batch, K labels.

Source: Lafferty, McCallum, Pereira (2001), "Conditional Random Fields", ICML; above recurrent
layers as Huang, Xu, Yu (2015), arXiv:1508.01991.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from recurra.errors import argument
from recurra.lang import cell, detach, exp, expand, log, max, outer, sum
from recurra.nn.recurrent import Recurrent

FORBIDDEN = -1e12  # the score of what cannot be, in float64, which keeps 1e-4 of others beside it


@cell(sizes={"x": "H", "A": ("H", "H")})
def crf_forward(x, h, A):
    """h[j] is the logarithm of the sum, over all paths to label j, of the exponentials of their
    scores; A[j, i] that of label j behind label i."""
    S = outer(expand(1.0, "H"), h) + A
    most = detach(max(S))  # of each row, which the result does not depend on: nothing overflows
    return x + most + log(sum(exp(S - outer(most, 1))))


class CRF(nn.Module):
    """Scores of labels behind one another, and of those that begin and end a sequence.

    Args:
        num_labels: K.
        backend: what runs the forward algorithm; see `Recurrent`.
    Attributes:
        first, last: [K], the scores of a label at the start and at the end.
    """

    def __init__(
        self,
        num_labels: int,
        *,
        backend: str = "auto",
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        self.num_labels = num_labels
        self.first = nn.Parameter(torch.empty(num_labels, dtype=dtype, device=device))
        self.last = nn.Parameter(torch.empty(num_labels, dtype=dtype, device=device))
        self.forward_algorithm = Recurrent(
            crf_forward, num_labels, num_labels, backend=backend, dtype=dtype, device=device
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Every sequence of labels scores alike."""
        for parameter in self.parameters():
            nn.init.zeros_(parameter)

    @property
    def transitions(self) -> Tensor:
        """[K, K], the score of label j (row) behind label i (column)."""
        return self.forward_algorithm.get_parameter("A_l0")

    def log_partition(
        self, scores: Float[Tensor, "time batch labels"], lengths: Int64[Tensor, " batch"]
    ) -> Float[Tensor, " batch"]:
        """The logarithm of the sum, over all sequences of labels, of the exponentials of their
        scores.

        Args:
            scores: [T, B, K], of each label at each step.
            lengths: [B] in 1..T.
        """
        start = scores[0] + self.first
        _, ends = self.forward_algorithm(scores[1:], start.unsqueeze(0), lengths=lengths - 1)
        return (ends.squeeze(0) + self.last).logsumexp(dim=-1)

    def score(
        self,
        scores: Float[Tensor, "time batch labels"],
        labels: Int64[Tensor, "time batch"],
        lengths: Int64[Tensor, " batch"],
    ) -> Float[Tensor, " batch"]:
        """The score of one sequence of labels each; labels past the lengths are not looked at."""
        T, B = labels.shape
        steps = torch.arange(T, dtype=torch.int64, device=scores.device)[:, None]
        is_there = steps < lengths
        labels = labels.masked_fill(~is_there, 0)
        own = scores.gather(-1, labels[..., None]).squeeze(-1).where(is_there, 0)
        moves = self.transitions[labels[1:], labels[:-1]].where(is_there[1:], 0)
        each = torch.arange(B, dtype=torch.int64, device=scores.device)
        ends = self.first[labels[0]] + self.last[labels[lengths - 1, each]]
        return own.sum(0) + moves.sum(0) + ends

    def nll(
        self,
        scores: Float[Tensor, "time batch labels"],
        labels: Int64[Tensor, "time batch"],
        lengths: Int64[Tensor, " batch"],
    ) -> Float[Tensor, " batch"]:
        """The negative logarithm of the probability of each sequence of labels, in nats."""
        return self.log_partition(scores, lengths) - self.score(scores, labels, lengths)


class Allowed:
    """Which labels may begin, end and follow one another.

    Attributes:
        first, last: [K], whether a label may begin and end a sequence.
        behind: [K, K], whether label j (row) may stand behind label i (column).
    """

    def __init__(
        self,
        first: Bool[Tensor, " labels"],
        last: Bool[Tensor, " labels"],
        behind: Bool[Tensor, "labels labels"],
    ) -> None:
        self.first, self.last, self.behind = first, last, behind

    @classmethod
    def bio(cls, labels: Sequence[str]) -> "Allowed":
        """What labels of spans allow: I-x stands behind B-x or I-x alone; with E- and S- as well,
        as in BIOES, a span that has begun ends by its E-.

        Raises:
            ValueError: when no label begins a span.

        Source: Ramshaw, Marcus (1995), "Text Chunking using Transformation-Based Learning",
        arXiv:cmp-lg/9505040.
        """
        parts = [label.partition("-") for label in labels]
        marks = [
            mark if dash else label for label, (mark, dash, _) in zip(labels, parts, strict=True)
        ]
        if not {"B", "S"} & {*marks}:
            raise ValueError(
                f"{argument('constrain=')}: expected labels of spans, which begin with B-, as bio "
                f"keeps to, got {', '.join(labels):.60}. Leave it out, or write the first label of "
                f"each span B-."
            )
        kinds = [kind for _, _, kind in parts]
        closes = any(mark in ("E", "S") for mark in marks)
        K = len(labels)
        behind = torch.ones(K, K, dtype=torch.bool, device="cpu")
        first, last = (torch.ones(K, dtype=torch.bool, device="cpu") for _ in range(2))
        for j in range(K):
            goes_on = marks[j] in ("I", "E")
            first[j] = not goes_on
            last[j] = not (closes and marks[j] in ("B", "I"))
            for i in range(K):
                is_open = marks[i] in ("B", "I")
                if goes_on:
                    behind[j, i] = is_open and kinds[i] == kinds[j]
                elif closes and is_open:
                    behind[j, i] = False
        return cls(first, last, behind)


class Chain:
    """Scores of labels that begin, end and follow one another, to find best sequences by.

    Attributes:
        first, last: [K] float64.
        behind: [K, K] float64, of label j (row) behind label i (column).
    """

    def __init__(
        self, num_labels: int, *, crf: CRF | None = None, allowed: Allowed | None = None
    ) -> None:
        """Those of a CRF; none, and so all alike, without one.

        Args:
            num_labels: K.
            crf: whose scores are taken.
            allowed: which labels may stand where; None allows all.
        """
        like = torch.zeros(num_labels, dtype=torch.float64, device="cpu")
        self.first, self.last, self.behind = like, like, like.expand(num_labels, -1)
        if crf is not None:
            own = (crf.first, crf.last, crf.transitions)
            self.first, self.last, self.behind = (each.detach().double() for each in own)
        if allowed is not None:
            may = (allowed.first, allowed.last, allowed.behind)
            self.first, self.last, self.behind = (
                each.masked_fill(~mask.to(each.device), FORBIDDEN)
                for each, mask in zip((self.first, self.last, self.behind), may, strict=True)
            )

    def best_path(
        self,
        scores: Float[Tensor, "time batch labels"],
        lengths: Int64[Tensor, " batch"] | None = None,
        *,
        before: Int64[Tensor, " batch"] | None = None,
        ends: bool = True,
    ) -> Int64[Tensor, "time batch"]:
        """The sequences of labels of the highest scores, by Viterbi's algorithm.

        Args:
            scores: [T, B, K], of each label at each step.
            lengths: [B] in 0..T; None means all T.
            before: [B], the label before the first step; None: sequences begin there.
            ends: whether sequences end behind the last step.
        Returns:
            [T, B], 0 past the lengths.
        """
        T, B, K = scores.shape
        scores = scores.detach().double()
        device = scores.device
        if not T:
            return torch.zeros(T, B, dtype=torch.int64, device=device)
        first, last, behind = (v.to(device) for v in (self.first, self.last, self.behind))
        if lengths is None:
            lengths = torch.full((B,), T, dtype=torch.int64, device=device)
        best = scores[0] + (first if before is None else behind.T[before])
        came_from = torch.zeros(T, B, K, dtype=torch.int64, device=device)
        for step in range(1, T):
            value, came_from[step] = (best[:, None, :] + behind).max(dim=-1)
            best = torch.where((step < lengths)[:, None], value + scores[step], best)
        label = (best + last if ends else best).argmax(dim=-1)
        path = torch.zeros(T, B, dtype=torch.int64, device=device)
        for step in range(T - 1, -1, -1):
            inside = step < lengths
            path[step] = torch.where(inside, label, 0)
            back = came_from[step].gather(-1, label[:, None]).squeeze(-1)
            label = torch.where(inside & (step > 0), back, label)
        return path
