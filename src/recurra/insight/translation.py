"""Pictures of translations: where a decoder looks, and scores by the length of the source."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recurra.files import write_atomically
from recurra.insight import style
from recurra.insight.report.figure import Figure
from recurra.models import Translation

_MAX_LABEL = 14  # characters of a token


def draw_attention(translations: Sequence[Translation], path: Path) -> Path:
    """Draw where each token of the translations was looked up, as the format that the suffix names.

    A column is a token of the source, a row one of the translation, the last row its end; the
    darker, the more of the look goes there.

    Args:
        translations: made with `attention=True`.
        path: .svg, .png or .pdf.
    Raises:
        ModuleNotFoundError: without matplotlib, which the extra `compare` brings.
    """
    figure = _attention(translations)
    write_atomically(path, lambda part: figure.savefig(part, format=path.suffix[1:] or "png"))
    return path


def attention_png(translations: Sequence[Translation]) -> bytes:
    """The same picture as the bytes of a PNG file."""
    return _png(_attention(translations))


def draw_by_length(groups: Mapping[str, Sequence[Mapping[str, Any]]], path: Path) -> Path:
    """Draw scores by the length of the source, a line for each model.

    Args:
        groups: by the name of a model, what `bleu_by_length` of its figures is.
        path: .svg, .png or .pdf.
    Raises:
        ModuleNotFoundError: without matplotlib, which the extra `compare` brings.
    """
    figure = _by_length(groups)
    write_atomically(path, lambda part: figure.savefig(part, format=path.suffix[1:] or "png"))
    return path


def by_length_png(groups: Mapping[str, Sequence[Mapping[str, Any]]]) -> bytes:
    """The same picture as the bytes of a PNG file."""
    return _png(_by_length(groups))


def figure_of_attention(translations: Sequence[Translation]) -> Figure:
    """The figure of a report that shows where each token of the translations was looked up.

    Args:
        translations: made with `attention=True`, one at least with a token.
    """
    shown = _shown(translations)
    weights = [each.attention.numpy() for each in shown if each.attention is not None]
    largest = np.concatenate([each.max(axis=1) for each in weights])
    moves = np.concatenate([np.diff(each.argmax(axis=1)) for each in weights])
    found = (
        f"Over {len(shown)} sentences the largest weight of a step is {largest.mean():.2f} in the "
        f"mean, so that a look goes to {_spread(weights):.1f} words or so"
    )
    if len(moves):
        found += f"; it stays or moves ahead in {np.mean(moves >= 0):.0%} of the steps"
    rows = [
        (number + 1, token, source, weight)
        for number, (each, own) in enumerate(zip(shown, weights, strict=True))
        for token, row in zip([*each.tokens, "(end)"], own.tolist(), strict=True)
        for source, weight in zip(each.source, row, strict=True)
    ]
    names = ("sentence", "token", "source", "weight")
    return Figure(
        name="attention",
        title="Where the decoder looks",
        lede=(
            "Look along the rows, each a word that was written: what is coloured in it is what was "
            "read for it, a diagonal is word by word, and a step off it is another order."
        ),
        found=f"{found}.",
        draw=lambda figure: _draw_attention(figure, shown, columns=1),
        table=dict(zip(names, zip(*rows, strict=True), strict=True)),
    )


def figure_of_lengths(groups: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """The figure of a report that shows scores by the length of the source.

    Args:
        groups: see `draw_by_length`; one group at least.
    """
    rows = [(name, g["words"], g["pairs"], g["bleu"]) for name, own in groups.items() for g in own]
    found = _by_length_of_one(*groups.values()) if len(groups) == 1 else _by_length_of_all(groups)
    return Figure(
        name="bleu_by_length",
        title="Scores by length",
        lede="Look for a fall to the right: there a sentence is longer than the model can carry.",
        found=f"{found}.",
        draw=lambda figure: _draw_by_length(figure, groups),
        table=dict(zip(("model", "words", "pairs", "bleu"), zip(*rows, strict=True), strict=True)),
        beside=figure_of_lengths,
        numbers=next(iter(groups.values())),
    )


def _by_length_of_one(own: Sequence[Mapping[str, Any]]) -> str:
    best, last = max(own, key=lambda group: group["bleu"]), own[-1]
    found = f"BLEU is {best['bleu']:.1f} for sources of {best['words']} words, where it is highest"
    if last is not best:
        found += f", and {last['bleu']:.1f} for the longest, of {last['words']}"
    return found


def _by_length_of_all(groups: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """What each model comes to for its shortest and its longest sources."""
    said = [
        f"{name} goes from BLEU {own[0]['bleu']:.1f} for sources of {own[0]['words']} words to "
        f"{own[-1]['bleu']:.1f} for those of {own[-1]['words']}"
        for name, own in groups.items()
    ]
    return "; ".join(said)


def _spread(weights: Sequence[np.ndarray]) -> float:
    """Words that a look goes to: exp of the mean entropy of its weights."""
    entropies = [-(w * np.log(np.maximum(w, 1e-12))).sum(axis=1) for w in weights]
    return float(np.exp(np.concatenate(entropies).mean()))


def _shown(translations: Sequence[Translation]) -> list[Translation]:
    return [each for each in translations if each.attention is not None and len(each.source)]


def _png(figure: Any) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=120)
    return file.getvalue()


def _attention(translations: Sequence[Translation]) -> Any:
    from matplotlib.figure import Figure as Drawn

    figure = Drawn(layout="constrained")
    _draw_attention(figure, _shown(translations), columns=2)
    return figure


def _draw_attention(figure: Any, shown: Sequence[Translation], *, columns: int) -> None:
    widths = [len(each.source) for each in shown]
    heights = [len(each.tokens) + 1 for each in shown]
    columns = min(columns, len(shown)) or 1
    rows = -(-len(shown) // columns) or 1
    size = (
        columns * (0.34 * max(widths, default=4) + 1.9),
        rows * (0.3 * max(heights, default=4) + 1.5),
    )
    figure.set_size_inches(*size)
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for ax in axes[len(shown) :]:
        ax.set_axis_off()
    for ax, each in zip(axes, shown, strict=False):
        assert each.attention is not None
        colours = style.sequential()
        ax.imshow(each.attention.numpy(), cmap=colours, vmin=0.0, vmax=1.0, aspect="auto")
        ax.grid(visible=False)
        ax.set_xticks(range(len(each.source)), [_short(token) for token in each.source])
        for tick in ax.get_xticklabels():
            tick.set(rotation=45, ha="left", rotation_mode="anchor")
        ax.xaxis.tick_top()
        ends = [*each.tokens, "(end)"]
        ax.set_yticks(range(len(ends)), [_short(token) for token in ends])
        ax.tick_params(length=0, labelsize=8)
        for spine in ax.spines.values():
            spine.set(edgecolor=style.RULE, visible=True)


def _by_length(groups: Mapping[str, Sequence[Mapping[str, Any]]]) -> Any:
    from matplotlib.figure import Figure as Drawn

    figure = Drawn(figsize=(6.4, 3.6), layout="constrained")
    _draw_by_length(figure, groups)
    return figure


def _draw_by_length(figure: Any, groups: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    [ax] = style.panels(figure, 1, height=3.6)
    words: list[str] = []
    for each in groups.values():
        words += [str(group["words"]) for group in each if str(group["words"]) not in words]
    words.sort(key=lambda text: int(text.split()[0]))
    for name, each in groups.items():
        places = [words.index(str(group["words"])) for group in each]
        ax.plot(places, [group["bleu"] for group in each], marker="o", label=name or None)
    counts = {str(g["words"]): g["pairs"] for each in groups.values() for g in each}
    labels = [f"{text}\n({counts[text]:,})" for text in words]
    ax.set_xticks(range(len(words)), labels, fontsize=8)
    ax.set_xlabel("words of the source (pairs)")
    ax.set_ylabel("BLEU")
    ax.set_ylim(bottom=0)
    ax.grid(visible=False, axis="x")
    ax.grid(axis="y", color=style.RULE)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    if any(groups):
        ax.legend(frameon=False)


def _short(token: str) -> str:
    token = token if len(token) <= _MAX_LABEL else f"{token[: _MAX_LABEL - 1]}…"
    return token.replace("$", r"\$")
