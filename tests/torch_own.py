"""What `tests/nn/test_torch_own.py` runs in a process of its own: torch's checks of its modules.

The inputs are those that torch tests nn.RNN, nn.GRU and nn.LSTM with, from the list of modules that
comes with it. What that list imports changes settings of torch's, hence the process.
"""

import copy
import io
import pickle
import sys
import types
import unittest
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck
from torch.nn.utils.rnn import PackedSequence
from torch.utils._pytree import tree_leaves, tree_map

import recurra as rc

KINDS = ["RNN", "GRU", "LSTM"]


@cache
def info(kind: str) -> Any:
    """What torch knows of a module of its own: the inputs that it is tested with."""
    with suppress(ImportError):
        import expecttest  # noqa: F401
    if "expecttest" not in sys.modules:  # wanted by the import, for tests that are not run here
        stand_in: Any = types.ModuleType("expecttest")
        stand_in.TestCase = unittest.TestCase
        stand_in.assert_expected_inline = None
        sys.modules["expecttest"] = stand_in
    from torch.testing._internal import common_modules

    return next(each for each in common_modules.module_db if each.name == f"nn.{kind}")


class Sample:
    """A layer of ours and torch's, of the same weights, and what it is called with."""

    def __init__(self, kind: str, given: Any, dtype: torch.dtype, backend: str) -> None:
        made = given.constructor_input
        options = {**made.kwargs, "dtype": dtype}
        self.make = lambda **more: getattr(rc, kind)(
            *made.args, **{**options, "backend": backend, **more}
        )
        self.layer, self.expected = self.make(), getattr(nn, kind)(*made.args, **options)
        self.layer.load_state_dict(self.expected.state_dict())
        self.args = given.forward_input.args


def samples(
    kind: str, dtype: torch.dtype = torch.float64, *, backend: str = "auto", **options: Any
) -> Iterator[Sample]:
    """One for each input that torch has for its module."""
    torch.manual_seed(0)
    known = info(kind)
    options = {"requires_grad": True, "training": True, **options}
    if kind != "LSTM":
        options["with_packed_sequence"] = True
    found = known.module_inputs_func(known, device="cpu", dtype=dtype, **options)
    for given in found:
        yield Sample(kind, given, dtype, backend)


def numbers(result: Any) -> list[Tensor]:
    """All tensors of floating point in what a layer gives or takes."""
    leaves = [v.data if isinstance(v, PackedSequence) else v for v in tree_leaves(result)]
    return [v for v in leaves if isinstance(v, Tensor) and v.is_floating_point()]


def with_gradients(layer: nn.Module, args: Any) -> list[Tensor]:
    """Results, and gradients of all that goes in."""
    outputs = numbers(layer(*args))
    total = torch.stack([(v * torch.linspace(-1, 1, v.numel()).view_as(v)).sum() for v in outputs])
    leaves = [*layer.parameters(), *(v for v in numbers(args) if v.requires_grad)]
    return [*outputs, *torch.autograd.grad(total.sum(), leaves)]


def same(ours: Any, theirs: Any, dtype: torch.dtype = torch.float64) -> None:
    tolerance = 1e-10 if dtype is torch.float64 else 1e-5
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


# ---- the checks ----------------------------------------------------------------------------------


def forward_and_gradients(kind: str) -> None:
    for dtype in (torch.float64, torch.float32):
        for sample in samples(kind, dtype):
            got = with_gradients(sample.layer, sample.args)
            same(got, with_gradients(sample.expected, sample.args), dtype)


def not_contiguous(kind: str) -> None:
    for sample in samples(kind, torch.float32):
        if isinstance(sample.args[0], PackedSequence):
            continue
        spread = tree_map(strided, sample.args)
        assert not spread[0].is_contiguous()
        with torch.no_grad():
            for parameter in sample.layer.parameters():
                parameter.set_(strided(parameter.data))
        got = with_gradients(sample.layer, spread)
        same(got, with_gradients(sample.expected, sample.args), torch.float32)


def strided(value: Any) -> Any:
    """The same numbers, each beside one that is not a number."""
    if not isinstance(value, Tensor):
        return value
    wide = torch.full((*value.shape, 2), torch.nan, dtype=value.dtype)
    wide[..., 0] = value.detach()
    return wide[..., 0].requires_grad_(value.requires_grad)


def first_derivatives(kind: str) -> None:
    for sample in list(samples(kind, backend="reference"))[::2]:
        differentiate(gradcheck, sample)


def second_derivatives(kind: str) -> None:
    for sample in list(samples(kind, backend="reference"))[::7]:
        differentiate(gradgradcheck, sample)


