"""Judging a prior by what it is for: the error of the images that its users get.

Every held-out slice goes through ``recon.reconstruction.pipeline``, so the image that is judged is, to the bit, that of
``recon reconstruct`` with the same prior, scan and settings.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from recon.finetuning.plan import FinetuneOptions
from recon.finetuning.validation_cases import ValidationCase
from recon.prior.dataset import PreparedScan
from recon.prior.denoiser import Denoiser
from recon.prior.store import Prior
from recon.prior.validation import VARIANCE_SIGMAS, denoising_error
from recon.reconstruction.options import ReconstructionOptions
from recon.reconstruction.pipeline import Solver, solver_for
from recon.reconstruction.preparing import Prepared

SYSTEM_MEMORY = 1.5e9  # bytes of eigensystems kept between checkpoints; beyond, they are solved again each time


@dataclass(frozen=True)
class PreparedCase:
    """A case with its solver and, while memory lasts, its calibrated slice: the same for every checkpoint."""

    case: ValidationCase
    solver: Solver
    kept: Prepared | None

    def prepared(self) -> Prepared:
        """The calibrated slice."""
        return self.kept or self.solver.prepare(range(self.case.slice, self.case.slice + 1))


def prepare_cases(
    cases: Sequence[ValidationCase],
    prior: Prior,
    options: ReconstructionOptions,
    device: torch.device | str = "cpu",
) -> list[PreparedCase]:
    """Calibrate every case once."""
    prepared = []
    used = 0.0
    solvers: dict[str, Solver] = {}
    for case in cases:
        solver = solvers.get(case.scan.digest) or solver_for(case.scan, options, prior, device=device)
        solvers[case.scan.digest] = solver
        readout, phase = case.scan.image_shape
        used += 8.0 * readout * phase**2
        entry = PreparedCase(case, solver, None)
        prepared.append(replace(entry, kept=entry.prepared()) if used < SYSTEM_MEMORY else entry)
    return prepared


def reconstruction_errors(prior: Prior, cases: Sequence[PreparedCase]) -> dict[str, float]:
    """NRMSE of each patient: ||reconstruction - reference|| / ||reference|| over the patient's slices.

    Every prior meets the same masks and the same random streams, so that differences between priors are not
    differences of luck.
    """
    error: dict[str, float] = {}
    norm: dict[str, float] = {}
    for entry in cases:
        case, prepared = entry.case, entry.prepared()
        solution = replace(entry.solver, prior=prior).solve(prepared)
        shown = prepared.problem.magnitude(solution.image)[0].cpu().numpy()
        error[case.patient] = error.get(case.patient, 0.0) + float(((shown - case.reference) ** 2).sum())
        norm[case.patient] = norm.get(case.patient, 0.0) + float((case.reference**2).sum())
    return {patient: math.sqrt(error[patient] / norm[patient]) for patient in error}


@dataclass(frozen=True)
class HeldOutValidation:
    """What a checkpoint of a fold is judged by: ``scans`` for the denoising error, ``cases`` for the reconstruction
    error. ``prior`` is the one that is fine-tuned, with the contrast labels of the target."""

    scans: Sequence[PreparedScan]
    cases: Sequence[PreparedCase]
    prior: Prior
    seed: int
    device: torch.device

    def __call__(self, denoiser: Denoiser) -> tuple[dict[str, float], tuple[float, ...]]:
        """``(NRMSE by patient, denoising error at VARIANCE_SIGMAS)``; the second is the variance table that the
        reconstructions of the first use, as those of the finished prior will."""
        denoiser.eval()
        labels = self.prior.facts.contrast_labels
        errors = tuple(
            denoising_error(
                denoiser, self.scans, contrast_labels=labels, slices_per_scan=1, limit=8, seed=self.seed,
                device=self.device,
            )
        )  # fmt: skip
        return reconstruction_errors(checkpoint(self.prior, denoiser, labels, errors), self.cases), errors


def checkpoint(
    prior: Prior, denoiser: Denoiser, contrast_labels: dict[str, int], denoiser_variances: tuple[float, ...]
) -> Prior:
    """A state of fine-tuning as the prior that it would be: with its own denoising error at ``VARIANCE_SIGMAS``."""
    facts = replace(
        prior.facts,
        contrast_labels=contrast_labels,
        denoiser_variance_sigmas=VARIANCE_SIGMAS,
        denoiser_variances=denoiser_variances,
    )
    return Prior(denoiser, facts, prior.folder)


def judged_options(options: FinetuneOptions) -> ReconstructionOptions:
    """The settings of the reconstructions that candidates are judged by: the defaults, but for what is asked for."""
    return ReconstructionOptions(steps=options.steps, samples=options.samples, seed=options.seed)
