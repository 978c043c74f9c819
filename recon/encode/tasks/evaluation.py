"""Task models on persons that none of them saw, paired: areas, differences, routing, and where the heatmap has its
maximum."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import binomtest

from recon.encode.probes.statistics import Interval, accuracy, auc, bootstrap, calibration_error
from recon.encode.tasks.low_rank import attached, entropy, routing
from recon.encode.tasks.network import Answer, answer
from recon.encode.tasks.options import TaskEvaluationOptions
from recon.encode.tasks.store import TaskModel
from recon.encode.tasks.volumes import Case, View, read_view
from recon.errors import ReconError
from recon.progress import Report, silent
from recon.seeding import numpy_generator


@dataclass(frozen=True)
class Share:
    """How many of how many, with Wilson's 95 % interval of the share."""

    count: int
    of: int
    low: float
    high: float


@dataclass(frozen=True)
class TaskResult:
    """One model on the unseen cases; ``difference`` is its AUC minus the first model's."""

    model: str
    adapter: str
    pool: str
    anatomy: bool
    adapter_weights: int
    cases: int
    persons: int
    auc: Interval
    accuracy: Interval
    calibration_error: Interval
    difference: Interval | None
    routing: dict[str, tuple[float, float]]  # by layer: entropy of a token's gates, and of their mean; 1 is uniform
    heatmap_in_lesion: Share | None  # maximum of the heatmap in a token with lesion, of cases with a lesion and a mask


def wilson(count: int, of: int) -> Share:
    """A share with Wilson's score interval (1927), 95 %."""
    if not of:
        return Share(count, of, math.nan, math.nan)
    ends = binomtest(count, of).proportion_ci(method="wilson")
    return Share(count, of, float(ends.low), float(ends.high))


def unseen_cases(cases: Sequence[Case], models: Sequence[TaskModel]) -> list[Case]:
    """References of split ``eval`` (or all, where there are no splits) of persons that no model saw.

    Raises ReconError when a class is missing among them or fewer than two persons are left.
    """
    seen = frozenset().union(*(model.persons for model in models))
    usable = [case for case in cases if case.acceleration == 1 and case.person not in seen]
    if any(case.split for case in cases):
        usable = [case for case in usable if case.split == "eval"]
    known = set(models[0].classes)
    if any(set(model.classes) != known for model in models):
        raise ReconError("the models were fitted on different classes of the label; compare models of one table")
    if strangers := {case.label for case in usable} - known:
        raise ReconError(f"the label has the value {min(strangers)}, which the models were not fitted on")
    if len({case.person for case in usable}) < 2 or {case.label for case in usable} != known:
        raise ReconError(
            f"{len(usable)} case(s) of {len({case.person for case in usable})} person(s) that no model saw, and not of "
            "every class; give a table with others"
        )
    return usable


def evaluate_tasks(
    models: Sequence[TaskModel], cases: Sequence[Case], options: TaskEvaluationOptions, report: Report = silent
) -> list[TaskResult]:
    """Every model on the same cases; differences are to the first model and paired by person."""
    labels = np.array([models[0].classes.index(case.label) for case in cases])
    persons = tuple(case.person for case in cases)
    said, gates, hits = [], [], []
    for number, model in enumerate(models):

        def told(stage: str, done: float, number: int = number) -> None:
            report(stage, (number + done) / len(models))

        probabilities, routed, hit = _answers(model, cases, told)
        said.append(probabilities)
        gates.append(routed)
        hits.append(hit)
    results = []
    for number, model in enumerate(models):

        def figures(rows: NDArray[np.int64], number: int = number) -> NDArray[np.float64]:
            own = said[number][rows]
            area = auc(labels[rows], own)
            return np.array(
                [
                    area, accuracy(labels[rows], own), calibration_error(labels[rows], own),
                    area - auc(labels[rows], said[0][rows]),
                ]
            )  # fmt: skip

        found = bootstrap(figures, persons, options.repeats, numpy_generator(options.seed, "task-evaluation"))
        results.append(
            TaskResult(
                model.name, model.options.adapter, model.options.pool, model.options.anatomy,
                sum(p.numel() for adapter in model.adapters.values() for p in adapter.parameters()),
                len(cases), len(set(persons)), found[0], found[1], found[2], found[3] if number else None,
                gates[number], hits[number],
            )
        )  # fmt: skip
    return results


def heatmap(model: TaskModel, views: Sequence[View]) -> tuple[Answer, list[torch.Tensor]]:
    """What a model says of a case, and its heatmap by view ``[token]``: the chance of lesion in the token.

    Raises ReconError for a model without pixel supervision, which has none.
    """
    if not model.options.pixel_weight:
        raise ReconError(f"{model.folder}: was fitted without pixel supervision (--pixel-weight), so it has no heatmap")
    with torch.inference_mode(), attached(model.encoder.network, model.adapters):
        given = answer(model.encoder, model.head, [view.prepared for view in views])
    return given, [logits.sigmoid().cpu() for logits in given.token_logits]


def _answers(
    model: TaskModel, cases: Sequence[Case], report: Report
) -> tuple[NDArray[np.float64], dict[str, tuple[float, float]], Share | None]:
    probabilities, hits = [], []
    sums: dict[str, list[tuple[float, float]]] = {}
    for number, case in enumerate(cases):
        report(f"evaluating {model.name}", number / len(cases))
        views = [read_view(path) for path in case.seen_in(model.options.views).views]
        network, adapters = model.encoder.network, model.adapters
        with torch.inference_mode(), attached(network, adapters), routing(network, adapters) as noted:
            given = answer(model.encoder, model.head, [view.prepared for view in views])
        probabilities.append(given.logits.double().softmax(dim=0).cpu().numpy())
        for layer, parts in noted.items():
            sums.setdefault(layer, []).append(entropy(torch.cat(parts)))
        if model.options.pixel_weight:
            known = [
                (said, v.lesion) for said, v in zip(given.token_logits, views, strict=True) if v.lesion is not None
            ]
            if known and any(bool(lesion.any()) for _, lesion in known):
                lesions = torch.cat([lesion for _, lesion in known])
                hits.append(bool(lesions[int(torch.cat([said for said, _ in known]).argmax())] > 0))
    routed = {
        layer: (float(np.mean([a for a, _ in v])), float(np.mean([b for _, b in v]))) for layer, v in sums.items()
    }
    return np.stack(probabilities), routed, wilson(sum(hits), len(hits)) if hits else None
