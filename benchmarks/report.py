"""The table and the json of a run of benchmarks."""

import json
import math
import platform
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from benchmarks.catalogue import BENCHMARKS
from benchmarks.registry import Row, Settings
from recurra import doctor

Results = Mapping[str, list[Row]]

_PACKAGES = ("recurra", "torch", "jax", "torchrecurrent")


def table(results: Results, settings: Settings) -> Table:
    """One table of all rows; what missed its target is red."""
    kind = "QUICK LOOK, NOT A RESULT: " if settings.quick else ""
    made = Table(
        title=f"{kind}{settings.threads} threads; medians; spread: smallest..largest of the "
        "rounds' ratios",
        title_justify="left",
    )
    made.add_column("job", overflow="fold")
    for column in ("recurra", "theirs"):
        made.add_column(column, justify="right", no_wrap=True)
    made.add_column("against", overflow="fold")
    for column in ("ratio", "spread", "target"):
        made.add_column(column, justify="right", no_wrap=True)
    for name, rows in results.items():
        made.add_section()
        made.add_row(f"[bold]{name}[/bold]: {escape(BENCHMARKS[name].doc)}")
        for row in rows:
            made.add_row(*_cells(row), style=_style(row))
    return made


def _cells(row: Row) -> Iterator[str]:
    yield escape(f"{row.job}: {row.note}" if row.note else row.job)
    yield _amount(row.ours, row.unit)
    yield _amount(row.theirs, row.unit)
    yield escape(row.peer)
    yield "" if math.isnan(row.ratio) else f"{row.ratio:.2f}"
    yield "" if math.isnan(row.low) else f"{row.low:.2f}..{row.high:.2f}"
    yield "" if row.target is None else str(row.target)


def _style(row: Row) -> str:
    if row.met is False:
        return "bold red"
    return "bold" if row.summary else ""


def _amount(value: float, unit: str) -> str:
    if math.isnan(value):
        return ""
    digits = 0 if value >= 1000 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f} {unit}"


def line(name: str, row: Row) -> str:
    """A row while the run goes on: a sign of life, plain text."""
    target = "" if row.target is None else f" (target {row.target})"
    figure = row.note if math.isnan(row.ratio) else f"{row.ratio:.2f}"
    return f"{name}: {row.job}, against {row.peer}: {figure}{target}"


def verdict(results: Results, failures: Mapping[str, str]) -> str:
    """The last line: how many targets were met, and what missed or failed."""
    with_target = [(name, row) for name, rows in results.items() for row in rows if row.target]
    missed = [(name, row) for name, row in with_target if not row.met]
    parts = [f"{len(with_target) - len(missed)} of {len(with_target)} targets met"]
    if missed:
        counts = Counter(name for name, _ in missed)
        shown = ", ".join(f"{name} {count}" for name, count in counts.items())
        parts.append(f"[bold red]{len(missed)} missed[/bold red] ({shown}; red above)")
    if failures:
        shown = ", ".join(failures)
        parts.append(f"[bold red]{len(failures)} failed, not reported[/bold red]: {escape(shown)}")
    return "; ".join(parts)


def document(results: Results, failures: Mapping[str, str], settings: Settings) -> dict[str, Any]:
    """Everything about the run, for json."""
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "quick": settings.quick,
        "commit": _git("rev-parse", "--short", "HEAD"),
        "changed_since_commit": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "cpu": doctor().cpu,
        "threads": settings.threads,
        "python": platform.python_version(),
        "versions": {
            name: _version(name) for name in ("recurra", "torch", "jax", "torchrecurrent")
        },
        "failures": dict(failures),
        "benchmarks": {
            name: {"doc": BENCHMARKS[name].doc, "rows": [_plain(row) for row in rows]}
            for name, rows in results.items()
        },
    }


def save(path: Path, content: Mapping[str, Any]) -> None:
    """Write json; numbers that do not exist are null."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")


def _plain(row: Row) -> dict[str, Any]:
    values = asdict(row) | {"met": row.met}
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in values.items()}


def _git(*arguments: str) -> str:
    asked = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    return asked.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
