"""A result as NIfTI: ``scan.nii.gz`` and, where the method knows it, ``scan_std.nii.gz``."""

from pathlib import Path

from recon.images.nifti import write_nifti
from recon.images.result import Reconstruction
from recon.reconstruction.formats import beside
from recon.scan import Scan


def write(result: Reconstruction, scan: Scan, reference: Path | None) -> list[Path]:
    """Write both volumes beside the result. Raises ReconError when writing fails."""
    volumes = {"_std": result.std, "": result.reconstruction}  # the mean last: its presence says that all is there
    return [
        write_nifti(beside(f"{ending}.nii.gz")(result.path), images, voxel_size=result.voxel_size, affine=result.affine)
        for ending, images in volumes.items()
        if images is not None
    ]
