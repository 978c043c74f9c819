"""Studies of two planes: examinations put together, a network of two planes trained on them, and its folder."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from recon.configuration import from_mapping
from recon.digest import file_sha256
from recon.encode.volumes import onto_reference
from recon.errors import ReconError
from recon.processes import Processes, training_processes
from recon.progress import Note, Report, part_of, silent, unsaid
from recon.seeding import numpy_generator, torch_generator
from recon.study.contrasts import DIRECTIONS, Plane, in_order
from recon.study.fit import PREPARATION, Fitted, split_by_person, what_was_trained
from recon.study.images import Reconstructions, b_value_of
from recon.study.options import PlanesFitOptions
from recon.study.placing import placed_otherwise
from recon.study.plane_network import PlaneNetwork, Planes, channels_of, random_plane_network
from recon.study.preparation import prepared_study
from recon.study.samples import draw_subset, gains
from recon.study.store import filled, read_stored, write_model
from recon.study.table import Study
from recon.study.training import StudyTraining, train
from recon.study.volume import StudyVolume, study_volume

FORMAT = "recon-study-planes-1"
SAGITTAL = "sagittal "  # before the name of a series that was resampled


@dataclass(frozen=True, eq=False)
class Examination:
    """What was measured of one person at one time, by plane; series resampled to axial slices lie there, by a name that
    says so."""

    name: str
    person: str
    lesion: bool
    values: Mapping[Plane, StudyVolume]

    def channels(self, plane: Plane, contrasts: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """``[channel, slice, height, width]`` with zeros for what is missing, and which channels are there."""
        volume = self.values[plane]
        stacked = np.zeros((len(contrasts), *volume.values.shape[1:]), np.float32)
        there = np.zeros(len(contrasts), np.float32)
        for number, name in enumerate(contrasts):
            if name in volume.contrasts:
                stacked[number], there[number] = volume.values[volume.contrasts.index(name)], 1
        return stacked, there


def pairs_of(studies: Sequence[Study]) -> list[tuple[Study, Study]]:
    """Axial and sagittal studies of one name. Raises ReconError when there is none, or a pair is of two persons."""
    by_name: dict[str, dict[Plane, Study]] = {}
    for study in studies:
        by_name.setdefault(study.name, {})[study.plane] = study
    pairs = [(found["axial"], found["sagittal"]) for found in by_name.values() if set(found) == set(DIRECTIONS)]
    if not pairs:
        raise ReconError(
            "no study was measured in both planes; simulate with --plane both, or give rows of one study with both in "
            "the table's column plane"
        )
    for axial, sagittal in pairs:
        if axial.person != sagittal.person:
            raise ReconError(
                f"study {axial.name}: axial of {axial.person}, sagittal of {sagittal.person}; one is right"
            )
    return [pair for pair in pairs if all(study.labelled for study in pair)]


def examinations(
    pairs: Sequence[tuple[Study, Study]],
    reconstructions: Reconstructions,
    options: PlanesFitOptions,
    report: Report = silent,
) -> list[Examination]:
    """Both planes of each pair on their grids, or all on the axial one. Raises ReconError when one cannot be read."""
    found = []
    for number, (axial, sagittal) in enumerate(pairs):
        report("preparing studies", number / len(pairs))
        first = prepared_study(axial, reconstructions, options.grid)
        values: dict[Plane, StudyVolume]
        if options.resampled:
            values = {"axial": _resampled(first, axial, sagittal, reconstructions, options)}
        else:
            other = prepared_study(sagittal, reconstructions, dataclasses.replace(options.grid, plane="sagittal"))
            values = {"axial": first, "sagittal": other}
        reconstructions.opened.clear()
        lesion = axial.lesion is not None or sagittal.lesion is not None
        found.append(Examination(axial.name, axial.person, lesion, values))
    return found


def _resampled(
    first: StudyVolume, axial: Study, sagittal: Study, reconstructions: Reconstructions, options: PlanesFitOptions
) -> StudyVolume:
    """The axial volume with the sagittal series, interpolated onto its slices, as series of their own."""
    import warnings

    reference = reconstructions.quick(next(iter(axial.files.values())))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that it is interpolated is what was asked for
        series = {
            contrast: onto_reference(reconstructions.quick(path), reference, resample=True)
            for contrast, path in sagittal.files.items()
        }
    unlabelled = dataclasses.replace(sagittal, lesion=None, labelled=False)
    other = study_volume(unlabelled, series, b_value_of(sagittal, reconstructions), options.grid)
    return dataclasses.replace(
        first,
        contrasts=(*first.contrasts, *(SAGITTAL + name for name in other.contrasts)),
        values=np.concatenate([first.values, other.values]),
    )


def names_by_plane(contrasts: Sequence[str], resampled: bool) -> dict[Plane, tuple[str, ...]]:
    """The series of each plane's channels."""
    if resampled:
        return {"axial": (*contrasts, *(SAGITTAL + name for name in contrasts))}
    return {"axial": tuple(contrasts), "sagittal": tuple(contrasts)}


