"""Scores of captions: by pycocoevalcap's scorers on our tokens, and what is wrong with them.

Letters: N images.
"""

import math
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from recurra.data.worlds import Facts, Scene, Shape, judge, parse
from recurra.data.worlds.scene_facts import PLACES
from recurra.errors import argument
from recurra.models import Caption

MOST_UNFINISHED = 0.05  # of captions, without a word of warning


def scored(
    said: Sequence[str], references: Sequence[Sequence[str]], *, java: bool = False
) -> dict[str, float]:
    """The scores of all captions together.

    Args:
        said: N captions, tokens with spaces between.
        references: of each image, what people say of it, likewise.
        java: whether METEOR is asked for too, and SPICE where its models are; both run in Java.
    Returns:
        `bleu1` to `bleu4`, `rouge_l`, `meteor`, `spice`: 0 to 1; `cider`: 0 to 10, CIDEr-D, whose
        document frequencies are of these references; `exact`: the share that is a reference;
        `facts`, where the references say all that is true of their images: see `facts_right`.

    Source: Papineni et al. (2002); Lin (2004); Vedantam, Zitnick, Parikh (2015), arXiv:1411.5726;
    Chen et al. (2015), "Microsoft COCO Captions", arXiv:1504.00325, whose scorers these are.
    """
    check_scorers()
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    truth = {n: [*each] for n, each in enumerate(references)}
    found = {n: [text] for n, text in enumerate(said)}
    bleu, _ = Bleu(4).compute_score(truth, found, verbose=0)
    scores = {f"bleu{n}": float(value) for n, value in enumerate(bleu, 1)}
    scores["rouge_l"] = float(Rouge().compute_score(truth, found)[0])
    scores["cider"] = float(Cider().compute_score(truth, found)[0])
    if java:
        scores |= _by_java(truth, found)
    pairs = list(zip(said, references, strict=True))
    scores["exact"] = sum(text in each for text, each in pairs) / len(pairs)
    if (right := facts_right(said, references)) is not None:
        scores["facts"] = right
    return scores


def check_scorers() -> None:
    """Raise ModuleNotFoundError, in one line that says how to get it, without pycocoevalcap."""
    try:
        import pycocoevalcap.cider.cider  # noqa: F401
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "captions: expected pycocoevalcap to score them, got none. Install it: "
            "pip install -e '.[vision]' in the clone of recurra.",
            name=error.name,
        ) from None


def _by_java(truth: dict[int, list[str]], found: dict[int, list[str]]) -> dict[str, float]:
    """METEOR, and SPICE where the models that it parses with were fetched; none without Java."""
    if shutil.which("java") is None:
        return {}
    from pycocoevalcap.meteor.meteor import Meteor

    meteor = Meteor()
    scores = {"meteor": float(meteor.compute_score(truth, found)[0])}
    for pipe in (meteor.meteor_p.stdout, meteor.meteor_p.stderr):  # it closes its input alone
        if pipe is not None:
            pipe.close()
    import pycocoevalcap.spice.spice as spice

    if list((Path(spice.__file__).parent / "lib").glob("stanford-corenlp-*models*.jar")):
        scores["spice"] = float(spice.Spice().compute_score(truth, found)[0])
    return scores


# ---- scenes --------------------------------------------------------------------------------------


def scene_of(references: Iterable[str]) -> Scene | None:
    """The scene that captions are of; None unless one of them says the place of every shape."""
    for text in references:
        facts = parse(text)
        if facts is not None and len(facts.places) == len(facts.shapes):
            return _scene(facts)
    return None


def _scene(facts: Facts) -> Scene | None:
    places = dict(facts.places)
    where = {name: (r, c) for r, names in enumerate(PLACES) for c, name in enumerate(names)}
    shapes = []
    for number, told in enumerate(facts.shapes):
        if told.size is None or told.colour is None or told.kind is None:
            return None
        row, column = where[places[number]]
        shapes.append(
            Shape(size=told.size, colour=told.colour, kind=told.kind, row=row, column=column)
        )
    return tuple(shapes)


