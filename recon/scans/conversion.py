"""Bringing k-space of other origin into the fastMRI form, or any scan into it or into BART's."""

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recon.acquisition.masks import detect_mask, every_line_sampled
from recon.acquisition.rss import reference_image, root_sum_of_squares
from recon.digest import file_sha256
from recon.errors import ReconError, ReconWarning
from recon.progress import Report, silent
from recon.scan import Scan
from recon.scans.arrays import NamedArray
from recon.scans.bart import write_bart
from recon.scans.fastmri import ScanDescription, describe, mask_of_slices, write_fastmri
from recon.scans.placing import placed
from recon.scans.reading import checked_slice


def convert_scan(
    scan: Scan,
    output: str | Path,
    *,
    contrast: str | None = None,
    voxel_size: tuple[float, float, float] | None = None,
    force: bool = False,
    report: Report = silent,
) -> Path:
    """Write ``scan`` in the fastMRI form (or as a BART pair when ``output`` ends in .cfl), slice by slice.

    ``contrast`` and ``voxel_size`` (mm along readout, phase, slice) replace what the scan says. A fully sampled scan
    gets its root-sum-of-squares reference. BART pairs keep k-space only. A file that was made of the same scan is
    replaced, any other one with ``force`` only. Raises ReconError; then nothing is written.
    """
    output = Path(output)
    bart = output.suffix in (".cfl", ".hdr")
    with placed(scan.path, scan.digest, output, force) as made:
        if bart:
            write_bart(made, scan.shape, (scan.read_kspace(index) for index in range(scan.shape[0])))
        else:
            _write_scan(scan, made, contrast, voxel_size, report)
    return output.with_suffix(".cfl") if bart else output


def _write_scan(
    scan: Scan, output: Path, contrast: str | None, voxel_size: tuple[float, float, float] | None, report: Report
) -> None:
    slices = range(scan.shape[0])
    sampled = every_line_sampled(scan.mask, scan.phase_limits)
    described = describe(scan, source=scan)
    if voxel_size is not None:
        described = replace(described, voxel_size=voxel_size, affine=None)
    with write_fastmri(output, replace(described, contrast=contrast or scan.contrast)) as writer:
        for index in slices:
            report("converting", index / len(slices))
            reference = reference_image(scan, index) if sampled or scan.read_reference else None
            calibration = scan.calibration_kspace(index) if scan.calibration_kspace else None
            writer.put(index, scan.read_kspace(index), reference, calibration)


def convert_array(
    array: NamedArray,
    output: str | Path,
    *,
    contrast: str = "unknown",
    voxel_size: tuple[float, float, float] | None = None,
    corner: bool = False,
    force: bool = False,
    report: Report = silent,
) -> Path:
    """Write a named array in the fastMRI form; the sampling mask is found from the zeros in it.

    With ``phase2`` and ``readout`` the array is a 3-D scan: it becomes slices after the transform along the readout,
    coil by coil, with output axes slice = readout, readout = phase, phase = phase2. With ``phase2`` alone it is one
    such slice. ``voxel_size`` is in mm along the output's readout, phase, slice. ``corner``: k-space's centre is
    stored at index 0 of every encoded axis and is moved to the middle. A file that was made of the same array is
    replaced, any other one with ``force`` only.

    Raises ReconError when values are not finite, nothing was sampled or the file cannot be written.
    """
    output = Path(output)
    digest = file_sha256(array.path)
    with placed(array.path, digest, output, force) as made:
        described = ScanDescription((0, 0, 0, 0), contrast, voxel_size=voxel_size, source_digest=digest)
        _write_array(array, made, described, corner, report)
    return output


def _write_array(array: NamedArray, output: Path, known: ScanDescription, corner: bool, report: Report) -> None:
    """``known``: the description but for what the array itself says, its shape and mask."""
    sizes = array.sizes
    if sizes["coil"] > 128:
        warnings.warn(
            f"{array.path}: {sizes['coil']} coils is more than scanners have; check the order of --axes "
            "(MATLAB 7.3 files list their axes in reverse)",
            ReconWarning,
            stacklevel=2,
        )
    volume = "phase2" in sizes and "readout" in sizes
    rows = sizes["phase"] if "phase2" in sizes else sizes["readout"]
    columns = sizes["phase2"] if "phase2" in sizes else sizes["phase"]
    slices = sizes["readout"] if volume else sizes.get("slice", 1)
    shape = (slices, sizes["coil"], rows, columns)
    if volume:
        acquired = np.zeros((rows, columns), bool)
        for coil in range(min(4, shape[1])):
            acquired |= (array.read(coil=coil) != 0).any(axis=0)
        mask = detect_mask(_centred(acquired[None], corner))
    else:
        mask = mask_of_slices(array.path, shape, lambda index: _centred(_slice(array, index), corner))
    if not mask.any():
        raise ReconError(f"{array.path}: k-space is all zero, no line was sampled")
    sampled = bool(mask.all())
    described = replace(known, shape=shape, mask=None if sampled else mask)
    with write_fastmri(output, described) as writer:
        if volume:
            energy = np.zeros((slices, rows, columns), np.float32)
            for coil in range(shape[1]):
                report("converting coils", coil / shape[1])
                hybrid = _centred_ifft(_centred(array.read(coil=coil), corner, axes=(0, 1, 2)))
                writer.put_coil(coil, hybrid)
                for index in range(slices if sampled else 0):
                    energy[index] += root_sum_of_squares(hybrid[index][None], shape[2:]) ** 2
            for index in range(slices if sampled else 0):
                writer.put_reference(index, np.sqrt(energy[index]))
        else:
            for index in range(slices):
                report("converting", index / slices)
                kspace = checked_slice(array.path, index, _centred(_slice(array, index), corner), mask)
                writer.put(index, kspace, root_sum_of_squares(kspace, shape[2:]) if sampled else None)
                _warn_uncentred(array.path, kspace, index, slices)


def _slice(array: NamedArray, index: int) -> NDArray[np.complex64]:
    return array.read(slice=index) if "slice" in array.sizes else array.read()


def _centred(kspace: NDArray, corner: bool, axes: tuple[int, ...] = (-2, -1)) -> NDArray:
    return np.fft.fftshift(kspace, axes=axes) if corner else kspace


def _centred_ifft(volume: NDArray) -> NDArray[np.complex64]:
    """Orthonormal centred inverse FFT along the readout, the first axis."""
    transformed = np.fft.ifft(np.fft.ifftshift(volume, axes=0), axis=0, norm="ortho")
    return np.fft.fftshift(transformed, axes=0).astype(np.complex64)


def _warn_uncentred(path: Path, kspace: NDArray, index: int, slices: int) -> None:
    """k-space of a body has its energy in the middle; in the corners it means an uncentred transform."""
    if index != slices // 2:
        return
    rows, columns = kspace.shape[-2:]
    energy = (np.abs(kspace) ** 2).sum(axis=0)
    middle = energy[rows // 4 : rows - rows // 4, columns // 4 : columns - columns // 4].sum()
    if middle < 0.5 * energy.sum():
        warnings.warn(
            f"{path}: most energy lies outside the middle of k-space; if its centre is stored first, add --corner",
            ReconWarning,
            stacklevel=3,
        )
