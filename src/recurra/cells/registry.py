"""The registry of cells: the name of every cell, by the family module that has its equations.

A family's equations are traced when its module is imported, and that is when one of its cells is
first asked for: whoever uses an LSTM need not wait for seventy others.
"""

from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from recurra.lang import Cell

FAMILIES = {
    "simple": "driven_system dynamical_system indrnn irnn rnn rnn_relu scrn",
    "gated": "br cfn dsgu gru intersection_rnn mgu miru1 miru2 mut1 mut2 mut3 nbr rhn sgu",
    "light": "atr fastgrnn fastrnn janet lightru ligru minimalrnn sgrn star ugrnn",
    "memory": (
        "lstm lstm_1997 lstm_stacked mc_lstm multiplicative_lstm naive_memory nas peephole_lstm "
        "ran residual_lstm slstm wmc_lstm"
    ),
    "odyssey": (
        "lstm_cifg lstm_fgr lstm_nfg lstm_niaf lstm_nig lstm_noaf lstm_nog lstm_np vanilla_lstm"
    ),
    "continuous": "antisymmetric_rnn cornn gated_antisymmetric_rnn lem taugru unicornn",
    "attention": (
        "additive_attention_gru conditional_gru coverage_gru dot_attention_lstm "
        "general_attention_lstm location_attention_gru pointer_lstm scaled_dot_attention_gru "
        "window_lstm"
    ),
    "linear": "mingru minlstm qrnn_fo qrnn_ifo rg_lru sru sru_2018 tgru tlstm trnn",
    "matrices": (
        "delta_net fast_weights gated_delta_net gla hgrn2 linear_transformer mamba mlstm ntm retnet"
    ),
    "orthogonal": "exprnn scornn",
    "bases": "lmu",
    "timed": "cfc gru_d ltc ode_rnn phased_lstm time_aware_lstm",
    "torch_notation": (
        "torch_gru torch_gru_no_bias torch_lstm torch_lstm_no_bias torch_lstm_projected "
        "torch_lstm_projected_no_bias torch_rnn_relu torch_rnn_relu_no_bias torch_rnn_tanh "
        "torch_rnn_tanh_no_bias"
    ),
}
_FAMILY_OF = {name: family for family, cells in FAMILIES.items() for name in cells.split()}


def names() -> tuple[str, ...]:
    """The names of all cells, sorted."""
    return tuple(sorted(_FAMILY_OF))


def get(name: str) -> "Cell":
    """The cell of that name.

    Raises:
        ValueError: when no cell has it; the message lists the names nearest to it.
    """
    if not isinstance(name, str) or name not in _FAMILY_OF:
        raise ValueError(f"cell: expected the name of a cell, got {name!r}. {hint(name)}")
    return getattr(import_module(f"recurra.cells.{_FAMILY_OF[name]}"), name)


def hint(name: object) -> str:
    """What to write instead of a name that no cell has."""
    nearest = get_close_matches(name.lower(), _FAMILY_OF, n=3) if isinstance(name, str) else []
    return (
        f"Did you mean {', '.join(nearest)}?"
        if nearest
        else "See all: recurra.cells.names(), or recurra cells."
    )
