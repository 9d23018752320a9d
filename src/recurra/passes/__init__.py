"""Graph -> graph -> plan: named, pure passes, each checked before and after."""

from recurra.passes.cut import Loop, section
from recurra.passes.linear import is_linear
from recurra.passes.place import Target, When
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
    "Target",
    "When",
    "forward_graph",
    "is_linear",
    "plan",
    "section",
    "whole_step",
]
