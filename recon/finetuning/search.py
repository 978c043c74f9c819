"""The search: the prior as it came and every candidate, judged on every fold; what is done already is read."""

import dataclasses
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from recon.configuration import from_mapping
from recon.finetuning.candidates import (
    Record,
    read_records,
    run_candidate,
    trainable,
    training_options,
    write_records,
)
from recon.finetuning.choice import Choice, choose
from recon.finetuning.cohort import Patient, scans_of, split_folds
from recon.finetuning.memorisation import SAMPLES
from recon.finetuning.plan import Costs, Plan, fit_budget, whole_plan
from recon.finetuning.report import write_json
from recon.finetuning.session import Session
from recon.finetuning.validation import HeldOutValidation, judged_options, prepare_cases
from recon.finetuning.validation_cases import validation_cases
from recon.prior.dataset import PreparedScan, TrainingImages
from recon.prior.training import Run, train
from recon.processes import wait


def search(session: Session) -> Choice:
    """Judge the prior as it came and every candidate on every fold; done parts are read, not done again."""
    options, accelerator = session.options, session.accelerator
    folder = session.out / "search"
    if not (folder / "plan.json").is_file() and accelerator.is_main_process:
        write_json(folder / "plan.json", dataclasses.asdict(_make_plan(session)))
    wait(accelerator)
    plan = stored_plan(session)
    splits = split_folds(session.patients, plan.folds, options.seed)
    session.total = plan.folds * len(plan.rates) * plan.lengths[-1] + plan.lengths[-1]
    if accelerator.is_main_process:
        session.note(
            f"{len(session.patients)} patients, {session.slices} slices; {plan.folds} fold(s), rates "
            f"{', '.join(f'{rate:.2g}' for rate in plan.rates)}, lengths {', '.join(map(str, plan.lengths))} images"
        )
        for entry in plan.left_out:
            session.note(f"left out to fit the budget: {entry}")
    base = training_options(session.base, options, plan.rates[0], plan.lengths[-1], warmup_images(session, plan))
    jobs = [(fold, number) for fold in range(plan.folds) for number in range(-1, len(plan.rates))]
    mine = jobs[accelerator.process_index :: accelerator.num_processes]
    for fold, (training, held) in enumerate(splits):
        wanted = [number for f, number in mine if f == fold]
        if all(_finished(folder, fold, number, plan) for number in wanted):
            session.done += sum(plan.lengths[-1] for number in wanted if number >= 0)
            continue
        validation = _judges(session, held)
        for number in wanted:
            if number < 0:
                _judge_before(session, validation, fold, folder)
                continue
            run = dataclasses.replace(base, learning_rate=plan.rates[number])
            name = f"fold {fold + 1}/{plan.folds}, rate {plan.rates[number]:.2g}"
            run_candidate(
                trainable(session.prior.denoiser, options), scans_of(training), validation, run, plan.lengths, fold,
                _job_folder(folder, fold, number), session.progress(name, run.images),
            )  # fmt: skip
            session.done += plan.lengths[-1]
    wait(accelerator)
    records = [r for fold, number in jobs for r in read_records(_job_folder(folder, fold, number) / "records.json")]
    return choose(records, session.slices, options.acceleration)


def stored_plan(session: Session) -> Plan:
    path = session.out / "search" / "plan.json"
    return from_mapping(Plan, json.loads(path.read_text(encoding="utf-8")), str(path))


def warmup_images(session: Session, plan: Plan) -> float:
    """Images over which the rate rises: a fraction of the shortest length, so that every length reaches its rate."""
    return session.options.warmup_of_shortest * plan.lengths[0]


def _job_folder(folder: Path, fold: int, number: int) -> Path:
    return folder / (f"fold{fold}_before" if number < 0 else f"fold{fold}_rate{number}")


def _finished(folder: Path, fold: int, number: int, plan: Plan) -> bool:
    records = read_records(_job_folder(folder, fold, number) / "records.json")
    return len(records) == (1 if number < 0 else len(plan.lengths))


def _judges(session: Session, held: Sequence[Patient]) -> HeldOutValidation:
    options = session.options
    prior = session.labelled_prior()
    cases = validation_cases(held, options.acceleration, options.slices, options.seed)
    prepared = prepare_cases(cases, prior, judged_options(options), session.device)
    return HeldOutValidation(scans_of(held), prepared, prior, options.seed, session.device)


def _judge_before(session: Session, validation: HeldOutValidation, fold: int, folder: Path) -> None:
    path = _job_folder(folder, fold, -1) / "records.json"
    if read_records(path):
        return
    started = time.perf_counter()
    nrmse, errors = validation(session.prior.denoiser)
    write_records(path, [Record(fold, 0.0, 0, nrmse, errors, time.perf_counter() - started)])


def _make_plan(session: Session) -> Plan:
    options, base = session.options, session.base
    batch = options.batch or base.batch
    plan = whole_plan(options, len(session.patients), batch, base.learning_rate, base.images)
    if options.budget is None:
        return plan
    session.note("measuring how fast this machine trains and validation")
    began = time.perf_counter()
    training, held = split_folds(session.patients, plan.folds, options.seed)[0]
    validation = _judges(session, held)
    started = time.perf_counter()
    validation(session.prior.denoiser)
    judging = (time.perf_counter() - started) * len(session.patients) / len(held)
    image = _seconds_per_image(session, scans_of(training), plan)
    passed = time.perf_counter() - began
    samples = SAMPLES * 24 * judging / max(1, len(session.patients) * options.slices * (options.steps or 16))
    costs = Costs(image, judging, passed + samples + judging)
    shared = session.accelerator.num_processes
    return fit_budget(plan, costs, options.budget * shared, folds_fixed=options.folds is not None)


def _seconds_per_image(session: Session, scans: Sequence[PreparedScan], plan: Plan) -> float:
    """Measured on a few steps that nothing keeps; the first one, which allocates, does not count."""
    options = training_options(session.base, session.options, plan.rates[0], plan.lengths[-1], 1.0)
    images = TrainingImages(scans, session.contrast_labels, options)
    times: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        run = Run(trainable(session.prior.denoiser, session.options), options, Path(folder))
        stop = min(options.images, 5 * options.batch)
        train(run, images, lambda *_: times.append(time.perf_counter()), stop_after=stop)
    if len(times) < 3:
        return 0.1
    return (times[-2] - times[0]) / ((len(times) - 2) * options.batch)
