"""Draws what a captioner of scenes says, and where it looks, in docs/figures.

python -m benchmarks.draw_captions RUN takes a run that is there; without it one is trained, for as
many minutes as the benchmark of captions trains its best.
"""

import io
import sys
import tempfile
from pathlib import Path

import recurra as rc
from benchmarks.captions import BEST, BEST_MINUTES, LEARNING, SCENES, SEED
from recurra.data.worlds import scenes
from recurra.insight.captions import captions_png

FOLDER = Path(__file__).parent.parent / "docs" / "figures"
SHOWN = {"test": 8, "unseen": 4}  # pictures of each part, the first ones
LOOKED = 1  # of the test part, of which it is drawn where each word looks


def main(folder: str | None = None) -> None:
    """Train a captioner, or open the run in a folder, and draw."""
    with tempfile.TemporaryDirectory() as made:
        if folder is None:
            folder = str(Path(made, "run"))
            how = {**LEARNING, "inject": BEST, "max_minutes": BEST_MINUTES, "seed": SEED}
            rc.train("caption", data=SCENES, out=folder, view=None, **how)
        model = rc.Run.open(folder).model
    assert isinstance(model, rc.Captioner)
    world = scenes(train=1, val=1)
    pictures = [world[part].pictures[n] for part, count in SHOWN.items() for n in range(count)]
    _save("captions.png", captions_png(list(zip(pictures, model.predict(pictures), strict=True))))
    some = [n for n, scene in enumerate(world["test"].scenes) if len(scene) == 3][:LOOKED]
    pictures = [world["test"].pictures[n] for n in some]
    said = model.predict(pictures, attention=True)
    _save("looking.png", captions_png(list(zip(pictures, said, strict=True))))


def _save(name: str, png: bytes) -> None:
    from PIL import Image

    picture = Image.open(io.BytesIO(png)).convert("RGB")  # all colours: they are what it is about
    picture.save(FOLDER / name, optimize=True)
    print(f"{FOLDER / name}: {(FOLDER / name).stat().st_size:,} bytes")


if __name__ == "__main__":
    main(*sys.argv[1:])
