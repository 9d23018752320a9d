"""What the language promises, on cells of papers that nobody has tried it on."""

import pytest
import torch

from compiled import Call, compare
from oracle import Case, check_reference
from paper_cells import CELLS, sizes_of
from recurra import Recurrent, show
from recurra.backends.cpu import found_compiler
from recurra.lang import Cell
from recurra.lang.document import cell_of_document, document_of, same_equations

pytestmark = pytest.mark.medium
each_cell = pytest.mark.parametrize("of", CELLS, ids=lambda of: of.name)
needs_compiler = pytest.mark.skipif(found_compiler() is None, reason="needs a C++ compiler")


@each_cell
def test_the_reference_and_its_adjoint_agree_with_the_equations(of: Cell) -> None:
    check_reference(of, Case(T=4, B=3, sizes=sizes_of(of), lengths=(4, 1, 3)), str(of))


@each_cell
def test_it_prints_and_is_saved(of: Cell) -> None:
    assert show.text(of.name, of.equations) == str(of)
    latex = of.latex()
    assert latex.count("{") == latex.count("}")
    assert of.graph().svg.startswith("<svg")
    assert same_equations(cell_of_document(document_of(of)), of)


@needs_compiler
@pytest.mark.timeout(300)
@each_cell
def test_compiled_loops_and_streams_agree(of: Cell) -> None:
    sizes = sizes_of(of)
    compare(of, Call(case=Case(T=4, B=3, sizes=sizes, lengths=(4, 1, 3))), strict=False)
    own = {name: n for name, n in sizes.items() if name not in ("I", "H")}
    layer = Recurrent(of, sizes["I"], sizes["H"], sizes=own or None)
    x = torch.randn(5, 2, sizes["I"])
    further = {name: torch.rand(5, 2, *shape) for name, shape in layer.further_sizes.items()}
    memory = tuple(torch.randn(6, 2, dim.evaluate(sizes)) for dim in of.memory_sizes) or None
    y, _ = layer(x, memory=memory, **further)
    stream = layer.stream(batch_size=2, memory=memory)
    steps = [stream(x[t], **{name: value[t] for name, value in further.items()}) for t in range(5)]
    torch.testing.assert_close(torch.stack(steps), y, rtol=1e-5, atol=1e-5)
