"""The paper's experiment in miniature (arXiv:2603.13007): pre-train on other contrasts, fine-tune on 20 FLAIR patients.

    python examples/stroke_flair/run.py --out DIR [--quick] [--stage NAME]

Stages run in order and keep what they finished: the same command continues after an interruption. Everything is
simulated or semi-synthetic (real heads and lesion shapes from RECON_SHARED_DATA where present).

    simulate   cohorts of raw scans         prepare    training images
    pretrain   the strategies' priors   finetune   strategies 2 and 4, chosen automatically
    grid       rate x length on TEST        evaluate   NRMSE of all strategies on TEST
    report     REPORT.md, figures
"""

import argparse
import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from recon.atomic import atomic_path
from recon.configuration import load_config
from recon.errors import ReconError
from recon.finetuning.plan import FinetuneOptions
from recon.prior.options import TrainingOptions
from recon.progress import Report

HERE = Path(__file__).resolve().parent
STRATEGIES = {
    "1": "joint training on everything, full FLAIR",
    "2": "pre-training, fine-tuned on full FLAIR",
    "3": "full FLAIR alone",
    "4": "pre-training, fine-tuned on the small FLAIR cohort (the proposal)",
    "5": "the small FLAIR cohort alone",
    "5b": "the small FLAIR cohort alone, no longer than the longest fine-tuning",
    "6": "joint training with the small FLAIR cohort",
    "0": "pre-training without fine-tuning",
}


@dataclass(frozen=True)
class Experiment:
    """The whole experiment; see config.yaml for what each key means."""

    size: tuple[int, int]
    slices: int
    coils: int
    snr: float
    pretraining_subjects: int
    pretraining_contrasts: tuple[str, ...]
    full_subjects: int
    small_subjects: int
    test_subjects: int
    test_slices: int
    accelerations: tuple[float, ...]
    steps: tuple[int, ...]
    samples: int
    training: TrainingOptions
    search: FinetuneOptions
    paper: tuple[float, float] = (0.1, 0.02)
    seed: int = 0
    test_share: float = field(default=0.2)  # of the heads
    grid_slices: int = 1  # of each test head, in the grid


@dataclass(frozen=True)
class Work:
    """The experiment and the folder in which it is done."""

    experiment: Experiment
    out: Path

    def path(self, *names: str) -> Path:
        return self.out.joinpath(*names)


def say(line: str) -> None:
    """One line of progress with the time of day."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {line}\n")
    sys.stderr.flush()


def store(path: Path, values: Any) -> None:
    """A JSON file, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(values, indent=1, default=str), encoding="utf-8")


# --- simulate -----------------------------------------------------------------------------------------------------


def simulate(work: Work) -> None:
    """Three cohorts; the heads of the test cohort are in no other one."""
    from recon.seeding import numpy_generator
    from recon.simulate.anatomy_files import builtin_sources, find_anatomies
    from recon.simulate.cohort import Settings, simulate_cohort
    from recon.simulate.lesion_files import LesionFiles, find_lesion_files

    experiment = work.experiment
    shared = os.environ.get("RECON_SHARED_DATA")
    heads = Path(shared, "labels_ptbp60") if shared else None
    shapes = Path(shared, "stroke", "lesymap131") if shared else None
    sources = find_anatomies(heads) if heads and heads.is_dir() else builtin_sources()
    lesions = find_lesion_files(shapes, None) if shapes and shapes.is_dir() else LesionFiles()
    order = numpy_generator(experiment.seed, "heads").permutation(len(sources))
    held = max(1, round(experiment.test_share * len(sources))) if len(sources) > 1 else 0
    test = [sources[i] for i in order[:held]] or sources
    training = [sources[i] for i in order[held:]]
    common = {
        "size": experiment.size, "coils": experiment.coils, "slices": experiment.slices, "snr": experiment.snr,
        "anatomy": heads.name if heads and heads.is_dir() else "icbm152",
        "lesion_shapes": shapes.name if lesions.shapes and shapes else None,
    }  # fmt: skip
    kinds = ("small", "test")
    cohorts: list[tuple[str, Any, int, Sequence[str], bool]] = [
        ("pretraining", training, experiment.pretraining_subjects, experiment.pretraining_contrasts, False),
        ("flair", training, experiment.full_subjects, ("FLAIR",), True),
        ("test", test, experiment.test_subjects, ("FLAIR",), True),
    ]
    for number, (name, heads_of, subjects, contrasts, stroke) in enumerate(cohorts):
        settings = Settings(**common, stroke=stroke, seed=experiment.seed + 1000 * (number + 1))
        manifest = simulate_cohort(
            work.path("scans", name), heads_of, subjects, contrasts, settings, lesions if stroke else None
        )
        say(f"cohort {name}: {len(manifest['scans'])} scans ({manifest['written']} new)")
    # The small cohort: the first of the FLAIR scans, each of another head where there are enough heads.
    small = work.path("scans", kinds[0])
    small.mkdir(parents=True, exist_ok=True)
    for path in small_cohort(work):
        target = small / path.name
        if not target.exists():
            target.symlink_to(path.resolve())
    store(
        work.path("cohorts.json"),
        {
            "heads": common["anatomy"], "lesion_shapes": common["lesion_shapes"] or "built-in",
            "heads_training": len(training), "heads_test": held, "same_heads": held == 0,
        },
    )  # fmt: skip


