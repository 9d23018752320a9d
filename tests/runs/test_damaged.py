"""Run folders from elsewhere, damaged or hostile: each costs one line that names a file, soon."""

import json
import os
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from recurra.errors import DataError, RecurraError
from recurra.files import read_tensors, tensor_bytes
from recurra.training import evaluate_run, train_language_model
from recurra.views import SilentView

pytestmark = pytest.mark.medium

SETTINGS: dict[str, Any] = {
    "hidden_size": 6,
    "embedding_size": 4,
    "batch_size": 4,
    "bptt": 10,
    "max_steps": 4,
    "sample_length": 3,
    "device": "cpu",
}
SECONDS = 10.0
Damage = Callable[[Path], object]


@pytest.fixture(scope="module")
def wholes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A whole run of each level."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "text.txt").write_text("the cat sat on the mat, the dog ate the log.\n" * 60)
    settings = {**SETTINGS, "data": str(folder / "text.txt")}
    train_language_model(folder / "char", settings)
    train_language_model(folder / "bpe", {**settings, "level": "bpe", "vocab_size": 280})
    return {level: folder / level for level in ("char", "bpe")}


def at(path: str, value: Any, name: str = "config.json") -> Damage:
    """Put a value at a path of keys, "model/cell", in a JSON file; ... takes the key out."""

    def damage(run: Path) -> None:
        content = json.loads((run / name).read_text())
        *keys, last = path.split("/")
        inner = content
        for key in keys:
            inner = inner[key]
        if value is ...:
            inner.pop(last, None)
        else:
            inner[last] = value(inner.get(last)) if callable(value) else value
        (run / name).write_text(json.dumps(content))

    return damage


def text(name: str, content: str) -> Damage:
    return lambda run: (run / name).write_text(content)


def pipe(name: str) -> Damage:
    def damage(run: Path) -> None:
        (run / name).unlink()
        os.mkfifo(run / name)

    return damage


def cut(name: str, share: float) -> Damage:
    return lambda run: os.truncate(run / name, int((run / name).stat().st_size * share))


def flip(name: str, back: int) -> Damage:
    """Change one bit, so many bytes before the end."""

    def damage(run: Path) -> None:
        content = bytearray((run / name).read_bytes())
        content[-back] ^= 64
        (run / name).write_bytes(content)

    return damage


def tensors(name: str, change: Callable[[dict[str, Any]], object]) -> Damage:
    """Change the tensors of a file and give them a checksum that is right."""

    def damage(run: Path) -> None:
        found, metadata = read_tensors(run / name, "file")
        change(found)
        (run / name).write_bytes(tensor_bytes(found, metadata))

    return damage


def record(change: Callable[[dict[str, Any]], object]) -> Damage:
    """Change the record of a checkpoint."""

    def damage(run: Path) -> None:
        path = run / "training.safetensors"
        found, metadata = read_tensors(path, "file")
        content = json.loads(metadata["record"])
        change(content)
        path.write_bytes(tensor_bytes(found, {**metadata, "record": json.dumps(content)}))

    return damage


def header(name: str, change: Callable[[dict[str, Any]], object]) -> Damage:
    """Change the header of a safetensors file alone."""

    def damage(run: Path) -> None:
        content = (run / name).read_bytes()
        (length,) = struct.unpack("<Q", content[:8])
        described = json.loads(content[8 : 8 + length])
        change(described)
        made = json.dumps(described).encode()
        (run / name).write_bytes(struct.pack("<Q", len(made)) + made + content[8 + length :])

    return damage


def first_with(found: dict[str, Any], words: str) -> str:
    return next(name for name in found if words in name)


def replace_tensor(words: str, change: Callable[[torch.Tensor], torch.Tensor | None]) -> Any:
    def apply(found: dict[str, Any]) -> None:
        name = first_with(found, words)
        changed = change(found.pop(name))
        if changed is not None:
            found[name] = changed

    return apply


def nested(depth: int) -> Any:
    cell: dict[str, Any] = {"cell": "lstm", "constants": {}, "equations": None}
    for _ in range(depth):
        made = {"composer": "residual", "options": {}, "of": cell}
        cell = {"cell": "lstm", "constants": {}, "equations": None, "composed": made}
    return cell["composed"]


