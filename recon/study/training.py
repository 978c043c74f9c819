"""Training of a study network: cross entropy and soft Dice of the mask, cross entropy of the detection; resumable.

L = BCE(mask) + 1 - (2 sum p m + 1) / (sum p + sum m + 1) + w BCE(lesion in the slab)
"""

import math
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from recon.errors import ReconError
from recon.gradient_steps import decaying_optimiser, warm_cosine
from recon.progress import Note, Report, silent, unsaid
from recon.seeding import torch_generator
from recon.study.contrasts import INPUTS
from recon.study.network import OUTPUTS, random_network
from recon.study.options import StudyFitOptions
from recon.study.samples import Batch, Slices, draw_batch
from recon.training_state import TrainingState, fingerprint

HOW_IT_RUNS = ("checkpoint_samples",)


def study_loss(mask: Tensor, detection: Tensor, batch: Batch, detection_weight: float) -> Tensor:
    """The loss of logits ``mask`` ``[batch, height, width]`` and ``detection`` ``[batch]``."""
    probability = mask.sigmoid()
    overlap = (2 * (probability * batch.mask).sum() + 1) / (probability.sum() + batch.mask.sum() + 1)
    pixels = functional.binary_cross_entropy_with_logits(mask, batch.mask)
    slabs = functional.binary_cross_entropy_with_logits(detection, batch.lesion)
    return pixels + 1 - overlap + detection_weight * slabs


class StudyRun:
    """The state of a training: network, optimiser, and how many samples were seen."""

    def __init__(self, options: StudyFitOptions, contrasts: tuple[str, ...], folder: Path, device: str = "cpu") -> None:
        self.options, self.device, self.folder = options, device, folder
        self.contrasts = contrasts
        numbers = [INPUTS.index(name) for name in contrasts]
        generator = torch_generator(options.seed, "study-network", options.network.kind)
        self.network: nn.Module = random_network(options.network, options.grid, numbers, generator).to(device)
        self.parameters = {
            name: parameter
            for name, parameter in self.network.named_parameters()
            if not options.frozen or name.split(".")[0] in OUTPUTS
        }
        self.optimiser = decaying_optimiser(
            self.parameters.values(), options.learning_rate, options.weight_decay, (0.9, 0.99)
        )
        self.samples = 0
        self.loss = math.nan

    def step(self, batch: Batch) -> float:
        """One gradient step; returns the loss."""
        options = self.options
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate_at(options, self.samples + options.batch)
        batch = Batch(
            batch.slabs.to(self.device), batch.contrasts, batch.mask.to(self.device), batch.lesion.to(self.device)
        )
        mask, detection = self.network(batch.slabs, batch.contrasts)
        loss = study_loss(mask, detection, batch, options.detection_weight)
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), options.gradient_norm)
        self.optimiser.step()
        self.samples += options.batch
        return float(loss.detach())

    def save(self) -> None:
        """Write the state; a kill at any moment leaves the previous one intact."""
        self._state().save({"samples": self.samples, "loss": repr(self.loss)})

    def load(self) -> bool:
        """Continue from the stored state; False when there is none. Raises ReconError when it does not fit."""
        facts = self._state().load()
        if facts is None:
            return False
        self.samples, self.loss = int(facts["samples"]), float(facts["loss"])
        return True

    def _state(self) -> TrainingState:
        # Weights that are not trained follow from the seed.
        same = fingerprint(self.options, HOW_IT_RUNS) + "|" + ",".join(self.contrasts)
        return TrainingState(self.folder, self.parameters, self.optimiser, {}, same)


def learning_rate_at(options: StudyFitOptions, samples: int) -> float:
    """Linear warm-up, then half a cosine to a hundredth."""
    return warm_cosine(options.learning_rate, samples, options.samples, options.warmup_fraction)


def train(
    run: StudyRun, slices: Slices, report: Report = silent, note: Note = unsaid, stop_after: int | None = None
) -> bool:
    """Run or continue; True when the training reached its length, False when ``stop_after`` samples ended it before.

    Raises ReconError when the loss is not finite; the last good state stays on disk.
    """
    options = run.options
    if run.load():
        note(f"continuing at sample {run.samples}")
    last = options.samples // options.batch * options.batch
    stop = last if stop_after is None else min(last, stop_after)
    while run.samples < stop:
        before = run.samples
        value = run.step(draw_batch(slices, options, run.samples))
        if not math.isfinite(value):
            raise ReconError(
                f"training diverged at sample {run.samples} (loss {value}); lower learning_rate, in another --out"
            )
        run.loss = value if math.isnan(run.loss) else 0.98 * run.loss + 0.02 * value
        ended = run.samples >= stop
        if ended or before // options.checkpoint_samples != run.samples // options.checkpoint_samples:
            note(f"sample {run.samples}: loss {run.loss:.4f}")
            run.save()
        report("training", run.samples / last)
    return run.samples >= last
