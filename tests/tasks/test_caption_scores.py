"""Scores of captions: those of the field on our tokens, and what is true of scenes."""

import shutil

import numpy as np
import pytest

from recurra.data.worlds import judge, scenes
from recurra.models import Caption
from recurra.tasks.caption_scores import Consensus, facts_right, scene_of, scored, warnings

REFERENCES = [
    ["a red dog runs", "the dog runs over grass"],
    ["two cats sleep on a mat", "cats on a mat"],
    ["a boat", "a small boat on the sea"],
]


def test_what_people_say_scores_best_and_other_words_nothing() -> None:
    best = scored([each[0] for each in REFERENCES], REFERENCES)
    assert best["bleu1"] == pytest.approx(1.0)
    assert best["bleu4"] == pytest.approx(1.0, abs=1e-6)
    assert best["rouge_l"] == pytest.approx(1.0)
    assert best["exact"] == 1.0
    assert "facts" not in best
    worst = scored(["x y z", "", "w"], REFERENCES)
    assert worst["cider"] == worst["exact"] == worst["rouge_l"] == 0
    assert worst["bleu4"] < 1e-6
    mixed = scored(["a red dog runs", "", "x"], REFERENCES)
    assert worst["cider"] < mixed["cider"] < best["cider"]
    assert mixed["exact"] == pytest.approx(1 / 3)


@pytest.mark.skipif(shutil.which("java") is None, reason="METEOR runs in Java")
@pytest.mark.medium
def test_meteor_is_there_where_java_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, of two captions that are references and one of other words: Java starts for seconds."""
    said = ["a red dog runs", "cats on a mat", "w"]
    assert 0.2 < scored(said, REFERENCES, java=True)["meteor"] < 0.9
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert "meteor" not in scored(said, REFERENCES, java=True)


def test_the_reward_is_the_scorers_cider_over_the_whole_part() -> None:
    from pycocoevalcap.cider.cider import Cider

    said = ["a red dog on grass", "cats on a mat", "the boat on on a a sea"]
    _, each = Cider().compute_score(
        {n: list(r) for n, r in enumerate(REFERENCES)}, {n: [s] for n, s in enumerate(said)}
    )
    reward = Consensus(REFERENCES)
    np.testing.assert_allclose(reward(said, [0, 1, 2]), each, rtol=1e-9)
    assert reward(said[1:2], [1])[0] == pytest.approx(each[1])  # whatever else is asked
    assert reward(["x", ""], [0, 0]).tolist() == [0, 0]


def test_a_scene_is_known_by_its_captions_and_judges_others() -> None:
    world = scenes(train=1, val=1, test=60, unseen=1, size=24)["test"]
    references = world.captions
    for scene, each in zip(world.scenes, references, strict=True):
        assert scene_of(each) == tuple(sorted(scene, key=lambda s: (s.row, s.column)))
    for style in range(5):
        said = [each[style] for each in references]
        assert facts_right(said, references) == 1.0
    moved = [each[0] for each in references[1:]] + [references[0][0]]
    truth = np.mean([judge(t, s).correct for t, s in zip(moved, world.scenes, strict=True)])
    assert facts_right(moved, references) == truth < 0.2
    assert facts_right(["a dog"], [["a dog"]]) is None


def caption(text: str, *, finished: bool = True) -> Caption:
    return Caption(text=text, log_probability=-1.0, finished=finished)


def test_what_is_wrong_is_said_in_a_line_each() -> None:
    good = [caption("a dog"), caption("a cat")]
    assert warnings(good) == []
    (endless,) = warnings([*good * 9, caption("a a a", finished=False)])
    assert endless == "5.3% of captions do not end: expected at most 5%; train longer"
    assert warnings([*good * 10, caption("a a a", finished=False)]) == []
    (same,) = warnings([caption("a dog"), caption("a dog")])
    assert same.startswith("all 2 images have one caption, 'a dog': the image does not reach")
    (empty,) = warnings(good, empty=3)
    assert empty == "3 captions have no word and are left out"