def facts_right(said: Sequence[str], references: Sequence[Sequence[str]]) -> float | None:
    """The share of captions of which every fact is true, and which leave out no shape.

    None where the references are not those of scenes.
    """
    right = 0
    for text, each in zip(said, references, strict=True):
        scene = scene_of(each)
        if scene is None:
            return None
        right += judge(text, scene).correct
    return right / len(said)


# ---- what is wrong -------------------------------------------------------------------------------


def warnings(said: Sequence[Caption], empty: int = 0) -> list[str]:
    """What is wrong with captions, a line each.

    Args:
        said: of different images.
        empty: captions of the data without a word.
    """
    found = []
    unfinished = sum(not each.finished for each in said) / max(1, len(said))
    if unfinished > MOST_UNFINISHED:
        found.append(
            f"{unfinished:.1%} of captions do not end: expected at most {MOST_UNFINISHED:.0%}; "
            "train longer"
        )
    if len(said) > 1 and len({each.text for each in said}) == 1:
        found.append(
            f"all {len(said):,} images have one caption, {said[0].text!r:.60}: the image does not "
            f"reach the words; train longer, or with another {argument('inject=')}"
        )
    if empty:
        found.append(f"{empty:,} captions have no word and are left out")
    return found


# ---- rewards -------------------------------------------------------------------------------------

_NGRAMS = 4
_SIGMA = 6.0  # of the Gaussian over differences of length, in bigrams

_Vectors = tuple[list[dict[tuple[str, ...], float]], list[float], int]


class Consensus:
    """CIDEr-D of captions of some images, with the document frequencies of a whole part.

    It is the number that pycocoevalcap's scorer has for the whole part; that scorer counts
    frequencies in what it is given alone, and makes vectors of all references each time.

    Args:
        references: of each image of the part, tokens with spaces between.

    Source: Vedantam, Zitnick, Parikh (2015), "CIDEr", CVPR, arXiv:1411.5726, section 5 (CIDEr-D).
    """

    def __init__(self, references: Sequence[Sequence[str]]) -> None:
        self._references = [[*each] for each in references]
        counts: Counter[tuple[str, ...]] = Counter()
        for each in self._references:
            counts.update({ngram for text in each for ngram in _ngrams(text)})
        whole = math.log(max(1, len(references)))
        self._weights = {ngram: whole - math.log(count) for ngram, count in counts.items()}
        self._rarest = whole
        self._made: dict[int, list[_Vectors]] = {}

    def __call__(self, said: Sequence[str], images: Sequence[int]) -> np.ndarray:
        """[M] float64, of each caption of the image with that number."""
        return np.array([self._score(t, n) for t, n in zip(said, images, strict=True)])

    def _score(self, text: str, image: int) -> float:
        if image not in self._made:
            self._made[image] = [self._vectors(each) for each in self._references[image]]
        own = self._vectors(text)
        each = [_alike(own, other) for other in self._made[image]]
        return 10.0 * sum(each) / (len(each) * _NGRAMS)

    def _vectors(self, text: str) -> _Vectors:
        """Of each length of n-grams, weights by n-gram; their norms; how many bigrams there are."""
        vectors: list[dict[tuple[str, ...], float]] = [{} for _ in range(_NGRAMS)]
        counts = _ngrams(text)
        for ngram, count in counts.items():
            vectors[len(ngram) - 1][ngram] = count * self._weights.get(ngram, self._rarest)
        norms = [math.sqrt(sum(v * v for v in each.values())) for each in vectors]
        return vectors, norms, sum(c for ngram, c in counts.items() if len(ngram) == 2)


def _ngrams(text: str) -> Counter[tuple[str, ...]]:
    words = text.split()
    lengths = range(1, _NGRAMS + 1)
    return Counter(tuple(words[i : i + n]) for n in lengths for i in range(len(words) - n + 1))


def _alike(own: _Vectors, other: _Vectors) -> float:
    """The sum over lengths of n-grams of the clipped cosine, less for another length."""
    total = 0.0
    for mine, theirs, norm, their_norm in zip(own[0], other[0], own[1], other[1], strict=True):
        both = sum(min(v, theirs[k]) * theirs[k] for k, v in mine.items() if k in theirs)
        total += both / (norm * their_norm) if norm and their_norm else both
    return total * math.exp(-((own[2] - other[2]) ** 2) / (2 * _SIGMA**2))
