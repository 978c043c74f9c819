"""The final run on all patients for the chosen length, its checks, and the files it leaves."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from recon.atomic import atomic_path
from recon.finetuning import cohort_checks
from recon.finetuning import report as reporting
from recon.finetuning.adapters import adapter_share, merge_lora, save_adapter
from recon.finetuning.candidates import trainable, training_options
from recon.finetuning.choice import Choice
from recon.finetuning.cohort import Patient, scans_of
from recon.finetuning.memorisation import SAMPLES, check_memorisation, draw_images
from recon.finetuning.search import stored_plan
from recon.finetuning.session import Session, slices_of
from recon.prior.dataset import PreparedScan, TrainingImages
from recon.prior.model_card import model_card
from recon.prior.provenance import seen_by
from recon.prior.store import PriorFacts, save_prior
from recon.prior.training import Run, train
from recon.prior.validation import VARIANCE_SIGMAS, denoising_error
from recon.processes import Processes

REPORT = "finetuning.json"


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


@dataclass(frozen=True)
class Decision:
    """What the final run does: rate, length and warm-up in images, on ``trained`` patients. ``denoiser_variance`` is
    the denoising error on held-out patients at ``VARIANCE_SIGMAS``; where it is empty it is measured on ``held``
    afterwards."""

    rate: float
    images: int
    warmup: float
    trained: tuple[Patient, ...]
    held: tuple[Patient, ...]
    explanation: str
    denoiser_variance: tuple[float, ...] = ()
    choice: Choice | None = None


def final_run(
    session: Session,
    decision: Decision,
    warnings: Sequence[str],
    old_data: Sequence[PreparedScan],
) -> Outcome:
    """The run on all patients for the chosen length, its checks, and the files."""
    options, out, choice = session.options, session.out, decision.choice
    rate, images, explanation = decision.rate, decision.images, decision.explanation
    scans = scans_of(decision.trained)
    denoiser = trainable(session.prior.denoiser, options)
    share = None
    if images:
        run_options = training_options(session.base, options, rate, images, decision.warmup)
        processes = Processes(session.accelerator, session.device)
        run = Run(denoiser, run_options, out / "state", processes=processes)
        session.total = max(session.total, session.done + images)
        train(
            run,
            TrainingImages(scans, session.contrast_labels, run_options),
            session.progress("final run", images),
            note=session.note,
        )
        run.load_average()
    if options.adapter == "lora":
        share = adapter_share(denoiser)
        if session.accelerator.is_main_process:
            save_adapter(denoiser, out / "adapter")
        merge_lora(denoiser)
    denoiser.eval().requires_grad_(False)
    epochs = images / slices_of(decision.trained)
    outcome = Outcome(out, rate, images, epochs, explanation, tuple(warnings), {})
    if not session.accelerator.is_main_process:
        return outcome
    denoiser_variance = decision.denoiser_variance
    if not denoiser_variance:
        denoiser_variance = tuple(
            denoising_error(
                denoiser,
                scans_of(decision.held),
                contrast_labels=session.contrast_labels,
                seed=options.seed,
                device=session.device,
            )
        )
    checks, values, more = check_result(session, denoiser, scans, old_data)
    for warning in more:
        session.note(f"warning: {warning}")
    warnings = [*warnings, *more]
    facts = _facts(session, decision, denoiser_variance, values, share)
    save_prior(out, denoiser, facts, _card(facts, explanation, checks))
    values |= {
        "rate": rate, "images": images, "epochs": epochs, "explanation": explanation, "warnings": list(warnings),
        "checks": checks, "adapter_share": share, "patients": len(session.patients), "slices": session.slices,
        "choice": None if choice is None else reporting.choice_values(choice),
        "plan": None if choice is None else dataclasses.asdict(stored_plan(session)),
    }  # fmt: skip
    if choice is not None:
        reporting.plot(choice, out / "finetuning.png", options.acceleration)
    with atomic_path(out / "FINETUNING.md") as temporary:
        temporary.write_text(reporting.page(choice, explanation, warnings, checks), encoding="utf-8")
    reporting.write_json(out / REPORT, values)
    (out / "state" / "state.safetensors").unlink(missing_ok=True)
    return dataclasses.replace(outcome, warnings=tuple(warnings), checks=checks, values=values)


def check_result(
    session: Session, denoiser: Any, scans: Sequence[PreparedScan], old_data: Sequence[PreparedScan]
) -> tuple[dict[str, str], dict[str, Any], list[str]]:
    """The memorisation and forgetting checks in words, in numbers, and as warnings."""
    warnings: list[str] = []
    values: dict[str, Any] = {}
    checks: dict[str, str] = {}
    first = scans[0]
    session.note("checking for memorised images")
    drawn = draw_images(
        denoiser,
        session.contrast_labels[first.contrast],
        first.shape,
        SAMPLES,
        seed=session.options.seed,
        device=session.device,
    )
    found = check_memorisation(drawn, scans)
    values["memorisation"] = {
        "samples": list(found.samples),
        "suspicious": found.suspicious,
        "memorised": found.memorised,
    }
    typical, usual = (float(torch.tensor(v).median()) for v in (found.samples, found.held_out))
    checks["memorisation"] = (
        f"{found.suspicious} of {len(found.samples)} prior samples are nearer to a training image than 99 % of the "
        f"patients' images are to another patient's (median correlation {typical:.3f}, between patients {usual:.3f})"
    )
    if found.memorised:
        warnings.append(
            f"the prior draws its training images: {checks['memorisation']}; shorten the run or lower the rate"
        )
    known = set(session.prior.facts.contrast_labels) - {"unknown"} - {scan.contrast for scan in scans}
    old = [scan for scan in old_data if scan.contrast in known]
    if old:
        factors = cohort_checks.forgetting(
            session.prior.denoiser, denoiser, old, session.contrast_labels, session.device
        )
        values["forgetting"] = factors
        checks["forgetting"] = "; ".join(
            f"the denoising error of {contrast} changed by a factor of {factor:.2f}"
            for contrast, factor in factors.items()
        )
        for contrast, factor in factors.items():
            if factor > 1.1:
                warnings.append(
                    f"the prior forgot some of {contrast}: its denoising error is {factor:.2f} times what it was; "
                    "keep the old prior for that contrast"
                )
    else:
        checks["forgetting"] = (
            "not done: give prepared scans of a contrast that the prior knew with --old-data"
            if known
            else "not done: the prior knew no other contrast"
        )
    return checks, values, warnings


def _facts(
    session: Session,
    decision: Decision,
    denoiser_variance: tuple[float, ...],
    values: dict[str, Any],
    share: float | None,
) -> PriorFacts:
    before = session.prior.facts
    scans, images, slices = scans_of(decision.trained), decision.images, slices_of(decision.trained)

    training = dict(before.training)
    origins = {scan.header.origin or "not stated" for scan in scans}
    licences = {scan.header.licence or "not stated" for scan in scans}
    training["origins"] = sorted({*training.get("origins", []), *origins})
    training["licences"] = sorted({*training.get("licences", []), *licences})
    training["finetuning"] = [
        *training.get("finetuning", []),
        {
            "prior_sha256": before.weights_sha256,
            "contrasts": sorted({scan.contrast for scan in scans}),
            "patients": len(decision.trained),
            "slices": slices,
            "rate": decision.rate,
            "images": images,
            "epochs": images / slices,
            "adapter_share": share,
            "seen": seen_by(scans),
            "options": dataclasses.asdict(session.options),
            **{key: entry for key, entry in values.items() if key == "forgetting"},
        },
    ]
    return dataclasses.replace(
        before,
        contrast_labels=session.contrast_labels,
        denoiser_variance_sigmas=VARIANCE_SIGMAS,
        denoiser_variances=tuple(denoiser_variance),
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
        f"{explanation} The table v(sigma) was measured on held-out patients of {', '.join(last['contrasts'])}.",
        "",
        *[f"- {name}: {text}" for name, text in checks.items()],
    ]
    return "\n".join(lines)
