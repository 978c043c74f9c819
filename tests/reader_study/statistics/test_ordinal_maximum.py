"""The mixed ordinal model against an independent fit: plain Gauss-Hermite quadrature with 60 nodes a random effect."""

from itertools import product

import numpy as np
import pytest
from scipy import optimize

from reader_study.power_options import Assumptions
from reader_study.power_scores import Design, draw_scores, latent_means
from reader_study.statistics.ordinal import cumulative_link_mixed
from reader_study.wording import interval
from recon.errors import ReconError

torch = pytest.importorskip("torch")
CASES, READERS = 20, 2
DESIGN = Design(READERS, CASES, True, 0.0, 0.025, (1, 5))


def studies(count, seed, effect=0.2, case_arm=0.6, design=DESIGN):
    assumptions = Assumptions(reader_arm=0.0, case_arm=case_arm)
    means = latent_means(design, assumptions, effect)
    return draw_scores(design, assumptions, means, count, np.random.default_rng(seed))


def rows(scores):
    """Scores, design, cluster and slope of one study `[arm, reader, case]`."""
    arm, reader, case = (axis.ravel() for axis in np.indices(scores.shape))
    others = [(reader == index).astype(float) for index in range(1, scores.shape[1])]
    return scores.ravel(), np.column_stack([arm.astype(float), *others]), case, arm - 0.5


def fitted(scores, with_slope):
    values, design, case, slope = rows(scores)
    names = ("arm", *(f"reader {index}" for index in range(2, scores.shape[1] + 1)))
    return cumulative_link_mixed(values, design, names, case, slope if with_slope else None)


class Independent:
    """The same likelihood written the plain way: no adaptation, no shared code, automatic differentiation."""

    def __init__(self, scores, with_slope, nodes=60):
        values, design, case, slope = rows(scores)
        _, category = np.unique(values, return_inverse=True)
        self.cuts = category.max()
        # What one case is asked and answers: the same for many cases, so its chance is computed once.
        alike, which = np.unique(np.column_stack([category, design, slope]), axis=0, return_inverse=True)
        counts = np.zeros((CASES, len(alike)))
        np.add.at(counts, (case, which.ravel()), 1)
        self.category, self.counts = torch.as_tensor(alike[:, 0].astype(int)), torch.as_tensor(counts)
        self.design, slopes = torch.as_tensor(alike[:, 1:-1]), torch.as_tensor(alike[:, -1])
        self.loadings = (
            [torch.ones(len(alike), dtype=torch.float64), slopes] if with_slope else [torch.ones_like(slopes)]
        )
        self.use(*np.polynomial.hermite_e.hermegauss(nodes))

    def use(self, points, weights):
        """Integrate over these points of each random effect."""
        count = len(self.loadings)
        self.points = torch.as_tensor(np.array(list(product(points, repeat=count))))
        chances = np.array(list(product(weights / weights.sum(), repeat=count))).prod(axis=1)
        self.log_weights = torch.as_tensor(np.log(np.maximum(chances, 1e-300)))

    def judged(self, parameters, step=0.1):
        """The value from a grid so fine that a finer one changes nothing."""
        line = np.arange(-8, 8 + 1e-9, step)
        self.use(line, np.exp(-(line**2) / 2))
        return self(parameters)

    def __call__(self, parameters):
        return self.with_gradient(parameters)[0]

    def with_gradient(self, parameters):
        given = torch.tensor(parameters, dtype=torch.float64, requires_grad=True)
        effects, ends = self.design.shape[1], torch.tensor([np.inf], dtype=torch.float64)
        beta, first = given[:effects], given[effects : effects + 1]
        steps = torch.exp(given[effects + 1 : effects + self.cuts])
        edges = torch.cat([-ends, first, first + torch.cumsum(steps, 0), ends])
        random = sum(
            torch.outer(size * loading, self.points[:, k])
            for k, (size, loading) in enumerate(zip(given[effects + self.cuts :], self.loadings, strict=True))
        )
        linear = (self.design @ beta)[:, None] + random
        upper, lower = edges[self.category + 1][:, None], edges[self.category][:, None]
        chance = torch.sigmoid(upper - linear) - torch.sigmoid(lower - linear)
        by_case = self.counts @ torch.log(torch.clamp(chance, min=1e-300)) + self.log_weights
        value = -torch.logsumexp(by_case, dim=1).sum()
        value.backward()
        return value.item(), given.grad.numpy()

    def maximum(self, starts):
        """The parameters that it takes for the best."""
        options = {"ftol": 1e-13, "gtol": 1e-6}
        found = [
            optimize.minimize(self.with_gradient, start, jac=True, method="L-BFGS-B", options=options)
            for start in starts
        ]
        return min(found, key=lambda result: result.fun).x


def parameters_of(fit):
    steps = np.log(np.diff(fit.thresholds))
    return np.r_[fit.coefficients, fit.thresholds[:1], steps, fit.deviations]


