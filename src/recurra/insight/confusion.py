"""The confusion matrix as a picture: which class is taken for which."""

import io
from pathlib import Path
from typing import Any

import numpy as np

from recurra.files import write_atomically
from recurra.insight import style
from recurra.insight.report.figure import Figure
from recurra.models.confusion import Confusion

_MAX_WRITTEN = 20  # classes up to which a cell has its numbers
_MAX_NAMED = 60  # classes up to which each is named
_MAX_LABEL = 18  # characters


def draw_confusion(confusion: Confusion, path: Path, *, title: str = "") -> Path:
    """Draw the counts into `path`, as the format that its suffix names (.svg, .png, .pdf).

    A row is a true class, a column what it was taken for. The colour is the share of the row; a
    cell says the share and the count. What is right lies on the diagonal.

    Raises:
        ModuleNotFoundError: without matplotlib, which the extra `compare` brings.
    """
    figure = _drawn(confusion, title)
    write_atomically(path, lambda part: figure.savefig(part, format=path.suffix[1:] or "png"))
    return path


def confusion_png(confusion: Confusion, *, title: str = "") -> bytes:
    """The same picture as the bytes of a PNG file.

    Raises:
        ModuleNotFoundError: without matplotlib, which the extra `compare` brings.
    """
    file = io.BytesIO()
    _drawn(confusion, title).savefig(file, format="png")
    return file.getvalue()


def figure_of_confusion(confusion: Confusion, of: str) -> Figure:
    """The figure of a report that shows what is taken for what.

    Args:
        confusion: of at least two classes.
        of: what was read, for people: "the validation part".
    """
    counts, labels = confusion.counts, confusion.labels
    wrong = counts - np.diag(counts.diagonal())
    found = f"Of {confusion.num_examples:,} examples of {of} {confusion.accuracy:.1%} are right"
    found += f" (macro F1 {confusion.macro_f1:.3f})"
    if wrong.any():
        true, said = np.unravel_index(int(wrong.argmax()), wrong.shape)
        found += (
            f"; the commonest mistake is “{labels[true]}” taken for “{labels[said]}”, "
            f"{wrong[true, said]:,} of {counts[true].sum():,}"
        )
        worst = int(np.where(counts.sum(axis=1) > 0, confusion.recall, np.inf).argmin())
        if worst != true:
            found += f", and “{labels[worst]}” is found least, {confusion.recall[worst]:.0%} of it"
    rows, columns = np.nonzero(counts)
    return Figure(
        name="confusion",
        title="What is taken for what",
        lede=(
            "Look off the diagonal: a dark cell there is a class (its row) that is often taken for "
            "another (its column)."
        ),
        found=f"{found}.",
        draw=lambda figure: _draw_on(figure, confusion, ""),
        table={
            "true": [labels[row] for row in rows],
            "predicted": [labels[column] for column in columns],
            "count": counts[rows, columns],
        },
    )


def _drawn(confusion: Confusion, title: str) -> Any:
    from matplotlib.figure import Figure as Drawn

    figure = Drawn(layout="constrained")
    _draw_on(figure, confusion, title)
    return figure


def _draw_on(figure: Any, confusion: Confusion, title: str) -> None:
    size = len(confusion.labels)
    side = min(max(0.62 * size, 2.4), 12.4) if size <= _MAX_WRITTEN else min(0.2 * size + 2, 12.4)
    labels = [_shortened(label) for label in confusion.labels]
    longest = max(map(len, labels))
    figure.set_size_inches(side + 1.7 + 0.07 * longest, side + 1.5)
    ax = figure.subplots()
    totals = confusion.counts.sum(axis=1, keepdims=True)
    shares = confusion.counts / np.maximum(totals, 1)
    image = ax.imshow(shares, cmap=style.sequential(), vmin=0.0, vmax=1.0)
    ax.grid(visible=False)
    named = range(size) if size <= _MAX_NAMED else range(0, size, -(-size // _MAX_NAMED))
    turned = longest > 4 and size * longest > 24
    ax.set_xticks(list(named), [labels[i] for i in named], rotation=45 if turned else 0)
    if turned:
        for tick in ax.get_xticklabels():
            tick.set(ha="right", rotation_mode="anchor")
    ax.set_yticks(list(named), [labels[i] for i in named])
    ax.set_xticks(np.arange(size + 1) - 0.5, minor=True)
    ax.set_yticks(np.arange(size + 1) - 0.5, minor=True)
    if size <= _MAX_NAMED:
        ax.grid(which="minor", color=style.GROUND, linewidth=1.5 if size <= _MAX_WRITTEN else 0.5)
    ax.tick_params(which="both", length=0, labelsize=9 if size <= _MAX_WRITTEN else 7)
    for spine in ax.spines.values():
        spine.set_visible(False)
    if size <= _MAX_WRITTEN:
        _write_cells(ax, confusion.counts, shares)
    ax.set_xlabel("predicted")
    ax.set_ylabel("true")
    bar = figure.colorbar(image, ax=ax, shrink=0.8, aspect=24, pad=0.02)
    bar.ax.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f} %")
    bar.ax.tick_params(length=0, labelsize=8)
    bar.outline.set_visible(False)  # type: ignore[reportCallIssue]
    said = (
        f"accuracy {100 * confusion.accuracy:.1f} %, macro F1 {confusion.macro_f1:.3f}, "
        f"{confusion.num_examples:,} examples"
    )
    heading = f"{_shortened(title, 60)}\n{said}" if title else said
    figure.suptitle(heading, fontsize=10)


def _write_cells(ax: Any, counts: np.ndarray, shares: np.ndarray) -> None:
    """The share of its row and the count in each cell; nothing where nothing is."""
    for row, column in zip(*np.nonzero(counts), strict=True):
        share, count = shares[row, column], counts[row, column]
        look = {"ha": "center", "color": "white" if share > 0.6 else style.INK}
        ax.text(column, row - 0.04, f"{100 * share:.0f} %", va="bottom", fontsize=9, **look)
        ax.text(column, row + 0.06, f"{count:,}", va="top", fontsize=7, alpha=0.8, **look)


def _shortened(text: str, most: int = _MAX_LABEL) -> str:
    """A long text without its end, in which nothing is taken for mathematics."""
    text = text if len(text) <= most else f"{text[: most - 1]}…"
    return text.replace("$", r"\$")
