"""How figures look: colours that hold on light and on dark ground, sizes, and how panels are laid.

A figure is drawn once, in the colours of the light scheme. Each of them is a role (`INK`, `RULE`,
...), and no two roles share one: so whoever shows the drawing in a page can put a variable of CSS
in the place of each, and the page decides, see `recurra.insight.report.rendering`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

# ---- colours -------------------------------------------------------------------------------------

LIGHT = {
    "ground": "#fdfdfc",
    "ink": "#1b2130",
    "faint": "#59627a",
    "rule": "#dde1e9",
    "series-0": "#2b6cb8",
    "series-1": "#c34a26",
    "series-2": "#1f8259",
    "series-3": "#8450b8",
    "series-4": "#9a6b00",
    "series-5": "#12808f",
    "series-6": "#b93c7c",
    "series-7": "#6a7386",
}
DARK = {
    "ground": "#13161d",
    "ink": "#e7eaf1",
    "faint": "#9ea8bc",
    "rule": "#323948",
    "series-0": "#6caaf0",
    "series-1": "#f5875f",
    "series-2": "#55c795",
    "series-3": "#bb95ee",
    "series-4": "#e2b345",
    "series-5": "#4fc6d6",
    "series-6": "#f086b8",
    "series-7": "#99a2b4",
}

GROUND, INK, FAINT, RULE = (LIGHT[role] for role in ("ground", "ink", "faint", "rule"))
SERIES: tuple[str, ...] = tuple(value for role, value in LIGHT.items() if role.startswith("series"))
BLUE, RED, GREEN, PURPLE, GOLD, TEAL, PINK, GREY = SERIES

# Of maps: the more opaque, the more there is, so that nothing is the ground itself, light or dark.
# Their colours lie halfway between the schemes.
_LITTLE, _SOME, _MUCH = "#5fb0bd", "#3f7fc4", "#7a4fb5"
_BELOW, _ABOVE = "#d3653a", "#3f83cf"

# ---- sizes ---------------------------------------------------------------------------------------

WIDE, NARROW = 8.4, 4.3  # inches: across a laptop's page and a phone's
_LEAST_PANEL = 2.7  # inches that a panel of a row has at least


def rc() -> Any:
    """The settings of matplotlib in which all figures are drawn."""
    from cycler import cycler

    return {
        "figure.facecolor": "none",
        "axes.facecolor": "none",
        "savefig.facecolor": "none",
        "legend.facecolor": "none",
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],
        "font.size": 9.0,
        "axes.titlesize": 9.5,
        "axes.titlelocation": "left",
        "axes.labelsize": 9.0,
        "xtick.labelsize": 8.0,
        "ytick.labelsize": 8.0,
        "legend.fontsize": 8.0,
        "figure.titlesize": 10.0,
        "text.color": INK,
        "axes.labelcolor": FAINT,
        "axes.titlecolor": INK,
        "axes.edgecolor": FAINT,
        "axes.linewidth": 0.8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": RULE,
        "grid.linewidth": 0.7,
        "xtick.color": FAINT,
        "ytick.color": FAINT,
        "xtick.major.size": 3.0,
        "ytick.major.size": 3.0,
        "xtick.minor.size": 0.0,
        "ytick.minor.size": 0.0,
        "lines.linewidth": 1.6,
        "lines.markersize": 4.0,
        "patch.edgecolor": GROUND,
        "legend.frameon": False,
        "axes.prop_cycle": cycler(color=SERIES),
        "figure.constrained_layout.h_pad": 0.07,
        "figure.constrained_layout.w_pad": 0.05,
        "image.interpolation": "none",
        "svg.fonttype": "none",  # text stays text: found, read aloud, and in the page's own letters
        "svg.image_inline": True,
    }


@contextmanager
def styled() -> Iterator[None]:
    """Whatever is made and drawn by matplotlib within looks as figures here do.

    Raises:
        ModuleNotFoundError: without matplotlib, which the extra `compare` brings.
    """
    from matplotlib import rc_context

    with rc_context(rc()):
        yield


def colour(number: int) -> str:
    """The colour of the series of that number, from 0; the eighth is followed by the first."""
    return SERIES[number % len(SERIES)]


def sequential() -> Any:
    """A colormap of matplotlib for what begins at nothing: the ground, then blue, then purple."""
    return _colormap("recurra", [(_LITTLE, 0.0), (_LITTLE, 0.35), (_SOME, 0.8), (_MUCH, 1.0)])


def diverging() -> Any:
    """A colormap of matplotlib for what has a middle: red below, the ground, blue above."""
    shades = [(_BELOW, 1.0), (_BELOW, 0.5), (_BELOW, 0.0), (_ABOVE, 0.0), (_ABOVE, 0.5)]
    return _colormap("recurra_two", [*shades, (_ABOVE, 1.0)], [0.0, 0.25, 0.5, 0.5, 0.75, 1.0])


def _colormap(
    name: str, shades: Sequence[tuple[str, float]], places: Sequence[float] | None = None
) -> Any:
    from matplotlib.colors import LinearSegmentedColormap, to_rgba

    places = places or [i / (len(shades) - 1) for i in range(len(shades))]
    colours = [to_rgba(shade, alpha) for shade, alpha in shades]
    return LinearSegmentedColormap.from_list(name, list(zip(places, colours, strict=True)))


# ---- panels --------------------------------------------------------------------------------------


def panels(
    figure: Any, count: int, *, height: float | int = 2.5, across: int | None = None, **how: Any
) -> list[Any]:
    """Axes for so many panels, beside one another where a figure is wide, else below one another.

    The figure takes the height that its rows need.

    Args:
        figure: of matplotlib; its width is kept.
        count: of panels.
        height: of each, in inches.
        across: panels in a row at most; None: as many as there is room for.
        how: of `Figure.subplots`: sharey=True, ...
    """
    room = max(1, int(figure.get_figwidth() / _LEAST_PANEL))
    columns = min(count, room, across or room)
    rows = -(-count // columns)
    figure.set_figheight(height * rows)
    figure.set_layout_engine("constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False, **how).flatten())
    for ax in axes[count:]:
        ax.remove()
    return axes[:count]


def logarithmic(axis: Any) -> None:
    """Let an axis of matplotlib, `ax.xaxis` or `ax.yaxis`, be logarithmic, with numbers as they are
    said: 0.5 and 1e-6."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = sorted(axis.get_data_interval())
    (axis.axes.set_xscale if axis.axis_name == "x" else axis.axes.set_yscale)("log")
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
    if low > 0 and high / low < 100:  # less than two powers of ten have few names of their own
        axis.set_major_locator(LogLocator(10, subs=(1.0, 2.0, 5.0)))


def bare(ax: Any) -> None:
    """Take the grid, the ticks and the frame from axes that show a map."""
    ax.grid(visible=False)
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)


def plain(text: str, most: int | None = None) -> str:
    """Text in which nothing is taken for mathematics, without its end where it is too long."""
    if most is not None and len(text) > most:
        text = f"{text[: most - 1]}…"
    # half a character, as in names of files that are of no encoding, cannot be drawn
    return text.encode("utf-8", "replace").decode().replace("$", r"\$")
