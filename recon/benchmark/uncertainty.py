"""Does the standard deviation hold? Reconstructions of scans whose truth is known, and their errors against it.

A scan that ``recon simulate`` wrote holds the noise-free magnitude of the image, and that is the truth here. Another
fully sampled scan is compared with its root-sum-of-squares image, which carries the noise of the scan: the errors then
hold that noise, too, and the standard deviation looks too small.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.ndimage import gaussian_gradient_magnitude
from scipy.stats import t

from recon.acquisition.masks import draw_mask
from recon.benchmark.uncertainty_options import UncertaintyOptions
from recon.errors import ReconError, naming
from recon.images.references import read_lesions, read_reference
from recon.images.result import Reconstruction
from recon.prior.store import Prior
from recon.progress import Report, silent
from recon.quality.deviations import head_of, pixel_degrees_of_freedom
from recon.quality.regions import RegionMean, region_mean, slice_deviations
from recon.reconstruction.options import ReconstructionOptions
from recon.reconstruction.pipeline import reconstruct
from recon.scan import Scan
from recon.scans.derived import require_fully_sampled, with_mask
from recon.scans.opening import open_scan
from recon.seeding import numpy_generator

EDGE_QUANTILE = 0.8  # of the truth's gradient in the head: where it is steeper, there are edges


@dataclass(frozen=True)
class RegionError:
    """Error of a region's mean, its standard deviation, both in the image's units, and whether the interval held."""

    error: float
    std: float
    covered: bool


@dataclass(frozen=True)
class UncertaintyCase:
    """One scan at one acceleration. Pixels are those of the head, in units of the truth's 99th percentile: ``error``,
    ``std`` and, of each, whether it is an ``edge``, in a ``lesion``, and ``covered`` by its interval. A person is told
    by folder and subject."""

    scan: str
    person: str
    origin: str
    contrast: str
    acceleration: float
    reference_kind: str
    error: NDArray[np.float32]
    std: NDArray[np.float32]
    edge: NDArray[np.bool_]
    lesion: NDArray[np.bool_]
    covered: NDArray[np.bool_]
    regions: tuple[RegionError, ...]
    lesions: tuple[RegionError, ...]
    relative_std_error: float  # of the standard deviation of a pixel, as its draws tell
    amplification: float | None = None  # variance of the samples over that of the noise, before ``spread``
    denoising_ratio: float | None = None  # the scan's own denoising error over the tabulated one
    spread: float | None = None  # by what the deviations were multiplied

    @property
    def ratio(self) -> float:
        """Squared error over its expectation."""
        return float((self.error**2).sum() / (self.std**2).sum())


def uncertainty_cases(
    paths: Sequence[Path],
    prior: Prior,
    options: UncertaintyOptions,
    *,
    device: torch.device | str = "cpu",
    report: Report = silent,
) -> Iterator[UncertaintyCase]:
    """Every scan at every acceleration. A lesion mask that ``recon simulate`` wrote beside a scan is used.

    Raises ReconError for scans that are undersampled, or smaller than the calibration or a region that is asked for,
    before the first of them is reconstructed; and for methods without a standard deviation.
    """
    whole = len(paths) * len(options.accelerations)
    scans = []
    for path in paths:
        report("opening scans", 0.0)
        scan = open_scan(path)
        require_fully_sampled(scan)
        if (width := options.region_width) > min(scan.image_shape):
            raise ReconError(f"{path}: no region of {width} x {width} pixels fits; choose a smaller --region-width")
        scans.append((scan, [_mask(scan, float(rate), options) for rate in options.accelerations]))
    choice = ReconstructionOptions(method=options.method, samples=options.samples, seed=options.seed)
    for number, (scan, masks) in enumerate(scans):
        reference = read_reference(scan.path)
        lesion = lesion_beside(scan.path, reference.values.shape)
        for position, (rate, mask) in enumerate(zip(options.accelerations, masks, strict=True)):
            report(f"{scan.path.stem}, R = {rate:g}", (number * len(options.accelerations) + position) / whole)
            result = reconstruct(with_mask(scan, mask), prior, choice, device=device)
            yield _case(scan, result, reference.values, reference.kind, lesion, options, float(rate))


def _mask(scan: Scan, rate: float, options: UncertaintyOptions) -> NDArray[np.bool_]:
    """The mask of an acceleration. Raises ReconError, naming the scan, when it cannot be drawn."""
    generator = numpy_generator(options.seed, scan.identity, "mask")
    with naming(scan.path):
        return draw_mask(
            options.mask, (scan.shape[2], scan.shape[3]), rate, options.calibration_lines, generator, scan.phase_limits
        )


def lesion_beside(path: Path, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """The lesion ``[slice, readout, phase]`` of ``SUBJECT_lesion.h5`` beside ``SUBJECT_CONTRAST.h5``; none without it.

    Raises ReconError when it is on another grid."""
    mask = path.with_name(f"{path.stem.rpartition('_')[0]}_lesion.h5")
    if not mask.is_file():
        return np.zeros(shape, bool)
    values = np.asarray(read_lesions(mask).values, bool)
    if values.shape != shape:
        raise ReconError(f"{mask}: is {values.shape}, the scan {path.name} is {shape}; put it elsewhere")
    return values


def _case(
    scan: Scan, result: Reconstruction, truth: NDArray, kind: str, lesion: NDArray[np.bool_],
    options: UncertaintyOptions, rate: float,
) -> UncertaintyCase:  # fmt: skip
    if result.std is None or result.deviations is None:
        raise ReconError(f"method '{options.method}' gave no standard deviation; choose a sampler, and two samples")
    head = np.stack([head_of(one) for one in truth])
    steep = np.stack([gaussian_gradient_magnitude(one, 1.0) for one in truth.astype(float)])
    edge = steep > np.quantile(steep[head], EDGE_QUANTILE)
    gap = result.reconstruction - truth
    freedoms = [
        pixel_degrees_of_freedom(found.correlation, found.draws)
        for found in (slice_deviations(*pair) for pair in zip(result.deviations, result.reconstruction, strict=True))
    ]
    reach = np.array([t.ppf(0.5 + options.level / 2, freedom) for freedom in freedoms])[:, None, None]
    unit = float(np.quantile(truth, 0.99))

    def judged(region: NDArray[np.bool_], acceleration: float | None) -> RegionError:
        found: RegionMean = region_mean(result.reconstruction, result.deviations, region, acceleration=acceleration)
        low, high = found.interval(options.level)
        true = float(truth[region].mean())
        return RegionError(found.mean - true, found.std, low <= true <= high)

    slices = result.audit.get("slices", [])
    amplifications = [entry["amplification"] for entry in slices if entry["amplification"] is not None]
    spreads = [entry["spread"] for entry in slices if entry["spread"] is not None]
    return UncertaintyCase(
        scan=str(scan.path),
        person=f"{scan.path.parent}: {scan.header.subject or scan.path.stem}",
        origin=scan.header.origin or "measured",
        contrast=scan.contrast,
        acceleration=rate,
        reference_kind=kind,
        error=(gap[head] / unit).astype(np.float32),
        std=(result.std[head] / unit).astype(np.float32),
        edge=edge[head],
        lesion=lesion[head],
        covered=(np.abs(gap) <= reach * result.std)[head],
        regions=tuple(judged(region, None) for region in regions_of(head & ~lesion, scan.identity, options)),
        lesions=(judged(lesion & head, float(result.attributes["acceleration"])),) if (lesion & head).any() else (),
        relative_std_error=float(np.median([(2 * freedom) ** -0.5 for freedom in freedoms])),
        amplification=float(np.mean(amplifications)) if amplifications else None,
        denoising_ratio=float(np.mean([entry["denoising_ratio"] for entry in slices])) if slices else None,
        spread=float(np.sqrt(np.mean(np.square(spreads)))) if spreads else None,
    )


def regions_of(head: NDArray[np.bool_], identity: str, options: UncertaintyOptions) -> Iterator[NDArray[np.bool_]]:
    """Squares ``[slice, readout, phase]`` that lie in the head, drawn at random: as many a slice as ``options`` say, or
    fewer in small heads."""
    width = options.region_width
    for index, inside in enumerate(head):
        rows, columns = np.nonzero(sliding_window_view(inside, (width, width)).all((-2, -1)))
        generator = numpy_generator(options.seed, identity, "regions", index)
        for place in generator.permutation(len(rows))[: options.regions]:
            region = np.zeros(head.shape, bool)
            region[index, rows[place] : rows[place] + width, columns[place] : columns[place] + width] = True
            yield region
