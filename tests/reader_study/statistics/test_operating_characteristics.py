"""Every test and interval of the report under its null and an alternative: size, power and coverage in one table.

    pytest -m slow -n 0 -s tests/reader_study/statistics/test_operating_characteristics.py

Likert scores 1 to 5 from the model of ``recon reader-study power``; 2 readers, 60 cases unless said otherwise. The
table stands in docs/reader-study.md. ``PARTS_OF`` says which part simulates which statistic of the report.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pytest
from statsmodels.stats.contingency_tables import mcnemar

from reader_study.analyses.table import STATISTICS
from reader_study.power_adjudication import adjudicated_means, adjudicated_scores
from reader_study.power_options import Assumptions
from reader_study.power_scores import Design, draw_scores, latent_means
from reader_study.statistics import obuchowski_rockette, roc
from reader_study.statistics.agreement import cohen, cross_table
from reader_study.statistics.blinding_index import blinding_index, james_index
from reader_study.statistics.drift import drift
from reader_study.statistics.interchangeability import interchangeability
from reader_study.statistics.intraclass import intraclass
from reader_study.statistics.missing import sensitivity
from reader_study.statistics.non_inferiority import case_differences, compare_by_case_means
from reader_study.statistics.nonparametric import signed_rank
from reader_study.statistics.ordinal import cumulative_link_mixed
from reader_study.statistics.preference import preference, tango_interval
from reader_study.statistics.simultaneous import decide
from recon.errors import ReconError

MARGIN = 0.25
ASSUMED = Assumptions()
DESIGN = Design(2, 60, True, MARGIN, 0.025, (1, 5))
RANDOM = Design(4, 60, False, MARGIN, 0.025, (1, 5))
TWO_SIDED, ONE_SIDED, EXACT = (0.04, 0.06), (0.018, 0.033), (0.0, 0.055)  # sizes that are as they should be


@dataclass(frozen=True)
class Row:
    """A line of the table; ``sizes`` and ``covers`` are what is allowed. None: there is no such test or interval."""

    name: str
    nominal: float | None
    size: float | None = None
    power: float | None = None
    coverage: float | None = None
    sizes: tuple[float, float] = TWO_SIDED
    covers: tuple[float, float] = (0.93, 0.97)

    @property
    def sound(self) -> bool:
        within = ((self.size, self.sizes), (self.coverage, self.covers))
        return all(value is None or low <= value <= high for value, (low, high) in within)

    def __str__(self) -> str:
        cells = ("–" if value is None else f"{value:.3f}" for value in (self.size, self.power, self.coverage))
        return f"| {self.name} | {'–' if self.nominal is None else self.nominal} | {' | '.join(cells)} |"


def studies(count, seed, effect=0.0, design=DESIGN, assumed=ASSUMED):
    means = latent_means(design, assumed, effect)
    means = (means[0], *[means[1]] * (design.arms - 1))
    return draw_scores(design, assumed, means, count, np.random.default_rng(seed))


def drawn(count, seed, effect, design):
    """Scores as they are analysed, of subsets of the cases or adjudicated."""
    generator = np.random.default_rng(seed)
    if design.adjudicated is not None:
        means = adjudicated_means(design, ASSUMED, [effect])
        return adjudicated_scores(design, ASSUMED, means, count, generator)
    return studies(count, seed, effect, design)


def share(values):
    return float(np.mean(list(values)))


def with_holes(scores, generator):
    """One reader loses two thirds of the second arm, every reading is lost with a chance of 3 %."""
    scores = scores.copy()
    scores[1, 1, generator.permutation(scores.shape[2])[: scores.shape[2] * 2 // 3]] = np.nan
    scores[generator.random(scores.shape) < 0.03] = np.nan
    return scores


def claims(name, worse, equal, compare, sizes=ONE_SIDED):
    """A test against the margin, under studies that are worse by it, and under studies without a difference."""
    bad, good = ([compare(study) for study in of] for of in (worse, equal))
    inside = share(test.low <= 0 <= test.high for test in good)
    return Row(name, 0.025, share(t.claimed for t in bad), share(t.claimed for t in good), inside, sizes)


def means_of_cases(generator) -> Iterator[Row]:
    worse, equal, better = (studies(2000, seed, effect) for seed, effect in ((1, -MARGIN), (2, 0.0), (3, 0.2)))
    yield claims(
        "paired t on case means, non-inferiority", worse, equal, lambda one: compare_by_case_means(one, MARGIN)
    )
    cut = [[with_holes(one, generator) for one in of] for of in (worse, equal)]
    yield claims("the same, readings missing", *cut, lambda one: compare_by_case_means(one, MARGIN))

    for name, design in (
        ("the same, 4 readers, 2 to a case", Design(4, 60, True, MARGIN, 0.025, (1, 5), readers_per_case=2)),
        ("the same, scores adjudicated", Design(2, 60, True, MARGIN, 0.025, (1, 5), adjudicated=2)),
    ):
        read = [drawn(2000, seed, effect, design) for seed, effect in ((21, -MARGIN), (22, 0.0))]
        yield claims(name, *read, lambda one: compare_by_case_means(one, MARGIN))
    votes = Design(2, 60, True, 0.2, 0.025, (-1, 1), preference=True)
    read = [studies(2000, seed, effect, votes) for seed, effect in ((23, -0.2), (24, 0.0))]
    yield claims("the same, net preference", *read, lambda one: compare_by_case_means(one, 0.2))

    def imputed(one):
        return sensitivity(one, np.ones(one.shape[1:], bool), (1, 5), MARGIN, 0.025, generator).imputed.test

    yield claims("paired t, multiple imputation of what is missing", *cut, imputed)
    equal = np.concatenate([equal, studies(2000, 20)])
    ranks, moved = ([signed_rank(case_differences(one), MARGIN).test for one in of] for of in (equal, better))
    inside = share(test.low <= 0 <= test.high for test in ranks)
    tests = (share(test.p_difference < 0.05 for test in of) for of in (ranks, moved))
    yield Row("signed rank; Hodges-Lehmann interval", 0.05, *tests, inside)


def readers_in_general(generator) -> Iterator[Row]:
    worse, equal = (studies(2000, seed, effect, RANDOM) for seed, effect in ((4, -MARGIN), (5, 0.0)))

    def compare(one):
        return obuchowski_rockette.difference(obuchowski_rockette.components_of_pairs(one), MARGIN)

    yield claims("Obuchowski-Rockette, 4 readers, non-inferiority", worse, equal, compare)
    same, other = (studies(2000, seed, effect, replace(RANDOM, arms=3)) for seed, effect in ((6, 0.0), (7, 0.2)))
    tests = (
        share(obuchowski_rockette.equality(obuchowski_rockette.components(one)).p_value < 0.05 for one in of)
        for of in (same, other)
    )
    yield Row("Obuchowski-Rockette, 4 readers, 3 arms are equal", 0.05, *tests)


def families(generator) -> Iterator[Row]:
    design = replace(DESIGN, arms=3)
    worse, equal = (studies(2000, seed, effect, design) for seed, effect in ((8, -MARGIN), (9, 0.0)))
    for name, order in (("Holm", ()), ("a fixed sequence", (0, 1))):
        found = [
            [decide("ab", [compare_by_case_means(one[[0, new]], MARGIN) for new in (1, 2)], order) for one in of]
            for of in (worse, equal)
        ]
        any_claim = [share(any(one.claimed for one in both) for both in of) for of in found]
        together = share(all(one.low <= 0 <= one.high for one in both) for both in found[1])
        yield Row(f"three arms by {name}: any claim; intervals together", 0.025, *any_claim, together, ONE_SIDED)


def ordinal_scores(generator, arm, readers=3, cases=30):
    """One study of the ordinal model itself: four categories, ``arm`` the log odds ratio."""
    case, slope = 1.5 * generator.normal(size=cases), 1.0 * generator.normal(size=cases)
    side = np.array([0.0, 1.0])[:, None, None]
    latent = arm * side + case + (side - 0.5) * slope + np.linspace(-0.4, 0.4, readers)[:, None]
    return np.digitize(latent + generator.logistic(size=(2, readers, cases)), [-1.5, 0.0, 1.5]).astype(float)


def ordinal(generator) -> Iterator[Row]:
    """Of normal scores with an effect of the arm in every case; of the model's own scores, where a ratio is true."""
    strong = replace(ASSUMED, case_arm=0.6, reader_arm=0.0)

    def p_value(scores, log_odds_ratio=0.0):
        arm, reader, case = (axis.ravel() for axis in np.indices(scores.shape))
        columns = [arm, *((reader == index) for index in range(1, scores.shape[1]))]
        names = tuple(str(index) for index in range(len(columns)))
        design = np.column_stack(columns).astype(float)
        try:
            fit = cumulative_link_mixed(scores.ravel(), design, names, case, arm - 0.5)
            return fit.p_value("0", log_odds_ratio)
        except ReconError:
            return 1.0

    design = Design(4, 30, True, MARGIN, 0.025, (1, 5))
    null, other = (
        studies(count, seed, effect, design, strong) for count, seed, effect in ((2000, 10, 0.0), (300, 11, 0.2))
    )
    tests = (share(p_value(one) < 0.05 for one in these) for these in (null, other))
    yield Row("ordinal model, 4 readers, 30 cases", 0.05, *tests)
    null, other = ([ordinal_scores(generator, arm) for _ in range(1000)] for arm in (0.0, 1.0))
    tests = (share(p_value(one) < 0.05 for one in these) for these in (null, other))
    inside = share(p_value(one, 1.0) >= 0.05 for one in other)
    within = (0.035, 0.065)  # 1000 studies tell 5 % to 1.4 points
    yield Row("ordinal model, 3 readers, 30 cases, its own scores; odds ratio", 0.05, *tests, inside, sizes=within)


