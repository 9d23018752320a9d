"""Weights taken from another model to start from, where they mean the same."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from recurra.lang import Cell
from recurra.models.saving import Model
from recurra.text import Vocabulary, WordVocabulary

NAMED = 4  # tensors, at most, that a line names of each kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What one model took from another.

    Attributes:
        tensors: what was taken, by name: "" for a whole tensor, or how much of it.
        left: what was not, by name: why.
        others: in what the other model is another, in words, by the settings that make it so: the
            usual causes of what is not taken.
    """

    tensors: Mapping[str, str]
    left: Mapping[str, str]
    others: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """One line: how much was taken and how much was not, with a few names of each."""
        whole = len(self.tensors) + len(self.left)
        names = [f"{name} ({much})" for name, much in self.tensors.items() if much]
        names += [name for name, much in self.tensors.items() if not much]
        said = [f"taken: {len(names)} of {whole} tensors{_named(names)}"]
        reasons: dict[str, list[str]] = {}
        for name, why in self.left.items():
            reasons.setdefault("another shape there" if why[0] == "[" else why, []).append(name)
        said += [f"{why}: {len(left)}{_named(left)}" for why, left in reasons.items()]
        said += [self.cause] if self.left and self.others else []
        return "; ".join(said)

    @property
    def cause(self) -> str:
        """Why a tensor may not have been taken, in words."""
        return "; ".join(self.others.values()) or "its tensors have other names or shapes"


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f" ({', '.join(names[:NAMED])}{more})" if names else ""


def take_weights(model: Model, source: Model) -> Taken:
    """Copy into `model` each tensor of `source` that has its name, shape and meaning.

    Weights of recurrent layers mean the same in models of one cell. The rows of `embedding` are
    those of a vocabulary's words: of two vocabularies of words, the vectors of the words in both
    are taken. What turns the layers' output into scores is taken only from a model of the same
    class with the same labels or vocabulary.
    """
    own, theirs = dict(model.named_parameters()), dict(source.named_parameters())
    taken: dict[str, str] = {}
    left: dict[str, str] = {}
    with torch.no_grad():
        for name, parameter in own.items():
            other = theirs.get(name)
            why = _why_not(model, source, name, parameter, other)
            if why is None and _is_bias_alone(name, own, theirs):
                why = "weights of another shape there"
            if why is not None or other is None:
                left[name] = why or "none there"
                continue
            if name == "embedding.weight" and _words(model) and _words(source):
                taken[name] = _take_words(_words(model), _words(source), parameter, other)
            else:
                parameter.copy_(other)
                taken[name] = ""
    return Taken(tensors=taken, left=left, others=_others(model, source))


def _others(model: Model, source: Model) -> dict[str, str]:
    """What of the other model is another, by the settings that make it so."""
    own, theirs = _facts(model), _facts(source)
    found = {
        name: f"its {name} is {theirs[name]}, here {value}"
        for name, value in own.items()
        if name in theirs and theirs[name] != value
    }
    both = "cell" in own and "cell" in theirs
    if both and "cell" not in found and not _same_cell(model, source):
        found = {"cell": f"its cell {own['cell']} has other equations", **found}
    vocabularies = [getattr(each, "vocabulary", None) for each in (model, source)]
    if None not in vocabularies and vocabularies[0] != vocabularies[1]:
        found["data"] = "its vocabulary is another"
    return found


def _facts(model: Model) -> dict[str, Any]:
    """What decides whether weights agree, by the settings that have it."""
    cell, layers = _cell(model), getattr(model, "recurrent", None)
    table = getattr(getattr(model, "embedding", None), "weight", None)
    found = {
        "cell": None if cell is None else cell.name,
        "hidden_size": getattr(layers, "hidden_size", None),
        "num_layers": getattr(layers, "num_layers", None),
        "embedding_size": table.shape[-1] if isinstance(table, Tensor) else None,
    }
    return {name: value for name, value in found.items() if value is not None}


def _why_not(
    model: Model, source: Model, name: str, own: Tensor, other: Tensor | None
) -> str | None:
    """Why a tensor is not taken; None where it is."""
    part = name.partition(".")[0]
    if part == "recurrent" and not _same_cell(model, source):
        cell = _cell(source)
        return "no cell there" if cell is None else f"another cell there, {cell.name}"
    if other is None:
        return "none there"
    if part == "embedding" and own.dim() == 2 and _words(model) and _words(source):
        sizes = own.shape[1], other.shape[1]
        return None if sizes[0] == sizes[1] else f"vectors of {sizes[1]} numbers there"
    if own.shape != other.shape:
        return f"{list(other.shape)} there"
    vocabularies = getattr(model, "vocabulary", None), getattr(source, "vocabulary", None)
    if part in ("embedding", "decoder", "pairs") and None not in vocabularies:
        same = vocabularies[0] == vocabularies[1]
        if not same:
            return "another vocabulary there"
    if part == "decoder":
        labels = getattr(model, "labels", None), getattr(source, "labels", None)
        if type(model) is not type(source) or labels[0] != labels[1]:
            return "other outputs there"
    if part == "subwords" and getattr(model, "spelling", None) != getattr(source, "spelling", None):
        return "another spelling there"
    return None


def _is_bias_alone(name: str, own: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> bool:
    """Whether it is the bias of a layer whose weights have another shape there."""
    weight = f"{name.removesuffix('bias')}weight"
    shapes = {tensors[weight].shape for tensors in (own, theirs) if weight in tensors}
    return name.endswith(".bias") and len(shapes) > 1


def _words(model: Model) -> Any:
    vocabulary: Vocabulary | None = getattr(model, "vocabulary", None)
    return vocabulary if isinstance(vocabulary, WordVocabulary) else None


def _cell(model: nn.Module) -> Cell | None:
    return getattr(getattr(model, "recurrent", None), "cell", None)


def _same_cell(model: Model, source: Model) -> bool:
    own, other = _cell(model), _cell(source)
    return own is not None and other is not None and str(own) == str(other)


def _take_words(
    own: WordVocabulary, other: WordVocabulary, parameter: Tensor, vectors: Tensor
) -> str:
    """Copy the vectors of the words that both have; says how many those are."""
    place = {word: index for index, word in enumerate(other.words)}
    pairs = [(i, place[word]) for i, word in enumerate(own.words) if word in place]
    rows = torch.tensor(pairs, dtype=torch.int64, device=parameter.device)
    parameter[rows[:, 0]] = vectors[rows[:, 1].to(vectors.device)].to(parameter)
    return f"{len(pairs):,} of {len(own):,} words"
