"""The cells that recurra ships: each the equations of its source and nothing else.

A new cell is one function in a family module, one name in the registry's table and one here.
"""

from typing import TYPE_CHECKING, Any

from recurra.cells import registry
from recurra.cells.registry import get, names

if TYPE_CHECKING:
    from recurra.cells.attention import (
        additive_attention_gru,
        conditional_gru,
        coverage_gru,
        dot_attention_lstm,
        general_attention_lstm,
        location_attention_gru,
        pointer_lstm,
        scaled_dot_attention_gru,
        window_lstm,
    )
    from recurra.cells.bases import lmu
    from recurra.cells.continuous import (
        antisymmetric_rnn,
        cornn,
        gated_antisymmetric_rnn,
        lem,
        taugru,
        unicornn,
    )
    from recurra.cells.gated import (
        br,
        cfn,
        dsgu,
        gru,
        intersection_rnn,
        mgu,
        miru1,
        miru2,
        mut1,
        mut2,
        mut3,
        nbr,
        rhn,
        sgu,
    )
    from recurra.cells.light import (
        atr,
        fastgrnn,
        fastrnn,
        janet,
        lightru,
        ligru,
        minimalrnn,
        sgrn,
        star,
        ugrnn,
    )
    from recurra.cells.linear import (
        mingru,
        minlstm,
        qrnn_fo,
        qrnn_ifo,
        rg_lru,
        sru,
        sru_2018,
        tgru,
        tlstm,
        trnn,
    )
    from recurra.cells.matrices import (
        delta_net,
        fast_weights,
        gated_delta_net,
        gla,
        hgrn2,
        linear_transformer,
        mamba,
        mlstm,
        ntm,
        retnet,
    )
    from recurra.cells.memory import (
        lstm,
        lstm_1997,
        lstm_stacked,
        mc_lstm,
        multiplicative_lstm,
        naive_memory,
        nas,
        peephole_lstm,
        ran,
        residual_lstm,
        slstm,
        wmc_lstm,
    )
    from recurra.cells.odyssey import (
        lstm_cifg,
        lstm_fgr,
        lstm_nfg,
        lstm_niaf,
        lstm_nig,
        lstm_noaf,
        lstm_nog,
        lstm_np,
        vanilla_lstm,
    )
    from recurra.cells.orthogonal import exprnn, scornn
    from recurra.cells.simple import (
        driven_system,
        dynamical_system,
        indrnn,
        irnn,
        rnn,
        rnn_relu,
        scrn,
    )
    from recurra.cells.timed import (
        cfc,
        gru_d,
        ltc,
        ode_rnn,
        phased_lstm,
        time_aware_lstm,
    )
    from recurra.cells.torch_notation import (
        torch_gru,
        torch_gru_no_bias,
        torch_lstm,
        torch_lstm_no_bias,
        torch_lstm_projected,
        torch_lstm_projected_no_bias,
        torch_rnn_relu,
        torch_rnn_relu_no_bias,
        torch_rnn_tanh,
        torch_rnn_tanh_no_bias,
    )

__all__ = [
    "additive_attention_gru",
    "antisymmetric_rnn",
    "atr",
    "br",
    "cfc",
    "cfn",
    "conditional_gru",
    "cornn",
    "coverage_gru",
    "delta_net",
    "dot_attention_lstm",
    "driven_system",
    "dsgu",
    "dynamical_system",
    "exprnn",
    "fast_weights",
    "fastgrnn",
    "fastrnn",
    "gated_antisymmetric_rnn",
    "gated_delta_net",
    "general_attention_lstm",
    "get",
    "gla",
    "gru",
    "gru_d",
    "hgrn2",
    "indrnn",
    "intersection_rnn",
    "irnn",
    "janet",
    "lem",
    "lightru",
    "ligru",
    "linear_transformer",
    "lmu",
    "location_attention_gru",
    "lstm",
    "lstm_1997",
    "lstm_cifg",
    "lstm_fgr",
    "lstm_nfg",
    "lstm_niaf",
    "lstm_nig",
    "lstm_noaf",
    "lstm_nog",
    "lstm_np",
    "lstm_stacked",
    "ltc",
    "mamba",
    "mc_lstm",
    "mgu",
    "mingru",
    "minimalrnn",
    "minlstm",
    "miru1",
    "miru2",
    "mlstm",
    "multiplicative_lstm",
    "mut1",
    "mut2",
    "mut3",
    "naive_memory",
    "names",
    "nas",
    "nbr",
    "ntm",
    "ode_rnn",
    "peephole_lstm",
    "phased_lstm",
    "pointer_lstm",
    "qrnn_fo",
    "qrnn_ifo",
    "ran",
    "residual_lstm",
    "retnet",
    "rg_lru",
    "rhn",
    "rnn",
    "rnn_relu",
    "scaled_dot_attention_gru",
    "scornn",
    "scrn",
    "sgrn",
    "sgu",
    "slstm",
    "sru",
    "sru_2018",
    "star",
    "taugru",
    "tgru",
    "time_aware_lstm",
    "tlstm",
    "torch_gru",
    "torch_gru_no_bias",
    "torch_lstm",
    "torch_lstm_no_bias",
    "torch_lstm_projected",
    "torch_lstm_projected_no_bias",
    "torch_rnn_relu",
    "torch_rnn_relu_no_bias",
    "torch_rnn_tanh",
    "torch_rnn_tanh_no_bias",
    "trnn",
    "ugrnn",
    "unicornn",
    "vanilla_lstm",
    "window_lstm",
    "wmc_lstm",
]


if not TYPE_CHECKING:  # a type checker that saw this would take any misspelt name

    def __getattr__(name: str) -> Any:
        """A cell, the first time that it is asked for."""
        if name not in names():
            raise AttributeError(f"recurra.cells has no cell {name!r}. {registry.hint(name)}")
        return globals().setdefault(name, get(name))


def __dir__() -> list[str]:
    """The cells and what finds them, without the modules that they are in."""
    return __all__
