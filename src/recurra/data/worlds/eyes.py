"""Eyes: clips of an eye that looks about, with its true gaze at each frame.

The eye rests, follows something or jumps; it blinks, a strap of hair hides some of it, the camera
shakes, is out of focus and noisy. Each clip has an eye, a skin and a light of its own.

Letters: N clips, T frames, Y = 36 rows, X = 60 columns as in MPIIGaze, M frames of all clips.
Source: Zhang et al. (2015), "Appearance-based gaze estimation in the wild", CVPR, for the shape.
"""

import numpy as np

from recurra.data.worlds.made import Clips, at_least, check_counts, generator
from recurra.data.worlds.noise import add_noise, amounts

ROWS, COLUMNS = 36, 60
TARGETS = ("yaw_degrees", "pitch_degrees")
MOST = (30.0, 18.0)  # degrees of yaw, to the right of the picture, and of pitch, down

_BALL = 22.0  # radius of the eyeball, pixels
_BLOCK = 32  # clips that are drawn at once


def eyes(
    *,
    train: int = 600,
    val: int = 100,
    test: int = 100,
    frames: int = 40,
    blur: float = 1.0,
    noise: float = 1.0,
    noise_to: float = 0.0,
    occlusion: float = 1.0,
    seed: int = 0,
) -> dict[str, Clips]:
    """Draw the world.

    Args:
        train: clips.
        val: clips.
        test: clips.
        frames: T, at least 2.
        blur: how far out of focus cameras are; 0 is sharp.
        noise: of each pixel; 0 is none, 1 a standard deviation of 28 of 255.
        noise_to: unless it is 0, each clip has an amount of its own, drawn from `noise` to this.
        occlusion: how often eyes blink and how much hair is before them; 0 is never.
        seed: 0 or more; a part depends on it, on its own size and on `frames` alone, and the gaze
            on no amount of blur, noise or occlusion.
    Returns:
        By part, "train", "val" and "test"; frames [N, T, 1, 36, 60], targets [N, T, 2] degrees,
        visible where the pupil is.
    Raises:
        ValueError: when a part is empty, clips are too short, or an amount or the seed below 0.
    """
    counts = {"train": train, "val": val, "test": test}
    check_counts(counts)
    at_least(2, frames=frames)
    at_least(0, blur=blur, noise=noise, noise_to=noise_to, occlusion=occlusion, seed=seed)
    return {
        part: _drawn(generator(seed, part), count, frames, blur, (noise, noise_to), occlusion)
        for part, count in counts.items()
    }


def _drawn(
    random: np.random.Generator,
    count: int,
    num_frames: int,
    blur: float,
    noise: tuple[float, float],
    occlusion: float,
) -> Clips:
    gaze = _gaze(random, count, num_frames)
    closed = _blinks(random, count, num_frames, occlusion)
    shake = np.cumsum(random.normal(0, 0.25, (count, num_frames, 2)), axis=1)
    shake += random.uniform(-2, 2, (count, 1, 2)) - shake.mean(axis=1, keepdims=True)
    looks = random.random((count, 11))
    soft = 0.7 + blur * random.uniform(0.4, 1.6, count)
    noisy = 28 * amounts(random, count, *noise)
    frames = np.empty((count, num_frames, 1, ROWS, COLUMNS), dtype=np.uint8)
    visible = np.empty((count, num_frames), dtype=bool)
    for start in range(0, count, _BLOCK):
        block = slice(start, start + _BLOCK)
        painted, visible[block] = _painted(
            gaze[block], closed[block], shake[block], looks[block], soft[block], occlusion
        )
        frames[block, :, 0] = add_noise(random, painted, noisy[block])
    return Clips(
        frames=frames,
        targets=gaze.astype(np.float32),
        target_names=TARGETS,
        visible=np.repeat(visible[..., None], 2, axis=2),
    )


def _gaze(random: np.random.Generator, count: int, num_frames: int) -> np.ndarray:
    """[N, T, 2] degrees: rests of 5 to 16 frames, jumps of one or two, and some following."""
    clock = np.arange(num_frames)
    most = np.array(MOST)
    gaze = np.empty((count, num_frames, 2))
    position = random.uniform(-0.9, 0.9, (count, 2)) * most
    begins = np.zeros(count)
    while (begins < num_frames).any():
        goal = random.uniform(-0.9, 0.9, (count, 2)) * most
        length = random.integers(5, 17, count)
        follows = random.random(count) < 0.3
        # one that follows moves all the time, a jump is over after one or two frames
        takes = np.where(follows, length, random.integers(1, 3, count))
        share = ((clock - begins[:, None] + 1) / takes[:, None]).clip(0, 1)[..., None]
        way = position[:, None] + share * (goal - position)[:, None]
        here = (clock >= begins[:, None])[..., None]
        gaze = np.where(here, way, gaze)
        position, begins = goal, begins + length
    return gaze + random.normal(0, 0.15, gaze.shape)  # no eye is quite at rest