def tokenizer(change: Callable[[dict[str, Any]], object]) -> Damage:
    """Change the tokenizers library's JSON in the vocabulary."""

    def changed(content: Any) -> Any:
        inner = json.loads(content)
        change(inner)
        return json.dumps(inner)

    return at("vocabulary/tokenizer", changed)


CHECKPOINT, MODEL = "training.safetensors", "model.safetensors"
TOKENS, TOKENS_HEADER = "tokens/text.tokens", "tokens/text.tokens.json"

# What resuming must refuse, or survive.
DAMAGES: dict[str, Damage] = {
    "config deep": text("config.json", "[" * 100_000),
    "config deep inside": text("config.json", '{"format": 1, "a": ' + "[" * 200_000),
    "config list": text("config.json", "[]"),
    "config empty": text("config.json", ""),
    "config pipe": pipe("config.json"),
    "task gone": at("task", ...),
    "vocabulary null": at("vocabulary", None),
    "vocabulary level": at("vocabulary/level", "runes"),
    "vocabulary level list": at("vocabulary/level", ["char"]),
    "vocabulary empty": at("vocabulary", {}),
    "model null": at("model", None),
    "class null": at("model/class", None),
    "class list": at("model/class", ["LanguageModel"]),
    "cell null": at("model/cell", None),
    "cell unknown": at("model/cell", "warp"),
    "constants list": at("model/constants", [1]),
    "constants unknown": at("model/constants", {"depth": 10**9}),
    "sizes list": at("model/sizes", [3]),
    "dtype float8": at("model/dtype", "float8_e4m3fn"),
    "dtype function": at("model/dtype", "zeros"),
    "composed null": at("model/composed", 3),
    "composed deep": at("model/composed", nested(400)),
    "composed twelve": at("model/composed", nested(12)),
    "composer unknown": at("model/composed", {"composer": "system", "options": {}, "of": {}}),
    **{
        f"{name} {value!r}": at(f"model/{name}", value)
        for name in ("hidden_size", "num_layers")
        for value in (10**5, 10**9, 10**40, -1, 1.5, "8", None, [4])
    },
    "vocab_size": at("model/vocab_size", 10**9),
    "embedding_size": at("model/embedding_size", 10**9),
    "dropout text": at("model/dropout", "much"),
    "data null": at("data", None),
    "tokens gone": at("data/tokens", ...),
    "tokens negative": at("data/tokens/train", -5),
    "tokens text": at("data/tokens/train", "many"),
    "tokens other": at("data/tokens/val", 10**12),
    "own validation text": at("data/val_data", "elsewhere.txt"),
    "training null": at("training", None),
    "training unknown": at("training/warp", 9),
    "sample_length": at("training/sample_length", 10**9),
    "batch_size": at("training/batch_size", 10**12),
    "bptt": at("training/bptt", 10**12),
    "lr text": at("training/lr", "fast"),
    "optimizer": at("training/optimizer", "warp"),
    "optimizer other": at("training/optimizer", "sgd"),
    "seed huge": at("training/seed", 10**40),
    "threads huge": at("training/threads", 10**9),
    "backend": at("training/backend", "warp"),
    "device": at("training/device", "tpu"),
    **{
        f"{name} {how}": change(name)
        for name in (CHECKPOINT, MODEL)
        for how, change in {
            "cut": lambda name: cut(name, 0.5),
            "cut a little": lambda name: cut(name, 0.99),
            "empty": lambda name: cut(name, 0),
            "a bit flipped": lambda name: flip(name, 100),
            "pipe": pipe,
            "float8": lambda name: header(
                name, lambda h: h[first_with(h, "bias")].update(dtype="F8_E4M3")
            ),
            "shape huge": lambda name: header(
                name, lambda h: h[first_with(h, "bias")].update(shape=[10**9, 10**9])
            ),
            "offsets": lambda name: header(
                name, lambda h: h[first_with(h, "bias")].update(data_offsets=[0, 2**62])
            ),
            "entry list": lambda name: header(
                name, lambda h: h.update({first_with(h, "bias"): [1]})
            ),
            "header huge": lambda name: (
                lambda run: (run / name).write_bytes(struct.pack("<Q", 2**62) + b"{}")
            ),
            "header deep": lambda name: (
                lambda run: (run / name).write_bytes(struct.pack("<Q", 90_000) + b"[" * 90_000)
            ),
            "weight missing": lambda name: tensors(
                name, replace_tensor("decoder.weight", lambda w: None)
            ),
            "weight of other size": lambda name: tensors(
                name, replace_tensor("decoder.weight", lambda w: w[:, :-1].clone())
            ),
        }.items()
    },
    "record gone": tensors(CHECKPOINT, lambda found: None),
    **{
        f"exp_avg {how}": tensors(CHECKPOINT, replace_tensor("/exp_avg", change))
        for how, change in {
            "missing": lambda m: None,
            "int32": lambda m: m.to(torch.int32),
            "one number": lambda m: torch.zeros(1),
            "none": lambda m: torch.zeros(0),
            "3 x 3": lambda m: torch.zeros(3, 3),
        }.items()
    },
    "random cut": tensors(CHECKPOINT, replace_tensor("random/cpu", lambda r: r[:100].clone())),
    "random other": tensors(CHECKPOINT, replace_tensor("random/cpu", lambda r: r.float())),
    "random missing": tensors(CHECKPOINT, replace_tensor("random/cpu", lambda r: None)),
    "carried other": tensors(CHECKPOINT, replace_tensor("carried/", lambda c: c[..., :2].clone())),
    "carried missing": tensors(CHECKPOINT, replace_tensor("carried/", lambda c: None)),
    "carried int": tensors(CHECKPOINT, replace_tensor("carried/", lambda c: c.long())),
    "weights nan": tensors(
        CHECKPOINT, replace_tensor("model/decoder.weight", lambda w: w * float("nan"))
    ),
    "weights int": tensors(CHECKPOINT, replace_tensor("model/decoder.weight", lambda w: w.long())),
    **{
        f"record {path} {value!r}": record(
            lambda r, path=path, value=value: r[path.split("/")[0]].update(
                {path.split("/")[1]: value}
            )
        )
        for path in (
            *("progress/step", "progress/index", "progress/elapsed_s", "progress/sampled"),
            *("progress/best", "progress/interval", "schedule/scale", "schedule/best"),
            *("marks/metrics", "marks/samples"),
        )
        for value in ("many", -3, 10**30)
    },
    "marks gone": record(lambda r: r.pop("marks")),
    "progress null": record(lambda r: r.update(progress=None)),
    "schedule list": record(lambda r: r.update(schedule=[1])),
    "record format": record(lambda r: r.update(format=7)),
    "tokens cut": cut(TOKENS, 0.5),
    "tokens pipe": pipe(TOKENS),
    "id past the vocabulary": lambda run: (run / TOKENS).write_bytes(
        b"\xff" * (run / TOKENS).stat().st_size
    ),
    "tokens header deep": text(TOKENS_HEADER, "[" * 100_000),
    "tokens header pipe": pipe(TOKENS_HEADER),
    "tokens header count": at("count", 2**70, TOKENS_HEADER),
    "tokens header dtype": at("dtype", "O", TOKENS_HEADER),
    "tokens header vocabulary": at("vocabulary", None, TOKENS_HEADER),
    "metrics pipe": pipe("metrics.csv"),
    "samples folder": lambda run: ((run / "samples.txt").unlink(), (run / "samples.txt").mkdir()),
}
BPE_DAMAGES: dict[str, Damage] = {
    "no json": at("vocabulary/tokenizer", "{"),
    "number": at("vocabulary/tokenizer", 7),
    "padding": tokenizer(
        lambda t: t.update(
            padding={
                "strategy": {"Fixed": 2**40},
                "direction": "Right",
                "pad_to_multiple_of": None,
                "pad_id": 0,
                "pad_type_id": 0,
                "pad_token": "x",
            }
        )
    ),
    "word pieces": tokenizer(lambda t: t["model"].update(type="WordPiece")),
    "foreign letters": tokenizer(lambda t: t["model"]["vocab"].update({"\u6f22": 280})),
    "gap": tokenizer(lambda t: t["model"]["vocab"].update({"zzz": 10**9})),
    "vocab null": tokenizer(lambda t: t["model"].update(vocab=None)),
}
CASES = [("char", name, damage) for name, damage in DAMAGES.items()]
CASES += [("bpe", name, damage) for name, damage in BPE_DAMAGES.items()]


