"""Held-out slices that a prior is judged by: scans undersampled in memory and reconstructed as any user would.

Of a prepared file only the combined image is left, so a scan is made of it again with simulated coils and the scan's
own noise level; the report says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from recon.acquisition.fourier import to_kspace
from recon.acquisition.masks import calibration_extent
from recon.acquisition.rss import reference_image
from recon.evenly import evenly_spread
from recon.finetuning.cohort import Patient
from recon.header import identity_of
from recon.prior.dataset import PreparedScan, unit_noise
from recon.scan import Scan
from recon.scans.derived import with_mask
from recon.scans.opening import open_scan
from recon.scans.options import UndersamplingOptions
from recon.scans.undersample import undersampling_mask
from recon.seeding import numpy_generator, torch_generator

SIMULATED_COILS = 8
NOISE_SIGMA = 0.02  # of a prepared file that does not state its noise, in units of the image scale
FIELD_OF_VIEW = 240.0  # mm, of the simulated coils


@dataclass(frozen=True)
class ValidationCase:
    """One slice of an undersampled scan. ``reference [readout, phase]``: its magnitude, fully sampled, in the scan's
    units. ``simulated``: coils and kspace were made from a prepared image."""

    patient: str
    scan: Scan
    slice: int
    reference: NDArray[np.float32]
    simulated: bool


def validation_cases(patients: Sequence[Patient], acceleration: float, slices: int, seed: int) -> list[ValidationCase]:
    """``slices`` slices of each patient, undersampled: equispaced lines for whole accelerations, else random ones."""
    cases = []
    for patient in patients:
        pairs = list(zip(patient.scans, patient.raw, strict=True))
        each = max(1, slices // len(pairs))
        for prepared, raw in pairs[:slices]:
            full = simulated_scan(prepared, seed) if raw is None else open_scan(raw)
            fast = undersampled(full, acceleration, seed)
            cases += [
                ValidationCase(patient.name, fast, index, reference_image(full, index), raw is None)
                for index in evenly_spread(full.shape[0], each)
            ]
    return cases


def undersampled(scan: Scan, acceleration: float, seed: int) -> Scan:
    """The scan as ``recon undersample --seed`` would write it; nothing is written."""
    kind = "equispaced" if acceleration == round(acceleration) else "random"
    return with_mask(scan, undersampling_mask(scan, UndersamplingOptions(acceleration, kind, seed=seed)))


def simulated_scan(prepared: PreparedScan, seed: int) -> Scan:
    """A fully sampled scan of a prepared file's images through simulated coils, its noise level known."""
    from recon.simulate.coils import coil_maps

    digest = prepared.scan_digest or prepared.path.stem
    identity = prepared.scan_identity or digest
    rows, columns = prepared.shape
    pitch = FIELD_OF_VIEW / max(rows, columns)
    generator = numpy_generator(seed, identity, "coils")
    maps, _ = coil_maps(np.zeros(1), (rows, columns), (pitch, pitch), SIMULATED_COILS, generator)
    coils = torch.from_numpy(maps[0])
    sigma = NOISE_SIGMA if prepared.noise_sigma is None else prepared.noise_sigma

    def read(index: int) -> NDArray[np.complex64]:
        noise = unit_noise((SIMULATED_COILS, rows, columns), torch_generator(seed, identity, "simulated noise", index))
        return (to_kspace(coils * prepared.read(index)) + sigma * noise).numpy()

    mask = np.ones(columns, bool)
    return Scan(
        path=prepared.path,
        digest=digest,
        shape=(prepared.slices, SIMULATED_COILS, rows, columns),
        read_kspace=read,
        mask=mask,
        calibration=calibration_extent(mask, rows),
        image_shape=(rows, columns),
        contrast=prepared.contrast,
        noise_covariance=(2 * sigma**2 * np.eye(SIMULATED_COILS)).astype(np.complex128),
        identity=identity_of("prepared", identity),
        read_reference=lambda index: prepared.read(index).abs().numpy(),
    )
