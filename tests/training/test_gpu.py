"""Training on a GPU, and what it leaves for machines without one."""

from pathlib import Path

import pytest

import recurra as rc

pytestmark = pytest.mark.gpu

TEXT = "to be or not to be, that is the question\n" * 60
QUICK = {"hidden_size": 16, "max_steps": 12, "eval_every": 6, "view": None, "device": "cuda"}


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_language_model_trains_goes_on_and_is_read_on_a_cpu(tmp_path: Path, cell: str) -> None:
    text = tmp_path / "text.txt"
    text.write_text(TEXT)
    out = tmp_path / "run"
    more = {"batch_size": 4, "bptt": 16, "cell": cell}
    run = rc.train("lm", data=str(text), out=str(out), **QUICK, **more)
    first = run.evaluate("val", device="cpu")["nll"]
    run.fit(max_steps=60)
    last = run.evaluate("val", device="cpu")["nll"]
    assert last < first
    model = rc.load(out)
    assert next(model.parameters()).device.type == "cpu"
    there = rc.load(out, device="cuda")
    assert len(model.generate("to be", 20, seed=1)) >= 20
    here_nll, there_nll = (each.nll("to be or not to be") for each in (model, there))
    assert abs(here_nll - there_nll) < 1e-3


def test_a_classifier_trains(tmp_path: Path) -> None:
    table = tmp_path / "table.tsv"
    rows = [f"{'good fine nice' if n % 2 else 'bad poor awful'} {n}\t{n % 2}" for n in range(80)]
    table.write_text("\n".join(rows))
    run = rc.train("classify", data=str(table), out=str(tmp_path / "run"), **QUICK, batch_size=8)
    assert run.evaluate("val")["accuracy"] >= 0.5
    assert rc.load(tmp_path / "run").predict(["good fine nice"])
