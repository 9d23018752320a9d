"""A run of benchmarks beside an earlier one of the same machine: what takes longer now."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.registry import Row, Settings
from recurra import doctor

MOST = 1.03  # times as long as before


def earlier(path: Path, settings: Settings) -> dict[str, dict[tuple[str, str], float]]:
    """What our side of each row took in a run that was saved: by benchmark, job and peer, in ms.

    Raises:
        ValueError: when the file holds no such run, or one of another machine or kind.
    """
    try:
        saved = json.loads(path.read_text())
        here = {"cpu": doctor().cpu, "threads": settings.threads, "quick": settings.quick}
        there = {name: saved[name] for name in here}
        found = {
            name: {(row["job"], row["peer"]): row["ours"] for row in each["rows"] if _is_time(row)}
            for name, each in saved["benchmarks"].items()
        }
    except (OSError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(
            f"--before: expected the json of an earlier run, got {path} "
            f"({type(error).__name__}: {error}). Take one that a run has named at its end."
        ) from None
    if there != here:
        raise ValueError(
            f"--before: expected a run of {_told(here)}, got one of {_told(there)}. Times of "
            f"others say nothing about this one: run the commit before once more."
        )
    return found


def _is_time(row: Mapping[str, Any]) -> bool:
    return row["unit"] == "ms" and row["ours"] is not None


def _told(run: Mapping[str, Any]) -> str:
    kind = ", a quick look" if run["quick"] else ""
    return f"{run['threads']} threads on {run['cpu']}{kind}"


def slower(
    results: Mapping[str, list[Row]], before: Mapping[str, Mapping[tuple[str, str], float]]
) -> tuple[list[str], int]:
    """A line for each row that takes more than `MOST` times as long as before, and how many rows
    both runs have."""
    lines, count = [], 0
    for name, rows in results.items():
        for row in rows:
            took = before.get(name, {}).get((row.job, row.peer))
            if took is None or row.unit != "ms" or math.isnan(row.ours):
                continue
            count += 1
            times = row.ours / took
            if times > MOST:
                told = f"{row.ours:.3g} ms, {took:.3g} before"
                lines.append(f"{name}: {row.job}, against {row.peer}: {told}, {times:.2f} times")
    return lines, count