def reading_order(generator) -> Iterator[Row]:
    def read(slope):
        order = generator.permutation(40).reshape(2, 20) + 1.0
        level = 4 - slope * order / 40 + 0.5 * generator.normal(size=20) + 0.6 * generator.normal(size=(2, 20))
        return drift(np.clip(np.rint(level), 1, 5), order, generator)

    def read_pairs(slope):
        order = generator.permutation(20) + 1.0
        level = 4 - slope * order / 20 + 0.5 * generator.normal(size=20) + 0.6 * generator.normal(size=(2, 20))
        return drift(np.clip(np.rint(level), 1, 5), order, generator)

    for name, one in (("drift, 20 cases", read), ("drift, 20 cases, both arms at once", read_pairs)):
        flat, tired = ([one(slope) for _ in range(count)] for slope, count in ((0.0, 8000), (0.8, 1000)))
        inside = share(test.slope_low <= 0 <= test.slope_high for test in flat)
        tests = (share(test.slope_p < 0.05 for test in of) for of in (flat, tired))
        yield Row(name, 0.05, *tests, inside)
        yield Row(f"{name}, extra of an arm", 0.05, share(t.interaction_p < 0.05 for t in flat))


def guesses(generator) -> Iterator[Row]:
    def draw(correct, wrong, total, count=1000):
        return generator.multinomial(total, (correct, wrong, 1 - correct - wrong), count).tolist()

    for total in (10, 60):
        chance, seen = ([blinding_index(*one) for one in draw(*of, total)] for of in ((0.4, 0.4), (0.8, 0.1)))
        inside = share(one.low <= 0.7 <= one.high for one in seen)
        tests = (share(one.p_one_sided <= 0.05 for one in of) for of in (chance, seen))
        yield Row(f"Bang's index, {total} guesses, exact", 0.05, *tests, inside, EXACT, (0.93, 1.0))
        pairs = zip(draw(0.4, 0.4, total), draw(0.4, 0.4, total), strict=True)
        james = [james_index(first, second, generator) for first, second in pairs]
        truth = (1 + 0.2 + 0.8 * 0.0) / 2
        inside = share(one.low <= truth <= one.high for one in james)
        yield Row(f"James' index, {total} guesses of either arm", None, None, None, inside)


