"""Do the sides compute the same? One table of tolerances, on norms."""

from collections.abc import Mapping

import torch
from torch import Tensor

# Each side may be off the exact value by the project's own tolerance, so two may differ by two.
TOLERANCES = {"float32": (2e-5, 2e-4), "bfloat16": (2e-2, 2e-2)}

Results = Mapping[str, Tensor]


class DisagreementError(AssertionError):
    """Two sides gave different results for the same job: their times mean nothing."""


def check_agreement(
    job: str, expected: Results, sides: Mapping[str, Results], precision: str = "float32"
) -> None:
    """Hold what each side computed against `expected`, by name.

    `y` is the output; every other name is a gradient. A side may leave names out, never all.

    Raises:
        DisagreementError: when ||value - expected|| > tolerance * ||expected||, or it is nan.
    """
    of_output, of_gradient = TOLERANCES[precision]
    for side, results in sides.items():
        if not results.keys() & expected.keys():
            raise DisagreementError(f"{job}: {side} gave nothing to compare")
        for name, value in results.items():
            error = _relative_error(value, expected[name])
            tolerance = of_output if name == "y" else of_gradient
            if not error <= tolerance:
                what = "output" if name == "y" else f"gradient of {name}"
                raise DisagreementError(
                    f"{job}: {what} of {side} is off by {error:.1e} (norm-wise), more than "
                    f"{tolerance:.0e}"
                )


def _relative_error(value: Tensor, expected: Tensor) -> float:
    if value.shape != expected.shape:
        return float("inf")
    value, expected = value.detach().double(), expected.detach().double()
    return float((value - expected).norm() / expected.norm().clamp_min(torch.finfo().tiny))
