"""Volumes that go into encoders: read from result, scan or NIfTI files and brought onto the reference's grid."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recon.encode.geometry import resample_onto
from recon.encode.pixel_type import is_integer, stored
from recon.errors import ReconError, ReconWarning

NOISE_KEYS = ("noise_std", "noise_standard_deviation")  # in a result's attributes or audit, per real component


@dataclass(frozen=True, eq=False)
class Series:
    """One series as encoders take it: axes (readout, phase, slice), affine to RAS+ mm."""

    path: Path
    values: NDArray[np.float32]  # magnitude [readout, phase, slice]
    affine: NDArray[np.float64] | None
    kind: str  # where the values come from, in words
    contrast: str = "unknown"
    samples: NDArray[np.float32] | None = None  # posterior samples, magnitude [sample, readout, phase, slice]
    noise_std: float | None = None  # per real component, in the units of ``values``
    measured: bool = False  # ``path`` is a scan with k-space, so its noise can be had from there
    pixel_type: np.dtype[Any] | None = None  # of an integer file without scale factor; None: floating point
    zooms: tuple[float, float, float] | None = None  # voxel size in mm as a NIfTI header states it, along its axes

    @property
    def pixels(self) -> NDArray[Any]:
        """``values`` as encoders take them: in the file's integer type where it has one, else as they are."""
        return self.in_pixel_type(self.values)

    def in_pixel_type(self, values: NDArray[np.float32]) -> NDArray[Any]:
        """Other values of this series (with more noise, say) as its file would hold them."""
        return values if self.pixel_type is None else stored(values, self.pixel_type)


def read_series(path: str | Path, voxel_size: tuple[float, float, float] | None = None) -> Series:
    """Read a result of ``recon reconstruct``, a fully sampled scan (or its stored reference), a NIfTI image or a DICOM
    series.

    ``voxel_size`` in mm (readout, phase, slice) places a file without an affine on axis-aligned voxels, with a
    warning; files with one keep theirs. Raises ReconError for a missing, damaged or foreign file.
    """
    from recon.images.dicom_reading import is_dicom
    from recon.images.nifti import is_nifti, read_nifti
    from recon.images.references import read_reference
    from recon.images.result import read_result
    from recon.images.volume import is_result

    path = Path(path)
    if path.is_file() and is_result(path):
        result = read_result(path)
        noise = [
            float(source[key]) for source in (result.attributes, result.audit) for key in NOISE_KEYS if key in source
        ]
        samples = result.samples
        series = Series(
            path,
            np.moveaxis(result.reconstruction, 0, -1),
            result.affine,
            f"result of {result.attributes.get('method', 'recon reconstruct')}",
            contrast=result.contrast,
            samples=None if samples is None else np.moveaxis(np.abs(samples).astype(np.float32), 0, -1),
            noise_std=noise[0] if noise and noise[0] > 0 else None,
        )
    elif is_nifti(path):
        image = read_nifti(path)  # in the file's own axis order, which --slice-axis counts
        series = Series(
            path,
            _real(image.values),
            image.affine if image.placed else None,
            "NIfTI image",
            pixel_type=image.values.dtype if is_integer(image.values.dtype) else None,
            zooms=image.zooms,
        )
    else:
        volume = read_reference(path)
        series = Series(
            path, _real(np.moveaxis(volume.values, 0, -1)), volume.affine, volume.kind, measured=not is_dicom(path)
        )
    if series.affine is None and voxel_size is not None:
        if min(voxel_size) <= 0:
            raise ReconError(f"voxel size {voxel_size}: give three positive lengths in mm")
        warnings.warn(
            f"{path}: no affine; axis-aligned voxels of {' x '.join(f'{edge:g}' for edge in voxel_size)} mm are "
            "assumed, left and right are unknown",
            ReconWarning,
            stacklevel=2,
        )
        series = replace(series, affine=np.diag([*voxel_size, 1.0]))
    return series


def onto_reference(series: Series, reference: Series, *, resample: bool = False) -> Series:
    """The series on the reference's voxels: axes permuted and flipped where that is enough.

    Interpolation happens only when ``resample`` is given, with a warning, because it changes what is compared.

    Raises ReconError when the grids differ and ``resample`` is not given, or when an affine is missing.
    """
    from recon.images.grid import on_grid
    from recon.images.volume import Volume

    target_shape = np.moveaxis(reference.values, -1, 0).shape
    stack = [series.values] if series.samples is None else [series.values, *series.samples]
    try:
        turned = [
            np.moveaxis(
                on_grid(
                    Volume(series.path, np.moveaxis(values, -1, 0), series.affine, series.kind),
                    target_shape,
                    reference.affine,
                    "reconstruction",
                ),
                0,
                -1,
            )
            for values in stack
        ]
    except ReconError as error:
        if series.affine is None or reference.affine is None:
            raise
        if not resample:
            raise ReconError(
                f"{series.path}: {_grid(series)} is another grid than the reference's {_grid(reference)} "
                f"({reference.path.name}); give --resample to interpolate the reconstruction onto it"
            ) from error
        warnings.warn(
            f"{series.path}: interpolated from {_grid(series)} onto the reference's {_grid(reference)}; "
            "the interpolation is part of what is measured",
            ReconWarning,
            stacklevel=2,
        )
        shape = (int(reference.values.shape[0]), int(reference.values.shape[1]), int(reference.values.shape[2]))
        turned = [resample_onto(values, series.affine, shape, reference.affine) for values in stack]
        series = replace(series, pixel_type=None)  # what interpolation made is no longer what the file holds
    return replace(
        series,
        values=turned[0],
        affine=reference.affine,
        zooms=reference.zooms,
        samples=None if series.samples is None else np.stack(turned[1:]),
    )


def with_noise_of(reference: Series, reconstructions: Sequence[Series]) -> Series:
    """The reference with the noise level that a reconstruction's file stores, where it knows none of its own.

    Both show the same acquisition in the same units, and undersampling does not change the noise of a sample.
    """
    known = [series.noise_std for series in reconstructions if series.noise_std is not None]
    if reference.noise_std is not None or reference.measured or not known:
        return reference
    return replace(reference, noise_std=known[0])


def _real(values: NDArray[Any]) -> NDArray[Any]:
    """float32, unless complex, which the encoders refuse with a reason."""
    return values if np.iscomplexobj(values) else values.astype(np.float32)


def _grid(series: Series) -> str:
    from recon.encode.geometry import axis_codes
    from recon.images.slice_axis import voxel_spacing

    size = "x".join(map(str, series.values.shape))
    if series.affine is None:
        return size
    edges = "x".join(f"{edge:.3g}" for edge in voxel_spacing(series.affine))
    origin = ", ".join(f"{value:.1f}" for value in series.affine[:3, 3])
    return f"{size} at {edges} mm, {axis_codes(series.affine)}, first voxel at ({origin}) mm"
