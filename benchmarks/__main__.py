"""Run benchmarks: the oracle check first, then the timing; a table, and json beside it."""

import argparse
import json
import math
import platform
import subprocess
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from benchmarks import any_cell, torch_nn  # noqa: F401 - they register themselves
from benchmarks.registry import BENCHMARKS, Row
from recurra import doctor
from recurra.backends import keep_freed_memory


def main() -> int:
    """Run what was asked for; the exit status is 1 when a side was wrong, so nothing is claimed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"which ones: {', '.join(BENCHMARKS)} (all)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"expected names among {', '.join(BENCHMARKS)}, got {', '.join(unknown)}")
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()  # as `recurra train` does; every side has it
    console, failed = Console(), False
    for name in arguments.names or BENCHMARKS:
        benchmark = BENCHMARKS[name]
        try:
            benchmark.check()
        except AssertionError as error:
            console.print(f"[red]{name}: the sides disagree, nothing is reported.[/red]\n{error}")
            failed = True
            continue
        rows = benchmark.run()
        console.print(_table(f"{name}: {benchmark.doc}", rows))
        _save(arguments.out / f"{name}.json", rows)
    return int(failed)


def _table(title: str, rows: list[Row]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("job")
    for side in rows[0].sides_ms:
        table.add_column(f"{side}, ms", justify="right")
    table.add_column("ratio", justify="right")
    table.add_column("target", justify="right")
    for row in rows:
        target = "" if row.target is None else f">= {row.target:g}"
        times = ["" if math.isnan(t) else f"{t:.1f}" for t in row.sides_ms.values()]
        table.add_row(row.job, *times, f"{row.ratio:.2f}", target)
    return table


def _save(path: Path, rows: list[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    report = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit,
        "cpu": doctor().cpu,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "dtype": "float32",
        "rows": [asdict(row) for row in rows],
    }
    path.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
