"""What a prior saw, in numbers that another cohort can be held against."""

from collections.abc import Sequence
from typing import Any

import torch

from recon.prior.dataset import PreparedScan


def seen_by(scans: Sequence[PreparedScan]) -> dict[str, Any]:
    """Ranges over a cohort: ``matrix`` (smallest and largest readout, phase), ``noise_sigma`` (relative to the image
    scale, 5th to 95th percentile), ``field_strength_t`` in tesla where the files state it, and ``scale``: the median
    and the spread (interquartile range of the log) of the images' 99th percentile in units of the scale statistic."""
    rows, columns = ([scan.shape[axis] for scan in scans] for axis in (0, 1))
    seen: dict[str, Any] = {"matrix": [[min(rows), min(columns)], [max(rows), max(columns)]]}
    noise = sorted(scan.noise_sigma for scan in scans if scan.noise_sigma is not None)
    if noise:
        last = len(noise) - 1
        seen["noise_sigma"] = [noise[round(0.05 * last)], noise[round(0.95 * last)]]
    fields = [scan.header.field_strength_t for scan in scans if scan.header.field_strength_t is not None]
    if fields:
        seen["field_strength_t"] = [min(fields), max(fields)]
    bright = [float(scan.read(scan.slices // 2).abs().flatten().quantile(0.99)) for scan in scans]
    quartiles = torch.tensor(bright).clamp_min(1e-6).log().quantile(torch.tensor([0.25, 0.5, 0.75])).tolist()
    seen["scale"] = {"median": float(torch.tensor(quartiles[1]).exp()), "spread": quartiles[2] - quartiles[0]}
    return seen
