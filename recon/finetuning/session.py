"""What the stages of a fine-tuning share: the prior with its new contrast labels, the patients, the processes, the
progress."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from recon.configuration import from_mapping
from recon.errors import ReconError
from recon.finetuning.cohort import Patient, scans_of
from recon.finetuning.plan import FinetuneOptions
from recon.prior.dataset import PreparedScan
from recon.prior.denoiser import UNKNOWN_CONTRAST_LABEL
from recon.prior.options import TrainingOptions
from recon.prior.store import Prior, PriorFacts
from recon.progress import Note, Report


@dataclass
class Session:
    """What all stages share."""

    prior: Prior
    base: TrainingOptions
    options: FinetuneOptions
    out: Path
    patients: list[Patient]
    contrast_labels: dict[str, int]
    device: torch.device
    accelerator: Any
    report: Report
    note: Note
    done: int = 0  # images of finished stages, for the progress
    total: int = 0

    @property
    def scans(self) -> list[PreparedScan]:
        """All prepared scans."""
        return scans_of(self.patients)

    @property
    def slices(self) -> int:
        """All slices: one epoch."""
        return sum(scan.slices for scan in self.scans)

    def labelled_prior(self) -> Prior:
        """The prior with the contrast labels of the cohort."""
        return dataclasses.replace(
            self.prior, facts=dataclasses.replace(self.prior.facts, contrast_labels=self.contrast_labels)
        )

    def progress(self, stage: str, images: int) -> Report:
        """Progress of one stage of so many images as progress of the whole."""
        offset = self.done

        def tell(_: str, fraction: float) -> None:
            done = offset + fraction * images
            self.report(stage, done / max(self.total, done))

        return tell


def pretraining_options(facts: PriorFacts) -> TrainingOptions:
    """How the prior was pre-trained. Raises ReconError when it does not say."""
    options = facts.training.get("options")
    if not options:
        raise ReconError("the prior does not state how it was trained; fine-tune one that 'recon pretrain' wrote")
    return from_mapping(TrainingOptions, json.loads(json.dumps(options)), "prior.json, training.options")


def start_contrast_labels(prior: Prior, contrast_labels: dict[str, int]) -> None:
    """A new contrast starts from the general contrast label, which was trained on every contrast; no other row
    changes."""
    network: Any = prior.denoiser.network
    weight = network.class_embedding.weight
    with torch.no_grad():
        for contrast, contrast_label in contrast_labels.items():
            if contrast not in prior.facts.contrast_labels and contrast_label != UNKNOWN_CONTRAST_LABEL:
                weight[contrast_label] = weight[UNKNOWN_CONTRAST_LABEL]


def slices_of(patients: Sequence[Patient]) -> int:
    """Slices of some patients."""
    return sum(scan.slices for scan in scans_of(patients))
