"""Units that track a property: found, held against chance, and beside a linear reading of all."""

import numpy as np
import pytest

from recurra.insight.neurons.contexts import expected_next, nearest_contexts
from recurra.insight.neurons.gates import saturation
from recurra.insight.neurons.probe import linear_probe
from recurra.insight.neurons.scoring import correlations, find_unit, shifted_null
from recurra.insight.neurons.terminal import coloured, scaled
from recurra.insight.neurons.units import Unit, unit_of

N, U, TRACKS = 1500, 6, 3
Pair = tuple[np.ndarray, np.ndarray]


def telegraph(rng: np.random.Generator, length: int = N) -> np.ndarray:
    """0 and 1 in turn, each for some time."""
    return (np.cumsum(rng.random(length) < 0.1) % 2).astype(np.float32)


def slow(rng: np.random.Generator, columns: int) -> np.ndarray:
    """Noise that remembers about a hundred places."""
    noise = rng.normal(size=(N, columns))
    for t in range(1, N):
        noise[t] += 0.99 * noise[t - 1]
    return noise.astype(np.float32)


@pytest.fixture
def texts() -> tuple[Pair, Pair]:
    """Noise but for one unit, which is 1 minus the property, and noise."""
    found = []
    for seed in (0, 1):
        rng = np.random.default_rng(seed)
        wanted = telegraph(rng)
        values = rng.normal(size=(N, U)).astype(np.float32)
        values[:, TRACKS] = 1 - wanted + 0.3 * values[:, TRACKS]
        found.append((values, wanted))
    return found[0], found[1]


def test_correlations_are_pearsons() -> None:
    rng = np.random.default_rng(0)
    values, wanted = 1e4 + rng.normal(size=(50, 3)), rng.normal(size=50)
    expected = [np.corrcoef(values[:, u], wanted)[0, 1] for u in range(3)]
    np.testing.assert_allclose(correlations(values, wanted), expected, rtol=1e-5)


def test_what_is_constant_correlates_with_nothing() -> None:
    values = np.stack([np.full(9, 0.3), np.arange(9.0)], axis=1)
    np.testing.assert_allclose(correlations(values, np.arange(9.0)), [0.0, 1.0], atol=1e-6)
    assert not correlations(values, np.ones(9)).any()


def test_the_null_shifts_the_property_around_the_text() -> None:
    rng = np.random.default_rng(0)
    values, wanted = rng.normal(size=(40, 2)), rng.normal(size=40)
    null = shifted_null(values, wanted, num_shifts=100)
    every = [np.abs(correlations(values, np.roll(wanted, -s))) for s in range(2, 39)]
    assert null.shape == (37, 2)
    np.testing.assert_allclose(np.sort(null, axis=0), np.sort(every, axis=0), atol=1e-6)


def test_a_unit_that_tracks_is_found_and_is_above_chance(texts: tuple[Pair, Pair]) -> None:
    score = find_unit(*texts, num_shifts=300)
    assert score.unit == TRACKS
    assert score.searched < -0.8
    assert score.held_out < -0.8
    assert score.held_out == pytest.approx(score.every[TRACKS])
    assert score.null_99 < score.null_99_of_best + 1e-9 < 0.4
    assert score.p == pytest.approx(1 / 301)


def test_two_slow_series_are_not_taken_for_related() -> None:
    rng = np.random.default_rng(0)
    pairs = [(slow(rng, 20), slow(rng, 1)[:, 0]) for _ in range(2)]
    score = find_unit(*pairs, num_shifts=300)
    assert abs(score.searched) > 0.25  # looks like something: places by themselves reach 0.07
    assert score.null_99 > 0.2
    assert score.p > 0.01


def test_a_short_text_and_shapes_that_disagree_are_refused(texts: tuple[Pair, Pair]) -> None:
    search, (values, wanted) = texts
    with pytest.raises(ValueError, match=r"held_out to be .* N of 200 or more, got"):
        find_unit(search, (values[:100], wanted[:100]))
    with pytest.raises(ValueError, match="linear_probe: expected held_out to be"):
        linear_probe(search, (values, wanted[1:]))


