"""How a model is trained, whatever it learns; defaults are a good first run."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from recurra.errors import argument
from recurra.settings import (
    MAX_SEED,
    MAX_SIZE,
    MAX_THREADS,
    Settings,
    check_known,
    fraction,
    percentage,
    positive,
    positive_float32,
    setting,
    text,
)

OPTIMIZERS = ("adamw", "adam", "rmsprop", "sgd")
SCHEDULES = ("cosine", "plateau", "constant")
PRECISIONS = ("32-true", "bf16-mixed", "64-true")
DEVICES = ("auto", "cpu", "cuda")
BACKENDS = ("auto", "cpu", "native", "reference")
DEFAULT_EPOCHS = 20
MAX_DEVICES = 1024
CLIPPING = ("clip_norm", "clip_value", "clip_group_norm", "clip_percentile")  # one of them, or none

BUDGET, LEARNING = "How long", "Optimization"
REPORTS, MACHINE = "Validation, checkpoints, samples", "Machine"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSettings(Settings):
    """How a model is trained, whatever it learns."""

    epochs: int | None = setting(
        None,
        "Passes over the training data.",
        BUDGET,
        unset=f"{DEFAULT_EPOCHS} if nothing else ends it",
        on_resume="limit",
    )
    max_steps: int | None = setting(
        None, "Stop after so many steps.", BUDGET, unset="no limit", on_resume="limit"
    )
    max_minutes: float | None = setting(
        None,
        "Stop after so many minutes; the learning rate follows the clock. Such a run does not "
        "repeat bit by bit, one ended by steps or epochs does.",
        BUDGET,
        check=positive,
        unset="no limit",
        on_resume="limit",
    )
    patience: int | None = setting(
        None,
        "Stop after so many validations in a row that are no better than the best.",
        BUDGET,
        unset="never",
        on_resume="free",
    )
    batch_size: int = setting(64, "Sequences read side by side.", LEARNING)
    optimizer: str = setting("adamw", "What takes the steps.", LEARNING, choices=OPTIMIZERS)
    lr: float = setting(
        3e-3,
        "Learning rate after the warm-up; sgd wants about 1.",
        LEARNING,
        check=positive_float32,
        on_resume="lower",
    )
    weight_decay: float = setting(
        0.01,
        "Of matrices; biases and vectors are never decayed, and adam decays nothing.",
        LEARNING,
        check=fraction,
    )
    momentum: float = setting(0.9, "Of sgd.", LEARNING, check=fraction)
    schedule: str = setting(
        "cosine",
        "cosine ends at a hundredth; plateau halves when validation stops improving.",
        LEARNING,
        choices=SCHEDULES,
    )
    warmup_steps: int | None = setting(
        None,
        "Steps of linear warm-up.",
        LEARNING,
        least=0,
        unset="100, at most a tenth of the run",
    )
    clip_norm: float | None = setting(
        1.0,
        "Largest norm of all gradients together.",
        LEARNING,
        check=positive_float32,
        unset="1.0",
    )
    clip_value: float | None = setting(
        None,
        "Largest value of one gradient, instead.",
        LEARNING,
        check=positive_float32,
        unset="no limit",
    )
    clip_group_norm: float | None = setting(
        None,
        "Largest norm of the gradients of each part of the model (embedding, recurrent layers, "
        "read-out) by itself, instead.",
        LEARNING,
        check=positive_float32,
        unset="no limit",
    )
    clip_percentile: float | None = setting(
        None,
        "Clip at this percentile of the norms of recent steps, instead: 10 is what AutoClip takes.",
        LEARNING,
        check=percentage,
        unset="no limit",
    )
    clip_window: int = setting(1000, "Steps that are recent to --clip-percentile.", LEARNING)
    floss: int = setting(
        0,
        "First Lyapunov exponents of each recurrent layer that are pushed to zero, so that "
        "gradients neither vanish nor explode along as many directions (gradient flossing); 0: "
        "none.",
        LEARNING,
        least=0,
        most=MAX_SIZE,
    )
    floss_before: int = setting(
        100, "Steps of flossing alone, before the first of training.", LEARNING, least=0
    )
    floss_every: int = setting(
        10,
        "Steps between those of training that are flossed too; 0: none is, and what flossing "
        "before training gave is lost again.",
        LEARNING,
        least=0,
    )
    floss_weight: float = setting(
        1.0,
        "Of the sum of the squared exponents in the loss of such a step.",
        LEARNING,
        check=positive_float32,
    )
    average: float = setting(
        0.0,
        "Decay of a moving average of the weights, which is validated and kept in their place: "
        "0.999 is over about 1,000 steps; 0 averages nothing.",
        LEARNING,
        check=fraction,
    )
    seed: int = setting(1, "Of weights, dropout and samples.", LEARNING, least=0, most=MAX_SEED)
    eval_every: int | None = setting(
        None,
        "Steps between validations.",
        REPORTS,
        unset="about 20 in a run, at most 5 % of it",
    )
    checkpoint_every: int | None = setting(
        None, "Steps between checkpoints.", REPORTS, unset="every 30 seconds", on_resume="free"
    )
    log_every: int = setting(10, "Steps between rows of metrics.csv.", REPORTS)
    device: str = setting(
        "auto",
        "Where the model is trained.",
        MACHINE,
        choices=DEVICES,
        check=text,
        on_resume="free",
    )
    devices: int = setting(
        1,
        "Processes that train together, each with its share of every batch: on a GPU each, or on "
        "cores of the CPU. A run keeps its number.",
        MACHINE,
        most=MAX_DEVICES,
    )
    precision: str = setting(
        "32-true",
        "Of weights and products; bf16-mixed multiplies in bfloat16.",
        MACHINE,
        choices=PRECISIONS,
    )
    threads: int | None = setting(
        None,
        "CPU threads of each process.",
        MACHINE,
        most=MAX_THREADS,
        unset="torch's choice; with several devices, the cores shared out",
        on_resume="free",
    )
    backend: str = setting(
        "auto",
        "What runs the recurrence.",
        MACHINE,
        choices=BACKENDS,
        check=text,
        on_resume="free",
    )

    def check(self) -> None:
        """One kind of clipping; a batch that can be shared out."""
        if self.batch_size % self.devices:
            raise ValueError(
                f"batch_size: expected a multiple of {argument('devices')}, {self.devices}, which "
                f"share each batch, got {self.batch_size}. Give such a number."
            )
        given = {name: getattr(self, name) for name in CLIPPING}
        kinds = [
            argument(f"{name}={value:g}") for name, value in given.items() if value is not None
        ]
        if len(kinds) > 1:
            last = [name for name, value in given.items() if value is not None][-1]
            raise ValueError(
                f"{last}: expected one kind of clipping, got {' and '.join(kinds)}. "
                "Give one of them."
            )
        self._check_effects()

    def _check_effects(self) -> None:
        """Raise ValueError where a setting is given that has no effect among the others."""
        is_given = {each.name: getattr(self, each.name) != each.default for each in fields(self)}
        is_given["floss_every"] &= self.floss_every != 0  # which runs that floss nothing may have
        needed = {
            "clip_window": ("clip_percentile", self.clip_percentile is not None),
            "floss_before": ("floss", self.floss > 0),
            "floss_every": ("floss", self.floss > 0),
            "floss_weight": ("floss_every", self.floss > 0 and self.floss_every > 0),
        }
        for name, (other, is_there) in needed.items():
            if is_given[name] and not is_there:
                raise ValueError(
                    f"{name}: expected {argument(f'{other}=')} beside it, without which it has no "
                    f"effect, got {getattr(self, name):g} alone. Give both, or leave it out."
                )
        if self.floss and not self.floss_before and not self.floss_every:
            raise ValueError(
                f"floss: expected steps that are flossed, got {argument('floss_before=0')} and "
                f"{argument('floss_every=0')}. Give one of them, or leave {argument('floss=')} out."
            )

    def total_steps(self, batches: int) -> int | None:
        """Steps that the budget allows, `batches` an epoch; None: only the clock ends the run."""
        epochs = self.epochs
        if epochs is None and self.max_steps is None and self.max_minutes is None:
            epochs = DEFAULT_EPOCHS
        by_epochs = None if epochs is None else epochs * batches
        return min((n for n in (self.max_steps, by_epochs) if n is not None), default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """All settings of a run, in three flat parts.

    Attributes:
        data: which data, and how it is read.
        model: its sizes.
        training: how it is trained.
    """

    data: Any
    model: Any
    training: Any

    @classmethod
    def of(cls, kinds: tuple[type[Settings], ...], given: Mapping[str, Any]) -> "RunSettings":
        """The settings `given` by name, the defaults for the others.

        Args:
            kinds: the classes of the three parts.
            given: values by name, and `no_clip`.

        Raises:
            ValueError: when a value is out of its range, or a name is unknown.
        """
        given = resolve_clipping(given)
        check_known(given, *kinds)
        data, model, training = (kind.pick(given) for kind in kinds)
        return cls(data=data, model=model, training=training)

    def flat(self) -> dict[str, Any]:
        """Every setting by its name."""
        parts = (self.data, self.model, self.training)
        return {name: value for part in parts for name, value in part.to_dict().items()}


def resolve_clipping(given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with `no_clip` spelled out: asking for one kind of clipping turns the other off."""
    settings = dict(given)
    asked = [name for name in CLIPPING if settings.get(name)]
    if settings.pop("no_clip", False):
        if asked:
            raise ValueError(
                f"no_clip: expected no limit beside it, got {argument(f'{asked[0]}=')}. "
                "Give one of the two."
            )
        settings.update(dict.fromkeys(CLIPPING))
    elif any(settings.get(name) is not None for name in CLIPPING[1:]):
        settings.setdefault("clip_norm", None)
    return settings
