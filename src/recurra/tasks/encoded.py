"""What tasks share whose examples are encoded once, for a model that reads sequences.

Such a task reads the user's files into three parts, encodes each into a file of the run's folder,
and keeps in config.json what it encoded them with: the parts that its models own.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from recurra.data import Buckets, Examples, Source
from recurra.data.opening import open_inputs
from recurra.data.records import Records
from recurra.models.parts import PartKind, declared_parts
from recurra.models.reading import Reader
from recurra.tasks.cells import with_cell
from recurra.tasks.encoding import (
    FOLDER,
    check_files,
    read_kept_vectors,
    read_lexicon,
    write_lexicon,
    write_vectors,
)
from recurra.text import Spelling, Vocabulary, WordVectors, WordVocabulary
from recurra.training.settings import RunSettings
from recurra.training.task import Task

PARTS = ("train", "val", "test")

ReaderT = TypeVar("ReaderT", bound=Reader)
BatchT = TypeVar("BatchT")


class EncodedTask(Task[ReaderT, BatchT]):
    """Encoded examples by part, with what they were encoded with.

    A subclass has an attribute for each part that its models declare, under the same name, and its
    constructor takes each by that name.

    Attributes:
        model_class: of the task's models.
        embedding_size: of words whose vectors start from nothing, where settings give none.

    Args:
        parts: by split, "train" and "val" at least.
        vocabulary: of the tokens; None for series.
        spelling: of the words, where the model is to read that too.
        lexicon: words that ids of examples are places in, those of the vocabulary before others;
            empty where ids are the vocabulary's.
        vectors: to start words from.
        description: of the data as they were read, as JSON has it.
    """

    model_class: ClassVar[type[Any]]
    embedding_size: ClassVar[int]

    def __init__(
        self,
        parts: Mapping[str, Any],
        *,
        vocabulary: Vocabulary | None = None,
        spelling: Spelling | None = None,
        lexicon: Sequence[str] = (),
        vectors: WordVectors | None = None,
        description: Mapping[str, Any] | None = None,
    ) -> None:
        self.parts = parts
        self.vocabulary, self.spelling = vocabulary, spelling
        self.lexicon, self.vectors = tuple(lexicon), vectors
        self.description = dict(description or {})
        self._ids: Tensor | None = None  # of the words of the lexicon
        self._pieces: Tensor | None = None
        if lexicon:
            assert isinstance(vocabulary, WordVocabulary)
            self._ids = torch.from_numpy(vocabulary.word_ids(self.lexicon))
        if spelling is not None:
            self._pieces = torch.from_numpy(spelling.encode(self.lexicon))

    # ---- data ------------------------------------------------------------------------------------

    @classmethod
    def check(cls, settings: RunSettings) -> RunSettings:
        """The settings with the cell that they name; DataError when a file is not there."""
        check_files(settings.data)
        return with_cell(settings)

    @property
    def owned(self) -> dict[str, PartKind]:
        """What its models own, by name; names of labels only where there are some."""
        every = {name: getattr(self, name) for name in declared_parts(self.model_class)}
        return {name: part for name, part in every.items() if part}

    @classmethod
    def open(cls, folder: Path, config: Mapping[str, Any]) -> "EncodedTask[Any, Any]":
        """The examples in a run's folder, and what they were encoded with."""
        parts = {name: cls.open_part(folder / FOLDER / f"{name}.examples") for name in PARTS}
        owned = {
            name: part.kind.from_config(config[name])
            for name, part in declared_parts(cls.model_class).items()
            if config.get(name) is not None
        }
        lexicon: list[str] = []
        if cls.has_lexicon(owned):
            lexicon = [*owned["vocabulary"].words, *read_lexicon(folder)]
        data = config.get("data")
        data = data if isinstance(data, dict) else {}
        return cls(
            parts,
            lexicon=lexicon,
            vectors=read_kept_vectors(folder),
            description=data.get("described"),
            **owned,
            **cls.options_of(data),
        )

    @classmethod
    @abstractmethod
    def open_part(cls, path: Path) -> Examples[Any]:
        """The examples of a part, of a file of a run's folder."""

    @classmethod
    def has_lexicon(cls, owned: Mapping[str, Any]) -> bool:
        """Whether a task whose models own these parts has one."""
        return "vocabulary" in owned

    @classmethod
    def options_of(cls, data: Mapping[str, Any]) -> dict[str, Any]:
        """What the constructor takes besides, of the settings of the data."""
        return {}

    def keep(self, folder: Path) -> None:
        """Write into a run's folder what `open` reads there besides the examples."""
        if self.lexicon and self.vocabulary is not None:
            write_lexicon(folder, self.lexicon[len(self.vocabulary) :])
        if self.vectors is not None:
            write_vectors(folder, self.vectors)

    def entries(self) -> dict[str, Any]:
        """What the examples are encoded with, and what was read."""
        made = {name: part.to_config() for name, part in self.owned.items()}
        return {**made, "data": {"described": self.description}}

    @property
    def unit(self) -> str:
        """What a step of an example is, in the plural."""
        return "steps" if self.vocabulary is None else unit_of(self.vocabulary.level)

    def extent(self, part: str) -> str:
        """How many steps the examples of a part have, all together and each."""
        lengths = self.part(part).lengths
        return (
            f"{int(lengths.sum()):,} {self.unit}, {int(lengths.min())} to {int(lengths.max())} each"
        )

    def part(self, name: str) -> Any:
        """The examples of a part.

        Raises:
            ValueError: when there is no such part.
        """
        if name not in self.parts:
            raise ValueError(
                f"split: expected one of {', '.join(self.parts)}, got {name!r}. Choose one."
            )
        return self.parts[name]

    # ---- model -----------------------------------------------------------------------------------

    def build(self, model: Any, *, backend: str = "auto") -> ReaderT:
        """A model for the data, with what reads texts and says what they are."""
        options = model.arguments()
        if model.embedding_size is None:
            options["embedding_size"] = (
                self.embedding_size if self.vectors is None else self.vectors.size
            )
        made = self.model_class(**self.owned, **options, backend=backend)
        if self.vectors is not None:
            made.load_vectors(self.vectors)
        return made

    def adopt(self, model: ReaderT) -> None:
        """Give the model what reads texts and says what they are."""
        for name in declared_parts(self.model_class):
            setattr(model, name, self.owned.get(name))

    # ---- training --------------------------------------------------------------------------------

    def source(self, split: str, training: Any) -> Source[BatchT]:
        """Batches of examples of like length."""
        return Buckets(self.part(split), training.batch_size, seed=training.seed)

    def read(self, model: nn.Module, batch: Any) -> Tensor:
        """What the model gives for a batch that has `x` and `lengths`, where the model is."""
        x, lengths, pieces = self.given(model, batch)
        return model(x, lengths) if pieces is None else model(x, lengths, pieces=pieces)

    def given(self, model: nn.Module, batch: Any) -> tuple[Tensor, Tensor, Tensor | None]:
        """What the model is called with for a batch, where it is: x, lengths, and how words are
        spelled where it reads that."""
        like = next(model.parameters())
        x, lengths = batch.x, batch.lengths.to(like.device)
        if x.is_floating_point():
            return x.to(like), lengths, None
        ids = x if self._ids is None else self._ids[x]
        pieces = None if self._pieces is None else self._pieces[x].to(like.device)
        return ids.to(like.device), lengths, pieces

    def some(self, split: str, most: int) -> Any:
        """A batch of at most so many examples of a part, spread over all of it."""
        part = self.part(split)
        chosen = np.linspace(0, len(part) - 1, min(most, len(part))).round().astype(np.int64)
        return part.gather(chosen)

    # ---- predicting ------------------------------------------------------------------------------

    @classmethod
    def inputs(cls, model: ReaderT, path: Path, how: Any) -> Records:
        """Texts or series without what is to be said of them, as the model reads them."""
        return open_inputs(
            path,
            series=not cls.reads_texts(model),
            text_column=column(getattr(how, cls.input_column)),
            encoding=how.encoding,
        )

    @classmethod
    def reads_texts(cls, model: ReaderT) -> bool:
        """Whether the model has words; else it reads series."""
        return model.embedding is not None


def unit_of(level: str) -> str:
    """What a token of a vocabulary's level is, in the plural."""
    return {"char": "characters", "byte": "bytes", "bpe": "pieces"}.get(level, "words")


def column(given: str | None) -> str | int | None:
    """A column's name, or its number from 1."""
    return int(given) if given is not None and given.isdecimal() else given
