"""What was said of sentences, in the columns that they came in, or in new ones."""

from pathlib import Path

import pytest

from recurra.data.conll import read_conll
from recurra.data.conll_writing import written_columns
from recurra.errors import DataError

UNIVERSAL = """# newdoc
# text = We don't.
1\tWe\twe\tPRON\tPRP\t_\t2\tnsubj\t_\t_
2-3\tdon't\t_\t_\t_\t_\t_\t_\t_\tSpaceAfter=No
2\tdo\tdo\tAUX\tVBP\t_\t0\troot\t_\t_
3\tn't\tnot\tPART\tRB\t_\t2\tadvmod\t_\t_
3.1\tgo\tgo\tVERB\tVB\t_\t_\t_\t_\t_

# text = Go
1\tGo\tgo\tVERB\tVB\t_\t0\troot\t_\t_

"""


def tagged(source: Path, out: Path, tag_column: str | None = None) -> str:
    """The file, with X1, X2 and so on said of its words."""
    with written_columns(out, tag_column) as put:
        number = 0
        for each in read_conll(source):
            labels = [f"X{number + n}" for n in range(1, len(each.words) + 1)]
            number += len(labels)
            put(each, each.words, labels)
    return out.read_text()


def test_of_universal_dependencies_the_tags_alone_are_others(tmp_path: Path) -> None:
    source = tmp_path / "a.conllu"
    source.write_text(UNIVERSAL)
    wanted = "# generator = recurra\n" + UNIVERSAL.replace("1\tGo\tgo\tVERB", "1\tGo\tgo\tX4")
    for old, new in (("PRON", "X1"), ("AUX", "X2"), ("PART", "X3")):
        wanted = wanted.replace(f"\t{old}\t", f"\t{new}\t")
    assert tagged(source, tmp_path / "b.conllu") == wanted
    assert "\tVERB\tX4\t" in tagged(source, tmp_path / "c.conllu", "xpos")
    assert "\tPRON\tX1\t" in tagged(source, tmp_path / "d.conllu", "5")
    with pytest.raises(DataError, match="expected labels of one of the columns lemma, upos"):
        tagged(source, tmp_path / "e.conllu", "form")
    assert not (tmp_path / "e.conllu").exists()


def test_of_older_columns_labels_stand_behind_all(tmp_path: Path) -> None:
    """As conlleval takes them; documents stay divided, in lines of as many columns."""
    source = tmp_path / "a.conll"
    source.write_text("-DOCSTART- -X- O\n\nU.N. NNP B-ORG\n# NN O\n\n\nPeter NNP B-PER\n")
    assert tagged(source, tmp_path / "b.conll") == (
        "-DOCSTART- -X- O O\n\nU.N. NNP B-ORG X1\n# NN O X2\n\nPeter NNP B-PER X3\n\n"
    )
    source.write_text("New York\tPLACE\n# a comment\nis\t\n")
    assert tagged(source, tmp_path / "c.conll") == (
        "New York\tPLACE\tX1\n# a comment\nis\t\tX2\n\n"
    )
    source.write_text("word pos ner\nU.N. NNP B-ORG\n\nPeter NNP B-PER\n")  # names stay
    assert tagged(source, tmp_path / "d.conll") == (
        "word pos ner predicted\nU.N. NNP B-ORG X1\n\nPeter NNP B-PER X2\n\n"
    )


def test_words_without_columns_get_some(tmp_path: Path) -> None:
    universal = "1\tThey\t_\tPRON\t_\t_\t_\t_\t_\t_\n2\tsleep\t_\tVERB\t_\t_\t_\t_\t_\t_\n\n"
    for name, wanted in (
        ("a.conll", "They\tPRON\nsleep\tVERB\n\n"),
        ("a.conllu", f"# generator = recurra\n{universal}"),
    ):
        with written_columns(tmp_path / name, None) as put:
            put(None, ["They", "sleep"], ["PRON", "VERB"])
            put(None, [], [])
        assert (tmp_path / name).read_text() == wanted
    # of the other form, whose rows do not fit: the word, what is true, and what is said
    other = next(read_conll(tmp_path / "a.conllu"))
    with written_columns(tmp_path / "b.conll", None) as put:
        put(other, other.words, other.tags)
    assert (tmp_path / "b.conll").read_text() == "They\tPRON\tPRON\nsleep\tVERB\tVERB\n\n"
