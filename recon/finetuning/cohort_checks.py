"""Guards around a small cohort: is it one, does it match the prior, and what did fine-tuning cost the old contrasts?"""

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from recon.evenly import evenly_spread
from recon.prior.dataset import PreparedScan
from recon.prior.denoiser import Denoiser
from recon.prior.provenance import seen_by
from recon.prior.validation import denoising_error

SAME_PERSON = 0.7  # correlation of fine structure; different simulated heads reach 0.43, a shifted rescan more than 0.9
FORGETTING_SIGMAS = (0.02, 0.05, 0.15, 0.5, 1.5)


def same_person(scans: Sequence[PreparedScan]) -> list[tuple[str, str, float]]:
    """Pairs of subjects that look like one person, with the correlation that says so (1 for equal images).

    Equal slices are found by their hash. Rescans are found by the correlation of fine structure, which anatomy makes
    and position, scale_ratio and coils do not, as the best over all shifts. Only scans of one contrast are compared.
    """
    hashes: dict[str, str] = {}
    pairs: dict[tuple[str, str], float] = {}
    details: dict[str, list[tuple[str, Tensor]]] = {}
    subjects = len({scan.subject for scan in scans})
    count = 4 if subjects <= 40 else 1
    for scan in scans:
        for index in evenly_spread(scan.slices, count):
            image = scan.read(index)
            digest = hashlib.sha256(image.numpy().tobytes()).hexdigest()
            owner = hashes.setdefault(digest, scan.subject)
            if owner != scan.subject:
                pairs[tuple(sorted((owner, scan.subject)))] = 1.0  # type: ignore[index]
            details.setdefault(scan.contrast, []).append((scan.subject, _fine_structure(image)))
    for entries in details.values():
        owners = [subject for subject, _ in entries]
        spectra = torch.fft.rfft2(torch.stack([detail for _, detail in entries]))
        for i, owner in enumerate(owners[:-1]):
            shifted = torch.fft.irfft2(spectra[i].conj() * spectra[i + 1 :], s=(96, 96))
            for j, value in enumerate(shifted.flatten(1).amax(1).tolist(), i + 1):
                if owners[j] != owner and value > SAME_PERSON:
                    pair: tuple[str, str] = tuple(sorted((owner, owners[j])))  # type: ignore[assignment]
                    pairs[pair] = max(pairs.get(pair, 0.0), value)
    return [(*pair, value) for pair, value in sorted(pairs.items())]


def _fine_structure(image: Tensor) -> Tensor:
    """``[96, 96]`` of zero mean and unit norm: the magnitude without its blurred self, logarithmic in scale_ratio."""
    small = functional.interpolate(image.abs()[None, None], (96, 96), mode="area")
    logarithm = (small + 0.1 * small.max().clamp_min(1e-6)).log()
    fine = (logarithm - functional.avg_pool2d(functional.pad(logarithm, (4, 4, 4, 4), mode="replicate"), 9, 1))[0, 0]
    fine = fine - fine.mean()
    return fine / fine.norm().clamp_min(1e-6)


def overlap(training: Sequence[PreparedScan], validation: Sequence[PreparedScan]) -> list[str]:
    """Warnings about persons who are in training and in validation, by their pseudonym or by their images."""
    both = {scan.subject for scan in training} & {scan.subject for scan in validation}
    warnings = [f"subject {name} is in training and in validation" for name in sorted(both)]
    left, right = ({scan.subject for scan in side} for side in (training, validation))
    for first, second, value in same_person([*training, *validation]):
        if (first in left and second in right) or (first in right and second in left):
            warnings.append(
                f"{first} and {second} look like one person (correlation {value:.2f}) but one is in training and the "
                "other in validation"
            )
    return warnings


def mismatch(scans: Sequence[PreparedScan], seen: dict[str, Any] | None) -> list[str]:
    """Warnings where the cohort's matrix, field strength, noise or scale lies outside of what the prior saw.

    ``seen`` is what ``provenance.seen_by`` stored with the prior; None (an older prior) is a warning of its own.
    """
    if not seen:
        return [
            "the prior does not record its matrix, field strength and noise: the cohort cannot be held against them"
        ]
    mine = seen_by(scans)
    warnings = []
    (small_rows, small_columns), (large_rows, large_columns) = seen["matrix"]
    (rows, columns), (more_rows, more_columns) = mine["matrix"]
    # Training crops smaller resolutions out of the images it has; a matrix half again as large has not been seen.
    if (
        more_rows > 1.5 * large_rows
        or more_columns > 1.5 * large_columns
        or rows < small_rows / 2
        or columns < small_columns / 2
    ):
        warnings.append(
            f"matrix {rows}x{columns} to {more_rows}x{more_columns}, the prior saw {small_rows}x{small_columns} to "
            f"{large_rows}x{large_columns}"
        )
    if "field_strength_t" in mine and "field_strength_t" in seen:
        (low, high), (old_low, old_high) = mine["field_strength_t"], seen["field_strength_t"]
        if low < 0.9 * old_low or high > 1.1 * old_high:
            warnings.append(f"field strength {low:g} to {high:g} T, the prior saw {old_low:g} to {old_high:g} T")
    if "noise_sigma" in mine and "noise_sigma" in seen:
        (low, high), (old_low, old_high) = mine["noise_sigma"], seen["noise_sigma"]
        if high > 2 * old_high or low < old_low / 4:
            warnings.append(
                f"noise {low:.3f} to {high:.3f} of the image scale, the prior saw {old_low:.3f} to {old_high:.3f}: "
                "it may learn to draw noise, or have learnt to"
            )
    if "scale" in seen:
        ratio = mine["scale"]["median"] / seen["scale"]["median"]
        if abs(math.log(ratio)) > math.log(1.5):
            warnings.append(
                f"images are {ratio:.2f} times as bright in units of the scale statistic as those that the prior saw"
            )
    return warnings


def forgetting(
    before: Denoiser,
    after: Denoiser,
    scans: Sequence[PreparedScan],
    contrast_labels: dict[str, int],
    device: torch.device | str = "cpu",
) -> dict[str, float]:
    """For each contrast of ``scans`` (of the pre-training, not of the target): the factor by which fine-tuning changed
    its denoising error, as the geometric mean over noise levels. 1 is nothing forgotten."""
    factors = {}
    for contrast in sorted({scan.contrast for scan in scans if scan.contrast in contrast_labels}):
        chosen = [scan for scan in scans if scan.contrast == contrast]
        old, new = (
            denoising_error(d, chosen, FORGETTING_SIGMAS, contrast_labels=contrast_labels, limit=8, device=device)
            for d in (before, after)
        )
        factors[contrast] = math.exp(sum(math.log(n / o) for n, o in zip(new, old, strict=True)) / len(old))
    return factors
