from pathlib import Path

from recurra.files import AppendLog


def test_a_log_is_cut_back_to_a_mark_and_goes_on_from_there(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with AppendLog(path) as log:
        log.append(b"kept\n")
        mark = log.mark()
        log.append(b"written after the checkpoint, half a li")
    with AppendLog(path, keep=mark) as log:
        assert log.size == mark
        log.append(b"next\n")
        assert log.mark() == len(b"kept\nnext\n")
    assert path.read_bytes() == b"kept\nnext\n"


def test_a_mark_beyond_the_end_keeps_all(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"abc")
    with AppendLog(path, keep=100) as log:
        assert log.size == 3
    assert path.read_bytes() == b"abc"


def test_what_is_appended_is_in_the_file_at_once(tmp_path: Path) -> None:
    with AppendLog(tmp_path / "log") as log:
        log.append(b"row\n")
        assert (tmp_path / "log").read_bytes() == b"row\n"
