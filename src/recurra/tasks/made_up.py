"""Made-up sequence problems that need memory, by the recipes of the papers that set them.

Every batch is drawn anew from a generator, so there is no training set to overfit: what a problem
measures is whether a cell can carry what it has read over the distance. Letters: T time, B batch.
"""

import math
import random
import string
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Generator, Tensor
from torch.nn import functional

from recurra.tasks.problem_options import (
    AddingSettings,
    ArithmeticSettings,
    CopyingSettings,
    FlipFlopSettings,
    NestingSettings,
    ProblemSettings,
    TemporalOrderSettings,
)

Part = Literal["val", "test"]

_DRAWN_BATCHES = 8  # that each held-out part has
_SEEDS = {"val": 1_000_003, "test": 2_000_003}  # of their sequences


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Sequences and what is wanted of them.

    Attributes:
        x: [T, B, I] features, or [T, B] int64 tokens.
        target: [B, O] numbers or [B] classes, wanted at the end; [T, B] tokens, or [T, B, O]
            numbers, at each step.
        weight: [T, B], how much each step counts; None where the end is what counts.
        lengths: [B], steps of each sequence; None means all T.
    """

    x: Tensor
    target: Tensor
    weight: Tensor | None = None
    lengths: Tensor | None = None

    @property
    def count(self) -> float:
        """How much the batch counts in a mean over batches: its answers."""
        return float(self.x.shape[1] if self.weight is None else self.weight.sum())

    def to(self, like: Tensor) -> "Batch":
        """The same where a tensor is, its numbers (not its tokens) of the dtype of that."""

        def moved(tensor: Tensor | None) -> Any:
            if tensor is None:
                return None
            return tensor.to(like) if tensor.is_floating_point() else tensor.to(like.device)

        return Batch(
            x=moved(self.x),
            target=moved(self.target),
            weight=moved(self.weight),
            lengths=moved(self.lengths),
        )

    def share(self, rank: int, world_size: int) -> "Batch":
        """Every W-th sequence from the rank on."""
        own = slice(rank, None, world_size)
        return Batch(
            x=self.x[:, own],
            target=self.target[own] if self.weight is None else self.target[:, own],
            weight=None if self.weight is None else self.weight[:, own],
            lengths=None if self.lengths is None else self.lengths[own],
        )


class Problem(ProblemSettings, ABC):
    """What a cell is tried on.

    Attributes:
        input_size: features, or the number of tokens.
        output_size: what the read-out gives.
        reads_tokens: whether the input is tokens.
        measure: what `score` is; less is better.
        loss_name: what `loss` is.
        baseline: the score of the best answer that remembers nothing.
        solved: the score down to which the literature calls the problem solved.
    """

    __slots__ = ()

    input_size: int
    output_size: int
    reads_tokens: bool
    measure: str
    loss_name: str
    baseline: float
    solved: float

    @property
    def digest(self) -> None:
        """Of the user's data that it reads: it draws its own."""
        return

    @abstractmethod
    def batch(self, size: int, generator: Generator) -> Batch:
        """`size` sequences to train on."""

    def held_out(self, part: Part, size: int) -> Iterator[Batch]:
        """The sequences of a part that is not trained on, each once, `size` at a time.

        "val" is for choosing, such as when to stop, "test" for what is reported. Both are drawn,
        each from a seed of its own that no trial has.
        """
        for i in range(_DRAWN_BATCHES):
            yield self.batch(size, torch.Generator().manual_seed(_SEEDS[part] + i))

    @abstractmethod
    def loss(self, y: Tensor, batch: Batch) -> Tensor:
        """What is minimised, of the read-out [T, B, O] or, at the end, [B, O]."""

    @property
    def at_each_step(self) -> bool:
        """Whether the read-out is wanted at each step, not at the end."""
        return False

    def score(self, y: Tensor, batch: Batch) -> float:
        """The measure on a batch: by default the loss."""
        return float(self.loss(y.detach(), batch))


