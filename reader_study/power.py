"""Power of a planned reader study: the planned analysis run on thousands of simulated studies, before anyone reads.

Scores are drawn by ``power_scores``; areas under a curve are simulated by ``power_areas``. At the effect -margin the
share of claims is the type I error, elsewhere the power.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from reader_study.arrays import Booleans, Floats
from reader_study.power_adjudication import adjudicated_means, adjudicated_scores
from reader_study.power_options import Assumptions
from reader_study.power_scores import Design, draw_scores, latent_means
from reader_study.protocol import Protocol
from reader_study.statistics.non_inferiority import over_readers
from reader_study.statistics.obuchowski_rockette_power import noncentrality
from recon.errors import ReconError
from recon.progress import Report, silent

STUDIES_AT_ONCE = 500


@dataclass(frozen=True)
class Simulated:
    """Share of simulated studies that make the claim, with its Monte Carlo standard error.

    ``analytic`` is the same probability from the noncentral t (fixed) or Obuchowski-Rockette F (random readers) with
    the variance components met in the simulation; ``random_readers`` the Obuchowski-Rockette power whatever is
    planned; ``pooled_rows`` what a refused analysis of pooled reader x case rows would have claimed.
    """

    cases: int
    readers: int
    effect: float
    claimed: float
    monte_carlo_error: float
    analytic: float
    random_readers: float | None
    pooled_rows: float
    replicates: int


def design_of(protocol: Protocol, cases: int | None = None) -> Design:
    """The primary analysis of a protocol, optionally with another number of cases. Areas: ``power_areas``."""
    item = protocol.item(protocol.primary.item)
    preference = protocol.mode == "preference"
    rule = protocol.adjudication
    return Design(
        readers=len(protocol.planned_readers),
        cases=len(protocol.case_ids) if cases is None else cases,
        fixed_readers=protocol.primary.readers == "fixed",
        margin=protocol.primary.margin,
        alpha=protocol.primary.alpha,
        scale=(-1, 1) if preference else (item.scale[0], item.scale[-1]),
        preference=preference,
        ties=protocol.viewing.ties,
        arms=len(protocol.arms),
        readers_per_case=protocol.readers_per_case,
        adjudicated=rule.difference if rule is not None and item.id in rule.items else None,
    )


def simulate(
    design: Design,
    assumptions: Assumptions,
    effect: float,
    replicates: int,
    generator: np.random.Generator,
    report: Report = silent,
) -> Simulated:
    """Simulate ``replicates`` studies whose true difference (new - reference) is ``effect`` score points.

    Raises ReconError for a design of fewer than two readers or cases, or an effect that the scale cannot hold.
    """
    check_subsets(design)
    if design.cases < 2 or design.readers < (1 if design.fixed_readers else 2):
        raise ReconError("a simulated study needs at least two cases, and two readers where readers are random")
    draw, means = analysed(design, assumptions, [effect])
    claimed = pooled = 0
    gathered: list[Floats] = []
    for count in batches(replicates, STUDIES_AT_ONCE, report):
        scores = draw(design, assumptions, means, count, generator)
        claims, pieces = planned_claims(design, scores)
        claimed += int(claims.sum())
        pooled += int(_pooled_test(design, scores).sum())
        gathered.append(pieces)
    share = claimed / replicates
    analytic, random_readers = _analytic(design, effect, np.concatenate(gathered, axis=1).mean(axis=1))
    return Simulated(
        design.cases,
        design.readers,
        effect,
        share,
        monte_carlo_error(share, replicates),
        analytic,
        random_readers if design.adjudicated is None else None,  # a verdict of these readers, no sample of readers
        pooled / replicates,
        replicates,
    )


def batches(replicates: int, at_once: int, report: Report) -> Iterator[int]:
    """How many studies to simulate in turn, until there are ``replicates``."""
    for done in range(0, replicates, at_once):
        report("simulated studies", done / replicates)
        yield min(at_once, replicates - done)


def monte_carlo_error(share: float, replicates: int) -> float:
    """Standard error of a simulated share."""
    return float(np.sqrt(max(share * (1 - share), 1 / replicates) / replicates))


def analysed(
    design: Design, assumptions: Assumptions, effects: Sequence[float]
) -> tuple[Callable[..., Floats], tuple[float, ...]]:
    """(what draws the scores that are analysed, latent means of the reference and of new arms with these effects)."""
    if design.adjudicated is not None:
        return adjudicated_scores, adjudicated_means(design, assumptions, effects)
    means = [latent_means(design, assumptions, effect) for effect in effects]
    return draw_scores, (means[0][0], *(new for _, new in means))


def check_subsets(design: Design) -> None:
    """Raises ReconError where so few cases leave a reader with fewer than two of them."""
    size = design.readers_per_case
    if size is not None and design.cases * size // design.readers < 2:
        raise ReconError(f"{design.cases} cases by {size} of {design.readers} readers leave a reader fewer than two")


def planned_claims(design: Design, scores: Floats) -> tuple[Booleans, Floats]:
    """(claims `[study]`, pieces of ``planned_tests``)."""
    estimate, error, df, pieces = planned_tests(design, scores)
    lower = estimate - stats.t.ppf(1 - design.alpha, df) * error
    return lower > -design.margin, pieces


def planned_tests(design: Design, scores: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """(estimate, standard error, degrees of freedom `[study]`, pieces `[4, study]`) of scores of two arms.

    The tests are those of ``non_inferiority.compare_by_case_means`` and ``obuchowski_rockette.components_of_pairs``.
    The pieces: mean square arm x reader, error of one arm-reader, shared, variance.
    """
    found = over_readers(scores[:, 1] - scores[:, 0])
    square, own, shared = pieces(found.means, found.errors)
    if design.fixed_readers:
        error, df = np.sqrt(found.variance), found.effective - 1
    else:
        error, df = random_error(square, shared, design.readers, design.cases - 1)
    return found.estimate, error, df, np.stack([square, own, shared, found.variance])


def pieces(means: Floats, errors: Floats) -> tuple[Floats, Floats, Floats]:
    """MS(TR), Var - Cov1 and Cov2 - Cov3 of each study, from its readers' differences of the arms `[study, reader]`.

    ``errors`` `[study, reader, case]` is the part of each case in their errors. With two arms the covariances of the
    differences are twice these: cov(d_i, d_j) = 2 (Cov2 - Cov3) for two readers and 2 (Var - Cov1) for one.
    """
    readers = means.shape[1]
    own = (errors**2).sum(axis=(1, 2)) / readers
    if readers == 1:
        return np.zeros_like(own), own / 2, np.zeros_like(own)
    together = (errors.sum(axis=1) ** 2).sum(axis=1)
    return means.var(axis=1, ddof=1) / 2, own / 2, (together / readers - own) / (readers - 1) / 2


def random_error(square: Floats, shared: Floats, readers: int, covariance_df: Floats | float) -> tuple[Floats, Floats]:
    """(standard error, degrees of freedom) of ``obuchowski_rockette.difference`` from MS(TR), Cov2 - Cov3 `[study]`."""
    of_cases = readers * np.maximum(shared, 0.0)
    denominator = square + of_cases
    spread = square**2 / (readers - 1) + of_cases**2 / covariance_df
    df = np.divide(denominator**2, spread, out=np.full(np.shape(square), 1e9), where=spread > 0)
    return np.sqrt(2 * denominator / readers), df


def _pooled_test(design: Design, scores: Floats) -> Booleans:
    """What pooling reader x case rows would claim. For the warning in the plan only; no analysis offers it."""
    rows = (scores[:, 1] - scores[:, 0]).reshape(scores.shape[0], -1)
    rows = rows[:, np.isfinite(rows[0])]  # one draw of the subsets for all of these studies
    error = rows.std(axis=1, ddof=1) / np.sqrt(rows.shape[1])
    return np.asarray(rows.mean(axis=1) - stats.t.ppf(1 - design.alpha, rows.shape[1] - 1) * error > -design.margin)


def _analytic(design: Design, effect: float, pieces: Floats) -> tuple[float, float | None]:
    """(power of the planned test, Obuchowski-Rockette power or None for one reader) at the mean variance components."""
    square, own, shared, variance = (float(piece) for piece in pieces)
    distance = effect + design.margin
    if variance <= 0:
        return float(distance > 0), None
    critical = stats.t.ppf(1 - design.alpha, design.cases - 1)
    fixed = float(stats.nct.sf(critical, design.cases - 1, distance / np.sqrt(variance)))
    if design.readers < 2:
        return fixed, None
    away, df = noncentrality(square, own, shared, scale=1.0, readers=design.readers, effect=distance)
    # Signed and one-sided: the usual noncentral F would count claims in the wrong direction.
    random = float(stats.nct.sf(stats.t.ppf(1 - design.alpha, df), df, np.copysign(np.sqrt(away), distance)))
    return (fixed if design.fixed_readers else random), random
