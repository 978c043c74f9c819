"""Fine-tune a prior on a small cohort: gather, guard, search, choose, train on everyone, check, store.

Every stage leaves its result in the output folder; the same command continues after a kill at any moment and ends
with the same weights.
"""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from recon.errors import ReconError
from recon.finetuning import cohort_checks
from recon.finetuning.cohort import Patient, gather, merge_persons, scans_of, split_folds
from recon.finetuning.final import REPORT, Decision, Outcome, final_run
from recon.finetuning.plan import FinetuneOptions
from recon.finetuning.report import write_json
from recon.finetuning.search import search, stored_plan, warmup_images
from recon.finetuning.session import (
    Session,
    pretraining_options,
    slices_of,
    start_contrast_labels,
)
from recon.folders import same_place
from recon.prior.dataset import PreparedScan
from recon.prior.denoiser import UNKNOWN_CONTRAST_LABEL
from recon.prior.store import PriorFacts, assign_contrast_labels, load_prior, read_facts
from recon.processes import start_processes, wait
from recon.progress import Note, Report, silent, unsaid


@dataclass(frozen=True)
class FinetuneTask:
    """What is fine-tuned on what.

    Attributes:
        prior: folder of the prior as it comes.
        data: folder of the patients' scans, raw of any format or prepared.
        out: folder for the fine-tuned prior.
        old_data: prepared scans of contrasts that the prior knew, for the check of what was forgotten.
        skip_bad: go on without scans that cannot be used, instead of refusing the cohort.
    """

    prior: Path
    data: Path
    out: Path
    old_data: Sequence[PreparedScan] = ()
    skip_bad: bool = False


def finetune(
    task: FinetuneTask,
    options: FinetuneOptions,
    *,
    device: torch.device | str | None = None,
    report: Report = silent,
    note: Note = unsaid,
) -> Outcome:
    """Fine-tune a prior on patients; the result is a prior in ``task.out``.

    Under ``accelerate launch`` the candidates are shared between the processes and the final run is trained by all of
    them. Raises ReconError when the data or an interrupted run in ``task.out`` do not fit.
    """
    prior, data, out = task.prior, task.data, task.out
    if same_place(out, prior):
        raise ReconError(f"{out}: is the prior itself; choose another --out")
    accelerator, where = start_processes(device)
    main = bool(accelerator.is_main_process)
    facts = read_facts(prior)
    if main:
        gathered, skipped = gather(data, out / "prepared", skip_bad=task.skip_bad, note=note)
    wait(accelerator)
    if not main:
        gathered, skipped = gather(data, out / "prepared", skip_bad=True)
    finished = _request(out, facts, options, gathered, main)
    if finished is not None:
        return finished
    wait(accelerator)
    pairs = cohort_checks.same_person(scans_of(gathered))
    patients = merge_persons(gathered, [(first, second) for first, second, _ in pairs])
    warnings = [f"scan skipped: {reason}" for reason in skipped]
    warnings += [
        f"patients {first} and {second} look like one person (correlation {value:.2f}); they are kept on one side of "
        "every split"
        for first, second, value in pairs
    ]
    warnings += cohort_checks.mismatch(scans_of(patients), facts.training.get("seen"))
    contrasts = {scan.contrast for scan in scans_of(patients)}
    if "unknown" in contrasts:
        warnings.append(
            "some scans do not state their contrast: the prior's general contrast label is trained with them"
        )
    loaded = load_prior(prior, where)
    contrast_labels = assign_contrast_labels(contrasts, facts.network.contrast_labels, facts.contrast_labels)
    contrast_labels.setdefault("unknown", UNKNOWN_CONTRAST_LABEL)
    start_contrast_labels(loaded, contrast_labels)
    session = Session(
        loaded,
        pretraining_options(facts),
        options,
        out,
        patients,
        contrast_labels,
        torch.device(where),
        accelerator,
        report,
        note,
    )
    if main:
        for warning in warnings:
            note(f"warning: {warning}")
    decision = _decide(session)
    outcome = final_run(session, decision, warnings, task.old_data)
    wait(accelerator)
    return outcome


def _decide(session: Session) -> Decision:
    """Search, or take what was given."""
    options = session.options
    if options.rate is None or options.images is None:
        choice = search(session)
        warmup = warmup_images(session, stored_plan(session))
        return Decision(
            choice.rate, choice.images, warmup, tuple(session.patients), (), choice.explanation, choice.best.denoising,
            choice,
        )  # fmt: skip
    batch = options.batch or session.base.batch
    images = max(1, round(options.images / batch)) * batch
    trained, held = hold_out(session)
    epochs = images / slices_of(trained)
    explanation = (
        f"Rate {options.rate:.2g} for {images} images ({epochs:.1f} epochs) as asked, without a search. "
        f"{len(held)} of {len(session.patients)} patients were held out to measure the denoising error."
    )
    return Decision(options.rate, images, options.warmup_of_shortest * images, tuple(trained), tuple(held), explanation)


def hold_out(session: Session) -> tuple[list[Patient], list[Patient]]:
    """A tenth of the patients, at least one, for measuring the denoising error of a run without a search."""
    count = len(session.patients)
    if count < 2:
        raise ReconError("one patient only: at least two are needed, one of them to measure the denoising error")
    parts = min(count, 10)
    return split_folds(session.patients, parts, session.options.seed)[0]


def _request(
    out: Path, facts: PriorFacts, options: FinetuneOptions, patients: Sequence[Patient], main: bool
) -> Outcome | None:
    """Store what is asked for, or check it against the interrupted run in ``out``; its outcome if it was finished."""
    values = dataclasses.asdict(options)
    values.pop("checkpoint_images")
    data = sorted(scan.scan_digest or scan.path.name for scan in scans_of(patients))
    asked = json.loads(json.dumps({"prior": facts.weights_sha256, "options": values, "data": data}))
    path = out / "request.json"
    if not path.is_file():
        if (out / "prior.json").is_file():
            raise ReconError(f"{out}: holds another prior; choose another --out")
        if main:
            write_json(path, asked)
        return None
    stored = json.loads(path.read_text(encoding="utf-8"))
    for key, words in (("prior", "another prior"), ("data", "other scans"), ("options", "other options")):
        if stored.get(key) != asked[key]:
            raise ReconError(f"{out}: the run there had {words}; use the same or choose another --out")
    report = out / REPORT
    if not report.is_file():
        return None
    values = json.loads(report.read_text(encoding="utf-8"))
    return Outcome(
        out, values["rate"], values["images"], values["epochs"], values["explanation"], tuple(values["warnings"]),
        values["checks"], values, kept=True,
    )  # fmt: skip
