"""Clips: folders of frames, GIFs, videos, arrays and Soli's HDF5, with a truth at each frame."""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recurra.data.clip_files import ClipReading, read_frames
from recurra.data.clips import Clip, ClipData, clips_in, decoded_clips, read_clips
from recurra.data.defects import Defects
from recurra.errors import DataError

Image = pytest.importorskip("PIL.Image")


def grey(level: int, rows: int = 4, columns: int = 6) -> "Image.Image":
    return Image.new("RGB", (columns, rows), (level, level, level))


def frames_folder(folder: Path, levels: Sequence[int]) -> Path:
    """A folder of frames; numbers without zeros, so that names sort otherwise than numbers."""
    folder.mkdir(parents=True)
    for number, level in enumerate(levels, 1):
        grey(level).save(folder / f"frame_{number}.png")
    return folder


def table(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def levels(frames: np.ndarray) -> list[int]:
    return frames[:, 0, 0, 0].tolist()


def one(found: ClipData, part: str = "train") -> Clip:
    (clip,) = found.parts[part]
    return clip


TEN = tuple(range(0, 120, 10))


# ---- frames --------------------------------------------------------------------------------------


def test_a_folder_of_frames_is_read_in_the_order_of_numbers(tmp_path: Path) -> None:
    clip = frames_folder(tmp_path / "wave", TEN)
    (clip / "notes.txt").write_text("no picture")
    frames, count = read_frames(clip, ClipReading())
    assert (frames.shape, frames.dtype, count) == ((12, 3, 4, 6), np.uint8, 12)
    assert levels(frames) == list(TEN)
    fewer, count = read_frames(clip, ClipReading(every=5, size=(2, 3), colours="grey"))
    assert (fewer.shape, count) == ((3, 1, 2, 3), 12)
    assert levels(fewer) == [0, 50, 100]


def test_a_gif(tmp_path: Path) -> None:
    first, *rest = [grey(level) for level in TEN]
    first.save(tmp_path / "wave.gif", save_all=True, append_images=rest, duration=40)
    frames, count = read_frames(tmp_path / "wave.gif", ClipReading())
    assert (frames.shape, count) == ((12, 3, 4, 6), 12)
    assert levels(frames) == list(TEN)
    assert levels(read_frames(tmp_path / "wave.gif", ClipReading(every=6))[0]) == [0, 60]


def write_video(path: Path, shown: Sequence[int]) -> Path:
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for level in shown:
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), level, np.uint8), "rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.medium
def test_a_video(tmp_path: Path) -> None:
    path = write_video(tmp_path / "wave.mp4", [0, 60, 120, 180, 240])
    frames, count = read_frames(path, ClipReading(colours="grey", size=(24, 32)))
    assert (frames.shape, count) == ((5, 1, 24, 32), 5)
    assert np.abs(frames.mean((1, 2, 3)) - [0, 60, 120, 180, 240]).max() < 6  # codecs lose a little
    again, _ = read_frames(path, ClipReading(colours="grey", size=(24, 32)))
    assert (again == frames).all()


@pytest.mark.parametrize("values", [
    np.arange(24, dtype=np.uint8).reshape(3, 2, 4),
    np.linspace(0, 1, 48).reshape(3, 2, 2, 4),
])  # fmt: skip
def test_an_array(tmp_path: Path, values: np.ndarray) -> None:
    np.save(tmp_path / "a.npy", values)
    frames, _ = read_frames(tmp_path / "a.npy", ClipReading())
    assert frames.dtype == (np.uint8 if values.dtype == np.uint8 else np.float32)
    assert (frames == values.reshape(3, -1, 2, 4).astype(frames.dtype)).all()


def soli(path: Path, gesture: int, num_frames: int = 5, **others: np.ndarray) -> Path:
    """A recording in the layout of deep-soli."""
    h5py = pytest.importorskip("h5py")
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(gesture)
    with h5py.File(path, "w") as file:
        for channel in range(4):
            file[f"ch{channel}"] = random.uniform(-0.1, 1.1, (num_frames, 1024)).astype(np.float32)
        file["label"] = np.full((num_frames, 1), gesture)
        for name, values in others.items():
            del file[name]
            file[name] = values
    return path


