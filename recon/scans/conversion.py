"""Bringing k-space of other origin into the fastMRI form, or any scan into it or into BART's."""

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recon.acquisition.fourier_numpy import centre_in_the_middle, to_image
from recon.acquisition.masks import detect_mask, every_line_sampled
from recon.acquisition.rss import reference_image, root_sum_of_squares
from recon.digest import file_sha256
from recon.errors import ReconError, ReconWarning
from recon.progress import Report, silent
from recon.scan import Scan
from recon.scans.arrays import ARRAYS, NamedArray, open_array
from recon.scans.bart import open_volume, write_bart
from recon.scans.centring import is_centred
from recon.scans.derived import without_coils
from recon.scans.fastmri import ScanDescription, describe, mask_of_slices, write_fastmri
from recon.scans.opening import open_scan
from recon.scans.options import ConversionOptions
from recon.scans.placing import placed
from recon.scans.reading import checked_slice


def convert(
    path: str | Path, output: str | Path, options: ConversionOptions | None = None, report: Report = silent
) -> Path:
    """Write the array or scan at ``path`` in the fastMRI form, or as a BART pair when ``output`` ends in .cfl (scans
    only). Returns where it went.

    A file that was made of the same one is replaced, any other one with ``options.force`` only. Raises ReconError when
    an array's axes are not named or those of a scan are, and as ``convert_array`` and ``convert_scan`` do; then nothing
    is written.
    """
    path, output, options = Path(path), Path(output), options or ConversionOptions()
    if path.suffix in ARRAYS:
        if options.axes is None:
            raise ReconError(f"{path} is an array: name its axes, e.g. --axes coil,readout,phase")
        with open_array(path, options.axes, options.key) as array:
            return convert_array(array, output, options, report)
    if options.axes is not None or options.key is not None or options.corner:
        raise ReconError(f"{path} is a scan whose axes are known; leave out --axes, --key and --corner")
    if path.suffix in (".cfl", ".hdr") and (volume := open_volume(path)) is not None:
        return convert_array(volume, output, options, report)
    return convert_scan(open_scan(path), output, options, report)


def convert_scan(scan: Scan, output: Path, options: ConversionOptions, report: Report = silent) -> Path:
    """Write ``scan`` in the fastMRI form (or as a BART pair when ``output`` ends in .cfl), slice by slice.

    What ``options`` say of contrast and voxel size replaces what the scan says, and ``without_coils`` are left out. A
    fully sampled scan gets its root-sum-of-squares reference. BART pairs keep k-space only. Raises ReconError; then
    nothing is written.
    """
    if options.without_coils:
        scan = without_coils(scan, options.without_coils)
    bart = output.suffix in (".cfl", ".hdr")
    with placed(scan.path, scan.digest, output, options.force) as made:
        if bart:
            write_bart(made, scan.shape, (scan.read_kspace(index) for index in range(scan.shape[0])))
        else:
            _write_scan(scan, made, options.contrast, options.voxel_size, report)
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


def convert_array(array: NamedArray, output: Path, options: ConversionOptions, report: Report = silent) -> Path:
    """Write a named array in the fastMRI form; the sampling mask is found from the zeros in it.

    With ``phase2`` and ``readout`` the array is a 3-D scan: it becomes slices after the transform along the readout,
    coil by coil, with output axes slice = readout, readout = phase, phase = phase2. With ``phase2`` alone it is one
    such slice. ``options.corner``: k-space's centre is stored at index 0 of every encoded axis and is moved to the
    middle.

    Raises ReconError when values are not finite, nothing was sampled, coils shall be left out or the file cannot be
    written.
    """
    if options.without_coils:
        raise ReconError(
            f"{array.path} is an array: coils are left out of scans; convert it, then the outcome --without-coils"
        )
    digest = file_sha256(array.path)
    with placed(array.path, digest, output, options.force) as made:
        described = ScanDescription(
            (0, 0, 0, 0), options.contrast or "unknown", voxel_size=options.voxel_size, source_digest=digest
        )
        _write_array(array, made, described, options.corner, report)
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
                hybrid = to_image(_centred(array.read(coil=coil), corner, axes=(0, 1, 2)), axes=(0,))
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
    return centre_in_the_middle(kspace, axes) if corner else kspace


def _warn_uncentred(path: Path, kspace: NDArray, index: int, slices: int) -> None:
    if index == slices // 2 and not is_centred(kspace):
        warnings.warn(
            f"{path}: most energy lies outside the middle of k-space; if its centre is stored first, add --corner",
            ReconWarning,
            stacklevel=3,
        )
