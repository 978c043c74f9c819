"""From studies to a study model: split by person, prepare, train, write weights and card."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from recon.encode.latent_prediction.volumes import is_held_out
from recon.errors import ReconError
from recon.progress import Note, Report, silent, unsaid
from recon.study.images import Reconstructions
from recon.study.options import StudyFitOptions
from recon.study.preparation import prepared_studies
from recon.study.samples import slices_of
from recon.study.store import model_card, person_hash, save_model
from recon.study.table import Study
from recon.study.training import StudyRun, train

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
    report: Report = silent,
    note: Note = unsaid,
    stop_after: int | None = None,
) -> Fitted:
    """Train on every labelled study but those of held-out persons; an interrupted run continues.

    Raises ReconError when no study is left, one cannot be read, or the training diverges.
    """
    options = resolved(options)
    known = [study for study in studies if study.labelled]
    if not known:
        raise ReconError("no study says whether it has a lesion; fill the table's column lesion (a mask, or 'none')")
    chosen = [s for s in known if not is_held_out(s.person, options.held_out_fraction, options.seed)]
    held_out = {study.person for study in known} - {study.person for study in chosen}
    if not chosen:
        raise ReconError(f"all {len(held_out)} persons are held out; lower held_out_fraction")
    volumes = prepared_studies(
        chosen, reconstructions, options.grid, lambda stage, done: report(stage, PREPARATION * done)
    )
    slices = slices_of(volumes, options.contrasts)
    run = StudyRun(options, slices.contrasts, out, reconstructions.device)
    finished = train(
        run, slices, lambda stage, done: report(stage, PREPARATION + (1 - PREPARATION) * done), note, stop_after
    )
    persons = sorted({study.person for study in chosen})
    parameters = sum(p.numel() for p in run.network.parameters())
    if finished:
        facts: dict[str, Any] = {
            "licence": "Apache-2.0",
            "contrasts": list(slices.contrasts),
            "persons": [person_hash(person) for person in persons],
            "held_out_persons": len(held_out),
            "studies": len(chosen),
            "samples": run.samples,
            "loss": run.loss,
            "parameters": parameters,
            "trained_parameters": sum(p.numel() for p in run.parameters.values()),
            "data": _origins(chosen),
        }
        save_model(out, run.network, options, facts, model_card(options, facts))
    return Fitted(
        finished, run.samples, run.loss, len(chosen), len(persons), len(held_out), slices.contrasts, parameters
    )


def resolved(options: StudyFitOptions) -> StudyFitOptions:
    """The options with the kind of network in its place."""
    if options.kind is None:
        return options
    return dataclasses.replace(options, network=replace(options.network, kind=options.kind), kind=None)


def _origins(studies: Sequence[Study]) -> list[dict[str, Any]]:
    counts = Counter((study.origin, study.licence) for study in studies)
    return [
        {"origin": origin, "licence": licence, "studies": number}
        for (origin, licence), number in sorted(counts.items())
    ]
