"""A prior from scratch or from another prior's weights: split by person, train, measure the denoising error, store."""

import copy
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from recon.errors import ReconError
from recon.prior.dataset import PreparedScan, TrainingImages, split_by_subject
from recon.prior.denoiser import Denoiser, build_denoiser
from recon.prior.model_card import model_card
from recon.prior.options import TrainingOptions
from recon.prior.provenance import seen_by
from recon.prior.store import Prior, PriorFacts, assign_contrast_labels, save_prior
from recon.prior.training import Run, train
from recon.prior.validation import VARIANCE_SIGMAS, denoising_error
from recon.processes import training_processes
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
    start: Prior | None = None,
    device: torch.device | str | None = None,
    stop_after: int | None = None,
    note: Note = unsaid,
) -> TrainingOutcome:
    """Train a prior into folder ``out``; continue there if the folder holds an interrupted run.

    ``start``: the prior whose weights the run begins with. Its network, scaling and contrast labels are kept, and so is
    its split by person: who was held out there is held out here, as long as the data are the same. Without it the run
    begins from scratch. ``accelerate launch`` runs it on several GPUs or nodes with the same global batches.
    ``stop_after`` ends the run early at that many images, as an interruption would (for tests and dry runs). ``note``
    gets a line for every stored state.

    Raises ReconError when the interrupted run had other options or another start, or the data do not fit.
    """
    processes = training_processes(device, options.batch)
    if start is not None:
        options = started_from(options, start)
    split_seed = options.seed if start is None else split_seed_of(start.facts)
    training, validation = split_by_subject(scans, options.validation_fraction, split_seed)
    contrast_labels = assign_contrast_labels(
        {scan.contrast for scan in scans},
        options.network.contrast_labels,
        None if start is None else start.facts.contrast_labels,
    )
    contrast_labels.setdefault("unknown", 0)
    denoiser = _denoiser(options, start).to(processes.device)
    begun = "" if start is None else start.facts.weights_sha256
    run = Run(denoiser, options, out / "state", begun, processes)
    images = TrainingImages(training, contrast_labels, options)
    finished = train(run, images, report, stop_after, note)
    if not finished or not processes.main:
        return TrainingOutcome(run.images, run.seconds_per_step)
    report("measuring the denoising error", 1.0)
    run.load_average()
    errors = denoising_error(denoiser, validation, device=processes.device)
    facts = PriorFacts(
        network=options.network,
        sigma_data=options.sigma_data,
        contrast_labels=contrast_labels,
        denoiser_variance_sigmas=VARIANCE_SIGMAS,
        denoiser_variances=tuple(errors),
        images_seen=options.images + (0 if start is None else start.facts.images_seen),
        training={
            "options": dataclasses.asdict(options),
            "split_seed": split_seed,
            "subjects": len({scan.subject for scan in training}),
            "validation_subjects": len({scan.subject for scan in validation}),
            "slices": images.count,
            "origins": sorted({scan.header.origin or "not stated" for scan in scans}),
            "licences": sorted({scan.header.licence or "not stated" for scan in scans}),
            "parameters": sum(p.numel() for p in denoiser.parameters()),
            "seen": seen_by(scans),
        },
    )
    if start is not None:
        facts = dataclasses.replace(facts, training=_with_history(facts.training, start.facts))
    dtype = torch.bfloat16 if options.store_bf16 else torch.float32
    stored = save_prior(out, denoiser, facts, model_card(facts), dtype)
    return TrainingOutcome(run.images, run.seconds_per_step, stored)


def started_from(options: TrainingOptions, start: Prior) -> TrainingOptions:
    """``options`` with the network and scaling of the prior that the run begins with: weights fit no other.

    Raises ReconError when the crop does not fit that network.
    """
    try:
        return dataclasses.replace(options, network=start.facts.network, sigma_data=start.facts.sigma_data)
    except ValueError as error:
        raise ReconError(f"{start.folder}: {error}") from error


def split_seed_of(facts: PriorFacts) -> int:
    """The seed that the prior's persons were split by, into trained and held out."""
    known = facts.training.get("split_seed", facts.training.get("options", {}).get("seed", 0))
    return known if isinstance(known, int) else 0


def _denoiser(options: TrainingOptions, start: Prior | None) -> Denoiser:
    if start is None:
        return build_denoiser(options.network, options.sigma_data, options.seed)
    return copy.deepcopy(start.denoiser).requires_grad_(True)


def _with_history(training: dict[str, Any], before: PriorFacts) -> dict[str, Any]:
    """The facts of a run with those of the prior it began with: origins and licences of both, because the weights come
    from both, and what was there before word for word."""
    both = {key: sorted({*training[key], *before.training.get(key, [])}) for key in ("origins", "licences")}
    history = {"weights_sha256": before.weights_sha256, "images_seen": before.images_seen, "training": before.training}
    return {**training, **both, "started_from": history}
