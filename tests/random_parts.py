"""Statements of random cells: parts of vectors, and matrices that are made of parameters."""

import random


class Parts:
    """A part of the writer of random cells, which has the rest."""

    rng: random.Random
    values: dict[str, str]
    sized: set[str]

    def _any(self) -> str | None:
        raise NotImplementedError

    def _of_size(self, size: str) -> str:
        raise NotImplementedError

    def _assign(self, size: str, text: str) -> str:
        raise NotImplementedError

    def _squashed(self, text: str) -> str:
        raise NotImplementedError

    def _parameter(self, size: tuple[str, ...]) -> str:
        raise NotImplementedError

    def _sliced(self, a: str, size: str) -> None:
        """Parts of a vector by known bounds, unequal ones, and one number of it."""
        form = self.rng.choice(
            (
                "concat({0}[1:], {0}[:1])",
                "concat({0}[-1:], {0}[:-1]) * {0}[0]",
                "{0}[:1] * {1}",
                "concat(*split({0}, [1, '{2}'])[::-1])",
                "{0}[-1] + {1}[:1] * {0}",
            )
        )
        rest = "3" if size == "4" else f"{size} - 1"
        text = form.format(a, self._of_size(size), rest)
        self._assign(size, self._squashed(text))

    def _of_parameters(self) -> None:
        """A matrix that is made of parameters alone, times a vector; or its sums."""
        a = self._any()
        if a is None:
            return
        size = self.values[a]
        # d stands beside a matrix: its size does not follow
        matrix, other, d = (self._parameter(n) for n in ((size, size), (size, size), (size,)))
        regular = f"({matrix} @ {matrix}.T + 2 * eye('{size}'))"
        form = self.rng.choice(
            (
                "tanh(0.5 * {0}) @ {a}",
                "({0} - {0}.T) @ {a}",
                "({0} * {1}) @ {a}",
                "({0} * (1.0 * {d})) @ {a}",
                "softmax({0}, dim=1) @ {a} + {1} @ {a}",
                "sum({0}, dim=1) * {a} + mean({1}, dim=0)",
                "inverse({r}) @ {a}",
                "solve({r}, {1}) @ {a} + diag({0})",
                "solve({r}, {a})",
                "diag(sigmoid({d})) @ ({1} @ {a})",
                "matrix_exp(0.4 * ({0} - {0}.T)) @ {a}",
            )
        )
        if "{d}" in form:
            self.sized.add(d)
        text = form.format(matrix, other, a=a, d=d, r=regular)
        self._assign(size, self._squashed(text))
