"""Study models on persons that none of them saw, contrast subset by contrast subset, paired."""

from collections.abc import Sequence
from dataclasses import dataclass

from recon.encode.probes.statistics import Interval
from recon.errors import ReconError
from recon.progress import Report, silent
from recon.seeding import numpy_generator
from recon.study.contrasts import in_order
from recon.study.options import StudyEvaluationOptions
from recon.study.prediction import predict
from recon.study.protocols import contrast_set
from recon.study.rejection import rejection_areas
from recon.study.samples import draw_subset
from recon.study.scores import Figures, LesionGroup, StudyScore, figures, lesion_groups, score
from recon.study.store import StudyModel, person_hash
from recon.study.table import Study, of_plane
from recon.study.volume import StudyVolume

RANDOM = "random subset"


@dataclass(frozen=True)
class SubsetResult:
    """One model on one subset of contrasts; ``figures.changes`` are the first model's figures minus this one's.

    ``rejection``: see ``recon.study.rejection``; ``lesions``: Dice by size and age; both on all contrasts only.
    """

    model: str
    subset: str
    figures: Figures
    rejection: dict[str, Interval] | None = None
    lesions: tuple[LesionGroup, ...] = ()


def unseen_studies(studies: Sequence[Study], models: Sequence[StudyModel]) -> list[Study]:
    """Labelled studies of persons that no model was trained on. Raises ReconError when there are too few."""
    seen = frozenset().union(*(model.persons for model in models))
    plane = models[0].options.grid.plane
    left = [study for study in of_plane(studies, plane) if study.labelled and person_hash(study.person) not in seen]
    persons = {study.person for study in left}
    if len(persons) < 2:
        raise ReconError(
            f"{len(persons)} labelled person(s) that no model was trained on; give studies of at least two others"
        )
    return left


def subsets_of(contrasts: tuple[str, ...]) -> list[tuple[str, tuple[str, ...] | None]]:
    """Named subsets: all, all but one, each alone, and a random one for each study (None)."""
    found: list[tuple[str, tuple[str, ...] | None]] = [("all", contrasts)]
    if len(contrasts) > 2:
        found += [(f"without {name}", tuple(c for c in contrasts if c != name)) for name in contrasts]
    if len(contrasts) > 1:
        found += [(f"only {name}", (name,)) for name in contrasts]
        found.append((RANDOM, None))
    return found


def named_sets(words: Sequence[str], common: tuple[str, ...]) -> list[tuple[str, tuple[str, ...] | None]]:
    """Sets of contrasts as they were asked for. Raises ReconError for one that not all studies and models have."""
    sets: list[tuple[str, tuple[str, ...] | None]] = []
    for name in words:
        asked = contrast_set(name)
        if missing := set(asked) - set(common):
            raise ReconError(
                f"set {name}: not all studies and models have {', '.join(sorted(missing))}; they share "
                f"{', '.join(common)}"
            )
        sets.append((name, asked))
    return sets


def evaluate(
    models: Sequence[StudyModel],
    volumes: Sequence[StudyVolume],
    options: StudyEvaluationOptions,
    report: Report = silent,
) -> list[SubsetResult]:
    """Every model on every subset of the contrasts that all studies and models have. Raises ReconError for none."""
    shared = set(models[0].contrasts)
    for others in (*(model.contrasts for model in models), *(volume.contrasts for volume in volumes)):
        shared &= set(others)
    common = in_order(shared)
    if not common:
        raise ReconError("the models and studies have no contrast in common")
    results: list[SubsetResult] = []
    chosen = named_sets(options.subsets, common) or subsets_of(common)
    for number, (name, subset) in enumerate(chosen):
        report("evaluating", number / len(chosen))
        found = [_scores(model, volumes, subset, common, options) for model in models]
        for model, scores in zip(models, found, strict=True):
            paired = figures(found[0], scores, options.repeats, options.seed) if scores is not found[0] else None
            own = figures(scores, None, options.repeats, options.seed)
            changes = None if paired is None else paired.changes
            together = Figures(own.values, changes, own.persons, own.studies, own.lesions)
            whole = subset == common
            rejection = rejection_areas(scores, options.repeats, options.seed) if whole else None
            groups = tuple(lesion_groups(scores, options.repeats, options.seed)) if whole else ()
            results.append(SubsetResult(model.name, name, together, rejection, groups))
    return results


def _scores(
    model: StudyModel,
    volumes: Sequence[StudyVolume],
    subset: tuple[str, ...] | None,
    common: tuple[str, ...],
    options: StudyEvaluationOptions,
) -> list[StudyScore]:
    scores = []
    for volume in volumes:
        # The same subset for every model.
        drawn = subset or draw_subset(common, 1.0, numpy_generator(options.seed, "study-subset", volume.name))
        scores.append(score(volume, predict(model, volume, drawn), options.threshold))
    return scores
