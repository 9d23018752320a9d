"""The documents are true: their Python and their commands run, and what they name is there."""

import re
import shlex
import tomllib
from glob import glob
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from benchmarks import draw
from benchmarks.catalogue import BENCHMARKS
from typer.testing import CliRunner

import recurra
from recurra.cli import app

ROOT = Path(__file__).parent.parent
SOURCE = Path(recurra.__file__).parent
DOCUMENTS = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
MARK = "<!-- no-test -->"

Snippet = tuple[int, str]


def snippets(text: str) -> list[Snippet]:
    """Line and source of each ```python block that is not marked with `no-test` above it."""
    found: list[Snippet] = []
    lines = text.splitlines()
    before, start = "", None
    for number, line in enumerate(lines, start=1):
        if start is not None:
            if line.strip() == "```":
                found.append((start, "\n".join(lines[start : number - 1]) + "\n"))
                start = None
        elif re.fullmatch(r"```python\b.*", line) and before != MARK:
            start = number
        elif line.strip():
            before = line.strip()
    assert start is None, f"the block at line {start} is not closed"
    return found


def run(text: str, file: Path) -> int:
    """Run a document's snippets in order in one namespace; the number of them."""
    scope: dict[str, object] = {"__name__": "__main__"}
    found = snippets(text)
    for line, source in found:
        # blank lines in front make a traceback name the document's own line
        exec(compile("\n" * line + source, str(file), "exec"), scope)
    return len(found)


