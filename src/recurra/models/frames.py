"""The tagger of clips: a label, or a vector of numbers, at every frame.

    frames -> encoder of pictures -> recurrent layers -> dropout -> linear decoder at each frame

Letters: T frames, B batch, N frames of all clips, C channels, Y rows, X columns, K labels,
O numbers.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recurra.errors import CellWarning, DataError
from recurra.lang import cell, tanh
from recurra.models.parts import Names, Part
from recurra.models.prediction import EncodedInputs
from recurra.models.reading import past_lengths
from recurra.models.scaling import Scaling, as_array
from recurra.models.tagger import Tagger
from recurra.nn.dropout import dropout
from recurra.vision import Encoder, encoder

_BLOCK = 256  # frames that are encoded at a time where no gradients are kept
_SMALL = 128 * 128  # pixels of a frame up to which one thread encodes it sooner than several

with warnings.catch_warnings():
    warnings.simplefilter("ignore", CellWarning)  # that nothing reads the state is what it is for

    @cell(state="h")
    def framewise(x, h, W_xh, b_h):
        """No recurrence: units that see one step alone, to say what memory is worth beside them."""
        return tanh(W_xh @ x + b_h)


class FrameTagger(Tagger):
    """An encoder of pictures, recurrent layers over its vectors, and a linear decoder at each
    frame; trained from end to end.

    Args:
        encoder: of pictures: `vision.encoder("convnet", channels=1)`, or its config.
        num_labels: K; None takes the number of labels. Of numbers it is left out.
        scaling: of the C channels of frames, of all their pixels; frames of uint8 are numbers
            0 to 255 to it.
        target_names: of the O numbers, saved with the model.
        tagging: the arguments of `Tagger` besides those of ids; `input_dropout` drops features of
            a frame's vector. The cell `framewise` makes a model of single frames.

    Raises:
        ValueError: when arguments do not go together, or one is wrong.

    A call encodes the frames of all clips together. `predict`, and what is called under `online`,
    encodes them one by one, as a stream has them: what a clip gives is then, to the bit, what a
    stream of its frames gives; on the CPU it takes up to three times as long.

    Source: Wang, Song, Lien, Poupyrev, Hilliges (2016), "Interacting with Soli: Exploring
    Fine-Grained Dynamic Gesture Recognition in the Radio-Frequency Spectrum", UIST. Differences:
    any encoder and any cell; labels may be numbers.
    """

    target_names = Part(Names, convert=Names)

    def __init__(
        self,
        encoder: Encoder | Mapping[str, Any],
        num_labels: int | None = None,
        *,
        scaling: Scaling | None = None,
        target_names: Sequence[str] | None = None,
        **tagging: Any,
    ) -> None:
        for name in ("vocab_size", "input_size", "vocabulary", "spelling", "subwords"):
            if tagging.get(name) is not None:
                raise ValueError(
                    f"FrameTagger: expected arguments of a model of frames, got {name}=. "
                    "Leave it out; the encoder says what the recurrent layers read."
                )
        made = _made(encoder, tagging)
        super().__init__(num_labels, input_size=made.size, **tagging)
        # convolutions of few channels are about twice as fast in this order of memory
        self.encoder = made.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.scaling, self.target_names = scaling, target_names
        self._is_online = False

    def reset_parameters(self) -> None:
        """Draw all parameters anew, those of the encoder too."""
        self.encoder.reset_parameters()
        super().reset_parameters()

    def _sizes_of(self, name: str, part: Any) -> tuple[Any, Any, str]:
        if name == "scaling":
            return len(part.mean), self.encoder.channels, "channels, the encoder's channels"
        if name == "target_names":
            return len(part), self.output_size, "numbers, the model's output_size"
        return super()._sizes_of(name, part)

    def _arranged(self, x: Tensor, pieces: Tensor | None) -> tuple[Tensor, Tensor | None, bool]:
        C = self.encoder.channels
        is_right = x.dim() in (4, 5) and x.shape[-3] == C
        if pieces is not None or not (is_right and (x.is_floating_point() or _is_bytes(x))):
            raise ValueError(
                f"FrameTagger: expected frames [time, batch, {C}, rows, columns] of uint8 or "
                f"floating-point numbers, got shape {tuple(x.shape)} of {x.dtype}. Pass lengths "
                f"for clips of different lengths."
            )
        return (x.unsqueeze(1), None, True) if x.dim() == 4 else (self._turned(x), None, False)

    def _read_steps(self, x: Tensor, lengths: Tensor | Sequence[int] | None = None) -> Tensor:
        """The vectors [T, B, size] of frames; zeros past the lengths, where no frame is looked
        at."""
        past = past_lengths(x, lengths)
        if past is None:
            vectors = self._encode(x.flatten(0, 1)).view(*x.shape[:2], -1)
        else:
            there = (~past).flatten().nonzero().squeeze(1)
            of_frames = self._encode(x.flatten(0, 1)[there])
            empty = of_frames.new_zeros(past.numel(), of_frames.shape[1])
            vectors = empty.index_copy(0, there, of_frames).view(*past.shape, -1)
        return dropout(vectors, self.input_dropout) if self._drops(self.input_dropout) else vectors

    @contextmanager
    def online(self) -> Iterator[None]:
        """Frames are encoded one by one, as a stream has them, where no gradients are kept."""
        before, self._is_online = self._is_online, True
        try:
            yield
        finally:
            self._is_online = before

    def _called(self, batch: EncodedInputs) -> Tensor:
        with self.online():
            return super()._called(batch)

    def _encode(self, frames: Tensor) -> Tensor:
        """The vectors of frames [N, C, Y, X], which are not scaled yet."""
        if torch.is_grad_enabled() or len(frames) == 0:
            return self.encoder(self._laid(frames))
        if not self._is_online and len(frames) > 1:
            return torch.cat([self.encoder(self._laid(some)) for some in frames.split(_BLOCK)])
        is_small = frames.device.type == "cpu" and frames[0, 0].numel() <= _SMALL
        with one_thread() if is_small else nullcontext():
            return torch.cat([self.encoder(self._laid(one)) for one in frames.split(1)])

    def _laid(self, frames: Tensor) -> Tensor:
        """Frames scaled, with the channels of a pixel side by side in memory that is new: how it is
        laid out is not left to how the caller's was."""
        N, C, Y, X = frames.shape
        like = self.decoder.weight
        pixels = torch.empty(N, Y, X, C, dtype=like.dtype, device=like.device)
        pixels.copy_(frames.movedim(1, -1))
        if self.scaling is not None:
            pixels = self.scaling(pixels)
        return pixels.movedim(-1, 1)

    def pixels(self, frames: Tensor) -> Tensor:
        """[N, C, Y, X] of frames [N, C, Y, X] of bytes or other numbers: scaled, as the encoder
        reads them."""
        return self._laid(frames)

    def clip(self, given: Any, where: str) -> np.ndarray:
        """[T, C, Y, X] uint8 or float32 of what a user gives; see `as_clip`."""
        return as_clip(given, self.encoder.channels, where)

    def _series(self, series: Any, where: str) -> np.ndarray:
        return self.clip(series, where)

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that rebuild this model, the cell as `cell_config` writes it."""
        own = {"encoder": self.encoder.config, **super().config}
        del own["input_size"]
        return own


def as_clip(clip: Any, channels: int, where: str) -> np.ndarray:
    """[T, C, Y, X] uint8 or float32 of what a user gives: an array, a tensor, lists of frames.

    Args:
        clip: [T, C, Y, X]; [T, Y, X] where C is 1.
        channels: C.
        where: what an error calls it.
    Raises:
        DataError: when it is no clip of so many channels, or has numbers that are not finite.
    """
    try:
        values = as_array(clip)
        if values.dtype.kind not in "fiub":
            raise ValueError(f"values of {values.dtype}")
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(
            f"{where}: expected frames of numbers, got {error}. Give an array "
            f"[frames, {channels}, rows, columns]."
        ) from None
    if values.ndim == 3 and channels == 1:
        values = values[:, None]
    if values.ndim != 4 or values.shape[1] != channels or 0 in values.shape:
        raise DataError(
            f"{where}: expected frames [T, {channels}, rows, columns], as in training, got shape "
            f"{list(values.shape)}. Channels come before rows."
        )
    if values.dtype == np.uint8:
        return values
    values = values.astype(np.float32)
    if not np.isfinite(values).all():
        raise DataError(
            f"{where}: expected a number for each pixel, got {(~np.isfinite(values)).sum()} that "
            "are none. Fill them in."
        )
    return values


@contextmanager
def one_thread() -> Iterator[None]:
    """torch computes by one thread: what is small takes longer where several wait for another."""
    before = torch.get_num_threads()
    if before > 1:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if before > 1:
            torch.set_num_threads(before)


def _is_bytes(x: Tensor) -> bool:
    return x.dtype == torch.uint8


def _made(given: Encoder | Mapping[str, Any], tagging: Mapping[str, Any]) -> Encoder:
    """The encoder, where the model is to be and of its dtype."""
    dtype, device = tagging.get("dtype"), tagging.get("device")
    if isinstance(given, Mapping):
        return encoder(**given, dtype=dtype, device=device)
    return given.to(device=device, dtype=dtype)
