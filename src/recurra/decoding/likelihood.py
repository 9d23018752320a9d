"""How likely a model finds a sequence of tokens."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor, nn

from recurra.decoding.generate import device_of, index_of
from recurra.nn.plain import evaluating

_STEPS = 1000  # read in one call, at most
_LOGITS = 2**24  # of a call, at most


def log_probabilities(
    model: nn.Module, ids: Sequence[int] | np.ndarray | Tensor
) -> Float64[Tensor, " predicted"]:
    """The log probability, in nats, of each token but the first, given all before it: [T - 1].

    The model is called as for `generate`: in evaluation mode, without gradients, and left as it
    was. Long sequences are read in parts, with the state carried on.
    """
    tokens = torch.as_tensor(np.asarray(ids), dtype=torch.int64, device="cpu")
    tokens = tokens.to(device_of(model))
    total, steps, found = len(tokens) - 1, 1, []  # the first step tells how large the vocabulary is
    batch_axis = 0 if getattr(model, "batch_first", False) else 1
    state: Any = None
    start = 0
    with torch.no_grad(), evaluating(model):
        while start < total:
            stop = min(start + steps, total)
            part = tokens[start:stop].unsqueeze(batch_axis)
            logits, state = model(part, state, **index_of(model, start))
            scores = logits.squeeze(batch_axis).double().log_softmax(-1)  # [steps, V]
            found.append(scores.gather(-1, tokens[start + 1 : stop + 1, None])[:, 0].cpu())
            steps = max(1, min(_STEPS, _LOGITS // scores.shape[-1]))
            start = stop
    return torch.cat(found) if found else torch.zeros(0, dtype=torch.float64, device="cpu")
