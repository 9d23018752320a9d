"""Stick figures: clips of somebody who walks, waves or crouches, with all joints at each frame.

A figure is seen from the side. The limbs nearer to the camera are bright, those behind it dim: in
noise a frame does not say which is which, and what follows does. Pillars stand and boxes drift
before it.

Letters: N clips, T frames, S rows and columns, J = 11 joints, M frames of all clips.
"""

import numpy as np

from recurra.data.worlds.made import Clips, at_least, check_counts, generator
from recurra.data.worlds.noise import add_noise, amounts

JOINTS = (
    *("head", "neck", "hip", "near_elbow", "near_hand", "far_elbow", "far_hand"),
    *("near_knee", "near_foot", "far_knee", "far_foot"),
)
TARGETS = tuple(f"{joint}_{axis}" for joint in JOINTS for axis in ("x", "y"))
LIMBS = (  # far ones first, nearer ones over them; how bright each is
    *(("neck", "far_elbow", 0.5), ("far_elbow", "far_hand", 0.5)),
    *(("hip", "far_knee", 0.5), ("far_knee", "far_foot", 0.5)),
    *(("neck", "hip", 0.75), ("head", "neck", 0.75)),
    *(("hip", "near_knee", 1.0), ("near_knee", "near_foot", 1.0)),
    *(("neck", "near_elbow", 1.0), ("near_elbow", "near_hand", 1.0)),
)

# shares of the height of a figure
_TORSO, _NECK, _THIGH, _SHIN, _ARM, _FOREARM, _HEAD = 0.31, 0.11, 0.25, 0.25, 0.17, 0.16, 0.065
_BLOCK = 16  # clips that are drawn at once


