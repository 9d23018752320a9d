"""Translations of texts: searched batch by batch, each as if it were alone.

Letters: S steps of a source, B batch, K beams of each, N = B K rows.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from recurra.decoding import Hypothesis, Sampler, beam_search, first_choices
from recurra.decoding.beam import largest, length_norm
from recurra.models.decoders import looking
from recurra.models.translation import Translation, Writing
from recurra.nn.plain import evaluating
from recurra.nn.stack import one_or_all
from recurra.nn.stream import Stream
from recurra.text import Vocabulary, WordVocabulary
from recurra.text.words import UNKNOWN_WORD

if TYPE_CHECKING:
    from recurra.models.translator import Translator


class Rows:
    """The decoder of a translator a step at a time, on N rows; see `decoding.StepDecoder`.

    A context: at its end a stream that is compiled is kept for the next rows, for what it packed.
    """

    def __init__(
        self, model: "Translator", memory: Tensor, counts: Tensor, summary: Tensor
    ) -> None:
        """Start N rows.

        Args:
            memory: [S, N, K], of each row.
            counts: [N], positions of each.
            summary: [N, D*H].
        """
        self._model = model
        first = one_or_all(model.first_state(summary, len(memory)))
        self._device = memory.device
        self._is_compiled = True  # as long as the stream does not say otherwise
        N, kept = memory.shape[1], _taken(model)
        if kept is not None:
            self._stream = kept
            kept.reset(first, batch_size=N, memory=memory, memory_lengths=counts)
            return
        self._stream = Stream(
            model.decoder,
            N,
            memory=memory,
            memory_lengths=counts,
            embedding=model.target_embedding,
            decoder=model.output,
        )
        self._stream.reset(first)

    def __enter__(self) -> "Rows":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None and self._stream.is_compiled:
            _KEPT[self._model] = self._stream

    def __call__(self, tokens: Tensor) -> Tensor:
        """The logits [N, V + 1] after tokens [N]."""
        return self._stream(tokens.to(self._device))

    def choose(
        self, tokens: Tensor, count: int, mark: int, *, left_out: bool, log_probabilities: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As `ChoosingDecoder` says: in compiled code, where the stream is."""
        options = {"left_out": left_out, "log_probabilities": log_probabilities}
        tokens = tokens.to(self._device)
        found = None
        if self._is_compiled:
            found = self._stream.choose(tokens, count, mark=mark, **options)
            self._is_compiled = found is not None
        return largest(self._stream(tokens), count, mark, **options) if found is None else found

    def reorder(self, rows: Tensor) -> None:
        """As `StepDecoder` says; rows that read one memory may take each other's places alone."""
        rows = rows.to(self._device)
        if len(rows) == self._stream.batch_size:
            self._stream.reorder(rows)
        else:
            self._stream.select(rows)


# The stream that a translator wrote with last. Who writes takes it, so that nobody else does.
_KEPT: "WeakKeyDictionary[Translator, Stream]" = WeakKeyDictionary()


def _taken(model: "Translator") -> Stream | None:
    """The stream that was kept, if it still is of the parts that the model has."""
    stream = _KEPT.pop(model, None)
    parts = (model.decoder, model.target_embedding, model.output)
    return stream if stream is not None and stream.is_of(*parts) else None


def write(model: "Translator", texts: list[str], how: Writing, where: str) -> list[Translation]:
    """A translation of each text, in their order."""
    how.check(where)
    vocabulary: Vocabulary = model.needed("target_vocabulary", where)
    ids = model.ids_of(texts)
    found = [Translation(text="", score=0.0) for _ in texts]
    there = [n for n, each in enumerate(ids) if len(each)]
    there.sort(key=lambda n: len(ids[n]))  # of like length side by side
    with evaluating(model), torch.no_grad():
        for first in range(0, len(there), how.batch_size):
            some = there[first : first + how.batch_size]
            sources = [ids[n] for n in some]
            numbers = [how.first + n for n in some]
            said = searched(model, sources, how, numbers=numbers)
            maps = _maps(model, sources, said, how, vocabulary)
            for n, hypotheses, looked in zip(some, said, maps, strict=True):
                found[n] = _translation(model, texts[n], ids[n], hypotheses, looked, how)
    return found


