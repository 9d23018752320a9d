"""The small residual network."""

import pytest
import torch

from recurra.vision import ResNet


@pytest.mark.parametrize("norm", ["group", "batch", "none"])
def test_a_block_begins_as_its_shortcut(norm: str) -> None:
    torch.manual_seed(0)
    network = ResNet(3, (8, 8), 4, norm=norm).eval()
    x = torch.randn(2, 8, 12, 12).relu()
    assert torch.equal(network.blocks[0](x), x)


def test_layers_are_as_many_as_the_paper_counts() -> None:
    """6 n + 2 of them, the last of which is the classifier: ResNet-20 has n = 3."""
    network = ResNet(3, (16, 32, 64), 10, depth=3, norm="batch")
    main = [
        name
        for name, value in network.named_parameters()
        if name.endswith("weight") and value.ndim >= 2 and "shortcut" not in name
    ]
    assert len(main) == 20


def test_odd_sizes_are_rounded_up() -> None:
    network = ResNet(1, (4, 4, 4), 4)
    assert network.grid_shape(33, 30) == (9, 8)
    assert network.grid(torch.randn(1, 1, 33, 30)).shape == (1, 72, 4)
