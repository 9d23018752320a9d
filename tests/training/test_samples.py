from typing import Any

import pytest
import torch

from recurra.tasks import LanguageTask
from recurra.tasks.options import LanguageTraining
from recurra.text import Vocabulary
from recurra.training import Moment
from recurra.training.budget import due_milestone


@pytest.mark.parametrize(
    ("fraction", "taken", "expected"),
    [
        (0.0, [], 0.0),
        (0.05, [0.0], None),
        (0.1, [0.0], 0.1),
        (0.3, [0.0, 0.1], None),
        (0.7, [0.0], 0.5),
        (1.0, [0.0, 0.1, 0.5], 1.0),
        (1.0, [0.0, 0.1, 0.5, 1.0], None),
    ],
)
def test_samples_are_due_at_the_start_a_tenth_a_half_and_the_end(
    fraction: float, taken: list[float], expected: float | None
) -> None:
    assert due_milestone(fraction, taken) == expected


def drawn(
    model: Any, vocabulary: Vocabulary, prime: str, *, length: int, temperature: float, seed: int
) -> str:
    task = LanguageTask(vocabulary, {})
    settings = LanguageTraining(prime=prime, sample_length=length, sample_temperature=temperature)
    found = task.preview(model, Moment(seed=seed), settings)
    assert found is not None
    assert found[1] == f"temperature {temperature:g}"
    return found[0]


def test_drawing_leaves_the_global_generator_alone(
    model: torch.nn.Module, vocabulary: Vocabulary
) -> None:
    before = torch.get_rng_state()
    text = drawn(model, vocabulary, "the ", length=20, temperature=1.0, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training
    assert text.startswith("the ")
    assert len(text) == 24
    assert text == drawn(model, vocabulary, "the ", length=20, temperature=1.0, seed=3)
    assert text != drawn(model, vocabulary, "the ", length=20, temperature=1.0, seed=4)


def test_a_model_that_diverged_gives_a_reason_instead_of_a_text(
    model: torch.nn.Module, vocabulary: Vocabulary
) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(float("nan"))
    text = drawn(model, vocabulary, "", length=5, temperature=1.0, seed=0)
    assert text.startswith("(no sample: logits")
