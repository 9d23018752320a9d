"""Made-up worlds captioned: scenes by each way in which a picture reaches the words, and numbers.

A caption of a scene counts where every fact in it is true and no shape is left out, parsed and not
compared with strings; of a number, where it is that number. Each model learns from nothing, its
convolutional network too, for the same time.
"""

from collections.abc import Iterator

from benchmarks.digits import digit_accuracy, exact_of_digits
from benchmarks.oracle import DisagreementError
from benchmarks.registry import Benchmark, Row, Settings, Target
from benchmarks.runs import train_and_test
from recurra.data.worlds import judge, scenes
from recurra.tasks.caption_scores import facts_right
from recurra.tasks.options.caption import INJECTIONS

SEED = 1
BEST = "attend"  # the variant that is held to what is asked for
BEST_MINUTES, MINUTES, NUMBERS_MINUTES = 4, 1.5, 8
SCENES, NUMBERS = "scenes", "numbers"
FACTS, UNSEEN, EXACT = 0.95, 0.60, 0.93  # asked for


def _check() -> None:
    """Facts by captions alone are those of the scenes that were painted."""
    world = scenes(train=1, val=1, test=40, unseen=1, size=24)["test"]
    said = [each[n % 5] for n, each in enumerate((*world.captions[1:], world.captions[0]))]
    true = sum(judge(t, s).correct for t, s in zip(said, world.scenes, strict=True)) / len(said)
    if facts_right(said, world.captions) != true:
        raise DisagreementError(f"captions: {true} are right by the scenes, not by their captions")


def _of_scenes(inject: str, settings: Settings) -> Iterator[Row]:
    """A captioner of scenes on the test part, and on pairs that it has not seen."""
    minutes = BEST_MINUTES if inject == BEST else MINUTES
    figures, progress = train_and_test(
        *("caption", [f"--data={SCENES}"], f"--max-minutes {minutes} --inject {inject}", SEED),
        settings,
        also=("unseen",),
    )
    for part, found, asked in (("test", figures, FACTS), ("unseen", figures["unseen"], UNSEEN)):
        floors = ", ".join(f"{n} {f['facts']:.1%}" for n, f in found["floors"].items())
        yield Row(
            job=f"scenes, {inject}, {part}",
            peer=f"{asked:.0%} asked for",
            ours=100 * found["facts"],
            theirs=100 * asked,
            unit="% right",
            ratio=found["facts"] / asked,
            target=Target(value=1.0) if inject == BEST else None,
            threads=settings.threads,
            note=f"floors: {floors}; CIDEr {found['cider']:.2f}, ppl {found['ppl']:.2f}; "
            f"{progress['elapsed_s'] / 60:.1f} minutes",
            details={k: v for k, v in found.items() if isinstance(v, int | float)},
        )


def _of_numbers(settings: Settings) -> Iterator[Row]:
    """A captioner of numbers on those that it has not seen, and its network on single digits."""
    figures, progress = train_and_test(
        *("caption", [f"--data={NUMBERS}"], f"--max-minutes {NUMBERS_MINUTES}", SEED, settings)
    )
    accuracy = digit_accuracy(settings)
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
        note=f"floors: {floors}; {progress['elapsed_s'] / 60:.1f} minutes",
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


def _run(settings: Settings) -> Iterator[Row]:
    for inject in (BEST, *(each for each in INJECTIONS if each != BEST)):
        yield from _of_scenes(inject, settings)
    yield from _of_numbers(settings)


BENCHMARKS = (
    Benchmark(
        name="captions",
        doc="Scenes in seven ways and numbers, captions that are right; ratio: over what was asked "
        "for",
        check=_check,
        run=_run,
        by_default=False,
    ),
)
