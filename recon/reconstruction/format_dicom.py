"""A result as DICOM: the folder ``scan_dicom`` with a series of the image and, of samplers, one of its std."""

from pathlib import Path

from recon.errors import ReconError
from recon.images.dicom import display_scale, write_dicom_series
from recon.images.dicom_header import DicomSeries
from recon.images.result import Reconstruction
from recon.reconstruction.export import is_sampled
from recon.reconstruction.formats import beside
from recon.scan import Scan

MEANING = {"mean": "posterior mean", "std": "posterior standard deviation"}


def check(scan: Scan) -> None:
    """Raise ReconError when the scan does not state its voxel size."""
    if scan.voxel_size is None and scan.affine is None:
        raise ReconError(
            f"{scan.path}: DICOM needs the voxel size, which this scan does not state; give it with "
            "'recon convert --voxel-size', or leave dicom out of --format"
        )


def write(result: Reconstruction, scan: Scan, reference: Path | None) -> list[Path]:
    """Write one series a volume. One study, one frame of reference and one scale, so that a viewer shows them side by
    side in the same units. Raises ReconError when writing fails."""
    from pydicom.uid import generate_uid

    thickness = scan.facts.get("slice_thickness_mm")
    method = str(result.attributes.get("method", "posterior"))
    volumes = {"mean" if is_sampled(result) else method: result.reconstruction, "std": result.std}
    study, frame, scale = generate_uid(prefix=None), generate_uid(prefix=None), display_scale(result.reconstruction)
    written: list[Path] = []
    for number, (name, images) in enumerate(volumes.items(), start=1):
        if images is None:
            continue
        meaning = MEANING.get(name, name)
        series = DicomSeries(
            derivation=f"{_how(result, method)}; {meaning}",
            description=f"recon {meaning}",
            contrast=result.contrast,
            slice_thickness=None if thickness is None else float(thickness),
            facts=scan.facts,
            number=number,
            study_uid=study,
            frame_of_reference_uid=frame,
            scale=scale,
        )
        folder = beside("_dicom")(result.path) / name
        written += write_dicom_series(folder, images, series, voxel_size=result.voxel_size, affine=result.affine)
    return written


def _how(result: Reconstruction, method: str) -> str:
    """What was done to the data, for DerivationDescription."""
    words = f"recon {result.configuration.get('version', '')}: {method}"
    if is_sampled(result):
        # Older results name the sampler of 'posterior' apart.
        sampler = result.attributes.get("sampler", result.attributes.get("title"))
        words += f" ({sampler})" if sampler else ""
        words += f", prior {str(result.attributes.get('prior_hash'))[:12]}"
    return words + f", acceleration {float(result.attributes.get('acceleration', 1.0)):.2f}"
