"""Graph -> graph -> plan: named, pure passes, each checked before and after."""

from recurra.passes.hoist import Loop
from recurra.passes.linear import is_linear
from recurra.passes.plan import Plan, Section, forward_graph, plan
from recurra.passes.rates import FIXED_KINDS, MASK_KINDS, Rate
from recurra.passes.step import Step, whole_step

__all__ = [
    "FIXED_KINDS",
    "MASK_KINDS",
    "Loop",
    "Plan",
    "Rate",
    "Section",
    "Step",
    "forward_graph",
    "is_linear",
    "plan",
    "whole_step",
]
