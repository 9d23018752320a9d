"""Imports run one way, as the design draws them; lazy imports inside functions count too."""

import ast
import importlib
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TypeGuard

import pytest

import recurra

SOURCE = Path(recurra.__file__).parent

LEVELS: tuple[frozenset[str], ...] = (
    frozenset({"errors", "interrupts", "settings", "terminal"}),
    frozenset({"files", "parallel", "views"}),
    frozenset({"ir"}),
    frozenset({"show"}),
    frozenset({"lang"}),
    frozenset({"passes", "compose"}),
    frozenset({"backends"}),
    frozenset({"nn", "vision", "text"}),
    frozenset({"decoding"}),
    frozenset({"models"}),
    frozenset({"data", "training", "insight"}),
    frozenset({"runs"}),
    frozenset({"tasks"}),
    frozenset({"comparison"}),
    frozenset({"app", "cli"}),
)
LEVEL = {part: i for i, parts in enumerate(LEVELS) for part in parts}
SIDEWAYS = {("compose", "cells"), ("training", "data"), ("training", "insight"), ("cli", "app")}
# Up, and only for type checkers and when a name is asked for: names of version 0.1 that are public
# in `recurra.training`, and whose homes have moved above it.
LATE = {
    ("training/__init__.py", "recurra.runs"),
    ("training/__init__.py", "recurra.tasks.former"),
    ("training/__init__.py", "recurra.comparison"),
}
# `cells` stands beside the levels: it needs the language, and what is below nn must not need it
CELLS_MAY_IMPORT = {"cells", "lang"}
MAY_IMPORT_CELLS_FROM = LEVEL["nn"]


@cache
def tree_of(file: Path) -> ast.Module:
    """A module, parsed once for all tests."""
    return ast.parse(file.read_text())


def imports_by_name(node: ast.AST) -> TypeGuard[ast.Call]:
    """Whether it is a call of `import_module`, whatever that is taken from."""
    if not isinstance(node, ast.Call):
        return False
    called = node.func
    name = getattr(called, "attr", None) or getattr(called, "id", "")
    return str(name).endswith("import_module")


def part_of(module: str) -> str:
    """The part of the package that a dotted module name is in; "" for the package itself."""
    return module.removeprefix("recurra").strip(".").split(".")[0]


def imports(tree: ast.Module, module: str, is_package: bool) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything of ours that the module imports, anywhere in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module.split(".")
                keep = len(package) - node.level + is_package
                base = ".".join([*package[:keep], *([node.module] if node.module else [])])
            # `from recurra import cells` names a part as well
            names = [f"{base}.{alias.name}" if base == "recurra" else base for alias in node.names]
        elif imports_by_name(node):
            names = [arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant)]
        else:
            continue
        for name in names:
            if isinstance(name, str) and (name == "recurra" or name.startswith("recurra.")):
                yield node.lineno, name


def late(tree: ast.Module, module: str) -> ast.Module:
    """What is imported for type checkers alone, and what `_HOMES` names to be loaded when used."""
    found: list[ast.stmt] = []
    for node in tree.body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            found += node.body
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_HOMES":
            assert isinstance(node.value, ast.Dict)
            for key in node.value.keys:
                assert isinstance(key, ast.Constant)
                home = str(key.value)
                home = home if home.startswith("recurra.") else f"{module}.{home}"
                found.append(ast.Import(names=[ast.alias(name=home)], lineno=key.lineno))
    return ast.Module(body=found, type_ignores=[])


def allowed(importer: str, imported: str) -> bool:
    """Whether one part of the package may import another."""
    if importer in ("", imported):
        return True  # the package itself gathers the public names
    if imported == "":
        return LEVEL.get(importer, -1) == LEVEL["cli"]  # all of recurra: only from the top
    if importer == "cells":
        return imported in CELLS_MAY_IMPORT
    if imported == "cells":
        return LEVEL[importer] >= MAY_IMPORT_CELLS_FROM or (importer, imported) in SIDEWAYS
    return LEVEL[imported] < LEVEL[importer] or (importer, imported) in SIDEWAYS


