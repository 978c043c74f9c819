"""Noise covariance of the receive channels, and prewhitening.

Convention: after whitening, the noise standard deviation is one per REAL component, so E[n n^H] = 2 I.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from recon.acquisition.fourier import to_image
from recon.errors import ReconError

DEPENDENT = 1e-6  # noise of a coil that the others do not have, over all of its noise: less is rounding
NoiseSource = Literal[
    "noise scan", "stored covariance", "empty edges", "outer kspace", "calibration null space", "given"
]


@dataclass(frozen=True)
class Noise:
    """Channel noise: ``covariance [coil, coil]`` = E[n n^H] and where it comes from."""

    covariance: Tensor
    source: NoiseSource
    samples: int

    def whitening(self) -> Tensor:
        """``W [coil, coil]`` such that ``W n`` has unit variance per real component in every channel. Raises ReconError
        when a combination of the coils has no noise."""
        factor, fault = torch.linalg.cholesky_ex(self.covariance.to(torch.complex128))
        # Where two coils are the same, rounding decides whether the decomposition notices.
        level = self.covariance.diagonal().real.double().sqrt()
        if int(fault) or not bool((factor.diagonal().real > DEPENDENT * level).all()):
            raise ReconError(
                f"its noise cannot be decorrelated ({self.source}): a coil is a copy or a combination of others, or "
                "has no noise; leave it out by 'recon convert --without-coils', or give a noise scan"
            )
        identity = torch.eye(factor.shape[0], dtype=factor.dtype, device=factor.device)
        return (2**0.5 * torch.linalg.solve_triangular(factor, identity, upper=False)).to(torch.complex64)


def covariance_of(samples: Tensor, source: NoiseSource) -> Noise:
    """Covariance of noise samples ``[coil, sample]``, shrunk towards its diagonal when the samples are few.

    The shrinkage weight is coils / samples: with ten times more samples than coils it hardly acts, with as many it
    leaves the diagonal, so the covariance is always positive definite. Raises ReconError for dead channels.
    """
    coils, count = samples.shape
    samples = samples.to(torch.complex128)
    covariance = samples @ samples.mH / max(count, 1)
    power = covariance.diagonal().real
    if count < 2 or not bool(torch.isfinite(power).all()) or not bool((power > 0).all()):
        dead = [int(i) for i in (power <= 0).nonzero().flatten()]
        detail, remedy = "not finite or too few samples", "give a noise scan"
        if dead:
            detail = f"coil(s) {dead} hold no noise at all"
            remedy = f"leave them out by 'recon convert --without-coils {','.join(map(str, dead))}', or {remedy}"
        raise ReconError(f"noise cannot be estimated from the {source}: {detail}; {remedy}")
    weight = min(1.0, coils / count)
    covariance = (1 - weight) * covariance + weight * torch.diag_embed(power).to(covariance.dtype)
    return Noise(covariance, source, count)


def noise_from_edges(kspace: Tensor, mask: Tensor, calibration_lines: int, rows: int = 4) -> Noise:
    """Noise from the readout positions outside the head, for 1-D masks.

    ``kspace [slice, coil, readout, phase]``, ``mask [phase]``. A transform along the fully sampled readout alone
    leaves rows that hold no tissue whatever the phase encoding does; in the outer phase-encoding lines not even the
    truncation ripple of the head reaches them. The ``rows`` quietest rows of each slice are taken.
    """
    lines = mask.nonzero().flatten()
    centre = mask.shape[0] // 2
    outer = lines[(lines - centre).abs() > max(calibration_lines // 2, int((lines - centre).abs().float().median()))]
    chosen = outer if outer.numel() >= 4 else lines
    hybrid = to_image(kspace[..., chosen], (-2,))
    power = (hybrid.abs() ** 2).mean((1, 3))
    quiet = power.argsort(-1)[:, :rows]
    samples = torch.cat([entry[:, index].flatten(1) for entry, index in zip(hybrid, quiet, strict=True)], dim=1)
    return covariance_of(samples, "empty edges")


def noise_from_outer_kspace(kspace: Tensor, mask: Tensor) -> Noise:
    """Noise from the periphery of kspace, for masks along both axes.

    ``kspace [slice, coil, readout, phase]``, ``mask [readout, phase]``. The outermost tenth of the acquired samples
    still holds signal, so only its quieter half (by power summed over coils) is used, and the bias of that choice is
    undone with the median and the truncated mean of a chi-squared distribution with 2 x coils degrees of residual_dof.
    """
    from scipy.stats import chi2

    rows, columns = mask.shape
    y = (torch.arange(rows, device=mask.device) - rows // 2) / (rows / 2)
    x = (torch.arange(columns, device=mask.device) - columns // 2) / (columns / 2)
    radius = (y[:, None] ** 2 + x[None] ** 2)[mask]
    samples = kspace[..., mask]  # slice, coil, sample
    outer = samples[..., radius >= radius.quantile(0.9)].movedim(0, 1).flatten(1)
    power = (outer.abs() ** 2).sum(0)
    quiet = outer[:, power <= power.median()]
    residual_dof = 2 * outer.shape[0]
    # E[p | p <= median] over E[p] for a chi-squared variable: F_{k+2}(median) / F_k(median).
    truncated = float(chi2.cdf(chi2.ppf(0.5, residual_dof), residual_dof + 2) / 0.5)
    noise = covariance_of(quiet, "outer kspace")
    return Noise(noise.covariance / truncated, noise.source, noise.samples)


@dataclass(frozen=True)
class PatchCovariance:
    """Sample covariance ``[coil, kernel, coil, kernel]`` of a slice's calibration patches, and how many there were."""

    covariance: Tensor
    patches: int

    def noise_level(self, whiten_compress: Tensor | None = None) -> float:
        """Noise standard deviation per real component, after ``whiten_compress [coil, coil]`` where it is given.

        Signal is confined to the row space of the calibration matrix, so the smallest eigenvalue of its sample
        covariance is noise alone and lies at the lower edge of the Marchenko-Pastur law,
        sigma^2 (1 - sqrt(dimensions / patches))^2.
        """
        found = self.covariance
        if whiten_compress is not None:
            whiten_compress = whiten_compress.to(found.dtype)
            found = torch.einsum("ia,akbl,jb->ikjl", whiten_compress, found, whiten_compress.conj())
        square = found.flatten(2).flatten(0, 1)
        smallest = float(torch.linalg.eigvalsh(square)[0].clamp_min(0))
        return (smallest / 2) ** 0.5 / (1 - (square.shape[0] / self.patches) ** 0.5)


def patch_covariances(calibration: Tensor, kernel: int = 6) -> list[PatchCovariance]:
    """Those of ``calibration [slice, coil, readout, phase]``; empty where there are too few patches to tell."""
    coils, *size = calibration.shape[1:]
    dimensions, patches = coils * kernel**2, (size[0] - kernel + 1) * (size[1] - kernel + 1)
    if min(size) < kernel or dimensions >= 0.9 * patches:
        return []
    found = []
    for entry in calibration:
        rows = entry.unfold(1, kernel, 1).unfold(2, kernel, 1).permute(1, 2, 0, 3, 4).reshape(patches, dimensions)
        rows = rows.to(torch.complex128)
        # [a, b] = E[conj(p_a) p_b]: transposed it is E[p p^H], on which a whiten_compress of coils acts from the left.
        covariance = (rows.mH @ rows).mT / patches
        found.append(PatchCovariance(covariance.reshape(coils, kernel**2, coils, kernel**2), patches))
    return found
