"""A language model whose unit c[0] is 1 inside quotes and 0 outside, set by hand."""

import numpy as np
import torch

import recurra as rc
from recurra.text import CharacterVocabulary

LETTERS = 'abcd \n"'
QUOTE, LINE_END = CharacterVocabulary(LETTERS).encode('"\n')
SURE = 20.0  # a gate's input, so that it is open or shut


def quoting_model(hidden_size: int = 6, noise: float = 0.5) -> rc.LanguageModel:
    """The other units do something of their own, and are not read by c[0].

    A quote lets c[0] in: by +1 when h[0] is 0, by -1 when it is tanh(1). A line end forgets it.
    What ends a quote is likelier inside.
    """
    torch.manual_seed(0)
    vocabulary = CharacterVocabulary(LETTERS)
    size = len(vocabulary)
    model = rc.LanguageModel(
        vocabulary=vocabulary, embedding_size=size, hidden_size=hidden_size, backend="reference"
    )
    with torch.no_grad():
        model.embedding.weight.copy_(torch.eye(size))
        for name, parameter in model.recurrent.named_parameters():
            parameter.copy_(noise * torch.randn_like(parameter))
            parameter[0] = 0.0
            if name.startswith("W_h"):
                parameter[1:, 0] = 0.0  # nobody else knows of the quotes
        set_to = model.recurrent.get_parameter
        set_to("b_f_l0")[0] = set_to("b_o_l0")[0] = SURE
        set_to("b_i_l0")[0] = -SURE
        set_to("W_xi_l0")[0, QUOTE] = 2 * SURE
        set_to("W_xf_l0")[0, LINE_END] = -2 * SURE
        set_to("W_xg_l0")[0, QUOTE] = SURE
        set_to("W_hg_l0")[0, 0] = -2 * SURE / np.tanh(1.0)
        model.decoder.weight.zero_()
        model.decoder.weight[QUOTE, 0] = 4.0
        model.decoder.bias.zero_()
        model.decoder.bias[QUOTE] = -2.0
    return model.eval()


def quoted_text(length: int = 4000, seed: int = 0) -> str:
    """Letters, some of them in quotes, in short lines."""
    rng = np.random.default_rng(seed)
    parts: list[str] = []
    while sum(map(len, parts)) < length:
        word = "".join(rng.choice(list("abcd "), rng.integers(3, 12)))
        parts.append(f' "{word}"' if rng.random() < 0.4 else f" {word}\n")
    return "".join(parts)[:length]
