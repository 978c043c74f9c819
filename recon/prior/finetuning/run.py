"""Fine-tune a prior on a small cohort: gather, guard, search, choose, train on everyone, check, store.

Every stage leaves its result in the output folder; the same command continues after a kill at any moment and ends
with the same weights.
"""

import dataclasses
import json
import os
import time
import warnings as python_warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch

from recon.configuration import from_mapping
from recon.errors import ReconError, ReconWarning
from recon.prior import guards
from recon.prior.dataset import PreparedScan, TrainingImages
from recon.prior.denoiser import UNKNOWN_SLOT
from recon.prior.finetuning import report as reporting
from recon.prior.finetuning.candidates import (
    Judges,
    OneProcess,
    Record,
    read_records,
    run_candidate,
    trainable,
    training_images,
    training_options,
    write_records,
)
from recon.prior.finetuning.choice import Choice, choose
from recon.prior.finetuning.cohort import Patient, gather, merge_persons, scans_of, split_folds
from recon.prior.finetuning.judging import build_cases, prepare_systems
from recon.prior.finetuning.plan import Costs, FinetuneOptions, Plan, fit_budget, whole_plan
from recon.prior.memorisation import Memorisation, check_memorisation, draw_images
from recon.prior.provenance import seen_by
from recon.prior.store import Prior, PriorFacts, assign_slots, load_prior, read_facts, save_prior
from recon.prior.training import Progress, Run, TrainingOptions, model_card, train
from recon.prior.validation import R2_SIGMAS, denoising_error

REPORT = "finetuning.json"
SAMPLES = 12  # prior samples of the memorisation check


@dataclass(frozen=True)
class Outcome:
    """What a fine-tuning decided and found. ``kept``: it was finished before and nothing was done."""

    output: Path
    rate: float
    images: int
    epochs: float
    explanation: str
    warnings: tuple[str, ...]
    checks: dict[str, str]
    values: dict[str, Any] = field(default_factory=dict)
    kept: bool = False


@dataclass
class _Session:
    """What all stages share."""

    prior: Prior
    base: TrainingOptions
    options: FinetuneOptions
    out: Path
    patients: list[Patient]
    slots: dict[str, int]
    device: torch.device
    accelerator: Any
    report: Callable[[Progress], None]
    note: Callable[[str], None]
    done: int = 0  # images of finished stages, for the bar
    total: int = 0

    @property
    def scans(self) -> list[PreparedScan]:
        return scans_of(self.patients)

    @property
    def slices(self) -> int:
        return sum(scan.slices for scan in self.scans)

    def progress(self, stage: str) -> Callable[[Progress], None]:
        """Progress of one stage as progress of the whole."""
        offset = self.done

        def tell(progress: Progress) -> None:
            event = "" if progress.event == "state saved" else progress.event
            done = offset + progress.images
            self.report(Progress(done, max(self.total, done), progress.epochs, progress.loss, event or stage))

        return tell


