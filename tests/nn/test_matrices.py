"""Layers, streams and operators of cells with matrix states."""

import pytest
import torch
from torch.nn.utils.rnn import pack_sequence

from matrix_cells import in_heads, written
from recurra import Bidirectional, Recurrent
from recurra.nn.stack import CellStack

B, T, H = 2, 5, 8


def layer(**options: object) -> Recurrent:
    sizes = {"P": 3, "Q": 4}
    return Recurrent(written, 3, H, sizes=sizes, **options)  # type: ignore[arg-type]


def sequence() -> torch.Tensor:
    return torch.randn(T, B, 3)


def test_states_are_stacked_as_those_of_vectors_are() -> None:
    of = layer(num_layers=2, bidirectional=True)
    y, (h, S) = of(sequence())
    assert y.shape == (T, B, 2 * H)
    assert (h.shape, S.shape) == ((4, B, H), (4, B, 3, 4))
    assert [state.shape for state in of.initial_state(B)] == [(4, B, H), (4, B, 3, 4)]


def test_a_sequence_cut_in_two_goes_on_from_its_states() -> None:
    of, x = layer(num_layers=2), sequence()
    whole, ends = of(x)
    first, states = of(x[:2])
    second, again = of(x[2:], states)
    torch.testing.assert_close(torch.cat([first, second]), whole)
    torch.testing.assert_close(again, ends)


def test_a_sequence_without_a_batch_has_states_without_one() -> None:
    of, x = layer(), sequence()
    y, (h, S) = of(x[:, 0])
    assert (h.shape, S.shape) == ((1, H), (1, 3, 4))
    torch.testing.assert_close(y, of(x)[0][:, 0])
    torch.testing.assert_close(of(x[:, 0], (h, S))[0].shape, (T, H))


def test_packed_sequences_hand_their_states_back_in_order() -> None:
    of = layer()
    sequences = [torch.randn(n, 3) for n in (2, 5, 3)]
    _, (_, S) = of(pack_sequence(sequences, enforce_sorted=False))
    for i, x in enumerate(sequences):
        torch.testing.assert_close(S[:, i], of(x)[1][1])


def test_a_state_of_another_shape_has_its_line() -> None:
    with pytest.raises(ValueError, match=r"expected state S of shape \(1, 2, 3, 4\), got \(1, 2,"):
        layer()(sequence(), (torch.zeros(1, B, H), torch.zeros(1, B, 12)))


def test_a_learned_first_state_is_a_matrix() -> None:
    of = layer(learned_state=True)
    assert of.first_S_l0.shape == (3, 4)
    of(sequence())[0].sum().backward()
    assert of.first_S_l0.grad is not None
    assert of.first_S_l0.grad.abs().sum() > 0


@pytest.mark.medium
@pytest.mark.parametrize("of", [written, in_heads], ids=lambda of: of.name)
def test_a_stream_gives_what_the_layer_gives(of: object) -> None:
    made = Recurrent(of, 3, H, sizes={"P": 3, "Q": 4} if of is written else None)  # type: ignore[arg-type]
    x = sequence()
    y, ends = made(x)
    stream = made.stream(batch_size=B)
    torch.testing.assert_close(torch.stack([stream(x_t) for x_t in x]), y.detach())
    torch.testing.assert_close(stream.state, tuple(end.detach() for end in ends))
    assert "matrices of each sequence" in str(stream.why_not_compiled())
    stream.reset(stream.state, start=T)


@pytest.mark.medium
def test_an_exported_layer_is_the_layer() -> None:
    of, x = Recurrent(in_heads, 3, H), sequence()
    exported = torch.export.export(of, (x,)).module()
    torch.testing.assert_close(exported(x)[0], of(x)[0])
    torch.testing.assert_close(exported(x)[1], of(x)[1])


def test_heads_must_divide_the_size() -> None:
    with pytest.raises(ValueError, match=r"expected H to divide into the 2 blocks of C, got H = 7"):
        Recurrent(in_heads, 3, 7)


def test_two_layers_joined_have_matrix_states_each() -> None:
    both = Bidirectional(layer(), layer(reverse=True))
    y, (forwards, backwards) = both(sequence())
    assert y.shape == (T, B, 2 * H)
    assert forwards[1].shape == backwards[1].shape == (1, B, 3, 4)
    assert isinstance(both.forwards, CellStack)


@pytest.mark.medium
def test_slots_of_a_turing_machine_differ_and_learn_to_be_found() -> None:
    """Slots that start alike stay alike, and nothing is then learned about where they are."""
    torch.manual_seed(0)
    of = Recurrent("ntm", 3, H)
    y, (_, memory, _, _) = of(sequence())
    assert (memory - memory.mean(-2, keepdim=True)).abs().max() > 1e-3
    y.square().sum().backward()
    for name in ("W_k", "W_s", "u_beta", "u_gamma", "V_k"):
        grad = of.get_parameter(f"{name}_l0").grad
        assert grad is not None
        assert grad.abs().max() > 1e-6, name
