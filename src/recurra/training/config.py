"""The settings of a training run, checked when they are made; defaults are a good first run."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from recurra.errors import argument
from recurra.training.numbers import MAX_COUNT, MAX_SEED, positive, positive_float32, whole, within

OPTIMIZERS = ("adamw", "rmsprop", "sgd")
SCHEDULES = ("cosine", "plateau", "constant")
PRECISIONS = ("32-true", "bf16-mixed", "64-true")
DEFAULT_EPOCHS = 20
MAX_THREADS = 1024
MAX_SAMPLE_LENGTH = 1_000_000  # tokens; training waits while they are drawn

# What may change when a run is resumed: how far it goes, how often it is saved, and what it runs
# on. Everything else would make it another run; but the learning rate may be lowered.
LIMITS = frozenset({"epochs", "max_steps", "max_minutes"})
RESUMABLE = LIMITS | {"checkpoint_every", "backend", "device", "threads"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """How a model is trained; messages begin with a setting's name.

    Attributes:
        batch_size: streams read side by side, B.
        bptt: steps of a window, T: how far back gradients flow.
        epochs: passes over the training tokens; with no budget at all, 20.
        max_steps: windows after which to stop.
        max_minutes: minutes on the clock after which to stop; resumed time counts on.
        optimizer: "adamw", "rmsprop" or "sgd" (with momentum).
        lr: the largest learning rate, reached after the warm-up.
        weight_decay: decoupled for adamw; only on matrices, never on biases or vectors.
        momentum: of sgd.
        schedule: "cosine" (down to a hundredth at the end of the budget), "plateau" (halved when
            validation stops improving) or "constant".
        warmup_steps: steps of linear warm-up; None: 100, or a tenth of the run if that is less.
        clip_norm: largest norm of all gradients together; None: no such limit.
        clip_value: largest absolute value of one gradient; None: no such limit.
        eval_every: steps between validations; None: about 20 in a run, at most 5 % of the work.
        checkpoint_every: steps between checkpoints; None: every 30 seconds.
        log_every: steps between rows of metrics.csv.
        sample_length: tokens of each sample kept in samples.txt; 0: none are taken.
        sample_temperature: temperature of those samples.
        prime: text that each sample continues.
        seed: of the weights, the dropout and the samples.
        backend: what runs the recurrence, "auto" or the name of a backend.
        device: "auto", "cpu" or "cuda".
        precision: "32-true", "bf16-mixed" or "64-true".
        threads: CPU threads; None: torch's own choice.
    """

    batch_size: int = 64
    bptt: int = 100
    epochs: int | None = None
    max_steps: int | None = None
    max_minutes: float | None = None
    optimizer: str = "adamw"
    lr: float = 3e-3
    weight_decay: float = 0.01
    momentum: float = 0.9
    schedule: str = "cosine"
    warmup_steps: int | None = None
    clip_norm: float | None = 1.0
    clip_value: float | None = None
    eval_every: int | None = None
    checkpoint_every: int | None = None
    log_every: int = 10
    sample_length: int = 300
    sample_temperature: float = 0.8
    prime: str = ""
    seed: int = 1
    backend: str = "auto"
    device: str = "auto"
    precision: str = "32-true"
    threads: int | None = None

    def __post_init__(self) -> None:
        for name in ("batch_size", "bptt", "log_every"):
            whole(name, getattr(self, name), least=1, most=MAX_COUNT)
        for name in ("epochs", "max_steps", "eval_every", "checkpoint_every"):
            whole(name, getattr(self, name), least=1, most=MAX_COUNT, optional=True)
        whole("threads", self.threads, least=1, most=MAX_THREADS, optional=True)
        whole("warmup_steps", self.warmup_steps, least=0, most=MAX_COUNT, optional=True)
        whole("sample_length", self.sample_length, least=0, most=MAX_SAMPLE_LENGTH)
        whole("seed", self.seed, least=0, most=MAX_SEED)
        for name in ("lr", "sample_temperature"):
            positive_float32(name, getattr(self, name))
        positive("max_minutes", self.max_minutes, optional=True)
        for name in ("clip_norm", "clip_value"):
            positive_float32(name, getattr(self, name), optional=True)
        _fraction("weight_decay", self.weight_decay)
        _fraction("momentum", self.momentum)
        for name in ("prime", "backend", "device"):
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"{name}: expected text, got {getattr(self, name)!r:.60}.")
        _one_of("optimizer", self.optimizer, OPTIMIZERS)
        _one_of("schedule", self.schedule, SCHEDULES)
        _one_of("precision", self.precision, PRECISIONS)
        if self.clip_norm is not None and self.clip_value is not None:
            raise ValueError(
                f"clip_value: expected one kind of clipping, got a norm of "
                f"{self.clip_norm:g} and a value of {self.clip_value:g}. Give one of them."
            )

    def total_steps(self, windows: int) -> int | None:
        """Steps that the budget allows, `windows` an epoch; None: only the clock ends the run."""
        epochs = self.epochs
        if epochs is None and self.max_steps is None and self.max_minutes is None:
            epochs = DEFAULT_EPOCHS
        by_epochs = None if epochs is None else epochs * windows
        return min((n for n in (self.max_steps, by_epochs) if n is not None), default=None)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for config.json."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TrainingConfig":
        """The settings that `to_dict` wrote; a name of a later version is an error, not ignored."""
        unknown = sorted(set(values) - {field.name for field in fields(cls)})
        if unknown:
            raise ValueError(
                f"training: expected the settings of this version, got also {', '.join(unknown)}. "
                "Use the version of recurra that wrote the run."
            )
        return cls(**values)


def resolve_clipping(given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with `no_clip` spelled out: asking for one kind of clipping turns the other off."""
    settings = dict(given)
    if settings.pop("no_clip", False):
        if settings.get("clip_norm") or settings.get("clip_value"):
            raise ValueError(
                f"no_clip: expected no limit beside it, got {argument('clip_norm=')} or "
                f"{argument('clip_value=')}. "
                "Give one of the three."
            )
        settings.update(clip_norm=None, clip_value=None)
    elif settings.get("clip_value") is not None:
        settings.setdefault("clip_norm", None)
    return settings


def _fraction(name: str, value: float) -> None:
    if value != 0 and not within(value, above=0.0, below=1.0):
        raise ValueError(
            f"{name}: expected a number from 0 up to, not including, 1, got {value!r}. "
            "Give such a fraction."
        )


def _one_of(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(
            f"{name}: expected one of {', '.join(choices)}, got {value!r}. Choose one."
        )