def finetune(
    prior: Path,
    data: Path,
    out: Path,
    options: FinetuneOptions,
    *,
    skip_bad: bool = False,
    old_data: Sequence[PreparedScan] = (),
    device: torch.device | str | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
    note: Callable[[str], None] = lambda line: None,
) -> Outcome:
    """Fine-tune the prior in folder ``prior`` on the patients in folder ``data``; the result is a prior in ``out``.

    ``old_data``: prepared scans of contrasts that the prior knew, for the forgetting check. Under ``accelerate launch``
    the candidates are shared between the processes and the final run is trained by all of them.
    Raises ReconError when the data or an interrupted run in ``out`` do not fit.
    """
    if out.resolve() == prior.resolve():
        raise ReconError(f"{out}: is the prior itself; choose another --out")
    accelerator, where = _processes(device)
    main = bool(accelerator.is_main_process)
    facts = read_facts(prior)
    if main:
        gathered, skipped = gather(data, out / "prepared", skip_bad=skip_bad, report=note)
    _wait(accelerator)
    if not main:
        gathered, skipped = gather(data, out / "prepared", skip_bad=True)
    finished = _request(out, facts, options, gathered, main)
    if finished is not None:
        return finished
    _wait(accelerator)
    pairs = guards.same_person(scans_of(gathered))
    patients = merge_persons(gathered, [(first, second) for first, second, _ in pairs])
    warnings = [f"scan skipped: {reason}" for reason in skipped]
    warnings += [
        f"patients {first} and {second} look like one person (correlation {value:.2f}); they are kept on one side of "
        "every split"
        for first, second, value in pairs
    ]
    warnings += guards.mismatch(scans_of(patients), facts.training.get("seen"))
    contrasts = {scan.contrast for scan in scans_of(patients)}
    if "unknown" in contrasts:
        warnings.append("some scans do not state their contrast: the prior's general slot is trained with them")
    loaded = load_prior(prior, where)
    slots = assign_slots(contrasts, facts.network.slots, facts.slots)
    slots.setdefault("unknown", UNKNOWN_SLOT)
    _start_slots(loaded, slots)
    session = _Session(
        loaded,
        _pretraining_options(facts),
        options,
        out,
        patients,
        slots,
        torch.device(where),
        accelerator,
        report,
        note,
    )
    if main:
        for warning in warnings:
            python_warnings.warn(warning, ReconWarning, stacklevel=2)
    choice = None
    if options.rate is None or options.images is None:
        choice = _search(session)
        rate, images, r2 = choice.rate, choice.images, choice.best.denoising
        explanation = choice.explanation
        trained, held = patients, ()
        warmup = _warmup(session, _stored_plan(session))
    else:
        batch = options.batch or session.base.batch
        rate, images = options.rate, max(1, round(options.images / batch)) * batch
        warmup = options.warmup_fraction * images
        trained, held = _hold_out(session)
        r2 = ()
        explanation = (
            f"Rate {rate:.2g} for {images} images ({images / _slices(trained):.1f} epochs) as asked, without a search. "
            f"{len(held)} patient(s) were held out to measure the denoising error."
        )
    outcome = _final(session, rate, images, warmup, trained, held, tuple(r2), choice, explanation, warnings, old_data)
    _wait(accelerator)
    return outcome


def _processes(device: torch.device | str | None) -> tuple[Any, torch.device]:
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        return OneProcess(where), where
    from accelerate import Accelerator, InitProcessGroupKwargs

    wanted_cpu = device is not None and torch.device(device).type == "cpu"
    patience = InitProcessGroupKwargs(timeout=timedelta(days=3))  # processes wait for the slowest candidate
    accelerator = Accelerator(cpu=wanted_cpu or not torch.cuda.is_available(), kwargs_handlers=[patience])
    return accelerator, accelerator.device


def _wait(accelerator: Any) -> None:
    if accelerator.num_processes > 1:
        accelerator.wait_for_everyone()


def _request(
    out: Path, facts: PriorFacts, options: FinetuneOptions, patients: Sequence[Patient], main: bool
) -> Outcome | None:
    """Store what is asked for, or check it against the interrupted run in ``out``; its outcome if it was finished."""
    values = dataclasses.asdict(options)
    values.pop("checkpoint_images")
    data = sorted(str(scan.facts.get("scan_digest", scan.path.name)) for scan in scans_of(patients))
    asked = json.loads(json.dumps({"prior": facts.weights_sha256, "options": values, "data": data}))
    path = out / "request.json"
    if not path.is_file():
        if (out / "prior.json").is_file():
            raise ReconError(f"{out}: holds another prior; choose another --out")
        if main:
            reporting.write_json(path, asked)
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


def _pretraining_options(facts: PriorFacts) -> TrainingOptions:
    options = facts.training.get("options")
    if not options:
        raise ReconError("the prior does not state how it was trained; fine-tune one that 'recon pretrain' wrote")
    return from_mapping(TrainingOptions, json.loads(json.dumps(options)), "prior.json, training.options")


def _start_slots(prior: Prior, slots: dict[str, int]) -> None:
    """A new contrast starts from the general slot, which was trained on every contrast; no other row changes."""
    with torch.no_grad():
        weight = prior.denoiser.network.class_embedding.weight  # type: ignore[union-attr]
        for contrast, slot in slots.items():
            if contrast not in prior.facts.slots and slot != UNKNOWN_SLOT:
                weight[slot] = weight[UNKNOWN_SLOT]  # type: ignore[index]