@pytest.mark.medium
def test_solis_recordings_and_their_splits(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    names = [f"{gesture}_{session}_{n}" for gesture in (0, 2, 10) for session in (2, 3)
             for n in range(2)]  # fmt: skip
    for name in names:
        soli(tmp_path / "dsp" / f"{name}.h5", int(name.split("_")[0]))
    splits = tmp_path / "file_half.json"
    splits.write_text(json.dumps({"train": names[::2], "eval": [*names[1:10:2], "9_9_9"]}))
    found = read_clips(tmp_path / "dsp", splits=splits)
    assert {part: len(each) for part, each in found.parts.items()} == {
        "train": 5, "val": 1, "test": 5,
    }  # fmt: skip
    assert found.labels == ("0", "2", "10")  # in the order of numbers
    assert [note.replace(str(tmp_path), "F") for note in found.notes] == [
        "drawn, seed 0: val 10%",
        '1 clip of the file of splits that is not there is left out: F/file_half.json, "eval": '
        "no 9_9_9",
        "1 clip that the file of splits does not name is left out: F/file_half.json: 10_3_1",
    ]
    clip = found.parts["test"][0]
    assert (clip.name, clip.targets) == ("0_2_1", ("0",) * 5)
    with h5py.File(clip.path) as file:
        own = file["ch1"][()].reshape(5, 32, 32)
    frames = clip.frames()
    assert (frames.shape, frames.dtype) == ((5, 4, 32, 32), np.uint8)
    assert (frames[:, 1] == np.rint(own.clip(0, 1) * 255)).all()
    with pytest.raises(DataError, match=r'file_half.json, "eval": expected a clip of that name'):
        read_clips(tmp_path / "dsp", splits=splits, strict=True)


# ---- labels --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("wave.labels.csv", ["frame,label", "1,rest", "2,wave", "3,"]),
        ("wave_labels.txt", ["rest", "wave", '""']),
        ("wave.labels.tsv", ["time\tgesture\tsure", "0.0\trest\t1", "0.1\twave\t1", "0.2\t\t0"]),
        ("wave/labels.csv", ["label", "rest", "wave", '""']),
        ("labels.csv", ["clip,frame,label", "other,0,rest", "wave,0,rest", "wave,1,wave",
                        "wave,2,"]),
    ],
)  # fmt: skip
def test_a_label_at_each_frame(tmp_path: Path, name: str, lines: list[str]) -> None:
    frames_folder(tmp_path / "wave", (0, 10, 20))
    table(tmp_path / name, *lines)
    found = read_clips(tmp_path, draw=False)
    assert one(found).targets == ("rest", "wave", "")
    assert (found.labels, found.target_names) == (("rest", "wave"), ())
    assert levels(one(found).frames()) == [0, 10, 20]
    assert replace(one(found), how=ClipReading(every=2)).targets == ("rest", "")


def test_numbers_at_each_frame(tmp_path: Path) -> None:
    frames_folder(tmp_path / "eye", (0, 10))
    table(tmp_path / "eye.targets.csv", "frame,yaw,pitch", "0,1.5,-2", "1,,3")
    found = read_clips(tmp_path, draw=False)
    np.testing.assert_array_equal(one(found).targets, np.float32([[1.5, -2], [np.nan, 3]]))
    assert (found.labels, found.target_names) == ((), ("yaw", "pitch"))
    alone = read_clips(tmp_path, ClipReading(targets=("pitch",)), draw=False)
    assert (alone.target_names, one(alone).targets.shape) == (("pitch",), (2, 1))


def test_a_single_column_of_numbers_has_a_header(tmp_path: Path) -> None:
    frames_folder(tmp_path / "eye", (0, 10))
    table(tmp_path / "eye.targets.csv", "yaw", "1.5", "-2")
    found = read_clips(tmp_path, draw=False)
    np.testing.assert_array_equal(one(found).targets, np.float32([[1.5], [-2]]))
    assert found.target_names == ("yaw",)


