"""fastMRI HDF5: multi-coil brain and knee files, fully sampled and undersampled; also what recon itself writes.

The public layout (Zbontar et al. 2018, arXiv:1811.08839): dataset ``kspace`` ``[slice, coil, readout, phase]``,
``ismrmrd_header`` (XML), ``reconstruction_rss`` ``[slice, readout, phase]``, ``mask`` ``[phase]`` in undersampled
files, attributes ``acquisition``, ``max``, ``norm``, ``acceleration``, ``num_low_frequency``. What that layout cannot
hold (contrast, affine, noise, 2-D masks, separate calibration) lies in a group ``recon`` that other readers ignore.
"""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from recon.acquisition.masks import calibration_extent, detect_mask, net_acceleration
from recon.atomic import atomic_path
from recon.errors import ReconError
from recon.formats.header import EncodingLimit, Header, build_header, parse_headers
from recon.formats.reading import checked_index, checked_slice, file_digest, is_hdf5, open_hdf5
from recon.scan import ImageReader, KspaceReader, Scan

CONTRASTS = {
    "AXT1": "T1",
    "AXT1PRE": "T1",
    "AXT1POST": "T1POST",
    "AXT2": "T2",
    "AXFLAIR": "FLAIR",
    "CORPD_FBK": "PD",
    "CORPDFS_FBK": "PDFS",
}
# Facts that the header has no place for: a pseudonym of the person, where the anatomy is from, its licence.
_PROVENANCE = ("subject", "origin", "licence")
_OWN = "recon"  # the group and its attributes that only this toolkit reads


def recognises(path: Path) -> bool:
    """Whether ``path`` is an HDF5 file with a root dataset ``kspace``. Raises ReconError for a truncated HDF5 file."""
    if not is_hdf5(path):
        return False
    with open_hdf5(path) as file:
        return isinstance(file.get("kspace"), h5py.Dataset)


def open_file(path: Path) -> Scan:
    """Open a fastMRI file; reads its header and up to three slices (to find a mask), nothing else.

    Raises ReconError for truncated files, single-coil files, masks that do not fit or are empty, damaged headers.
    """
    path = Path(path)
    with open_hdf5(path) as file:
        shape = _shape(path, file["kspace"])
        header = _header(path, file)
        own = dict(file[_OWN].attrs) if _OWN in file else {}
        extras = {name: file[_OWN][name][()] for name in ("noise", "noise_covariance") if name in file.get(_OWN, {})}
        has_calibration = "calibration_kspace" in file.get(_OWN, {})
        reference = file.get("reconstruction_rss")
        reference_shape = _reference_shape(path, reference, shape) if reference is not None else None
        limits = _phase_limits(path, own, header, shape[3])
        mask = _mask(path, file, shape, limits)
        acquisition = str(file.attrs.get("acquisition", ""))
        patient = str(file.attrs.get("patient_id", ""))
    facts: dict[str, str | float | int] = {"format": "fastMRI HDF5"}
    if acquisition:
        facts["acquisition"] = acquisition
    facts.update(header.facts if header else {})
    facts.update({name: str(own[name]) for name in ("source_digest", *_PROVENANCE) if name in own})
    if "subject" not in facts and patient:
        # A pseudonym that keeps a person's scans together in a split without telling who it is.
        facts["subject"] = hashlib.sha256(f"recon subject {patient}".encode()).hexdigest()[:16]
    voxel_size = _voxel_size(own, header, shape)
    affine = np.asarray(own["affine"], float).reshape(4, 4) if "affine" in own else None
    return Scan(
        path=path,
        digest=file_digest(path),
        shape=shape,
        read_kspace=_kspace_reader(path, "kspace", shape, mask),
        mask=mask,
        calibration=calibration_extent(mask, shape[2]),
        image_shape=reference_shape or _image_shape(header, shape),
        contrast=str(own.get("contrast") or CONTRASTS.get(acquisition.upper(), "unknown")),
        voxel_size=voxel_size,
        affine=affine,
        phase_limits=limits,
        noise=_complex(extras.get("noise")),
        noise_covariance=_complex(extras.get("noise_covariance")),
        calibration_kspace=(
            _kspace_reader(path, f"{_OWN}/calibration_kspace", shape, np.ones((), bool)) if has_calibration else None
        ),
        read_reference=_reference_reader(path, shape[0]) if reference_shape else None,
        facts=facts,
    )


