"""Photographs of a report for README and docs: on a laptop light and dark, and on a phone.

It is that of the run that is named, as in `python -m benchmarks.draw_report runs/demo`; it takes a
Chromium.
"""

import argparse
import io
import tempfile
from pathlib import Path

from PIL import Image

from benchmarks import browser
from recurra.tasks import Run

FOLDER = Path(__file__).parents[1] / "docs/figures"
# name: width and height of the window, whether dark, pixels of the picture, what stands at the top
PICTURES = {
    "report": ((1120, 900), False, 900, None),
    "report_dark": ((1120, 900), True, 900, "training"),
    "report_phone": ((390, 844), False, 390, None),
}


def draw(run: Path, folder: Path = FOLDER) -> list[Path]:
    """Write the pictures; the files."""
    program = browser.find()
    if program is None:
        raise SystemExit("no Chromium is installed; on Debian: apt-get install chromium")
    drawn = []
    with tempfile.TemporaryDirectory() as made, browser.started(program) as running:
        file = Run.open(run).report().write(Path(made) / "report.html")
        page = running.page()
        for name, (size, dark, width, top) in PICTURES.items():
            page.look(*size, dark=dark, scale=2)
            page.open(file)
            if top is not None:
                page.evaluate(f"document.getElementById({top!r}).scrollIntoView()")
            image = Image.open(io.BytesIO(page.photograph())).convert("RGB")
            image = image.resize((width, round(width * image.height / image.width)))
            drawn.append(folder / f"{name}.png")
            image.quantize(128, dither=Image.Dither.NONE).save(drawn[-1], optimize=True)
    return drawn


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of a run")
    for path in draw(parser.parse_args().run):
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")
