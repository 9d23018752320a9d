import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from recurra.cli.main import app
from recurra.cli.pages import flags, settings_page
from recurra.settings import declared, option_of
from recurra.tasks.options import OPTIONS
from recurra.views import PlainView, SilentView

pytestmark = pytest.mark.medium

# What stands on the command line and is no setting, or none of one value.
NOT_SETTINGS = {"out", "resume", "dry", "init_from", "no_clip", "help"}


@pytest.mark.parametrize("task", OPTIONS)
def test_every_setting_is_an_option_with_its_default(task: str) -> None:
    command: Any = get_command(app)
    parameters = {each.name: each for each in command.commands["train"].commands[task].params}
    of = OPTIONS[task]
    settings = {each.name: each for k in (of.data, of.model, of.training) for each in declared(k)}
    assert parameters.keys() - settings.keys() == NOT_SETTINGS - {"help"}
    for name, each in settings.items():
        said = option_of(each).unset
        expected = None if said is not None else each.default
        assert parameters[name].default == expected, name
        assert parameters[name].help == option_of(each).help


def test_it_trains_and_says_what_it_came_to(
    recurra: Any, quick: tuple[str, ...], tmp_path: Path
) -> None:
    outcome = recurra(*quick, "--out", tmp_path / "run")
    assert outcome.code == 0
    assert outcome.err == ""
    for words in ("=== start", "=== end", "validation nll", f"recurra evaluate {tmp_path / 'run'}"):
        assert words in outcome.out
    assert (tmp_path / "run" / "model.safetensors").exists()


def test_it_resumes_with_what_is_given_and_the_run_s_own_settings(recurra: Any, run: Path) -> None:
    outcome = recurra("train", "lm", "--out", run, "--resume", "--max-steps", "6")
    assert outcome.code == 0
    assert "6 steps" in outcome.out


def test_sizes_of_the_cell_s_own(recurra: Any, quick: tuple[str, ...], tmp_path: Path) -> None:
    words = (*quick, "--cell", "scrn", "--sizes", "C=3", "--out", tmp_path / "run")
    assert recurra(*words).code == 0
    assert json.loads((tmp_path / "run" / "config.json").read_text())["model"]["sizes"] == {"C": 3}
    assert recurra("train", "lm", "--out", tmp_path / "run", "--resume").code == 0
    for sizes, message in (
        ("D=3", "expected C of cell scrn, got D"),
        ("C", "expected NAME=NUMBER"),
    ):
        outcome = recurra(*quick, "--cell", "scrn", "--sizes", sizes, "--out", tmp_path / "other")
        assert outcome.code == 2
        assert f"--sizes: {message}" in outcome.err


def test_a_resumed_run_refuses_other_settings(recurra: Any, run: Path) -> None:
    outcome = recurra("train", "lm", "--out", run, "--resume", "--lr", "0.5")
    assert outcome.code == 2
    assert "--lr 0.5 (the run has 0.003)" in outcome.err


def test_without_a_text_it_takes_the_standard_library(
    recurra: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "module.py").write_text("import os\n" * 300)
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path / "lib"))
    small = ("--batch-size", "4", "--bptt", "10", "--max-steps", "2", "--sample-length", "3")
    outcome = recurra("train", "lm", "--out", tmp_path / "run", *small, "--hidden-size", "4")
    assert outcome.code == 0
    assert "1 files, 0.0 MB, PSF License Agreement" in outcome.out.replace("\n", " ")


