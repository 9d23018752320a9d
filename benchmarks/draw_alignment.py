"""Draws docs/figures/alignment.png: which region of a scene each word of its sentence looks at.

An aligner learns `scenes` for some minutes of one core; then it is shown pictures that it has not
seen: python -m benchmarks.draw_alignment
"""

import io
import tempfile
from pathlib import Path

import torch

import recurra as rc
from recurra.data.worlds import scenes
from recurra.insight.alignment import alignments_figure

FIGURE = Path(__file__).parent.parent / "docs" / "figures" / "alignment.png"
MINUTES = 4
SMOOTHNESS = 1.0
_SHAPES, _COUNT = 3, 8  # at least so many in a picture; pictures


def main(*, minutes: float = MINUTES, figure: Path = FIGURE) -> None:
    """Train, report how well, and draw."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        run = rc.train(
            "align", data="scenes", out=Path(name, "run"), max_minutes=minutes, seed=1, view=None
        )
        found = run.evaluate("test")
        model = run.model
    print(f"words on their shape: {found['pointed']:.1%}, by chance {found['pointed_chance']:.1%}")
    draw(model, figure)


def draw(model: rc.Aligner, figure: Path = FIGURE) -> None:
    """Draw pictures of the test part with sentences in all styles, each word in the colour of its
    region."""
    from PIL import Image

    part = scenes(train=1, val=1, unseen=1)["test"]
    several = [n for n, scene in enumerate(part.scenes) if len(scene) >= _SHAPES][:_COUNT]
    pairs = [(part.pictures[n], part.captions[n][k % 5]) for k, n in enumerate(several)]
    said = model.predict(pairs, smoothness=SMOOTHNESS)
    shown = [(picture, each) for (picture, _), each in zip(pairs, said, strict=True)]
    file = io.BytesIO()
    alignments_figure(shown).savefig(file, format="png", dpi=100)
    picture = Image.open(file).convert("RGB").quantize(colors=96)
    content = io.BytesIO()
    picture.save(content, format="PNG", optimize=True)
    figure.write_bytes(content.getvalue())
    print(f"{figure}: {len(content.getvalue()):,} bytes")


if __name__ == "__main__":
    main()
