"""Each mistake that the command line can meet: one clear line, exit code 2, nothing lost."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import QUICK

from recurra.errors import RunError, argument

pytestmark = pytest.mark.medium

HUGE = "9" * 20


def assert_mistake(outcome: Any, *words: str) -> None:
    assert outcome.code == 2
    assert outcome.err.startswith("recurra")
    assert outcome.err.count("\n") == 1, outcome.err
    assert "Traceback" not in outcome.err
    for word in words:
        assert word in outcome.err


def train(recurra: Any, quick: tuple[str, ...], tmp_path: Path, *more: str | Path) -> Any:
    outcome = recurra(*quick, "--out", tmp_path / "new", *more)
    assert not (tmp_path / "new").exists()
    return outcome


def test_an_empty_file(recurra: Any, quick: tuple[str, ...], tmp_path: Path, data: Path) -> None:
    data.write_text("")
    assert_mistake(train(recurra, quick, tmp_path), str(data), "empty")


def test_a_file_shorter_than_one_batch_of_windows(
    recurra: Any, quick: tuple[str, ...], tmp_path: Path, data: Path
) -> None:
    data.write_text("short")
    assert_mistake(train(recurra, quick, tmp_path), "expected at least 41", "--batch-size")


def test_a_file_that_is_not_utf8(
    recurra: Any, quick: tuple[str, ...], tmp_path: Path, data: Path
) -> None:
    data.write_bytes(b"abc" * 100 + b"\xff" + b"abc" * 100)
    assert_mistake(train(recurra, quick, tmp_path), "UTF-8", "300", "--level byte")
    assert recurra(*quick, "--out", tmp_path / "bytes", "--level", "byte").code == 0


@pytest.mark.parametrize("words", [("--data",), ("--val-data",)])
def test_a_file_without_a_word(
    recurra: Any, quick: tuple[str, ...], tmp_path: Path, words: tuple[str, ...]
) -> None:
    blank = tmp_path / "blank.txt"
    blank.write_text(" " * 5000)
    if words == ("--data",):  # in place of the text, not beside it
        quick = ("train", "lm", *QUICK)
    outcome = train(recurra, quick, tmp_path, "--level", "word", *words, blank)
    assert_mistake(outcome, f"recurra: {blank}: expected at least one token")


def test_a_missing_file(recurra: Any, quick: tuple[str, ...], tmp_path: Path, data: Path) -> None:
    data.unlink()
    assert_mistake(train(recurra, quick, tmp_path), str(data), "no such file")


def test_a_folder_that_holds_a_run(recurra: Any, quick: tuple[str, ...], run: Path) -> None:
    before = {path: path.read_bytes() for path in run.iterdir() if path.is_file()}
    assert_mistake(recurra(*quick, "--out", run), str(run), "holds a run", "--resume")
    assert before == {path: path.read_bytes() for path in run.iterdir() if path.is_file()}


def test_a_folder_that_cannot_be_written(recurra: Any, quick: tuple[str, ...], data: Path) -> None:
    assert_mistake(recurra(*quick, "--out", data / "run"), "expected a folder that can be made")


def test_a_checkpoint_cut_short(recurra: Any, run: Path) -> None:
    for name in ("training.safetensors", "model.safetensors"):
        path = run / name
        path.write_bytes(path.read_bytes()[:-50])
    resumed = recurra("train", "lm", "--out", run, "--resume", "--max-steps", "9")
    assert_mistake(resumed, "training.safetensors", "cut short")
    assert_mistake(recurra("evaluate", run), "model.safetensors", "cut short")
    assert_mistake(recurra("sample", run), "model.safetensors", "cut short")


@pytest.mark.medium
def test_a_checkpoint_of_other_sizes(
    recurra: Any, quick: tuple[str, ...], run: Path, tmp_path: Path
) -> None:
    recurra(*quick, "--out", tmp_path / "other", "--hidden-size", "9")
    for name in ("training.safetensors", "model.safetensors"):
        (run / name).write_bytes((tmp_path / "other" / name).read_bytes())
    resumed = recurra("train", "lm", "--out", run, "--resume", "--max-steps", "9")
    assert_mistake(resumed, "training.safetensors", "shape")
    assert_mistake(recurra("evaluate", run), "model.safetensors", "shape")


def test_an_unknown_cell(recurra: Any, quick: tuple[str, ...], tmp_path: Path) -> None:
    outcome = train(recurra, quick, tmp_path, "--cell", "lsmt")
    assert_mistake(outcome, "'lsmt'", "Did you mean lstm")
    assert_mistake(recurra("cells", "lsmt"), "'lsmt'", "Did you mean lstm")


def test_a_cell_that_no_model_can_feed(
    recurra: Any, quick: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = train(recurra, quick, tmp_path, "--cell", "gru_d")
    assert_mistake(outcome, "which reads m, delta too. Choose another by --cell; ")
    outcome = train(recurra, quick, tmp_path, "--cell", "dynamical_system")
    assert_mistake(outcome, "which reads no input. Choose another by --cell.")
    monkeypatch.chdir(tmp_path)
    outcome = recurra("compare", "adding", "--cells", "gru_d,lstm", "--steps", "2")
    assert_mistake(outcome, "Choose another by --cells; ")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--hidden-size", "0"),
        ("--num-layers", "-1"),
        ("--embedding-size", "0"),
        ("--batch-size", "0"),
        ("--bptt", "-3"),
        ("--lr", "0"),
        ("--lr", "-1"),
        ("--epochs", "0"),
        ("--max-steps", "0"),
        ("--max-minutes", "-1"),
        ("--clip-norm", "0"),
        ("--eval-every", "0"),
        ("--checkpoint-every", "0"),
        ("--sample-length", "-1"),
        ("--dropout", "1.5"),
        ("--vocab-size", "0"),
        ("--threads", "0"),
        ("--optimizer", "adams"),
        ("--schedule", "linear"),
        ("--precision", "8"),
        ("--level", "letter"),
        ("--device", "tpu"),
        *((option, HUGE) for option in ("--hidden-size", "--embedding-size", "--num-layers")),
        *((option, HUGE) for option in ("--seed", "--max-steps", "--epochs", "--vocab-size")),
        *((option, HUGE) for option in ("--batch-size", "--bptt", "--warmup-steps")),
        *((option, "1e+308") for option in ("--clip-value", "--clip-norm", "--lr")),
        ("--clip-value", "1e-60"),
    ],
)
def test_sizes_rates_lengths_and_names_that_make_no_sense(
    recurra: Any, quick: tuple[str, ...], tmp_path: Path, option: str, value: str
) -> None:
    assert_mistake(train(recurra, quick, tmp_path, option, value), f"{option}: expected", value)


def test_a_prime_with_characters_never_seen(
    recurra: Any, quick: tuple[str, ...], tmp_path: Path, run: Path
) -> None:
    assert_mistake(train(recurra, quick, tmp_path, "--prime", "Ω"), "'Ω'", "never seen")
    assert_mistake(recurra("sample", run, "--prime", "Ω"), "'Ω'", "never seen")


@pytest.mark.medium
@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("--temperature", "-1"), ("--top-k", "0"), ("--top-p", "2"), ("--length", "-1")),
        *(("--length", HUGE), ("--seed", "-1"), ("--seed", HUGE)),
    ],
)
def test_sampling_options_that_make_no_sense(
    recurra: Any, run: Path, option: str, value: str
) -> None:
    assert_mistake(recurra("sample", run, option, value), f"{option}: expected", value)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *((option, HUGE) for option in ("--seeds", "--hidden-size", "--max-steps", "--jobs")),
        *(("--lr", value) for value in ("1e+308", "0.0")),
        ("--seeds", "99999999999999"),
        *(("--cells", value) for value in ("lstm:b_f=abc", "lstm:b=1", "lsmt", "lstm:b_f=chrono2")),
    ],
)
def test_comparisons_that_make_no_sense(
    recurra: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, value: str
) -> None:
    monkeypatch.chdir(tmp_path)
    got = value.partition("=")[2].removeprefix("chrono") or value
    assert_mistake(recurra("compare", option, value), f"recurra: {option}: expected", got)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "words",
    [
        *(("train", "lm", f"--{name}", "") for name in ("out", "data", "val-data", "test-data")),
        *(("compare", f"--{name}", "") for name in ("out", "ray")),
        ("cells", "gru", "--graph", ""),
        *(("evaluate", "run", f"--{name}", "") for name in ("data", "split")),
        ("evaluate", ""),
        ("sample", ""),
    ],
)
def test_an_empty_name_is_none(
    recurra: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    named = words[-2] if words[-2].startswith("--") else "RUN"
    assert_mistake(recurra(*words), named, "expected a name, got an empty one")
    assert not list(tmp_path.iterdir())


def test_no_cell_has_an_empty_name(recurra: Any) -> None:
    assert_mistake(recurra("cells", ""), "NAME: expected a cell, got ''")


@pytest.mark.parametrize("value", ["abc", "nan", "1e30", ""])
def test_what_is_no_whole_number_is_said_with_an_example(recurra: Any, value: str) -> None:
    outcome = recurra("train", "lm", "--epochs", value)
    assert_mistake(outcome, f"'{value}'", "--epochs 10")


def test_settings_of_the_wrong_kind_in_a_run(recurra: Any, run: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    for name, value in (("prime", 7), ("backend", 7), ("seed", 2**80), ("device", None)):
        changed = {**config, "training": {**config["training"], name: value}}
        (run / "config.json").write_text(json.dumps(changed))
        outcome = recurra("train", "lm", "--out", run, "--resume", "--max-steps", "9")
        assert_mistake(outcome, "config.json: expected the settings of a run", name)


def test_a_run_that_is_not_there(recurra: Any, tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    assert_mistake(recurra("evaluate", missing), "expected a run", str(missing))
    assert_mistake(recurra("sample", missing), "expected a run", str(missing))
    assert_mistake(recurra("train", "lm", "--out", missing, "--resume"), "expected a run")
    assert not missing.exists()


def test_a_file_of_a_run(recurra: Any, run: Path) -> None:
    for command in ("evaluate", "sample"):
        file = run / "model.safetensors"
        assert_mistake(recurra(command, file), "got a file", f"Name its folder: {run}.")


@pytest.mark.medium
@pytest.mark.parametrize(
    ("error", "said"),
    [
        (lambda: ValueError("top_k: expected 1, got 0."), "--top-k: expected 1, got 0."),
        (
            lambda: ValueError(f"x: expected 1, got 0. Use {argument('length=5')}."),
            "x: expected 1, got 0. Use --length 5.",
        ),
        (
            lambda: RunError(f"x: expected 1, got {argument('prime=a=b')} or {argument('lr=')}."),
            "x: expected 1, got --prime a=b or --lr of recurra train.",
        ),
        (
            lambda: RunError(f"x: expected 1. Use {argument('horizon=9')} or {argument('axes=')}."),
            "x: expected 1. Use --horizon 9 of recurra train or axes=.",
        ),
        # what looks like an argument, and is a file's or a value of the user's
        (lambda: RunError("top_k: expected a run, got seed=1."), None),
        (lambda: ValueError("x: expected top_k, got A(top_k=3, seed=1). seed: expected."), None),
    ],
)
def test_arguments_are_named_as_they_were_typed(
    recurra: Any,
    run: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Callable[[], Exception],
    said: str | None,
) -> None:
    """Only where a message marks one, or a refusal begins with it."""

    def load(*_: object, **__: object) -> None:
        raise error()

    monkeypatch.setattr("recurra.tasks.Run.load", load)
    outcome = recurra("sample", run)
    assert (outcome.code, outcome.err) == (2, f"recurra: {said or error()}\n")


@pytest.mark.parametrize("name", ["cell=gru", "data", "max_steps=3 lr=1", "seed: expected lr=2"])
def test_names_of_the_user_s_stay_as_they_are(
    recurra: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = recurra("train", "lm", "--data", name)
    assert_mistake(outcome, f"recurra: {name}: expected a text file")
    outcome = recurra("train", "lm", "--out", name, "--resume")
    assert_mistake(outcome, f"recurra: {name}: expected a run")


@pytest.mark.parametrize("error", [ValueError("not enough values"), TypeError("f() missing x")])
def test_a_fault_of_ours_looks_like_one(
    recurra: Any, run: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr("recurra.tasks.Run.load", raising(error))
    with pytest.raises(type(error)) as caught:
        recurra("sample", run)
    assert any("please report it" in note for note in caught.value.__notes__)


def raising(error: Exception) -> Any:
    def function(*_: object, **__: object) -> None:
        raise error

    return function


def test_an_unknown_split(recurra: Any, run: Path) -> None:
    assert_mistake(recurra("evaluate", run, "--split", "dev"), "expected one of train, val, test")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("train", "lm", "--warp"), "recurra train lm: No such option: --warp"),
        (("train", "lm", "--epochs", "many"), "recurra train lm: Invalid value for '--epochs'"),
        (("evaluate",), "recurra evaluate: Missing argument"),
        (("dance",), "recurra: No such command 'dance'. See"),
        (("smple",), "recurra: No such command 'smple'. Did you mean 'sample'? See"),
    ],
)
def test_usage(recurra: Any, words: tuple[str, ...], expected: str) -> None:
    outcome = recurra(*words)
    assert_mistake(outcome, "--help.")
    assert expected.lower() in outcome.err.lower()


def test_a_traceback_on_request(
    recurra: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECURRA_TRACEBACK", "1")
    with pytest.raises(RunError):
        recurra("train", "lm", "--out", tmp_path / "missing", "--resume")


def test_a_backslash_in_a_prime_is_pointed_at(recurra: Any, run: Path) -> None:
    assert "backslash" not in recurra("sample", run, "--prime", "the\ncat", "--length", "1").err
    outcome = recurra("sample", run, "--prime", r"the\ncat", "--length", "1")
    assert r"prime: \n is a backslash and a letter here; in most shells $'a\nb'" in outcome.err


@pytest.mark.parametrize("suffix", [".svg", ".dot"])
def test_a_graph_replaces_a_picture_of_its_kind_and_nothing_else(
    recurra: Any, tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"g{suffix}"
    for cell in ("gru", "lstm"):
        assert recurra("cells", cell, "--graph", path).code == 0
    picture = path.read_bytes()
    link = tmp_path / f"link{suffix}"
    link.symlink_to(path)
    dangling = tmp_path / f"dangling{suffix}"
    dangling.symlink_to(tmp_path / "nothing")
    (tmp_path / f"folder{suffix}").mkdir()
    other = tmp_path / f"other{suffix}"
    other.write_text("graph theory: my notes\n" if suffix == ".svg" else "my graph\n")
    kept = other.read_bytes()
    for name in (link, dangling, other, tmp_path / f"folder{suffix}"):
        outcome = recurra("cells", "gru", "--graph", name)
        assert_mistake(outcome, "--graph: expected a new file, or an older", str(name))
    assert (path.read_bytes(), other.read_bytes()) == (picture, kept)
    assert not (tmp_path / "nothing").exists()
    assert len(list(tmp_path.iterdir())) == 5


@pytest.mark.parametrize("level", ["char", "byte"])
def test_a_size_of_a_vocabulary_that_has_none(
    recurra: Any, quick: tuple[str, ...], tmp_path: Path, level: str
) -> None:
    outcome = train(recurra, quick, tmp_path, "--level", level, "--vocab-size", "3")
    assert_mistake(outcome, f"--vocab-size: expected none beside --level {level}", "got 3")


def test_resuming_by_the_run_alone_spells_arguments_as_flags(recurra: Any, run: Path) -> None:
    other = recurra("train", "--resume", run, "--hidden-size", "32")
    assert other.code == 2
    assert "--hidden-size 32 (the run has 8)" in other.err
    assert "start another run with --out." in other.err


def test_a_prime_that_is_no_utf8(recurra: Any, run: Path, tmp_path: Path) -> None:
    file = tmp_path / "prime.txt"
    file.write_bytes("café".encode("latin-1"))
    outcome = recurra("sample", run, "--prime-file", file)
    assert_mistake(outcome, f"{file}: expected UTF-8 text, got the byte 0xe9 at 3")


def test_seeds_of_several_samples_are_in_range(recurra: Any, run: Path) -> None:
    most = 2**63 - 1
    assert recurra("sample", run, "--length", "1", "--seed", str(most)).code == 0
    outcome = recurra("sample", run, "--length", "1", "--seed", str(most), "--count", "2")
    assert_mistake(outcome, "--seed: expected", str(most))