def _slices(patients: Sequence[Patient]) -> int:
    return sum(scan.slices for scan in scans_of(patients))


def _stored_plan(session: _Session) -> Plan:
    path = session.out / "search" / "plan.json"
    return from_mapping(Plan, json.loads(path.read_text(encoding="utf-8")), str(path))


def _warmup(session: _Session, plan: Plan) -> float:
    """Images over which the rate rises: a fraction of the shortest length, so that every length reaches its rate."""
    return session.options.warmup_fraction * plan.lengths[0]


def _search(session: _Session) -> Choice:
    """Judge the prior as it came and every candidate on every fold; done parts are read, not done again."""
    options, accelerator = session.options, session.accelerator
    folder = session.out / "search"
    if not (folder / "plan.json").is_file() and accelerator.is_main_process:
        reporting.write_json(folder / "plan.json", dataclasses.asdict(_make_plan(session)))
    _wait(accelerator)
    plan = _stored_plan(session)
    splits = split_folds(session.patients, plan.folds, options.seed)
    session.total = plan.folds * len(plan.rates) * plan.lengths[-1] + plan.lengths[-1]
    if accelerator.is_main_process:
        session.note(
            f"{len(session.patients)} patients, {session.slices} slices; {plan.folds} fold(s), rates "
            f"{', '.join(f'{rate:.2g}' for rate in plan.rates)}, lengths {', '.join(map(str, plan.lengths))} images"
        )
        for entry in plan.left_out:
            session.note(f"left out to fit the budget: {entry}")
    base = training_options(session.base, options, plan.rates[0], plan.lengths[-1], _warmup(session, plan))
    jobs = [(fold, number) for fold in range(plan.folds) for number in range(-1, len(plan.rates))]
    mine = jobs[accelerator.process_index :: accelerator.num_processes]
    for fold, (training, held) in enumerate(splits):
        wanted = [number for f, number in mine if f == fold]
        if all(_finished(folder, fold, number, plan) for number in wanted):
            session.done += sum(plan.lengths[-1] for number in wanted if number >= 0)
            continue
        judges = _judges(session, held)
        for number in wanted:
            if number < 0:
                _judge_before(session, judges, fold, folder)
                continue
            run = dataclasses.replace(base, learning_rate=plan.rates[number])
            name = f"fold {fold + 1}/{plan.folds}, rate {plan.rates[number]:.2g}"
            run_candidate(
                trainable(session.prior.denoiser, options), scans_of(training), judges, run, plan.lengths, fold,
                _job_folder(folder, fold, number), session.progress(name),
            )  # fmt: skip
            session.done += plan.lengths[-1]
    _wait(accelerator)
    records = [r for fold, number in jobs for r in read_records(_job_folder(folder, fold, number) / "records.json")]
    return choose(records, session.slices, options.acceleration)


def _job_folder(folder: Path, fold: int, number: int) -> Path:
    return folder / (f"fold{fold}_before" if number < 0 else f"fold{fold}_rate{number}")


def _finished(folder: Path, fold: int, number: int, plan: Plan) -> bool:
    records = read_records(_job_folder(folder, fold, number) / "records.json")
    return len(records) == (1 if number < 0 else len(plan.lengths))


def _judges(session: _Session, held: Sequence[Patient]) -> Judges:
    options = session.options
    cases = build_cases(held, options.acceleration, options.slices, options.seed, session.device)
    return Judges(scans_of(held), cases, prepare_systems(cases), session.slots, options, session.device)


def _judge_before(session: _Session, judges: Judges, fold: int, folder: Path) -> None:
    path = _job_folder(folder, fold, -1) / "records.json"
    if read_records(path):
        return
    started = time.perf_counter()
    nrmse, errors = judges(session.prior.denoiser)
    write_records(path, [Record(fold, 0.0, 0, nrmse, errors, time.perf_counter() - started)])


