"""From readouts to what a scan holds: a slice of k-space, and noise at the level of the images.

Where the samples come from is the format's affair: it gives them acquisition by acquisition.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recon.errors import ReconError
from recon.header import Header
from recon.scan import KspaceReader
from recon.scans.acquisition_rows import Rows
from recon.scans.ismrmrd_layout import Layout
from recon.scans.reading import checked_index, checked_slice

# Samples ``[coil, sample]`` complex64 of the given rows of a file, in their order, with that number of coils.
Acquisitions = Callable[[NDArray[np.int64], int], Iterator[NDArray[np.complex64]]]

_NOISE_SAMPLES = 1 << 17  # enough for a covariance of 64 coils to 1 %


def kspace_reader(
    path: Path, acquisitions: Acquisitions, layout: Layout, shape: tuple[int, int, int, int], mask: NDArray[np.bool_]
) -> KspaceReader:
    """The reader of a scan's slices, see ``filled``."""

    def read(index: int) -> NDArray[np.complex64]:
        checked_index(path, index, shape[0])
        return filled(path, acquisitions, layout, index, shape[1:], mask)

    return read


def filled(
    path: Path,
    acquisitions: Acquisitions,
    layout: Layout,
    index: int,
    shape: tuple[int, int, int],
    mask: NDArray[np.bool_],
) -> NDArray[np.complex64]:
    """Kspace ``[coil, readout, phase]`` of slice ``index``: lines that were measured several times are averaged, and
    nothing is left outside ``mask``."""
    coils, readout, phase = shape
    mine = np.flatnonzero(layout.slices == index)
    total = np.zeros((coils, readout, phase), np.complex64)
    count = np.zeros(phase, np.int64)
    for place, samples in zip(mine, acquisitions(layout.rows[mine], coils), strict=True):
        kept = kept_samples(path, layout, int(place), samples)
        start, line = layout.starts[place], layout.lines[place]
        with np.errstate(invalid="ignore", over="ignore"):  # not finite: checked_slice says so
            total[:, start : start + kept.shape[1], line] += kept
        count[line] += 1
    total /= np.maximum(count, 1).astype(np.float32)
    # Averages whose echoes end at different places have data beyond the mask, which is what all of them measured.
    return checked_slice(path, index, np.where(mask, total, np.complex64(0)), mask)


def kept_samples(path: Path, layout: Layout, place: int, samples: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """Of one readout ``[coil, sample]`` those samples that belong into k-space, in its direction."""
    first, count = int(layout.discard[place]), int(layout.kept[place])
    if samples.shape[1] < first + count:
        row = layout.rows[place]
        raise ReconError(f"{path}: acquisition {row} has fewer samples than its header says; export again")
    if layout.reverse[place]:
        samples = samples[:, ::-1]
    return samples[:, first : first + count]


def noise_samples(
    path: Path, acquisitions: Acquisitions, heads: NDArray, rows: Rows, header: Header
) -> NDArray[np.complex64] | None:
    """Noise samples ``[coil, sample]`` at the level that they have in the averaged imaging lines.

    White noise has a variance proportional to the bandwidth, so the ratio of the dwell times counts, as does the part
    of the noise scan's bandwidth that the receiver's filter lets through, where the header gives it.
    """
    if not rows.noise.any():
        return None
    noise_rows, parts, total = np.flatnonzero(rows.noise), [], 0
    coils = int(heads["active_channels"][noise_rows[0]])
    for samples in acquisitions(noise_rows, coils):
        parts.append(samples)
        total += samples.shape[1]
        if total >= _NOISE_SAMPLES:
            break
    noise = np.concatenate(parts, axis=1)
    if not np.isfinite(noise).all():
        raise ReconError(f"{path}: the noise scan has NaN or infinite values; export the scan again")
    dwell = float(heads["sample_time_us"][noise_rows[0]]), float(heads["sample_time_us"][rows.imaging][0])
    variance = dwell[0] / dwell[1] if min(dwell) > 0 and np.isfinite(dwell).all() else 1.0
    bandwidth = 1.0 if header.relative_noise_bandwidth is None else header.relative_noise_bandwidth
    variance /= bandwidth * (header.averages or 1)
    return noise * np.float32(np.sqrt(variance))