class FastmriWriter:
    """Open fastMRI file that takes one slice at a time; made by ``write_fastmri``."""

    def __init__(self, file: h5py.File, shape: tuple[int, int, int, int], image_shape: tuple[int, int]) -> None:
        self._file, self._shape, self._image_shape = file, shape, image_shape
        self.written: set[int] = set()
        self.maximum = 0.0
        self.energy = 0.0

    def put(
        self,
        index: int,
        kspace: NDArray,
        reference: NDArray | None = None,
        calibration: NDArray | None = None,
    ) -> None:
        """Store slice ``index``: ``kspace`` (and a separate ``calibration`` scan) ``[coil, readout, phase]``, and the
        magnitude ``reference`` ``[readout, phase]`` of the image shape. Raises ReconError when a size is wrong or a
        value is not finite."""
        self._store("kspace", index, kspace, self._shape[1:], np.complex64)
        if calibration is not None:
            self._store(f"{_OWN}/calibration_kspace", index, calibration, self._shape[1:], np.complex64)
        if reference is not None:
            self._store("reconstruction_rss", index, reference, self._image_shape, np.float32)
            self.maximum = max(self.maximum, float(np.max(reference)))
            self.energy += float(np.sum(np.square(reference, dtype=np.float64)))
        self.written.add(index)

    def _store(self, name: str, index: int, values: NDArray, shape: tuple[int, ...], kind: Any) -> None:
        if values.shape != shape:
            raise ReconError(f"slice {index}: {name} is {values.shape}, but the file is laid out for {shape}")
        if not np.isfinite(values).all():
            raise ReconError(f"slice {index}: {name} has NaN or infinite values; nothing is written")
        if name not in self._file:
            self._file.create_dataset(name, (self._shape[0], *shape), kind, chunks=_chunks(shape))
        self._file[name][index] = values


@contextmanager
def write_fastmri(
    path: str | Path,
    *,
    shape: tuple[int, int, int, int],
    contrast: str,
    image_shape: tuple[int, int] | None = None,
    voxel_size: tuple[float, float, float] | None = None,
    affine: NDArray | None = None,
    mask: NDArray[np.bool_] | None = None,
    phase_limits: tuple[int, int] | None = None,
    noise: NDArray | None = None,
    noise_covariance: NDArray | None = None,
    source_digest: str | None = None,
    facts: Mapping[str, str | float | int] | None = None,
) -> Iterator[FastmriWriter]:
    """Write a scan in the fastMRI form, slice by slice through the writer's ``put``; never holds more than one slice.

    shape: of k-space, (slice, coil, readout, phase). image_shape: (readout, phase) without readout oversampling.
    voxel_size: mm along readout, phase, slice. affine: 4x4, (readout, phase, slice) index -> RAS+ mm.
    mask: ``[phase]`` or ``[readout, phase]``, when undersampled. phase_limits: half-open range of encoded lines.
    noise: ``[coil, sample]``; noise_covariance: ``[coil, coil]``, E[n n^H]. source_digest: of the fully sampled scan.
    facts: vendor, field_strength_t, te_ms, tr_ms ... and subject (a pseudonym), origin, licence; no patient identity
    is ever written.

    The file appears under ``path`` only when the block has succeeded and every slice was put. Raises ReconError.
    """
    image_shape = image_shape or (shape[2], shape[3])
    facts = dict(facts or {})
    with atomic_path(path) as temporary, _hdf5_for_writing(temporary) as file:
        own = file.create_group(_OWN)
        own.attrs["contrast"] = contrast
        own.attrs["image_shape"] = image_shape
        if voxel_size is not None:
            own.attrs["voxel_size_mm"] = voxel_size
        if affine is not None:
            own.attrs["affine"] = np.asarray(affine, float)
        if phase_limits is not None:
            own.attrs["phase_limits"] = phase_limits
        if source_digest is not None:
            own.attrs["source_digest"] = source_digest
        for name in _PROVENANCE:
            if name in facts:
                own.attrs[name] = str(facts[name])
        if noise is not None:
            own["noise"] = np.asarray(noise, np.complex64)
        if noise_covariance is not None:
            own["noise_covariance"] = np.asarray(noise_covariance, np.complex64)
        file.attrs["acquisition"] = str(facts.get("acquisition") or _acquisition(contrast))
        file["ismrmrd_header"] = build_header(_scan_header(shape, image_shape, voxel_size, phase_limits, facts))
        if mask is not None:
            _write_mask(file, np.asarray(mask, bool), shape, phase_limits)
        writer = FastmriWriter(file, shape, image_shape)
        yield writer
        if missing := sorted(set(range(shape[0])) - writer.written):
            raise ReconError(f"{path}: slice {missing[0]} was not written; nothing is kept")
        if "reconstruction_rss" in file:
            file.attrs["max"] = writer.maximum
            file.attrs["norm"] = float(np.sqrt(writer.energy))


