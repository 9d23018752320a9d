"""Captions of images: searched batch by batch, each as if it were alone.

Letters: N images, K beams of each, R = N K rows, P positions of a grid, F what the recurrence is
given of an image.
"""

from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from recurra.decoding import Constrained, Hypothesis, Sampler, beam_search, first_choices
from recurra.models.captions import BAD_ENDINGS, Caption, CaptionWriting
from recurra.models.decoders import looking
from recurra.models.writing import text_of
from recurra.nn.plain import evaluating
from recurra.nn.stack import one_or_all
from recurra.nn.stream import Stream
from recurra.text import Vocabulary, WordVocabulary

if TYPE_CHECKING:
    from recurra.models.captioner import Captioner


class CaptionRows:
    """The decoder of a captioner a step at a time, on R rows; see `decoding.StepDecoder`."""

    def __init__(self, model: "Captioner", seen: Tensor) -> None:
        """Start R rows.

        Args:
            seen: [R, F] or [R, P, F], of `Captioner.seen`.
        """
        self._model, self._seen, self._is_first = model, seen, True
        memory = seen.transpose(0, 1) if model.inject == "attend" else None
        self._stream = model.decoder.stream(len(seen), memory=memory)
        self._stream.reset(one_or_all(model.first_state(seen)))
        self._words: Stream | None = None
        if model.visual is not None:
            self._words = model.visual.stream(len(seen))
        if model.inject == "input":
            self._stream(seen)

    def __call__(self, tokens: Tensor) -> Tensor:
        """The logits [R, V + 1] after tokens [R]."""
        model = self._model
        x = model.embedding(tokens.to(model.output.weight.device))
        words = None if self._words is None else self._words(x)[None]
        read = model.read_with(x[None], self._seen, words, is_first=self._is_first)
        self._is_first = False
        return model.logits(self._stream(read[0])[None], x[None], self._seen)[0]

    def reorder(self, rows: Tensor) -> None:
        """As `StepDecoder` says; rows of one image may take each other's places alone."""
        rows = rows.to(self._seen.device)
        is_of_one = len(rows) == len(self._seen)
        for stream in (self._stream, self._words):
            if stream is not None:
                (stream.reorder if is_of_one else stream.select)(rows)
        if not is_of_one:
            self._seen = self._seen[rows]


def write(model: "Captioner", images: Any, how: CaptionWriting, where: str) -> list[Caption]:
    """A caption of each image, in their order."""
    how.check(where)
    vocabulary: Vocabulary = model.needed("vocabulary", where)
    if isinstance(images, str | PathLike) or not hasattr(images, "__len__"):
        raise ValueError(
            f"{where}: expected a list of pictures, got {images!r:.60}. Put it into one: [...]."
        )
    found: list[Caption] = []
    with evaluating(model), torch.no_grad():
        for first in range(0, len(images), how.batch_size):
            some = images[first : first + how.batch_size]
            given = some if isinstance(some, Tensor) else model.pixels(some)
            features = model.features(given)
            numbers = range(how.first + first, how.first + first + len(features))
            said = searched(model, features, how, numbers)
            looked: Sequence[Tensor | None] = [None] * len(said)
            if how.attention:
                looked = attention_of(model, features, [each[0].tokens for each in said])
            found += [_caption(vocabulary, h, a) for h, a in zip(said, looked, strict=True)]
    return found


def searched(
    model: "Captioner", features: Tensor, how: CaptionWriting, numbers: Sequence[int] = ()
) -> list[list[Hypothesis]]:
    """The best token sequences for each image, the best first; with the model's probabilities.

    Args:
        features: of `Captioner.features`.
        numbers: of the images, which what is drawn depends on; none count from 0.
    """
    limits = [how.max_length] * len(features)
    seen = model.seen(features)
    bad = _bad_endings(model, how)
    is_bound = bool(bad) or how.no_repeat_ngram > 0

    def rows(seen: Tensor) -> Any:
        decoder = CaptionRows(model, seen)
        if not is_bound:
            return decoder
        ngram = how.no_repeat_ngram
        return Constrained(decoder, mark=model.mark, no_repeat_ngram=ngram, bad_endings=bad)

    if how.beam_size == 1 or how.temperature > 0:
        generators = None
        if how.temperature > 0:
            generators = [
                torch.Generator().manual_seed(how.seed * 1_000_003 + n)
                for n in (numbers or range(len(features)))
            ]
        drawn = first_choices(
            rows(seen),
            limits,
            mark=model.mark,
            sampler=Sampler(temperature=how.temperature),
            generators=generators,
        )
        found = [[each] for each in drawn]
    else:
        found = beam_search(
            rows(seen.repeat_interleave(how.beam_size, dim=0)),
            limits,
            beam_size=how.beam_size,
            mark=model.mark,
            length_penalty=how.length_penalty,
            num_best=how.num_best,
        )
    return _as_probable(model, features, found) if is_bound else found


