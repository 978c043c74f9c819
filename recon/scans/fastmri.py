"""fastMRI HDF5: multi-coil brain and knee files, fully sampled and undersampled; also what recon itself writes.

The public layout (Zbontar et al. 2018, arXiv:1811.08839): dataset ``kspace`` ``[slice, coil, readout, phase]``,
``ismrmrd_header`` (XML), ``reconstruction_rss`` ``[slice, readout, phase]``, ``mask`` ``[phase]`` in undersampled
files, attributes ``acquisition``, ``max``, ``norm``, ``acceleration``, ``num_low_frequency``. What that layout cannot
hold (contrast, affine, noise, 2-D masks, separate calibration) lies in a group ``recon`` that other readers ignore.
"""

import hashlib
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from recon.acquisition.masks import calibration_extent, detect_mask
from recon.contrast_names import canonical_contrast, contrast_of_protocol
from recon.digest import file_sha256
from recon.errors import ReconError, ReconWarning
from recon.foreign.hdf5 import foreign_hdf5
from recon.foreign.schema import check_schema
from recon.header import Header, header_from
from recon.scan import ImageReader, KspaceReader, Scan, identity_of_header
from recon.scans.fastmri_writer import (
    CONTRASTS,
    NAMED_BY_RECON,
    OWN,
    VERSION,
    FastmriWriter,
    ScanDescription,
    describe,
    write_fastmri,
)
from recon.scans.hdf5_schema import FASTMRI, REMEDY
from recon.scans.ismrmrd_header import Encoding, parse_encodings
from recon.scans.reading import checked_index, checked_slice, is_hdf5
from recon.scans.sampling_check import check_sampling

SEPARATE = f"{OWN}/calibration_kspace"

__all__ = [
    "FastmriWriter", "ScanDescription", "describe", "mask_of_slices", "open_file", "recognises", "write_fastmri",
]  # fmt: skip


def recognises(path: Path) -> bool:
    """Whether ``path`` is an HDF5 file with a root dataset ``kspace``. Raises ReconError for a truncated HDF5 file."""
    if not is_hdf5(path):
        return False
    with foreign_hdf5(path) as file:
        return isinstance(file.get("kspace"), h5py.Dataset)


def open_file(path: Path) -> Scan:
    """Open a fastMRI file; reads its header and up to three slices (to find or check a mask), nothing else.

    Raises ReconError for truncated files, single-coil files, masks that do not fit or are empty, damaged headers.
    """
    path = Path(path)
    with foreign_hdf5(path) as file:
        shape = _shape(path, file["kspace"])
        check_schema(path, file, FASTMRI, REMEDY)
        own = _own(path, file)
        encoding = _encoding(path, file)
        extras = {name: file[OWN][name][()] for name in ("noise", "noise_covariance") if name in file.get(OWN, {})}
        reference = file.get("reconstruction_rss")
        reference_shape = _reference_shape(path, reference, shape) if reference is not None else None
        limits = _trusted(path, file["kspace"], _phase_limits(path, own, encoding, shape[3]))
        mask = _mask(path, file, shape, limits)
        has_separate = SEPARATE in file
        if has_separate and file[SEPARATE].shape != shape:
            raise ReconError(f"{path}: '{SEPARATE}' is {file[SEPARATE].shape}, kspace {shape}; write the scan again")
        calibration = calibration_extent(_acquired(file[SEPARATE]) if has_separate else mask, shape[2])
        named = _header(path, file, own, encoding)
    contrast = canonical_contrast(str(own.get("contrast") or _contrast(named.protocol or "")))
    voxel_size = _voxel_size(own, encoding, shape)
    affine = np.asarray(own["affine"], float) if "affine" in own else None
    return Scan(
        path=path,
        digest=file_sha256(path),
        shape=shape,
        read_kspace=_kspace_reader(path, "kspace", shape, mask),
        mask=mask,
        calibration=calibration,
        image_shape=reference_shape or _image_shape(encoding, shape),
        contrast=contrast,
        voxel_size=voxel_size,
        affine=affine,
        phase_limits=limits,
        noise=_complex(extras.get("noise")),
        noise_covariance=_covariance(extras.get("noise_covariance")),
        calibration_kspace=_kspace_reader(path, SEPARATE, shape, np.ones((), bool)) if has_separate else None,
        read_reference=_reference_reader(path, shape[0]) if reference_shape else None,
        header=replace(named, protocol=None) if own.get(NAMED_BY_RECON) else named,
        source_digest=str(own["source_digest"]) if "source_digest" in own else None,
        # With the name that we gave, as ever: masks and noise of the same scan stay the same.
        identity=str(own.get("identity", "")) or identity_of_header(named, contrast, shape, voxel_size),
    )


