"""The priors of all strategies, and the grid of rates and lengths."""

import dataclasses

from cohorts import prepared, test_patients
from experiment import STRATEGIES, Work, progress, say, store


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


def grid(work: Work) -> None:
    """Every rate and length on the whole small cohort, judged on TEST subjects: what the choice is checked by."""
    import torch

    from recon.finetuning.candidates import run_candidate, trainable, training_options
    from recon.finetuning.plan import whole_plan
    from recon.finetuning.session import start_contrast_labels
    from recon.finetuning.validation import HeldOutValidation, judged_options, prepare_cases
    from recon.finetuning.validation_cases import validation_cases
    from recon.prior.store import assign_contrast_labels, load_prior

    experiment = work.experiment
    prior = load_prior(work.path("priors", "0"))
    contrast_labels = assign_contrast_labels(
        {"FLAIR"}, prior.facts.network.contrast_labels, prior.facts.contrast_labels
    )
    start_contrast_labels(prior, contrast_labels)
    prior = dataclasses.replace(prior, facts=dataclasses.replace(prior.facts, contrast_labels=contrast_labels))
    base, search = experiment.training, experiment.search
    plan = whole_plan(search, experiment.small_subjects, base.batch, base.learning_rate, base.images)
    cases = validation_cases(test_patients(work), search.acceleration, experiment.grid_slices, experiment.seed)
    # The denoiser_variance table of a checkpoint comes from the small cohort's images, as test subjects may not shape
    # the prior.
    validation = HeldOutValidation(
        prepared(work, "small"), prepare_cases(cases, prior, judged_options(search)), prior, search.seed,
        torch.device("cpu"),
    )  # fmt: skip
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
