"""`recurra align`: pictures of a sentence, sentences of a picture, and which word looks where."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from recurra.cli.options import DEVICES, RUN, given, named, opened, option, path
from recurra.cli.pictures import check_sheets, pictures
from recurra.cli.unseen import Unseen
from recurra.errors import argument
from recurra.terminal import printable

_FOUND = ("images", "sentences")
_CHUNK = 256  # pictures that are read at a time


def align(
    context: typer.Context,
    run: Annotated[Path, RUN],
    images: Annotated[
        list[str], typer.Argument(help="Pictures, and folders of them.", metavar="IMAGE...")
    ],
    sentence: Annotated[
        list[str] | None,
        option(None, "A sentence, in quotes; may be given several times.", default="none"),
    ] = None,
    sentences: Annotated[
        Path | None,
        option(None, "A text with a sentence on each line.", default="none", parser=path),
    ] = None,
    find: Annotated[
        str,
        option(
            None,
            "What is looked for: the pictures of each sentence, or the sentences of each picture.",
            choices=_FOUND,
            parser=named,
        ),
    ] = "images",
    num_best: Annotated[int, option(None, "How many are found, the best first.")] = 1,
    boxes: Annotated[
        Path | None,
        option(
            None,
            "Regions of the pictures, of a run that looks at boxes; as in training.",
            default="none",
            parser=path,
        ),
    ] = None,
    smoothness: Annotated[
        float,
        option(None, "How much neighbouring words are drawn to one region, where they are drawn."),
    ] = 1.0,
    as_json: Annotated[bool, option(None, "Print a JSON object for each pair.", "--json")] = False,
    grid: Annotated[
        Path | None,
        option(
            None,
            "Draw what is found into this file, .png, .pdf or .svg: words in the colour of the "
            "region that they look at.",
            default="not drawn",
            parser=path,
        ),
    ] = None,
    html: Annotated[
        Path | None,
        option(
            None,
            "Write a page with the same, which needs no other file.",
            default="not written",
            parser=path,
        ),
    ] = None,
    maps: Annotated[bool, option(None, "Draw a map of each word in its place.", "--maps")] = False,
    device: Annotated[str, option(None, "Where the model runs.", choices=DEVICES)] = "cpu",
) -> None:
    """Find pictures of sentences, or sentences of pictures: a line for each pair, its score, the
    sentence, the file.

    An IMAGE is a picture, or a folder, whose pictures are taken in the order of their names.

    Examples: recurra align runs/aligner holiday/ --sentence "a dog on a beach" --num-best 5;
    recurra align runs/aligner photo.jpg --sentences captions.txt --find sentences --grid found.png
    """
    from recurra.data.predictions import json_line

    check_sheets("recurra align", grid, html)
    _check(find, num_best, smoothness)
    is_drawn = grid is not None or html is not None
    for name, is_used in (("smoothness", is_drawn or as_json), ("maps", is_drawn)):
        if name in given(context) and not is_used:
            raise ValueError(
                f"{name}: expected it where pairs are drawn, got it with neither "
                f"{argument('grid=')} nor {argument('html=')}. Leave it out, or draw them."
            )
    texts = _sentences(sentence, sentences)
    files = list(pictures(images))
    model = opened(run, "align").load(device=device)
    if model.encoder is None:
        raise ValueError(
            "align: expected a run that has an encoder, got one that was trained on vectors. "
            "Make them of the pictures, and call its model's scores."
        )
    own = _boxes(model, boxes, files)
    kept, scores = _scored(model, files, texts, own)
    if not kept:
        raise typer.Exit(2)
    unseen = Unseen(model, model.vocabulary)
    for text in texts:
        unseen.read(text)
    unseen.say()
    pairs = _best(scores, find, num_best)
    found = [(files[kept[n]], texts[m]) for n, m in pairs]
    shown = None
    if as_json or grid is not None or html is not None:
        some = None if own is None else [_placed(model, files[kept[n]], own) for n, _ in pairs]
        shown = model.predict(found, smoothness=smoothness, boxes=some)
    for place, ((file, text), (n, m)) in enumerate(zip(found, pairs, strict=True)):
        score = float(scores[n, m])
        if not as_json or shown is None:
            typer.echo(printable(f"{score:.4f}\t{text}\t{file}"))
            continue
        row = {"sentence": text, "image": str(file), "score": score}
        phrases = [
            {"words": words, "box": [round(v, 4) for v in shown[place].boxes[region].tolist()]}
            for words, region in shown[place].phrases()
        ]
        typer.echo(json_line(row | {"phrases": phrases}))
    if shown is not None:
        _draw(model, list(zip([f for f, _ in found], shown, strict=True)), grid, html, maps)


def _check(find: str, num_best: int, smoothness: float) -> None:
    if find not in _FOUND:
        raise ValueError(
            f"find: expected one of {', '.join(_FOUND)}, got {find!r}. Choose one of them."
        )
    if num_best < 1:
        raise ValueError(f"num_best: expected 1 or more, got {num_best}. Raise it.")
    if not smoothness >= 0:
        raise ValueError(f"smoothness: expected 0 or more, got {smoothness}. Raise it.")


def _sentences(given: Sequence[str] | None, file: Path | None) -> list[str]:
    """The sentences that are given, and those of a file."""
    from recurra.data.tables import lines_of

    texts = [text.strip() for text in given or ()]
    if file is not None:
        texts += [line.strip() for line in lines_of(file)]
    texts = [text for text in texts if text]
    if not texts:
        raise ValueError(
            "sentence: expected a sentence, or a file of them, got none. Give some, as in "
            '--sentence "a dog on a beach".'
        )
    return texts


def _boxes(model: Any, file: Path | None, files: Sequence[Path]) -> dict[str, Any] | None:
    """The boxes of a file, for a model that looks at them."""
    from recurra.data.boxes import boxes_of, check_apart, read_boxes
    from recurra.errors import DataError

    if model.kind == "boxes" and file is None:
        raise ValueError(
            "boxes: expected a file of boxes for a run that looks at them, got none. Name one, as "
            "in training."
        )
    if model.kind != "boxes" and file is not None:
        raise ValueError(
            f"boxes: expected none for a run that looks at the places of a grid, got "
            f"{str(file)!r}. Leave it out."
        )
    if file is None:
        return None
    found = read_boxes(file)
    if all(boxes_of(str(each), found) is None for each in files):
        raise DataError(
            f"{file}: expected boxes of the pictures, such as {files[0].name}, got those of "
            f"others, such as {next(iter(found))}. Name pictures alike."
        )
    check_apart(map(str, files), found, str(file))
    return found


def _placed(model: Any, file: Path, boxes: dict[str, Any]) -> Any:
    """The boxes of a picture where the model sees them; the picture itself has none."""
    from recurra.data.boxes import boxes_of
    from recurra.vision import open_picture

    own = boxes_of(str(file), boxes)
    if own is None:
        return []
    picture = open_picture(file)
    return model.preprocessing.placed(own, picture.height, picture.width)


def _scored(
    model: Any, files: Sequence[Path], texts: Sequence[str], boxes: dict[str, Any] | None
) -> tuple[list[int], Any]:
    """The numbers of the files that can be read, and their scores with the sentences [N, M]; those
    that cannot are told."""
    import torch

    from recurra.errors import DataError

    kept, scores = [], []
    for start in range(0, len(files), _CHUNK):
        read, placed = [], []
        for number, file in enumerate(files[start : start + _CHUNK], start):
            try:
                pixels = model.pixels([file])
            except DataError as error:
                typer.echo(printable(str(error)), err=True)
                continue
            read.append(pixels)
            kept.append(number)
            if boxes is not None:
                placed.append(_placed(model, file, boxes))
        if read:
            given = None if boxes is None else placed
            scores.append(model.scores(torch.cat(read), texts, boxes=given))
    return kept, torch.cat(scores) if scores else None


def _best(scores: Any, find: str, count: int) -> list[tuple[int, int]]:
    """The pairs of a picture and a sentence that are found, those of one query together."""
    table = scores.T if find == "images" else scores
    order = table.argsort(dim=1, descending=True, stable=True)[:, :count].tolist()
    pairs = [(query, found) for query, each in enumerate(order) for found in each]
    return [(n, m) for m, n in pairs] if find == "images" else pairs


def _draw(model: Any, shown: list[Any], grid: Path | None, html: Path | None, maps: bool) -> None:
    from recurra.insight.alignment import draw_alignments, write_alignments

    for file, make in ((grid, draw_alignments), (html, write_alignments)):
        if file is not None:
            made = make(shown, file, model.preprocessing, maps=maps)
            typer.echo(printable(f"{len(shown):,} pairs are in {made}"), err=True)
