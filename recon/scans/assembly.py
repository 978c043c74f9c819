"""From a list of readouts to a scan: what all raw formats share that are such lists, 2-D multi-slice and 3-D."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recon.acquisition.masks import calibration_extent
from recon.digest import file_sha256
from recon.errors import ReconError
from recon.foreign.sizes import check_declared
from recon.header import identity_of
from recon.scan import Scan
from recon.scans.acquisition_rows import (
    Rows,
    common_coils,
    layouts,
    measurement_words,
    refuse_places,
    refuse_several,
)
from recon.scans.ismrmrd_geometry import scan_geometry, volume_geometry
from recon.scans.ismrmrd_header import Encoding
from recon.scans.ismrmrd_layout import matrix_size, sampling, slice_order
from recon.scans.readouts import Acquisitions, kspace_reader, noise_samples
from recon.scans.volume import VolumeSize, partition_heads, volume_reader, volume_sampling

_EVERYWHERE = np.ones((), bool)  # of a separate calibration scan nobody says what was sampled


@dataclass(frozen=True)
class Acquired:
    """A raw file's readouts. ``heads`` have ISMRMRD's field names; ``notes`` are for people: what was left out."""

    path: Path
    heads: NDArray
    rows: Rows
    encodings: list[Encoding]
    acquisitions: Acquisitions
    notes: tuple[str, ...] = ()
    digest: str | None = None  # of what is not a file; else the file's own


def assembled(raw: Acquired, whole: NDArray[np.bool_] | None = None) -> Scan:
    """The scan of a raw file or of acquisitions that are arriving; reads the noise scan, no image data.

    ``whole [acquisition]`` (default: all), of 2-D scans, tells which acquisitions belong to slices that are complete:
    mask and averages are taken of them, and only they can be read; places and order of the slices are taken of all.

    Averages and repeated lines are averaged. Calibration lines of the same encoding join the mask; a separate
    calibration scan becomes ``calibration_kspace`` and gives the calibration extent. A 3-D scan becomes slices after
    the transform along its readout: axes phase, partition, and the slices along the readout.

    Raises ReconError for non-Cartesian or EPI trajectories, repetitions, several echoes or slabs, masks that change
    from slice to slice, and headers that contradict the data.
    """
    encoding, imaging = raw.encodings[raw.rows.space], raw.heads[raw.rows.imaging]
    refuse_unsupported(raw.path, encoding, imaging)
    refuse_places(raw.path, imaging)
    coils = common_coils(raw.path, raw.heads, raw.rows)
    volume = encoding.encoded_matrix[2] > 1
    if raw.digest is None:
        _refuse_size(raw.path, encoding, imaging, coils)
    counts, parts = _volume(raw, encoding, coils) if volume else _slices(raw, encoding, coils, whole)
    averages = int(counts[counts > 0].min())
    header = replace(encoding.scan, averages=averages if averages > 1 else None)
    scan = Scan(
        path=raw.path,
        digest=file_sha256(raw.path) if raw.digest is None else raw.digest,
        contrast=encoding.contrast,
        noise=noise_samples(raw.path, raw.acquisitions, raw.heads, raw.rows, header),
        header=replace(header, slice_thickness_mm=None) if volume else header,
        notes=(*raw.notes, *_uneven(counts)),
        **parts,
    )
    return replace(scan, identity=identity_of(scan.identity, *measurement_words(imaging)))


def _uneven(counts: NDArray[np.int64]) -> list[str]:
    """A note where some lines are averages of more measurements than others; ``counts``: of each, 0 where none."""
    measured = counts[counts > 0]
    least, most = int(measured.min()), int(measured.max())
    if least == most:
        return []
    return [f"lines are averages of {least} to {most} measurements: the noise is taken for that of {least} everywhere"]


def _slices(
    raw: Acquired, encoding: Encoding, coils: int, whole: NDArray[np.bool_] | None
) -> tuple[NDArray[np.int64], dict[str, Any]]:
    """How often each line was measured, and the fields of a 2-D multi-slice scan."""
    path, imaging = raw.path, raw.heads[raw.rows.imaging]
    order = slice_order(imaging)
    readout, phase = matrix_size(encoding, imaging)
    shape = (len(order), coils, readout, phase)
    rows = raw.rows if whole is None else raw.rows.of(whole)
    layout, separate = layouts(path, raw.heads, rows, raw.encodings, order, (readout, phase))
    sampled = np.arange(len(order)) if whole is None else np.unique(layout.slices)
    counts, mask = sampling(path, layout, sampled, readout, phase)
    calibration = calibration_extent(mask, readout)
    if separate is not None:
        _, calibration_mask = sampling(path, separate, sampled, readout, phase)
        calibration = calibration_extent(calibration_mask, readout)
    voxel, affine, image_shape = scan_geometry(encoding, imaging, order, readout, phase)
    return counts, {
        "shape": shape,
        "read_kspace": kspace_reader(path, raw.acquisitions, layout, shape, mask),
        "mask": mask,
        "calibration": calibration,
        "image_shape": image_shape,
        "voxel_size": voxel,
        "affine": affine,
        "phase_limits": _phase_limits(encoding, phase, mask),
        "calibration_kspace": kspace_reader(path, raw.acquisitions, separate, shape, _EVERYWHERE) if separate else None,
    }


def _volume(raw: Acquired, encoding: Encoding, coils: int) -> tuple[NDArray[np.int64], dict[str, Any]]:
    """How often each line was measured, and the fields of a 3-D scan."""
    path, imaging = raw.path, raw.heads[raw.rows.imaging]
    if np.unique(imaging["idx"]["slice"]).size > 1:
        raise ReconError(f"{path}: several 3-D slabs; recon reads scans with one, export them apart")
    readout, phase = matrix_size(encoding, imaging)
    partitions = encoding.encoded_matrix[2]
    heads = partition_heads(path, raw.heads, raw.rows, encoding)
    order = {partition: partition for partition in range(partitions)}
    layout, separate = layouts(path, heads, raw.rows, raw.encodings, order, (readout, phase))
    voxel, affine, (rows, *image_shape) = volume_geometry(encoding, imaging, (readout, phase, partitions))
    size = VolumeSize(readout, rows, coils, phase, partitions)
    counts, mask = volume_sampling(layout, size)
    calibration = calibration_extent(mask, phase)
    if separate is not None:
        calibration = calibration_extent(volume_sampling(separate, size)[1], phase)
    return counts, {
        "shape": (rows, coils, phase, partitions),
        "read_kspace": volume_reader(path, raw.acquisitions, layout, size, mask),
        "mask": mask,
        "calibration": calibration,
        "image_shape": tuple(image_shape),
        "voxel_size": voxel,
        "affine": affine,
        "calibration_kspace": volume_reader(path, raw.acquisitions, separate, size, _EVERYWHERE) if separate else None,
    }


def refuse_unsupported(path: Path, encoding: Encoding, imaging: NDArray) -> None:
    """Raises ReconError for imaging heads of a trajectory or an encoding that recon does not read."""
    if encoding.trajectory == "epi":
        raise ReconError(f"{path}: EPI readouts need ghost and ramp correction first, which recon does not do")
    if encoding.trajectory != "cartesian":
        raise ReconError(f"{path}: {encoding.trajectory} trajectory; recon reads Cartesian scans only")
    if encoding.encoded_matrix[2] <= 1 and np.unique(imaging["idx"]["kspace_encode_step_2"]).size > 1:
        raise ReconError(f"{path}: its lines are those of a 3-D scan, its header that of 2-D slices; export again")
    refuse_several(path, imaging)


def _refuse_size(path: Path, encoding: Encoding, imaging: NDArray, coils: int) -> None:
    """Raises ReconError for a matrix that the file's bytes cannot fill, whatever the acceleration."""
    declared = 8 * coils * math.prod(encoding.encoded_matrix) * np.unique(imaging["idx"]["slice"]).size
    check_declared(path, "its k-space matrix", declared, path.stat().st_size, packed=True)


def _phase_limits(encoding: Encoding, phase: int, mask: NDArray[np.bool_]) -> tuple[int, int] | None:
    """Half-open range of encoded lines; widened where the data has lines that the header's limits leave out."""
    limit = encoding.limits.get("kspace_encoding_step_1")
    if limit is None:
        return None
    sampled = np.flatnonzero(mask if mask.ndim == 1 else mask.any(axis=0))
    first = max(phase // 2 - limit.center + limit.minimum, 0)
    last = min(phase // 2 - limit.center + limit.maximum + 1, phase)
    return min(first, int(sampled[0])), max(last, int(sampled[-1]) + 1)