@pytest.mark.medium
@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: str(file.relative_to(ROOT)))
def test_snippets_run(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = file.read_text()
    if '"runs/first"' in text:  # what the page's own commands would have made
        input_text()
        invoke("train lm --data input.txt --out runs/first")
    run(text, file)


def test_what_the_page_on_the_compiler_shows_is_what_is_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    blocks = re.findall(
        r"```(python|text)\n(.*?)```", (ROOT / "docs/compiler.md").read_text(), re.S
    )
    scope: dict[str, object] = {}
    for (kind, source), (after, shown) in pairwise(blocks):
        if kind == "python":
            exec(source, scope)
            assert (after, capsys.readouterr().out) == ("text", shown)


def test_the_three_lines_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    input_text()
    part = (ROOT / "README.md").read_text().partition("## Three lines")[2]
    source = part.partition("```python\n")[2].partition("```")[0]
    small = "max_steps=2, hidden_size=4, batch_size=4, bptt=10, view=None"
    assert "max_minutes=10" in source
    exec(source.replace("max_minutes=10", small), {"rc": recurra})


# ---- commands ------------------------------------------------------------------------------------

# What a command of a page gets besides, so that it takes a second.
LIMITS = {
    "train": "--max-steps 2",
    "train lm": "--max-steps 2 --hidden-size 4 --batch-size 4 --bptt 10 --sample-length 3",
    "train classify": "--max-steps 2 --hidden-size 4 --batch-size 4",
    "train caption": "--max-steps 2 --hidden-size 8 --encoder-width 4 "
    "--data scenes:train=40,val=20,test=20,unseen=20,size=24",
    "train align": "--max-steps 2 --hidden-size 8 --encoder-width 4 "
    "--data scenes:train=40,val=20,test=20,unseen=20,size=24",
    "train frames": "--max-steps 2 --hidden-size 4",
    "sample": "--length 5",
    "insight --compare": "--steps 10 --hidden-size 4",
    "compare": "--max-steps 2 --hidden-size 4 --batch-size 4 --jobs 1",
}
MAKE_TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
PROGRAMS = ("recurra ", "make ", "pip ", "python -m ")


def commands(text: str) -> list[str]:
    """The lines of the ```sh and bare blocks that call a program of ours, without comments."""
    found: list[str] = []
    language: str | None = None
    for line in text.splitlines():
        if line.startswith("```"):
            language = line.removeprefix("```") if language is None else None
        elif language in ("sh", "") and line.startswith(PROGRAMS):
            found.append(line.partition("  #")[0].strip())
    return found


def input_text() -> None:
    """Texts with the letters that the pages prime samples with, and what else they read."""
    text = "ROMEO: KING and the cat sat on the mat, the dog ate the log.\n"
    Path("chapters").mkdir()
    for name in ("input.txt", "other.txt", "notes.md", "chapters/1.txt", "chapters/2.txt"):
        Path(name).write_text(text * 80)
    rows = [
        f"{'a fine film' if i % 2 else 'so dull'} {i}\t{'good' if i % 2 else 'bad'}\n"
        for i in range(60)
    ]
    Path("reviews.tsv").write_text("text\tlabel\n" + "".join(rows))
    Path("new.csv").write_text("text\na fine film\nso dull\n")
    for folder in ("ud_english_ewt", "recordings"):
        Path(folder).mkdir()
    sentences = (
        "1\tThey\t_\tPRON\tPRP\t_\t_\t_\t_\t_\n2\tsleep\t_\tVERB\tVBP\t_\t_\t_\t_\t_\n\n" * 9
    )
    for part in ("train", "dev", "test"):
        Path("ud_english_ewt", f"{part}.conllu").write_text(sentences)
    recording = "x,y2,gesture\n" + "".join(
        f"{i % 3},{i},{'wave' if i % 3 else 'rest'}\n" for i in range(20)
    )
    for name in ("new_recording.csv", *(f"recordings/{number}.csv" for number in range(8))):
        Path(name).write_text(recording)
    Path("flickr8k").mkdir()
    captions = [f"{n // 5}.jpg#{n % 5}\tA dog runs number {n} .\n" for n in range(200)]
    Path("flickr8k/Flickr8k.token.txt").write_text("".join(captions))
    Path("multi30k").mkdir()
    for part in ("train", "val", "test"):
        for end, line in (("en", "two dogs run over the grass\n"), ("de", "zwei hunde rennen\n")):
            Path("multi30k", f"{part}.{end}").write_text(line * 20)
    Path("source.txt").write_text("two dogs\n\nthe grass\n")
    hours = (f"2020-01-{1 + i // 24:02} {i % 24:02}:00,{i % 24}" for i in range(720))
    Path("load.csv").write_text("date,load\n" + "\n".join(hours) + "\n")
    frames = np.random.default_rng(0).normal(0, 0.1, (200, 117))
    for part in ("train", "test"):
        Path("cmu_mocap", part, "walking").mkdir(parents=True)
        for number in (1, 2):
            place = Path("cmu_mocap", part, "walking", f"walking_{number}.txt")
            np.savetxt(place, frames, delimiter=",")
    [cell] = re.findall(
        r"```python\n(# my\.py\n.*?)```", (ROOT / "README.md").read_text(), re.DOTALL
    )
    Path("my.py").write_text(cell)


def invoke(line: str) -> None:
    """Run one `recurra` command, with small budgets."""
    words = shlex.split(line.removeprefix("recurra "))
    words = [each for word in words for each in (sorted(glob(word)) or [word])]  # as a shell does
    for option in ("--max-minutes", "--max-steps", "--hidden-size", "--length", "--seeds"):
        if option in words:
            place = words.index(option)
            del words[place : place + 2]
    limits = (
        []
        if "--help" in words
        else shlex.split(LIMITS.get(" ".join(words[:2]), LIMITS.get(words[0], "")))
    )
    outcome = CliRunner().invoke(app, [*words, *limits])
    assert outcome.exit_code == 0, (line, outcome.output, outcome.exception)


@pytest.mark.medium
@pytest.mark.parametrize("file", ["README.md", "docs/training.md"])
def test_commands_run(file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader who types a page's commands from top to bottom gets to the end."""
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    monkeypatch.chdir(tmp_path)
    input_text()
    for line in commands((ROOT / file).read_text()):
        if line.startswith("recurra "):
            invoke(line)


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: str(file.relative_to(ROOT)))
def test_commands_that_are_not_run_name_what_there_is(file: Path) -> None:
    for line in commands(file.read_text()):
        program, *words = line.split()
        if program == "make":
            assert {word for word in words if "=" not in word} <= MAKE_TARGETS
        elif program == "pip":
            assert words[:2] == ["install", "-e"], "the package index has no recurra yet"
            assert set(re.findall(r"\w+", words[2].partition("[")[2])) <= EXTRAS.keys()
        elif program == "python":
            names = {word for word in words[2:] if word.isidentifier()}
            assert words[1].partition(".")[0] == "benchmarks"
            assert names <= set(BENCHMARKS)


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: str(file.relative_to(ROOT)))
def test_links_lead_somewhere(file: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", file.read_text()):
        if not target.startswith(("http", "#")):
            assert (file.parent / target.partition("#")[0]).exists(), target


def test_nothing_promises_a_package_on_the_index() -> None:
    texts = [*DOCUMENTS, ROOT / "CONTRIBUTING.md", *SOURCE.rglob("*.py")]
    promise = re.compile(r"pip install '?\"?recurra\b")
    assert [str(file) for file in texts if promise.search(file.read_text())] == []


def test_the_speed_chart_is_of_its_table() -> None:
    rows = draw.bars(draw.PAGE.read_text())
    assert len(rows) == 15
    assert draw.FIGURE.read_text() == draw.drawn(rows), "draw it: python -m benchmarks.draw"


def variables(source: Path) -> set[str]:
    """The environment variables of ours that the package names."""
    texts = (file.read_text() for file in source.rglob("*.py"))
    return {name for text in texts for name in re.findall(r"RECURRA_[A-Z0-9_]*[A-Z0-9]", text)}


def test_every_environment_variable_is_described() -> None:
    page = ROOT / "docs" / "environment.md"
    described = set(re.findall(r"RECURRA_[A-Z0-9_]*[A-Z0-9]", page.read_text()))
    assert variables(SOURCE) <= described


# ---- the reading itself --------------------------------------------------------------------------

DOCUMENT = f"""# Title

```python
a = 1
```

```bash
python is not shell
```

{MARK}
```python
raise SystemExit
```

And on:

```python title="two"
b = a + 1

assert b == 2
```
"""


def test_snippets_share_a_namespace_and_marked_ones_are_left_out() -> None:
    assert [line for line, _ in snippets(DOCUMENT)] == [3, 18]
    assert run(DOCUMENT, Path("page.md")) == 2


def test_failing_snippet_names_its_line() -> None:
    with pytest.raises(AssertionError) as caught:
        run(DOCUMENT.replace("b == 2", "b == 3"), Path("page.md"))
    entry = caught.traceback[-1]
    assert (str(entry.path).endswith("page.md"), entry.lineno + 1) == (True, 21)


def test_block_that_is_not_closed() -> None:
    with pytest.raises(AssertionError, match="line 1 is not closed"):
        snippets("```python\na = 1\n")


def test_variables_are_found(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text('os.environ.get("RECURRA_CACHE")\nNAME = "RECURRA_B2"\n')
    assert variables(tmp_path) == {"RECURRA_CACHE", "RECURRA_B2"}
