"""How far a reconstruction moves an encoder's tokens from its reference's, and whether that is more than noise would.

Exploratory: no study has validated the drift of a brain encoder against radiologists. It is therefore reported beside
a noise floor, the spread over posterior samples, a random-init control, HFEN, SSIM, and DISTS where installed.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recon.encode.alike import why_unlike
from recon.encode.distance import Drift, common_tokens, cosine_distance
from recon.encode.dists import DistsResult, dists
from recon.encode.interface import Embedding, Encoder, PreparedVolume
from recon.encode.local_drift import LocalDrift, local_drift
from recon.encode.noise import ESTIMATED, add_noise, noise_level
from recon.encode.options import DriftOptions
from recon.encode.volumes import Series
from recon.errors import ReconError, ReconWarning
from recon.progress import Report, silent
from recon.seeding import numpy_generator

SAME_UNITS = 0.01  # a factor nearer to 1 moves tokens less than the noise of a good scan does


@dataclass(frozen=True)
class NoiseFloor:
    """Drift of the reference with one more draw of the scan's own noise, several times."""

    replicas: tuple[Drift, ...]
    noise_std: float  # per real component, in the reference's units
    snr: float  # mean foreground signal over ``noise_std``
    source: str  # where the noise level comes from

    @property
    def limit(self) -> float:
        """Largest token distance that noise alone reached."""
        return max(replica.token_distance for replica in self.replicas)


@dataclass(frozen=True, eq=False)
class ReferenceView:
    """The reference as one encoder sees it, with its noise floor: computed once for many reconstructions."""

    encoder: Encoder
    series: Series
    prepared: PreparedVolume
    embedding: Embedding
    noise_floor: NoiseFloor
    noise_distances: Tensor | None  # [replica, token] 1 - cosine; None where replicas have other tokens


@dataclass(frozen=True, eq=False)
class DriftReport:
    """Everything that is reported of one reconstruction."""

    drift: Drift
    noise_floor: NoiseFloor
    local: LocalDrift | None  # None where tokens cannot be held against each other one by one
    scaled: Drift  # after ``intensity_scale``: what is left when both are in the same units
    samples: tuple[Drift, ...]  # posterior samples against the reference; empty when none are stored
    sample_spread: tuple[Drift, ...]  # the same samples against the reconstruction: how much the data left open
    control: Drift  # random-init encoder of the same shape
    control_noise_floor: NoiseFloor
    token_distances: Tensor  # [token] 1 - cosine of the reconstruction, in the order of ``coords``
    coords: Tensor  # [token, 3]
    hfen: float
    ssim: float
    dists: DistsResult
    intensity_scale: float  # least-squares factor that would bring the reconstruction to the reference

    @property
    def inside(self) -> bool:
        """Whether the mean drift is no larger than the largest that noise alone made. It cannot see a lesion: see
        ``local``."""
        return self.drift.token_distance <= self.noise_floor.limit

    @property
    def local_verdict(self) -> str:
        """One line: whether any token moved farther than noise moves it, and where."""
        if self.local is None:
            return "locally: not judged, for the replicas have other tokens (--preprocessing own)"
        place = ", ".join(f"{value:.0f}" for value in self.local.place)
        low, high = min(self.local.noise_ratios), max(self.local.noise_ratios)
        return (
            f"locally {'inside' if self.local.inside else 'OUTSIDE'}: one token moved {self.local.ratio:.3g} times as "
            f"far as noise moves it, noise alone {low:.3g} to {high:.3g}; at ({place}) mm, {self.local.tokens_above} "
            f"tokens beyond noise; noise is called OUTSIDE in {self.local.false_alarm_rate:.0%} of cases"
        )

    @property
    def verdict(self) -> str:
        """One line: the mean inside or outside the noise floor, with the figures."""
        replicas = [replica.token_distance for replica in self.noise_floor.replicas]
        return (
            f"{'inside' if self.inside else 'OUTSIDE'} the noise floor: mean token distance "
            f"{self.drift.token_distance:.3g}, noise alone {min(replicas):.3g} to {max(replicas):.3g} "
            f"({len(replicas)} replicas, so noise is called OUTSIDE in {1 / (len(replicas) + 1):.0%} of cases; SNR "
            f"{self.noise_floor.snr:.3g}, {self.noise_floor.source})"
        )


def view_reference(
    encoder: Encoder,
    series: Series,
    options: DriftOptions,
    *,
    slice_axis: int | None = None,
    report: Report = silent,
) -> ReferenceView:
    """Embed a reference and draw its noise floor.

    A replica is ``|reference + n|`` with complex white noise n of the scan's own level added once more, so the floor is
    what one repetition's noise does, not two. Draws come from ``(seed, replica)``.

    Raises ReconError when the reference cannot be prepared or there are fewer than 2 replicas.
    """
    count = options.replicas
    if count < 2:
        raise ReconError(f"{count} noise replicas: at least 2 are needed for a floor")
    stage = f"noise replicas ({encoder.weights_hash[:16]})"
    report(stage, 0.0)
    prepared = encoder.prepare(series.pixels, series.affine, slice_axis=slice_axis)
    embedding = encoder.encode(prepared)
    noise_std, level, source = noise_level(series, prepared.preprocessing.slice_axis, options.snr)
    if source == ESTIMATED:
        warnings.warn(
            f"{series.path}: its noise level is estimated from the image, often too low by far; give the scan's --snr, "
            "or the result or scan file in place of an export",
            ReconWarning,
            stacklevel=2,
        )
    drifts, distances = [], []
    for index in range(count):
        report(stage, (1 + index) / (1 + count))
        generator = numpy_generator(options.seed, "drift-noise", index)
        noisy = add_noise(series.values, noise_std, generator)
        moved = _encode(encoder, series.in_pixel_type(noisy), series, prepared, options)
        drifts.append(Drift.between(embedding, moved))
        if torch.equal(moved.coords, embedding.coords):
            distances.append(cosine_distance(embedding.tokens, moved.tokens))
    report(stage, 1.0)
    floor = NoiseFloor(tuple(drifts), noise_std, level, source)
    each = torch.stack(distances) if len(distances) == count else None
    return ReferenceView(encoder, series, prepared, embedding, floor, each)


