"""Lines of text on their way to a file, further in within blocks."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class Lines:
    """Lines that are written one after the other."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._depth = 0

    def line(self, text: str) -> None:
        """Write one line."""
        self._lines.append("    " * self._depth + text)

    def lines(self, texts: Iterable[str]) -> None:
        """Write some."""
        for text in texts:
            self.line(text)

    @contextmanager
    def block(self, opening: str, closing: str = "}") -> Iterator[None]:
        """What is written inside stands further in, between these two lines."""
        self.line(opening)
        self._depth += 1
        yield
        self._depth -= 1
        self.line(closing)

    def text(self) -> str:
        """All of them."""
        return "\n".join(self._lines) + "\n"
