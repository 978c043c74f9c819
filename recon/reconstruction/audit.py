"""The audit of a reconstruction: do the samples explain the data, and should the result be trusted?

For an exact posterior sample x_j, E|y - A x_j|^2 = 2 m sigma^2, whatever the prior: y is as likely under x_j as under
the true image. chi2 is that ratio. The posterior mean leaves less, by the energy of the samples' deviations as seen by
A (the averaging law in kspace), and the mean of M samples (1 - 1/M) of it less; the gain is reported beside what the
law expects.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from recon.posterior.sampler import typical_ratio
from recon.posterior.system import System
from recon.reconstruction.preparing import Prepared
from recon.reconstruction.solving import Solution
from recon.scan import Scan

TRUSTED_CHI2 = (0.8, 1.25)
TRUSTED_INFLATION = 3.0
TRUSTED_DENOISING = 2.0
TRUSTED_SCALE_RATIO = (0.8, 8.0)


@dataclass(frozen=True)
class SliceAudit:
    """What one slice showed. ``chi2`` holds one value a sample; residuals are over 2 m sigma^2."""

    index: int
    chi2: tuple[float, ...]
    mean_chi2: float  # residual of the mean image
    averaged: bool  # the image is the mean of the samples; else the posterior mean by itself
    sample_energy: float | None  # mean |A (x_j - mean)|^2 over 2 m sigma^2, unbiased; None for one sample
    sigma: float  # noise used, in units of the image scale
    noise_inflation: float  # noise used over noise estimated
    denoising_inflation: float  # largest ratio of the scan's own denoising error to the tabulated one, or one
    denoising_ratio: float  # the median of these ratios over the steps, which may be below one
    scale_ratio: float  # 99th percentile of the mean image in units of the scale statistic
    amplification: float | None = None  # variance of the samples over that of the noise
    spread: float | None = None  # by what their deviations were multiplied for the standard deviation


def audit_slices(prepared: Prepared, solution: Solution) -> list[SliceAudit]:
    """The audit of some slices; empty for methods without a prior. Without samples there is no chi2: the residual of a
    mean has no expectation of its own."""
    problem, system, ratios = prepared.problem, prepared.system, solution.denoising_ratios
    if system is None or ratios is None:
        return []
    samples = solution.image.unsqueeze(1)[:, :0] if solution.samples is None else solution.samples
    count = samples.shape[1]
    measured = problem.maps.shape[2] * (problem.kspace[0, 0] != 0).sum()
    expected = 2 * measured * system.sigma**2
    chi2 = expected.new_zeros((len(expected), 0))
    if count:
        chi2 = system.residual(samples) / expected.unsqueeze(-1)
    average = solution.image.unsqueeze(1) if solution.pairs or not count else samples.mean(1, keepdim=True)
    mean_chi2 = system.residual(average)[:, 0] / expected
    energy = _sample_energy(system, samples, chi2, mean_chi2, expected, solution.pairs)
    denoising_ratio = typical_ratio(ratios)
    scale_ratio = solution.image.abs().flatten(1).quantile(0.99, dim=1)
    return [
        SliceAudit(
            index=problem.slices[i],
            chi2=tuple(float(value) for value in chi2[i]),
            mean_chi2=float(mean_chi2[i]),
            averaged=not solution.pairs,
            sample_energy=float(energy[i]) if count > 1 else None,
            sigma=float(system.sigma[i]),
            noise_inflation=float(prepared.noise_inflation[i]),
            denoising_inflation=max(float(ratios[i].max()), 1.0),
            denoising_ratio=float(denoising_ratio[i]),
            scale_ratio=float(scale_ratio[i]),
            amplification=None if solution.amplification is None else float(solution.amplification[i]),
            spread=None if solution.spread is None else float(solution.spread[i]),
        )
        for i in range(len(problem.slices))
    ]


def _sample_energy(
    system: System, samples: Tensor, chi2: Tensor, mean_chi2: Tensor, expected: Tensor, pairs: bool
) -> Tensor:
    """Mean |A (x_j - mean)|^2 over ``expected``, unbiased, ``[slice]``; NaN for one sample.

    By the parallelogram law: of a pair, the mean residual of both less the residual of their mean; of independent
    samples, the same of all, times M / (M - 1)."""
    count = samples.shape[1]
    if count < 2:
        return torch.full_like(mean_chi2, torch.nan)
    if not pairs:
        return (chi2.mean(1) - mean_chi2) / (1 - 1 / count)
    half = count // 2
    first, second = slice(0, half), slice(count - half, count)
    middle = system.residual((samples[:, first] + samples[:, second]) / 2) / expected.unsqueeze(-1)
    return ((chi2[:, first] + chi2[:, second]) / 2 - middle).mean(1)


def overall_audit(audits: Sequence[SliceAudit], warnings: Sequence[str]) -> dict[str, Any]:
    """The audit of a scan as it is stored: figures, slices, and the warnings of the data and of the result."""
    if not audits:
        return {"warnings": list(warnings)}
    figures = summarise(audits)
    return {
        "figures": figures,
        "slices": [asdict(entry) for entry in audits],
        "warnings": [*warnings, *result_warnings(figures)],
    }


def averaging_gain(audit: SliceAudit) -> tuple[float, float]:
    """The fall of the residual by averaging in dB, measured and as the averaging law expects it; NaN for one sample."""
    samples = len(audit.chi2)
    if samples < 2 or audit.sample_energy is None:
        return math.nan, math.nan
    mean = sum(audit.chi2) / samples
    share = 1 - 1 / samples if audit.averaged else 1.0
    expected = max(1.0 - share * audit.sample_energy, 1e-6)
    return 10 * math.log10(mean / max(audit.mean_chi2, 1e-12)), -10 * math.log10(expected)


def summarise(audits: Sequence[SliceAudit]) -> dict[str, float]:
    """Numbers over all slices: medians, and extremes where an extreme is what matters."""
    chi2 = sorted(value for audit in audits for value in audit.chi2)
    gains = [averaging_gain(audit) for audit in audits]
    figures = {
        "mean_chi2": _median([audit.mean_chi2 for audit in audits]),
        "noise_sigma_relative": _median([audit.sigma for audit in audits]),
        "noise_inflation": _median([audit.noise_inflation for audit in audits]),
        "denoising_inflation": _median([audit.denoising_inflation for audit in audits]),
        "scale_ratio": _median([audit.scale_ratio for audit in audits]),
    }
    if chi2:
        figures |= {
            "chi2": chi2[len(chi2) // 2],
            "chi2_expected": 1.0,
            "chi2_lowest": chi2[0],
            "chi2_highest": chi2[-1],
        }
    if all(math.isfinite(gain) for gain, _ in gains):
        figures["averaging_gain_db"] = _median([gain for gain, _ in gains])
        figures["averaging_gain_expected_db"] = _median([expected for _, expected in gains])
    return figures


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


def data_warnings(scan: Scan, coils: int) -> list[str]:
    """What the scan alone says against a good reconstruction, in plain words."""
    found = []
    readout, phase = scan.calibration
    if min(readout, phase) < 16:
        found.append(f"only {min(readout, phase)} calibration lines: coil maps are rough, 16 to 24 lines are usual")
    if scan.acceleration > coils:
        found.append(
            f"acceleration {scan.acceleration:.1f} exceeds the number of coils ({coils}): much rests on the prior"
        )
    if scan.mask.ndim == 1:
        lines = scan.mask.nonzero()[0]
        first, last = scan.phase_limits or (0, scan.mask.size)
        gaps = [int(b - a) for a, b in pairwise(lines)]
        if gaps and max(gaps) > 2 * scan.acceleration + 4:
            found.append(f"a gap of {max(gaps)} lines in the mask is far wider than the acceleration suggests")
        missing = max(int(lines[0]) - first, last - 1 - int(lines[-1]))
        if missing > 0.1 * (last - first):
            found.append(
                f"{missing} lines at one edge of kspace were not acquired (partial Fourier?): detail may be lost"
            )
    return found


def result_warnings(figures: dict[str, float]) -> list[str]:
    """What the finished reconstruction says against itself, in plain words; empty when nothing does."""
    found = []
    chi2 = figures.get("chi2", 1.0)
    if chi2 > TRUSTED_CHI2[1]:
        found.append(
            f"the residual is {chi2:.2f} times what noise explains: motion, wrong coil maps or a too small noise"
        )
    if chi2 < TRUSTED_CHI2[0]:
        found.append(
            f"the residual is only {chi2:.2f} of the noise: the noise level is overestimated or noise was fitted"
        )
    inflation = figures.get("noise_inflation", 1.0)
    if inflation > TRUSTED_INFLATION:
        found.append(
            f"no image explains the data to the noise level; the noise was raised {inflation:.1f} times (coil maps?)"
        )
    denoising = figures.get("denoising_inflation", 1.0)
    if denoising > TRUSTED_DENOISING:
        found.append(
            f"the prior errs {denoising:.1f} times more on this scan than on its validation data: the scan differs "
            "from what the prior was trained on"
        )
    scale_ratio = figures.get("scale_ratio", 1.0)
    if not TRUSTED_SCALE_RATIO[0] <= scale_ratio <= TRUSTED_SCALE_RATIO[1]:
        found.append(
            f"image scale {scale_ratio:.2f} is far from that of the training images: check the calibration region"
        )
    return found