def _blinks(
    random: np.random.Generator, count: int, num_frames: int, occlusion: float
) -> np.ndarray:
    """[N, T], how far the lid is down, 0 to 1; a blink takes about five frames."""
    rate = min(1.0, 0.03 * occlusion)
    starts = random.random((count, num_frames + 4)) < rate
    closed = np.zeros((count, num_frames))
    for offset, down in enumerate((0.45, 1.0, 1.0, 0.75, 0.3)):
        np.maximum(closed, down * starts[:, 4 - offset : 4 - offset + num_frames], out=closed)
    return closed


# ---- painted -------------------------------------------------------------------------------------


def _painted(
    gaze: np.ndarray,
    closed: np.ndarray,
    shake: np.ndarray,
    looks: np.ndarray,
    soft: np.ndarray,
    occlusion: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Frames [N, T, Y, X] float32 in 0..255, and whether the pupil is seen [N, T]."""

    def look(number: int, low: int | float, high: int | float) -> np.ndarray:
        return (low + (high - low) * looks[:, number])[:, None, None, None].astype(np.float32)

    x = np.arange(COLUMNS, dtype=np.float32) + 0.5 - COLUMNS / 2
    y = (np.arange(ROWS, dtype=np.float32) + 0.5 - ROWS / 2)[:, None]
    x = x - shake[..., 0, None, None].astype(np.float32)
    y = y - shake[..., 1, None, None].astype(np.float32)
    edge = soft[:, None, None, None].astype(np.float32)

    def inside(far: np.ndarray) -> np.ndarray:
        """1 where a distance in pixels is below 0, 0 above it, soft between."""
        return 1 / (1 + np.exp((2.5 * far / edge).clip(-30, 30)))

    half = look(0, 21, 25)
    curve = 1 - (x / half) ** 2
    upper, lower = look(1, 9, 12), look(2, 5, 8)
    shut = closed[..., None, None].astype(np.float32)
    pitch = np.radians(gaze[..., 1]).astype(np.float32)[..., None, None]
    # the lid goes down with the gaze, and all the way in a blink
    top = -(upper - 5 * np.sin(pitch)) * curve
    top = top + shut * (lower * curve - top)
    opening = inside(top - y) * inside(y - lower * curve) * inside(abs(x) - half)

    yaw = np.radians(gaze[..., 0]).astype(np.float32)[..., None, None]
    across, down = _BALL * np.sin(yaw) * np.cos(pitch), _BALL * np.sin(pitch)
    # a disc on a ball is an ellipse, narrow towards the side that it is turned to
    dx, dy = x - across, y - down
    turned = np.sqrt(1 - np.minimum((across**2 + down**2) / _BALL**2, 0.9))
    length = np.hypot(across, down) + 1e-6
    along = (dx * across + dy * down) / length
    beside = (dy * across - dx * down) / length
    far = np.hypot(along / turned, beside)
    iris, pupil = look(3, 7.5, 9.5), look(4, 2.6, 4.4)

    white = look(5, 190, 235) - 1.2 * abs(x)
    ball = white + inside(far - iris) * (look(6, 70, 140) - white)
    ball = ball * (1 - inside(far - pupil)) + 18 * inside(far - pupil)
    glint = inside(np.hypot(dx + 2.2, dy + 2.2) - 1.1)
    ball += glint * (245 - ball)
    skin = look(7, 110, 190)
    brow = inside(abs(y + 15 + 0.01 * x**2) - 1.5) * inside(abs(x) - half)
    face = skin * (1 - 0.55 * brow) - 0.5 * y
    lash = inside(abs(y - top) - 0.9) * inside(abs(x) - half)
    picture = (face + opening * (ball - face)) * (1 - 0.75 * lash)
    # a strap of hair, steep, as wide as there is occlusion
    slope = look(8, -0.5, 0.5)
    strap = inside(abs(x - look(9, -26, 26) - slope * y) - 1.8 * occlusion) if occlusion else None
    if strap is not None:
        picture += strap * (40 - picture)
    light = look(10, -0.4, 0.4) * x
    seen = (closed < 0.5) & _hair_is_beside(gaze, looks, occlusion)
    return (picture + light).astype(np.float32), seen


def _hair_is_beside(gaze: np.ndarray, looks: np.ndarray, occlusion: float) -> np.ndarray:
    """Whether the middle of the pupil is not behind the strap, [N, T]."""
    pitch, yaw = np.radians(gaze[..., 1]), np.radians(gaze[..., 0])
    across, down = _BALL * np.sin(yaw) * np.cos(pitch), _BALL * np.sin(pitch)
    slope, middle = looks[:, 8, None] - 0.5, 52 * looks[:, 9, None] - 26
    return abs(across - middle - slope * down) >= 1.8 * occlusion
