"""One simulated subject on disk: its scans in the fastMRI form, and its lesion.

Beside ``SUBJECT_CONTRAST.h5`` lies, with a stroke, ``SUBJECT_lesion.h5`` for all contrasts of the subject: dataset
``lesion`` bool ``[slice, readout, phase]`` on the scan's image grid, dataset ``lesion_fraction`` float32 of the same
shape (soft edges), attributes kind, territory, stage, volume_ml, voxel_size_mm and affine.
"""

from pathlib import Path

import numpy as np

from recon.atomic import atomic_path
from recon.errors import ReconError
from recon.header import Header
from recon.simulate.measurement import SimulatedScan
from recon.simulate.subject import Subject


def write_scan(path: Path, subject: Subject, scan: SimulatedScan) -> None:
    """One contrast as a fully sampled fastMRI-format file, with its reference and a noise scan.

    The reference is the noise-free truth: the root sum of squares of the noisy kspace would carry the noise that a
    reconstruction is meant to remove, and would favour those that keep it.

    Raises ReconError when it cannot be written; nothing is left half-written.
    """
    from recon.scans.fastmri import ScanDescription, write_fastmri

    kspace = scan.acquired.kspace
    origin = f"{subject.origin.kind} ({subject.origin.source})"
    parameters = scan.contrast.parameters()
    described = ScanDescription(
        shape=kspace.shape,
        contrast=scan.contrast.sequence.contrast,
        image_shape=scan.image.shape[1:],
        voxel_size=subject.voxel_size,
        affine=subject.affine,
        noise=scan.acquired.noise,
        noise_covariance=scan.acquired.noise_covariance,
        header=Header(
            subject=subject.group,
            vendor="simulation",
            model=origin,
            site=None if subject.site is None else subject.site.name,
            field_strength_t=subject.field_strength,
            slice_thickness_mm=round(subject.thickness, 3),
            origin=origin,
            licence=subject.origin.licence,
            sequence=str(parameters["sequence"]),
            repetition_time_ms=float(parameters["tr_ms"]),
            echo_time_ms=float(parameters["te_ms"]),
            inversion_time_ms=float(parameters["ti_ms"]) if "ti_ms" in parameters else None,
            b_value_s_per_mm2=float(parameters["b_value"]) if "b_value" in parameters else None,
        ),
    )
    with write_fastmri(path, described) as writer:
        for index, lines in enumerate(kspace):
            writer.put(index, lines, reference=np.abs(scan.image[index]).astype(np.float32))


def write_lesion(path: Path, subject: Subject) -> None:
    """The lesion of a subject, on the grid of its scans (see the module's docstring). Raises ReconError."""
    from recon.hdf5 import hdf5_for_writing

    lesion = subject.lesion
    if lesion is None:
        raise ReconError(f"{subject.name} has no lesion to write")
    with atomic_path(path) as temporary, hdf5_for_writing(temporary) as file:
        file.create_dataset("lesion", data=lesion.mask, compression="gzip")
        file.create_dataset("lesion_fraction", data=lesion.core, compression="gzip")
        file.attrs["kind"] = lesion.kind
        file.attrs["territory"] = lesion.territory
        file.attrs["stage"] = lesion.stage
        file.attrs["volume_ml"] = lesion.volume
        file.attrs["voxel_size_mm"] = subject.voxel_size
        file.attrs["affine"] = subject.affine
