"""Photographs of a report for README and docs: on a laptop light and dark, and on a phone.

`python -m benchmarks.draw_report` draws that of three fresh cells, which needs no run;
`python -m benchmarks.draw_report runs/first` that of a run. Either takes a Chromium.
"""

import argparse
import io
import tempfile
from pathlib import Path

from PIL import Image

from benchmarks import browser
from recurra import cells
from recurra.insight.report import Report
from recurra.insight.through_time import report_of_cells
from recurra.tasks import Run

FOLDER = Path(__file__).parents[1] / "docs/figures"
_SCALE = 1.5  # pixels of a photograph, one of CSS
# name: width and height of the window, whether dark, pixels across, which figure is at the top
PICTURES = {
    "report": ((1080, 860), False, 860, None),
    "report_dark": ((1080, 860), True, 860, 1),
    "report_phone": ((390, 844), False, 390, 0),
}


def report_of(run: Path | None) -> Report:
    """That of a run, or of fresh cells."""
    if run is not None:
        return Run.open(run).report()
    return report_of_cells([cells.rnn, cells.lstm, cells.gru])


def draw(report: Report, folder: Path = FOLDER) -> list[Path]:
    """Write the pictures; the files."""
    program = browser.find()
    if program is None:
        raise SystemExit("no Chromium is installed; on Debian: apt-get install chromium")
    drawn = []
    with tempfile.TemporaryDirectory() as made, browser.started(program) as running:
        file = report.write(Path(made) / "report.html")
        page = running.page()
        for name, (size, dark, width, top) in PICTURES.items():
            page.look(*size, dark=dark, scale=_SCALE)
            page.open(file)
            if page.complaints:
                raise SystemExit("; ".join(page.complaints))
            if top is not None:
                section = report.figures[top].name
                page.evaluate("document.documentElement.style.scrollBehavior = 'auto'")
                page.evaluate(f"document.getElementById({section!r}).scrollIntoView()")
            image = Image.open(io.BytesIO(page.photograph())).convert("RGB")
            image = image.resize((width, round(width * image.height / image.width)))
            drawn.append(folder / f"{name}.png")
            image.quantize(128, dither=Image.Dither.NONE).save(drawn[-1], optimize=True)
    return drawn


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, nargs="?", help="folder of a run; none: fresh cells")
    for path in draw(report_of(parser.parse_args().run)):
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")
