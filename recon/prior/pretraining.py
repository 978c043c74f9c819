"""A prior from scratch: split by person, train, measure the denoising error on the held-out ones, store."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from recon.prior.dataset import PreparedScan, TrainingImages, split_by_subject
from recon.prior.denoiser import build_denoiser
from recon.prior.model_card import model_card
from recon.prior.options import TrainingOptions
from recon.prior.provenance import seen_by
from recon.prior.store import PriorFacts, assign_contrast_labels, save_prior
from recon.prior.training import Run, train
from recon.prior.validation import VARIANCE_SIGMAS, denoising_error
from recon.progress import Note, Report, unsaid


@dataclass(frozen=True)
class TrainingOutcome:
    """How far a run came. ``facts`` of the stored prior: None where the run was stopped early, and in all processes but
    the first. ``seconds_per_step`` without the first step; None for fewer than two."""

    images: int
    seconds_per_step: float | None = None
    facts: PriorFacts | None = None


def pretrain(
    options: TrainingOptions,
    scans: Sequence[PreparedScan],
    out: Path,
    report: Report,
    *,
    device: torch.device | str | None = None,
    stop_after: int | None = None,
    note: Note = unsaid,
) -> TrainingOutcome:
    """Train a prior from scratch into folder ``out``; continue there if the folder holds an interrupted run.

    ``accelerate launch`` runs it on several GPUs or nodes with the same global batches. ``stop_after`` ends the run
    early at that many images, as an interruption would (for tests and dry runs). ``note`` gets a line for every stored
    state.

    Raises ReconError when the interrupted run had other options or the data do not fit.
    """
    from accelerate import Accelerator

    wanted_cpu = device is not None and torch.device(device).type == "cpu"
    accelerator = Accelerator(cpu=wanted_cpu or not torch.cuda.is_available())
    training, validation = split_by_subject(scans, options.validation_fraction, options.seed)
    contrast_labels = assign_contrast_labels({scan.contrast for scan in scans}, options.network.contrast_labels)
    contrast_labels.setdefault("unknown", 0)
    denoiser = build_denoiser(options.network, options.sigma_data, options.seed).to(accelerator.device)
    run = Run(denoiser, options, out / "state")
    images = TrainingImages(training, contrast_labels, options)
    finished = train(run, images, accelerator, report, stop_after, note)
    if not finished or not accelerator.is_main_process:
        return TrainingOutcome(run.images, run.seconds_per_step)
    report("measuring the denoising error", 1.0)
    run.load_average()
    errors = denoising_error(denoiser, validation, device=accelerator.device)
    facts = PriorFacts(
        network=options.network,
        sigma_data=options.sigma_data,
        contrast_labels=contrast_labels,
        denoiser_variance_sigmas=VARIANCE_SIGMAS,
        denoiser_variances=tuple(errors),
        images_seen=options.images,
        training={
            "options": dataclasses.asdict(options),
            "subjects": len({scan.subject for scan in training}),
            "validation_subjects": len({scan.subject for scan in validation}),
            "slices": images.count,
            "origins": sorted({scan.header.origin or "not stated" for scan in scans}),
            "licences": sorted({scan.header.licence or "not stated" for scan in scans}),
            "parameters": sum(p.numel() for p in denoiser.parameters()),
            "seen": seen_by(scans),
        },
    )
    dtype = torch.bfloat16 if options.store_bf16 else torch.float32
    stored = save_prior(out, denoiser, facts, model_card(facts), dtype)
    return TrainingOutcome(run.images, run.seconds_per_step, stored)
