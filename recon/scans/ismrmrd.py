"""ISMRMRD HDF5: raw acquisitions of any vendor after conversion (Inati et al. 2017, 10.1002/mrm.26089).

A file is a list of readouts, each with a header that says where in k-space it belongs. The headers are read once when
a scan is opened; the readouts of a slice only when that slice is asked for.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from recon.acquisition.masks import calibration_extent
from recon.digest import file_sha256
from recon.errors import ReconError
from recon.foreign.hdf5 import foreign_hdf5
from recon.foreign.schema import check_schema
from recon.header import Header, identity_of
from recon.scan import KspaceReader, Scan
from recon.scans.hdf5_schema import REMEDY, ismrmrd_parts
from recon.scans.ismrmrd_geometry import scan_geometry
from recon.scans.ismrmrd_header import Encoding, parse_encodings
from recon.scans.ismrmrd_layout import Layout, matrix_size, merge, place_readouts, places, sampling, slice_order
from recon.scans.ismrmrd_table import read_heads
from recon.scans.reading import checked_index, checked_slice, is_hdf5

_NOISE_SAMPLES = 1 << 17  # enough for a covariance of 64 coils to 1 %
_SINGLE = {"repetition": "repetitions", "contrast": "echoes", "phase": "cardiac phases", "set": "sets"}


def recognises(path: Path) -> bool:
    """Whether a root group of the HDF5 file holds an ISMRMRD ``xml`` header. Raises ReconError when truncated."""
    if not is_hdf5(path):
        return False
    with foreign_hdf5(path) as file:
        return _group(file) is not None


def open_file(path: Path) -> Scan:
    """Open a 2-D multi-slice Cartesian scan; reads the acquisition headers and the noise scan, no image data.

    Averages and repeated lines are averaged. Calibration lines of the same encoding join the mask; a separate
    calibration scan becomes ``calibration_kspace`` and gives the calibration extent.

    Raises ReconError for images without acquisitions, non-Cartesian or EPI trajectories, repetitions, several
    echoes, 3-D encoding, masks that change from slice to slice, and headers that contradict the data.
    """
    path = Path(path)
    with foreign_hdf5(path) as file:
        group = _group(file)
        assert group is not None, "recognises() comes first"
        check_schema(path, file, ismrmrd_parts(group.name), REMEDY)
        encodings = parse_encodings(np.asarray(group["xml"]).reshape(-1)[0], path)
        heads = read_heads(path, group)
        name = f"{group.name}/data"
    rows = _sort_rows(path, heads, len(encodings))
    imaging = heads[rows.imaging]
    encoding = encodings[rows.space]
    _refuse_unsupported(path, encoding, imaging)
    _refuse_places(path, imaging)
    coils = int(imaging["active_channels"][0])
    if coils == 0 or (heads["active_channels"][rows.imaging | rows.calibration | rows.noise] != coils).any():
        raise ReconError(f"{path}: acquisitions have {coils} or a varying number of coils; export the scan again")
    order = slice_order(imaging)
    readout, phase = matrix_size(encoding, imaging)
    shape = (len(order), coils, readout, phase)
    layout, separate = _layouts(path, heads, rows, encodings, shape)
    counts, mask = sampling(path, layout, len(order), readout, phase)
    calibration = calibration_extent(mask, readout)
    if separate is not None:
        _, calibration_mask = sampling(path, separate, len(order), readout, phase)
        calibration = calibration_extent(calibration_mask, readout)
    voxel, affine, image_shape = scan_geometry(encoding, imaging, order, readout, phase)
    averages = int(counts[counts > 0].min())
    header = replace(encoding.scan, averages=averages if averages > 1 else None)
    scan = Scan(
        path=path,
        digest=file_sha256(path),
        shape=shape,
        read_kspace=_reader(path, name, layout, shape, mask),
        mask=mask,
        calibration=calibration,
        image_shape=image_shape,
        contrast=encoding.contrast,
        voxel_size=voxel,
        affine=affine,
        phase_limits=_phase_limits(encoding, phase, mask),
        noise=_noise(path, name, heads, rows, header),
        calibration_kspace=_reader(path, name, separate, shape, np.ones((), bool)) if separate else None,
        header=header,
    )
    return replace(scan, identity=identity_of(scan.identity, *_measurement(heads)))


def _measurement(heads: NDArray) -> list[str]:
    """What tells two measurements of one protocol apart: counters and clock of the scanner, whole numbers."""
    return [heads[name].tobytes().hex() for name in ("measurement_uid", "acquisition_time_stamp", "scan_counter")]


@dataclass(frozen=True)
class _Rows:
    """Which acquisitions of a file are what, each ``[acquisition]``, and the encoding of the imaging ones."""

    noise: NDArray[np.bool_]
    imaging: NDArray[np.bool_]
    calibration: NDArray[np.bool_]  # lines for calibration alone, and those of another encoding
    space: int


def _sort_rows(path: Path, heads: NDArray, encodings: int) -> _Rows:
    """Raises ReconError when nothing is for imaging, or it names an encoding that the header does not have."""
    import ismrmrd.constants as flags

    def flagged(*numbers: int) -> NDArray[np.bool_]:
        bits = np.uint64(sum(1 << (number - 1) for number in numbers))
        return (heads["flags"] & bits) != 0

    noise = flagged(flags.ACQ_IS_NOISE_MEASUREMENT)
    ignored = noise | flagged(
        flags.ACQ_IS_NAVIGATION_DATA,
        flags.ACQ_IS_PHASECORR_DATA,
        flags.ACQ_IS_HPFEEDBACK_DATA,
        flags.ACQ_IS_DUMMYSCAN_DATA,
        flags.ACQ_IS_RTFEEDBACK_DATA,
        flags.ACQ_IS_SURFACECOILCORRECTIONSCAN_DATA,
        flags.ACQ_IS_PHASE_STABILIZATION_REFERENCE,
        flags.ACQ_IS_PHASE_STABILIZATION,
    )
    both = flagged(flags.ACQ_IS_PARALLEL_CALIBRATION_AND_IMAGING)
    calibration = flagged(flags.ACQ_IS_PARALLEL_CALIBRATION) & ~both & ~ignored
    imaging = ~ignored & ~calibration
    if not imaging.any():
        raise ReconError(f"{path}: holds no imaging acquisitions, only noise or calibration; export the whole scan")
    space = int(heads["encoding_space_ref"][imaging][0])
    if space >= encodings:
        raise ReconError(f"{path}: acquisitions name encoding {space}, but the header has {encodings}")
    elsewhere = imaging & (heads["encoding_space_ref"] != space)
    return _Rows(noise, imaging & ~elsewhere, calibration | elsewhere, space)


def _layouts(
    path: Path, heads: NDArray, rows: _Rows, encodings: list[Encoding], shape: tuple[int, int, int, int]
) -> tuple[Layout, Layout | None]:
    """Where the imaging lines go, calibration lines of their own encoding among them; and a separate calibration
    scan."""
    _, _, readout, phase = shape
    encoding = encodings[rows.space]
    order = slice_order(heads[rows.imaging])
    layout = place_readouts(path, heads, np.flatnonzero(rows.imaging), encoding, readout, phase, order)
    if not rows.calibration.any():
        return layout, None
    other = encodings[min(int(heads["encoding_space_ref"][rows.calibration][0]), len(encodings) - 1)]
    separate = place_readouts(path, heads, np.flatnonzero(rows.calibration), other, readout, phase, order, encoding)
    repeats = np.isin(places(separate, phase), places(layout, phase)).any()
    if other is encoding and encoding.calibration_mode not in ("separate", "external") and not repeats:
        return merge(layout, separate), None
    return layout, separate


def _group(file: h5py.File) -> h5py.Group | None:
    for entry in file.values():
        if isinstance(entry, h5py.Group) and "xml" in entry:
            return entry
    return None


def _refuse_unsupported(path: Path, encoding: Encoding, heads: NDArray) -> None:
    if encoding.trajectory == "epi":
        raise ReconError(f"{path}: EPI readouts need ghost and ramp correction first, which recon does not do")
    if encoding.trajectory != "cartesian":
        raise ReconError(f"{path}: {encoding.trajectory} trajectory; recon reads Cartesian scans only")
    if encoding.encoded_matrix[2] > 1 or np.unique(heads["idx"]["kspace_encode_step_2"]).size > 1:
        raise ReconError(
            f"{path}: 3-D encoding; recon reads 2-D multi-slice ISMRMRD, "
            "export an array and import it with 'recon convert --axes coil,readout,phase,phase2'"
        )
    for counter, name in _SINGLE.items():
        values = np.unique(heads["idx"][counter])
        if values.size > 1:
            raise ReconError(f"{path}: {values.size} {name}; recon reads static scans with one, export them apart")


def _refuse_places(path: Path, heads: NDArray) -> None:
    """Raises ReconError for positions and directions that are NaN or infinite; directions of zero say nothing."""
    for name in ("position", "read_dir", "phase_dir", "slice_dir"):
        broken = ~np.isfinite(heads[name]).all(axis=1)
        if broken.any():
            raise ReconError(
                f"{path}: {name} of {broken.sum()} of {heads.size} imaging acquisitions is NaN or infinite "
                f"(first: number {np.flatnonzero(broken)[0]}); export the scan again"
            )


def _phase_limits(encoding: Encoding, phase: int, mask: NDArray[np.bool_]) -> tuple[int, int] | None:
    """Half-open range of encoded lines; widened where the data has lines that the header's limits leave out."""
    limit = encoding.limits.get("kspace_encoding_step_1")
    if limit is None:
        return None
    sampled = np.flatnonzero(mask if mask.ndim == 1 else mask.any(axis=0))
    first = max(phase // 2 - limit.center + limit.minimum, 0)
    last = min(phase // 2 - limit.center + limit.maximum + 1, phase)
    return min(first, int(sampled[0])), max(last, int(sampled[-1]) + 1)


def _reader(
    path: Path, name: str, layout: Layout, shape: tuple[int, int, int, int], mask: NDArray[np.bool_]
) -> KspaceReader:
    _, coils, readout, phase = shape

    def read(index: int) -> NDArray[np.complex64]:
        checked_index(path, index, shape[0])
        mine = np.flatnonzero(layout.slices == index)
        total = np.zeros((coils, readout, phase), np.complex64)
        count = np.zeros(phase, np.int64)
        with foreign_hdf5(path) as file:
            for place, samples in zip(mine, _acquisitions(path, file[name], layout.rows[mine], coils), strict=True):
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

    return read


def _acquisitions(
    path: Path, data: h5py.Dataset, rows: NDArray[np.int64], coils: int
) -> Iterator[NDArray[np.complex64]]:
    """Samples ``[coil, sample]`` of the given rows, in their order; neighbouring rows are read together."""
    breaks = np.flatnonzero(np.diff(rows) != 1) + 1
    for run in np.split(rows, breaks):
        for row, values in zip(run, data.fields("data")[run[0] : run[-1] + 1], strict=True):
            if values.size == 0 or values.size % (2 * coils):
                raise ReconError(f"{path}: acquisition {row} is truncated ({values.size} values); export again")
            yield np.ascontiguousarray(values, np.float32).view(np.complex64).reshape(coils, -1)


def _noise(
    path: Path,
    name: str,
    heads: NDArray,
    rows: _Rows,
    header: Header,
) -> NDArray[np.complex64] | None:
    """Noise samples ``[coil, sample]`` at the level that they have in the averaged imaging lines.

    White noise has a variance proportional to the bandwidth, so the ratio of the dwell times counts, as does the part
    of the noise scan's bandwidth that the receiver's filter lets through, where the header gives it.
    """
    if not rows.noise.any():
        return None
    noise_rows, parts, total = np.flatnonzero(rows.noise), [], 0
    coils = int(heads["active_channels"][noise_rows[0]])
    with foreign_hdf5(path) as file:
        for samples in _acquisitions(path, file[name], noise_rows, coils):
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
