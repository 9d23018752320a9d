"""What a model has no id for in the texts that a command is given: said in one line."""

from collections.abc import Sequence
from typing import Any

import typer

from recurra.terminal import printable


class Unseen:
    """Counts the words of texts that a model never saw in training, and says which they are.

    Args:
        model: with `unseen(text)`, the symbols of a text that it has no id for, and how many there
            are in all.
        vocabulary: of what it reads.
        spelled: whether it reads a word that it does not know by its spelling, too.
    """

    def __init__(self, model: Any, vocabulary: Any, *, spelled: bool = False) -> None:
        self._model, self._spelled = model, spelled
        self._are_words = vocabulary.unknown_id is not None
        self._symbols: dict[str, None] = {}  # in the order in which they came
        self._texts = self._nothing_else = 0

    def read(self, text: str | Sequence[str]) -> None:
        """Count one text, or list of words."""
        symbols, count = self._model.unseen(text)
        self._symbols.update(dict.fromkeys(symbols))
        self._texts += 1
        self._nothing_else += bool(symbols) and len(symbols) == count

    def say(self) -> None:
        """Say it on stderr, where there is anything to say."""
        if not self._symbols:
            return
        from recurra.text.vocabulary import spelled_out

        kind = "word" if self._are_words else "character"
        how = "are left out"
        if self._are_words:
            how = f"are read as <unk>{' and by their spelling' if self._spelled else ''}"
        line = f"{kind}s never seen in training {how}: {spelled_out(list(self._symbols))}"
        if self._nothing_else:
            inputs = "input" if self._texts == 1 else "inputs"
            line += f"; in {self._nothing_else:,} of {self._texts:,} {inputs} no {kind} is known"
        typer.echo(printable(line), err=True)