def given_planes(
    one: Examination, names: Mapping[Plane, Sequence[str]], planes: Sequence[Plane], device: str = "cpu"
) -> Planes:
    """What a network is given of an examination of which only ``planes`` were measured."""
    given: dict[Plane, tuple[Tensor, Tensor]] = {}
    for plane, series in names.items():
        kept = [name for name in series if ("sagittal" if name.startswith(SAGITTAL) else plane) in planes]
        stacked, there = one.channels(plane, series)
        absent = [number for number, name in enumerate(series) if name not in kept]
        stacked[absent], there[absent] = 0, 0
        if there.any():
            given[plane] = torch.from_numpy(stacked).to(device), torch.from_numpy(there).to(device)
    return given


class PlanesRun(StudyTraining[Sequence[Examination]]):
    """A training of a network of two planes: the cross-entropy of lesion or none, as many of either."""

    def __init__(
        self, options: PlanesFitOptions, contrasts: tuple[str, ...], folder: Path, processes: Processes
    ) -> None:
        self.fit, self.contrasts, self.device = options, contrasts, str(processes.device)
        self.network: PlaneNetwork
        network = random_plane_network(
            options.network, options.grid, channels_of(contrasts, options.resampled),
            torch_generator(options.seed, "study-planes"),
        ).to(processes.device)  # fmt: skip
        super().__init__(options, network, dict(network.named_parameters()), folder, ",".join(contrasts), processes)

    def loss_of(self, data: Sequence[Examination]) -> Tensor:
        """The mean over a batch of examinations, each changed a little and shown in part."""
        generator = numpy_generator(self.fit.seed, "study-planes-batch", self.samples)
        given, labels = [], []
        for _ in range(self.fit.batch):
            wanted = generator.random() < 0.5
            pool = [one for one in data if one.lesion == wanted] or data
            chosen = pool[int(generator.integers(len(pool)))]
            given.append(self._shown(chosen, generator))
            labels.append(float(chosen.lesion))
        said = torch.stack([self.network(one) for one in self.processes.own(given)])
        wanted_by = torch.tensor(self.processes.own(labels), device=self.device)
        own = functional.binary_cross_entropy_with_logits(said, wanted_by, reduction="sum")
        return self.processes.total(own) / self.fit.batch

    def _shown(self, one: Examination, generator: np.random.Generator) -> Planes:
        names = names_by_plane(self.contrasts, self.fit.resampled)
        planes: list[Plane] = list(DIRECTIONS)
        if generator.random() < self.fit.plane_dropout:
            planes = [planes[int(generator.integers(len(planes)))]]
        shown = {
            plane: draw_subset(self.contrasts, self.fit.contrast_dropout, generator) for plane in planes
        }  # fmt: skip
        mirrored = generator.random() < 0.5
        given: dict[Plane, tuple[Tensor, Tensor]] = {}
        for plane, (volume, there) in given_planes(one, names, planes, self.device).items():
            kept = torch.tensor(
                [
                    name.removeprefix(SAGITTAL) in shown.get("sagittal" if name.startswith(SAGITTAL) else plane, ())
                    for name in names[plane]
                ],
                device=self.device,
            )
            if not (there * kept).any():
                kept = there.bool()
            if mirrored:  # left and right: across axial slices, along the stack of sagittal ones
                volume = volume.flip(-1 if plane == "axial" else 1)
            changed = volume * torch.from_numpy(gains(len(there), self.fit.gain, generator)).to(self.device)
            placed, _ = placed_otherwise(changed[None].cpu(), torch.zeros(1, *volume.shape[-2:]), self.fit, generator)
            given[plane] = placed[0].to(self.device) * kept[:, None, None, None], there * kept
        return given


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
    if finished and processes.main:
        write_model(out, run.network.state_dict(), FORMAT, options, facts, planes_card(options, facts))
    persons = len({study.person for study in first})
    return Fitted(finished, run.samples, run.loss, len(first), persons, held_out, contrasts, facts["parameters"])


@dataclass(frozen=True, eq=False)
class PlanesModel:
    """A trained network of two planes and what it knows."""

    folder: Path
    network: PlaneNetwork
    options: PlanesFitOptions
    contrasts: tuple[str, ...]
    persons: frozenset[str]  # hashes of those it was trained on
    weights_sha256: str
    device: str

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.resolve().name


def load_planes(folder: str | Path, device: str = "cpu") -> PlanesModel:
    """Load what ``recon study fit-planes`` wrote. Raises ReconError for another folder, or a damaged one."""
    stored = read_stored(folder, {FORMAT: "recon study fit-planes"})
    options = from_mapping(PlanesFitOptions, stored.config.get("fit", {}), str(stored.path))
    channels = channels_of(stored.contrasts, options.resampled)
    network = filled(
        lambda generator: random_plane_network(options.network, options.grid, channels, generator),
        stored.tensors, stored.weights, device,
    )  # fmt: skip
    digest = file_sha256(stored.weights)
    return PlanesModel(Path(folder), network, options, stored.contrasts, stored.persons, digest, device)


def planes_card(options: PlanesFitOptions, facts: Mapping[str, Any]) -> str:
    """The README of a model's folder."""
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
