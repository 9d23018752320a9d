"""Run benchmarks: the sides held against each other first, then timed; one table, and json."""

import argparse
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import torch
from rich.console import Console

from benchmarks.before import MOST, earlier, slower
from benchmarks.catalogue import BENCHMARKS
from benchmarks.oracle import DisagreementError
from benchmarks.registry import Benchmark, Row, Settings
from benchmarks.report import document, line, save, table, verdict
from recurra.backends import keep_freed_memory

MET, FAILED, MISSED = 0, 1, 2
_WIDTH_OF_FILES = 160  # of the table where there is no terminal to ask

EPILOG = """\
Every benchmark first checks that its sides compute the same, at small sizes and again at each
job's own; where they disagree nothing is reported. Sides are timed in turn (A B A B ...) with equal
threads, and a ratio is the median of the rounds' ratios, its spread the smallest and the largest.

  python -m benchmarks --list                     what there is
  python -m benchmarks                            all but the trainings, about 40 minutes
  python -m benchmarks torch_nn floor             these two
  python -m benchmarks --quick                    does everything work? its figures are no results
  python -m benchmarks calls --before OLD.json    which jobs take longer than in an earlier run?
  python -m benchmarks char_rnn --minutes 10      train against a plain PyTorch model, side by side
  python -m benchmarks sst2                       classify sentences, beside scikit-learn
  python -m benchmarks neurons                    train a character model, and find its neurons
  python -m benchmarks motion                     say motion, beside what learns nothing

The exit status is 0 when every target was met, 2 when one was missed or a job takes longer than
before, 1 when a benchmark could not be reported. Keep the machine otherwise idle.
"""


def main() -> int:
    """Run what was asked for."""
    parser = _parser()
    arguments = parser.parse_args()
    if arguments.list:
        return _list()
    unknown = [name for name in arguments.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"expected names among {', '.join(BENCHMARKS)}, got {', '.join(unknown)}")
    settings = Settings(
        threads=arguments.threads,
        quick=arguments.quick,
        minutes=arguments.minutes,
        hidden_sizes=tuple(arguments.hidden_size or (256, 512)),
        data=arguments.data,
        runs=arguments.runs,
    )
    try:
        before = None if arguments.before is None else earlier(arguments.before, settings)
    except ValueError as error:
        parser.error(str(error))
    torch.set_num_threads(settings.threads)
    keep_freed_memory()  # as `recurra train` does; every side in this process has it
    chosen = [
        benchmark
        for benchmark in BENCHMARKS.values()
        if benchmark.name in arguments.names or (not arguments.names and benchmark.by_default)
    ]
    return _run(chosen, settings, arguments.out, before)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("names", nargs="*", metavar="NAME", help=f"which: {', '.join(BENCHMARKS)}")
    add("--list", action="store_true", help="say what each one measures, and stop")
    add("--quick", action="store_true", help="few rounds and small shapes; never a result")
    add(
        "--threads",
        type=int,
        default=torch.get_num_threads(),
        help="of every side (%(default)s)",
    )
    add("--out", type=Path, default=Path("benchmarks/results"), help="folder (%(default)s)")
    add(
        "--before",
        type=Path,
        metavar="JSON",
        help=f"an earlier run here: name what takes over {MOST:g} times as long as in it",
    )
    training = parser.add_argument_group("char_rnn")
    training.add_argument(
        "--minutes",
        type=float,
        default=10.0,
        help="of training for 256 units; 512 get half as many again (%(default)s)",
    )
    training.add_argument(
        "--hidden-size", type=int, action="append", help="of the model; may be repeated (256, 512)"
    )
    training.add_argument(
        "--data",
        type=Path,
        default=_default_data(),
        help="text file ($RECURRA_DATA/tinyshakespeare/input.txt)",
    )
    kept = parser.add_argument_group("frames")
    kept.add_argument(
        "--runs",
        type=Path,
        help="folder to keep the trained runs in; one that is there goes on, or is measured",
    )
    return parser


def _default_data() -> Path | None:
    folder = os.environ.get("RECURRA_DATA")
    return Path(folder, "tinyshakespeare", "input.txt") if folder else None


def _list() -> int:
    for benchmark in BENCHMARKS.values():
        when = "" if benchmark.by_default else " (only when named)"
        print(f"{benchmark.name}{when}\n    {benchmark.doc}")
    return MET


def _run(
    chosen: list[Benchmark],
    settings: Settings,
    folder: Path,
    before: Mapping[str, Mapping[tuple[str, str], float]] | None = None,
) -> int:
    console = Console() if sys.stdout.isatty() else Console(width=_WIDTH_OF_FILES)
    now = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    path = folder / f"{'quick' if settings.quick else 'bench'}-{now}.json"
    results: dict[str, list[Row]] = {}
    failures: dict[str, str] = {}
    for benchmark in chosen:
        try:
            results[benchmark.name] = _rows(benchmark, settings)
        except Exception as error:  # the others shall still be measured
            if not isinstance(error, (DisagreementError, ModuleNotFoundError)):
                console.print_exception()
            failures[benchmark.name] = f"{type(error).__name__}: {error}"
            console.print(f"{benchmark.name}: {error}", style="red", markup=False)
        save(path, document(results, failures, settings))  # an interrupted run keeps what it has
    console.print(table(results, settings))
    console.print(verdict(results, failures))
    console.print(f"json: {path}")
    longer, count = slower(results, before or {})
    for each in longer:
        console.print(each, style="bold red", markup=False)
    if before is not None:
        console.print(f"{len(longer)} of {count} jobs take over {MOST:g} times as long as before")
    if failures:
        return FAILED
    missed = bool(longer) or any(row.met is False for rows in results.values() for row in rows)
    return MISSED if missed else MET


def _rows(benchmark: Benchmark, settings: Settings) -> list[Row]:
    """Check, then measure, with a line for each row as it comes."""
    if benchmark.missing:
        raise ModuleNotFoundError(
            f"expected {', '.join(benchmark.missing)} to be installed. Run: pip install "
            f'-c constraints.txt -e ".[bench]"'
        )
    benchmark.check()
    rows = []
    for row in benchmark.run(settings):
        rows.append(row)
        print(line(benchmark.name, row), file=sys.stderr, flush=True)
    return rows


if __name__ == "__main__":
    sys.exit(main())
