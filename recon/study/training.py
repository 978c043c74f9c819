"""Trainings on studies on the loop that trainings share, and that on outlined lesions.

L = BCE(mask) + 1 - (2 sum p m + 1) / (sum p + sum m + 1) + w BCE(lesion in the slab)

Sums go over the whole batch, in however many processes it lies.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from recon.gradient_steps import decaying_optimiser
from recon.processes import Processes
from recon.progress import Note
from recon.seeding import torch_generator
from recon.study.contrasts import INPUTS
from recon.study.network import OUTPUTS, random_network
from recon.study.options import StudyFitOptions, StudyTrainingOptions
from recon.study.samples import Batch, Slices, draw_batch
from recon.study.start import Start, begin_with
from recon.training_loop import Training
from recon.training_state import fingerprint

Data = TypeVar("Data")  # what a step draws from
HOW_IT_RUNS = ("checkpoint_samples",)


def study_loss(
    mask: Tensor, detection: Tensor, batch: Batch, whole: int, detection_weight: float, processes: Processes
) -> Tensor:
    """The loss of a batch of ``whole`` slabs, of which ``batch`` is this process' part: logits ``mask``
    ``[part, height, width]`` and ``detection`` ``[part]``."""
    probability = mask.sigmoid()
    pixels = functional.binary_cross_entropy_with_logits(mask, batch.mask, reduction="sum")
    slabs = functional.binary_cross_entropy_with_logits(detection, batch.lesion, reduction="sum")
    both, found, true, pixels, slabs = processes.total(
        torch.stack([(probability * batch.mask).sum(), probability.sum(), batch.mask.sum(), pixels, slabs])
    )
    overlap = (2 * both + 1) / (found + true + 1)
    return pixels / (whole * mask[0].numel()) + 1 - overlap + detection_weight * slabs / whole


class StudyTraining(Training[Data]):
    """A training on studies: the network, and what of it is trained."""

    def __init__(
        self, options: StudyTrainingOptions, network: nn.Module, parameters: Mapping[str, nn.Parameter], folder: Path,
        same: str, processes: Processes,
    ) -> None:  # fmt: skip
        """``same``: what, beside the options, must be equal for an interrupted run to be continued."""
        self.options, self.network = options, network
        known = dict(parameters)
        optimiser = decaying_optimiser(known.values(), options.learning_rate, options.weight_decay, (0.9, 0.99))
        # Weights that are not trained follow from the seed, so they are no part of the state.
        state = folder, fingerprint(options, HOW_IT_RUNS) + "|" + same
        super().__init__(options, known, optimiser, processes, state)

    def between(self, data: Data, before: int, ended: bool, note: Note) -> None:
        """Keep the state when it is time."""
        every = self.options.checkpoint_samples
        if ended or before // every != self.samples // every:
            note(f"sample {self.samples}: loss {self.loss:.4f}")
            self.save()


class StudyRun(StudyTraining[Slices]):
    """A training on outlined lesions, from drawn weights or from ``start``'s."""

    def __init__(
        self, options: StudyFitOptions, contrasts: tuple[str, ...], folder: Path, processes: Processes,
        start: Start | None = None,
    ) -> None:  # fmt: skip
        self.fit = options
        numbers = [INPUTS.index(name) for name in contrasts]
        generator = torch_generator(options.seed, "study-network", options.network.kind)
        network: nn.Module = random_network(options.network, options.grid, numbers, generator)
        if start is not None:
            begin_with(network, start, options.network, options.grid)
        network.to(processes.device)
        parameters = {
            name: parameter
            for name, parameter in network.named_parameters()
            if not options.frozen or name.split(".")[0] in OUTPUTS
        }
        same = ",".join(contrasts) + ("" if start is None else f"|{start.weights_sha256}")
        super().__init__(options, network, parameters, folder, same, processes)

    def loss_of(self, data: Slices) -> Tensor:
        """See ``study_loss``. The batch is drawn whole: its draws do not hang on how many processes share it."""
        drawn = draw_batch(data, self.fit, self.samples)
        rows = list(self.processes.own(range(len(drawn.slabs))))
        slabs, mask, lesion = (part[rows].to(self.processes.device) for part in (drawn.slabs, drawn.mask, drawn.lesion))
        said, detection = self.network(slabs, drawn.contrasts)
        batch = Batch(slabs, drawn.contrasts, mask, lesion)
        return study_loss(said, detection, batch, len(drawn.slabs), self.fit.detection_weight, self.processes)
