"""How parameters start: the rules that the literature names, for cells and for layers.

A rule fills a parameter in place. A cell says how its parameters start with `init={"W_hh":
"orthogonal"}`; a layer overrides that with `init={...}` of the same form, where a rule may also be
a function made here, `chrono(784)`, or any function of the parameter.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn


def orthogonal(gain: float = 1.0) -> Callable[[Tensor], Tensor]:
    """Orthogonal rows or columns; a matrix of stacked square blocks has each block orthogonal.

    Source: Saxe, McClelland, Ganguli (2014), "Exact solutions to the nonlinear dynamics of learning
    in deep linear neural networks", ICLR, arXiv:1312.6120.
    """
    return lambda parameter: _each_square(parameter, lambda w: nn.init.orthogonal_(w, gain))


def identity(scale: float = 1.0) -> Callable[[Tensor], Tensor]:
    """`scale` times the identity; a matrix of stacked square blocks has each block so.

    Source: Le, Jaitly, Hinton (2015), "A Simple Way to Initialize Recurrent Networks of Rectified
    Linear Units", arXiv:1504.00941, section 2.
    """
    return lambda parameter: _each_square(parameter, lambda w: nn.init.eye_(w).mul_(scale))


def chrono(longest: int | float) -> Callable[[Tensor], Tensor]:
    """Forget biases with which a layer remembers for 1 to `longest` steps: log(U(1, longest - 1)).

    The paper starts the input gate at the opposite: {"b_f": chrono(784), "b_i": Opposite("b_f")}.

    Source: Tallec, Ollivier (2018), "Can recurrent neural networks warp time?", ICLR,
    arXiv:1804.11188, eq. (16).

    Raises:
        ValueError: when `longest` is below 3 steps.
    """
    if longest < 3:
        raise ValueError(f"chrono: expected a time of at least 3 steps, got {longest}. Give more.")
    return lambda parameter: nn.init.uniform_(parameter, 1, longest - 1).log_()


@dataclass(frozen=True, slots=True)
class Opposite:
    """The negative of what the parameter called `name` was started with."""

    name: str


def uniform(bound: float) -> Callable[[Tensor], Tensor]:
    """Uniform in +-bound; layers use 1 / sqrt(H) where nothing else is said, as torch.nn does."""
    return lambda parameter: nn.init.uniform_(parameter, -bound, bound)


Rule = int | float | str | Callable[[Tensor], object] | Opposite

_NAMED: Mapping[str, Callable[[Tensor], object]] = {
    "orthogonal": orthogonal(),
    "identity": identity(),
    "xavier_uniform": nn.init.xavier_uniform_,
    "xavier_normal": nn.init.xavier_normal_,
    "normal": nn.init.normal_,
}
_WITH_A_NUMBER: Mapping[str, Callable[[float], Callable[[Tensor], object]]] = {
    "orthogonal": orthogonal,
    "identity": identity,
    "uniform": uniform,
    "chrono": chrono,
}


def parse(text: str) -> Rule:
    """The rule that a command line spells in one word.

    "2" is a number; "orthogonal", "identity" and the like are rules by name; "chrono400",
    "uniform0.1", "identity0.5" and "orthogonal1.4" are functions of this module with their number;
    "-b_f" is the opposite of another parameter.

    Raises:
        ValueError: when it is none of these.
    """
    if re.fullmatch(r"-?(\d+\.?\d*|\.\d+)", text):
        return float(text)
    if text in _NAMED:
        return text
    if re.fullmatch(r"-[A-Za-z_]\w*", text):
        return Opposite(text[1:])
    word = re.fullmatch(rf"({'|'.join(_WITH_A_NUMBER)})(\d+(?:\.\d+)?)", text)
    if word is None:
        raise ValueError(
            f"init: expected a number, one of {', '.join(_NAMED)}, one of "
            f"{', '.join(_WITH_A_NUMBER)} with a number behind it, or -NAME for the opposite of "
            f"another parameter, got {text!r}. Use one of them: chrono400."
        )
    return _WITH_A_NUMBER[word[1]](float(word[2]))


def draw(
    parameters: Mapping[str, Tensor], rules: Mapping[str, Rule], hidden_size: int, where: str
) -> None:
    """Fill every parameter by its rule; what has none is uniform in +-1/sqrt(H), as in torch.nn.

    Args:
        parameters: of one layer and direction, by the cell's names.
        rules: by the same names: a number, the name of a rule, or a function that fills in place.
        hidden_size: H.
        where: what an error calls the layer.

    Raises:
        ValueError: when a rule is not known, or does not fit its parameter.
    """
    usual = uniform(1 / math.sqrt(hidden_size))
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


def _fill(parameter: Tensor, rule: Rule, where: str) -> None:
    if isinstance(rule, int | float):
        if not math.isfinite(rule):
            raise ValueError(f"{where}: expected a finite number, got {rule}. Use another.")
        nn.init.constant_(parameter, rule)
        return
    fill = _NAMED.get(rule) if isinstance(rule, str) else rule
    if not callable(fill):
        raise ValueError(
            f"{where}: expected a number, a function of recurra.nn.initial or one of "
            f"{', '.join(map(repr, _NAMED))}, got {rule!r}. Use one of them."
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
