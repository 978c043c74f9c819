"""Image files of several b-values as volumes, each with the b-value that its file states."""

from dataclasses import dataclass
from pathlib import Path

from recon.errors import ReconError
from recon.images.b_values import listed_b_values, result_b_value
from recon.images.dicom_reading import is_dicom, read_dicom_b_values
from recon.images.nifti import is_nifti, read_nifti_series
from recon.images.result import read_result_facts
from recon.images.slice_axis import slices_first
from recon.images.volume import Volume, is_result, read_volume


@dataclass(frozen=True)
class DiffusionVolume:
    """One image, its b-value in s/mm^2, and where that is from. ``noise``: what a result's audit says of the noise
    (standard deviation of a real component, in the image's unit); None where nothing is said."""

    volume: Volume
    b_value: float
    source: str
    noise: float | None = None


def read_diffusion(path: Path) -> list[DiffusionVolume]:
    """The images of a file, with the b-values of its header: a DICOM series of one or several b-values, NIfTI (also
    four-dimensional) with a ``.bval`` file beside it, or a result of ``recon reconstruct``.

    Raises ReconError where no b-value is stated, and as ``read_volume`` does.
    """
    if is_dicom(path):
        return [
            DiffusionVolume(Volume(path, pixels, affine, "DICOM series"), value, "DICOM header")
            for value, (pixels, affine) in read_dicom_b_values(path).items()
        ]
    if is_nifti(path):
        volumes = _nifti_volumes(path)
        values, name = listed_b_values(path)
        if len(values) != len(volumes):
            raise ReconError(f"{path}: {len(volumes)} images but {len(values)} b-values in {name}; export both again")
        return [DiffusionVolume(volume, b, name) for volume, b in zip(volumes, values, strict=True)]
    volume = read_volume(path)
    if not is_result(path):
        raise ReconError(f"{path}: no b-value known; give --b-values")
    return [DiffusionVolume(volume, result_b_value(path), "result", _stated_noise(path))]


def with_b_values(paths: list[Path], b_values: list[float]) -> list[DiffusionVolume]:
    """The images of files, four-dimensional NIfTI included, with b-values that somebody names, in s/mm^2. Raises
    ReconError unless there is one for each image, and as ``read_volume`` does."""
    volumes = [volume for path in paths for volume in (_nifti_volumes(path) if is_nifti(path) else [read_volume(path)])]
    if len(b_values) != len(volumes):
        raise ReconError(
            f"{paths[0]}: {len(volumes)} images but {len(b_values)} b-values; name one for each with --b-values"
        )
    return [
        DiffusionVolume(volume, b, "--b-values", _stated_noise(volume.path) if is_result(volume.path) else None)
        for volume, b in zip(volumes, b_values, strict=True)
    ]


def _nifti_volumes(path: Path) -> list[Volume]:
    """The images of a NIfTI file of three or four dimensions, in slices."""
    return [
        Volume(path, *slices_first(image.values, image.affine, image.slice_axis), "NIfTI image")
        for image in read_nifti_series(path)
    ]


def _stated_noise(result: Path) -> float | None:
    stated = read_result_facts(result).audit.get("noise_std")
    return float(stated) if isinstance(stated, (int, float)) and stated > 0 else None
