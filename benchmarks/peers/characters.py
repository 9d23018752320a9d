"""Generating text with PyTorch, written well: inference mode, nothing read back before the end.

E embedding, H hidden, V vocabulary, L layers; one sequence.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

import recurra as rc


class Weights(nn.Module):
    """A language model of torch's modules with the weights of ours (cell `lstm`)."""

    def __init__(self, model: rc.LanguageModel) -> None:
        super().__init__()
        layers, dtype = model.recurrent, model.decoder.weight.dtype
        self.embedding, self.decoder = model.embedding, model.decoder
        self.lstm = nn.LSTM(
            layers.input_size, layers.hidden_size, layers.num_layers, bias=True, dtype=dtype
        )
        self.cells = nn.ModuleList()
        with torch.no_grad():
            for layer in range(layers.num_layers):
                p = layers.parameters_of(layer)
                stacked = {
                    "weight_ih": torch.cat([p[f"W_x{gate}"] for gate in "ifgo"]),
                    "weight_hh": torch.cat([p[f"W_h{gate}"] for gate in "ifgo"]),
                    "bias_ih": torch.cat([p[f"b_{gate}"] for gate in "ifgo"]),
                    "bias_hh": torch.zeros(4 * layers.hidden_size),
                }
                size = layers.layer_sizes[layer]["I"]
                cell = nn.LSTMCell(size, layers.hidden_size, dtype=dtype)
                for name, value in stacked.items():
                    getattr(cell, name).copy_(value)
                    getattr(self.lstm, f"{name}_l{layer}").copy_(value)
                self.cells.append(cell)

    def logits(self, ids: Tensor) -> Tensor:
        """[T, V] after each of the ids [T], all at once."""
        with torch.inference_mode():
            return self.decoder(self.lstm(self.embedding(ids))[0])


Loop = Callable[[Weights, int, int, float], Tensor]


@torch.inference_mode()
def lstm_loop(model: Weights, first: int, length: int, temperature: float) -> Tensor:
    """Draw `length` ids after `first` with nn.LSTM, a call of one step for each."""
    ids, state, drawn = torch.tensor([first]), None, []
    for _ in range(length):
        y, state = model.lstm(model.embedding(ids), state)
        ids = torch.multinomial(torch.softmax(model.decoder(y[0]) / temperature, -1), 1)
        drawn.append(ids)
    return torch.cat(drawn)


@torch.inference_mode()
def lstm_cell_loop(model: Weights, first: int, length: int, temperature: float) -> Tensor:
    """Draw `length` ids after `first` with a chain of nn.LSTMCell."""
    ids, drawn = torch.tensor([first]), []
    zeros = model.decoder.weight.new_zeros(1, model.lstm.hidden_size)
    states = [(zeros, zeros) for _ in model.cells]
    for _ in range(length):
        x = model.embedding(ids)
        for layer, cell in enumerate(model.cells):
            states[layer] = cell(x, states[layer])
            x = states[layer][0]
        ids = torch.multinomial(torch.softmax(model.decoder(x[0]) / temperature, -1), 1)
        drawn.append(ids)
    return torch.cat(drawn)


LOOPS: dict[str, Loop] = {"nn.LSTM": lstm_loop, "nn.LSTMCell": lstm_cell_loop}
