"""Judging a prior by what it is for: the error of few-step reconstructions of held-out patients.

Raw scans are undersampled and calibrated as a user's scan would be. Of a prepared file only the combined image is left,
so its k-space is made again with simulated coils and the scan's own noise level; the report says so.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recon.acquisition.fourier import to_kspace
from recon.acquisition.masks import calibration_extent, draw_mask
from recon.acquisition.problem import Problem, calibrate, preprocess_coils
from recon.acquisition.rss import reference_image
from recon.finetuning.cohort import Patient
from recon.posterior.random_streams import NoiseStreams
from recon.posterior.schedule import Schedule, default_sigma_max
from recon.posterior.stochastic_dds import stochastic_dds
from recon.posterior.system import System, system_of
from recon.prior.dataset import PreparedScan, unit_noise
from recon.prior.denoiser import Denoiser, low_precision
from recon.reconstruction.pipeline import noise_inflation
from recon.scan import Scan
from recon.scans.opening import open_scan
from recon.scans.undersample import default_calibration_lines
from recon.seeding import numpy_generator, torch_generator
from recon.spacing import evenly_spread

SYSTEM_MEMORY = 1.5e9  # bytes of eigensystems kept between checkpoints; beyond, they are solved again each time
SIMULATED_COILS = 8
NOISE_SIGMA = 0.02  # of a prepared file that does not state its noise, in units of the image scale


@dataclass(frozen=True)
class Case:
    """One slice to reconstruct. ``reference [readout, phase]`` magnitude in the units of ``problem.magnitude``."""

    patient: str
    contrast: str
    digest: str
    problem: Problem
    reference: NDArray[np.float32]
    simulated: bool  # coils and k-space made from a prepared image

    def system(self) -> System:
        """The data-consistency system under the noise level that the data themselves show."""
        system = system_of(self.problem)
        return system.with_sigma(system.sigma * noise_inflation(system))


def build_cases(
    patients: Sequence[Patient], acceleration: float, slices: int, seed: int, device: torch.device | str = "cpu"
) -> list[Case]:
    """``slices`` slices of each patient, undersampled: equispaced lines for whole accelerations, else random ones."""
    cases = []
    for patient in patients:
        pairs = list(zip(patient.scans, patient.raw, strict=True))
        each = max(1, slices // len(pairs))
        for scan, raw in pairs[:slices]:
            if raw is not None:
                cases += raw_cases(patient.name, open_scan(raw), acceleration, each, seed, device)
            else:
                cases += [
                    _prepared_case(patient.name, scan, index, acceleration, seed, device)
                    for index in evenly_spread(scan.slices, each)
                ]
    return cases


def retrospective(scan: Scan, acceleration: float, seed: int) -> Scan:
    """The scan as if only the lines of a drawn mask had been acquired; nothing is written."""
    mask = _mask((scan.shape[2], scan.shape[3]), acceleration, seed, scan.digest, scan.phase_limits)
    if scan.mask.ndim == 2:
        mask = mask & scan.mask

    def read(index: int) -> NDArray[np.complex64]:
        return (scan.read_kspace(index) * mask).astype(np.complex64)

    extent = calibration_extent(mask, scan.shape[2])
    return dataclasses.replace(scan, mask=mask, read_kspace=read, calibration=extent, read_reference=None)


def _mask(
    shape: tuple[int, int], acceleration: float, seed: int, digest: str, limits: tuple[int, int] | None = None
) -> NDArray[np.bool_]:
    kind = "equispaced" if acceleration == round(acceleration) else "random"
    encoded = shape if limits is None else (shape[0], limits[1] - limits[0])
    lines = default_calibration_lines(encoded, acceleration, kind)
    return draw_mask(kind, shape, acceleration, lines, numpy_generator(seed, digest, "mask"), limits)


def raw_cases(
    patient: str, scan: Scan, acceleration: float, slices: int, seed: int, device: torch.device | str = "cpu"
) -> list[Case]:
    """Cases from a fully sampled raw scan, through the calibration that every reconstruction uses."""
    fast = retrospective(scan, acceleration, seed)
    preprocessing = preprocess_coils(fast, coils=16, device=device)
    cases = []
    for index in evenly_spread(scan.shape[0], slices):
        problem = calibrate(fast, preprocessing, [index], device=device)
        cases.append(Case(patient, scan.contrast, scan.digest, problem, reference_image(scan, index), False))
    return cases


def _prepared_case(
    patient: str, scan: PreparedScan, index: int, acceleration: float, seed: int, device: torch.device | str
) -> Case:
    from recon.simulate.coils import coil_maps

    image = scan.read(index)
    digest = str(scan.facts.get("scan_digest", scan.path.stem))
    pitch = 240.0 / max(image.shape)
    coils, _ = coil_maps(
        np.zeros(1),
        (image.shape[0], image.shape[1]),
        (pitch, pitch),
        SIMULATED_COILS,
        numpy_generator(seed, digest, "coils"),
    )
    maps = torch.from_numpy(coils)[:, None]
    mask = torch.from_numpy(_mask((image.shape[0], image.shape[1]), acceleration, seed, digest))
    sigma = float(scan.facts.get("noise_sigma", NOISE_SIGMA))
    noise = unit_noise((1, SIMULATED_COILS, *image.shape), torch_generator(seed, digest, "judging noise", index))
    kspace = (to_kspace((maps * image).sum(1)) + sigma * noise) * mask
    problem = Problem(
        slices=(index,),
        kspace=kspace.to(device),
        mask=mask.to(device),
        maps=maps.to(device),
        scale=torch.ones(1, device=device),
        sigma=torch.full((1,), sigma, device=device),
        restore_coils=torch.eye(SIMULATED_COILS, dtype=torch.complex64, device=device),
        crop=(slice(0, image.shape[0]), slice(0, image.shape[1])),
    )
    return Case(patient, scan.contrast, digest, problem, image.abs().numpy(), True)


def prepare_systems(cases: Sequence[Case]) -> list[System | None]:
    """The systems of the cases while they fit in memory, None for the rest. They are the same for every checkpoint."""
    systems: list[System | None] = []
    used = 0.0
    for case in cases:
        readout, phase = case.problem.maps.shape[-2:]
        used += 8.0 * readout * phase**2
        systems.append(case.system() if used < SYSTEM_MEMORY else None)
    return systems


def judge(
    denoiser: Denoiser,
    contrast_labels: dict[str, int],
    variance_table: Callable[[float], float],
    cases: Sequence[Case],
    systems: Sequence[System | None],
    *,
    acceleration: float,
    steps: int,
    samples: int,
    seed: int,
) -> dict[str, float]:
    """NRMSE of each patient: ||reconstruction - reference|| / ||reference|| over the patient's judged slices.

    Every checkpoint sees the same noise, so that differences between checkpoints are not differences of luck.
    """
    error: dict[str, float] = {}
    norm: dict[str, float] = {}
    start = default_sigma_max(acceleration)
    for case, kept in zip(cases, systems, strict=True):
        system = kept if kept is not None else case.system()
        schedule = Schedule(max(start, 10 * float(system.sigma.median())), steps, 0.01)
        device = case.problem.kspace.device
        noise = NoiseStreams(seed, case.digest, case.problem.slices, range(samples), device)
        contrast_label = contrast_labels[case.contrast]

        def denoise(image: Tensor, sigma: float, contrast_label: int = contrast_label) -> Tensor:
            flat = image.flatten(0, 2)
            level = torch.full((len(flat),), sigma, device=image.device)
            contrast_labels = torch.full((len(flat),), contrast_label, dtype=torch.long, device=image.device)
            with low_precision(image.device):
                denoised = denoiser(flat, level, contrast_labels)
            return denoised.unflatten(0, image.shape[:3])

        with torch.no_grad():
            draws = stochastic_dds(system, denoise, schedule, variance_table, denoiser.sigma_data, noise)
        shown = case.problem.magnitude(draws.means.mean(1))[0].cpu().numpy()
        error[case.patient] = error.get(case.patient, 0.0) + float(((shown - case.reference) ** 2).sum())
        norm[case.patient] = norm.get(case.patient, 0.0) + float((case.reference**2).sum())
    return {patient: float(np.sqrt(error[patient] / norm[patient])) for patient in error}
