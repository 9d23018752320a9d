"""What values are called: as the cell prints them."""

import re

import pytest

from recurra import cell, cells, compose
from recurra.lang import sigmoid, tanh
from recurra.show.values import named_values


@pytest.mark.parametrize("name", cells.names())
def test_each_name_left_of_an_equals_sign_is_there(name: str) -> None:
    of = cells.get(name)
    lines = re.findall(r"^    ([\w, ]+?),? = ", str(of).partition("\n\n")[2], re.M)
    printed = {each for line in lines for each in line.split(", ")} - {"_"}
    values = named_values(of.equations)
    assert printed <= set(values)
    assert set(of.states) <= set(values)
    # what is there besides has no name of its own: new states, an output, the other one of a name
    own = {each.rpartition("_")[0] for each in values}
    assert set(values) - printed - {*of.states, "y", "output"} <= {f"{n}_1" for n in own}


def test_a_state_is_its_new_value_and_another_of_its_name_has_a_number() -> None:
    equations = cells.torch_lstm_projected.equations
    values = named_values(equations)
    assert values["h"] is equations.output("h")
    assert values["h_1"] is not values["h"]


def test_an_output_without_a_name_is_y() -> None:
    @cell(state="h", output=True, sizes={"V": ("O", "H")})
    def read_out(x, h, W, U, V):
        new = tanh(W @ x + U @ h)
        return sigmoid(V @ new), new

    values = named_values(read_out.equations)
    assert list(values) == ["new", "y", "h"]
    assert values["new"] is values["h"]


def test_composed_cells_have_the_names_of_what_they_are_made_of() -> None:
    made = compose.zoneout(compose.layer_norm(cells.lstm), 0.1)
    assert {"i", "f", "o", "g", "c", "h"} <= set(named_values(made.equations))
    assert set(named_values(made.evaluation.equations)) == set(named_values(made.equations))