@contextmanager
def _hdf5_for_writing(path: Path) -> Iterator[h5py.File]:
    """An HDF5 file whose errors on a full disk are OSError, also those that surface when it is closed."""
    try:
        with h5py.File(path, "w") as file:
            yield file
            file.flush()
    except RuntimeError as error:
        raise OSError(None, " ".join(str(error).split())) from error


def _write_mask(
    file: h5py.File, mask: NDArray[np.bool_], shape: tuple[int, ...], limits: tuple[int, int] | None
) -> None:
    if mask.shape not in (shape[3:], shape[2:]):
        raise ReconError(f"mask {mask.shape} does not fit k-space of {shape[2]} x {shape[3]}")
    if mask.ndim == 1:
        file["mask"] = mask
    else:  # fastMRI's own key is 1-D; other readers must not take a 2-D mask for one
        file[f"{_OWN}/mask"] = mask
    file.attrs["acceleration"] = net_acceleration(mask, limits)
    file.attrs["num_low_frequency"] = calibration_extent(mask, shape[2])[1]


def _scan_header(
    shape: tuple[int, int, int, int],
    image_shape: tuple[int, int],
    voxel_size: tuple[float, float, float] | None,
    limits: tuple[int, int] | None,
    facts: Mapping[str, str | float | int],
) -> Header:
    slices, _, readout, phase = shape
    voxel = voxel_size or (1.0, 1.0, 1.0)  # the header demands a field of view; our own group says what is known
    first, last = limits or (0, phase)
    return Header(
        encoded_matrix=(readout, phase, 1),
        encoded_fov=(readout * voxel[0], phase * voxel[1], voxel[2]),
        recon_matrix=(*image_shape, 1),
        recon_fov=(image_shape[0] * voxel[0], image_shape[1] * voxel[1], voxel[2]),
        limits={
            "kspace_encoding_step_1": EncodingLimit(0, last - first - 1, phase // 2 - first),
            "slice": EncodingLimit(0, slices - 1, 0),
        },
        facts=facts,
    )


def _acquisition(contrast: str) -> str:
    return next((name for name, known in CONTRASTS.items() if known == contrast), f"AX{contrast.upper()}")


def _chunks(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (1, *shape)


def _shape(path: Path, kspace: h5py.Dataset) -> tuple[int, int, int, int]:
    if kspace.ndim == 3:
        raise ReconError(
            f"{path}: single-coil file (kspace {kspace.shape}); recon needs the multi-coil file of the same scan"
        )
    if kspace.ndim != 4 or kspace.dtype.kind != "c":
        raise ReconError(
            f"{path}: kspace is {kspace.dtype} {kspace.shape}, not complex [slice, coil, readout, phase]; "
            "bring it into this form with 'recon convert'"
        )
    if 0 in kspace.shape:
        axis = ("slices", "coils", "readout samples", "phase lines")[kspace.shape.index(0)]
        raise ReconError(f"{path}: kspace {kspace.shape} has no {axis}; export the scan again")
    slices, coils, readout, phase = map(int, kspace.shape)
    return slices, coils, readout, phase


def _header(path: Path, file: h5py.File) -> Header | None:
    if "ismrmrd_header" not in file:
        return None
    header = parse_headers(file["ismrmrd_header"][()], path)[0]
    if _OWN in file and "voxel_size_mm" not in file[_OWN].attrs:
        # We wrote this header and did not know the voxel size: its field of view is only a placeholder.
        unknown = (float("nan"),) * 3
        header = replace(header, encoded_fov=unknown, recon_fov=unknown)
    return header


def _phase_limits(path: Path, own: Mapping[str, Any], header: Header | None, phase: int) -> tuple[int, int] | None:
    """Half-open range of encoded lines; the array's centre ``phase // 2`` holds the line numbered ``center``."""
    if "phase_limits" in own:
        first, last = (int(value) for value in own["phase_limits"])
    elif header and "kspace_encoding_step_1" in header.limits:
        limit = header.limits["kspace_encoding_step_1"]
        first = phase // 2 - limit.center + limit.minimum
        last = phase // 2 - limit.center + limit.maximum + 1
    else:
        return None
    first, last = max(first, 0), min(last, phase)
    if first >= last:
        raise ReconError(f"{path}: the header's encoding limits leave none of the {phase} phase lines")
    return (first, last)


def _mask(
    path: Path, file: h5py.File, shape: tuple[int, int, int, int], limits: tuple[int, int] | None
) -> NDArray[np.bool_]:
    """The stored mask, else the one that a few slices show; never True outside the encoding limits."""
    stored = file.get(f"{_OWN}/mask", file.get("mask"))
    if stored is not None:
        mask = np.squeeze(np.asarray(stored[()])).astype(bool)
        if mask.shape not in (shape[3:], shape[2:]):
            raise ReconError(
                f"{path}: mask {mask.shape} and k-space of {shape[2]} x {shape[3]} (readout x phase) differ in size"
            )
    else:
        mask = mask_of_slices(path, shape, lambda index: file["kspace"][index])
    if limits is not None:
        inside = np.zeros(shape[3], bool)
        inside[limits[0] : limits[1]] = True
        mask = mask & inside
    if not mask.any():
        raise ReconError(f"{path}: the mask is all zero, no line was sampled; export the scan again")
    return mask


def mask_of_slices(path: Path, shape: tuple[int, int, int, int], read: KspaceReader) -> NDArray[np.bool_]:
    """The mask that the central, first and last slices show; empty slices do not vote.

    Raises ReconError when they differ (a mask that changes from slice to slice) or when all are empty.
    """
    found: NDArray[np.bool_] | None = None
    for index in dict.fromkeys((shape[0] // 2, 0, shape[0] - 1)):
        mask = detect_mask(read(index))
        if not mask.any():
            continue
        if found is not None and (found.shape != mask.shape or (found != mask).any()):
            raise ReconError(f"{path}: the sampling mask changes from slice to slice, which recon does not support")
        found = mask
    if found is None:
        raise ReconError(f"{path}: k-space is all zero, no line was sampled; export the scan again")
    return found


def _kspace_reader(path: Path, name: str, shape: tuple[int, int, int, int], mask: NDArray[np.bool_]) -> KspaceReader:
    def read(index: int) -> NDArray[np.complex64]:
        checked_index(path, index, shape[0])
        with open_hdf5(path) as file:
            kspace = file[name][index]
        return checked_slice(path, index, kspace, mask)

    return read


def _reference_shape(path: Path, reference: h5py.Dataset, shape: tuple[int, ...]) -> tuple[int, int]:
    if reference.ndim != 3 or reference.shape[0] != shape[0] or 0 in reference.shape:
        raise ReconError(f"{path}: reconstruction_rss {reference.shape} does not match kspace {tuple(shape)}")
    readout, phase = int(reference.shape[1]), int(reference.shape[2])
    if readout > shape[2] or phase > shape[3]:
        raise ReconError(f"{path}: reconstruction_rss {reference.shape} is larger than kspace {tuple(shape)}")
    return readout, phase


def _reference_reader(path: Path, slices: int) -> ImageReader:
    def read(index: int) -> NDArray[np.float32]:
        checked_index(path, index, slices)
        with open_hdf5(path) as file:
            image = np.asarray(file["reconstruction_rss"][index], np.float32)
        if not np.isfinite(image).all():
            raise ReconError(f"{path}: slice {index}: the stored reference has NaN or infinite values")
        return image

    return read


def _image_shape(header: Header | None, shape: tuple[int, int, int, int]) -> tuple[int, int]:
    """The header's reconstruction size, but never more than was measured: some volumes are narrower."""
    if header is None or min(header.recon_matrix[:2]) < 1:
        return shape[2], shape[3]
    return min(header.recon_matrix[0], shape[2]), min(header.recon_matrix[1], shape[3])


def _voxel_size(
    own: Mapping[str, Any], header: Header | None, shape: tuple[int, int, int, int]
) -> tuple[float, float, float] | None:
    """Millimetres along readout, phase, slice: the encoded field of view over the k-space samples that span it."""
    if "voxel_size_mm" in own:
        stored = own["voxel_size_mm"]
        return float(stored[0]), float(stored[1]), float(stored[2])
    if header is None:
        return None
    size = (header.encoded_fov[0] / shape[2], header.encoded_fov[1] / shape[3], header.recon_fov[2])
    return size if np.isfinite(size).all() and min(size) > 0 else None


def _complex(values: NDArray | None) -> NDArray[np.complex64] | None:
    return None if values is None else np.asarray(values, np.complex64)
