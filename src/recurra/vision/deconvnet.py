"""What a map of an encoder looks for: the patches that excite it most, and a deconvnet's projection
of each back to pixels.

A deconvnet goes the way of the network backward: it unpools by the switches of max pooling,
rectifies, and filters with the transposed kernels. That is a backward pass in which a ReLU hands on
what is positive of what comes back, whatever it let through on the way there; so torch's backward
pass is taken, with that one rule changed. A normalisation is the fixed scale that it had; where
paths of a residual block meet, both are gone back.

Source: Zeiler, Fergus (2014), "Visualizing and Understanding Convolutional Networks",
arXiv:1311.2901. The relation to the gradient: Simonyan, Vedaldi, Zisserman (2014), arXiv:1312.6034,
section 4.

Letters: N pictures, C channels, Y rows, X columns, K maps of a layer.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from recurra.vision.base import Encoder

BATCH = 32
SHORTCUT = "shortcut"  # in the name of the shorter way round a block


@dataclass(frozen=True, slots=True)
class Field:
    """Which pixels a place of a map sees: along rows, and along columns.

    Attributes:
        size: pixels.
        step: from one place to the next.
        start: the first that the first place sees; below 0 in the padding.
    """

    size: tuple[int, int]
    step: tuple[int, int]
    start: tuple[int, int]

    def box(self, row: int, column: int, rows: int, columns: int) -> tuple[int, int, int, int]:
        """(top, left, bottom, right) of what a place sees of a picture of so many rows and columns:
        moved to lie within it, and the whole of it where it is smaller."""
        sides = []
        for place, axis, most in ((row, 0, rows), (column, 1, columns)):
            size = min(self.size[axis], most)
            first = min(max(self.start[axis] + place * self.step[axis], 0), most - size)
            sides.append((first, first + size))
        (top, bottom), (left, right) = sides
        return top, left, bottom, right


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What excites one map, the strongest first.

    Attributes:
        layer: its name.
        channel: which of the K maps.
        activations: how strongly it was excited.
        images: by which picture.
        boxes: by which part of it, (top, left, bottom, right).
        patches: those parts, [C, rows, columns], as the encoder reads them.
        projections: what of each excited it, back in pixels, of the same shape.
    """

    layer: str
    channel: int
    activations: tuple[float, ...]
    images: tuple[int, ...]
    boxes: tuple[tuple[int, int, int, int], ...]
    patches: tuple[Tensor, ...]
    projections: tuple[Tensor, ...]


def deconvnet_views(
    encoder: Encoder,
    layer: str,
    images: Float[Tensor, "n c y x"],
    *,
    num_channels: int = 9,
    top: int = 9,
    channels: Sequence[int] | None = None,
    batch_size: int = BATCH,
) -> list[View]:
    """What excites the maps of a layer most.

    Args:
        encoder: in evaluation mode meanwhile.
        layer: one of `encoder.layers()`.
        images: [N, C, Y, X] to look for patches in, one of each picture.
        num_channels: of how many maps: those that are excited most.
        top: patches of each.
        channels: which maps, in place of those.
        batch_size: pictures that are read at a time.
    Returns:
        A view for each map that anything excites, the most excited first.
    Raises:
        ValueError: when there is no such layer or map, or a picture does not fit the encoder.
    """
    encoder.check_images(images)
    mode = encoder.training
    encoder.eval()
    try:
        values, places, columns = _strongest(encoder, layer, images, top, batch_size)
        if channels is None:
            channels = values[:, 0].argsort(descending=True, stable=True)[:num_channels].tolist()
        _check_channels(layer, channels, len(values))
        field = receptive_field(encoder, layer, images[:1])
        found = []
        for channel in channels:
            excited = [at for at in range(values.shape[1]) if values[channel, at] > 0]
            if excited:
                numbers = places[channel, excited]
                found.append(
                    _view(encoder, layer, images, channel, values[channel], numbers, columns, field)
                )
        return found
    finally:
        encoder.train(mode)


def projected(
    encoder: Encoder,
    layer: str,
    images: Float[Tensor, "n c y x"],
    channel: int,
    places: Sequence[tuple[int, int]],
) -> Float[Tensor, "n c y x"]:
    """What of each picture excited one place of a map, back in pixels by a deconvnet.

    Args:
        encoder: in evaluation mode.
        layer: one of `encoder.layers()`.
        images: [N, C, Y, X].
        channel: the map.
        places: (row, column) in the map, one for each picture.
    Returns:
        [N, C, Y, X].
    """
    read = images.detach().requires_grad_()
    with torch.enable_grad(), _going_back(encoder):
        maps = _maps(encoder, layer, read)
        kept = torch.zeros_like(maps)
        for number, (row, column) in enumerate(places):
            kept[number, channel, row, column] = maps.detach()[number, channel, row, column]
        (projections,) = torch.autograd.grad(maps, read, kept)
    return projections