def _make_plan(session: _Session) -> Plan:
    options, base = session.options, session.base
    batch = options.batch or base.batch
    plan = whole_plan(options, len(session.patients), batch, base.learning_rate, base.images)
    if options.budget is None:
        return plan
    session.note("measuring how fast this machine trains and judges")
    began = time.perf_counter()
    training, held = split_folds(session.patients, plan.folds, options.seed)[0]
    judges = _judges(session, held)
    started = time.perf_counter()
    judges(session.prior.denoiser)
    judging = (time.perf_counter() - started) * len(session.patients) / len(held)
    image = _seconds_per_image(session, scans_of(training), plan)
    passed = time.perf_counter() - began
    samples = SAMPLES * 24 * judging / max(1, len(session.patients) * options.slices * options.steps)
    costs = Costs(image, judging, passed + samples + judging)
    shared = session.accelerator.num_processes
    return fit_budget(plan, costs, options.budget * shared, folds_fixed=options.folds is not None)


def _seconds_per_image(session: _Session, scans: Sequence[PreparedScan], plan: Plan) -> float:
    """Measured on a few steps that nothing keeps; the first one, which allocates, does not count."""
    options = training_options(session.base, session.options, plan.rates[0], plan.lengths[-1], 1.0)
    images: TrainingImages = training_images(scans, session.slots, options)
    times: list[float] = []
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        run = Run(trainable(session.prior.denoiser, session.options), options, Path(folder))
        stop = min(options.images, 5 * options.batch)
        train(run, images, OneProcess(session.device), lambda p: times.append(time.perf_counter()), stop_after=stop)
    if len(times) < 3:
        return 0.1
    return (times[-2] - times[0]) / ((len(times) - 2) * options.batch)


def _hold_out(session: _Session) -> tuple[list[Patient], list[Patient]]:
    """A tenth of the patients, at least one, for measuring the denoising error of a run without a search."""
    count = len(session.patients)
    if count < 2:
        raise ReconError("one patient only: at least two are needed, one of them to measure the denoising error")
    parts = min(count, 10)
    return split_folds(session.patients, parts, session.options.seed)[0]


def _final(
    session: _Session,
    rate: float,
    images: int,
    warmup: float,
    trained: Sequence[Patient],
    held: Sequence[Patient],
    r2: tuple[float, ...],
    choice: Choice | None,
    explanation: str,
    warnings: Sequence[str],
    old_data: Sequence[PreparedScan],
) -> Outcome:
    """The run on all patients for the chosen length, its checks, and the files."""
    options, out = session.options, session.out
    scans = scans_of(trained)
    denoiser = trainable(session.prior.denoiser, options)
    share = None
    if images:
        run_options = training_options(session.base, options, rate, images, warmup)
        run = Run(denoiser, run_options, out / "state")
        session.total = max(session.total, session.done + images)
        train(
            run, training_images(scans, session.slots, run_options), session.accelerator, session.progress("final run")
        )
        run.load_average()
    if options.adapter == "lora":
        from recon.prior.adapters import adapter_share, merge_lora, save_adapter

        share = adapter_share(denoiser)
        if session.accelerator.is_main_process:
            save_adapter(denoiser, out / "adapter")
        merge_lora(denoiser)
    denoiser.eval().requires_grad_(False)
    epochs = images / _slices(trained)
    outcome = Outcome(out, rate, images, epochs, explanation, tuple(warnings), {})
    if not session.accelerator.is_main_process:
        return outcome
    if not r2:
        r2 = tuple(
            denoising_error(denoiser, scans_of(held), slots=session.slots, seed=options.seed, device=session.device)
        )
    checks, values, more = _check(session, denoiser, scans, old_data)
    warnings = [*warnings, *more]
    facts = _facts(session, trained, rate, images, r2, values, share)
    save_prior(out, denoiser, facts, _card(facts, explanation, checks))
    values |= {
        "rate": rate, "images": images, "epochs": epochs, "explanation": explanation, "warnings": list(warnings),
        "checks": checks, "adapter_share": share, "patients": len(session.patients), "slices": session.slices,
        "choice": None if choice is None else reporting.choice_values(choice),
        "plan": None if choice is None else dataclasses.asdict(_stored_plan(session)),
    }  # fmt: skip
    if choice is not None:
        reporting.plot(choice, out / "finetuning.png", options.acceleration)
    from recon.atomic import atomic_path

    with atomic_path(out / "FINETUNING.md") as temporary:
        temporary.write_text(reporting.page(choice, explanation, warnings, checks), encoding="utf-8")
    reporting.write_json(out / REPORT, values)
    (out / "state" / "state.safetensors").unlink(missing_ok=True)
    return dataclasses.replace(outcome, warnings=tuple(warnings), checks=checks, values=values)


