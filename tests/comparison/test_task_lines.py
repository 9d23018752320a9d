"""Tasks as one line: what may be given more than once is repeated, anything else is not."""

import pytest

from recurra.comparison.spelling import parse, spelled, typed
from recurra.settings import Settings
from recurra.tasks.options import LanguageTraining, TextSettings

KINDS: tuple[type[Settings], ...] = (TextSettings, LanguageTraining)


def test_several_files_are_a_setting_that_is_repeated() -> None:
    given = {"data": ("a, b.txt", "c.txt", "-"), "level": "word", "val_data": "d.txt"}
    line = spelled("lm", given)
    assert line == 'lm:data="a, b.txt",data=c.txt,data=-,level=word,val_data=d.txt'
    assert parse(line) == ("lm", given)
    assert typed("lm", KINDS, given) == given
    assert TextSettings.pick(given).data == given["data"]


def test_what_is_given_once_is_not_repeated() -> None:
    name, given = parse("lm:bptt=9,bptt=8")
    with pytest.raises(ValueError, match="task: expected bptt once, got it twice"):
        typed(name, KINDS, given)