class TokenProblem(Problem):
    """A problem whose answers are tokens at some of the steps."""

    __slots__ = ()

    reads_tokens = True
    measure = loss_name = "nll"

    @property
    def at_each_step(self) -> bool:
        """The read-out predicts a token at each step."""
        return True

    def loss(self, y: Tensor, batch: Batch) -> Tensor:
        """Nats a token, over the steps that count."""
        assert batch.weight is not None
        nll = functional.cross_entropy(
            y.flatten(0, 1), batch.target.flatten(), reduction="none"
        ).view_as(batch.weight)
        return (nll * batch.weight).sum() / batch.weight.sum()


@dataclass(frozen=True, slots=True, kw_only=True)
class Adding(AddingSettings, Problem):
    """Add the two numbers of a sequence that are marked.

    Source: Hochreiter, Schmidhuber (1997), "Long Short-Term Memory", Neural Computation 9(8),
    experiment 4, in the form of Le, Jaitly, Hinton (2015), arXiv:1504.00941, section 4.1: numbers
    in 0..1, one mark in each half.
    """

    input_size = 2
    output_size = 1
    reads_tokens = False
    measure = loss_name = "mse"
    baseline = 1 / 6  # the variance of a sum of two numbers, which is what guessing 1 leaves
    solved = 1e-3

    def batch(self, size: int, generator: Generator) -> Batch:
        """x [T, B, 2]: numbers and marks."""
        numbers = torch.rand(
            self.steps, size, generator=generator, dtype=torch.float32, device="cpu"
        )
        half = self.steps // 2
        first = torch.randint(half, (size,), generator=generator, dtype=torch.int64, device="cpu")
        second = torch.randint(
            half, self.steps, (size,), generator=generator, dtype=torch.int64, device="cpu"
        )
        each = torch.arange(size, dtype=torch.int64, device="cpu")
        marks = torch.zeros(self.steps, size, dtype=torch.float32, device="cpu")
        marks[first, each] = marks[second, each] = 1.0
        total = numbers[first, each] + numbers[second, each]
        return Batch(x=torch.stack([numbers, marks], dim=-1), target=total[:, None])

    def loss(self, y: Tensor, batch: Batch) -> Tensor:
        """The mean squared error."""
        return functional.mse_loss(y, batch.target)


