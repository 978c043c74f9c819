"""From the headers of acquisitions and a source of their samples to a ``Scan``: the one interpretation of ISMRMRD data.

A file gives all headers and reads samples when a slice is asked for; a stream gives those that have come so far. Both
come through here, so that a scan is the same whichever way it came.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recon.acquisition.masks import calibration_extent
from recon.errors import ReconError
from recon.header import Header, identity_of
from recon.scan import KspaceReader, Scan
from recon.scans.ismrmrd_geometry import scan_geometry
from recon.scans.ismrmrd_header import Encoding
from recon.scans.ismrmrd_layout import Layout, matrix_size, merge, place_readouts, places, sampling, slice_order
from recon.scans.ismrmrd_rows import Rows, refuse_coils, refuse_places, refuse_unsupported, sort_rows
from recon.scans.reading import checked_index, checked_slice

_NOISE_SAMPLES = 1 << 17  # enough for a covariance of 64 coils to 1 %

# Samples ``[coil, sample]`` of the acquisitions with these numbers, in their order, for so many coils.
Samples = Callable[[NDArray[np.int64], int], Iterator[NDArray[np.complex64]]]


@dataclass(frozen=True)
class Acquisitions:
    """The acquisitions of one measurement: ``heads [acquisition]`` in the order in which they were measured."""

    path: Path  # what errors name
    encodings: Sequence[Encoding]
    heads: NDArray
    samples: Samples


def scan_of(measured: Acquisitions, digest: str, whole: NDArray[np.bool_] | None = None) -> Scan:
    """The 2-D multi-slice Cartesian scan that these acquisitions are; of their samples only noise is read.

    ``whole [acquisition]`` (default: all) tells which acquisitions belong to slices that are complete: mask and
    averages are taken of them, and only they can be read; places and order of the slices are taken of all.

    Averages and repeated lines are averaged. Calibration lines of the same encoding join the mask; a separate
    calibration scan becomes ``calibration_kspace`` and gives the calibration extent. Raises ReconError for what recon
    does not read, and for headers that contradict the data.
    """
    path, heads = measured.path, measured.heads
    rows = sort_rows(path, heads, len(measured.encodings))
    imaging = heads[rows.imaging]
    encoding = measured.encodings[rows.space]
    refuse_unsupported(path, encoding, imaging)
    refuse_places(path, imaging)
    coils = refuse_coils(path, heads, rows)
    order = slice_order(imaging)
    readout, phase = matrix_size(encoding, imaging)
    shape = (len(order), coils, readout, phase)
    complete = np.ones(heads.size, bool) if whole is None else whole
    layout, separate = layouts(measured, rows, order, (readout, phase), complete)
    sampled = np.arange(len(order)) if whole is None else np.unique(layout.slices)
    counts, mask = sampling(path, layout, sampled, readout, phase)
    calibration = calibration_extent(mask, readout)
    if separate is not None:
        _, calibration_mask = sampling(path, separate, sampled, readout, phase)
        calibration = calibration_extent(calibration_mask, readout)
    voxel, affine, image_shape = scan_geometry(encoding, imaging, order, readout, phase)
    averages = int(counts[counts > 0].min())
    header = replace(encoding.scan, averages=averages if averages > 1 else None)
    everything = np.ones((), bool)
    scan = Scan(
        path=path,
        digest=digest,
        shape=shape,
        read_kspace=_reader(measured, layout, shape, mask),
        mask=mask,
        calibration=calibration,
        image_shape=image_shape,
        contrast=encoding.contrast,
        voxel_size=voxel,
        affine=affine,
        phase_limits=_phase_limits(encoding, phase, mask),
        noise=_noise(measured, rows, header),
        calibration_kspace=_reader(measured, separate, shape, everything) if separate else None,
        header=header,
    )
    return replace(scan, identity=identity_of(scan.identity, *_measurement(imaging)))


def _measurement(imaging: NDArray) -> list[str]:
    """What tells two measurements of one protocol apart: counters and clock of the scanner at the first line of an
    image, whole numbers. Of the first alone, because it is known before the last has come."""
    return [imaging[name][:1].tobytes().hex() for name in ("measurement_uid", "acquisition_time_stamp", "scan_counter")]


def layouts(
    measured: Acquisitions,
    rows: Rows,
    order: Mapping[int, int],
    matrix: tuple[int, int],
    chosen: NDArray[np.bool_],
) -> tuple[Layout, Layout | None]:
    """Where the ``chosen`` imaging lines go in a ``matrix`` (readout, phase), calibration lines of their own encoding
    among them; and a separate calibration scan."""
    path, heads, (readout, phase) = measured.path, measured.heads, matrix
    encoding = measured.encodings[rows.space]
    layout = place_readouts(path, heads, np.flatnonzero(rows.imaging & chosen), encoding, readout, phase, order)
    calibration = rows.calibration & chosen
    if not calibration.any():
        return layout, None
    space = int(heads["encoding_space_ref"][calibration][0])
    other = measured.encodings[min(space, len(measured.encodings) - 1)]
    separate = place_readouts(path, heads, np.flatnonzero(calibration), other, readout, phase, order, encoding)
    repeats = np.isin(places(separate, phase), places(layout, phase)).any()
    if other is encoding and encoding.calibration_mode not in ("separate", "external") and not repeats:
        return merge(layout, separate), None
    return layout, separate


def filled(
    measured: Acquisitions, index: int, layout: Layout, shape: tuple[int, int, int], mask: NDArray[np.bool_]
) -> NDArray[np.complex64]:
    """Kspace ``[coil, readout, phase]`` of slice ``index``, its repeated lines averaged, zero outside ``mask``."""
    path, (coils, readout, phase) = measured.path, shape
    mine = np.flatnonzero(layout.slices == index)
    total = np.zeros((coils, readout, phase), np.complex64)
    count = np.zeros(phase, np.int64)
    for place, samples in zip(mine, measured.samples(layout.rows[mine], coils), strict=True):
        if samples.shape[1] < layout.discard[place] + layout.kept[place]:
            row = layout.rows[place]
            raise ReconError(f"{path}: acquisition {row} has fewer samples than its header says; export again")
        if layout.reverse[place]:
            samples = samples[:, ::-1]
        kept = slice(layout.discard[place], layout.discard[place] + layout.kept[place])
        start, line = layout.starts[place], layout.lines[place]
        total[:, start : start + layout.kept[place], line] += samples[:, kept]
        count[line] += 1
    total /= np.maximum(count, 1).astype(np.float32)
    # Averages whose echoes end at different places have data beyond the mask, which is what all of them measured.
    return checked_slice(path, index, np.where(mask, total, np.complex64(0)), mask)


def _reader(
    measured: Acquisitions, layout: Layout, shape: tuple[int, int, int, int], mask: NDArray[np.bool_]
) -> KspaceReader:
    def read(index: int) -> NDArray[np.complex64]:
        checked_index(measured.path, index, shape[0])
        return filled(measured, index, layout, shape[1:], mask)

    return read


def _phase_limits(encoding: Encoding, phase: int, mask: NDArray[np.bool_]) -> tuple[int, int] | None:
    """Half-open range of encoded lines; widened where the data has lines that the header's limits leave out."""
    limit = encoding.limits.get("kspace_encoding_step_1")
    if limit is None:
        return None
    sampled = np.flatnonzero(mask if mask.ndim == 1 else mask.any(axis=0))
    first = max(phase // 2 - limit.center + limit.minimum, 0)
    last = min(phase // 2 - limit.center + limit.maximum + 1, phase)
    return min(first, int(sampled[0])), max(last, int(sampled[-1]) + 1)


def _noise(measured: Acquisitions, rows: Rows, header: Header) -> NDArray[np.complex64] | None:
    """Noise samples ``[coil, sample]`` at the level that they have in the averaged imaging lines.

    White noise has a variance proportional to the bandwidth, so the ratio of the dwell times counts, as does the part
    of the noise scan's bandwidth that the receiver's filter lets through, where the header gives it.
    """
    if not rows.noise.any():
        return None
    heads, path = measured.heads, measured.path
    noise_rows, parts, total = np.flatnonzero(rows.noise), [], 0
    for samples in measured.samples(noise_rows, int(heads["active_channels"][noise_rows[0]])):
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