def small_cohort(work: Work) -> list[Path]:
    """The raw scans of the small cohort, in the order of the manifest's subjects by repetition of heads."""
    scans = sorted(
        work.path("scans", "flair").glob("*_FLAIR.h5"), key=lambda path: (path.stem.split("-")[-1], path.stem)
    )
    return scans[: work.experiment.small_subjects]


# --- prepare ------------------------------------------------------------------------------------------------------


def prepare(work: Work) -> None:
    """Training images of the pre-training and FLAIR cohorts."""
    from recon.prior.options import PreparationOptions
    from recon.prior.preparation import prepare_all

    for name in ("pretraining", "flair"):
        paths = [p for p in sorted(work.path("scans", name).glob("*.h5")) if not p.stem.endswith("_lesion")]
        out = work.path("prepared", name)
        missing = [path for path in paths if not (out / path.name).is_file()]
        failed = (
            [o.reason for o in prepare_all(missing, out, PreparationOptions()) if o.state == "failed"]
            if missing
            else []
        )
        if failed:
            raise ReconError(failed[0])
        say(f"prepared {name}: {len(paths)} scans ({len(missing)} new)")


def prepared(work: Work, name: str) -> list[Any]:
    """Prepared scans of a cohort: pretraining, flair (full) or small.

    Subjects that were made from one real head count as one person, and no split parts them.
    """
    from recon.prior.dataset import open_prepared

    folder = work.path("prepared", "flair" if name == "small" else name)
    scans = [open_prepared(path) for path in sorted(folder.glob("*.h5"))]
    if name == "small":
        chosen = {path.name for path in small_cohort(work)}
        scans = [scan for scan in scans if scan.path.name in chosen]
    return scans


# --- pretrain -----------------------------------------------------------------------------------------------------


def pretrain(work: Work) -> None:
    """The pre-trained prior and strategies 1, 3, 5 and 6, all of the same length and rate; 5b is as 5 but short."""
    from recon.prior.pretraining import pretrain as train

    training = work.experiment.training
    short = dataclasses.replace(training, images=round(max(work.experiment.search.lengths) * training.images))

    parts = {
        "0": ("pretraining",), "5": ("small",), "5b": ("small",), "3": ("flair",), "6": ("pretraining", "small"),
        "1": ("pretraining", "flair"),
    }  # fmt: skip
    for strategy, names in parts.items():
        out = work.path("priors", strategy)
        if (out / "prior.json").is_file():
            continue
        say(f"strategy {strategy}: {STRATEGIES[strategy]}")
        scans = [scan for name in names for scan in prepared(work, name)]
        train(short if strategy == "5b" else training, scans, out, progress(f"strategy {strategy}"), device="cpu")


def progress(name: str) -> Report:
    """A line every half minute."""
    last = time.monotonic()

    def tell(stage: str, fraction: float) -> None:
        nonlocal last
        if time.monotonic() - last > 30:
            last = time.monotonic()
            say(f"{name}: {stage}, {100 * fraction:.0f} %")

    return tell


# --- finetune -----------------------------------------------------------------------------------------------------


def finetune(work: Work) -> None:
    """Strategy 4 on the raw scans of the small cohort, strategy 2 on all prepared FLAIR images."""
    from recon.finetuning.run import FinetuneTask
    from recon.finetuning.run import finetune as tune
    from recon.prior.dataset import open_folder

    search = work.experiment.search
    # One split is enough for the many patients of the upper bound; short runs and low rates are not for them.
    upper = dataclasses.replace(search, folds=1, lengths=search.lengths[-2:], rates=search.rates[:2])
    jobs = (
        ("4", work.path("scans", "small"), search),
        ("2", work.path("prepared", "flair"), upper),
    )  # fmt: skip
    old = open_folder(work.path("prepared", "pretraining"))[:12]
    for strategy, data, options in jobs:
        outcome = tune(
            FinetuneTask(work.path("priors", "0"), data, work.path("priors", strategy), old_data=old), options,
            device="cpu", report=progress(f"strategy {strategy}"), note=say,
        )  # fmt: skip
        say(f"strategy {strategy}: {outcome.explanation}")


# --- grid ---------------------------------------------------------------------------------------------------------