@dataclass(frozen=True, slots=True, kw_only=True)
class Copying(CopyingSettings, TokenProblem):
    """Repeat the first symbols after a long pause.

    Source: Hochreiter, Schmidhuber (1997), in the form of Arjovsky, Shah, Bengio (2016), "Unitary
    Evolution Recurrent Neural Networks", ICML, arXiv:1511.06464, section 5.1: eight symbols, a
    blank and a signal; the loss counts all steps.
    """

    solved = 1e-3

    @property
    def input_size(self) -> int:  # type: ignore[override]
        """Symbols, the blank and the signal."""
        return self.alphabet + 2

    @property
    def output_size(self) -> int:  # type: ignore[override]
        """Symbols and the blank."""
        return self.alphabet + 1

    @property
    def baseline(self) -> float:  # type: ignore[override]
        """Blanks until the signal, then symbols drawn at random."""
        return self.symbols * math.log(self.alphabet) / (self.delay + 2 * self.symbols)

    def batch(self, size: int, generator: Generator) -> Batch:
        """x [delay + 2 symbols, B]."""
        blank, signal = self.alphabet, self.alphabet + 1
        shown = torch.randint(
            self.alphabet,
            (self.symbols, size),
            generator=generator,
            dtype=torch.int64,
            device="cpu",
        )
        x = torch.full(
            (self.delay + 2 * self.symbols, size), blank, dtype=torch.int64, device="cpu"
        )
        target = x.clone()
        x[: self.symbols] = shown
        x[self.symbols + self.delay - 1] = signal
        target[-self.symbols :] = shown
        return Batch(
            x=x, target=target, weight=torch.ones(x.shape, dtype=torch.float32, device="cpu")
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TemporalOrder(TemporalOrderSettings, Problem):
    """Tell in which order two symbols stood, far apart among distractors.

    Source: Hochreiter, Schmidhuber (1997), "Long Short-Term Memory", Neural Computation 9(8),
    experiment 6a: E, then a, b, c, d at random, X or Y at two places, then B; four classes.
    """

    input_size = 8
    output_size = 4
    reads_tokens = True
    measure = "error"
    loss_name = "nll"
    baseline = 0.75
    solved = 0.01

    def batch(self, size: int, generator: Generator) -> Batch:
        """x [longest, B] over E, B, a, b, c, d, X, Y."""
        start, end, first_distractor, first_symbol = 0, 1, 2, 6
        x = (
            torch.randint(
                4, (self.longest, size), generator=generator, dtype=torch.int64, device="cpu"
            )
            + first_distractor
        )
        lengths = torch.randint(
            self.shortest,
            self.longest + 1,
            (size,),
            generator=generator,
            dtype=torch.int64,
            device="cpu",
        )
        symbols = torch.randint(2, (2, size), generator=generator, dtype=torch.int64, device="cpu")
        each = torch.arange(size, dtype=torch.int64, device="cpu")
        for place, (low, high) in enumerate(((10, 20), (50, 60))):
            at = torch.randint(
                low, high + 1, (size,), generator=generator, dtype=torch.int64, device="cpu"
            )
            x[at * self.shortest // 100, each] = symbols[place] + first_symbol
        x[0] = start
        x[lengths - 1, each] = end
        return Batch(x=x, target=2 * symbols[0] + symbols[1], lengths=lengths)

    def loss(self, y: Tensor, batch: Batch) -> Tensor:
        """Nats a sequence."""
        return functional.cross_entropy(y, batch.target)

    def score(self, y: Tensor, batch: Batch) -> float:
        """The share of sequences that are classified wrong."""
        return float((y.argmax(-1) != batch.target).float().mean())


class _Written(TokenProblem):
    """A problem of characters, written by Python, one sequence after the other."""

    __slots__ = ()

    alphabet: str

    @property
    def input_size(self) -> int:  # type: ignore[override]
        """The characters that occur."""
        return len(self.alphabet)

    @property
    def output_size(self) -> int:  # type: ignore[override]
        """The same characters."""
        return len(self.alphabet)

    @abstractmethod
    def written(self, rng: random.Random) -> tuple[str, int]:
        """A sequence, and from which character on predictions count."""

    def batch(self, size: int, generator: Generator) -> Batch:
        """x [T, B], the characters but the last of each; the target is one ahead."""
        rng = random.Random(
            int(torch.randint(2**62, (), generator=generator, dtype=torch.int64, device="cpu"))
        )
        texts = [self.written(rng) for _ in range(size)]
        longest = max(len(text) for text, _ in texts)
        ids = torch.zeros(longest, size, dtype=torch.int64, device="cpu")
        weight = torch.zeros(longest, size, dtype=torch.float32, device="cpu")
        for b, (text, start) in enumerate(texts):
            ids[: len(text), b] = torch.tensor(
                [self.alphabet.index(c) for c in text], dtype=torch.int64, device="cpu"
            )
            weight[start : len(text), b] = 1.0
        return Batch(x=ids[:-1], target=ids[1:], weight=weight[1:])


@dataclass(frozen=True, slots=True, kw_only=True)
class Arithmetic(ArithmeticSettings, _Written):
    """Add or subtract two numbers that are written with letters strewn among their digits.

    Source: Jozefowicz, Zaremba, Sutskever (2015), "An Empirical Exploration of Recurrent Network
    Architectures", ICML, PMLR 37, section 3.5, "Arithmetic"; the characters of the answer count.
    """

    alphabet = string.digits + string.ascii_lowercase + "+-=."
    baseline = math.log(10)
    solved = 0.05

    def written(self, rng: random.Random) -> tuple[str, int]:
        """Such as 3e36d9-h1h39f94eeh43keg3c=-19. with the answer from the = on."""
        a, b = (rng.randrange(10 ** rng.randint(1, self.digits)) for _ in range(2))
        sign = rng.choice("+-")
        strewn = "".join(
            character + "".join(rng.choices(string.ascii_lowercase, k=rng.randint(0, self.letters)))
            for character in f"{a}{sign}{b}"
        )
        answer = a + b if sign == "+" else a - b
        return f"{strewn}={answer}.", len(strewn) + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Nesting(NestingSettings, _Written):
    """Close the tags that were opened, in the right order and by their names.

    Source: Jozefowicz, Zaremba, Sutskever (2015), "An Empirical Exploration of Recurrent Network
    Architectures", ICML, PMLR 37, section 3.5, "XML modeling".
    """

    alphabet = string.ascii_lowercase + "<>/"
    baseline = math.log(26)
    solved = 0.5

    def written(self, rng: random.Random) -> tuple[str, int]:
        """Such as <etdomp><pgs></pgs></etdomp>, cut at the length; every character counts."""
        opened: list[str] = []
        text = ""
        while len(text) < self.length:
            deepest = len(opened) >= self.depth
            if opened and (deepest or rng.random() < 0.5):
                text += f"</{opened.pop()}>"
            else:
                letters = rng.choices(string.ascii_lowercase, k=rng.randint(2, self.name))
                opened.append("".join(letters))
                text += f"<{opened[-1]}>"
        return text[: self.length], 1


@dataclass(frozen=True, slots=True, kw_only=True)
class FlipFlop(FlipFlopSettings, Problem):
    """Hold bits of -1 or 1, each until a pulse sets it anew.

    Source: Sussillo, Barak (2013), "Opening the Black Box: Low-Dimensional Dynamics in
    High-Dimensional Recurrent Neural Networks", Neural Computation 25(3), section 4.1. Difference:
    the first step sets every bit, so that what is wanted is known from there on.
    """

    reads_tokens = False
    measure = loss_name = "mse"
    solved = 1e-2

    @property
    def input_size(self) -> int:  # type: ignore[override]
        """A pulse, or 0, of each bit."""
        return self.bits

    @property
    def output_size(self) -> int:  # type: ignore[override]
        """The bits."""
        return self.bits

    @property
    def at_each_step(self) -> bool:
        """The bits are wanted at each step."""
        return True

    @property
    def baseline(self) -> float:  # type: ignore[override]
        """A bit is known where a pulse sets it, and 0 is said of the others, which errs by 1."""
        return (1 - 1 / self.every) * (self.steps - 1) / self.steps

    def batch(self, size: int, generator: Generator) -> Batch:
        """x [steps, B, bits]: pulses of -1 and 1, and 0."""
        shape = (self.steps, size, self.bits)
        signs = torch.randint(2, shape, generator=generator, dtype=torch.int64, device="cpu")
        is_set = (
            torch.randint(self.every, shape, generator=generator, dtype=torch.int64, device="cpu")
            == 0
        )
        is_set[0] = True
        steps = torch.arange(self.steps, dtype=torch.int64, device="cpu")[:, None, None]
        last = torch.where(is_set, steps, 0).cummax(0).values
        pulses = 2.0 * signs.float() - 1.0
        return Batch(
            x=torch.where(is_set, pulses, 0.0),
            target=pulses.gather(0, last),
            weight=torch.ones(shape[:2], dtype=torch.float32, device="cpu"),
        )

    def loss(self, y: Tensor, batch: Batch) -> Tensor:
        """The mean squared error of a bit."""
        return functional.mse_loss(y, batch.target)


PROBLEMS: dict[str, type[Problem]] = {
    each.problem: each for each in (Adding, Arithmetic, Copying, FlipFlop, Nesting, TemporalOrder)
}
