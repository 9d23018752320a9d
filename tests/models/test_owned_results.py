"""What models hand out owns its memory: writing into one result changes no other."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from recurra.models import Forecaster, Tagger, Translator
from recurra.models.writing import attention_of

T, B, V, K = 5, 3, 7, 4


def is_apart(*tensors: Tensor) -> bool:
    """Whether each has a storage by itself, and no more of it than it needs."""
    own = {tensor.untyped_storage().data_ptr() for tensor in tensors}
    sizes = [tensor.untyped_storage().nbytes() == tensor.nbytes for tensor in tensors]
    return len(own) == len(tensors) and all(sizes)


@pytest.mark.medium
@pytest.mark.parametrize("attention", ["additive", "none"])
def test_what_an_encoder_makes(attention: str) -> None:
    model = Translator(V, K, embedding_size=5, hidden_size=6, attention=attention).eval()
    lengths = torch.tensor([5, 2, 4])
    memory, counts, summary = model.encode(torch.randint(V, (T, B)), lengths)
    assert is_apart(memory, counts, summary, lengths)


@pytest.mark.medium
def test_where_a_translator_looks() -> None:
    model = Translator(V, K, embedding_size=5, hidden_size=6).eval()
    with torch.no_grad():
        maps = attention_of(model, [torch.randint(V, (n,)) for n in (5, 2)], [[1, 2], [3]])
    assert is_apart(*maps)


@pytest.mark.parametrize("decoding", ["direct", "recursive", "segments"])
def test_what_a_forecaster_says(decoding: str) -> None:
    model = Forecaster(2, 4, 6, hidden_size=6, decoding=decoding).eval()
    said = model(torch.randn(6, B, 2))
    last = said.base[3].clone()
    with torch.no_grad():
        said.base[0] = 100.0
    assert torch.equal(said.base[3], last)


def test_numbers_of_a_tagger() -> None:
    model = Tagger(output_size=2, input_size=3, hidden_size=6)
    found = model.predict([np.ones((n, 3)) for n in (5, 2)])
    for tags in found:
        assert tags.values is not None
        assert tags.values.base is None or tags.values.base.nbytes == tags.values.nbytes


@pytest.mark.parametrize("options", [{"crf": True}, {"constrain": "bio"}, {}])
@pytest.mark.parametrize("delay", [0, 2])
def test_labels_of_a_stream(options: dict[str, Any], delay: int) -> None:
    names = ["O", "B-x", "I-x", "B-y"]
    model = Tagger(K, labels=names, input_size=3, hidden_size=6, **options)
    if model.crf is not None:
        for parameter in model.crf.parameters():
            torch.nn.init.normal_(parameter, std=3.0)
    x = torch.randn(8, 1, 3)
    kept, written = model.stream(delay=delay), model.stream(delay=delay)
    heard = [kept(step) for step in x] + kept.finish()
    wanted = [None if one is None else one.tolist() for one in heard]
    found = []
    for step in x:
        said = written(step)
        found.append(None if said is None else said.clone())
        if said is not None:
            said.fill_(3)  # as a program that keeps one buffer does
    found += written.finish()
    assert [None if one is None else one.tolist() for one in found] == wanted


@pytest.mark.parametrize("lengths", [[T, T], [T + 1, T, T], [-1, T, T], [T]])
def test_lengths_of_what_is_read_are_checked(lengths: list[int]) -> None:
    for model, x in (
        (Tagger(K, vocab_size=V, embedding_size=5, hidden_size=6), torch.randint(V, (T, B))),
        (Tagger(K, input_size=2, delay=2, hidden_size=6), torch.randn(T, B, 2)),
    ):
        with pytest.raises(ValueError, match="Tagger: expected lengths"):
            model(x, lengths)