def violations(source: Path) -> list[str]:
    """Every import under the folder of a package `recurra` that runs the wrong way."""
    found = []
    for file in sorted(source.rglob("*.py")):
        is_package = file.stem == "__init__"
        path = file.relative_to(source).with_suffix("").parts
        module = ".".join(("recurra", *(path[:-1] if is_package else path)))
        where, tree = file.relative_to(source).as_posix(), tree_of(file)
        of_late = set(imports(late(tree, module), module, is_package))
        for line, name in sorted(of_late.union(imports(tree, module, is_package))):
            if allowed(part_of(module), part_of(name)):
                continue
            if (line, name) not in of_late or (where, name) not in LATE:
                found.append(f"{where}:{line} imports {name}")
    return found


def test_imports_run_one_way() -> None:
    assert violations(SOURCE) == []


# what runs a plan's loops, or a whole cell; none needs another, and what they share needs none
ENGINES = ("cpu", "native", "reference")


def test_engines_are_apart() -> None:
    found = []
    for file in sorted((SOURCE / "backends").rglob("*.py")):
        path = file.relative_to(SOURCE / "backends")
        own = path.parts[0]
        if own not in (*ENGINES, "runtime"):
            continue
        module = ".".join(("recurra", "backends", *path.with_suffix("").parts))
        for line, name in imports(tree_of(file), module, file.stem == "__init__"):
            part = name.removeprefix("recurra.backends.").split(".")[0]
            if part in ENGINES and part != own:
                found.append(f"backends/{path}:{line} imports {name}")
    assert found == []


def test_every_part_has_its_place() -> None:
    parts = {file.stem for file in SOURCE.glob("*.py")} - {"__init__", "__main__"}
    parts |= {folder.parent.name for folder in SOURCE.glob("*/__init__.py")}
    assert parts - LEVEL.keys() == {"cells"}


def test_where_tensors_are_shapes_are_checked_at_run_time() -> None:
    settings = tomllib.loads((SOURCE.parents[1] / "pyproject.toml").read_text())
    [option] = [
        each
        for each in settings["tool"]["pytest"]["ini_options"]["addopts"]
        if each.startswith("--jaxtyping-packages=")
    ]
    checked = set(option.partition("=")[2].split(","))
    for folder in SOURCE.iterdir():
        if any("from jaxtyping" in file.read_text() for file in folder.glob("*.py")):
            assert f"recurra.{folder.name}" in checked


# Modules that import by a name which they compute, and why that is no way up: public names that
# are loaded when they are used, and names of version 0.1 that have moved up.
COMPUTED = {
    "__init__.py",
    "cells/__init__.py",
    "cells/registry.py",
    "cli/catalogue.py",
    "comparison/__init__.py",
    "compose/kept.py",
    "data/__init__.py",
    "lang/cell.py",
    "tasks/__init__.py",
    "training/__init__.py",
}


def test_whatever_imports_by_a_computed_name_is_known() -> None:
    found = set()
    for file in SOURCE.rglob("*.py"):
        for node in ast.walk(tree_of(file)):
            if imports_by_name(node) and not isinstance(node.args[0], ast.Constant):
                found.add(str(file.relative_to(SOURCE)))
    assert found <= COMPUTED, found - COMPUTED


