"""`recurra translate`: texts by a run's best model, line by line as they come."""

import inspect
from pathlib import Path
from typing import Any

import typer

from recurra.cli.options import (
    DEVICES,
    RUN,
    check_installed,
    check_picture,
    given,
    named,
    of_setting,
    option,
    path,
    with_parameters,
)
from recurra.cli.predict import predict_inputs
from recurra.errors import argument
from recurra.settings import declared
from recurra.tasks.options import WritingSettings

_NUM_DRAWN = 4  # translations of a picture


def translate(context: typer.Context, **_: Any) -> None:
    """Translate each input: texts in quotes, files of lines, or the lines that are piped in.

    A line is given for each line, an empty one for an empty one, as soon as it is there. With
    --num-best there is a line for each translation, its score before it.

    Examples: recurra translate runs/translator "a text"; recurra translate runs/translator < a.txt
    """
    found = dict(context.params)
    names = {each.name for each in declared(WritingSettings)}
    asked = {name: value for name, value in given(context).items() if name in names}
    writing = WritingSettings.pick(asked).arguments()
    inputs, files = list(found["inputs"] or []), list(found["file"] or [])
    picture, drawn = found["attention"], []
    if picture is not None:
        check_picture("attention", picture)
        check_installed("attention", "compare", "matplotlib")
        writing["attention"] = True

    def watch(record: Any, said: Any) -> None:
        if said.attention is not None and len(drawn) < _NUM_DRAWN:
            drawn.append(said)

    predict_inputs(
        *(found["run"], "translate", inputs, files, (found["text_column"], found["encoding"])),
        as_json=found["as_json"],
        out=found["out"],
        device=found["device"],
        check=None if picture is None else _check_attention,
        watch=None if picture is None else watch,
        **writing,
    )
    if picture is not None and drawn:
        from recurra.insight.translation import draw_attention

        draw_attention(drawn, picture)
        typer.echo(f"where the decoder looked is in {picture}", err=True)


def _check_attention(model: Any) -> None:
    """Raise ValueError where there is nothing to draw of a model."""
    if model.attention_cell() is None:
        raise ValueError(
            f"attention: expected a model that looks at the source, got one of "
            f"{argument(f'attention={model.attention}')}. Leave it out."
        )


with_parameters(
    translate,
    {
        "run": (Path, RUN, inspect.Parameter.empty),
        "inputs": (
            list[str] | None,
            typer.Argument(
                help="Texts, each in quotes, and files. None, or -: the lines that are piped in.",
                metavar="[INPUT]...",
            ),
            None,
        ),
        "file": (
            list[Path] | None,
            option(
                None,
                "A file of inputs, whatever its name; may be given several times.",
                default="none",
                parser=path,
            ),
            None,
        ),
        "text_column": (
            str | None,
            option(
                None,
                "Column of the inputs in tables, its name or number.",
                default="as the run's, or found by what it holds",
                parser=named,
            ),
            None,
        ),
        "encoding": (
            str | None,
            option(None, "Of text files.", default="the run's own", parser=named),
            None,
        ),
        "as_json": (bool, option(None, "Print a JSON object for each input.", "--json"), False),
        "out": (
            Path | None,
            option(
                None,
                "Write a table instead: .csv, .tsv, .jsonl or .parquet.",
                default="lines are printed",
                parser=path,
            ),
            None,
        ),
        "attention": (
            Path | None,
            option(
                None,
                "Also draw where the decoder looked while it wrote the first four translations: "
                ".svg, .png or .pdf.",
                default="nothing is drawn",
                parser=path,
            ),
            None,
        ),
        "device": (str, option(None, "Where the model runs.", choices=DEVICES), "cpu"),
        **{each.name: of_setting(WritingSettings, each) for each in declared(WritingSettings)},
    },
)