def shares(generator) -> Iterator[Row]:
    even, uneven = (generator.multinomial(60, of, 2000).tolist() for of in ((0.3, 0.3, 0.4), (0.45, 0.2, 0.35)))
    inside = share(low <= 0 <= high for low, high in (tango_interval(b, c, 60) for b, c, _ in even))
    tests = [share(preference(*one).p_sign_test < 0.05 for one in of) for of in (even, uneven)]
    yield Row("preference: exact sign test; Tango's interval", 0.05, *tests, inside, EXACT)
    tables = ([[[20, b], [c, t]] for b, c, t in of] for of in (even, uneven))
    tests = [share(mcnemar(one, exact=True).pvalue < 0.05 for one in of) for of in tables]
    yield Row("flags: exact McNemar test", 0.05, *tests, sizes=EXACT)


def agreement(generator) -> Iterator[Row]:
    many = studies(1, 12, design=replace(DESIGN, cases=100_000))[0]
    of = studies(2000, 13)
    truth = interchangeability(many, np.ones(many.shape[1:], bool), generator, replicates=2).difference
    found = [interchangeability(one, np.ones(one.shape[1:], bool), generator, replicates=1000) for one in of]
    inside = share(one.low <= truth <= one.high for one in found)
    yield Row("interchangeability, bootstrap", None, None, None, inside)

    for cases, count in ((30, 4000), (60, 4000)):
        for name, assumed in (("", ASSUMED), (", cases far apart", replace(ASSUMED, case=0.9, residual=0.2))):

            def kappa(one):
                return cohen(cross_table(*one[0], np.arange(1, 6)), "quadratic")

            truth = kappa(studies(1, 12, 0.0, replace(DESIGN, cases=100_000), assumed)[0]).kappa
            of = studies(count, 14, 0.0, replace(DESIGN, cases=cases), assumed)
            inside = share(one.low <= truth <= one.high for one in map(kappa, of))
            yield Row(f"weighted kappa of two readers, {cases} cases{name}", None, None, None, inside)
    a = ASSUMED
    total = a.case**2 + a.case_arm**2 + a.reader**2 + a.reader_arm**2 + a.reader_case**2 + a.residual**2
    truth = (a.case**2 + a.case_arm**2) / total
    of = draw_scores(replace(RANDOM, readers=5, scale=None), a, (3.5, 3.5), 4000, generator)
    inside = share(one.low <= truth <= one.high for one in (intraclass(scores[0])["ICC(2,1)"] for scores in of))
    yield Row("ICC(2,1), 5 readers, continuous scores", None, None, None, inside)
    # One-way: every case has readers of its own.
    places = generator.normal(size=(2000, 1, 60)) * np.sqrt(0.6) + generator.normal(size=(2000, 2, 60)) * np.sqrt(0.4)
    inside = share(one.low <= 0.6 <= one.high for one in (intraclass(scores)["ICC(1,1)"] for scores in places))
    yield Row("ICC(1,1), other readers for every case, 2 to each", None, None, None, inside)