@pytest.mark.parametrize("part", ["", "comparison", "training"])
def test_type_checkers_see_the_public_names_that_are_loaded_late(part: str) -> None:
    tree = tree_of(SOURCE / part / "__init__.py")
    seen = {
        alias.asname or alias.name
        for node in [*tree.body, *late(tree, f"recurra.{part}".strip(".")).body]
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    module = importlib.import_module(f"recurra.{part}".strip("."))
    assert set(module.__all__) - {"__version__"} <= seen
    assert module._HOME_OF


# ---- the walk itself -----------------------------------------------------------------------------


def package(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder


@pytest.mark.parametrize(
    ("file", "text", "imported"),
    [
        ("ir/graph.py", "from recurra.lang import cell", "recurra.lang"),
        ("lang/cell.py", "import recurra.passes.plan", "recurra.passes.plan"),
        ("lang/cell.py", "def f():\n    from recurra.nn import layer\n", "recurra.nn"),
        ("lang/cell.py", "from ..nn import layer", "recurra.nn"),
        ("lang/__init__.py", "from ..nn import layer", "recurra.nn"),
        ("passes/deep/down.py", "from ...backends import load", "recurra.backends"),
        ("backends/load.py", "from recurra import cells", "recurra.cells"),
        ("backends/load.py", "from recurra.cells import lstm", "recurra.cells"),
        ("cells/lstm.py", "from recurra.ir import Dim", "recurra.ir"),
        ("data/text.py", "from recurra.training import train", "recurra.training"),
        ("decoding/beam.py", "from recurra.data import Vocabulary", "recurra.data"),
        ("models/lm.py", "from recurra.data import Vocabulary", "recurra.data"),
        ("nn/layer.py", "import recurra", "recurra"),
        ("training/__init__.py", "from recurra.runs import Run", "recurra.runs"),
        ("training/__init__.py", "def f():\n    from recurra.runs import Run", "recurra.runs"),
        (
            "training/__init__.py",
            "_HOMES = {'recurra.tasks': ('train',)}",
            "recurra.tasks",
        ),
        (
            "training/step.py",
            "if TYPE_CHECKING:\n    from recurra.runs import Run",
            "recurra.runs",
        ),
        ("errors.py", "if True:\n    from recurra import ir", "recurra.ir"),
        (
            "ir/graph.py",
            "import importlib\nimportlib.import_module('recurra.nn')",
            "recurra.nn",
        ),
    ],
)
def test_walk_finds_a_violation(tmp_path: Path, file: str, text: str, imported: str) -> None:
    (found,) = violations(package(tmp_path, {file: text}))
    assert found.startswith(f"{file}:")
    assert found.endswith(f"imports {imported}")


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("__init__.py", "from recurra.nn import layer\nfrom recurra import cells"),
        ("lang/cell.py", "from recurra.ir import Dim\nfrom recurra.lang.trace import Trace"),
        ("lang/deep/down.py", "from . import other\nfrom .. import trace\nfrom ...ir import Dim"),
        ("cells/lstm.py", "from recurra.lang import cell\nfrom recurra.cells.gru import gru"),
        ("training/__init__.py", "if TYPE_CHECKING:\n    from recurra.runs import Run"),
        (
            "training/__init__.py",
            "_HOMES = {'recurra.comparison': 'A', 'recurra.views': 'B'}",
        ),
        ("nn/layer.py", "from recurra import cells\nimport torch\nfrom recurral import x"),
        ("training/lm.py", "from recurra.data import a\nfrom recurra.decoding import b"),
        ("cli/main.py", "import recurra\nfrom recurra.app import serve"),
    ],
)
def test_walk_allows_what_runs_down(tmp_path: Path, file: str, text: str) -> None:
    assert violations(package(tmp_path, {file: text})) == []


# ---- machines that lack something ----------------------------------------------------------------

# what torch does without as well, on one system or another
MISSING = ["fcntl", "resource", "termios", "pwd", "grp", "tty", "pty", "readline", "curses"]


@pytest.mark.medium
def test_everything_imports_and_runs_where_a_system_has_less(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a module of one system alone is needed, nor that processes fork."""
    # a lock is a file there, and that of a system with locks stays when it is free
    monkeypatch.setenv("RECURRA_CACHE", str(tmp_path))
    program = (
        f"import os, sys\nfor name in {MISSING}:\n    sys.modules[name] = None\n"
        "import torch\n"
        "for name in ('register_at_fork', 'fork', 'getuid', 'O_NOFOLLOW'):\n"
        "    hasattr(os, name) and delattr(os, name)\n"
        "import importlib, pkgutil, recurra as rc\n"
        "for module in pkgutil.walk_packages(rc.__path__, 'recurra.'):\n"
        "    if not module.name.endswith('__main__'): importlib.import_module(module.name)\n"
        "ours, theirs, x = rc.GRU(3, 4), torch.nn.GRU(3, 4), torch.randn(6, 2, 3)\n"
        "ours.load_state_dict(theirs.state_dict())\n"
        "torch.testing.assert_close(ours(x)[0], theirs(x)[0])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
