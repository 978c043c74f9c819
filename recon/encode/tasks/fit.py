"""From a table of labelled volumes to a task model: split by person, begin as a linear probe, train, write."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from recon.encode.interface import DifferentiableEncoder
from recon.encode.probes.labels import LabelTable
from recon.encode.tasks.low_rank import weights_in
from recon.encode.tasks.options import TaskFitOptions
from recon.encode.tasks.start import probe_start
from recon.encode.tasks.store import save_task
from recon.encode.tasks.training import TaskCases, TaskRun, train
from recon.encode.tasks.volumes import Case, cases_of, read_view
from recon.errors import ReconError
from recon.processes import training_processes
from recon.progress import Note, Report, part_of, silent, unsaid
from recon.seeding import share_of

PREPARATION = 0.3  # share of the progress that counts as preparing volumes


@dataclass(frozen=True)
class FittedTask:
    """What came of a training."""

    finished: bool
    samples: int
    best_samples: int
    best_log_loss: float
    persons: int
    chosen_on_persons: int
    classes: tuple[int, ...]
    adapter_weights: int
    adapter_share: float
    layers: tuple[str, ...]


def fit_task(
    options: TaskFitOptions,
    encoder: DifferentiableEncoder,
    table: LabelTable,
    out: Path,
    *,
    cache: Path,
    report: Report = silent,
    note: Note = unsaid,
    stop_after: int | None = None,
) -> FittedTask:
    """Fit on references that carry the label: those of split ``fit``, else of persons not held out. An interrupted run
    continues.

    Under ``accelerate launch`` or ``torchrun`` the processes share every batch, and the first of them writes. Raises
    ReconError for an encoder without a network, too few classes or persons, adapters beyond the budget, and a
    training that diverges.
    """
    if not isinstance(encoder, DifferentiableEncoder):
        raise ReconError(f"encoder '{encoder.name}': is no network, so nothing of it can be adapted or trained on")
    processes = training_processes(encoder.device, options.batch)
    with processes.one_after_the_other():
        every = cases_of(encoder, table, options.label, cache, part_of(report, 0, PREPARATION))
    cases = [case.seen_in(options.views) for case in every]
    trained, watched = split_cases(cases, options)
    classes = tuple(sorted({case.label for case in trained}))
    sizes = _sizes(encoder, trained[0])
    run = TaskRun(options, encoder, (*sizes, len(classes)), out, processes)
    if not run.load():
        note("linear probes on the frozen encoder, as the start")
        run.begin(probe_start(encoder, run.head, trained, classes, options))
    else:
        note(f"continuing at sample {run.samples}")
    finished = train(run, TaskCases(trained, watched, classes), part_of(report, PREPARATION, 1), note, stop_after)
    weights = weights_in(run.adapters.values())
    persons = sorted({case.person for case in (*trained, *watched)})
    found = FittedTask(
        finished, run.samples, run.best_samples, run.best_loss, len(persons), len({case.person for case in watched}),
        classes, weights, weights / weights_in([encoder.network]), tuple(run.adapters),
    )  # fmt: skip
    if finished and processes.main:
        run.keep_best()
        facts: dict[str, Any] = {
            "classes": list(classes), "persons": persons, "samples": run.samples, "best_samples": run.best_samples,
            "best_log_loss": run.best_loss, "chosen_on_persons": found.chosen_on_persons, "adapter_weights": weights,
            "adapter_share": found.adapter_share, "layers": list(found.layers), "sizes": list(sizes),
        }  # fmt: skip
        save_task(out, run.adapters, run.head, options, encoder, facts)
    return found


def split_cases(cases: Sequence[Case], options: TaskFitOptions) -> tuple[list[Case], list[Case]]:
    """The references to train on, and those on which the duration is chosen; they share no person.

    Raises ReconError when fewer than two classes or four persons are left for the one, or a class for the other.
    """
    usable = [case for case in cases if case.acceleration == 1]
    if any(case.split for case in usable):
        usable = [case for case in usable if case.split == "fit"]
    else:
        usable = [case for case in usable if share_of(options.seed, "task-held-out", case.person) >= options.hold_out]
    watched = [case for case in usable if share_of(options.seed, "task-chosen-on", case.person) < options.choose_on]
    trained = [case for case in usable if share_of(options.seed, "task-chosen-on", case.person) >= options.choose_on]
    classes = {case.label for case in trained}
    if len(classes) < 2 or len({case.person for case in trained}) < 4:
        raise ReconError(
            f"label '{options.label}': {len(classes)} class(es) and {len({case.person for case in trained})} person(s) "
            "to train on; at least 2 and 4 are needed (references with split 'fit', or fewer persons held out)"
        )
    if not watched or not {case.label for case in watched} <= classes:
        raise ReconError(
            f"no person is left to choose the duration on, or only one with another class; {len(usable)} cases to fit "
            "on are too few, or --choose-on is too small"
        )
    return trained, watched


def _sizes(encoder: DifferentiableEncoder, case: Case) -> tuple[int, int]:
    """Features of a token and of the encoder's pooled vector."""
    with torch.no_grad():
        tokens, pooled = encoder.features(read_view(case.views[0]).prepared)
    return tokens.shape[1], len(pooled)
