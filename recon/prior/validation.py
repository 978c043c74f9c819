"""The validation denoising error v(sigma): what the samplers weigh the prior against the data with."""

from collections.abc import Sequence

import torch

from recon.evenly import evenly_spread
from recon.prior.dataset import PreparedScan, unit_noise
from recon.prior.denoiser import UNKNOWN_CONTRAST_LABEL, Denoiser, denoise
from recon.seeding import torch_generator

VARIANCE_SIGMAS = tuple(float(f"{0.005 * 10 ** (i / 4.5):.4g}") for i in range(16))  # 0.005 .. 10.8


def denoising_error(
    denoiser: Denoiser,
    scans: Sequence[PreparedScan],
    sigmas: Sequence[float] = VARIANCE_SIGMAS,
    *,
    contrast_labels: dict[str, int] | None = None,
    slices_per_scan: int = 2,
    limit: int = 24,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> list[float]:
    """Mean squared denoising error per pixel and real component inside the head, one value for each sigma.

    ``contrast_labels`` gives the contrast to the network; without it the unknown contrast label is used. At most
    ``limit`` slices, spread over the scans; the noise of a slice is the same in every call.
    """
    chosen = []
    for scan in scans:
        chosen += [(scan, index) for index in evenly_spread(scan.slices, slices_per_scan)]
    step = max(1, len(chosen) // limit)
    chosen = chosen[::step][:limit]
    sums = [0.0] * len(sigmas)
    for number, (scan, index) in enumerate(chosen):
        clean = scan.read(index).to(device)
        head = clean.abs() > 0
        noise = unit_noise(clean.shape, torch_generator(seed, "validation", number)).to(device)
        contrast_label = (contrast_labels or {}).get(scan.contrast, UNKNOWN_CONTRAST_LABEL)
        for position, sigma in enumerate(sigmas):
            with torch.no_grad():
                denoised = denoise(denoiser, (clean + sigma * noise)[None], sigma, contrast_label)[0]
            sums[position] += float(((denoised - clean).abs()[head] ** 2).mean() / 2)
    return [value / len(chosen) for value in sums]