@pytest.mark.medium
def test_one_table_of_many_clips_is_read_once(tmp_path: Path) -> None:
    for number in range(1000):
        np.save(tmp_path / f"{number:04}.npy", np.zeros((40, 1, 1), dtype=np.uint8))
    rows = (f"{n:04},{t},{('rest', 'wave')[t % 2]}" for n in range(1000) for t in range(40))
    table(tmp_path / "labels.csv", "clip,frame,label", *rows)
    started = time.process_time()
    found = read_clips(tmp_path, draw=False)
    assert time.process_time() - started < 20  # it takes one; anew for each clip it is minutes
    assert all(clip.targets == ("rest", "wave") * 20 for clip in found.parts["train"])


def test_parts_of_folders_and_drawn(tmp_path: Path) -> None:
    for part, count in (("train", 10), ("dev", 2)):
        for number in range(count):
            frames_folder(tmp_path / part / f"clip_{number}", (0, number))
            table(tmp_path / part / f"clip_{number}.labels.csv", "label", "a", "b")
    found = read_clips(tmp_path)
    assert {part: len(each) for part, each in found.parts.items()} == {
        "train": 9, "val": 2, "test": 1,
    }  # fmt: skip
    assert [clip.name for clip in found.parts["val"]] == ["clip_0", "clip_1"]
    again = read_clips(tmp_path)
    assert [c.name for c in again.parts["test"]] == [c.name for c in found.parts["test"]]
    assert found.notes == ("drawn, seed 0: test 10%",)


# ---- what is wrong -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["label", "rest", "", "wave"],
         "wave.labels.csv, line 4: expected a row for each of the 3 frames of wave, got 2, of "
         "which this is the last. Give it as many."),
        (["frame,label", "1,rest", "2,wave", "3,wave", "4,rest", "5,rest"],
         "wave.labels.csv, line 5: expected a row for each of the 3 frames of wave, got 5, of "
         "which this is the first without a frame. Give it as many."),
        (["frame,label", "1,rest", "3,wave"],
         "wave.labels.csv, line 3: expected frame 2 behind 1, got 3. Write a row for each frame"),
        (["a,b", "rest,x", "wave,y", "wave,z"],
         "wave.labels.csv: expected one column of labels, got a, b. Name it, tag_column="),
        (["label", "rest", "rest", "rest"],
         "wave: expected two labels or more to train on, got rest. Name the column"),
    ],
)  # fmt: skip
def test_labels_that_do_not_fit(tmp_path: Path, lines: list[str], message: str) -> None:
    frames_folder(tmp_path / "wave", (0, 10, 20))
    table(tmp_path / "wave.labels.csv", *lines)
    with pytest.raises(DataError) as error:
        list(decoded_clips(read_clips(tmp_path, draw=False).parts["train"], Defects()))
    assert message in str(error.value).replace(f"{tmp_path}/", "")
    assert "\n" not in str(error.value)


