"""Neurons of a character model of the Python standard library: target by target.

The model is trained by `recurra train lm` with no other option than its time. Units are searched on
the validation part and scored on the test part, both held out of training.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np

from benchmarks.oracle import DisagreementError
from benchmarks.registry import Benchmark, Row, Settings, Target
from recurra.insight.neurons import (
    PROPERTIES,
    Found,
    Read,
    closing,
    correlations,
    find,
    read,
    tracking,
)
from recurra.models import LanguageModel
from recurra.tasks import LanguageTask, Run

TOKENS = 50_000  # of either text
CONTROLS = 20  # units that are held beside the one that was found
ASKED = {"inside quotes": 0.6, "indentation": 0.5}
FOLD = 2.0
KARPATHY = 0.05  # of the cells, "approximately 5%": Karpathy et al. (2015), section 4.2
GIVEN = "RECURRA_NEURONS_RUN"  # a run that was trained already


def _check() -> None:
    """Correlations are those of numpy."""
    rng = np.random.default_rng(0)
    values, wanted = rng.normal(size=(300, 5)), rng.normal(size=300)
    expected = [np.corrcoef(values[:, u], wanted)[0, 1] for u in range(5)]
    if not np.allclose(correlations(values, wanted), expected, atol=1e-5):
        raise DisagreementError("neurons: correlations are others than numpy's")


def _run(settings: Settings) -> Iterator[Row]:
    given = os.environ.get(GIVEN)
    if given:
        yield from _rows(Run.open(given), settings)
        return
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "run")
        budget = ["--max-steps=30"] if settings.quick else [f"--max-minutes={settings.minutes:g}"]
        command = [sys.executable, "-m", "recurra.cli", "train", "lm", f"--out={out}", *budget]
        subprocess.run([*command, f"--threads={settings.threads}"], check=True, capture_output=True)
        yield from _rows(Run.open(out), settings)


def _rows(run: Run, settings: Settings) -> Iterator[Row]:
    model: LanguageModel = run.load()
    text = cast(LanguageTask, run.task).text
    test = text.split("test")
    search, held_out = (read(model, ids[:TOKENS]) for ids in (text.split("val"), test))
    how: dict[str, Any] = {"unit": "", "threads": settings.threads}
    for which in PROPERTIES.values():
        found = find(which, search, held_out)
        score, probe = found.score, found.probe
        details = {
            "unit": str(found.unit),
            "searched": score.searched,
            "p": score.p,
            "null_99_of_best": score.null_99_of_best,
            "probe": probe.held_out,
            "verdict": probe.verdict,
            "of_the_best_few": dict(zip(probe.counts, probe.held_out_of.tolist(), strict=True)),
        }
        if which.closers is not None:
            texts = {"search": search, "held_out": held_out}
            details["by_kind"] = {name: _by_kind(text, found) for name, text in texts.items()}
        reached = abs(score.held_out)
        yield Row(
            job=f"{which.name}, |correlation| held out",
            peer=f"chance, 1 in 100, of {found.unit}",
            ours=reached,
            theirs=score.null_99,
            ratio=reached / max(score.null_99, 1e-9),
            target=Target(value=1.0) if which.name in ASKED else None,
            note=f"{found.unit}, {probe.verdict}, all units {probe.held_out:.2f}",
            details=details,
            **how,
        )
        if which.name in ASKED:
            yield Row(
                job=f"{which.name}, |correlation| held out",
                peer="what is asked for",
                ours=reached,
                theirs=ASKED[which.name],
                ratio=reached / ASKED[which.name],
                target=Target(value=1.0),
                **how,
            )
        if which.name == "inside quotes":
            yield _of_closing(model, test, found, how)
    shares = tracking(held_out, list(PROPERTIES.values()))
    yield Row(
        job=f"share of {len(shares.units)} units above 0.5 for any of {len(shares.names)}",
        peer="about 5 %, of Karpathy et al.",
        ours=100 * shares.share,
        theirs=100 * KARPATHY,
        ratio=shares.share / KARPATHY,
        details={"by_property": dict(shares.share_of)},
        **{**how, "unit": "%"},
    )


def _by_kind(text: Read, found: Found) -> dict[str, dict[str, float]]:
    """Of each kind, such as ' and ": its share of the text, how well the unit that was found tracks
    it, and what a unit that tracked this kind alone, and without fault, would have of the whole."""
    closers = text.closers(found.which)
    unit, whole = text.of_unit(found.unit)[:, None], text.values_of(found.which)
    each = {kind: closers.which == index for index, kind in enumerate(closers.kinds)}
    return {
        repr(kind): {
            "share": float(here.mean()),
            "tracked": float(correlations(unit, here.astype(np.float32))[0]),
            "most_by_this_kind_alone": float(correlations(here[:, None], whole)[0]),
        }
        for kind, here in each.items()
    }


def _of_closing(model: LanguageModel, ids: np.ndarray, found: Any, how: dict[str, Any]) -> Row:
    effect = closing(model, ids, found.unit, found.which, num_controls=CONTROLS)
    return Row(
        job=f"probability of the closing quote, {found.unit} held at its mean outside",
        peer="nothing held",
        ours=float(effect.held_outside.mean()),
        theirs=float(effect.free.mean()),
        ratio=effect.fold,
        target=Target(value=FOLD),
        note=f"{CONTROLS} other units change it by {effect.controls.max():.2f} times at most",
        details={
            "inside": effect.inside,
            "outside": effect.outside,
            "held_inside": float(effect.held_inside.mean()),
            "fold_between": effect.fold_between,
            "controls": effect.controls.tolist(),
        },
        **how,
    )


BENCHMARKS = (
    Benchmark(
        name="neurons",
        doc="units of a character model of the standard library that track a property of the "
        "text; ratio: the |correlation| over chance, or over what is asked for",
        check=_check,
        run=_run,
        by_default=False,
    ),
)