def _check(
    session: _Session, denoiser: Any, scans: Sequence[PreparedScan], old_data: Sequence[PreparedScan]
) -> tuple[dict[str, str], dict[str, Any], list[str]]:
    """The memorisation and forgetting checks in words, in numbers, and as warnings."""
    warnings: list[str] = []
    values: dict[str, Any] = {}
    checks: dict[str, str] = {}
    first = scans[0]
    session.note("checking for memorised images")
    drawn = draw_images(
        denoiser, session.slots[first.contrast], first.shape, SAMPLES, seed=session.options.seed, device=session.device
    )
    found: Memorisation = check_memorisation(drawn, scans)
    values["memorisation"] = {
        "samples": list(found.samples),
        "suspicious": found.suspicious,
        "memorised": found.memorised,
    }
    typical, usual = (float(torch.tensor(v).median()) for v in (found.samples, found.held_out))
    checks["memorisation"] = (
        f"{found.suspicious} of {len(found.samples)} prior samples are nearer to a training image than 99 % of the patients' "
        f"images are to another patient's (median correlation {typical:.3f}, between patients {usual:.3f})"
    )
    if found.memorised:
        warnings.append(
            f"the prior draws its training images: {checks['memorisation']}; shorten the run or lower the rate"
        )
    known = set(session.prior.facts.slots) - {"unknown"} - {scan.contrast for scan in scans}
    old = [scan for scan in old_data if scan.contrast in known]
    if old:
        factors = guards.forgetting(session.prior.denoiser, denoiser, old, session.slots, session.device)
        values["forgetting"] = factors
        checks["forgetting"] = "; ".join(
            f"the denoising error of {contrast} changed by a factor of {factor:.2f}"
            for contrast, factor in factors.items()
        )
        for contrast, factor in factors.items():
            if factor > 1.1:
                warnings.append(
                    f"the prior forgot some of {contrast}: its denoising error is {factor:.2f} times what it was; keep the "
                    "old prior for that contrast"
                )
    else:
        checks["forgetting"] = (
            "not done: give prepared scans of a contrast that the prior knew with --old-data"
            if known
            else "not done: the prior knew no other contrast"
        )
    return checks, values, warnings


def _facts(
    session: _Session,
    trained: Sequence[Patient],
    rate: float,
    images: int,
    r2: tuple[float, ...],
    values: dict[str, Any],
    share: float | None,
) -> PriorFacts:
    before = session.prior.facts
    scans = scans_of(trained)

    def named(key: str) -> list[str]:
        return sorted({str(scan.facts.get(key, "not stated")) for scan in scans})

    training = dict(before.training)
    training["origins"] = sorted({*training.get("origins", []), *named("origin")})
    training["licences"] = sorted({*training.get("licences", []), *named("licence")})
    training["finetuning"] = [
        *training.get("finetuning", []),
        {
            "prior_sha256": before.weights_sha256,
            "contrasts": sorted({scan.contrast for scan in scans}),
            "patients": len(trained),
            "slices": _slices(trained),
            "rate": rate,
            "images": images,
            "epochs": images / _slices(trained),
            "adapter_share": share,
            "seen": seen_by(scans),
            "options": dataclasses.asdict(session.options),
            **{key: entry for key, entry in values.items() if key == "forgetting"},
        },
    ]
    return dataclasses.replace(
        before,
        slots=session.slots,
        r2_sigmas=R2_SIGMAS,
        r2_values=tuple(r2),
        images_seen=before.images_seen + images,
        training=training,
        weights_sha256="",
    )


def _card(facts: PriorFacts, explanation: str, checks: dict[str, str]) -> str:
    last = facts.training["finetuning"][-1]
    lines = [
        model_card(facts),
        "",
        "## Fine-tuning",
        "",
        f"{explanation} The table r2(sigma) was measured on held-out patients of {', '.join(last['contrasts'])}.",
        "",
        *[f"- {name}: {text}" for name, text in checks.items()],
    ]
    return "\n".join(lines)
