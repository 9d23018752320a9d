"""`recurra train translate`: from two columns to translations, whatever the tokens are."""

import gzip
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import recurra as rc
from recurra.errors import DataError
from recurra.tasks.options import ParallelSettings, TranslateTraining
from recurra.tasks.translate import TranslateTask, sampled
from recurra.tasks.translations import bleu_by_length, scored
from recurra.training.task import Moment

pytestmark = pytest.mark.medium
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def spelled(number: int) -> str:
    return " ".join(DIGITS[int(digit)] for digit in str(number))


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Numbers and their digits in words."""
    draw = np.random.default_rng(0)
    numbers = draw.choice(9000, 400, replace=False) + 1000
    path = tmp_path / "numbers.tsv"
    path.write_text("".join(f"{n}\t{spelled(n)}\n" for n in numbers.tolist()))
    return path


SMALL = {
    "hidden_size": 32,
    "embedding_size": 24,
    "dropout": 0.0,
    "input_dropout": 0.0,
    "view": None,
}
LEVELS = {"source_level": "char", "target_level": "word", "min_count": 1}


@pytest.mark.parametrize(
    "model",
    [
        pytest.param({}, id="additive"),
        pytest.param({"decoder": "conditional_gru"}, id="of its own", marks=pytest.mark.slow),
        pytest.param(
            {"attention": "dot", "cell": "lstm", "input_feeding": True},
            id="input feeding",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_it_learns_to_write_what_it_reads(
    pairs: Path, tmp_path: Path, model: dict[str, Any]
) -> None:
    run = rc.train(
        "translate",
        data=pairs,
        out=tmp_path / "run",
        epochs=40,
        batch_size=16,
        lr=5e-3,
        label_smoothing=0.0,
        **LEVELS,
        **SMALL,
        **model,
    )
    figures = run.evaluate("test")
    assert figures["exact"] > 0.9
    assert figures["pairs"] == 20
    assert figures["nll"] < 0.3
    said = [each.text for each in run.model.predict(["4721", "1000", ""])]
    assert said == [spelled(4721), spelled(1000), ""]


def trained(pairs: Path, out: Path, **settings: Any) -> rc.Run:
    return rc.train("translate", data=pairs, out=out, **{**LEVELS, **SMALL, **settings})


def test_a_run_is_opened_evaluated_and_goes_on(pairs: Path, tmp_path: Path) -> None:
    run = trained(pairs, tmp_path / "run", max_steps=6, seed=3)
    steady = {"seed": 3, "schedule": "constant", "warmup_steps": 0, "eval_every": 6}
    whole = trained(pairs, tmp_path / "whole", max_steps=12, **steady)
    part = trained(pairs, tmp_path / "part", max_steps=6, **steady)
    pairs.unlink()  # the run has what it needs
    again = rc.Run.open(tmp_path / "run")
    found, expected = again.evaluate("val"), run.evaluate("val")
    for name in ("bleu", "chrf", "exact", "nll"):
        assert found[name] == expected[name]
    assert "nrefs:1|case:mixed" in found["signature"]
    rc.train("translate", out=part.folder, resume=True, max_steps=12, view=None)
    last = [load_file(each.folder / "training.safetensors") for each in (whole, part)]
    assert last[0].keys() == last[1].keys()
    assert all(tensor.equal(last[1][name]) for name, tensor in last[0].items())
    assert (tmp_path / "run" / "samples.txt").read_text().count("says") >= 3
    with pytest.raises(ValueError, match="expected one of val, test, whose texts are kept"):
        run.evaluate("train")


def test_every_level_on_either_side(pairs: Path, tmp_path: Path) -> None:
    levels = ("char", "byte", "word", "bpe", "whitespace")
    for number, (source, target) in enumerate(zip(levels, levels[::-1], strict=True)):
        run = trained(
            pairs,
            tmp_path / f"run{number}",
            max_steps=2,
            source_level=source,
            target_level=target,
            vocab_size=300 if {source, target} & {"bpe"} else None,
        )
        assert isinstance(run.model.predict(["1234 zzz"])[0].text, str)
        assert math.isfinite(run.evaluate("test")["nll"])


def test_one_vocabulary_for_both_sides(pairs: Path, tmp_path: Path) -> None:
    run = trained(
        pairs,
        tmp_path / "run",
        max_steps=2,
        source_level="char",
        target_level="char",
        shared_vocabulary=True,
        shared_embedding=True,
    )
    model = run.model
    assert model.source_vocabulary == model.target_vocabulary
    assert model.source_embedding.weight is model.output.weight
    with pytest.raises(ValueError, match="shared_vocabulary: expected one level for both sides"):
        trained(pairs, tmp_path / "other", shared_vocabulary=True)


def test_scheduled_sampling_reads_its_own_tokens_as_often_as_it_should(pairs: Path) -> None:
    from recurra.data.parallel_text import read_pairs
    from recurra.tasks.options import ParallelSettings, TranslatorSettings

    task = TranslateTask.of(read_pairs(pairs), ParallelSettings(**LEVELS))
    torch.manual_seed(0)
    model = task.build(TranslatorSettings(hidden_size=16, embedding_size=8))
    batch = task.source("train", TranslateTraining(batch_size=64)).batch(0, 0)
    given = (batch.source, batch.target, batch.source_lengths, batch.target_lengths)
    own = torch.cat([torch.full((1, 64), model.mark), batch.target])
    assert sampled(model, *given, share=0.0, seed=1).equal(own)
    read = sampled(model, *given, share=0.5, seed=1)
    assert read.equal(sampled(model, *given, share=0.5, seed=1))
    assert read[0].equal(own[0])
    assert not (read[1:] == model.mark).any()
    kept = (read[1:] == own[1:]).float().mean()
    assert 0.45 < kept < 0.65  # a token of its own may be the target's by chance
    task.training = TranslateTraining(scheduled_sampling=0.9, label_smoothing=0.0)
    model.train()
    with torch.random.fork_rng():
        for share in (0.0, 1.0):
            loss = task.loss(model, batch, None, Moment(fraction=share, seed=1))
            assert math.isfinite(loss.mean.item())


def test_smoothing_is_of_training_alone(pairs: Path) -> None:
    from recurra.data.parallel_text import read_pairs
    from recurra.tasks.options import ParallelSettings, TranslatorSettings

    task = TranslateTask.of(read_pairs(pairs), ParallelSettings(**LEVELS))
    model = task.build(TranslatorSettings(hidden_size=16, embedding_size=8, dropout=0.0))
    task.training = TranslateTraining(label_smoothing=0.5)
    batch = task.source("train", task.training).batch(0, 0)
    model.eval()
    with torch.no_grad():
        plain = task.loss(model, batch, None, Moment())
    given = (batch.source, batch.target, batch.source_lengths, batch.target_lengths)
    assert float(plain.mean) == pytest.approx(model.loss(*given).item(), rel=1e-5)
    assert plain.count == int(batch.target_lengths.sum()) + 64


def test_the_scores_held_at_once_are_bounded_by_fewer_pairs_side_by_side(
    pairs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from recurra.data.parallel_text import read_pairs
    from recurra.tasks import translate
    from recurra.tasks.options import ParallelSettings, TranslatorSettings

    task = TranslateTask.of(read_pairs(pairs), ParallelSettings(**LEVELS))
    model = task.build(TranslatorSettings(hidden_size=8, embedding_size=8)).eval()
    held: list[int] = []
    model.output.register_forward_hook(lambda _, given, made: held.append(made.numel()))
    whole = task._nll(model, "val")
    assert max(held) > 1000
    held.clear()
    monkeypatch.setattr(translate, "LOGITS", 1000)
    assert task._nll(model, "val") == pytest.approx(whole, rel=1e-5)
    assert 0 < max(held) <= 1000 * (model.target_size + 1) / model.target_size


def test_two_processes_learn_as_one(pairs: Path, tmp_path: Path) -> None:
    """Batches in buckets, nothing carried, each rank every other pair of a batch."""
    settings = {
        "max_steps": 8,
        "batch_size": 16,
        "threads": 1,
        "eval_every": 4,
        "label_smoothing": 0.1,
        "schedule": "constant",
    }
    script = (
        "import json, sys, recurra as rc; s = json.loads(sys.argv[1]); rc.train('translate', **s)"
    )
    losses = []
    for devices in (1, 2):
        out = tmp_path / f"run{devices}"
        given = {**LEVELS, **SMALL, **settings, "devices": devices}
        given |= {"data": str(pairs), "out": str(out), "device": "cpu", "log_every": 1}
        subprocess.run([sys.executable, "-c", script, json.dumps(given)], check=True, timeout=300)
        rows = (out / "metrics.csv").read_text().splitlines()
        column = rows[0].split(",").index("nll")
        losses.append([float(row.split(",")[column]) for row in rows[1:]])
    assert len(losses[0]) == len(losses[1]) == 8
    assert losses[1] == pytest.approx(losses[0], rel=2e-4)


def test_long_pairs_are_left_out_and_counted(pairs: Path, tmp_path: Path) -> None:
    with pairs.open("a") as file:
        file.write("1234567\t" + "one " * 300 + "\n")
    run = trained(pairs, tmp_path / "run", max_steps=1)
    said = dict(run.task.describe().lines)
    assert (
        "1 pairs of more than 100 tokens" in said["read"]
        or len(
            TranslateTask.open(
                run.folder, json.loads((run.folder / "config.json").read_text())
            ).parts["train"]
        )
        == 361
    )
    with pytest.raises(DataError, match="expected pairs of 1 to 1 tokens to train on, got none"):
        trained(pairs, tmp_path / "other", max_tokens=1)


def test_no_data_and_settings_that_do_not_go_together(pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="data=: expected pairs of a source and a target"):
        rc.train("translate", out=tmp_path / "run", view=None)
    with pytest.raises(ValueError, match="decoder: expected no attention= or input_feeding="):
        trained(pairs, tmp_path / "run", decoder="conditional_gru", attention="dot")
    with pytest.raises(ValueError, match="expected a decoder that reads x and one memory"):
        trained(pairs, tmp_path / "run", decoder="gru")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["in.tsv", "IN.TSV", "in.tsv.gz", "lines.en", "lines.en.gz"])
def test_a_table_of_sources_is_one_whatever_its_name_ends_in(name: str, tmp_path: Path) -> None:
    model = rc.Translator(11, 11, hidden_size=4, embedding_size=4)
    content = b"source\ttarget\none two\teins zwei\n" if "tsv" in name.lower() else b"one two\n"
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    records = TranslateTask.inputs(model, path, ParallelSettings())
    assert [record.value for record in records] == ["one two"]


def test_scores_are_sacrebleus() -> None:
    said = ["the cat sat on the mat", "A dog", "no"]
    wanted = ["the cat sat on the mat", "a dog", "yes"]
    found = scored(said, wanted, lower=True)
    assert found["exact"] == 2 / 3
    assert "case:lc" in found["signature"]
    from sacrebleu import corpus_bleu, corpus_chrf

    assert found["bleu"] == corpus_bleu(said, [wanted], lowercase=True).score
    assert scored(said, wanted, lower=False)["chrf"] == corpus_chrf(said, [wanted]).score
    groups = bleu_by_length(["a b", "a b c d e f", "a"], said, wanted, lower=True)
    assert [(each["words"], each["pairs"]) for each in groups] == [("1 to 5", 2), ("6 to 10", 1)]


def test_figures_of_attention_and_of_lengths(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    from recurra.insight.report import png

    path = tmp_path / "pairs.tsv"
    texts = [f"the number {n} is read here\tthe words of {spelled(n)} are here" for n in range(60)]
    path.write_text("\n".join(texts))
    run = trained(path, tmp_path / "run", max_steps=2, source_level="word")
    drawn = run.task.insights(run.model)
    assert [each.name for each in drawn] == ["attention", "bleu_by_length"]
    assert all(png(each.draw).startswith(b"\x89PNG") for each in drawn)
    assert "in the mean" in drawn[0].found
    report = run.report()
    names = [each.name for each in report.figures]
    assert names[2:6] == ["gradient_by_lag", "gradient_flow", "vanishing", "lyapunov"]
    assert "What goes on through time in run is that of its encoder." in report.notes
    assert report.facts[0][0] == "cell"
    (said,) = run.model.predict(["the number 7"], attention=True)
    from recurra.insight.translation import draw_attention, draw_by_length

    assert draw_attention([said], tmp_path / "map.svg").read_text().count("number") >= 1
    figures = run.evaluate("test")
    draw_by_length({"with": figures["bleu_by_length"]}, tmp_path / "bleu.svg")
    assert "with" in (tmp_path / "bleu.svg").read_text()
