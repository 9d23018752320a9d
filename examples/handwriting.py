"""Handwriting: a forecaster learns where a pen goes next, and goes on writing by itself.

    python examples/handwriting.py --out handwriting.svg

The strokes that it learns from are made here: words of a few joined-up letters, slanted, of
different sizes, written by a hand that shakes a little. What the model says of a step is a mixture
of normal distributions of the pen's offset, with the probability that the pen is lifted, as in
Graves (2013), "Generating Sequences With Recurrent Neural Networks", arXiv:1308.0850, section 4.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import recurra as rc
from recurra.nn.densities import PenMixture

# Points of a letter, from where the last one ends to where the next begins; 1 is its height. A
# second list is a stroke that is written after the word: the dot of an i, the bar of a t.
LETTERS: dict[str, list[list[tuple[float, float]]]] = {
    "e": [[(0, 0), (0.5, 0.45), (0.55, 0.9), (0.25, 0.95), (0.15, 0.4), (0.4, 0), (0.8, 0.1)]],
    "l": [[(0, 0), (0.45, 1), (0.5, 1.9), (0.25, 2), (0.15, 1), (0.25, 0.1), (0.7, 0.1)]],
    "u": [[(0, 0.1), (0.2, 0.9), (0.2, 0.2), (0.45, 0), (0.7, 0.9), (0.7, 0.2), (1, 0.1)]],
    "n": [[(0, 0.1), (0.15, 0.9), (0.15, 0), (0.3, 0.8), (0.55, 0.9), (0.6, 0.15), (0.9, 0.1)]],
    "o": [[(0, 0.1), (0.35, 0.9), (0.1, 0.6), (0.2, 0), (0.6, 0.3), (0.45, 0.9), (0.9, 0.75)]],
    "i": [[(0, 0.1), (0.25, 0.9), (0.22, 0.2), (0.35, 0), (0.6, 0.1)], [(0.3, 1.4), (0.33, 1.44)]],
    "t": [[(0, 0.1), (0.3, 1.6), (0.25, 0.3), (0.4, 0), (0.7, 0.1)], [(0.05, 1.1), (0.6, 1.15)]],
}
STEP = 0.22  # what the pen moves in a step, about
GAP = 0.9  # between words


def curve(points: Sequence[tuple[float, float]]) -> np.ndarray:
    """[N, 2], a smooth line through points, at steps of about the same length (Catmull-Rom)."""
    p = np.array([points[0], *points, points[-1]], dtype=float)
    found = []
    for a, b, c, d in zip(p, p[1:], p[2:], p[3:], strict=False):
        u = np.linspace(0, 1, max(2, round(np.linalg.norm(c - b) / STEP) + 1))[:-1, None]
        cubic = 2 * b + (c - a) * u + (2 * a - 5 * b + 4 * c - d) * u**2
        found.append((cubic + (3 * b - a - 3 * c + d) * u**3) / 2)
    return np.concatenate([*found, p[-1:]])


def text(rng: np.random.Generator, num_words: int = 3) -> np.ndarray:
    """[T, 3], the pen's offsets dx and dy, and 1 where it is lifted after the step."""
    lines: list[np.ndarray] = []
    x = 0.0
    for _ in range(num_words):
        word, after = [], []
        for letter in rng.choice([*LETTERS], size=rng.integers(2, 6)):
            joined, *more = LETTERS[letter]
            word.append(curve(joined) + np.array([x, 0]))
            after += [curve(stroke) + np.array([x, 0]) for stroke in more]
            x += joined[-1][0]
        lines += [np.concatenate(word), *after]
        x += GAP
    size, slant = rng.uniform(0.85, 1.15), rng.uniform(0.1, 0.4)
    points = np.concatenate(lines) @ np.array([[size, 0], [slant * size, size]])
    points += rng.normal(scale=0.015, size=points.shape)
    lifted = np.zeros(len(points))
    lifted[np.cumsum([len(line) for line in lines]) - 1] = 1
    moved = np.diff(points, axis=0, prepend=points[:1])
    return np.column_stack([moved / STEP, lifted])


def batch(rng: np.random.Generator, size: int) -> tuple[Tensor, Tensor]:
    """A first step that says nothing, [1, B, 3], and what follows, [F, B, 3], NaN past its end."""
    texts = [text(rng) for _ in range(size)]
    target = np.full((max(map(len, texts)), size, 3), np.nan, dtype=np.float32)
    for number, each in enumerate(texts):
        target[: len(each), number] = each
    return torch.zeros(1, size, 3), torch.from_numpy(target)


def drawn(samples: Sequence[np.ndarray], path: Path) -> None:
    """An SVG of texts one below the other."""
    lines, height = [], 70
    for number, strokes in enumerate(samples):
        at = np.cumsum(strokes[:, :2] * STEP * 16, axis=0)
        ends = np.flatnonzero(strokes[:, 2] > 0.5) + 1
        for stroke in filter(len, np.split(at, ends)):
            points = " ".join(f"{x + 20:.1f},{height * (number + 0.75) - y:.1f}" for x, y in stroke)
            lines.append(f'<polyline points="{points}"/>')
    width = 60 + max(float(np.cumsum(each[:, 0]).max()) for each in samples) * STEP * 16
    size = f"{width:.0f} {height * len(samples)}"
    style = 'fill="none" stroke="#27408b" stroke-width="1.8" stroke-linejoin="round"'
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" {style} '
        f'stroke-linecap="round"><rect width="100%" height="100%" fill="white" stroke="none"/>'
        f"{''.join(lines)}</svg>\n"
    )


def main(arguments: Sequence[str] | None = None) -> float:
    """Train, write the picture, and return the last loss in nats a step."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--out", type=Path, default=Path("handwriting.svg"))
    options.add_argument("--steps", type=int, default=1200)
    options.add_argument("--batch-size", type=int, default=24)
    options.add_argument("--hidden-size", type=int, default=160)
    options.add_argument("--length", type=int, default=230, help="steps that are written")
    options.add_argument("--bias", type=float, default=0.7, help="the more, the neater")
    options.add_argument("--seed", type=int, default=1)
    given = options.parse_args(arguments)

    torch.manual_seed(given.seed)
    rng = np.random.default_rng(given.seed)
    model = rc.Forecaster(
        3,
        given.length,
        1,
        density=PenMixture(10, bias=given.bias),
        decoding="recursive",
        subtract_last=False,
        cell="lstm",
        hidden_size=given.hidden_size,
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, given.steps + 1)
    started, mean = time.monotonic(), float("nan")
    for step in range(1, given.steps + 1):
        first, target = batch(rng, given.batch_size)
        # each step is told the true one before it, and the loss is that of all steps
        said = model(first, horizon=len(target), target=target, truth=1.0)
        total, count = model.total_loss(said, target)
        loss = 2 * total / count  # an offset and an end are one step
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        mean = loss.item() if step == 1 else 0.98 * mean + 0.02 * loss.item()
        if step % 100 == 0 or step == given.steps:
            print(f"step {step}: {mean:.3f} nats, {time.monotonic() - started:.0f} s", flush=True)

    model.eval()
    with torch.no_grad():
        generator = torch.Generator().manual_seed(given.seed)
        strokes = model(torch.zeros(1, 6, 3), horizon=given.length, generator=generator).values
    drawn(list(strokes.transpose(0, 1).numpy()), given.out)
    print(f"wrote {given.out}")
    return mean


if __name__ == "__main__":
    main()
