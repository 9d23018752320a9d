"""A stream of a model says what the model says of whole sequences, or refuses."""

import pytest
import torch

import recurra as rc
from recurra.errors import DataError
from recurra.models.scaling import Scaling

GAPS = Scaling(mean=(1.0, -2.0), spread=(2.0, 0.5), missing="fill")


def series_with_gaps():
    x = torch.randn(7, 2)
    x[0, 1] = x[3] = x[4, 0] = torch.nan
    return x


def test_a_tagger_fills_a_gap_of_a_stream_as_of_a_whole_series():
    model = rc.Tagger(3, scaling=GAPS, hidden_size=4).eval()
    x = series_with_gaps()
    stream, step = model.stream(), torch.empty(1, 2)
    for _ in range(2):  # the second time from the start again
        said = [stream(step.copy_(row)) for row in x]  # in one memory, filled again
        assert (
            tuple(int(label) for label in said if label is not None) == model.predict([x])[0].labels
        )
        stream.reset()


def test_a_classifier_fills_a_gap_of_a_stream_as_of_a_whole_series():
    model = rc.Classifier(3, scaling=GAPS, hidden_size=4).eval()
    x, stream = series_with_gaps(), model.stream()
    *_, said = [stream(row[None]) for row in x]
    wanted = model.predict([x])[0].probabilities
    torch.testing.assert_close(said[0], torch.tensor([wanted[k] for k in range(3)]))


@pytest.mark.parametrize("kind", [rc.Tagger, rc.Classifier])
def test_a_gap_that_nothing_fills_does_not_reach_the_state(kind):
    model = kind(3, input_size=2, hidden_size=4).eval()
    stream, x = model.stream(), torch.randn(3, 1, 2)
    stream(x[0])
    with pytest.raises(DataError, match="1 missing"):
        stream(torch.tensor([[1.0, torch.nan]]))
    other = model.stream()
    other(x[0])
    torch.testing.assert_close(stream(x[1]), other(x[1]))


@pytest.mark.parametrize("kind", [rc.Tagger, rc.Classifier])
def test_a_stream_does_not_pass_over_a_call_of_the_users(kind):
    class Own(kind):
        def predict(self, *args, **options):
            return super().predict(*args, **options)

    Own(3, input_size=2, hidden_size=4).stream()(torch.zeros(1, 2))  # the call is the same

    class Twice(kind):
        def forward(self, *args, **options):
            return 2 * super().forward(*args, **options)

    with pytest.raises(ValueError, match="Twice has its own forward"):
        Twice(3, input_size=2, hidden_size=4).stream()
    model = kind(3, input_size=2, hidden_size=4).eval()
    stream = model.stream()
    model.register_forward_hook(lambda module, inputs, output: 2 * output)
    with pytest.raises(ValueError, match="has forward hooks"):
        stream(torch.zeros(1, 2))