def stick_figures(
    *,
    train: int = 500,
    val: int = 80,
    test: int = 80,
    frames: int = 40,
    size: int = 64,
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
        size: S, at least 32.
        blur: how far out of focus cameras are; 0 is sharp.
        noise: of each pixel; 0 is none, 1 a standard deviation of 45 of 255.
        noise_to: unless it is 0, each clip has an amount of its own, drawn from `noise` to this.
        occlusion: how wide what stands before figures is; 0 is nothing.
        seed: 0 or more; a part depends on it, on its own size and on `frames` alone, and the
            joints on no amount of blur, noise or occlusion.
    Returns:
        By part, "train", "val" and "test"; frames [N, T, 1, S, S], targets [N, T, 2 J], x to the
        right and y down, in shares of the picture's height, of which a figure has 0.62 to 0.8.
    Raises:
        ValueError: when a part is empty, clips are too short or small, or an amount or the seed
            below 0.
    """
    counts = {"train": train, "val": val, "test": test}
    check_counts(counts)
    at_least(2, frames=frames)
    at_least(32, size=size)
    at_least(0, blur=blur, noise=noise, noise_to=noise_to, occlusion=occlusion, seed=seed)
    return {
        part: _drawn(generator(seed, part), count, frames, size, blur, (noise, noise_to), occlusion)
        for part, count in counts.items()
    }


def _drawn(
    random: np.random.Generator,
    count: int,
    num_frames: int,
    size: int,
    blur: float,
    noise: tuple[float, float],
    occlusion: float,
) -> Clips:
    joints, heights = _joints(random, count, num_frames)
    screens = _screens(random, count, num_frames, occlusion)
    ground, bright, shade = (
        random.uniform(*each, count) for each in ((20, 60), (150, 235), (0, 1))
    )
    soft = size / 64 * (0.6 + blur * random.uniform(0.2, 1.2, count))
    thick = size / 64 * random.uniform(1.0, 1.5, count)
    noisy = 45 * amounts(random, count, *noise)
    frames = np.empty((count, num_frames, 1, size, size), dtype=np.uint8)
    for start in range(0, count, _BLOCK):
        block = slice(start, start + _BLOCK)
        own = np.repeat(np.arange(count)[block], num_frames)
        pixels = joints[block].reshape(-1, len(JOINTS), 2) * size
        figure = _painted(pixels, heights[own] * size, thick[own], soft[own], size)
        low = ground[own][:, None, None].astype(np.float32)
        pictures = low + (bright[own][:, None, None].astype(np.float32) - low) * figure
        _cover(pictures, screens[block].reshape(-1, *screens.shape[2:]) * size, 90 * shade[own])
        frames[block, :, 0] = add_noise(random, pictures, noisy[own]).reshape(
            -1, num_frames, size, size
        )
    return Clips(
        frames=frames,
        targets=joints.reshape(count, num_frames, -1).astype(np.float32),
        target_names=TARGETS,
        visible=np.repeat(~_is_behind(joints, screens), 2, axis=2),
    )


# ---- moved ---------------------------------------------------------------------------------------


def _joints(
    random: np.random.Generator, count: int, num_frames: int
) -> tuple[np.ndarray, np.ndarray]:
    """[N, T, J, 2] in shares of the picture's height, and the heights of the figures [N]."""

    def drawn(low: int | float, high: int | float) -> np.ndarray:
        return random.uniform(low, high, (count, 1))

    clock = np.arange(num_frames)
    height = drawn(0.62, 0.8)
    facing = np.where(random.random((count, 1)) < 0.5, -1.0, 1.0)
    step = drawn(0, 2 * np.pi) + drawn(0.25, 0.55) * clock  # of the gait
    walks = np.where(random.random((count, 1)) < 0.75, drawn(0.5, 1.0), drawn(0, 0.1))
    swing = 0.6 * walks
    crouch = (random.random((count, 1)) < 0.4) * drawn(0.3, 0.9)
    crouch = crouch * (0.5 - 0.5 * np.cos(drawn(0, 2 * np.pi) + drawn(0.1, 0.25) * clock))
    waves = random.random((count, 1)) < 0.4
    wave = drawn(0, 2 * np.pi) + drawn(0.4, 0.8) * clock
    lean = 0.1 * walks + 0.5 * crouch + 0.03 * np.sin(step)

    def limb(start: np.ndarray, angle: np.ndarray, length: float) -> np.ndarray:
        """The end of a limb that hangs down at angle 0 and points ahead where that is positive."""
        way = np.stack((np.sin(angle) * facing, np.cos(angle)), axis=2)
        return start + way * (length * height)[..., None]

    hip = np.zeros((count, num_frames, 2))
    neck = limb(hip, np.pi - lean, _TORSO)
    found = {"hip": hip, "neck": neck}
    found["head"] = limb(neck, np.pi - lean + drawn(-0.2, 0.2), _NECK)
    for side, turn in (("near", 0.0), ("far", np.pi)):
        thigh = swing * np.sin(step + turn) + 1.1 * crouch
        bend = walks * 0.9 * np.maximum(0, np.cos(step + turn)) ** 1.5 + 2.0 * crouch
        found[f"{side}_knee"] = limb(hip, thigh, _THIGH)
        found[f"{side}_foot"] = limb(found[f"{side}_knee"], thigh - bend, _SHIN)
        arm = -0.9 * swing * np.sin(step + turn) + drawn(-0.1, 0.3)
        fold = drawn(0.2, 0.8) + 0.2 * np.sin(step + turn)
        if side == "near":
            arm = np.where(waves, 2.1 + 0.25 * np.sin(wave), arm)
            fold = np.where(waves, 0.5 + 0.6 * np.sin(wave), fold)
        found[f"{side}_elbow"] = limb(neck, arm, _ARM)
        found[f"{side}_hand"] = limb(found[f"{side}_elbow"], arm + fold, _FOREARM)
    joints = np.stack([found[name] for name in JOINTS], axis=2)
    # the lower foot stands on the floor, and the figure walks to and fro in the picture
    feet = np.maximum(found["near_foot"][..., 1], found["far_foot"][..., 1])
    way = facing * walks * drawn(0.004, 0.012) * (clock - num_frames / 2)
    middle = np.stack((0.5 + drawn(-0.08, 0.08) + way.clip(-0.2, 0.2), drawn(0.9, 0.95) - feet), 2)
    return joints + middle[:, :, None], height[:, 0]


# ---- painted -------------------------------------------------------------------------------------


def _painted(
    joints: np.ndarray, heights: np.ndarray, thick: np.ndarray, soft: np.ndarray, size: int
) -> np.ndarray:
    """Figures [M, S, S], 0 beside them and 1 at the brightest.

    Args:
        joints: [M, J, 2] in pixels.
        heights: [M] in pixels.
        thick: [M], half the width of a limb.
        soft: [M], the width of an edge.
        size: S.
    """
    # each limb is painted in a square around its middle, on a canvas with a margin
    side = int(np.ceil(0.8 * size * (_TORSO + 0.03))) + 8
    margin = side
    wide = size + 2 * margin
    canvas = np.zeros((len(joints), wide, wide), dtype=np.float32)
    steps = np.arange(side)
    of = np.arange(len(joints))[:, None, None]
    place = {name: number for number, name in enumerate(JOINTS)}
    edge = soft[:, None, None].astype(np.float32)
    for one, other, bright in LIMBS:
        a, b = joints[:, place[one]], joints[:, place[other]]
        corner = np.floor((a + b) / 2 - side / 2).clip(-margin, size + margin - side).astype(int)
        x = (corner[:, :1] + steps + 0.5).astype(np.float32)[:, None, :]
        y = (corner[:, 1:] + steps + 0.5).astype(np.float32)[:, :, None]
        if one == "head":
            ax, ay = (a[:, None, None, axis].astype(np.float32) for axis in (0, 1))
            radius = (_HEAD * heights).astype(np.float32)[:, None, None]
            far = np.minimum(np.hypot(x - ax, y - ay) - radius, _beside(x, y, a, b, thick))
        else:
            far = _beside(x, y, a, b, thick)
        share = 1 / (1 + np.exp((2.5 * far / edge).clip(-30, 30)))
        at = (of, (corner[:, 1:] + margin + steps)[:, :, None],
              (corner[:, :1] + margin + steps)[:, None, :])  # fmt: skip
        canvas[at] += share * (np.float32(bright) - canvas[at])
    return canvas[:, margin:-margin, margin:-margin]


def _beside(
    x: np.ndarray, y: np.ndarray, a: np.ndarray, b: np.ndarray, thick: np.ndarray
) -> np.ndarray:
    """How far pixels are from a limb between a and b, [M, P, P], below 0 on it."""
    ax, ay, bx, by = (
        end[:, axis, None, None].astype(np.float32) for end in (a, b) for axis in (0, 1)
    )
    dx, dy = bx - ax, by - ay
    along = ((x - ax) * dx + (y - ay) * dy) / (dx**2 + dy**2 + 1e-6)
    along = along.clip(0, 1)
    return np.hypot(x - ax - along * dx, y - ay - along * dy) - thick[:, None, None].astype("f4")


# ---- covered -------------------------------------------------------------------------------------


def _screens(
    random: np.random.Generator, count: int, num_frames: int, occlusion: float
) -> np.ndarray:
    """[N, T, 2, 4]: left, top, right, bottom of a pillar that stands and of a box that drifts."""
    clock = np.arange(num_frames)[:, None] - num_frames / 2
    pillar = random.uniform(0.2, 0.8, (count, 1, 1)) + 0 * clock
    wide = random.uniform(0.02, 0.05, (count, 1, 1)) * occlusion
    x, y = random.uniform(0.2, 0.8, (2, count, 1, 1))
    drift = random.uniform(-0.015, 0.015, (2, count, 1, 1))
    half = random.uniform(0.04, 0.09, (count, 1, 1)) * occlusion
    x, y = x + drift[0] * clock, y + drift[1] * clock
    nothing = 0 * pillar
    screens = [
        np.concatenate((pillar - wide, nothing, pillar + wide, nothing + 1), axis=2),
        np.concatenate((x - half, y - half, x + half, y + half), axis=2),
    ]
    return np.stack(screens, axis=2)


def _cover(pictures: np.ndarray, screens: np.ndarray, shades: np.ndarray) -> None:
    """Paint screens [M, 2, 4], in pixels, over pictures [M, S, S]."""
    middles = np.arange(pictures.shape[1]) + 0.5
    for k in range(screens.shape[1]):
        left, top, right, bottom = screens[:, k, :, None].transpose(1, 0, 2)
        across = (middles >= left) & (middles < right)
        down = (middles >= top) & (middles < bottom)
        here = down[:, :, None] & across[:, None, :]
        np.copyto(pictures, shades[:, None, None].astype(np.float32), where=here)


def _is_behind(joints: np.ndarray, screens: np.ndarray) -> np.ndarray:
    """[N, T, J], whether a joint is behind a screen."""
    x, y = joints[..., None, 0], joints[..., None, 1]
    left, top, right, bottom = (screens[:, :, None, :, edge] for edge in range(4))
    behind = (x >= left) & (x < right) & (y >= top) & (y < bottom)
    return behind[..., 0] | behind[..., 1]