def test_plain_lines_where_there_is_no_terminal(
    recurra: Any, quick: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[SilentView] = []
    monkeypatch.setattr(PlainView, "__enter__", lambda self: seen.append(self) or self)
    recurra(*quick, "--out", tmp_path / "run")
    assert len(seen) == 1


def test_ctrl_c_says_how_to_go_on(
    recurra: Any, quick: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("recurra.training.trainer.Trainer.fit", interrupted)
    outcome = recurra(*quick, "--out", tmp_path / "run")
    assert outcome.code == 130
    assert outcome.err == (f"stopped; go on with: recurra train --resume {tmp_path / 'run'}\n")


@pytest.mark.parametrize(
    ("signum", "code"),
    [
        (signal.SIGINT, 130),
        (signal.SIGTERM, 143),
        pytest.param(signal.SIGHUP, 129, marks=pytest.mark.slow),  # as SIGTERM
    ],
)
def test_a_signal_to_end_leaves_a_run_that_goes_on(
    recurra: Any,
    quick: tuple[str, ...],
    tmp_path: Path,
    request: pytest.FixtureRequest,
    signum: int,
    code: int,
) -> None:
    words = [*quick, "--out", str(tmp_path / "run"), "--max-steps", "100000"]
    process = subprocess.Popen(
        [sys.executable, "-m", "recurra.cli", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        # whoever runs the tests in the background has these signals ignored
        preexec_fn=lambda: signal.signal(
            signum, signal.default_int_handler if signum == signal.SIGINT else signal.SIG_DFL
        ),
    )
    request.addfinalizer(process.kill)
    metrics = tmp_path / "run" / "metrics.csv"
    deadline = time.monotonic() + 60
    while not (metrics.exists() and metrics.read_text().count("\n") > 2):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signum)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert not (tmp_path / "run" / ".lock").exists()
    assert "--resume" in err
    assert "Traceback" not in err
    outcome = recurra("train", "lm", "--out", tmp_path / "run", "--resume", "--max-steps", "1")
    assert outcome.code == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize("resume", [False, True])
def test_a_signal_at_the_very_start_ends_in_one_line(
    recurra: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    number: int,
    resume: bool,
) -> None:
    def stopped(*_: object, **__: object) -> None:
        os.kill(os.getpid(), number)

    monkeypatch.setattr("recurra.cli.train._train", stopped)
    # whoever runs the tests in the background has these signals ignored
    first = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
    before = signal.signal(number, first)
    request.addfinalizer(lambda: signal.signal(number, before))
    outcome = recurra("train", "lm", "--out", tmp_path / "new", *(["--resume"] if resume else []))
    assert outcome.code == 128 + number
    assert outcome.err.startswith("stopped before the run could start; ")
    assert outcome.err.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_what_to_do_next_can_be_pasted_into_a_shell(
    recurra: Any, quick: tuple[str, ...], tmp_path: Path
) -> None:
    folder = tmp_path / "my run's $HOME"
    out = recurra(*quick, "--out", folder).out
    for command in ("recurra evaluate ", "recurra sample ", "tensorboard --logdir "):
        [line] = [line for line in out.splitlines() if line.strip().startswith(command)]
        assert str(folder) in shlex.split(line)


@pytest.mark.parametrize("task", OPTIONS)
def test_the_flags_of_a_task_are_those_that_were_published(task: str) -> None:
    """What goes or is renamed breaks scripts: flags.txt changes with a line in CHANGELOG."""
    published = (Path(__file__).parent / "flags.txt").read_text().splitlines()
    assert flags(task) == [line.split()[1] for line in published if line.split()[0] == task]


def test_the_page_of_settings_is_that_of_the_declarations() -> None:
    page = Path(__file__).parents[2] / "docs" / "settings.md"
    assert page.read_text().splitlines() == list(settings_page())


def test_a_run_goes_on_by_its_name_alone(
    recurra: Any, quick: tuple[str, ...], tmp_path: Path
) -> None:
    recurra(*quick, "--out", tmp_path / "run", "--max-steps", "4")
    outcome = recurra("train", "--resume", tmp_path / "run", "--max-steps", "6")
    assert outcome.code == 0
    assert "6 steps" in outcome.out
    outcome = recurra("train", "lm", "--resume", tmp_path / "run", "--max-steps", "7")
    assert outcome.code == 0
    assert "7 steps" in outcome.out
    outcome = recurra("train", "--resume", tmp_path / "none")
    assert outcome.code == 2
    assert "expected a run, got no config.json there" in outcome.err


def test_without_a_name_each_run_has_a_new_folder(
    recurra: Any, quick: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number in (1, 2):
        outcome = recurra(*quick, "--max-steps", "2", "--sample-length", "0")
        assert outcome.code == 0
        assert f"the run is in runs/lm-{number}" in outcome.out
    outcome = recurra("train", "lm", "--resume")
    assert outcome.code == 2
    assert "--out: expected the folder of a run to resume, got none" in outcome.err


def test_dry_says_what_would_be_trained_and_leaves_nothing(
    recurra: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("".join(f"{n} words\t{n} Worte hier\n" for n in range(100)))
    asked = ("train", "translate", "--data", pairs, "--dry", "--batch-size", "8")
    outcome = recurra(*asked, "--vocab-size", "300")
    assert outcome.code == 0
    for words in ("12 a pass, of 8 pairs of like length", "% of sources, ", "target tokens, "):
        assert words in outcome.out
    assert [each.name for each in tmp_path.iterdir()] == ["pairs.tsv"]
    assert "dry: expected a new run" in recurra(*asked, "--resume", "--out", "x").err