def differentiate(check: Callable[..., bool], sample: Sample) -> None:
    if isinstance(sample.args[0], PackedSequence):
        return  # its numbers are no argument
    names = [name for name, _ in sample.layer.named_parameters()]
    leaves = [v.detach().requires_grad_() for v in numbers(sample.args)]

    def call(*values: Tensor) -> tuple[Tensor, ...]:
        given = dict(zip(names, values[len(leaves) :], strict=True))
        found = iter(values)
        args = tree_map(lambda v: next(found) if isinstance(v, Tensor) else v, sample.args)
        return tuple(numbers(torch.func.functional_call(sample.layer, given, args)))

    parameters = [p.detach().requires_grad_() for p in sample.layer.parameters()]
    assert check(call, (*leaves, *parameters), fast_mode=True)


def copies(kind: str) -> None:
    for sample in list(samples(kind, torch.float32))[::3]:
        wanted = with_gradients(sample.layer, sample.args)
        file = io.BytesIO()
        torch.save(sample.layer, file)
        file.seek(0)
        for twin in (
            pickle.loads(pickle.dumps(sample.layer)),
            copy.deepcopy(sample.layer),
            torch.load(file, weights_only=False),
        ):
            same(with_gradients(twin, sample.args), wanted, torch.float32)
            assert repr(twin) == repr(sample.layer)
            kept, lists = list(twin.parameters()), twin._flat_weights
            assert all(a is b for a, b in zip(kept, lists, strict=True))
            others = list(sample.layer.parameters())
            assert all(a is not b for a, b in zip(kept, others, strict=True))


def state_dicts(kind: str) -> None:
    for sample in samples(kind):
        fresh = sample.make()
        fresh.load_state_dict(sample.expected.state_dict(), strict=True)
        sample.expected.load_state_dict(fresh.state_dict(), strict=True)
        fresh.load_state_dict(sample.expected.state_dict(), assign=True)
        assert all(map(torch.equal, fresh._flat_weights, sample.expected._flat_weights))
        same(numbers(fresh(*sample.args)), numbers(sample.expected(*sample.args)))
        with_one_less = dict(fresh.state_dict())
        with_one_less.pop("weight_hh_l0")
        with pytest.raises(RuntimeError, match="weight_hh_l0"):
            fresh.load_state_dict(with_one_less)


def moves_and_dtypes(kind: str) -> None:
    for sample in list(samples(kind, torch.float32))[::3]:
        for made in (sample.make(dtype=torch.float64), copy.deepcopy(sample.layer).double()):
            assert {p.dtype for p in made.parameters()} == {torch.float64}
        there = sample.make(device="meta")
        assert {p.device.type for p in there.parameters()} == {"meta"}
        here = there.to_empty(device="cpu")
        here.load_state_dict(sample.layer.state_dict())
        here = here.bfloat16().half().float().cpu().share_memory()
        here.load_state_dict(sample.layer.state_dict())
        same(numbers(here(*sample.args)), numbers(sample.layer(*sample.args)), torch.float32)


def training_and_evaluation(kind: str) -> None:
    for sample in list(samples(kind, torch.float32))[::3]:
        for made in (sample.layer, sample.expected):
            made.dropout = 0.9
        got = []
        for made in (sample.layer, sample.expected):
            torch.manual_seed(3)
            got.append(numbers(made.train()(*sample.args)))
            got.append(numbers(made.eval()(*sample.args)))
        same(got[0], got[2], torch.float32)
        same(got[1], got[3], torch.float32)
        assert not torch.equal(got[0][0], got[1][0])
        sample.layer.zero_grad()
        assert all(p.grad is None for p in sample.layer.parameters())


def printed(kind: str) -> None:
    for sample in samples(kind):
        assert repr(sample.layer) == repr(sample.expected)


def wrong_inputs(kind: str) -> None:
    known = info(kind)
    found = known.module_error_inputs_func(
        known, device="cpu", dtype=torch.float32, requires_grad=True, training=True
    )
    assert found
    for each in found:
        made, given = each.module_error_input.constructor_input, each.module_error_input
        for module in (nn, rc):
            with pytest.raises(each.error_type, match=each.error_regex):
                getattr(module, kind)(*made.args, **made.kwargs)(*given.forward_input.args)


CHECKS = {
    check.__name__: check
    for check in (
        forward_and_gradients,
        not_contiguous,
        first_derivatives,
        second_derivatives,
        copies,
        state_dicts,
        moves_and_dtypes,
        training_and_evaluation,
        printed,
        wrong_inputs,
    )
}


def run(name: str, kind: str) -> None:
    """One check of one class."""
    CHECKS[name](kind)
