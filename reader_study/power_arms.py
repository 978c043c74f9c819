"""Power of a planned study of three and more arms: the planned family of tests run on simulated studies.

Scores are drawn as in ``power``, with an arm x case and an arm x reader deviation for every arm; fixed readers have one
taste for new arms. Each new arm is compared with the reference by the primary test, and the family decides.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from reader_study.arrays import Booleans, Floats
from reader_study.power import STUDIES_AT_ONCE, analysed, batches, check_subsets, planned_tests
from reader_study.power_areas import AreaSimulation
from reader_study.power_options import AreaAssumptions, Assumptions
from reader_study.power_scores import Design
from reader_study.protocol import Protocol
from reader_study.statistics.simultaneous import adjusted
from recon.errors import ReconError
from recon.progress import Report, silent


@dataclass(frozen=True)
class SimulatedFamily:
    """Shares of simulated studies with true differences ``effects`` (new - reference, in the protocol's order).

    ``claimed``: of each arm; ``any_claimed`` and ``all_claimed`` of them together. ``false_claim``: with a claim for an
    arm that is worse by the margin or more, the familywise type I error.
    """

    cases: int
    readers: int
    effects: tuple[float, ...]
    claimed: tuple[float, ...]
    any_claimed: float
    all_claimed: float
    false_claim: float
    monte_carlo_error: float  # of a share of one half at most
    replicates: int


def scenarios(protocol: Protocol, effects: Sequence[float]) -> list[tuple[float, ...]]:
    """What is simulated: all new arms worse by the margin, each alone, and every arm at its of the ``effects``."""
    null = -protocol.primary.margin
    count = len(protocol.compared)
    alone = [tuple(null if arm == one else effects[arm] for arm in range(count)) for one in range(count)]
    return list(dict.fromkeys([(null,) * count, *alone, tuple(effects)]))


def simulate_family(
    protocol: Protocol,
    design: Design,
    assumptions: tuple[Assumptions, AreaAssumptions],
    effects: Sequence[float],
    replicates: int,
    generator: np.random.Generator,
    report: Report = silent,
) -> SimulatedFamily:
    """Simulate ``replicates`` studies with these true differences. Raises ReconError as ``power.simulate`` does."""
    family, names = protocol.comparisons, protocol.compared
    if family is None or len(effects) != len(names):
        raise ReconError(f"name one true difference for each new arm ({', '.join(names)})")
    check_subsets(design)
    if design.cases < 2 or design.readers < (1 if design.fixed_readers else 2):
        raise ReconError("a simulated study needs at least two cases, and two readers where readers are random")
    order = [names.index(name) for name in family.order]
    if protocol.item(protocol.primary.item).confidence:
        study = AreaSimulation(protocol, design, *assumptions, effects)
        claims = _area_claims(study, order, replicates, generator, report)
    else:
        claims = _score_claims(design, assumptions[0], effects, order, replicates, generator, report)
    worse = np.array([effect <= -design.margin for effect in effects])
    false = claims[:, worse].any(axis=1)
    shares = np.r_[claims.mean(axis=0), claims.any(axis=1).mean(), claims.all(axis=1).mean(), false.mean()]
    spread = max(float((shares * (1 - shares)).max()), 1 / replicates)
    each = tuple(float(share) for share in shares[: len(names)])
    of_any, of_all, wrong = (float(share) for share in shares[len(names) :])
    return SimulatedFamily(
        design.cases,
        design.readers,
        tuple(effects),
        each,
        any_claimed=of_any,
        all_claimed=of_all,
        false_claim=wrong,
        monte_carlo_error=float(np.sqrt(spread / replicates)),
        replicates=replicates,
    )


def _score_claims(
    design: Design,
    assumptions: Assumptions,
    effects: Sequence[float],
    order: Sequence[int],
    replicates: int,
    generator: np.random.Generator,
    report: Report,
) -> Booleans:
    draw, latent = analysed(design, assumptions, effects)
    counts = batches(replicates, STUDIES_AT_ONCE, report)
    drawn = (draw(design, assumptions, latent, count, generator) for count in counts)
    return np.concatenate([family_claims(design, scores, order) for scores in drawn])


def _area_claims(
    study: AreaSimulation, order: Sequence[int], replicates: int, generator: np.random.Generator, report: Report
) -> Booleans:
    counts = batches(replicates, study.studies_at_once, report)
    drawn = (study.ratings(count, generator) for count in counts)
    return np.concatenate([_claims(study.design, study.tests(ratings), order) for ratings in drawn])


def family_claims(design: Design, scores: Floats, order: Sequence[int]) -> Booleans:
    """Claims `[study, new arm]` of the planned family from scores `[study, arm, reader, case]`."""
    pair = replace(design, arms=2)
    return _claims(design, [planned_tests(pair, scores[:, [0, arm]])[:3] for arm in range(1, scores.shape[1])], order)


def _claims(design: Design, tests: Sequence[tuple[Floats, Floats, Floats]], order: Sequence[int]) -> Booleans:
    """From (estimate, standard error, degrees of freedom) `[study]` of each new arm."""
    p_values = []
    for estimate, error, df in tests:
        with np.errstate(divide="ignore", invalid="ignore"):
            t = (estimate + design.margin) / error
        p_values.append(stats.t.sf(np.nan_to_num(t, nan=0.0), df))
    return np.asarray(adjusted(np.stack(p_values, axis=1), order) < design.alpha)