def measure_drift(
    series: Series,
    reference: ReferenceView,
    control: ReferenceView,
    options: DriftOptions,
    *,
    report: Report = silent,
) -> DriftReport:
    """Drift of one reconstruction, already on the reference's grid, with everything that must stand beside it.

    Raises ReconError when it cannot be prepared or encoded.
    """
    from recon.quality.metrics import hfen, scale, ssim

    if options.preprocessing == "own":
        warnings.warn(
            "--preprocessing own: mask and intensity map are taken from each volume anew, as upstream does; the "
            "figures then measure mostly how the mask changed, not what the encoder sees in the tissue",
            ReconWarning,
            stacklevel=2,
        )
    chosen: Sequence[NDArray[np.float32]] = (
        () if series.samples is None else list(series.samples[: options.max_samples])
    )
    # The reconstruction, also in the reference's units, its samples, and once more by the control.
    volumes = 3 + len(chosen)
    report("reconstruction", 0.0)
    embedding = _embed(reference, series.pixels, options)
    samples, sample_spread = [], []
    for index, sample in enumerate(chosen):
        report("posterior samples", (1 + index) / volumes)
        sampled = _embed(reference, sample, options)
        samples.append(Drift.between(reference.embedding, sampled))
        sample_spread.append(Drift.between(embedding, sampled))
    report("random-init control", (volumes - 1) / volumes)
    controlled = _embed(control, series.pixels, options)
    common = common_tokens(reference.embedding, embedding)
    axis = reference.prepared.preprocessing.slice_axis
    pair = (np.moveaxis(series.values, axis, 0), np.moveaxis(reference.series.values, axis, 0))
    factor = scale(*pair)
    _warn_of_the_pair(series, reference.series, factor)
    same_units = series.values if factor == 1 else (factor * series.values).astype(np.float32)
    token_distances = cosine_distance(common.reference, common.other)
    judged = reference.noise_distances is not None and torch.equal(common.coords, reference.embedding.coords)
    return DriftReport(
        drift=Drift.between(reference.embedding, embedding),
        noise_floor=reference.noise_floor,
        local=local_drift(token_distances, reference.noise_distances, common.coords, reference.prepared)
        if judged and reference.noise_distances is not None
        else None,
        scaled=Drift.between(reference.embedding, _embed(reference, series.in_pixel_type(same_units), options)),
        samples=tuple(samples),
        sample_spread=tuple(sample_spread),
        control=Drift.between(control.embedding, controlled),
        control_noise_floor=control.noise_floor,
        token_distances=token_distances,
        coords=common.coords,
        hfen=hfen(*pair),
        ssim=ssim(*pair),
        dists=dists(*pair),
        intensity_scale=factor,
    )


def _warn_of_the_pair(series: Series, reference: Series, factor: float) -> None:
    """Say what makes a drift that is none of the reconstruction's."""
    if abs(factor - 1) > SAME_UNITS:
        warnings.warn(
            f"{series.path}: its intensities are off by a factor {1 / factor:.3g} against the reference, and an "
            "encoder's tokens move with it; see the drift after that factor, or bring both to the same units first",
            ReconWarning,
            stacklevel=3,
        )
    negative = float((series.values < 0).mean())
    if negative > 0:
        warnings.warn(
            f"{series.path}: {negative:.1%} of its values are negative; encoders expect magnitude images",
            ReconWarning,
            stacklevel=3,
        )
    if reference.affine is not None and (found := why_unlike(series.values, reference.values, reference.affine)):
        warnings.warn(f"{series.path}: {found}", ReconWarning, stacklevel=3)


def _embed(reference: ReferenceView, values: NDArray[Any], options: DriftOptions) -> Embedding:
    """Another volume on the reference's voxels, as the reference's encoder sees it."""
    return _encode(reference.encoder, values, reference.series, reference.prepared, options)


def _encode(
    encoder: Encoder,
    values: NDArray[Any],
    reference: Series,
    prepared: PreparedVolume,
    options: DriftOptions,
) -> Embedding:
    fixed = prepared.preprocessing if options.preprocessing == "reference" else None
    axis = None if fixed is not None else prepared.preprocessing.slice_axis
    return encoder.encode(encoder.prepare(values, reference.affine, fixed, slice_axis=axis))


def spread(drifts: Sequence[Drift]) -> dict[str, float]:
    """Mean, smallest and largest token distance of several drifts."""
    values = [drift.token_distance for drift in drifts]
    return {"mean": float(np.mean(values)), "min": min(values), "max": max(values), "count": len(values)}


def iterate_rows(report: DriftReport) -> Iterator[tuple[str, Drift]]:
    """Named drifts of a report in the order of its table."""
    yield "reconstruction", report.drift
    for index, replica in enumerate(report.noise_floor.replicas):
        yield f"noise replica {index}", replica
    for index, sample in enumerate(report.samples):
        yield f"posterior sample {index}", sample
    yield "random-init control", report.control
    for index, replica in enumerate(report.control_noise_floor.replicas):
        yield f"random-init noise replica {index}", replica