def searched(
    model: "Translator", sources: Sequence[Tensor], how: Writing, numbers: Sequence[int] = ()
) -> list[list[Hypothesis]]:
    """The best token sequences for each source, [S] int64 each, the best first."""
    device = model.output.weight.device
    lengths = torch.tensor([len(each) for each in sources], dtype=torch.int64, device=device)
    padded = nn.utils.rnn.pad_sequence(list(sources)).to(device)
    memory, counts, summary = model.encode(padded, lengths)
    limits = [how.max_length or 2 * length + 10 for length in lengths.tolist()]
    if how.beam_size == 1 or how.temperature > 0:
        generators = None
        if how.temperature > 0:
            generators = [
                torch.Generator().manual_seed(how.seed * 1_000_003 + n)
                for n in (numbers or range(len(sources)))
            ]
        with Rows(model, memory, counts, summary) as decoder:
            drawn = first_choices(
                decoder,
                limits,
                mark=model.mark,
                sampler=Sampler(temperature=how.temperature),
                generators=generators,
                scored=how.scored,
            )
        return [[each] for each in drawn]
    K = how.beam_size
    rows = torch.arange(len(sources), dtype=torch.int64, device=device).repeat_interleave(K)
    with Rows(model, memory[:, rows], counts[rows], summary[rows]) as decoder:
        found = beam_search(
            decoder,
            limits,
            beam_size=K,
            mark=model.mark,
            length_penalty=how.length_penalty,
            num_best=K if how.coverage_penalty else how.num_best,
        )
    if how.coverage_penalty:
        found = _by_coverage(model, sources, found, how)
    return found


def _by_coverage(
    model: "Translator", sources: Sequence[Tensor], found: list[list[Hypothesis]], how: Writing
) -> list[list[Hypothesis]]:
    """The sequences in the order of their scores with the penalty of what was not looked at."""
    pairs = [(s, h) for s, each in zip(sources, found, strict=True) for h in each]
    maps = attention_of(model, [s for s, _ in pairs], [h.tokens for _, h in pairs])
    scored = []
    for (_, h), looked in zip(pairs, maps, strict=True):
        covered = looked.sum(0).clamp(1e-6, 1.0).log().sum()
        score = h.log_probability / float(length_norm(len(h.tokens) + 1, how.length_penalty))
        scored.append(
            Hypothesis(
                tokens=h.tokens,
                log_probability=h.log_probability,
                score=score + how.coverage_penalty * float(covered),
                finished=h.finished,
            )
        )
    of_each = iter(scored)
    ordered = [sorted((next(of_each) for _ in each), key=lambda h: -h.score) for each in found]
    return [each[: how.num_best] for each in ordered]


def attention_of(
    model: "Translator", sources: Sequence[Tensor], targets: Sequence[Sequence[int]]
) -> list[Tensor]:
    """Where the decoder looks while it writes each target, and its end: [T + 1, S] of each pair.

    Args:
        sources: token ids [S] of each.
        targets: token ids of each, without the mark.
    Raises:
        ValueError: when the model has no attention.
    """
    cell = model.attention_cell()
    if cell is None:
        raise ValueError(
            f"{type(model).__name__}: expected a model with attention to see where it looks, got "
            f"attention={model.attention!r}. Train one with attention."
        )
    device = model.output.weight.device
    layer = looking(model.decoder, cell)
    lengths = [len(each) for each in sources]
    padded = nn.utils.rnn.pad_sequence(list(sources)).to(device)
    memory, counts, summary = model.encode(padded, lengths)
    steps = [len(each) + 1 for each in targets]
    read = torch.full((max(steps), len(targets)), model.mark, dtype=torch.int64, device=device)
    for b, each in enumerate(targets):
        read[1 : len(each) + 1, b] = torch.tensor(each, dtype=torch.int64, device=device)
    states = tuple(state[:1] for state in model.first_state(summary, len(memory)))
    alpha, _ = layer(
        model.target_embedding(read),
        one_or_all(states),
        lengths=steps,
        memory=memory,
        memory_lengths=counts,
    )
    found = [
        alpha[:t, b, :s].float().cpu().clone()
        for b, (t, s) in enumerate(zip(steps, lengths, strict=True))
    ]
    return [each.flip(1) for each in found] if model.reverse_source else found


