"""Cells as notebooks show them."""

from xml.etree import ElementTree

import pytest

from recurra import cells, compose
from recurra.lang import cell, tanh, where


def text_of(of: object) -> str:
    """What a reader sees of the page, which must be well-formed."""
    page = of._repr_html_()  # type: ignore[attr-defined]
    return " ".join(" ".join(ElementTree.fromstring(page).itertext()).split())


@pytest.mark.parametrize("name", ["lstm", "taugru", "slstm", "fastrnn", "dynamical_system"])
def test_a_page_has_the_equations_the_docstring_and_every_input(name: str) -> None:
    of = cells.get(name)
    text = text_of(of)
    assert of.latex().partition("\n")[2] in of._repr_latex_()
    assert " ".join(of._repr_latex_().split()) in text
    assert of._repr_latex_().startswith("$$")
    assert " ".join(of.doc.split()) in text
    for node in of.equations.inputs:
        assert node.name in text


def test_a_page_says_sizes_starts_masks_and_constants() -> None:
    text = text_of(compose.zoneout(cells.lstm, 0.1))
    assert "learned" in text
    assert "[H, I]" in text
    assert "starts at b_f = 1.0" in text
    assert "random, each step" in text
    assert "delay" in text_of(cells.get("taugru"))


def test_signs_of_html_in_a_cell() -> None:
    @cell
    def less(x, h, W, b):
        r"""A < B & C: $\href{javascript:x}{y}$."""
        return where(h < b, tanh(W @ x), h)

    assert "A < B & C" in text_of(less)
    assert "h_{t-1} < b" in text_of(less)
    mathematics = list(ElementTree.fromstring(less._repr_html_()).iter("div"))[1]
    assert "href" not in "".join(mathematics.itertext())
    assert "<pre" in less._repr_html_().partition("href")[0]
