"""Cases of known error added up: calibration by acceleration and contrast, and the reliability curve.

The person is the unit: every figure is a mean over persons, its error the standard error of that mean. One person's
ratio is that of the sums over all of the person's scans in the row.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recon.benchmark.uncertainty import RegionError, UncertaintyCase
from recon.benchmark.uncertainty_options import FEWEST_CASES
from recon.errors import ReconError
from recon.prior.variance_factors import VarianceFactors, fit_variance_factors

BINS = 10
PLACES: dict[str, Callable[[UncertaintyCase], NDArray[np.bool_]]] = {
    "all": lambda case: np.ones(case.std.shape, bool),
    "edges": lambda case: case.edge,
    "elsewhere": lambda case: ~case.edge & ~case.lesion,
    "lesions": lambda case: case.lesion,
}


def calibration_rows(cases: Sequence[UncertaintyCase]) -> list[dict[str, Any]]:
    """One row for each acceleration with every contrast and kind of anatomy, and for all of an acceleration."""
    rows = []
    for rate in sorted({case.acceleration for case in cases}):
        at_rate = [case for case in cases if case.acceleration == rate]
        rows.append({"acceleration": rate, "group": "all", **_row(at_rate)})
        keys: list[Callable[[UncertaintyCase], str]] = [
            lambda case: case.contrast,
            lambda case: case.origin.split(" (")[0],
        ]
        for key in keys:
            for name in sorted({key(case) for case in at_rate}):
                rows.append(
                    {"acceleration": rate, "group": name, **_row([case for case in at_rate if key(case) == name])}
                )
    return rows


def fitted_factors(cases: Sequence[UncertaintyCase]) -> VarianceFactors:
    """The variance factors of a prior by which these cases' ratios would be one on average.

    Raises ReconError when the method has no amplification, or all cases have about the same."""
    known = [
        (case.amplification, case.denoising_ratio, case.ratio * case.spread**2)
        for case in cases
        if case.amplification is not None and case.spread is not None and case.denoising_ratio is not None
    ]
    if len(known) < FEWEST_CASES or np.ptp(np.log([amplification for amplification, _, _ in known])) < 0.1:
        raise ReconError("four cases or more are needed, of different accelerations, by method 'posterior'")
    return fit_variance_factors(*zip(*known, strict=True))


def _row(cases: Sequence[UncertaintyCase]) -> dict[str, Any]:
    """Figures over persons; see the module's docstring."""
    persons = [[case for case in cases if case.person == name] for name in sorted({case.person for case in cases})]
    figures: dict[str, Any] = {"persons": len(persons), "scans": len({case.scan for case in cases})}
    figures |= _mean("ratio", [_ratio(own) for own in persons])
    figures |= _mean("coverage", [float(np.concatenate([case.covered for case in own]).mean()) for own in persons])
    for name, read in _REGIONS.items():
        found = [[region for case in own for region in read(case)] for own in persons]
        found = [regions for regions in found if regions]
        figures |= _mean(f"{name}_coverage", [float(np.mean([one.covered for one in own])) for own in found])
        squares = [(sum(one.error**2 for one in own), sum(one.std**2 for one in own)) for own in found]
        figures |= _mean(f"{name}_ratio", [error / expected for error, expected in squares])
        figures[f"{name}_count"] = sum(map(len, found))
    figures["relative_std_error"] = float(np.median([case.relative_std_error for case in cases]))
    return figures


_REGIONS: dict[str, Callable[[UncertaintyCase], tuple[RegionError, ...]]] = {
    "region": lambda case: case.regions,
    "lesion": lambda case: case.lesions,
}


def _ratio(cases: Sequence[UncertaintyCase]) -> float:
    errors = sum(float((case.error.astype(float) ** 2).sum()) for case in cases)
    return errors / sum(float((case.std.astype(float) ** 2).sum()) for case in cases)


def _mean(name: str, values: Sequence[float]) -> dict[str, float | None]:
    """Mean and standard error; None where there is nothing, or too little to tell."""
    if not values:
        return {name: None, f"{name}_error": None}
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else None
    return {name: float(np.mean(values)), f"{name}_error": error}


def reliability(cases: Sequence[UncertaintyCase]) -> list[dict[str, Any]]:
    """Root-mean-square error by predicted standard deviation, in ten groups of equally many pixels, for every
    acceleration and place (``PLACES``); both in units of the truth's 99th percentile."""
    rows = []
    for rate in sorted({case.acceleration for case in cases}):
        for place, where in PLACES.items():
            chosen = [(case, where(case)) for case in cases if case.acceleration == rate]
            std = np.concatenate([case.std[inside] for case, inside in chosen]).astype(float)
            error = np.concatenate([case.error[inside] for case, inside in chosen]).astype(float)
            if len(std) < 10 * BINS:
                continue
            order = np.argsort(std, kind="stable")
            for number, part in enumerate(np.array_split(order, BINS)):
                rows.append(
                    {
                        "acceleration": rate,
                        "place": place,
                        "tenth": number + 1,
                        "predicted": float(np.sqrt((std[part] ** 2).mean())),
                        "error": float(np.sqrt((error[part] ** 2).mean())),
                    }
                )
    return rows
