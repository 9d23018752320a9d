"""Recurrent layers: any cell as a torch module, torch.nn's own three as drop-ins, and streaming."""

from recurra.nn.bidirectional import Bidirectional
from recurra.nn.machine import Compiler, Machine, doctor
from recurra.nn.pooling import Pooling
from recurra.nn.recurrent import Recurrent
from recurra.nn.stream import Stream
from recurra.nn.torch_named import GRU, LSTM, RNN

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Bidirectional",
    "Compiler",
    "Machine",
    "Pooling",
    "Recurrent",
    "Stream",
    "doctor",
]