def cold(fit):
    return np.r_[np.zeros(fit.coefficients.size), -2.0, np.zeros(fit.thresholds.size - 1), 1.0, 1.0]


def check_maximum(count, seed, with_slope):
    """No fit is below the independent maximum, from our solution or from a cold start; those without one say so."""
    printed = 0
    for scores in studies(count, seed):
        try:
            fit = fitted(scores, with_slope)
        except ReconError:
            continue
        printed += 1
        independent = Independent(scores, with_slope)
        last = None if with_slope else -1
        best = independent.maximum([parameters_of(fit), cold(fit)[:last]])
        # Sixty plain nodes find the place, but are off by .03 where deviations are large, and 250 by .0004.
        assert fit.summit.log_likelihood > -independent.judged(best) - 1e-3
        assert fit.summit.log_likelihood == pytest.approx(-independent.judged(parameters_of(fit)), abs=1e-3)
        assert np.isfinite(fit.standard_errors).all()
    return printed


def test_mixed_model_reaches_the_maximum():
    assert check_maximum(8, 11, with_slope=False) == 8


def test_mixed_model_with_a_slope_agrees_with_sixty_nodes():
    for scores in studies(4, 12):
        fit = fitted(scores, True)
        independent, ours = Independent(scores, True), parameters_of(fit)
        value = -independent(ours)
        assert fit.summit.log_likelihood == pytest.approx(value, abs=1e-3)
        for step in np.eye(ours.size) * 0.02:  # downhill wherever one goes
            assert -independent(ours + step) < value + 1e-6
            assert -independent(ours - step) < value + 1e-6


def test_likelihood_where_gauss_hermite_fails():
    """The 67th study of the slow test, deviations of 7 in log odds: the fine grid judges, and has converged."""
    scores = studies(200, 13)[66]
    fit = fitted(scores, True)
    assert fit.deviations.min() > 6
    ours, independent = parameters_of(fit), Independent(scores, True)
    assert abs(independent(ours) + fit.summit.log_likelihood) > 0.02
    judged = independent.judged(ours)
    assert judged == pytest.approx(independent.judged(ours, step=0.05), abs=1e-8)
    assert fit.summit.log_likelihood == pytest.approx(-judged, abs=5e-4)


def test_separated_scores_have_no_odds_ratio():
    scores = np.ones((2, 2, 12))
    scores[1] = 3
    scores[:, 0, ::2] += 1
    try:
        fit = fitted(scores, True)
    except ReconError:
        return
    assert abs(fit.coefficients[0]) > 15  # what the analysis refuses to print


def test_an_interval_that_the_scores_leave_open_has_no_end():
    """Far out the deviations grow with the odds ratio, and the likelihood falls no further."""
    few = Design(READERS, 6, True, 0.0, 0.025, (1, 5))
    found = fitted(studies(12, 14, effect=0.0, design=few)[5], True).effect("arm")
    assert found["high"] == np.inf
    assert 0 < found["low"] < 1
    assert interval(found["low"], found["high"]).endswith("to ∞")


@pytest.mark.parametrize(
    ("effect", "seed", "number", "log_odds_ratio"),
    [(0.0, 14, 4, 5.8), (0.2, 21, 6, 0.0)],
    ids=["far out, which was said to have no end", "off a deviation of 0, which was taken for the maximum"],
)
def test_the_profile_is_the_independent_one(effect, seed, number, log_odds_ratio):
    scores = studies(number + 1, seed, effect=effect)[number]
    fit = fitted(scores, True)
    independent, others = Independent(scores, True), np.maximum(cold(fit)[1:], 0.5)
    line = np.arange(-6, 6.01, 0.25)
    independent.use(line, np.exp(-(line**2) / 2))

    def value(moved):
        found, gradient = independent.with_gradient(np.r_[log_odds_ratio, moved])
        return found, gradient[1:]

    best = min(
        optimize.minimize(value, start, jac=True, method="BFGS").fun for start in (others, parameters_of(fit)[1:])
    )
    root = np.sqrt(2 * (best + fit.summit.log_likelihood))
    assert abs(fit.summit.signed_root(0, log_odds_ratio)) == pytest.approx(root, abs=5e-3)


@pytest.mark.slow
@pytest.mark.parametrize("with_slope", [False, True])
def test_mixed_model_reaches_the_maximum_in_200_studies(with_slope):
    assert check_maximum(200, 13, with_slope) >= 190


@pytest.mark.slow
@pytest.mark.parametrize(("readers", "cases"), [(4, 30), (2, 60)])
def test_size_with_heterogeneous_arms(readers, cases):
    """SD of arm by case .6, no effect: 4 to 6 % of 2000 studies at 5 %."""
    design = Design(readers, cases, True, 0.0, 0.025, (1, 5))
    found = []
    for scores in studies(2000, 14, effect=0.0, design=design):
        found.append(fitted(scores, True).p_value("arm") < 0.05)
    size = float(np.mean(found))
    print(f"{readers} readers, {cases} cases: size {size:.4f}")
    assert 0.04 <= size <= 0.06
