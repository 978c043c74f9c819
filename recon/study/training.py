"""Trainings on studies that can be interrupted: the loop that all of them share, and that on outlined lesions.

L = BCE(mask) + 1 - (2 sum p m + 1) / (sum p + sum m + 1) + w BCE(lesion in the slab)
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from recon.errors import ReconError
from recon.gradient_steps import decaying_optimiser, warm_cosine
from recon.progress import Note, Report, silent, unsaid
from recon.seeding import torch_generator
from recon.study.contrasts import INPUTS
from recon.study.network import OUTPUTS, random_network
from recon.study.options import StudyFitOptions, StudyTrainingOptions
from recon.study.samples import Batch, Slices, draw_batch
from recon.study.start import Start, begin_with
from recon.training_state import TrainingState, fingerprint

Data = TypeVar("Data")  # what a step draws from
HOW_IT_RUNS = ("checkpoint_samples",)


def study_loss(mask: Tensor, detection: Tensor, batch: Batch, detection_weight: float) -> Tensor:
    """The loss of logits ``mask`` ``[batch, height, width]`` and ``detection`` ``[batch]``."""
    probability = mask.sigmoid()
    overlap = (2 * (probability * batch.mask).sum() + 1) / (probability.sum() + batch.mask.sum() + 1)
    pixels = functional.binary_cross_entropy_with_logits(mask, batch.mask)
    slabs = functional.binary_cross_entropy_with_logits(detection, batch.lesion)
    return pixels + 1 - overlap + detection_weight * slabs


class StudyTraining(Generic[Data]):
    """The state of a training: network, what of it is trained, optimiser, and how many samples were seen."""

    def __init__(
        self, options: StudyTrainingOptions, network: nn.Module, parameters: Mapping[str, nn.Parameter], folder: Path,
        same: str,
    ) -> None:  # fmt: skip
        """``same``: what, beside the options, must be equal for an interrupted run to be continued."""
        self.options, self.folder, self.same = options, folder, fingerprint(options, HOW_IT_RUNS) + "|" + same
        self.network, self.parameters = network, dict(parameters)
        self.optimiser = decaying_optimiser(
            self.parameters.values(), options.learning_rate, options.weight_decay, (0.9, 0.99)
        )
        self.samples = 0
        self.loss = math.nan

    def loss_of(self, slices: Data) -> Tensor:
        """The loss of the next batch."""
        raise NotImplementedError

    def step(self, slices: Data) -> float:
        """One gradient step; returns the loss."""
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate_at(self.options, self.samples + self.options.batch)
        loss = self.loss_of(slices)
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.options.gradient_norm)
        self.optimiser.step()
        self.samples += self.options.batch
        return float(loss.detach())

    def save(self) -> None:
        """Write the state; a kill at any moment leaves the previous one intact."""
        self._state().save({"samples": self.samples, "loss": repr(self.loss)})

    def load(self) -> bool:
        """Continue from the stored state; False when there is none. Raises ReconError when it does not fit."""
        facts: dict[str, Any] | None = self._state().load()
        if facts is None:
            return False
        self.samples, self.loss = int(facts["samples"]), float(facts["loss"])
        return True

    def _state(self) -> TrainingState:
        # Weights that are not trained follow from the seed.
        return TrainingState(self.folder, self.parameters, self.optimiser, {}, self.same)


class StudyRun(StudyTraining[Slices]):
    """A training on outlined lesions, from drawn weights or from ``start``'s."""

    def __init__(
        self, options: StudyFitOptions, contrasts: tuple[str, ...], folder: Path, device: str = "cpu",
        start: Start | None = None,
    ) -> None:  # fmt: skip
        self.fit, self.device = options, device
        numbers = [INPUTS.index(name) for name in contrasts]
        generator = torch_generator(options.seed, "study-network", options.network.kind)
        network: nn.Module = random_network(options.network, options.grid, numbers, generator)
        if start is not None:
            begin_with(network, start, options.network, options.grid)
        network.to(device)
        parameters = {
            name: parameter
            for name, parameter in network.named_parameters()
            if not options.frozen or name.split(".")[0] in OUTPUTS
        }
        same = ",".join(contrasts) + ("" if start is None else f"|{start.weights_sha256}")
        super().__init__(options, network, parameters, folder, same)

    def loss_of(self, slices: Slices) -> Tensor:
        """See ``study_loss``."""
        batch = draw_batch(slices, self.fit, self.samples)
        batch = Batch(
            batch.slabs.to(self.device), batch.contrasts, batch.mask.to(self.device), batch.lesion.to(self.device)
        )
        mask, detection = self.network(batch.slabs, batch.contrasts)
        return study_loss(mask, detection, batch, self.fit.detection_weight)


def learning_rate_at(options: StudyTrainingOptions, samples: int) -> float:
    """Linear warm-up, then half a cosine to a hundredth."""
    return warm_cosine(options.learning_rate, samples, options.samples, options.warmup_fraction)


def train(
    run: StudyTraining[Data], slices: Data, report: Report = silent, note: Note = unsaid, stop_after: int | None = None
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
        value = run.step(slices)
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