def test_damaged_clips_are_left_out_or_refused(tmp_path: Path) -> None:
    for number in range(3):
        frames_folder(tmp_path / f"clip_{number}", (0, 10 * number))
        table(tmp_path / f"clip_{number}.labels.csv", "label", "a", "b")
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.PNG")
    whole = (tmp_path / "noise.PNG").read_bytes()
    (tmp_path / "noise.PNG").unlink()
    (tmp_path / "clip_1" / "frame_2.png").write_bytes(whole[: len(whole) // 2])
    clips = read_clips(tmp_path, draw=False).parts["train"]
    defects = Defects()
    kept = [(clip.name, levels(frames)) for clip, frames in decoded_clips(clips, defects)]
    assert kept == [("clip_0", [0, 0]), ("clip_2", [0, 20])]
    (note,) = defects.notes
    assert note.startswith(
        f"1 clip that cannot be read is left out: {tmp_path}/clip_1/frame_2.png: one that is cut "
        "short or damaged"
    )
    with pytest.raises(DataError, match=r"clip_1/frame_2.png: expected a whole picture, got one"):
        list(decoded_clips(clips, Defects(strict=True)))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.mp4", "a.mp4: expected a whole clip, got one that is cut short or damaged"),
        ("a.gif", "a.gif: expected a picture (PNG, JPEG"),
        ("a.npy", "a.npy: expected an array of frames as numpy.save writes it, got: "),
        ("a.h5", "a.h5: expected a whole clip, got one that is cut short or damaged"),
    ],
)
def test_files_that_are_none(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / name).write_bytes(b"this is no clip of any kind, whatever its name says")
    with pytest.raises(DataError) as error:
        read_frames(tmp_path / name, ClipReading())
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_video_that_is_cut_short(tmp_path: Path) -> None:
    path = write_video(tmp_path / "wave.mp4", [0, 60, 120, 180, 240])
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match="cut short or damaged"):
        read_frames(path, ClipReading())


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"ch2": np.zeros((5, 1000))}, "expected ch2 of shape [T, 1024], got [5, 1000]"),
        ({"ch1": np.full((5, 1024), np.nan)}, "expected finite real numbers"),
    ],
)
def test_recordings_of_another_layout(
    tmp_path: Path, others: dict[str, np.ndarray], message: str
) -> None:
    path = soli(tmp_path / "0_2_0.h5", 0, **others)
    with pytest.raises(DataError) as error:
        read_frames(path, ClipReading())
    assert message in str(error.value)


@pytest.mark.medium
def test_a_recording_with_other_labels_than_frames(tmp_path: Path) -> None:
    path = soli(tmp_path / "1_2_0.h5", 1, label=np.array([0, 1, 1, 1]))
    with pytest.raises(DataError, match=r"expected a label for each of its 5 frames, got 4"):
        one(read_clips(path, draw=False)).frames()


def test_frames_of_different_sizes(tmp_path: Path) -> None:
    folder = frames_folder(tmp_path / "wave", (0, 10))
    grey(0, rows=5).save(folder / "frame_3.png")
    with pytest.raises(DataError, match=r"wave, frame 3: expected 4 rows and 6 columns as of the"):
        read_frames(folder, ClipReading())
    assert len(read_frames(folder, ClipReading(size=(4, 6)))[0]) == 3


def test_a_file_that_is_no_clip_is_told(tmp_path: Path) -> None:
    grey(0).save(tmp_path / "still.png")
    (tmp_path / "notes.txt").write_text("no clip")
    with pytest.raises(DataError, match=r"still\.png: expected a clip, .*, got one picture\. Put"):
        clips_in(tmp_path / "still.png", ClipReading(), labelled=False)
    with pytest.raises(DataError, match=r"notes\.txt: expected a clip, .*, got another file\. Put"):
        clips_in(tmp_path / "notes.txt", ClipReading(), labelled=False)


def test_clips_without_labels_or_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected clips: folders of pictures, GIFs"):
        read_clips(tmp_path)
    frames_folder(tmp_path / "wave", (0, 10))
    with pytest.raises(DataError, match=r"expected a table of its labels beside it, wave\.labels"):
        read_clips(tmp_path)
    table(tmp_path / "labels.csv", "clip,label", "other,a", "other,b")
    with pytest.raises(DataError, match="expected rows of the clip wave, got those of other"):
        read_clips(tmp_path)
    table(tmp_path / "labels.csv", "label", "a", "b")
    with pytest.raises(DataError, match="expected a column clip, as a table for all clips has"):
        read_clips(tmp_path)


@pytest.mark.parametrize(
    ("name", "module", "extra"), [("a.h5", "h5py", "hdf5"), ("a.mp4", "av", "video")]
)
def test_an_extra_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, module: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ModuleNotFoundError) as error:
        read_frames(tmp_path / name, ClipReading())
    assert str(error.value) == (
        f"{tmp_path}/{name}: expected {module} to read it with, got none. Install it: pip install "
        f"-e '.[{extra}]' in the clone of recurra."
    )
