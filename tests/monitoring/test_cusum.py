"""The charts against exactly computed run lengths, and the bootstrapped limit against baselines drawn anew."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm

from recon.monitoring.cusum import Population, calibrated_limit, chart, location_and_scale, run_lengths


def exact_run_length(limit: float, shift: float = 0.0, allowance: float = 0.5, states: int = 400) -> float:
    """Average run length of a one-sided CUSUM of normal figures by the Markov chain of Brook and Evans, Biometrika
    59:539 (1972), its state the middle of a cell of the sum."""
    width = 2 * limit / (2 * states - 1)
    middles = np.arange(states) * width
    edges = middles[None, :] + width / 2 - middles[:, None] + allowance - shift
    upper = norm.cdf(edges)
    lower = np.where(np.arange(states) == 0, 0.0, norm.cdf(edges - width))
    return float(np.linalg.solve(np.eye(states) - (upper - lower), np.ones(states))[0])


def two_sided(limit: float, shift: float = 0.0) -> float:
    return 1 / (1 / exact_run_length(limit, shift) + 1 / exact_run_length(limit, -shift))


def streams(figures: int, length: int, count: int, shift: float = 0.0) -> NDArray[np.float32]:
    """Running maxima of charts of normal figures whose location and scale are known."""
    rows = np.random.default_rng(0).standard_normal((50_000, figures)) + shift
    population = Population(rows, tuple(np.arange(len(rows))[:, None]))
    known = np.zeros((1, figures)), np.ones((1, figures))
    return population.highest_sums(*known, length, np.random.default_rng(1), streams=count)


def test_the_markov_chain_gives_the_published_run_lengths() -> None:
    """Montgomery, Introduction to Statistical Quality Control: k = 1/2, h = 4 gives 168 and 8.38 after one sigma, h = 5
    gives 465 and 10.4."""
    assert two_sided(4.0) == pytest.approx(168, rel=0.01)
    assert two_sided(5.0) == pytest.approx(465, rel=0.01)
    assert exact_run_length(4.0, shift=1.0) == pytest.approx(8.38, rel=0.01)
    assert exact_run_length(5.0, shift=1.0) == pytest.approx(10.4, rel=0.01)


def test_simulated_streams_have_the_exact_run_length() -> None:
    # 1000 waiting times: a standard error of 3 %.
    alone = streams(1, 1000, 1000)
    assert run_lengths(alone, 4.0)[0] == pytest.approx(two_sided(4.0), rel=0.1)
    # Of three independent figures the first alarm counts: the sum of the probability that all are still silent.
    together = ((alone[0] <= 4.0).mean(0) ** 3).sum() + 1
    assert run_lengths(streams(3, 500, 1000), 4.0)[0] == pytest.approx(together, rel=0.1)


def test_a_chart_finds_a_shift_and_says_when_it_began() -> None:
    values = np.zeros((40, 2))
    values[20:, 1] = -2.0  # adds 1.5 a scan from the 21st on
    found = chart(values, limit=5.0)
    assert found.alarms[0] == (23, 1, 1, 20)
    assert found.sums[23, 1, 1] == pytest.approx(6.0)
    assert found.alarms[1] == (27, 1, 1, 24)  # begun again at 0
    assert chart(values[:20], limit=5.0).alarms == ()


def test_location_and_scale_withstand_an_outlier() -> None:
    values = np.random.default_rng(3).standard_normal((400, 1))
    clean = location_and_scale(values)
    values[0] = 1e6
    spoiled = location_and_scale(values)
    assert spoiled[0][0] == pytest.approx(clean[0][0], abs=0.02)
    assert spoiled[1][0] == pytest.approx(clean[1][0], rel=0.03)
    assert clean[1][0] == pytest.approx(1.0, abs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["standard_normal", "skewed"])
def test_the_limit_holds_for_most_baselines_of_finitely_many_scans(kind: str) -> None:
    """The nominal limit takes location and scale for known; of baselines of 40 scans most then alarm too often."""
    stated, held, nominal_held, trials = 60.0, 0, 0, 20

    def draw(generator: np.random.Generator, count: int) -> NDArray[np.float64]:
        shape = (count, 2)
        return generator.standard_normal(shape) if kind == "standard_normal" else generator.gamma(3.0, size=shape)

    for trial in range(trials):
        generator = np.random.default_rng([5, trial])
        values = draw(generator, 40)
        limit = calibrated_limit(values, [str(n) for n in range(40)], stated, 0.9, generator)
        centre, scale = location_and_scale(values)
        truth = Population(draw(generator, 20_000), tuple(np.arange(20_000)[:, None]))
        tops = truth.highest_sums(centre[None], scale[None], 240, generator, streams=100)
        held += run_lengths(tops, limit.value)[0] >= stated
        nominal_held += run_lengths(tops, 3.72)[0] >= stated  # two normal figures of known location and scale: 60 scans
        assert limit.run_length[0] < limit.run_length[1] < limit.run_length[2]
    assert two_sided(3.72) / 2 == pytest.approx(60, rel=0.05)
    assert held / trials >= 0.75  # .9 but for the binomial error of 20 trials
    assert nominal_held / trials < 0.6


def test_scans_of_one_person_raise_the_limit() -> None:
    """Ten scans of a person in a row carry a person's own level with them."""
    generator = np.random.default_rng(0)
    values = np.repeat(generator.standard_normal((20, 1)), 5, axis=0) + 0.2 * generator.standard_normal((100, 1))
    alone = calibrated_limit(values, [str(n) for n in range(100)], 60.0, 0.9, np.random.default_rng(1))
    together = calibrated_limit(values, [str(n // 5) for n in range(100)], 60.0, 0.9, np.random.default_rng(1))
    assert together.value > 1.3 * alone.value


def test_streams_are_drawn_from_the_persons_that_are_watched() -> None:
    """Two scans of each person: only those of the group behind a baseline come, both in a row."""
    values = np.arange(12.0)[:, None]
    population = Population.of(values, [str(number // 2) for number in range(12)])
    groups = np.array([[0, 0, 0, 0, 0, 0], [5, 5, 5, 5, 5, 5]])
    known = np.zeros((2, 1)), np.ones((2, 1))
    tops = population.highest_sums(*known, 6, np.random.default_rng(0), streams=3, watched=groups)
    np.testing.assert_allclose(tops[0], np.broadcast_to([0, 0.5, 0.5, 0.5, 0.5, 0.5], (3, 6)))  # of 0 and 1, less k
    np.testing.assert_allclose(tops[1], np.broadcast_to(np.cumsum([9.5, 10.5] * 3), (3, 6)))


@pytest.mark.slow
def test_the_limit_holds_for_persons_who_are_not_those_of_the_baseline() -> None:
    """40 persons are the baseline, 60 other ones are watched again and again: both are what chance selected."""
    stated, held, trials = 60.0, 0, 30
    for trial in range(trials):
        generator = np.random.default_rng([6, trial])
        values = generator.standard_normal((100, 3))
        limit = calibrated_limit(values[:40], [str(n) for n in range(40)], stated, 0.9, generator)
        centre, scale = location_and_scale(values[:40])
        others = Population(values[40:], tuple(np.arange(60)[:, None]))
        tops = others.highest_sums(centre[None], scale[None], 240, generator, streams=100)
        held += run_lengths(tops, limit.value)[0] >= stated
    assert held / trials >= 0.8  # .9 but for the binomial error of 30 trials
