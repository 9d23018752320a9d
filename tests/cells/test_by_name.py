"""Every registered cell is trained by its name alone: sizes of its own follow from I and H."""

import pytest
import torch

import recurra as rc
from recurra import cells
from recurra.lang import cell, tanh
from recurra.lang import sum as total

NO_INPUT = "dynamical_system"
X_ALONE = [
    name
    for name in cells.names()
    if len(cells.get(name).inputs) == 1 and not cells.get(name).memory
]


@pytest.mark.parametrize("name", X_ALONE)
def test_a_language_model_of_every_cell_takes_a_step(name: str) -> None:
    torch.manual_seed(0)
    model = rc.LanguageModel(7, cell=name, embedding_size=5, hidden_size=8, backend="reference")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    ids = torch.randint(7, (6, 2))
    losses = []
    for _ in range(2):
        logits, _ = model(ids[:-1])
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[1] < losses[0]


def test_a_cell_that_reads_more_than_x_says_so() -> None:
    for name in set(cells.names()) - {*X_ALONE, NO_INPUT}:
        with pytest.raises(ValueError, match=f"reads x alone at each step, got {name}"):
            rc.LanguageModel(7, cell=name, embedding_size=5, hidden_size=8)


def test_a_cell_without_input_says_so() -> None:
    with pytest.raises(ValueError, match=r"expected a cell that reads x .*which reads no input"):
        rc.LanguageModel(7, cell=NO_INPUT, hidden_size=8)


@pytest.mark.parametrize("name", cells.names())
def test_the_usual_sizes_are_all_that_a_layer_asks_for(name: str) -> None:
    of = cells.get(name)
    sizes = of.usual_sizes(3, 8)
    assert sizes == of.own_sizes(3, 8)
    assert set(sizes) == set(of.size_names) - {"I", "H"}


def test_sizes_of_which_a_cell_says_nothing_are_half_of_h() -> None:
    @cell(context="k", sizes={"b": "R", "V": ("R", "H"), "d": "Q"}, default_sizes={"Q": "H/4"})
    def own(x, h, k, W, V, C, b, d):
        return tanh(W @ x + h * total(V @ h + b) + C @ k + total(d))

    assert own.usual_sizes(3, 8) == {"R": 4, "Q": 2}
    assert own.usual_sizes(3, 1) == {"R": 1, "Q": 1}


@pytest.mark.parametrize(("name", "blocks"), [("slstm", "R_z"), ("rg_lru", "W_r")])
def test_a_size_that_blocks_do_not_divide(name: str, blocks: str) -> None:
    says = rf"expected H to divide into the 4 blocks of {blocks}, got H = 10. .*fewer .*: heads=2"
    with pytest.raises(ValueError, match=says):
        rc.Recurrent(name, 3, 10)
    rc.Recurrent(f"{name}(heads=2)", 3, 10)


def test_blocks_of_a_number_have_no_name_to_change() -> None:
    @cell(heads={"R": 4}, sizes={"R": ("H", "I/4")})
    def own(x, h, R, b):
        return tanh(R @ x + b * h)

    with pytest.raises(ValueError, match=r"expected I to divide.*I = 6. Choose another size[.]"):
        rc.Recurrent(own, 6, 4)
