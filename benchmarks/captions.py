"""Made-up worlds captioned: scenes by each way in which a picture reaches the words, and numbers.

A caption of a scene counts where every fact in it is true and no shape is left out, parsed and not
compared with strings; of a number, where it is that number. The model that attends learns from
nothing, its convolutional network too. The other ways are given that network as it then is, as the
papers they are of were given one that knew pictures: their vector is what it says of a picture's
nine places, and they read more pictures, because a vector of all places is soon known by heart.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.digits import digit_accuracy, exact_of_digits
from benchmarks.oracle import DisagreementError
from benchmarks.registry import Benchmark, Row, Settings, Target
from benchmarks.runs import train_and_evaluate
from recurra.data.worlds import judge, scenes
from recurra.tasks.caption_scores import facts_right
from recurra.tasks.options.caption import INJECTIONS

SEED = 1
BEST = "attend"  # the variant that is held to what is asked for
BEST_MINUTES, MINUTES, NUMBERS_MINUTES = 13, 5, 13
LEARNING = {"dropout": 0.0, "input_dropout": 0.0, "word_dropout": 0.0, "lr": 4e-3}
SCENES, MORE_SCENES, NUMBERS = "scenes", "scenes:train=40000", "numbers:train=40000"
DEPTH = 2  # convolutions of a stage where digits are read
READING = {"lr": 3e-3, "start": "max", "curriculum": 0.2, "encoder_depth": DEPTH}
# an encoder that stays as it is: a scene has 3 x 3 places
GIVEN = {"encoder_rate": 0, "encoder_pool": 3, "encoder_size": 0}
SIZES = {"hidden_size": 256, "embedding_size": 256, "image_features": 256}
FACTS, UNSEEN, EXACT = 0.95, 0.60, 0.93  # asked for


def _check() -> None:
    """Facts by captions alone are those of the scenes that were painted."""
    world = scenes(train=1, val=1, test=40, unseen=1, size=24)["test"]
    said = [each[n % 5] for n, each in enumerate((*world.captions[1:], world.captions[0]))]
    true = sum(judge(t, s).correct for t, s in zip(said, world.scenes, strict=True)) / len(said)
    if facts_right(said, world.captions) != true:
        raise DisagreementError(f"captions: {true} are right by the scenes, not by their captions")


def _of_scenes(
    inject: str, minutes: float, settings: Settings, data: str = SCENES, **others: float | str
) -> Iterator[Row]:
    """A captioner of scenes on the test part, and on pairs that it has not seen."""
    (figures, unseen), progress = train_and_evaluate(
        "caption",
        [f"--data={data}"],
        _flags(inject, minutes, **others),
        SEED,
        settings,
        evaluations=[["--split=test"], ["--split=unseen"]],
        name=_name(inject, minutes),
    )
    for part, found, asked in (("test", figures, FACTS), ("unseen", unseen, UNSEEN)):
        floors = ", ".join(f"{n} {f['facts']:.1%}" for n, f in found["floors"].items())
        yield Row(
            job=f"scenes, {inject}, {part}",
            peer=f"{asked:.0%} asked for",
            ours=100 * found["facts"],
            theirs=100 * asked,
            unit="% right",
            ratio=found["facts"] / asked,
            target=Target(value=1.0) if minutes == BEST_MINUTES else None,
            threads=settings.threads,
            note=f"floors: {floors}; CIDEr {found['cider']:.2f}, ppl {found['ppl']:.2f}; "
            f"{_of_training(progress)}",
            details={k: v for k, v in found.items() if isinstance(v, int | float)},
        )


def _name(inject: str, minutes: float) -> str:
    return f"{SCENES}-{inject}-{minutes:g}"


def _of_numbers(settings: Settings) -> Iterator[Row]:
    """A captioner of numbers on those that it has not seen, and its network on single digits."""
    (figures,), progress = train_and_evaluate(
        "caption",
        [f"--data={NUMBERS}"],
        _flags(BEST, NUMBERS_MINUTES, **READING),
        SEED,
        settings,
        evaluations=[["--split=test"]],
        name=f"numbers-{BEST}-{NUMBERS_MINUTES:g}",
    )
    accuracy = digit_accuracy(settings, depth=DEPTH)
    floors = ", ".join(f"{n} {f['exact']:.1%}" for n, f in figures["floors"].items())
    yield Row(
        job="numbers, test, unseen numbers",
        peer=f"{EXACT:.0%} asked for",
        ours=100 * figures["exact"],
        theirs=100 * EXACT,
        unit="% right",
        ratio=figures["exact"] / EXACT,
        target=Target(value=1.0),
        threads=settings.threads,
        note=f"floors: {floors}; {_of_training(progress)}",
        details={k: v for k, v in figures.items() if isinstance(v, int | float)},
    )
    alone = exact_of_digits(accuracy)
    yield Row(
        job="numbers, test, unseen numbers",
        peer="its network, digit by digit",
        ours=100 * figures["exact"],
        theirs=100 * alone,
        unit="% right",
        ratio=figures["exact"] / alone,
        threads=settings.threads,
        note=f"single digits right: {accuracy:.1%}; of one to four of them all, one as another: "
        f"{alone:.1%}",
        details={"digits": accuracy},
    )


def _flags(inject: str, minutes: float, **others: float | str) -> str:
    asked = LEARNING | others
    learning = [f"--{name.replace('_', '-')} {value}" for name, value in asked.items()]
    return " ".join([f"--max-minutes {minutes:g} --inject {inject}", *learning])


def _of_training(progress: Mapping[str, Any]) -> str:
    return f"{progress['step']:,} steps in {progress['elapsed_s'] / 60:.1f} minutes"


def _best(settings: Settings) -> Iterator[Row]:
    yield from _of_scenes(BEST, BEST_MINUTES, settings)
    yield from _of_numbers(settings)


def _injections(settings: Settings) -> Iterator[Row]:
    with ExitStack() as stack:
        if settings.runs is None:  # the network of the first is given to the others
            folder = Path(stack.enter_context(TemporaryDirectory()))
            settings = replace(settings, runs=folder)
        assert settings.runs is not None
        yield from _of_scenes(BEST, BEST_MINUTES, settings)
        given = GIVEN | {"init_from": str(settings.runs / _name(BEST, BEST_MINUTES))}
        for inject in INJECTIONS:
            if inject != BEST:
                seen = {} if inject == "none" else SIZES | given
                yield from _of_scenes(inject, MINUTES, settings, MORE_SCENES, **seen)


BENCHMARKS = (
    Benchmark(
        name="captions",
        doc="Scenes and numbers, captions that are right; ratio: over what was asked for",
        check=_check,
        run=_best,
        by_default=False,
    ),
    Benchmark(
        name="injections",
        doc="Scenes in seven ways, of one convolutional network; ratio: over what was asked for",
        check=_check,
        run=_injections,
        by_default=False,
    ),
)
