"""From studies to a study model: split by person, prepare, train, write weights and card."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from recon.encode.latent_prediction.volumes import is_held_out
from recon.errors import ReconError
from recon.processes import training_processes
from recon.progress import Note, Report, part_of, silent, unsaid
from recon.study.images import Reconstructions
from recon.study.options import StudyFitOptions
from recon.study.preparation import prepared_studies
from recon.study.protocols import by_protocol
from recon.study.samples import slices_of
from recon.study.start import Start
from recon.study.store import FORMAT, model_card, person_hash, write_model
from recon.study.table import Study, of_plane
from recon.study.training import StudyRun, StudyTraining
from recon.training_loop import train

PREPARATION = 0.3  # share of the progress that counts as preparing, where nothing is kept from before


@dataclass(frozen=True)
class Fitted:
    """What came of a training."""

    finished: bool
    samples: int
    loss: float
    studies: int
    persons: int
    held_out_persons: int
    contrasts: tuple[str, ...]
    parameters: int


def fit_study_model(
    options: StudyFitOptions,
    studies: Sequence[Study],
    out: Path,
    reconstructions: Reconstructions,
    *,
    start: Start | None = None,
    report: Report = silent,
    note: Note = unsaid,
    stop_after: int | None = None,
) -> Fitted:
    """Train on every labelled study but those of held-out persons; an interrupted run continues.

    ``start``: weights to begin with; whoever they have seen counts as seen by this model, too.

    Under ``accelerate launch`` or ``torchrun`` the processes share every batch, and the first of them writes. Raises
    ReconError when no study is left, one cannot be read, the start does not fit, or the training diverges.
    """
    options = resolved(options)
    known = [study for study in of_plane(studies, options.grid.plane) if study.labelled]
    if not known:
        raise ReconError("no study says whether it has a lesion; fill the table's column lesion (a mask, or 'none')")
    chosen, held_out = split_by_person(known, options.held_out_fraction, options.seed)
    if options.persons is not None:
        few = sorted({study.person for study in chosen}, key=person_hash)[: options.persons]
        chosen = [study for study in chosen if study.person in few]
    processes = training_processes(reconstructions.device, options.batch)
    with processes.one_after_the_other():
        volumes = prepared_studies(chosen, reconstructions, options.grid, part_of(report, 0, PREPARATION))
    slices = slices_of(by_protocol(volumes, options.protocols), options.contrasts)
    run = StudyRun(options, slices.contrasts, out, processes, start)
    finished = train(run, slices, part_of(report, PREPARATION, 1), note, stop_after)
    persons = sorted({study.person for study in chosen})
    parameters = sum(p.numel() for p in run.network.parameters())
    if finished and processes.main:
        facts: dict[str, Any] = {
            **what_was_trained(run, chosen, held_out, slices.contrasts),
            "persons": sorted({*map(person_hash, persons), *(() if start is None else start.persons)}),
            "start": None if start is None else f"{start.folder.resolve().name} ({start.weights_sha256[:16]})",
            "parameters": parameters,
            "trained_parameters": sum(p.numel() for p in run.parameters.values()),
        }
        write_model(out, run.network.state_dict(), FORMAT, options, facts, model_card(options, facts))
    return Fitted(finished, run.samples, run.loss, len(chosen), len(persons), held_out, slices.contrasts, parameters)


def what_was_trained(
    run: StudyTraining[Any], studies: Sequence[Study], held_out: int, contrasts: Sequence[str]
) -> dict[str, Any]:
    """What the folder of every model trained on studies says of its training."""
    return {
        "licence": "Apache-2.0",
        "contrasts": list(contrasts),
        "persons": sorted({person_hash(study.person) for study in studies}),
        "held_out_persons": held_out,
        "studies": len(studies),
        "samples": run.samples,
        "loss": run.loss,
        "parameters": sum(p.numel() for p in run.parameters.values()),
        "data": origins(studies),
    }


def split_by_person(studies: Sequence[Study], fraction: float, seed: int) -> tuple[list[Study], int]:
    """The studies to train on, and how many persons are held out. Raises ReconError when none is left."""
    chosen = [study for study in studies if not is_held_out(study.person, fraction, seed)]
    held_out = {study.person for study in studies} - {study.person for study in chosen}
    if not chosen:
        raise ReconError(f"all {len(held_out)} persons are held out; lower held_out_fraction")
    return chosen, len(held_out)


def resolved(options: StudyFitOptions) -> StudyFitOptions:
    """The options with the kind of network in its place."""
    if options.kind is None:
        return options
    return dataclasses.replace(options, network=replace(options.network, kind=options.kind), kind=None)


def origins(studies: Sequence[Study]) -> list[dict[str, Any]]:
    """How many studies there are of each origin and licence."""
    counts = Counter((study.origin, study.licence) for study in studies)
    return [
        {"origin": origin, "licence": licence, "studies": number}
        for (origin, licence), number in sorted(counts.items())
    ]