def _own(path: Path, file: h5py.File) -> dict[str, Any]:
    """The attributes of our own group; none in files of others."""
    own: dict[str, Any] = dict(file[OWN].attrs) if OWN in file else {}
    own = {
        name: value.item() if isinstance(value, np.ndarray) and value.size == 1 else value
        for name, value in own.items()
    }
    if own.get("version", 1) > VERSION:
        raise ReconError(f"{path}: written by a newer recon (version {own['version']} of its scans); upgrade recon")
    return own


def _acquired(separate: h5py.Dataset) -> NDArray[np.bool_]:
    """The mask of a separate calibration scan, as its central, first or last slice shows it."""
    slices = separate.shape[0]
    masks = (detect_mask(separate[index]) for index in (slices // 2, 0, slices - 1))
    return next((mask for mask in masks if mask.any()), np.zeros(separate.shape[3], bool))


def _contrast(protocol: str) -> str:
    return CONTRASTS.get(protocol.upper()) or contrast_of_protocol(protocol)


def _header(path: Path, file: h5py.File, own: Mapping[str, Any], encoding: Encoding | None) -> Header:
    """What the XML says, and our own attributes where it has no place for them."""
    known = {} if encoding is None else encoding.scan.known()
    patient = _text(file.attrs.get("patient_id", ""))
    if patient:
        # A pseudonym that keeps a person's scans together in a split without telling who it is.
        known["subject"] = hashlib.sha256(f"recon subject {patient}".encode()).hexdigest()[:16]
    known["protocol"] = _text(file.attrs.get("acquisition", ""))
    try:
        header = header_from({**known, **own})
    except (TypeError, ValueError) as error:
        raise ReconError(f"{path}: an attribute of group '{OWN}' is damaged ({error}); write the scan again") from error
    return replace(header, protocol=header.protocol or None)


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


def _encoding(path: Path, file: h5py.File) -> Encoding | None:
    if "ismrmrd_header" not in file:
        return None
    encoding = parse_encodings(_text(file["ismrmrd_header"][()]), path)[0]
    if OWN in file and "voxel_size_mm" not in file[OWN].attrs:
        # We wrote this header and did not know the voxel size: its field of view is only a placeholder.
        unknown = (float("nan"),) * 3
        scan = replace(encoding.scan, slice_thickness_mm=None)
        encoding = replace(encoding, encoded_fov=unknown, recon_fov=unknown, scan=scan)
    return encoding


def _phase_limits(path: Path, own: Mapping[str, Any], encoding: Encoding | None, phase: int) -> tuple[int, int] | None:
    """Half-open range of encoded lines; the array's centre ``phase // 2`` holds the line numbered ``center``."""
    if "phase_limits" in own:
        first, last = (int(value) for value in own["phase_limits"])
    elif encoding and "kspace_encoding_step_1" in encoding.limits:
        limit = encoding.limits["kspace_encoding_step_1"]
        first = phase // 2 - limit.center + limit.minimum
        last = phase // 2 - limit.center + limit.maximum + 1
    else:
        return None
    first, last = max(first, 0), min(last, phase)
    if first >= last:
        raise ReconError(f"{path}: the header's encoding limits leave none of the {phase} phase lines")
    return (first, last)


def _trusted(path: Path, kspace: h5py.Dataset, limits: tuple[int, int] | None) -> tuple[int, int] | None:
    """The limits, unless the central slice has data outside them: then the header is wrong, not the data."""
    if limits is None:
        return None
    central = kspace[kspace.shape[0] // 2]
    if (central[..., : limits[0]] != 0).any() or (central[..., limits[1] :] != 0).any():
        warnings.warn(
            f"{path}: the header says that lines {limits[0]} to {limits[1] - 1} were encoded, but others hold data; "
            "its encoding limits are ignored",
            ReconWarning,
            stacklevel=3,
        )
        return None
    return limits


def _text(value: Any) -> str:
    value = np.asarray(value).reshape(-1)[0] if isinstance(value, np.ndarray) else value
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _mask(
    path: Path, file: h5py.File, shape: tuple[int, int, int, int], limits: tuple[int, int] | None
) -> NDArray[np.bool_]:
    """The stored mask, else the one that a few slices show; never True outside the encoding limits."""
    stored = file.get(f"{OWN}/mask", file.get("mask"))
    if stored is not None:
        values = np.squeeze(np.asarray(stored[()]))
        if values.dtype.kind not in "biuf" or not np.isin(values, (0, 1)).all():
            raise ReconError(f"{path}: the mask holds other values than 0 and 1; export the scan again")
        mask = values.astype(bool)
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
    if stored is not None:
        for index in _voters(shape[0]):  # each slice is compared when it is read; a wrong mask shows at once
            check_sampling(path, index, file["kspace"][index], mask)
    return mask


def _voters(slices: int) -> tuple[int, ...]:
    """The central, first and last slice."""
    return tuple(dict.fromkeys((slices // 2, 0, slices - 1)))


def mask_of_slices(path: Path, shape: tuple[int, int, int, int], read: KspaceReader) -> NDArray[np.bool_]:
    """The mask that the central, first and last slices show; empty slices do not vote.

    Raises ReconError when they differ (a mask that changes from slice to slice) or when all are empty.
    """
    found: NDArray[np.bool_] | None = None
    for index in _voters(shape[0]):
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
        with foreign_hdf5(path) as file:
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
        with foreign_hdf5(path) as file:
            image = np.asarray(file["reconstruction_rss"][index], np.float32)
        if not np.isfinite(image).all():
            raise ReconError(f"{path}: slice {index}: the stored reference has NaN or infinite values")
        return image

    return read


def _image_shape(encoding: Encoding | None, shape: tuple[int, int, int, int]) -> tuple[int, int]:
    """The header's reconstruction size, but never more than was measured: some volumes are narrower."""
    if encoding is None or min(encoding.recon_matrix[:2]) < 1:
        return shape[2], shape[3]
    return min(encoding.recon_matrix[0], shape[2]), min(encoding.recon_matrix[1], shape[3])


def _voxel_size(
    own: Mapping[str, Any], encoding: Encoding | None, shape: tuple[int, int, int, int]
) -> tuple[float, float, float] | None:
    """Millimetres along readout, phase, slice: the encoded field of view over the k-space samples that span it."""
    if "voxel_size_mm" in own:
        stored = own["voxel_size_mm"]
        return float(stored[0]), float(stored[1]), float(stored[2])
    if encoding is None:
        return None
    size = (encoding.encoded_fov[0] / shape[2], encoding.encoded_fov[1] / shape[3], encoding.recon_fov[2])
    return size if np.isfinite(size).all() and min(size) > 0 else None


def _covariance(values: NDArray | None) -> NDArray[np.complex128] | None:
    """In double precision, also where the file (of an older recon) has single: it is the square of k-space's units."""
    return None if values is None else np.asarray(values, np.complex128)


def _complex(values: NDArray | None) -> NDArray[np.complex64] | None:
    return None if values is None else np.asarray(values, np.complex64)