def test_one_cell_is_told_from_a_direction(texts: tuple[Pair, Pair]) -> None:
    probe = linear_probe(*texts)
    assert probe.chosen[0] == TRACKS
    assert probe.counts == (1, 2, 4)
    assert probe.verdict == "a cell"
    assert probe.share_of_one > 0.95
    rng = np.random.default_rng(2)
    turned = np.linalg.qr(rng.normal(size=(32, 32)))[0][:1]
    spread = []
    for _, wanted in texts:
        noise = 0.8 * np.random.default_rng(len(spread)).normal(size=(N, 32))
        spread.append(((wanted[:, None] * turned * 4 + noise).astype(np.float32), wanted))
    probe = linear_probe(spread[0], spread[1])
    assert probe.held_out > 0.9
    assert (np.diff(probe.held_out_of) > -0.01).all()
    assert probe.verdict != "a cell"
    assert probe.num_needed != 1


def test_a_probe_is_the_least_squares_where_there_is_no_noise() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(400, 5)) * [1, 10, 0.1, 1, 0]
    wanted = values @ [1.0, 0.2, -30.0, 0.0, 0.0] + 7
    probe = linear_probe((values, wanted), (values, wanted))
    np.testing.assert_allclose(probe.weights, [1.0, 0.2, -30.0, 0, 0], atol=1e-3)
    assert probe.bias == pytest.approx(7, abs=1e-2)
    assert probe.held_out == pytest.approx(1.0, abs=1e-6)
    assert sorted(probe.chosen[:3].tolist()) == [0, 1, 2]


def test_gates_are_saturated_at_either_end() -> None:
    values = np.array([[0.05, 0.95, 0.5], [0.05, 0.95, 0.05], [0.5, 0.95, 0.95], [0.05, 0.5, 0.5]])
    found = saturation("f", values[:, None])
    np.testing.assert_allclose(found.left, [0.75, 0, 0.25])
    np.testing.assert_allclose(found.right, [0, 0.75, 0.25])
    assert found.is_gate
    assert not saturation("g", values - 0.5).is_gate
    with pytest.raises(ValueError, match="expected values of f, got shape"):
        saturation("f", values[:0])


def test_nearest_contexts_are_the_most_alike_and_apart() -> None:
    values = np.random.default_rng(0).normal(size=(300, 8))
    for place in (100, 101, 200, 250):
        values[place] = values[30] + 1e-3 * place
    found = nearest_contexts(values, 30, count=3, apart=10)
    assert found.places.tolist() == [100, 200, 250]
    assert (found.similarity > 0.9).all()
    assert len(nearest_contexts(values, 30, count=50, apart=100).places) <= 2
    with pytest.raises(ValueError, match=r"expected one of 0\.\.299, got 300"):
        nearest_contexts(values, 300)


def test_expected_symbols_are_the_likeliest() -> None:
    p = np.array([[0.2, 0.5, 0.3], [0.1, 0.1, 0.8]])
    found = expected_next(np.log(p), ["a", "b", "c"], count=2)
    assert found.symbols == [["b", "c"], ["c", "a"]]
    np.testing.assert_allclose(found.probabilities, [[0.5, 0.3], [0.8, 0.1]])


def test_units_are_written_as_they_are_named() -> None:
    sizes = [{"h": 4, "c": 4}, {"h": 2}]
    for spelled in ("c[3]", "h[0]", "1.h[1]"):
        assert str(unit_of(spelled, sizes)) == spelled
    assert unit_of(" 0.c[3] ", sizes) == Unit(name="c", index=3)
    for wrong in ("c[4]", "1.c[0]", "c3", "2.h[0]", "g[0]"):
        with pytest.raises(ValueError, match=r"h\[0\.\.3\], c\[0\.\.3\], in layers 1\.\.1"):
            unit_of(wrong, sizes)


def test_colours_of_a_terminal_say_how_much_and_which_way() -> None:
    found = coloured(["a", "b", "\n", "c\x1b"], np.array([1.0, -0.5, 1.0, 0.0]))
    assert found.plain == "ab\nc\ufffd"
    grounds = [str(span.style) for span in found.spans if span.style]
    assert grounds == ["#ffffff on rgb(43,108,184)", "#ffffff on rgb(110,52,34)"]
    np.testing.assert_allclose(scaled(np.array([-2.0, 1.0] * 300)), [-1.0, 0.5] * 300)
    assert len(scaled(np.zeros(0))) == 0


def test_a_unit_that_ran_away_tracks_nothing() -> None:
    wanted = np.tile([0.0, 1.0], 100)
    values = np.stack([wanted, np.where(np.arange(200) == 7, np.inf, wanted)], axis=1)
    assert correlations(values, wanted).tolist() == pytest.approx([1.0, 0.0])
