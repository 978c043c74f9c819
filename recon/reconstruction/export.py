"""A result in the formats of others: NIfTI, DICOM and a PNG panel beside the HDF5 file.

scan.h5 -> scan.nii.gz, scan_std.nii.gz          posterior mean and standard deviation
           scan_dicom/mean/, scan_dicom/std/      two series of one study, with one scale
           scan.png                               the panel of one slice
"""

from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recon.errors import ReconError
from recon.images.result import Reconstruction, read_result
from recon.scan import Scan

FORMATS = ("h5", "nifti", "dicom", "png")


def check_exportable(scan: Scan, formats: Collection[str]) -> None:
    """Raise ReconError when a format needs what the scan does not state, before hours are spent on it."""
    if "dicom" in formats and scan.voxel_size is None and scan.affine is None:
        raise ReconError(
            f"{scan.path}: DICOM needs the voxel size, which this scan does not state; give it with "
            "'recon convert --voxel-size', or leave dicom out of --format"
        )


def export(result: str | Path, scan: Scan, formats: Collection[str], reference: str | Path | None = None) -> list[Path]:
    """Write a result file in ``formats`` beside it; files that exist are replaced. Returns what was written.

    ``reference`` (for the PNG: whatever ``recon.quality.references.read_reference`` reads) adds the error. Raises
    ReconError when something is missing, on another grid, or cannot be written.
    """
    loaded = read_result(result)
    written: list[Path] = []
    if "nifti" in formats:
        written += _nifti(loaded)
    if "dicom" in formats:
        written += _dicom(loaded, scan)
    if "png" in formats:
        written.append(_png(loaded, scan, reference))
    return written


def exported(result: str | Path, formats: Collection[str]) -> bool:
    """Whether everything that ``export`` would write is there."""
    stem = Path(result).with_suffix("")
    places = {"nifti": Path(f"{stem}.nii.gz"), "dicom": Path(f"{stem}_dicom"), "png": Path(f"{stem}.png")}
    return all(places[name].exists() for name in formats if name in places)


def _nifti(result: Reconstruction) -> list[Path]:
    from recon.images.nifti import write_nifti

    stem = result.path.with_suffix("")
    volumes = {"_std": result.std, "": result.reconstruction}  # the mean last: its presence says that all is there
    return [
        write_nifti(Path(f"{stem}{ending}.nii.gz"), images, voxel_size=result.voxel_size, affine=result.affine)
        for ending, images in volumes.items()
        if images is not None
    ]


def _dicom(result: Reconstruction, scan: Scan) -> list[Path]:
    from pydicom.uid import generate_uid

    from recon.images.dicom import display_scale, write_dicom_series

    method = str(result.attributes.get("method", "posterior"))
    what = f"recon {result.configuration.get('version', '')}: {method}"
    if method == "posterior":
        what += f" ({result.attributes.get('sampler')}), prior {str(result.attributes.get('prior_hash'))[:12]}"
    what += f", acceleration {float(result.attributes.get('acceleration', 1.0)):.2f}"
    volumes = {"mean" if method == "posterior" else method: result.reconstruction, "std": result.std}
    # One study, one frame of reference and one scale, so that a viewer shows both side by side in the same units.
    study, frame, scale = generate_uid(prefix=None), generate_uid(prefix=None), display_scale(result.reconstruction)
    written: list[Path] = []
    for number, (name, images) in enumerate(volumes.items(), start=1):
        if images is None:
            continue
        meaning = {"mean": "posterior mean", "std": "posterior standard deviation"}.get(name, name)
        written += write_dicom_series(
            Path(f"{result.path.with_suffix('')}_dicom") / name,
            images,
            derivation=f"{what}; {meaning}",
            series_description=f"recon {meaning}",
            contrast=result.contrast,
            voxel_size=result.voxel_size,
            affine=result.affine,
            slice_thickness=scan.header.slice_thickness_mm,
            header=scan.header,
            series_number=number,
            study_uid=study,
            frame_of_reference_uid=frame,
            scale=scale,
        )
    return written


def _png(result: Reconstruction, scan: Scan, reference: str | Path | None) -> Path:
    from recon.quality.drawing import save
    from recon.quality.figures import slice_to_show
    from recon.quality.panels import panel_of_result
    from recon.quality.references import on_grid, read_reference

    truth = None
    if reference is not None:
        truth = on_grid(read_reference(reference), result.reconstruction.shape, result.affine, "reference")
    index = slice_to_show(result.reconstruction)
    baselines = {}
    if result.attributes.get("method") == "posterior":
        volume = np.zeros_like(result.reconstruction)
        volume[index] = _sense(result, scan, index)
        baselines["CG-SENSE"] = volume
    path = result.path.with_suffix(".png")
    save(panel_of_result(result, baselines=baselines, reference=truth, index=index), path)
    return path


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