def receptive_field(encoder: Encoder, layer: str, image: Float[Tensor, "1 c y x"]) -> Field:
    """Which pixels a place of a layer's maps sees; round a block, by the longer way."""
    size, step, start = [1, 1], [1, 1], [0, 0]

    def pass_by(module: Any, *_: Any) -> None:
        for axis in (0, 1):
            kernel, stride, padding, dilation = (
                value if isinstance(value, int) else value[axis]
                for value in (module.kernel_size, module.stride, module.padding, module.dilation)
            )
            size[axis] += (kernel - 1) * dilation * step[axis]
            start[axis] -= padding * step[axis]
            step[axis] *= stride

    def stop(*_: Any) -> None:
        for handle in handles:
            handle.remove()

    handles = [
        module.register_forward_hook(pass_by)
        for name, module in encoder.named_modules()
        if isinstance(module, nn.Conv2d | nn.MaxPool2d) and SHORTCUT not in name.split(".")
    ]
    target = _layer(encoder, layer)
    # what comes behind the layer is not counted
    handles.append(target.register_forward_hook(stop))
    try:
        with torch.no_grad():
            encoder.maps(image)
    finally:
        stop()
    return Field((size[0], size[1]), (step[0], step[1]), (start[0], start[1]))


# ---- there, and back -----------------------------------------------------------------------------


def _strongest(
    encoder: Encoder, layer: str, images: Tensor, top: int, batch_size: int
) -> tuple[Tensor, Tensor, int]:
    """Of each map the strongest activations [K, top], one of a picture; where they are, as
    picture * R * Q + row * Q + column, [K, top]; and Q."""
    values = places = None
    columns = 1
    for start in range(0, len(images), batch_size):
        with torch.no_grad():
            maps = _maps(encoder, layer, images[start : start + batch_size])
        per_map, columns = maps.shape[2] * maps.shape[3], maps.shape[3]
        most, within = maps.flatten(2).max(dim=2)  # [n, K]
        numbers = torch.arange(len(maps), dtype=torch.int64, device=maps.device) + start
        at = numbers[:, None] * per_map + within
        most, at = most.t(), at.t()
        if values is not None and places is not None:
            most, at = torch.cat([values, most], dim=1), torch.cat([places, at], dim=1)
        values, order = most.sort(dim=1, descending=True, stable=True)
        values, places = values[:, :top], at.gather(1, order[:, :top])
    assert values is not None
    assert places is not None
    return values, places, columns


def _view(
    encoder: Encoder,
    layer: str,
    images: Tensor,
    channel: int,
    values: Tensor,
    numbers: Tensor,
    columns: int,
    field: Field,
) -> View:
    """The patches and projections of one map."""
    with torch.no_grad():
        per_map = _maps(encoder, layer, images[:1]).shape[2] * columns
    chosen = [number // per_map for number in numbers.tolist()]
    places = [divmod(number % per_map, columns) for number in numbers.tolist()]
    pictures = images[chosen]
    back = projected(encoder, layer, pictures, channel, places)
    boxes = tuple(field.box(*place, *images.shape[2:]) for place in places)
    return View(
        layer=layer,
        channel=channel,
        activations=tuple(values[: len(chosen)].tolist()),
        images=tuple(chosen),
        boxes=boxes,
        patches=_cut(pictures, boxes),
        projections=_cut(back, boxes),
    )


def _cut(images: Tensor, boxes: Sequence[tuple[int, int, int, int]]) -> tuple[Tensor, ...]:
    return tuple(
        image[:, top:bottom, left:right].detach().clone()
        for image, (top, left, bottom, right) in zip(images, boxes, strict=True)
    )


def _layer(encoder: Encoder, layer: str) -> nn.Module:
    layers = encoder.layers()
    if layer not in layers:
        raise ValueError(
            f"deconvnet: expected a layer of {', '.join(layers)}, got {layer!r:.60}. Choose one."
        )
    return layers[layer]


def _check_channels(layer: str, channels: Sequence[int], count: int) -> None:
    for channel in channels:
        if not 0 <= channel < count:
            raise ValueError(
                f"deconvnet: expected maps in 0..{count - 1} of {layer}, got {channel}. Choose "
                f"from these."
            )


def _maps(encoder: Encoder, layer: str, images: Tensor) -> Tensor:
    """[N, K, R, Q] of a layer."""
    kept: list[Tensor] = []

    def keep(_: nn.Module, __: Any, maps: Any) -> None:
        kept.append(maps)

    handle = _layer(encoder, layer).register_forward_hook(keep)
    try:
        encoder.maps(images)
    finally:
        handle.remove()
    return kept[0]


@contextmanager
def _going_back(encoder: Encoder) -> Iterator[None]:
    """In the block a backward pass through the encoder is that of a deconvnet."""
    handles = []
    scales: dict[nn.Module, Tensor] = {}

    def rectify(_: nn.Module, __: Any, coming: Any) -> Any:
        return (coming[0].clamp(min=0),)

    def measure(norm: Any, args: tuple[Tensor, ...], _: Tensor) -> None:
        groups = args[0].detach().unflatten(1, (norm.num_groups, -1)).flatten(2)
        spread = (groups.var(dim=2, unbiased=False) + norm.eps).sqrt()  # [N, groups]
        each = spread.repeat_interleave(norm.num_channels // norm.num_groups, dim=1)
        scales[norm] = (norm.weight.detach() / each)[:, :, None, None]

    def scale(norm: nn.Module, _: Any, coming: Any) -> Any:
        return (coming[0] * scales[norm],)

    for module in encoder.modules():
        if isinstance(module, nn.ReLU):
            handles.append(module.register_full_backward_hook(rectify))
        elif isinstance(module, nn.GroupNorm):
            handles.append(module.register_forward_hook(measure))
            handles.append(module.register_full_backward_hook(scale))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
