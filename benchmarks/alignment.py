"""Scenes and sentences that find each other, and words that find their shapes.

Where each shape of a scene is is known, and nothing of it is told in training: a word that is a
colour or a kind counts where the region that is most alike to it lies on the shape that it tells
of. Each model learns from nothing, its convolutional network too, for the same time.
"""

from collections.abc import Iterator

import torch

from benchmarks.oracle import DisagreementError
from benchmarks.registry import Benchmark, Row, Settings
from benchmarks.runs import train_and_test
from recurra.data.worlds import scenes
from recurra.tasks.align_scores import RANKS, recalls_by_chance, shapes_of, told_shapes
from recurra.tasks.caption_floors import recalls

SEED = 1
MINUTES = 4
VARIANTS = {
    "grid": "",
    "grid and whole picture": "--whole-image",
    "grid, hardest negatives": "--negatives hardest",
    "grid, group normalisation": "--encoder-norm group",
    "given boxes": "--regions boxes",
}
_WAYS = {"text_to_image": "sentence to picture", "image_to_text": "picture to sentence"}


def _check() -> None:
    """Words are of the shapes that were painted, and chance is the mean of random orders."""
    world = scenes(train=1, val=1, test=40, unseen=1, size=24)["test"]
    for scene, captions, boxes in zip(world.scenes, world.captions, world.boxes, strict=True):
        shapes = shapes_of(captions, boxes[: len(scene)])
        if shapes is None or shapes != [(shape.colour, shape.kind) for shape in scene]:
            raise DisagreementError(f"align: {shapes} are told, {scene} were painted")
        if len(told_shapes(captions[1].replace(",", "").split(), shapes)) != 2 * len(scene):
            raise DisagreementError(f"align: words of {captions[1]!r} are not found")
    counts = [5] * 20
    which = [n for n, count in enumerate(counts) for _ in range(count)]
    draw = torch.Generator().manual_seed(0)
    drawn = [recalls(torch.rand(20, 100, generator=draw), which) for _ in range(2000)]
    for name, expected in recalls_by_chance(counts).items():
        if name != "recall" and abs(sum(d[name] for d in drawn) / len(drawn) - expected) > 0.02:
            raise DisagreementError(f"align: {name} of random orders is not {expected:.3f}")


def _run(settings: Settings) -> Iterator[Row]:
    for name, more in VARIANTS.items():
        flags = f"--max-minutes {MINUTES} {more}"
        given = ["--data=scenes"]
        figures, progress = train_and_test("align", given, flags, SEED, settings, also=("unseen",))
        minutes = progress["elapsed_s"] / 60
        for way, what in _WAYS.items():
            shares = ", ".join(f"@{k} {figures[f'{way}_{k}']:.1%}" for k in RANKS)
            yield Row(
                job=f"{name}, {what}, first of {figures['images']:,}",
                peer="chance",
                ours=100 * figures[f"{way}_1"],
                theirs=100 * figures["chance"][f"{way}_1"],
                unit="%",
                ratio=figures[f"{way}_1"] / figures["chance"][f"{way}_1"],
                threads=settings.threads,
                note=f"{shares}, median {figures[f'{way}_median']:g}; {minutes:.1f} minutes",
                details={k: v for k, v in figures.items() if isinstance(v, int | float)},
            )
        for part, found in (("test", figures), ("unseen", figures["unseen"])):
            yield Row(
                job=f"{name}, words on their shape, {part}",
                peer="chance",
                ours=100 * found["pointed"],
                theirs=100 * found["pointed_chance"],
                unit="%",
                ratio=found["pointed"] / found["pointed_chance"],
                threads=settings.threads,
                note=f"colours {found['pointed_colour']:.1%}, kinds {found['pointed_kind']:.1%}, "
                f"smoothed {found['pointed_smoothed']:.1%}",
                details={k: v for k, v in found.items() if isinstance(v, int | float)},
            )


BENCHMARKS = (
    Benchmark(
        name="align",
        doc="scenes and sentences that find each other, and words that look at their shapes; "
        "ratio: over chance",
        check=_check,
        run=_run,
        by_default=False,
    ),
)
