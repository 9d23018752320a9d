"""Regions of pictures: cells of an encoder's grid, or boxes that are given.

A box is left, top, right and bottom, in shares of the picture as the model sees it, 0 to 1.

Letters: N images, P positions of a grid, K boxes of an image at most, D features.
"""

import torch
from jaxtyping import Float
from torch import Tensor

WHOLE = (0.0, 0.0, 1.0, 1.0)


def cells(rows: int, columns: int, like: Tensor) -> Float[Tensor, "positions 4"]:
    """[P, 4], the boxes of the cells of a grid, row by row, of the dtype of `like`."""
    across, down = (
        torch.arange(n + 1, dtype=like.dtype, device=like.device) / n for n in (columns, rows)
    )
    top, left = torch.meshgrid(down[:-1], across[:-1], indexing="ij")
    bottom, right = torch.meshgrid(down[1:], across[1:], indexing="ij")
    return torch.stack([left, top, right, bottom], dim=2).flatten(0, 1)


def shares(
    boxes: Float[Tensor, "images boxes 4"], rows: int, columns: int
) -> Float[Tensor, "images boxes positions"]:
    """[N, K, P], the share of each box that lies in each cell of a grid; a box's shares sum to 1.

    A box of no width or height is the line or point that it is: it has the cell that it lies in.

    Args:
        boxes: [N, K, 4], inside the picture.
        rows, columns: of the grid.
    """
    across = _shares(boxes[..., 0], boxes[..., 2], columns)
    down = _shares(boxes[..., 1], boxes[..., 3], rows)
    return (down[..., :, None] * across[..., None, :]).flatten(2)


_LEAST = 1e-4  # of a picture, of a side that has none


def _shares(first: Tensor, last: Tensor, count: int) -> Tensor:
    """[..., count], the share of each interval that lies in each of so many equal parts of 0..1."""
    first = first.clamp(0, 1 - _LEAST)
    last = torch.maximum(last.clamp(0, 1), first + _LEAST)
    edges = torch.arange(count + 1, dtype=first.dtype, device=first.device) / count
    within = torch.minimum(last[..., None], edges[1:]) - torch.maximum(first[..., None], edges[:-1])
    return within.clamp(min=0) / (last - first)[..., None]


def geometry(boxes: Float[Tensor, "... 4"]) -> Float[Tensor, "... 4"]:
    """Where boxes are and how large: middles across and down, widths and heights, -1 to 1 each."""
    left, top, right, bottom = boxes.unbind(-1)
    return torch.stack(
        [left + right - 1, top + bottom - 1, 2 * (right - left) - 1, 2 * (bottom - top) - 1], dim=-1
    )


def checked_boxes(where: str, boxes: Tensor, images: int) -> Tensor:
    """The boxes [N, K, 4] of so many images.

    Raises:
        ValueError: when they are of another shape, or one is not inside of the picture.
    """
    if boxes.dim() != 3 or len(boxes) != images or boxes.shape[2] != 4 or not boxes.shape[1]:
        raise ValueError(
            f"{where}: expected boxes [{images}, boxes, 4], left, top, right and bottom of each, "
            f"got shape {tuple(boxes.shape)}. Give each image as many, zeros past its own."
        )
    low, high = boxes[..., :2], boxes[..., 2:]
    wrong = ~((low >= 0) & (low <= high) & (high <= 1)).all(-1)
    if bool(wrong.any()):
        raise ValueError(
            f"{where}: expected boxes in shares of the picture, 0 to 1, left before right and top "
            f"before bottom, got {[round(v, 4) for v in boxes[wrong][0].tolist()]}. Divide pixels "
            f"by its width and height."
        )
    return boxes
