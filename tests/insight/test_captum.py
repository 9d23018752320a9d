"""captum's attributions work on layers and models, whose outputs have gradients by the input."""

from typing import Any

import pytest
import torch
from torch import Tensor

import recurra as rc

pytestmark = pytest.mark.medium  # captum takes half a second to import

T, B, I, H = 4, 2, 3, 5  # noqa: E741


@pytest.fixture(scope="module")
def captum() -> Any:
    return pytest.importorskip("captum.attr", reason="captum is not installed")


def test_integrated_gradients_of_a_layer_add_up_to_what_it_says(captum: Any) -> None:
    layer = rc.LSTM(I, H, dtype=torch.float64, batch_first=True, backend="reference")

    def last(x: Tensor) -> Tensor:
        return layer(x)[0][:, -1]

    x = torch.randn(B, T, I, dtype=torch.float64)
    found, error = captum.IntegratedGradients(last).attribute(
        x, target=0, n_steps=50, return_convergence_delta=True
    )
    assert found.shape == x.shape
    difference = last(x)[:, 0] - last(torch.zeros_like(x))[:, 0]
    torch.testing.assert_close(found.sum(dim=(1, 2)), difference, rtol=0, atol=1e-6)
    assert error.abs().max() < 1e-6


def test_integrated_gradients_of_a_classifier_of_series(captum: Any) -> None:
    model = rc.Classifier(num_classes=2, input_size=I, hidden_size=H, backend="reference").eval()

    def scores(x: Tensor) -> Tensor:  # captum has batches first
        return model(x.transpose(0, 1))

    x = torch.randn(B, T, I)
    found = captum.IntegratedGradients(scores).attribute(x, target=1, n_steps=10)
    assert found.shape == x.shape
    assert found.ne(0).any()


def test_integrated_gradients_of_the_tokens_of_a_language_model(captum: Any) -> None:
    model = rc.LanguageModel(
        7, hidden_size=H, batch_first=True, dtype=torch.float64, backend="reference"
    )

    def after_the_last(ids: Tensor) -> Tensor:
        return model(ids)[0][:, -1]

    ids, baseline = torch.randint(1, 7, (B, T)), torch.zeros(B, T, dtype=torch.int64)
    found = captum.LayerIntegratedGradients(after_the_last, model.embedding).attribute(
        ids, baseline, target=3, n_steps=50
    )
    assert found.shape == (B, T, model.embedding_size)
    difference = after_the_last(ids)[:, 3] - after_the_last(baseline)[:, 3]
    torch.testing.assert_close(found.sum(dim=(1, 2)), difference, rtol=0, atol=1e-4)
