"""The documents are true: their Python runs, and every environment variable is described."""

import re
from pathlib import Path

import pytest

import recurra

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


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: str(file.relative_to(ROOT)))
def test_snippets_run(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run(file.read_text(), file)


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