def outcome(use: Callable[[], object]) -> str:
    """What the use says: nothing where it goes through."""
    try:
        use()
    except RecurraError as error:
        return str(error)
    return ""


def fault(run: Path, use: Callable[[], object]) -> str | None:
    """What is wrong, unless the use goes through or ends in one line that names a file, soon."""
    started = time.monotonic()
    try:
        said = outcome(use)
    except BaseException as error:
        return f"{type(error).__name__}: {error!s:.200}"
    if time.monotonic() - started > SECONDS:
        return "took too long"
    names_it = not said or str(run) in said or "device" in said or "backend" in said
    return None if names_it and "\n" not in said and len(said) < 2000 else f"said {said!r:.300}"


def try_all(wholes: dict[str, Path], scratch: Path) -> None:
    """Damage a run in each way; print a line for each that then does wrong."""
    torch.set_num_threads(1)
    for level, name, damage in CASES:
        print(f"{level}, {name}", flush=True)  # the last line, should it end the process
        run = scratch / "run"
        shutil.copytree(wholes[level], run)
        damage(run)
        for use in (
            lambda: evaluate_run(run, split="val"),  # noqa: B023 - called at once
            lambda: train_language_model(run, {"max_steps": 5}, resume=True),  # noqa: B023
        ):
            if found := fault(run, use):
                print(f"FAULT {level}, {name}: {found}", flush=True)
        shutil.rmtree(run)
    print("all tried", flush=True)


