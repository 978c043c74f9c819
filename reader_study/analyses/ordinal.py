"""Odds ratio of a better score in the new arm: reader as fixed effect, case and the arm's effect in it as random."""

import numpy as np

from reader_study.analyses.statistic import Line, Readings, Statistic, quality, scored
from reader_study.analysis_result import Analysis
from reader_study.statistics.ordinal import cumulative_link_mixed
from reader_study.wording import interval, number, p_cell
from recon.errors import ReconError

LARGEST_LOG_ODDS = 15  # beyond, the arms' scores are separated and the likelihood has no maximum
LARGEST_ERROR = (
    5  # standard error of the log odds: an interval from a ten-thousandth of the odds ratio to the same above
)


def _compute(readings: Readings) -> dict[str, float]:
    scores = readings.own_compared
    known = np.isfinite(scores).ravel()
    arm, reader, case = (axis.ravel()[known] for axis in np.indices(scores.shape))
    readers = scores.shape[1]
    dummies = [(reader == index).astype(float) for index in range(1, readers)]
    names = ("arm", *(f"reader {index}" for index in range(2, readers + 1)))
    design = np.column_stack([arm.astype(float), *dummies])
    try:
        fit = cumulative_link_mixed(scores.ravel()[known], design, names, case, slope=arm - 0.5)
    except (ReconError, np.linalg.LinAlgError) as error:
        raise ReconError(f"ordinal model not fitted: {error}") from error
    if not abs(fit.coefficients[0]) < LARGEST_LOG_ODDS:
        raise ReconError("ordinal model: the arms' scores are separated completely, an odds ratio cannot be estimated")
    if not fit.standard_errors[0] < LARGEST_ERROR:
        raise ReconError("ordinal model: the scores hardly determine the odds ratio, its interval says nothing")
    return {
        **fit.effect("arm"),
        "case_deviation": float(fit.deviations[0]),
        "arm_by_case_deviation": float(fit.deviations[1]),
        "log_likelihood": fit.summit.log_likelihood,
        "observations": float(known.sum()),
    }


def _line(analysis: Analysis) -> Line | None:
    found = ORDINAL.of(analysis.primary)
    if found is None:
        return None
    return (
        "Ordinal mixed model, odds ratio of a better score (against 1)",
        number(found["odds_ratio"]),
        interval(found["low"], found["high"]),
        f"SD of cases {number(found['case_deviation'])}, of arm by case {number(found['arm_by_case_deviation'])}",
        f"{p_cell(found['p_value'])} (difference)",
    )


ORDINAL = Statistic(
    "ordinal",
    _compute,
    "Ordinal model: cumulative logit link, arm and reader fixed; the case a normal random intercept and the arm's "
    "effect in it a normal random slope; integrated on a grid; likelihood ratio test and profile likelihood interval, "
    "whose end is 0 or infinite where no odds ratio is that unlikely. No odds ratio where the maximum of the "
    "likelihood is not reached.",
    applies=scored,
    line=_line,
    items=quality,
)