def confidence(generator, gain, cases=40):
    """Four readers' confidence: the condition moves it by 1.2, in the new arm by ``gain`` more."""
    truth = np.arange(cases) < cases // 2
    arm = np.array([0.0, gain])[:, None, None]
    signal = (1.2 + arm + 0.15 * generator.normal(size=(2, 4, 1))) * truth
    noise = generator.normal(size=cases) + 0.4 * generator.normal(size=(2, 1, cases))
    noise = noise + 0.7 * generator.normal(size=(2, 4, cases))
    return np.clip(np.rint(3 + signal + noise - 0.6), 1, 5)


def areas(generator) -> Iterator[Row]:
    truth = np.arange(40) < 20
    same, other = ([confidence(generator, gain) for _ in range(count)] for gain, count in ((0.0, 4000), (0.6, 1000)))

    def fixed(one):
        return roc.compare_areas(one, truth, 0.0)

    def sampled(one):
        return obuchowski_rockette.difference(roc.components_of_areas(one, truth), 0.0)

    for name, compare in (("these 4 readers", fixed), ("4 readers in general", sampled)):
        found = [[compare(one) for one in of] for of in (same, other)]
        tests = (share(test.p_difference < 0.05 for test in of) for of in found)
        inside = share(test.low <= 0 <= test.high for test in found[0])
        yield Row(f"areas under the ROC curve, {name}, 40 cases", 0.05, *tests, inside)


PARTS = (means_of_cases, readers_in_general, families, ordinal, reading_order, guesses, shares, agreement, areas)
# What of the report is inferential, and which part simulates it; the others show numbers without a test or interval.
PARTS_OF = {
    "roc": areas,
    "adjudication": means_of_cases,
    "subsets": means_of_cases,
    "wilcoxon": means_of_cases,
    "ordinal": ordinal,
    "missing": means_of_cases,
    "higher_scored": shares,
    "interchangeability": agreement,
    "reliability": agreement,
    "drift": reading_order,
    "blinding": guesses,
    "flags": shares,
}
ELSEWHERE = {"localisation"}  # test_reader_power_areas.test_size_and_coverage_of_areas: it needs a protocol
WITHOUT_INFERENCE = {"descriptive", "repeatability", "reading_seconds"}


def test_every_statistic_of_the_report_is_simulated():
    assert {statistic.name for statistic in STATISTICS} == {*PARTS_OF, *ELSEWHERE, *WITHOUT_INFERENCE}
    assert set(PARTS_OF.values()) <= set(PARTS)


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__)
def test_size_and_coverage(part):
    rows = []
    for row in part(np.random.default_rng(1)):
        print(f"\n{row}{'' if row.sound else '   <-- not as it should be'}", end="", flush=True)
        rows.append(row)
    assert [str(row) for row in rows if not row.sound] == []
