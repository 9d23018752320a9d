"""Parts that no file was named for: drawn from what there is to train on."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

from recurra.errors import DataError

ExampleT = TypeVar("ExampleT")


def drawn(
    whole: Sequence[ExampleT], shares: Mapping[str, float], seed: int, *, where: str, what: str
) -> dict[str, list[ExampleT]]:
    """The parts that are drawn, and as "train" what is left; all in the order they came in.

    Args:
        whole: the examples.
        shares: of the whole, by the name of a part; each part has one example at least.
        seed: of the draw.
        where: where the examples stand, for a message.
        what: they are, in the plural.
    Raises:
        DataError: when there are no more examples than parts.
    """
    if len(whole) <= len(shares):
        raise DataError(
            f"{where}: expected {len(shares) + 1} {what} or more, to draw {' and '.join(shares)} "
            f"from, got {len(whole)}. Add some, or name files for them."
        )
    order = np.random.default_rng(seed).permutation(len(whole)).tolist()
    parts: dict[str, list[ExampleT]] = {}
    for name, share in shares.items():
        count = max(1, round(share * len(whole)))
        chosen, order = sorted(order[:count]), order[count:]
        parts[name] = [whole[number] for number in chosen]
    return {"train": [whole[number] for number in sorted(order)], **parts}