def _bad_endings(model: "Captioner", how: CaptionWriting) -> set[int]:
    """The tokens that no caption ends with."""
    vocabulary = model.vocabulary
    if not how.no_bad_ending or vocabulary is None:
        return set()
    words = {*BAD_ENDINGS}
    return {n for n in range(len(vocabulary)) if vocabulary.decode([n]).strip().lower() in words}


def _as_probable(
    model: "Captioner", features: Tensor, found: list[list[Hypothesis]]
) -> list[list[Hypothesis]]:
    """The sequences with the probabilities that the model gives them by itself."""
    tokens = [h.tokens for each in found for h in each]
    captions, lengths = side_by_side(tokens, features.device)
    which = [n for n, each in enumerate(found) for _ in each]
    log_p = model.log_probabilities(
        features,
        captions,
        lengths,
        which=torch.tensor(which, dtype=torch.int64, device=features.device),
    ).tolist()
    of_each = iter(log_p)
    return [
        [
            Hypothesis(
                tokens=h.tokens,
                log_probability=next(of_each),
                score=h.score,
                finished=h.finished,
            )
            for h in each
        ]
        for each in found
    ]


def side_by_side(
    captions: Sequence[Sequence[int]], device: torch.device
) -> tuple[Tensor, list[int]]:
    """Token ids [T, M] of captions, padded with 0, and the length of each."""
    lengths = [len(each) for each in captions]
    padded = torch.zeros((max(lengths), len(captions)), dtype=torch.int64, device=device)
    for m, each in enumerate(captions):
        padded[: len(each), m] = torch.tensor(each, dtype=torch.int64, device=device)
    return padded, lengths


def attention_of(
    model: "Captioner", features: Tensor, captions: Sequence[Sequence[int]]
) -> list[Tensor]:
    """Where the decoder looks while it writes each caption, and its end: [T + 1, rows, columns].

    Args:
        features: [N, P, D] of `Captioner.features`, those of each caption.
        captions: N, token ids of each, without the mark.
    Raises:
        ValueError: when the model has no attention.
    """
    cell = model.attention_cell()
    if cell is None:
        raise ValueError(
            f"{type(model).__name__}: expected a model with attention to see where it looks, got "
            f"inject={model.inject!r}. Train one with inject='attend'."
        )
    seen = model.seen(features)
    padded, lengths = side_by_side(captions, features.device)
    read = torch.cat([padded.new_full((1, len(captions)), model.mark), padded])
    states = tuple(state[:1] for state in model.first_state(seen))
    alpha, _ = looking(model.decoder, cell)(
        model.embedding(read),
        one_or_all(states),
        lengths=[length + 1 for length in lengths],
        memory=seen.transpose(0, 1),
    )
    rows, columns = model.grid_shape(seen.shape[1])
    return [
        alpha[: length + 1, m].float().cpu().unflatten(1, (rows, columns))
        for m, length in enumerate(lengths)
    ]


def whole_words(vocabulary: Vocabulary, said: Hypothesis) -> str:
    """The words that the tokens spell. Of a caption that was cut, the last may be a part of one,
    where tokens are: it is left out."""
    text = text_of(vocabulary, said.tokens)
    if said.finished or isinstance(vocabulary, WordVocabulary):
        return text
    return text.rpartition(" ")[0] or text


def _caption(vocabulary: Vocabulary, said: Sequence[Hypothesis], looked: Tensor | None) -> Caption:
    best = said[0]
    return Caption(
        text=whole_words(vocabulary, best),
        log_probability=best.log_probability,
        tokens=tuple(vocabulary.decode([one]).strip() for one in best.tokens),
        finished=best.finished,
        others=tuple((whole_words(vocabulary, h), h.log_probability) for h in said[1:]),
        attention=looked,
    )
