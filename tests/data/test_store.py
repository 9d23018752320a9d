"""Example files: what is written is read back, whole or not at all, and damage is named."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recurra.data import Buckets, LabelledExamples, measure_scaling
from recurra.data.store import ExampleFile, open_examples, read_example_file, write_examples
from recurra.errors import DataError

Pairs = list[tuple[np.ndarray, int]]
IDS: Pairs = [(np.array([3, 1, 2]), 0), (np.array([5]), 1), (np.array([7, 7]), 1)]


def series(lengths: list[int], channels: int) -> Pairs:
    rng = np.random.default_rng(0)
    return [(rng.normal(size=(n, channels)), n % 3) for n in lengths]


def same(examples: LabelledExamples, pairs: Pairs) -> bool:
    return len(examples) == len(pairs) and all(
        np.array_equal(examples.sequence(n), values.astype(examples.values.dtype))
        and examples.labels[n] == label
        for n, (values, label) in enumerate(pairs)
    )


@pytest.mark.medium
@given(st.lists(st.integers(1, 9), min_size=1, max_size=9), st.integers(0, 3))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_is_read_back(tmp_path: Path, lengths: list[int], channels: int) -> None:
    pairs = series(lengths, channels) if channels else [(np.arange(n), n % 3) for n in lengths]
    made = write_examples(tmp_path / "x" / "a.examples", iter(pairs), num_classes=3)
    examples = open_examples(tmp_path / "x" / "a.examples")
    assert same(examples, pairs)
    assert examples.input_size == (channels or None)
    assert isinstance(examples.values, np.memmap)
    assert read_example_file(made.path) == made
    made.verify()


def test_batches_come_from_the_file_as_from_memory(tmp_path: Path) -> None:
    pairs = series([3, 1, 2, 5, 4], 2)
    path = write_examples(tmp_path / "a", pairs, num_classes=3, made_from={"source": "x"}).path
    assert read_example_file(path).made_from == {"source": "x"}
    in_memory = LabelledExamples.of(*zip(*pairs, strict=True))
    for index in range(3):
        ours, theirs = (
            Buckets(each, 2).batch(1, index) for each in (open_examples(path), in_memory)
        )
        assert ours.x.equal(theirs.x)
        assert ours.target.equal(theirs.target)
    assert measure_scaling(open_examples(path)) == measure_scaling(in_memory)


def test_the_digest_is_that_of_the_examples(tmp_path: Path) -> None:
    def digest(name: str, pairs: Pairs) -> str:
        return write_examples(tmp_path / name, pairs, num_classes=2).digest

    assert digest("a", IDS) == digest("b", IDS)
    other_label = [*IDS[:2], (IDS[2][0], 0)]
    other_cut = [(np.array([3, 1]), 0), (np.array([2, 5]), 1), IDS[2]]
    assert (
        len({digest("a", each) for each in (IDS, IDS[::-1], IDS[:2], other_label, other_cut)}) == 5
    )


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    made = write_examples(tmp_path / "a", IDS, num_classes=2)

    def breaking() -> Pairs:
        yield IDS[0]
        raise RuntimeError("the text ended")

    with pytest.raises(RuntimeError, match="the text ended"):
        write_examples(tmp_path / "a", breaking(), num_classes=2)
    with pytest.raises(DataError, match="expected at least one example, got none"):
        write_examples(tmp_path / "a", [], num_classes=2)
    assert same(made.examples(), IDS)
    assert sorted(os.listdir(tmp_path)) == ["a", "a.json"]


def cut(made: ExampleFile) -> None:
    made.path.write_bytes(made.path.read_bytes()[:-1])


def without_header(made: ExampleFile) -> None:
    made.path.with_name("a.json").unlink()


def gone(made: ExampleFile) -> None:
    made.path.unlink()


def other_format(made: ExampleFile) -> None:
    made.path.with_name("a.json").write_text('{"format": "recurra tokens 1"}')


def header_of_nothing(made: ExampleFile) -> None:
    header = json.loads(made.path.with_name("a.json").read_text())
    made.path.with_name("a.json").write_text(json.dumps({**header, "count": 0}))


def used(path: Path) -> None:
    open_examples(path)
    read_example_file(path).verify()


def changed(at: int, value: int) -> bytes:
    """Not bytes of the file but how one is changed: see `test_damage_is_named`."""
    return bytes([at, value])


# values 6 * 4 = 24 bytes, offsets 4 * 8, labels 3 * 4
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut, r"expected 68 bytes \(3 examples of 6 steps\), got 67. The file was cut short"),
        (without_header, r"expected an example file with its header a\.json, got No such file"),
        (gone, "expected an example file, got No such file or directory. Prepare it again"),
        (other_format, r"expected the header of an example file.*recurra tokens 1"),
        (header_of_nothing, r"expected the header of an example file.*0 examples of 6 steps"),
        (changed(32, 99), "expected offsets that grow, got 0 to 6. The file is damaged"),
        (changed(24, 1), "expected offsets that grow, got 1 to 6. The file is damaged"),
        (changed(67, 9), r"expected labels in 0\.\.1, got 0 to 150994945. The file is damaged"),
        (changed(0, 9), "expected the bytes that were written, got others"),
    ],
)
def test_damage_is_named(tmp_path: Path, damage: object, message: str) -> None:
    made = write_examples(tmp_path / "a", IDS, num_classes=2)
    if isinstance(damage, bytes):
        content = bytearray(made.path.read_bytes())
        content[damage[0]] = damage[1]
        made.path.write_bytes(content)
    else:
        damage(made)  # type: ignore[operator]
    with pytest.raises(DataError, match=message) as caught:
        used(made.path)
    assert str(caught.value).startswith(str(tmp_path / "a"))


def test_a_file_that_is_cut_while_it_is_read_is_named(tmp_path: Path) -> None:
    made = write_examples(tmp_path / "a", IDS, num_classes=2)
    examples = made.examples()
    os.truncate(made.path, 8)
    with pytest.raises(DataError, match=r"a: expected 68 bytes, got 8: the file was cut"):
        examples.gather(np.array([0]))


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([(np.array([1.5]), 0)], r"example 0: expected ids \[T\] as of the first, got float64"),
        ([(np.ones((2, 3)), 0), (np.ones((2, 2)), 0)], r"example 1: expected numbers \[T, 3\]"),
        ([*IDS, (np.ones((2, 2)), 0)], r"example 3: expected ids \[T\]"),
        ([(np.ones(0, dtype=int), 0)], "example 0: expected 1 step or more, got none"),
        ([(np.array([1]), 2)], r"example 0: expected a class in 0\.\.1, got 2"),
        ([(np.array([2**31]), 0)], "example 0: expected ids in 0"),
        ([(np.array([-1]), 0)], "example 0: expected ids in 0"),
    ],
)
def test_examples_that_do_not_fit_are_refused(tmp_path: Path, pairs: Pairs, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_examples(tmp_path / "a", pairs, num_classes=2)
    assert not list(tmp_path.iterdir())
