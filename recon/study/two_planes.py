"""A network of two planes trained on examinations, and its folder.

    L = BCE(lesion in the study) + w / 2 (mean BCE(tokens with lesion) + mean BCE(tokens without))

The second part is of the tokens of planes whose outline is known, those with lesion weighted by the share of it in
them; sums go over the whole batch. One bit a study is little to learn from; an outline says it patch by patch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from recon.errors import ReconError
from recon.processes import Processes, training_processes
from recon.progress import Note, Report, part_of, silent, unsaid
from recon.seeding import numpy_generator, torch_generator
from recon.study.contrasts import DIRECTIONS, Plane, in_order
from recon.study.examinations import (
    SAGITTAL,
    Examination,
    examinations,
    given_planes,
    names_by_plane,
    pairs_of,
)
from recon.study.fit import PREPARATION, Fitted, split_by_person, what_was_trained
from recon.study.images import Reconstructions
from recon.study.options import PlanesFitOptions
from recon.study.placing import placed_otherwise
from recon.study.plane_network import PlaneNetwork, Planes, PlanesAnswer, channels_of, random_plane_network
from recon.study.samples import draw_subset, gains
from recon.study.store import TrainedModel, load_trained, read_stored, write_model
from recon.study.table import Study
from recon.study.training import StudyTraining
from recon.training_loop import train

FORMAT = "recon-study-planes-2"
PlanesModel = TrainedModel[PlaneNetwork, PlanesFitOptions]


@dataclass(frozen=True, eq=False)
class Shown:
    """What a step sees of an examination, and what it is asked."""

    given: Planes
    outlines: Mapping[Plane, Tensor]  # [slice, height, width], 0 or 1, of the planes whose outline is known
    lesion: bool


class PlanesRun(StudyTraining[Sequence[Examination]]):
    """A training of a network of two planes: the cross-entropy of lesion or none, as many of either."""

    def __init__(
        self, options: PlanesFitOptions, contrasts: tuple[str, ...], folder: Path, processes: Processes
    ) -> None:
        self.fit, self.contrasts, self.device = options, contrasts, str(processes.device)
        self.network: PlaneNetwork
        network = _drawn(options, contrasts, torch_generator(options.seed, "study-planes")).to(processes.device)
        super().__init__(options, network, dict(network.named_parameters()), folder, ",".join(contrasts), processes)

    def loss_of(self, data: Sequence[Examination]) -> Tensor:
        """The loss of a batch of examinations, each changed a little and shown in part; see the module."""
        generator = numpy_generator(self.fit.seed, "study-planes-batch", self.samples)
        drawn = []
        for _ in range(self.fit.batch):
            wanted = generator.random() < 0.5
            pool = [one for one in data if one.lesion == wanted] or data
            drawn.append(self._shown(pool[int(generator.integers(len(pool)))], generator))
        own = self.processes.own(drawn)
        said = [self.network(one.given) for one in own]
        wanted_by = torch.tensor([float(one.lesion) for one in own], device=self.device)
        logits = torch.stack([one.lesion for one in said])
        bits = functional.binary_cross_entropy_with_logits(logits, wanted_by, reduction="sum")
        if not self.fit.outline_weight:
            return self.processes.total(bits) / self.fit.batch
        patch = self.fit.network.patch
        bits, *parts = self.processes.total(torch.stack([bits, *token_sums(own, said, patch)]))
        with_lesion, without = (parts[number] / (parts[number + 2] + 1) for number in range(2))
        return bits / self.fit.batch + self.fit.outline_weight * (with_lesion + without) / 2

    def _shown(self, one: Examination, generator: np.random.Generator) -> Shown:
        names = names_by_plane(self.contrasts, self.fit.resampled)
        planes: list[Plane] = list(DIRECTIONS)
        if generator.random() < self.fit.plane_dropout:
            planes = [planes[int(generator.integers(len(planes)))]]
        shown = {plane: draw_subset(self.contrasts, self.fit.contrast_dropout, generator) for plane in planes}
        mirrored = generator.random() < 0.5
        given: dict[Plane, tuple[Tensor, Tensor]] = {}
        outlines: dict[Plane, Tensor] = {}
        for plane, (volume, there) in given_planes(one, names, planes).items():
            kept = torch.tensor(
                [
                    name.removeprefix(SAGITTAL) in shown.get("sagittal" if name.startswith(SAGITTAL) else plane, ())
                    for name in names[plane]
                ]
            )
            if not (there * kept).any():
                kept = there.bool()
            known = one.outline(plane)
            outline = torch.from_numpy(np.zeros(volume.shape[1:], bool) if known is None else known).float()
            if mirrored:  # left and right: across axial slices, along the stack of sagittal ones
                volume, outline = (each.flip(-1 if plane == "axial" else -3) for each in (volume, outline))
            changed = volume * torch.from_numpy(gains(len(there), self.fit.gain, generator))
            placed, outline = placed_otherwise(changed[None], outline[None], self.fit, generator)
            values = placed[0] * kept[:, None, None, None]
            given[plane] = values.to(self.device), (there * kept).to(self.device)
            if known is not None:
                outlines[plane] = outline[0].to(self.device)
        return Shown(given, outlines, one.lesion)


def token_sums(shown: Sequence[Shown], said: Sequence[PlanesAnswer], patch: int) -> list[Tensor]:
    """Cross-entropy summed over tokens with lesion, by the share of it, and over those without, and the sums of these
    weights, in the planes whose outline is known."""
    sums = [torch.zeros(4)]
    for one, answer in zip(shown, said, strict=True):
        for plane, outline in one.outlines.items():
            logits = answer.tokens[plane]
            share = functional.avg_pool2d(outline[:, None], patch).flatten(1)  # the rim of a lesion counts little
            clear = (share == 0).float()
            parts = share * functional.softplus(-logits), clear * functional.softplus(logits), share, clear
            sums.append(torch.stack([part.sum() for part in parts]))
    return list(torch.stack([one.to(sums[-1].device) for one in sums]).sum(dim=0))


def fit_planes(
    options: PlanesFitOptions,
    studies: Sequence[Study],
    out: Path,
    reconstructions: Reconstructions,
    *,
    report: Report = silent,
    note: Note = unsaid,
    stop_after: int | None = None,
) -> Fitted:
    """Train on the examinations of persons that are not held out; an interrupted run continues.

    Under ``accelerate launch`` or ``torchrun`` the processes share every batch, and the first of them writes. Raises
    ReconError when none is left or has a contrast, one cannot be read, or the training diverges.
    """
    pairs = pairs_of(studies)
    first, held_out = split_by_person([axial for axial, _ in pairs], options.held_out_fraction, options.seed)
    chosen = [pair for pair in pairs if pair[0] in first]
    contrasts = in_order({c for pair in chosen for study in pair for c in study.contrasts} & set(options.contrasts))
    if not contrasts:
        raise ReconError(f"no study has any of the contrasts {', '.join(options.contrasts)}")
    processes = training_processes(reconstructions.device, options.batch)
    with processes.one_after_the_other():
        found = examinations(chosen, reconstructions, options, part_of(report, 0, PREPARATION))
    run = PlanesRun(options, contrasts, out, processes)
    finished = train(run, found, part_of(report, PREPARATION, 1), note, stop_after)
    facts = what_was_trained(run, first, held_out, contrasts)
    facts["outlined"] = sum(all(one.outline(plane) is not None for plane in one.values) for one in found)
    if finished and processes.main:
        write_model(out, run.network.state_dict(), FORMAT, options, facts, planes_card(options, facts))
    persons = len({study.person for study in first})
    return Fitted(finished, run.samples, run.loss, len(first), persons, held_out, contrasts, facts["parameters"])


def load_planes(folder: str | Path, device: str = "cpu") -> PlanesModel:
    """Load what ``recon study fit-planes`` wrote. Raises ReconError for another folder, or a damaged one."""
    return load_trained(read_stored(folder, {FORMAT: "recon study fit-planes"}), PlanesFitOptions, _drawn, device)


def _drawn(options: PlanesFitOptions, contrasts: tuple[str, ...], generator: torch.Generator) -> PlaneNetwork:
    channels = channels_of(contrasts, options.resampled)
    return random_plane_network(options.network, options.grid, channels, generator)


def planes_card(options: PlanesFitOptions, facts: Mapping[str, Any]) -> str:
    """The README of a model's folder."""
    outlines = "not used"
    if options.outline_weight:
        outlines = f"of {facts['outlined']} examinations, patch by patch, with weight {options.outline_weight:g}"
    lines = [
        "# Network of two planes: lesions in brain studies",
        "",
        "Judge it with `recon study eval-planes STUDIES --model THIS_FOLDER`. It says whether there is a lesion, not "
        "where.",
        "",
        "| | |",
        "|---|---|",
        f"| contrasts | {', '.join(facts['contrasts'])} |",
        f"| weights | {facts['parameters']:,} |",
        f"| sagittal series | {'resampled to axial slices' if options.resampled else 'an encoder of their own'} |",
        f"| training | {facts['samples']:,} examinations; one plane only in {options.plane_dropout:.0%} of them |",
        f"| outlines | {outlines} |",
        f"| data | {facts['studies']} examinations of {len(facts['persons'])} persons; {facts['held_out_persons']} "
        "persons held out |",
        f"| loss at the end | {facts['loss']:.3f} |",
        "",
        *(f"- {row['studies']} of {row['origin']} ({row['licence']})" for row in facts["data"]),
        "",
        "It is no medical device, and nothing it says is a diagnosis.",
        "",
    ]
    return "\n".join(lines)
