"""Retrospective undersampling: a fully sampled scan as a faster protocol would have acquired it."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recon.acquisition.masks import (
    PLANE_MASKS,
    SMALLEST_CALIBRATION,
    describe_mask,
    draw_mask,
    every_line_sampled,
    net_acceleration,
)
from recon.acquisition.rss import reference_image
from recon.errors import ReconError
from recon.folders import same_place
from recon.progress import Report, silent
from recon.scan import Scan
from recon.scans.derived import with_mask
from recon.scans.fastmri import describe, write_fastmri
from recon.scans.options import UndersamplingOptions
from recon.scans.placing import check_replaceable
from recon.seeding import numpy_generator


@dataclass(frozen=True)
class Undersampled:
    """What ``undersample`` wrote: the mask as drawn, its net acceleration and calibration extent."""

    output: Path
    mask: NDArray[np.bool_]
    kind: str
    acceleration: float
    calibration: tuple[int, int]


def default_calibration_lines(shape: tuple[int, int], acceleration: float, kind: str) -> int:
    """24 lines, the usual number for coil maps; fewer where that would be half of all that is acquired, but not so few
    that coil maps cannot be made."""
    if kind in PLANE_MASKS:
        return min(24, min(shape) // 4)
    return max(SMALLEST_CALIBRATION, min(24, int(shape[1] / (2 * acceleration))))


def undersampling_mask(scan: Scan, options: UndersamplingOptions) -> NDArray[np.bool_]:
    """The mask ``[phase]`` or ``[readout, phase]`` that ``undersample`` draws for a scan: it depends on the seed and
    the scan's identity alone. Raises ReconError when it cannot be drawn."""
    kind, acceleration, lines = options.mask, options.acceleration, options.calibration_lines
    shape = (scan.shape[2], scan.shape[3])
    encoded = shape if scan.phase_limits is None else (shape[0], scan.phase_limits[1] - scan.phase_limits[0])
    lines = default_calibration_lines(encoded, acceleration, kind) if lines is None else lines
    generator = numpy_generator(options.seed, scan.identity, "mask")
    mask = draw_mask(kind, shape, acceleration, lines, generator, scan.phase_limits)
    return mask & scan.mask if scan.mask.ndim == 2 else mask  # an asymmetric echo stays one


def undersample(scan: Scan, output: str | Path, options: UndersamplingOptions, report: Report = silent) -> Undersampled:
    """Write ``scan`` with only the lines of a drawn mask, in the fastMRI form, one slice at a time.

    The mask depends on the seed and the scan's identity alone. As in fastMRI's test files the reference image is left
    out, so that no reconstruction can see it, unless ``options.keep_reference``. But for that the file is the scan that
    ``with_mask`` makes in memory.

    Raises ReconError when ``output`` holds anything but what was made of this scan, the scan is already undersampled,
    the mask cannot be drawn or the file not written.
    """
    if same_place(Path(output), scan.path):
        raise ReconError(f"{output}: is the scan itself; choose another --out, the fully sampled data is the reference")
    check_replaceable(scan.path, scan.digest, Path(output))
    if not every_line_sampled(scan.mask, scan.phase_limits):
        raise ReconError(
            f"{scan.path}: already undersampled {scan.acceleration:.2f}x ({describe_mask(scan.mask)}); "
            "retrospective undersampling needs a fully sampled scan"
        )
    mask = undersampling_mask(scan, options)
    fast = with_mask(scan, mask)
    with write_fastmri(output, replace(describe(fast, source=scan), mask=fast.mask)) as writer:
        for index in range(scan.shape[0]):
            report("undersampling", index / scan.shape[0])
            reference = reference_image(scan, index) if options.keep_reference else None
            separate = None if fast.calibration_kspace is None else fast.calibration_kspace(index)
            writer.put(index, fast.read_kspace(index), reference, separate)
    return Undersampled(
        output=Path(output),
        mask=mask,
        kind=options.mask,
        acceleration=net_acceleration(mask, scan.phase_limits),
        calibration=fast.calibration,
    )
