"""Pictures of translations: where a decoder looks, and scores by the length of the source."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recurra.files import write_atomically
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


def _png(figure: Any) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=120)
    return file.getvalue()


def _attention(translations: Sequence[Translation]) -> Any:
    from matplotlib.figure import Figure

    shown = [each for each in translations if each.attention is not None and len(each.source)]
    widths = [len(each.source) for each in shown]
    heights = [len(each.tokens) + 1 for each in shown]
    columns = min(2, len(shown)) or 1
    rows = -(-len(shown) // columns) or 1
    size = (
        columns * (0.34 * max(widths, default=4) + 1.9),
        rows * (0.3 * max(heights, default=4) + 1.5),
    )
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for ax in axes[len(shown) :]:
        ax.set_axis_off()
    for ax, each in zip(axes, shown, strict=False):
        assert each.attention is not None
        ax.imshow(each.attention.numpy(), cmap="Blues", vmin=0.0, vmax=1.0, aspect="auto")
        ax.set_xticks(range(len(each.source)), [_short(token) for token in each.source])
        for tick in ax.get_xticklabels():
            tick.set(rotation=45, ha="left", rotation_mode="anchor")
        ax.xaxis.tick_top()
        ends = [*each.tokens, "(end)"]
        ax.set_yticks(range(len(ends)), [_short(token) for token in ends])
        ax.tick_params(length=0, labelsize=8)
        for spine in ax.spines.values():
            spine.set_edgecolor("0.85")
    return figure


def _by_length(groups: Mapping[str, Sequence[Mapping[str, Any]]]) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    ax = figure.subplots()
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
    ax.grid(axis="y", color="0.9")
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    if any(groups):
        ax.legend(frameon=False)
    return figure


def _short(token: str) -> str:
    token = token if len(token) <= _MAX_LABEL else f"{token[: _MAX_LABEL - 1]}…"
    return token.replace("$", r"\$")
