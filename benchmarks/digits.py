"""How well the convolutional network of captions of numbers reads single digits, by itself.

It learns from the pictures of one digit alone, of digits of the part "train", and reads those of
"test", by a linear layer over the maxima of its maps: how well one digit of an unseen hand is read
where nothing but digits is to be learned.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.registry import Settings
from recurra.data.worlds import numbers
from recurra.data.worlds.numbers import Numbers
from recurra.tasks.caption_encoders import encoder_for
from recurra.tasks.options import CaptionerSettings
from recurra.vision import Preprocessing

DRAWN = {"train": 16_000, "val": 1, "test": 6_000}  # a quarter of which are of one digit
PASSES, BATCH, RATE = 12, 64, 4e-3


def digit_accuracy(settings: Settings, *, depth: int = 1, seed: int = 1) -> float:
    """The share of test digits that are read rightly.

    Args:
        depth: convolutions of each stage, as of the captioner that stands beside it.
        seed: of weights and batches.
    """
    torch.manual_seed(seed)
    torch.set_num_threads(settings.threads)
    drawn = {name: min(count, 200) for name, count in DRAWN.items()} if settings.quick else DRAWN
    world = numbers(**drawn)
    images, digits = _alone(world["train"])
    encoder = encoder_for(CaptionerSettings(encoder_depth=depth))
    decide = nn.Linear(encoder.grid_size, 10)
    parameters = [*encoder.parameters(), *decide.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=RATE)
    passes = 1 if settings.quick else PASSES

    def scores(some: Tensor) -> Tensor:
        return decide(encoder.grid(some).amax(1))

    steps = passes * -(-len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    for _ in range(passes):
        for rows in torch.randperm(len(images)).split(BATCH):
            loss = functional.cross_entropy(scores(images[rows]), digits[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    images, digits = _alone(world["test"])
    encoder.eval()
    with torch.no_grad():
        said = torch.cat([scores(some).argmax(1) for some in images.split(BATCH)])
    return float((said == digits).float().mean())


def exact_of_digits(accuracy: float, lengths: Sequence[int] = (1, 2, 3, 4)) -> float:
    """The share of numbers of these lengths that are right where each digit is, one as another."""
    return float(np.mean([accuracy**length for length in lengths]))


def _alone(part: Numbers) -> tuple[Tensor, Tensor]:
    """The pictures of one digit, [N, 3, Y, X] as a captioner reads them, and the digits [N]."""
    own = np.flatnonzero(part.values < 10)
    make = Preprocessing(size=part.pictures.shape[1])
    images = torch.stack([make(part.pictures[n]) for n in own])
    return images, torch.from_numpy(part.values[own])