def test_every_damage_costs_one_line(wholes: dict[str, Path], tmp_path: Path) -> None:
    # In a process of its own, which a crash may end, and where no types are checked at run time.
    script = (
        "from pathlib import Path\nimport test_damaged\n"
        f"test_damaged.try_all({{k: Path(v) for k, v in "
        f"{ {level: str(path) for level, path in wholes.items()}!r}.items()}}, "
        f"Path({str(tmp_path)!r}))"
    )
    here = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(here), *sys.path])}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("FAULT")] == []
    assert lines[-1] == "all tried", (lines[-1], done.stderr[-500:])


def test_the_run_that_is_damaged_is_whole(wholes: dict[str, Path], tmp_path: Path) -> None:
    for level, whole in wholes.items():
        shutil.copytree(whole, tmp_path / level)
        assert evaluate_run(tmp_path / level)["tokens"] > 0
        assert train_language_model(tmp_path / level, {"max_steps": 5}, resume=True).steps == 5


@pytest.mark.parametrize("name", ["metrics.csv", "samples.txt", "events", "config.json", ".lock"])
def test_nothing_is_written_through_a_link(
    wholes: dict[str, Path], tmp_path: Path, name: str
) -> None:
    run, mine = tmp_path / "run", tmp_path / "mine"
    shutil.copytree(wholes["char"], run)
    path = next(run.glob("events*")) if name == "events" else run / name
    content = path.read_bytes() if path.exists() else b"mine"
    mine.write_bytes(content)
    path.unlink(missing_ok=True)
    path.symlink_to(mine)
    said = outcome(lambda: train_language_model(run, {"max_steps": 5}, resume=True))
    assert mine.read_bytes() == content
    if name == "config.json":
        assert said == ""  # it is replaced: a link is only read
        assert not path.is_symlink()
    else:
        assert str(path) in said or str(run) in said


def test_a_second_name_of_a_log_keeps_its_content(wholes: dict[str, Path], tmp_path: Path) -> None:
    run, copy = tmp_path / "run", tmp_path / "copy"
    shutil.copytree(wholes["char"], run)
    shutil.copytree(run, copy, copy_function=os.link)
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    train_language_model(run, {"max_steps": 5}, resume=True)
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before


def test_a_token_file_cut_while_it_is_read(wholes: dict[str, Path], tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(wholes["char"], run)

    class Cutting(SilentView):
        def noted(self, message: str) -> None:
            os.truncate(run / TOKENS, 100)

    with pytest.raises(DataError, match=r"text\.tokens: expected .* cut while it was read"):
        train_language_model(run, {"max_steps": 9}, resume=True, view=lambda _: Cutting())


def test_files_without_a_checksum_are_read(wholes: dict[str, Path], tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(wholes["char"], run)
    for name in (CHECKPOINT, MODEL):
        header(name, lambda h: h["__metadata__"].pop("crc32"))(run)
    assert evaluate_run(run)["tokens"] > 0
    assert train_language_model(run, {"max_steps": 5}, resume=True).steps == 5