def _maps(
    model: "Translator",
    sources: Sequence[Tensor],
    said: Sequence[Sequence[Hypothesis]],
    how: Writing,
    vocabulary: Vocabulary,
) -> list[list[Tensor | None]]:
    """The attention of each sequence of each source, where it is needed: of the best if it is asked
    for, and where a word of the source is copied."""
    unknown = vocabulary.unknown_id
    copies = how.copy_unknown and unknown is not None
    needed = [
        (n, place)
        for n, each in enumerate(said)
        for place, one in enumerate(each)
        if (how.attention and place == 0) or (copies and unknown in one.tokens)
    ]
    maps: list[list[Tensor | None]] = [[None] * len(each) for each in said]
    if needed and model.attention_cell() is not None:
        looked = attention_of(
            model, [sources[n] for n, _ in needed], [said[n][place].tokens for n, place in needed]
        )
        for (n, place), each in zip(needed, looked, strict=True):
            maps[n][place] = each
    return maps


def _translation(
    model: "Translator",
    text: str,
    ids: Tensor,
    hypotheses: Sequence[Hypothesis],
    maps: Sequence[Tensor | None],
    how: Writing,
) -> Translation:
    read, said = model.source_vocabulary, model.target_vocabulary
    assert read is not None
    assert said is not None
    source = source_tokens(read, text, ids, model.lower)
    if not hypotheses:
        return Translation(text="", score=0.0, source=source)
    texts = [
        _written(said, each.tokens, source, looked if how.copy_unknown else None)
        for each, looked in zip(hypotheses, maps, strict=True)
    ]
    written, tokens = texts[0]
    others = zip(texts[1:], hypotheses[1:], strict=True)
    return Translation(
        text=written,
        score=hypotheses[0].score,
        tokens=tokens,
        source=source,
        others=tuple((text, each.score) for (text, _), each in others),
        attention=maps[0] if how.attention else None,
    )


def _written(
    vocabulary: Vocabulary, ids: Sequence[int], source: Sequence[str], looked: Tensor | None
) -> tuple[str, tuple[str, ...]]:
    """The line and the tokens of a sequence; in place of unknown words, where `looked` says where
    the decoder looked, those of the source that it looked at most."""
    tokens = [vocabulary.decode([one]).strip() for one in ids]
    text = text_of(vocabulary, ids)
    if looked is not None and vocabulary.unknown_id is not None:
        parts = text.split(UNKNOWN_WORD)
        for t, one in enumerate(ids):
            if one == vocabulary.unknown_id:
                tokens[t] = source[int(looked[t].argmax())]
                parts[:2] = [f"{parts[0]}{tokens[t]}{parts[1]}"]
        text = parts[0]
    return text, tuple(tokens)


def text_of(vocabulary: Vocabulary, tokens: Sequence[int]) -> str:
    """The line that the tokens spell."""
    return " ".join(vocabulary.decode(list(tokens)).split())


def source_tokens(vocabulary: Vocabulary, text: str, ids: Tensor, lower: bool) -> tuple[str, ...]:
    """What was read, token by token; words as they are written, known or not."""
    if isinstance(vocabulary, WordVocabulary):
        words = vocabulary.split(text)
        if len(words) == len(ids):
            return tuple(word.lower() for word in words) if lower else tuple(words)
    return tuple(vocabulary.decode([one]).strip() for one in ids.tolist())
