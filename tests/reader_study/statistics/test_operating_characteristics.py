"""Every test and interval of the report under its null and an alternative: size, power and coverage in one table.

    pytest -m slow -s tests/reader_study/statistics/test_operating_characteristics.py

Likert scores 1 to 5 from the model of ``recon reader-study power``; 2 readers, 60 cases unless said otherwise. 300
studies show the ordinal model's place only; ``test_ordinal_maximum`` judges its size in 2000 of each design.
"""

from dataclasses import replace

import numpy as np
import pytest

from reader_study.power_options import Assumptions
from reader_study.power_scores import Design, draw_scores, latent_means
from reader_study.statistics import obuchowski_rockette
from reader_study.statistics.blinding_index import blinding_index
from reader_study.statistics.drift import drift
from reader_study.statistics.interchangeability import interchangeability
from reader_study.statistics.non_inferiority import case_differences, compare_by_case_means
from reader_study.statistics.nonparametric import signed_rank
from reader_study.statistics.ordinal import cumulative_link_mixed
from reader_study.statistics.preference import tango_interval
from recon.errors import ReconError

MARGIN = 0.25
ASSUMED = Assumptions()


def studies(count, seed, effect=0.0, design=None, assumed=ASSUMED):
    design = design or Design(2, 60, True, MARGIN, 0.025, (1, 5))
    return draw_scores(design, assumed, latent_means(design, assumed, effect), count, np.random.default_rng(seed))


def share(values):
    return float(np.mean(list(values)))


def with_holes(scores, generator):
    """One reader loses two thirds of the second arm, every reading is lost with a chance of 3 %."""
    scores = scores.copy()
    scores[1, 1, generator.permutation(scores.shape[2])[: scores.shape[2] * 2 // 3]] = np.nan
    scores[generator.random(scores.shape) < 0.03] = np.nan
    return scores


def ordinal_p(scores):
    arm, reader, case = (axis.ravel() for axis in np.indices(scores.shape))
    columns = [arm, *((reader == index) for index in range(1, scores.shape[1]))]
    names = tuple(str(index) for index in range(len(columns)))
    try:
        return cumulative_link_mixed(
            scores.ravel(), np.column_stack(columns).astype(float), names, case, arm - 0.5
        ).effect("0")["p_value"]
    except ReconError:
        return 1.0


@pytest.mark.slow
def test_size_and_coverage_of_every_test():
    generator = np.random.default_rng(1)
    rows, wrong = [], []

    def row(name, nominal, size, power, coverage, limits):
        rows.append((name, nominal, size, power, coverage))
        if not limits[0] <= size <= limits[1] or not (coverage is None or 0.93 <= coverage <= 0.99):
            wrong.append(rows[-1])  # exact intervals of few guesses cover more than they say

    null, worse, equal = (studies(2000, seed, effect) for seed, effect in ((1, 0.0), (2, -MARGIN), (3, 0.2)))

    def tests(of, compare):
        return [compare(study, MARGIN) for study in of]

    for name, prepare in (("paired t, non-inferiority", lambda x: x), ("with missing readings", None)):
        change = prepare or (lambda study: with_holes(study, generator))
        bad, good = (tests([change(study) for study in of], compare_by_case_means) for of in (worse, null))
        inside = share(test.low <= 0 <= test.high for test in good)
        claims = (share(test.claimed for test in of) for of in (bad, good))
        row(name, 0.025, *claims, inside, (0.015, 0.036))
    random = Design(4, 60, False, MARGIN, 0.025, (1, 5))
    three, four = (studies(2000, seed, effect, random) for seed, effect in ((4, -MARGIN), (5, 0.0)))
    bad, good = (
        [obuchowski_rockette.difference(obuchowski_rockette.components_of_pairs(study), MARGIN) for study in of]
        for of in (three, four)
    )
    inside = share(test.low <= 0 <= test.high for test in good)
    claims = (share(test.claimed for test in of) for of in (bad, good))
    row("Obuchowski-Rockette, 4 readers", 0.025, *claims, inside, (0.012, 0.04))
    ranks, moved = ([signed_rank(case_differences(study), MARGIN).test for study in of] for of in (null, equal))
    inside = share(test.low <= 0 <= test.high for test in ranks)
    row("signed rank, Hodges-Lehmann", 0.05, *(share(t.p_difference < 0.05 for t in of) for of in (ranks, moved)),
        inside, (0.03, 0.06))  # fmt: skip
    strong = replace(ASSUMED, case_arm=0.6, reader_arm=0.0)
    for readers, cases in ((4, 30), (2, 60)):
        design = Design(readers, cases, True, MARGIN, 0.025, (1, 5))
        ordinals = [studies(300, seed, effect, design, strong) for seed, effect in ((6, 0.0), (7, 0.2))]
        claims = (share(ordinal_p(study) < 0.05 for study in of) for of in ordinals)
        row(f"ordinal, {readers} readers, {cases} cases", 0.05, *claims, None, (0.03, 0.075))

    def read(slope):
        order = generator.permutation(40).reshape(2, 20) + 1.0
        level = 4 - slope * order / 40 + 0.5 * generator.normal(size=20) + 0.6 * generator.normal(size=(2, 20))
        return drift(np.clip(np.rint(level), 1, 5), order, generator)

    flat, tired = ([read(slope) for _ in range(1000)] for slope in (0.0, 0.8))
    inside = share(one.slope_low <= 0 <= one.slope_high for one in flat)
    row("drift, 20 cases", 0.05, *(share(one.slope_p < 0.05 for one in of) for of in (flat, tired)), inside,
        (0.035, 0.065))  # fmt: skip
    row(
        "drift, extra slope of an arm",
        0.05,
        share(one.interaction_p < 0.05 for one in flat),
        None,
        None,
        (0.035, 0.065),
    )

    def guesses(correct, wrong):
        drawn = generator.multinomial(10, (correct, wrong, 1 - correct - wrong), 1000)
        return [blinding_index(*map(int, counts)) for counts in drawn]

    chance, seen = guesses(0.4, 0.4), guesses(0.8, 0.1)
    inside = share(one.low <= 0.7 <= one.high for one in seen)
    row("Bang's index, 10 guesses", 0.05, *(share(one.p_one_sided <= 0.05 for one in of) for of in (chance, seen)),
        inside, (0.0, 0.055))  # fmt: skip
    pairs = generator.multinomial(60, (0.3, 0.3, 0.4), 2000)
    limits = [tango_interval(int(b), int(c), 60) for b, c, _ in pairs]
    inside = share(low <= 0 <= high for low, high in limits)
    row("preference, Tango", 0.05, 1 - inside, None, inside, (0.03, 0.07))
    same = [interchangeability(study, generator, replicates=500) for study in null[:500]]
    many = studies(1, 8, design=Design(2, 100_000, True, MARGIN, 0.025, (1, 5)))[0]
    truth = interchangeability(many, generator, replicates=2).difference
    inside = share(one.low <= truth <= one.high for one in same)
    row("interchangeability, bootstrap", 0.05, 1 - inside, None, inside, (0.025, 0.075))

    def shown(value):
        return "     –" if value is None else f"{value:6.3f}"

    print("\ntest                              nominal   size  power  coverage")
    for name, nominal, *found in rows:
        print(f"{name:<34}{nominal:>7}", *(shown(value) for value in found))
    assert not wrong
