"""Writing the fastMRI form, slice by slice, with recon's own group for what the public layout cannot hold."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recon.acquisition.masks import calibration_extent, net_acceleration
from recon.atomic import atomic_path
from recon.errors import ReconError
from recon.hdf5 import HDF5Writer, hdf5_for_writing
from recon.header import UNSTATED, Header
from recon.scan import Scan
from recon.scans.ismrmrd_header import PLACES, Encoding, EncodingLimit, build_xml

CONTRASTS = {
    "AXT1": "T1",
    "AXT1PRE": "T1",
    "AXT1POST": "T1POST",
    "AXT2": "T2",
    "AXFLAIR": "FLAIR",
    "CORPD_FBK": "PD",
    "CORPDFS_FBK": "PDFS",
}
NAMED_BY_RECON = "protocol_named_by_recon"
OWN = "recon"  # the group and its attributes that only this toolkit reads
VERSION = 2  # of that group; 1 had no number, no identity, and of the header only subject, origin and licence


@dataclass(frozen=True)
class ScanDescription:
    """What a scan's file says besides its k-space.

    shape: of k-space, (slice, coil, readout, phase). image_shape: (readout, phase) without readout oversampling; that
    of k-space by default. voxel_size: mm along readout, phase, slice. affine: 4x4, (readout, phase, slice) index ->
    RAS+ mm. mask: ``[phase]`` or ``[readout, phase]``, when undersampled. phase_limits: half-open range of encoded
    lines. noise: ``[coil, sample]``; noise_covariance: ``[coil, coil]``, E[n n^H]. source_digest: of the scan that this
    one is made of. identity: names the random streams (see ``Scan``); empty: that of the header.
    """

    shape: tuple[int, int, int, int]
    contrast: str
    image_shape: tuple[int, int] | None = None
    voxel_size: tuple[float, float, float] | None = None
    affine: NDArray | None = None
    mask: NDArray[np.bool_] | None = None
    phase_limits: tuple[int, int] | None = None
    noise: NDArray | None = None
    noise_covariance: NDArray | None = None
    header: Header = UNSTATED
    source_digest: str | None = None
    identity: str = ""


def describe(scan: Scan, source: Scan) -> ScanDescription:
    """The description of ``scan``, which was made of ``source`` or is the same."""
    return ScanDescription(
        shape=scan.shape,
        contrast=scan.contrast,
        image_shape=scan.image_shape,
        voxel_size=scan.voxel_size,
        affine=scan.affine,
        mask=None if scan.acceleration <= 1 else scan.mask,
        phase_limits=scan.phase_limits,
        noise=scan.noise,
        noise_covariance=scan.noise_covariance,
        header=scan.header,
        source_digest=source.digest,
        identity=scan.identity,
    )


class FastmriWriter:
    """Open fastMRI file that takes one slice at a time; made by ``write_fastmri``."""

    def __init__(self, file: HDF5Writer, shape: tuple[int, int, int, int], image_shape: tuple[int, int]) -> None:
        self._file, self._shape, self._image_shape = file, shape, image_shape
        self.written: set[tuple[int, int]] = set()  # (slice, coil)
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
            self._store(f"{OWN}/calibration_kspace", index, calibration, self._shape[1:], np.complex64)
        if reference is not None:
            self.put_reference(index, reference)
        self.written.update((index, coil) for coil in range(self._shape[1]))

    def put_coil(self, coil: int, kspace: NDArray) -> None:
        """Store one coil of all slices, ``[slice, readout, phase]``: for 3-D scans, whose slices come out together."""
        slices, _, readout, phase = self._shape
        for index in range(slices):
            self._store("kspace", (index, coil), kspace[index], (readout, phase), np.complex64)
            self.written.add((index, coil))

    def put_reference(self, index: int, reference: NDArray) -> None:
        """Store the magnitude reference ``[readout, phase]`` of one slice."""
        self._store("reconstruction_rss", index, reference, self._image_shape, np.float32)
        self.maximum = max(self.maximum, float(np.max(reference)))
        self.energy += float(np.sum(np.square(reference, dtype=np.float64)))

    def _store(
        self, name: str, place: int | tuple[int, int], values: NDArray, shape: tuple[int, ...], kind: Any
    ) -> None:
        if values.shape != shape:
            raise ReconError(f"slice {place}: {name} is {values.shape}, but the file is laid out for {shape}")
        if not np.isfinite(values).all():
            raise ReconError(f"slice {place}: {name} has NaN or infinite values; nothing is written")
        if name not in self._file:
            whole = (self._shape[0], *self._image_shape) if name == "reconstruction_rss" else self._shape
            # One image a chunk: slices and coils can be written and read apart.
            self._file.create_dataset(name, whole, kind, chunks=(*(1,) * (len(whole) - 2), *whole[-2:]))
        self._file[name][place] = values
        self._file.check()


@contextmanager
def write_fastmri(path: str | Path, described: ScanDescription) -> Iterator[FastmriWriter]:
    """Write a scan in the fastMRI form, slice by slice through the writer's ``put``; never holds more than one slice.

    No patient identity is ever written. The file appears under ``path`` only when the block has succeeded and every
    slice was put. Raises ReconError.
    """
    shape, header = described.shape, described.header
    image_shape = described.image_shape or (shape[2], shape[3])
    with atomic_path(path) as temporary, hdf5_for_writing(temporary) as file:
        _write_own(file, replace(described, image_shape=image_shape))
        file.attrs["acquisition"] = header.protocol or _protocol(described.contrast)
        file["ismrmrd_header"] = build_xml(_encoding(described, image_shape))
        if described.mask is not None:
            _write_mask(file, np.asarray(described.mask, bool), shape, described.phase_limits)
        writer = FastmriWriter(file, shape, image_shape)
        yield writer
        if missing := sorted(set(np.ndindex(shape[:2])) - writer.written):
            raise ReconError(f"{path}: slice {missing[0][0]} was not written; nothing is kept")
        if "reconstruction_rss" in file:
            file.attrs["max"] = writer.maximum
            file.attrs["norm"] = float(np.sqrt(writer.energy))


def _write_own(file: HDF5Writer, described: ScanDescription) -> None:
    """Our group: what the public layout and the XML header have no place for."""
    own = file.create_group(OWN)
    attributes = {
        "version": VERSION,
        "contrast": described.contrast,
        "image_shape": described.image_shape,
        "voxel_size_mm": described.voxel_size,
        "affine": None if described.affine is None else np.asarray(described.affine, float),
        "phase_limits": described.phase_limits,
        "source_digest": described.source_digest,
        "identity": described.identity or None,
    }
    elsewhere = {*PLACES.values(), "protocol"}
    attributes |= {name: value for name, value in described.header.known().items() if name not in elsewhere}
    if described.header.protocol is None:  # the layout demands a name; ours is not the site's
        attributes[NAMED_BY_RECON] = True
    for name, value in attributes.items():
        if value is not None:
            own.attrs[name] = value
    if described.noise is not None:
        own["noise"] = np.asarray(described.noise, np.complex64)
    if described.noise_covariance is not None:  # a square: single precision would end at k-space of 1e-19 and 1e19
        own["noise_covariance"] = np.asarray(described.noise_covariance, np.complex128)


def _write_mask(
    file: HDF5Writer, mask: NDArray[np.bool_], shape: tuple[int, ...], limits: tuple[int, int] | None
) -> None:
    if mask.shape not in (shape[3:], shape[2:]):
        raise ReconError(f"mask {mask.shape} does not fit k-space of {shape[2]} x {shape[3]}")
    if mask.ndim == 1:
        file["mask"] = mask
    else:  # fastMRI's own key is 1-D; other readers must not take a 2-D mask for one
        file[f"{OWN}/mask"] = mask
    file.attrs["acceleration"] = net_acceleration(mask, limits)
    file.attrs["num_low_frequency"] = calibration_extent(mask, shape[2])[1]


def _encoding(described: ScanDescription, image_shape: tuple[int, int]) -> Encoding:
    slices, _, readout, phase = described.shape
    voxel = described.voxel_size or (1.0, 1.0, 1.0)  # the XML demands a field of view; our own group says what is known
    thickness = described.header.slice_thickness_mm or voxel[2]  # voxels are as long as slices are apart
    first, last = described.phase_limits or (0, phase)
    return Encoding(
        encoded_matrix=(readout, phase, 1),
        encoded_fov=(readout * voxel[0], phase * voxel[1], thickness),
        recon_matrix=(*image_shape, 1),
        recon_fov=(image_shape[0] * voxel[0], image_shape[1] * voxel[1], thickness),
        limits={
            "kspace_encoding_step_1": EncodingLimit(0, last - first - 1, phase // 2 - first),
            "slice": EncodingLimit(0, slices - 1, 0),
        },
        scan=described.header,
    )


def _protocol(contrast: str) -> str:
    return next((name for name, known in CONTRASTS.items() if known == contrast), f"AX{contrast.upper()}")
