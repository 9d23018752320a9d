"""The command, called as a user calls it but in this process, and a small text to call it on."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from recurra.cli import app

TEXT = "the cat sat on the mat, the dog ate the log.\n" * 60
QUICK = (
    *("--hidden-size", "8", "--embedding-size", "4", "--batch-size", "4", "--bptt", "10"),
    *("--max-steps", "4", "--sample-length", "5", "--device", "cpu"),
)


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


Recurra = Callable[..., Outcome]


@pytest.fixture
def recurra(monkeypatch: pytest.MonkeyPatch) -> Recurra:
    """Call `recurra` with these words."""
    monkeypatch.delenv("RECURRA_TRACEBACK", raising=False)
    runner = CliRunner()

    def call(*words: str | Path, raw: bool = False) -> Outcome | bytes:
        result = runner.invoke(app, [str(word) for word in words], env={"COLUMNS": "120"})
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        if raw:
            return result.stdout_bytes
        return Outcome(result.exit_code, result.stdout, result.stderr)

    return call


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return path


@pytest.fixture
def quick(data: Path) -> tuple[str, ...]:
    return ("train", "lm", "--data", str(data), *QUICK)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, which stays as it is."""
    folder, threads = tmp_path_factory.mktemp("finished"), torch.get_num_threads()
    (folder / "text.txt").write_text(TEXT)
    words = ("train", "lm", "--data", str(folder / "text.txt"), *QUICK)
    result = CliRunner().invoke(app, [*words, "--out", str(folder / "run")])
    assert result.exit_code == 0, result.output
    torch.set_num_threads(threads)
    return folder / "run"


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A finished run of the test's own."""
    return shutil.copytree(finished, tmp_path / "run")


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a classifier of four words."""
    from recurra.tasks import train

    folder = tmp_path_factory.mktemp("reviews")
    rows = [f"{'a fine film' if i % 2 else 'a dull one'} {i}\t{i % 2}" for i in range(60)]
    (folder / "reviews.tsv").write_text("text\tlabel\n" + "\n".join(rows) + "\n")
    run = train(
        *("classify",),
        data=str(folder / "reviews.tsv"),
        out=folder / "run",
        view=None,
        hidden_size=8,
        embedding_size=8,
        epochs=8,
        lr=0.02,
        threads=1,
    )
    return run.folder
