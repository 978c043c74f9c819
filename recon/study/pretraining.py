"""From studies, outlined or not, to a pre-trained encoder on disk: split by person, hide, train, write."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recon.processes import Processes, training_processes
from recon.progress import Note, Report, part_of, silent, unsaid
from recon.seeding import numpy_generator, torch_generator
from recon.study.contrasts import INPUTS
from recon.study.fit import PREPARATION, Fitted, split_by_person, what_was_trained
from recon.study.images import Reconstructions
from recon.study.masking import hide, masked_loss, random_masked_network
from recon.study.options import StudyPretrainingOptions
from recon.study.placing import placed_otherwise
from recon.study.preparation import prepared_studies
from recon.study.samples import Slices, any_slices, draw_contrasts, gains, slab_at
from recon.study.store import PRETRAINED, write_model
from recon.study.table import Study, of_plane
from recon.study.training import StudyTraining
from recon.training_loop import train


class MaskedRun(StudyTraining[Slices]):
    """A masked pre-training."""

    def __init__(
        self, options: StudyPretrainingOptions, contrasts: tuple[str, ...], folder: Path, processes: Processes
    ) -> None:
        self.hiding = options
        numbers = [INPUTS.index(name) for name in contrasts]
        generator = torch_generator(options.seed, "study-pretraining")
        self.masked = random_masked_network(options, numbers, generator).to(processes.device)
        # Pixels are not part of it: only what makes tokens and attends to them is trained.
        parameters = {
            name: parameter
            for name, parameter in self.masked.named_parameters()
            if not name.startswith("network.") or name.split(".")[1] in ("place", "whole", "blocks", "norm")
            or name.startswith(("network.input.codes", "network.input.tokenizer"))
        }  # fmt: skip
        super().__init__(options, self.masked, parameters, folder, ",".join(contrasts), processes)

    def loss_of(self, data: Slices) -> Tensor:
        """See ``recon.study.masking``."""
        slabs, contrasts = draw_slabs(data, self.hiding, self.samples)
        count = slabs.shape[1] * self.masked.network.place.shape[0]
        drawn = torch_generator(self.hiding.seed, "study-hidden", self.samples)
        hidden = hide(len(slabs), count, self.hiding.hidden, drawn)
        rows, device = list(self.processes.own(range(len(slabs)))), self.processes.device
        hidden = dataclasses.replace(hidden, order=hidden.order[rows].to(device))
        told, true = self.masked(slabs[rows].to(device), contrasts, hidden)
        return masked_loss(told, true, hidden, self.processes)

    def encoder(self) -> dict[str, Tensor]:
        """What a study network can begin with, by its own names."""
        prefix = "network."
        return {name[len(prefix) :]: value for name, value in self.parameters.items() if name.startswith(prefix)}


def draw_slabs(slices: Slices, options: StudyPretrainingOptions, first: int) -> tuple[Tensor, tuple[int, ...]]:
    """The slabs ``[batch, contrast, slab, height, width]`` of the batch that begins at sample ``first``, and their
    contrasts as numbers in ``INPUTS``."""
    generator = numpy_generator(options.seed, "study-slabs", first)
    chosen, lesioned, clear = draw_contrasts(slices, options.contrast_dropout, generator)
    pool = np.concatenate([lesioned, clear])
    slabs = []
    for _ in range(options.batch):
        number, index = pool[int(generator.integers(len(pool)))]
        volume = slices.volumes[int(number)]
        rows = [volume.contrasts.index(name) for name in chosen]
        slab = slab_at(volume.values[rows], int(index), options.network.slab)
        if generator.random() < 0.5 and options.grid.plane == "axial":  # as in draw_batch
            slab = slab[..., ::-1]
        slabs.append(slab * gains(len(rows), options.gain, generator))
    drawn = torch.from_numpy(np.stack(slabs))
    placed, _ = placed_otherwise(drawn, torch.zeros(len(drawn), *drawn.shape[-2:]), options, generator)
    return placed, tuple(INPUTS.index(name) for name in chosen)


def pretrain_study_model(
    options: StudyPretrainingOptions,
    studies: Sequence[Study],
    out: Path,
    reconstructions: Reconstructions,
    *,
    report: Report = silent,
    note: Note = unsaid,
    stop_after: int | None = None,
) -> Fitted:
    """Pre-train on every study but those of held-out persons; an interrupted run continues.

    Under ``accelerate launch`` or ``torchrun`` the processes share every batch, and the first of them writes. Raises
    ReconError when no study is left, one cannot be read, or the training diverges.
    """
    chosen, held_out = split_by_person(of_plane(studies, options.grid.plane), options.held_out_fraction, options.seed)
    processes = training_processes(reconstructions.device, options.batch)
    with processes.one_after_the_other():
        volumes = prepared_studies(chosen, reconstructions, options.grid, part_of(report, 0, PREPARATION))
    slices = any_slices(volumes, options.contrasts)
    run = MaskedRun(options, slices.contrasts, out, processes)
    finished = train(run, slices, part_of(report, PREPARATION, 1), note, stop_after)
    persons = sorted({study.person for study in chosen})
    parameters = sum(p.numel() for p in run.parameters.values())
    if finished and processes.main:
        facts = what_was_trained(run, chosen, held_out, slices.contrasts)
        write_model(out, run.encoder(), PRETRAINED, options, facts, pretraining_card(options, facts))
    return Fitted(finished, run.samples, run.loss, len(chosen), len(persons), held_out, slices.contrasts, parameters)


def pretraining_card(options: StudyPretrainingOptions, facts: Mapping[str, Any]) -> str:
    """The README of a pre-trained encoder's folder."""
    lines = [
        "# Pre-trained encoder of a study network: hidden tokens of all series told from the rest",
        "",
        "Begin with it by `recon study fit STUDIES --from THIS_FOLDER`. It outlines nothing by itself.",
        "",
        "| | |",
        "|---|---|",
        f"| contrasts | {', '.join(facts['contrasts'])} |",
        f"| weights | {facts['parameters']:,} trained, with the light decoder, which is not stored |",
        f"| training | {facts['samples']:,} slabs of {options.network.slab} slices, {options.hidden:.0%} of the tokens "
        "hidden |",
        f"| data | {facts['studies']} studies of {len(facts['persons'])} persons; {facts['held_out_persons']} persons "
        "held out |",
        f"| squared error at the end, in standardised units | {facts['loss']:.3f} |",
        "",
        "| studies | origin | licence |",
        "|---|---|---|",
        *(f"| {row['studies']} | {row['origin']} | {row['licence']} |" for row in facts["data"]),
        "",
        "It is no medical device, and nothing made of it is a diagnosis.",
        "",
    ]
    return "\n".join(lines)
