"""A result in the formats of others: NIfTI, DICOM and a PNG panel; the rows of ``recon.reconstruction.formats``."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from recon.errors import ReconError
from recon.images.result import Reconstruction
from recon.scan import Scan

if TYPE_CHECKING:
    from recon.images.dicom import DicomSeries

_STD_COMMENT = (
    "Not an image of the patient: the standard deviation of the posterior at each pixel, in the units of the mean's "
    "series. Where it is large, the mean is uncertain."
)


def check_dicom(scan: Scan) -> None:
    """Raise ReconError when the scan does not state where its voxels are."""
    if scan.voxel_size is None and scan.affine is None:
        raise ReconError(
            f"{scan.path}: DICOM needs the voxel size, which this scan does not state; give it with "
            "'recon convert --voxel-size', or leave dicom out of --format"
        )


def write_nifti_files(result: Reconstruction, scan: Scan, reference: Path | None) -> list[Path]:
    """The image and, where there is one, its standard deviation."""
    from recon.images.nifti import write_nifti

    return [
        write_nifti(path, images, voxel_size=result.voxel_size, affine=result.affine)
        for path, images in nifti_volumes(result).items()
    ]


def nifti_volumes(result: Reconstruction) -> dict[Path, NDArray[np.float32]]:
    """Every NIfTI file of a result and the images ``[slice, readout, phase]`` in it."""
    stem = result.path.with_suffix("")
    volumes = {"": result.reconstruction, "_std": result.std}
    return {Path(f"{stem}{ending}.nii.gz"): images for ending, images in volumes.items() if images is not None}


def write_dicom_files(result: Reconstruction, scan: Scan, reference: Path | None) -> list[Path]:
    """A series a folder, one file a slice."""
    from recon.images.dicom import write_dicom_series

    series = _series(result, scan)
    return [
        file
        for (folder, images), said in zip(dicom_volumes(result).items(), series, strict=True)
        for file in write_dicom_series(folder, images, said)
    ]


def write_enhanced_files(result: Reconstruction, scan: Scan, reference: Path | None) -> list[Path]:
    """A series a file, one frame a slice."""
    from recon.images.dicom_enhanced import write_dicom_enhanced

    written = []
    for (path, images), said in zip(enhanced_volumes(result).items(), _series(result, scan), strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        written.append(write_dicom_enhanced(path, images, said, deviation=path.stem == "std"))
    return written


def _series(result: Reconstruction, scan: Scan) -> "list[DicomSeries]":
    """What the series of a result say: one study, one frame of reference and one scale, so that a viewer shows both
    side by side in the same units."""
    from pydicom.uid import generate_uid

    from recon.images.dicom import DicomSeries, display_scale

    method = str(result.attributes.get("method", "unknown method"))
    what = f"recon {result.configuration.get('version', '')}: {method}"
    if _sampled(result):
        what += f", prior {str(result.attributes.get('prior_hash'))[:12]}"
    what += f", acceleration {float(result.attributes.get('acceleration', 1.0)):.2f}"
    study, frame, scale = generate_uid(prefix=None), generate_uid(prefix=None), display_scale(result.reconstruction)
    found = []
    for number, folder in enumerate(dicom_volumes(result), start=1):
        name = folder.name
        meaning = {"mean": "posterior mean", "std": "posterior standard deviation"}.get(name, name)
        series = DicomSeries(
            derivation=f"{what}; {meaning}",
            description=f"recon {meaning}",
            comment=_STD_COMMENT if name == "std" else "; ".join(result.audit.get("warnings", [])),
            contrast=result.contrast,
            voxel_size=result.voxel_size,
            affine=result.affine,
            header=scan.header,
            number=number,
            study_uid=study,
            frame_of_reference_uid=frame,
            scale=scale,
        )
        found.append(series)
    return found


def dicom_volumes(result: Reconstruction) -> dict[Path, NDArray[np.float32]]:
    """The folder of every DICOM series of a result and the images ``[slice, readout, phase]`` in it."""
    top = Path(f"{result.path.with_suffix('')}_dicom")
    method = str(result.attributes.get("method", "unknown method"))
    volumes = {"mean" if _sampled(result) else method: result.reconstruction, "std": result.std}
    return {top / name: images for name, images in volumes.items() if images is not None}


def enhanced_volumes(result: Reconstruction) -> dict[Path, NDArray[np.float32]]:
    """The file of every Enhanced MR instance of a result and the images ``[slice, readout, phase]`` in it."""
    top = Path(f"{result.path.with_suffix('')}_enhanced")
    return {top / f"{folder.name}.dcm": images for folder, images in dicom_volumes(result).items()}


def _sampled(result: Reconstruction) -> bool:
    """Whether a prior was used."""
    return str(result.attributes.get("prior_hash", "none")) != "none"


def write_png_file(result: Reconstruction, scan: Scan, reference: Path | None) -> list[Path]:
    """The panel of the slice in the middle, CG-SENSE beside what a prior made."""
    from recon.images.grid import on_grid
    from recon.images.references import read_reference
    from recon.quality.drawing import save
    from recon.quality.figures import slice_to_show
    from recon.quality.panels import panel_of_result

    truth = None
    if reference is not None:
        truth = on_grid(read_reference(reference), result.reconstruction.shape, result.affine, "reference")
    index = slice_to_show(result.reconstruction)
    baselines = {}
    if _sampled(result):
        volume = np.zeros_like(result.reconstruction)
        volume[index] = _sense(result, scan, index)
        baselines["CG-SENSE"] = volume
    path = result.path.with_suffix(".png")
    save(panel_of_result(result, baselines=baselines, reference=truth, index=index), path)
    return [path]


def _sense(result: Reconstruction, scan: Scan, index: int) -> NDArray[np.float32]:
    """CG-SENSE of one slice, for comparison, with the coils and noise of the result."""
    from recon.reconstruction.options import ReconstructionOptions
    from recon.reconstruction.pipeline import one_slice

    used = result.configuration
    options = ReconstructionOptions(
        method="sense",
        coils=int(used.get("coils", 16)),
        noise_sigma=used.get("noise_sigma"),
        map_sets=int(used.get("map_sets", 1)),
    )
    return one_slice(scan, index, options)
