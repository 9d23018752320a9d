"""English to German, the Multi30k captions: BLEU with and without attention.

`recurra train translate` from scratch on 29,000 pairs; test_2016_flickr, in lower case, by five
beams. Settings were not tuned; a run of two minutes with others had read the test part before.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from benchmarks.oracle import DisagreementError
from benchmarks.registry import Benchmark, Row, Settings, Target
from benchmarks.runs import train_and_test
from recurra.tasks.translations import scored

SEED = 1
FLAGS = "--source en --target de --lower --max-minutes 50"
MODELS = {
    "attention": "--decoder conditional_gru",
    "no attention": "--attention none",
}
ASKED, APART = 35.5, 8.0  # BLEU with attention; how much lower without


def _check() -> None:
    """Scores are sacreBLEU's own."""
    from sacrebleu import corpus_bleu

    said, wanted = ["ein mann mit hut ."], ["Ein Mann mit einem Hut."]
    ours = scored(said, wanted, lower=True)["bleu"]
    if ours != corpus_bleu(said, [wanted], lowercase=True).score:
        raise DisagreementError(f"multi30k: BLEU {ours}, and another by sacrebleu")


def _run(settings: Settings) -> Iterator[Row]:
    folder = Path(os.environ.get("RECURRA_DATA", "."), "multi30k")
    if not (folder / "train.en.gz").exists():
        raise FileNotFoundError(
            f"multi30k: expected train.en.gz, train.de.gz and so on in {folder}, got none. Set "
            "RECURRA_DATA to the folder that has multi30k."
        )
    bleu: dict[str, float] = {}
    for name, flags in MODELS.items():
        given = [f"--data={folder}"]
        figures, progress = train_and_test("translate", given, f"{FLAGS} {flags}", SEED, settings)
        bleu[name] = figures["bleu"]
        asked = ASKED if name == "attention" else bleu["attention"] - APART
        yield Row(
            job=f"en-de, {name}, test BLEU",
            peer=f"{asked:.1f} asked for",
            ours=figures["bleu"],
            theirs=asked,
            unit="BLEU",
            ratio=figures["bleu"] / asked,
            target=Target(value=1.0, at_most=name != "attention"),
            threads=settings.threads,
            note=f"validation, greedy, {progress['best']:.2f}; {progress['elapsed_s'] / 60:.0f} "
            f"minutes; chrF {figures['chrf']:.1f}; {figures['signature']}",
            details={"bleu_by_length": figures["bleu_by_length"]},
        )


BENCHMARKS = (
    Benchmark(
        name="multi30k",
        doc="English to German with and without attention, test_2016_flickr; ratio: BLEU over "
        "what was asked for; without attention it is to be 8 lower",
        check=_check,
        run=_run,
        by_default=False,
    ),
)
