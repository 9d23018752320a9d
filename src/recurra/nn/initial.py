"""How parameters start: the rules that the literature names, for cells and for layers.

A rule fills a parameter in place. A cell says how its parameters start with `init={"W_hh":
"orthogonal"}` or `init={"b_f": "chrono784"}`; a layer overrides that with `init={...}` of the
same form, where a rule may also be a function made here, `chrono(784)`, or any function of the
parameter.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.init import eye_, orthogonal_, uniform_

from recurra.lang.rules import SHORTEST_CHRONO, function_of, rule_of


@dataclass(frozen=True, slots=True)
class Filling:
    """A rule that a function of this module has made of a number; called, it fills a parameter."""

    function: str
    number: int | float
    fill: Callable[[Tensor], Tensor]

    def __call__(self, parameter: Tensor) -> Tensor:
        """Fill the parameter in place."""
        return self.fill(parameter)

    @property
    def word(self) -> str:
        """The rule in one word, as `parse` reads it."""
        return f"{self.function}{self.number!r}"


def orthogonal(gain: float = 1.0) -> Filling:
    """Orthogonal rows or columns; a matrix of stacked square blocks has each block orthogonal.

    Source: Saxe, McClelland, Ganguli (2014), "Exact solutions to the nonlinear dynamics of learning
    in deep linear neural networks", ICLR, arXiv:1312.6120.
    """
    return Filling("orthogonal", gain, lambda p: _each_square(p, lambda w: orthogonal_(w, gain)))


def identity(scale: float = 1.0) -> Filling:
    """`scale` times the identity; a matrix of stacked square blocks has each block so.

    Source: Le, Jaitly, Hinton (2015), "A Simple Way to Initialize Recurrent Networks of Rectified
    Linear Units", arXiv:1504.00941, section 2.
    """
    return Filling("identity", scale, lambda p: _each_square(p, lambda w: eye_(w).mul_(scale)))


def chrono(longest: int | float) -> Filling:
    """Forget biases with which a layer remembers for 1 to `longest` steps: log(U(1, longest - 1)).

    The paper starts the input gate at the opposite: {"b_f": chrono(784), "b_i": Opposite("b_f")}.

    Source: Tallec, Ollivier (2018), "Can recurrent neural networks warp time?", ICLR,
    arXiv:1804.11188, eq. (16).

    Raises:
        ValueError: when `longest` is below 3 steps.
    """
    if longest < SHORTEST_CHRONO:
        raise ValueError(
            f"chrono: expected a time of at least {SHORTEST_CHRONO} steps, got {longest}. "
            f"Give more."
        )
    return Filling("chrono", longest, lambda p: uniform_(p, 1, longest - 1).log_())


@dataclass(frozen=True, slots=True)
class Opposite:
    """The negative of what the parameter called `name` was started with."""

    name: str

    @property
    def word(self) -> str:
        """The rule in one word, as `parse` reads it."""
        return f"-{self.name}"


def uniform(bound: float) -> Filling:
    """Uniform in +-bound; layers use 1 / sqrt(H) where nothing else is said, as torch.nn does."""
    return Filling("uniform", bound, lambda p: uniform_(p, -bound, bound))


Rule = int | float | str | Callable[[Tensor], object] | Opposite

_NAMED: Mapping[str, Callable[[Tensor], object]] = {
    "orthogonal": orthogonal(),
    "identity": identity(),
    "xavier_uniform": nn.init.xavier_uniform_,
    "xavier_normal": nn.init.xavier_normal_,
    "normal": nn.init.normal_,
}
_WITH_A_NUMBER: Mapping[str, Callable[[float], Filling]] = {
    "orthogonal": orthogonal,
    "identity": identity,
    "uniform": uniform,
    "chrono": chrono,
}


def parse(text: str) -> Rule:
    """The rule that one word spells, see `recurra.lang.rules.rule_of`.

    Raises:
        ValueError: when it is none.
    """
    word = rule_of(text)
    if not isinstance(word, str) or word in _NAMED:
        return word
    if word.startswith("-"):
        return Opposite(word[1:])
    name, number = function_of(word) or ("", 0.0)
    return _WITH_A_NUMBER[name](number)


def words_of(rules: Mapping[str, Rule]) -> dict[str, int | float | str]:
    """The rules as JSON has them, numbers and words that `draw` takes; without the functions of
    the user's own, which have no word."""
    as_words = {name: getattr(rule, "word", rule) for name, rule in rules.items()}
    return {name: rule for name, rule in as_words.items() if isinstance(rule, int | float | str)}


def draw(
    parameters: Mapping[str, Tensor], rules: Mapping[str, Rule], hidden_size: int, where: str
) -> None:
    """Fill every parameter by its rule; what has none is uniform in +-1/sqrt(H), as in torch.nn.

    Args:
        parameters: of one layer and direction, by the cell's names.
        rules: by the same names: a number, a rule in one word, or a function that fills in place.
        hidden_size: H.
        where: what an error calls the layer.

    Raises:
        ValueError: when a rule is not known, or does not fit its parameter.
    """
    usual = uniform(1 / math.sqrt(hidden_size))
    rules = {name: _read(rule, f"{where}: init of {name}") for name, rule in rules.items()}
    opposites = {n: rule for n, rule in rules.items() if isinstance(rule, Opposite)}
    with torch.no_grad():
        for name, parameter in parameters.items():
            if name not in opposites:
                _fill(parameter, rules.get(name, usual), f"{where}: init of {name}")
        for name, rule in opposites.items():
            if rule.name not in parameters or parameters[rule.name].shape != parameters[name].shape:
                raise ValueError(
                    f"{where}: init of {name}: expected the opposite of a parameter of its shape, "
                    f"got {rule.name!r}. Use one of {', '.join(parameters)}."
                )
            parameters[name].copy_(-parameters[rule.name])


def _read(rule: Rule, where: str) -> Rule:
    if not isinstance(rule, str):
        return rule
    try:
        return parse(rule)
    except ValueError as error:
        raise ValueError(f"{where}: {str(error).removeprefix('init: ')}") from None


def _fill(parameter: Tensor, rule: Rule, where: str) -> None:
    if isinstance(rule, int | float):
        if not math.isfinite(rule):
            raise ValueError(f"{where}: expected a finite number, got {rule}. Use another.")
        if abs(rule) > torch.finfo(parameter.dtype).max:
            raise ValueError(
                f"{where}: expected a number within {str(parameter.dtype).removeprefix('torch.')}, "
                f"got {rule:g}. Use a smaller one."
            )
        nn.init.constant_(parameter, rule)
        return
    fill = _NAMED[rule] if isinstance(rule, str) else rule
    if not callable(fill):
        raise ValueError(
            f"{where}: expected a number, a rule in one word such as 'orthogonal', or a function "
            f"of recurra.nn.initial, got {rule!r}. Use one of them."
        )
    try:
        fill(parameter)
    except ValueError as error:  # torch's own: orthogonal rows for a vector
        raise ValueError(
            f"{where}: expected a rule for the shape {tuple(parameter.shape)}, got one that says: "
            f"{error}. Use another."
        ) from None


def _each_square(parameter: Tensor, fill: Callable[[Tensor], object]) -> Tensor:
    """Fill a matrix of k blocks [n, n], one below the other, block by block; another one whole."""
    if parameter.dim() != 2:
        raise ValueError("it is for matrices alone")
    rows, columns = parameter.shape
    for block in parameter.split(columns if rows % columns == 0 else rows):
        fill(block)
    return parameter