def grid(work: Work) -> None:
    """Every rate and length on the whole small cohort, judged on TEST subjects: what the choice is checked by."""
    import torch

    from recon.finetuning.candidates import HeldOutValidation, run_candidate, trainable, training_options
    from recon.finetuning.plan import whole_plan
    from recon.finetuning.session import start_contrast_labels
    from recon.finetuning.validation_cases import build_cases, prepare_systems
    from recon.prior.store import assign_contrast_labels, load_prior

    experiment = work.experiment
    prior = load_prior(work.path("priors", "0"))
    contrast_labels = assign_contrast_labels(
        {"FLAIR"}, prior.facts.network.contrast_labels, prior.facts.contrast_labels
    )
    start_contrast_labels(prior, contrast_labels)
    base, search = experiment.training, experiment.search
    plan = whole_plan(search, experiment.small_subjects, base.batch, base.learning_rate, base.images)
    patients = test_patients(work)
    cases = build_cases(patients, search.acceleration, experiment.grid_slices, experiment.seed)
    # The denoiser_variance table of a checkpoint comes from the small cohort's images, as test subjects may not shape
    # the prior.
    validation = HeldOutValidation(
        prepared(work, "small"), cases, prepare_systems(cases), contrast_labels, search, torch.device("cpu")
    )
    folder = work.path("grid")
    if not (folder / "before.json").is_file():
        store(folder / "before.json", validation(prior.denoiser)[0])
    for number, rate in enumerate(plan.rates):
        options = training_options(base, search, rate, plan.lengths[-1], search.warmup_of_shortest * plan.lengths[0])
        run_candidate(
            trainable(prior.denoiser, search), prepared(work, "small"), validation, options, plan.lengths, 0,
            folder / f"rate{number}", progress(f"grid, rate {rate:.2g}"),
        )  # fmt: skip
        say(f"grid: rate {rate:.2g} done")


def test_patients(work: Work) -> list[Any]:
    """The test subjects with their raw scans."""
    from recon.finetuning.cohort import gather

    patients, _ = gather(work.path("scans", "test"), work.path("prepared", "test"), skip_bad=False)
    return patients


# --- evaluate -----------------------------------------------------------------------------------------------------


def evaluate(work: Work) -> None:
    """NRMSE of every strategy on every test subject at every acceleration, by one sampler with one seed."""
    from recon.finetuning.validation_cases import build_cases, judge, prepare_systems
    from recon.prior.store import load_prior

    experiment = work.experiment
    patients = test_patients(work)
    for acceleration, steps in zip(experiment.accelerations, experiment.steps, strict=True):
        wanted = [s for s in STRATEGIES if not work.path("evaluation", f"{s}_R{acceleration:g}.json").is_file()]
        if not wanted:
            continue
        cases = build_cases(patients, acceleration, experiment.test_slices, experiment.seed + 1)
        systems = prepare_systems(cases)
        for strategy in wanted:
            prior = load_prior(work.path("priors", strategy))
            contrast_labels = {
                "FLAIR": prior.facts.contrast_labels.get("FLAIR", 0)
            }  # the general contrast label where FLAIR is unknown
            scores = judge(
                prior.denoiser, contrast_labels, prior.denoiser_variance, cases, systems, acceleration=acceleration,
                steps=steps, samples=experiment.samples, seed=experiment.seed,
            )  # fmt: skip
            store(work.path("evaluation", f"{strategy}_R{acceleration:g}.json"), scores)
        say(f"evaluated at R = {acceleration:g}")


# --- report -------------------------------------------------------------------------------------------------------


def report(work: Work) -> None:
    """REPORT.md, its figures and results.json from what the other stages left."""
    from report import write_report

    write_report(work.experiment, work.out, STRATEGIES)
    say(f"report: {work.path('REPORT.md')}")


STAGES: dict[str, Callable[[Work], None]] = {
    "simulate": simulate, "prepare": prepare, "pretrain": pretrain, "finetune": finetune, "grid": grid,
    "evaluate": evaluate, "report": report,
}  # fmt: skip


def main() -> None:
    """Parse the command line and run the stages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for everything")
    parser.add_argument("--quick", action="store_true", help="minutes instead of hours; shows that it works, no more")
    parser.add_argument("--config", type=Path, help="another configuration")
    parser.add_argument("--stage", choices=list(STAGES), action="append", help="run only this stage (repeatable)")
    parser.add_argument("--threads", type=int, default=0, help="processor threads; 0 leaves them as they are")
    arguments = parser.parse_args()
    try:
        experiment = load_config(
            Experiment, arguments.config or HERE / ("quick.yaml" if arguments.quick else "config.yaml")
        )
        import torch

        if arguments.threads:
            torch.set_num_threads(arguments.threads)
        work = Work(experiment, arguments.out)
        timing = work.path("seconds.json")
        seconds = json.loads(timing.read_text()) if timing.is_file() else {}
        for name in arguments.stage or STAGES:
            wall, processor = time.monotonic(), time.process_time()
            STAGES[name](work)
            before = seconds.get(name, [0.0, 0.0])
            # Wall time, and processor time of this process (preparation's worker processes are not in it).
            seconds[name] = [before[0] + time.monotonic() - wall, before[1] + time.process_time() - processor]
            store(timing, seconds)
            say(f"stage {name}: {seconds[name][0]:.0f} s, {seconds[name][1]:.0f} s of processor time")
    except ReconError as error:
        sys.exit(f"run.py: {error}")


if __name__ == "__main__":
    main()
