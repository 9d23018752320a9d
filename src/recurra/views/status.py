"""What is told of a run while it trains: figures, where it stands, samples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A number that a task reports.

    Attributes:
        name: of a column and a key, as in "nll".
        unit: in words, as in "nats a token".
        higher_is_better: its direction.
        is_discrete: whether it is a share of few examples, which comes out equal by chance: of
            equals the later model is kept.
        spec: how it is written, as format() takes it.
    """

    name: str
    unit: str = ""
    higher_is_better: bool = False
    is_discrete: bool = False
    spec: str = ".4f"


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Where a run stands, for those who look.

    Attributes:
        step: steps taken.
        total_steps: steps of the whole run; None where the clock ends it.
        epoch: passes over the training data, with a fraction.
        fraction: share of the run done, 0 to 1.
        train: the training loss since the last row, by the names it is quoted in; empty before the
            first step.
        val: figures of the last validation; empty before the first.
        figures: how each figure is written.
        counted: what speed is counted in.
        per_s: training speed since the last row.
        lr: learning rate.
        grad_norm: mean norm of the gradients before clipping.
        skipped: steps left out because a gradient was not finite.
        elapsed_s: seconds of training so far, resumed time included.
        seconds_left: an estimate; None when there is none yet.
        largest_grad_norm: the largest of these norms since the last row.
        clipped: share of the steps since the last row in which clipping changed a gradient.
        before: what is done before training, as in "flossing": steps, share and times are of that.
    """

    step: int
    total_steps: int | None
    epoch: float
    fraction: float
    train: Mapping[str, float]
    val: Mapping[str, float]
    figures: Sequence[Figure]
    counted: str
    per_s: float | None
    lr: float
    grad_norm: float | None
    skipped: int
    elapsed_s: float
    seconds_left: float | None
    largest_grad_norm: float | None = None
    clipped: float | None = None
    before: str = ""

    def spelled(self, values: Mapping[str, float], prefix: str = "") -> str:
        """The figures in words: the first, and the others in brackets behind it."""
        specs = {figure.name: figure.spec for figure in self.figures}
        said = [f"{name} {value:{specs.get(name, '.4f')}}" for name, value in values.items()]
        if not said:
            return ""
        more = f" ({', '.join(said[1:])})" if said[1:] else ""
        return f"{prefix}{said[0]}{more}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What the model made at one moment of its training.

    Attributes:
        fraction: share of the run at which it was due: 0, 0.1, 0.5 or 1.
        step: steps taken.
        epoch: passes over the training data, with a fraction.
        about: how it was drawn, and how good the model was, in words.
        text: what it made.
    """

    fraction: float
    step: int
    epoch: float
    about: str
    text: str

    @property
    def heading(self) -> str:
        """One line that says when the sample was taken."""
        when = {0.0: "start", 1.0: "end"}.get(self.fraction, f"{self.fraction:.0%}")
        return f"{when}: step {self.step}, epoch {self.epoch:.2f}, {self.about}"
