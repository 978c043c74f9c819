"""Networks of two planes on persons that none of them saw: detection with both planes, and with one of them missing."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from recon.encode.probes.statistics import Interval, auc, bootstrap
from recon.errors import ReconError
from recon.progress import Report, silent
from recon.seeding import numpy_generator
from recon.study.contrasts import DIRECTIONS, Plane
from recon.study.examinations import examinations, given_planes, has_lesion, names_by_plane, pairs_of
from recon.study.images import Reconstructions
from recon.study.options import PlanesEvaluationOptions
from recon.study.store import person_hash
from recon.study.table import Study
from recon.study.two_planes import PlanesModel

CONDITIONS: dict[str, tuple[Plane, ...]] = {
    "both planes": tuple(DIRECTIONS), "axial only": ("axial",), "sagittal only": ("sagittal",),
}  # fmt: skip


@dataclass(frozen=True)
class PlanesResult:
    """Detection AUC of one model under one condition; ``change``: the first model's minus this one's, paired;
    ``missing``: this model's under this condition minus that with both planes."""

    model: str
    condition: str
    auc: Interval
    change: Interval | None
    missing: Interval | None
    persons: int
    studies: int
    lesions: int


def unseen_pairs(studies: Sequence[Study], models: Sequence[PlanesModel]) -> list[tuple[Study, Study]]:
    """Labelled examinations of persons that no model was trained on. Raises ReconError without both kinds of them."""
    seen = frozenset().union(*(model.persons for model in models))
    pairs = [pair for pair in pairs_of(studies) if person_hash(pair[0].person) not in seen]
    if len({has_lesion(pair) for pair in pairs}) < 2 or len({axial.person for axial, _ in pairs}) < 2:
        raise ReconError(
            f"{len(pairs)} examination(s) of persons that no model was trained on, and not of both kinds; give others "
            "with and without a lesion, of at least two persons"
        )
    return pairs


def evaluate_planes(
    models: Sequence[PlanesModel],
    pairs: Sequence[tuple[Study, Study]],
    reconstructions: Reconstructions,
    options: PlanesEvaluationOptions,
    report: Report = silent,
) -> list[PlanesResult]:
    """Every model under every condition. Raises ReconError for an examination that cannot be read."""
    said: dict[tuple[str, str], NDArray[np.float64]] = {}
    labels = np.array([int(bool(has_lesion(pair))) for pair in pairs])
    for number, model in enumerate(models):

        def told(stage: str, done: float, number: int = number) -> None:
            report(stage, (number + done) / len(models))

        found = examinations(pairs, reconstructions, model.options, told)
        names = names_by_plane(model.contrasts, model.options.resampled)
        for condition, planes in CONDITIONS.items():
            with torch.inference_mode():
                logits = [model.network(given_planes(one, names, planes, model.device)).lesion for one in found]
            chance = torch.stack(logits).double().sigmoid().cpu().numpy()
            said[model.name, condition] = np.stack([1 - chance, chance], axis=1)
    persons = tuple(axial.person for axial, _ in pairs)
    results = []
    for model in models:
        for condition in CONDITIONS:
            own, first = said[model.name, condition], said[models[0].name, condition]
            whole = said[model.name, next(iter(CONDITIONS))]

            def areas(
                rows: NDArray[np.int64], parts: tuple[NDArray[np.float64], ...] = (own, first, whole)
            ) -> NDArray[np.float64]:
                here, there, complete = (auc(labels[rows], part[rows]) for part in parts)
                return np.array([here, there - here, here - complete])

            area, change, missing = bootstrap(
                areas, persons, options.repeats, numpy_generator(options.seed, "study-planes-evaluation")
            )
            results.append(
                PlanesResult(
                    model.name, condition, area, None if model is models[0] else change,
                    None if own is whole else missing, len(set(persons)), len(pairs), int(labels.sum()),
                )
            )  # fmt: skip
    return results
