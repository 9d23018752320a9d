"""How far back a model looks, on models of which that is known."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import recurra as rc
from recurra.errors import DataError
from recurra.insight import memory
from recurra.lang import cell

DECAY, BACK, V = 0.5, 3, 5


@cell(state="h")
def decaying(x, h, W_x):
    """A state that keeps half of itself."""
    return DECAY * h + W_x @ x


@cell(state=("h", "a", "b"))
def delayed(x, h, a, b, W_x):
    """What was read two steps before."""
    return b, W_x @ x, a


def language_model(which: rc.lang.Cell, scale: float = 1.0) -> rc.LanguageModel:
    model = rc.LanguageModel(V, embedding_size=V, hidden_size=V, cell=which, backend="reference")
    with torch.no_grad():
        model.embedding.weight.copy_(torch.eye(V))
        model.recurrent.get_parameter("W_x_l0").copy_(torch.eye(V))
        model.decoder.weight.copy_(scale * torch.eye(V))
    return model.eval()


@pytest.fixture
def ids() -> np.ndarray:
    return np.random.default_rng(0).integers(0, V, 400)


class TestLossByContext:
    def test_falls_where_the_context_holds_what_is_needed(self) -> None:
        text = np.tile(np.random.default_rng(0).permutation(V)[:BACK], 100)
        found = memory.language_context(
            language_model(delayed, 9.0), text, contexts=(1, 2, 3, 4, 8), places=60
        )
        assert found.losses.shape == (5, 60)
        np.testing.assert_allclose(found.nll[:2], np.log(V), rtol=1e-5)
        assert found.nll[2:].max() < 0.01
        assert found.reach == BACK
        assert found.error[-1] == 0.0

    def test_equals_the_model_read_from_so_many_tokens_before(self, ids: np.ndarray) -> None:
        torch.manual_seed(0)
        model = rc.LanguageModel(V, embedding_size=3, hidden_size=4, cell="gru").eval()
        found = memory.language_context(model, ids, contexts=(2, 7), places=10**6)
        at = np.arange(7, len(ids))
        for row, context in zip(found.losses, (2, 7), strict=True):
            windows = torch.from_numpy(np.stack([ids[t - context : t + 1] for t in at], axis=1))
            wanted = model.loss(windows, reduction="none")[-1].detach()
            np.testing.assert_allclose(row, wanted, rtol=1e-4)

    def test_contexts_longer_than_the_text_are_left_out(self, ids: np.ndarray) -> None:
        found = memory.language_context(language_model(decaying), ids[:20], contexts=(1, 8, 32))
        assert found.contexts == (1, 8)

    def test_batch_first_changes_nothing(self, ids: np.ndarray) -> None:
        model = language_model(decaying)
        wanted = memory.language_context(model, ids, contexts=(4,)).losses
        model.batch_first = True
        np.testing.assert_allclose(
            memory.language_context(model, ids, contexts=(4,)).losses, wanted
        )

    def test_needs_a_text_and_contexts_that_grow(self, ids: np.ndarray) -> None:
        with pytest.raises(DataError, match="expected a text of at least 4 tokens, got 3"):
            memory.language_context(language_model(decaying), ids[:3])
        with pytest.raises(ValueError, match=r"expected numbers of steps that grow, .* got \[2, 1"):
            memory.language_context(language_model(decaying), ids, contexts=(2, 1))

    def test_of_a_classifier_counts_from_the_end_of_each_sequence(self) -> None:
        torch.manual_seed(0)
        model = rc.Classifier(2, input_size=3, hidden_size=4, pooling="last").eval()
        x, target, lengths = torch.randn(6, 4, 3), torch.tensor([0, 1, 1, 0]), [6, 4, 1, 5]
        found = memory.classifier_context(model, x, target, lengths, contexts=(2, 4, 32))
        assert found.contexts == (2, 4, 6)
        for row, context in zip(found.losses, found.contexts, strict=True):
            for b, length in enumerate(lengths):
                part = x[max(0, length - context) : length, b : b + 1]
                wanted = model.loss(part, target[b : b + 1]).item()
                assert row[b] == pytest.approx(wanted, rel=1e-4)

    @pytest.mark.parametrize("how", [{}, {"delay": 2}, {"bidirectional": True}])
    def test_of_a_tagger_leaves_what_follows_as_it_is(self, how: dict[str, object]) -> None:
        torch.manual_seed(0)
        model = rc.Tagger(3, input_size=2, hidden_size=4, **how).eval()  # type: ignore[arg-type]
        x, lengths = torch.randn(7, 3, 2), [7, 2, 5]
        target = torch.randint(0, 3, (7, 3))
        target[3, 0] = -1
        found = memory.tagger_context(model, x, target, lengths, contexts=(2,))
        assert found.contexts == (2, 7)
        assert found.losses.shape == (2, 13)
        whole = torch.stack([
            nn.functional.cross_entropy(model(x[:n, b : b + 1])[t, 0], target[t, b])
            for b, n in enumerate(lengths) for t in range(n) if target[t, b] >= 0
        ])  # fmt: skip
        np.testing.assert_allclose(
            np.sort(found.losses[1]), np.sort(whole.detach().numpy()), rtol=1e-4
        )

    def test_spellings_go_with_their_words(self) -> None:
        torch.manual_seed(0)
        how = {"vocab_size": 5, "hidden_size": 4, "subwords": "characters", "num_pieces": 6}
        x, lengths = torch.randint(0, 5, (6, 3)), [6, 2, 4]
        pieces = torch.randint(0, 6, (6, 3, 2))
        model = rc.Classifier(2, **how).eval()  # type: ignore[arg-type]
        target = torch.tensor([0, 1, 1])
        found = memory.classifier_context(model, x, target, lengths, pieces=pieces, contexts=(2,))
        for b, length in enumerate(lengths):
            at = slice(length - 2, length), slice(b, b + 1)
            wanted = model.loss(x[at], target[b : b + 1], pieces=pieces[at]).item()
            assert found.losses[0, b] == pytest.approx(wanted, rel=1e-4)
        saliency = memory.classifier_saliency(model, x, target, lengths, pieces=pieces)
        assert np.isfinite(saliency.norms).sum(axis=0).tolist() == lengths
        tagger = rc.Tagger(3, **how).eval()  # type: ignore[arg-type]
        labels = torch.randint(0, 3, (6, 3))
        found = memory.tagger_context(tagger, x, labels, lengths, pieces=pieces, contexts=(1,))
        total = tagger.loss(x, labels, lengths, pieces=pieces, reduction="sum").item()
        assert found.losses[-1].sum() == pytest.approx(total, rel=1e-4)


class TestSaliency:
    def test_falls_as_the_state_forgets(self, ids: np.ndarray) -> None:
        found = memory.language_saliency(language_model(decaying), ids, length=9, places=40)
        assert found.norms.shape == (9, 40)
        np.testing.assert_allclose(found.by_lag[1:] / found.by_lag[:-1], DECAY, rtol=1e-5)
        assert found.half == 0

    def test_is_where_the_model_looks(self, ids: np.ndarray) -> None:
        found = memory.language_saliency(language_model(delayed), ids, length=6)
        assert (found.by_lag > 0).tolist() == [lag == BACK - 1 for lag in range(6)]

    def test_equals_autograd_of_each_place(self, ids: np.ndarray) -> None:
        torch.manual_seed(0)
        layer = rc.Recurrent("lstm", 3, 4, backend="reference", dtype=torch.float64)
        x = torch.randn(5, 2, 3, dtype=torch.float64)
        lengths = torch.tensor([5, 3])

        def losses() -> Tensor:
            y, _ = layer(x, lengths=lengths)
            return y[lengths - 1, torch.arange(2)].square().sum(-1)

        found = memory.saliency_by_lag(layer, losses, lengths=lengths)
        for b, length in enumerate(lengths.tolist()):
            own = x[:length, b : b + 1].clone().requires_grad_()
            layer(own)[0][-1].square().sum().backward()
            assert own.grad is not None
            np.testing.assert_allclose(
                found.norms[:length, b], own.grad.norm(dim=-1).flip(0)[:, 0], rtol=1e-10
            )
            assert np.isnan(found.norms[length:, b]).all()

    def test_ends_at_the_longest_sequence(self) -> None:
        layer = rc.Recurrent("gru", 3, 4, backend="reference")
        x, lengths = torch.randn(6, 2, 3), torch.tensor([4, 3])
        found = memory.saliency_by_lag(
            layer, lambda: layer(x, lengths=lengths)[1][0].sum(-1), lengths=lengths
        )
        assert found.norms.shape == (4, 2)
        assert np.isfinite(found.by_lag).all()

    def test_of_a_classifier(self) -> None:
        torch.manual_seed(0)
        model = rc.Classifier(2, vocab_size=5, hidden_size=4, pooling="last").eval()
        x, target = torch.randint(0, 5, (6, 3)), torch.tensor([0, 1, 1])
        found = memory.classifier_saliency(model, x, target, [6, 2, 4])
        assert np.isfinite(found.norms).sum(axis=0).tolist() == [6, 2, 4]
        assert found.by_lag[0] > 0

    def test_leaves_the_layer_as_it_was(self, ids: np.ndarray) -> None:
        model = language_model(decaying)
        memory.language_saliency(model, ids, length=4)
        assert not model.recurrent._forward_pre_hooks
        assert all(each.grad is None for each in model.parameters())


class TestGates:
    def test_a_time_constant_is_that_of_the_product_of_the_gate(self) -> None:
        f = np.exp(-1 / np.array([[2.0, 50.0], [2.0, 25.0]]))
        found = memory.time_constants("f", f[:, None, :])
        np.testing.assert_allclose(found.steps, [2.0, 2 / (1 / 50 + 1 / 25)], rtol=1e-6)

    def test_what_is_no_gate_is_refused(self) -> None:
        with pytest.raises(ValueError, match=r"expected values of a gate, in 0\.\.1, got 'g'"):
            memory.time_constants("g", np.array([[-0.5, 0.5]]))

    def test_paths_are_in_the_order_of_what_they_hold(self) -> None:
        rng = np.random.default_rng(0)
        noise = rng.normal(size=(2000, 2))
        slow = np.zeros_like(noise)
        for t in range(1, len(noise)):
            slow[t] = np.array([0.2, 0.9]) * slow[t - 1] + noise[t]
        found = memory.paths(slow, noise)
        np.testing.assert_allclose(found.kept_persistence, [0.9, 0.2], atol=0.05)
        np.testing.assert_array_equal(found.kept, slow[:, ::-1])
        np.testing.assert_array_equal(found.shown, noise[:, ::-1])
