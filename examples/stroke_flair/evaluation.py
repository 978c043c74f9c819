"""The images of every strategy's prior against the truth."""

from cohorts import test_patients
from experiment import STRATEGIES, Work, say, store


def evaluate(work: Work) -> None:
    """NRMSE of every strategy on every test subject at every acceleration, by one sampler with one seed."""
    from recon.finetuning.validation import PreparedCase, prepare_cases, reconstruction_errors
    from recon.finetuning.validation_cases import validation_cases
    from recon.prior.store import load_prior
    from recon.reconstruction.options import ReconstructionOptions

    experiment = work.experiment
    patients = test_patients(work)
    for acceleration, steps in zip(experiment.accelerations, experiment.steps, strict=True):
        wanted = [s for s in STRATEGIES if not work.path("evaluation", f"{s}_R{acceleration:g}.json").is_file()]
        options = ReconstructionOptions(steps=steps, samples=experiment.samples, seed=experiment.seed)
        cases: list[PreparedCase] = []
        for strategy in wanted:
            prior = load_prior(work.path("priors", strategy))
            if not cases:  # calibrated once for all priors
                chosen = validation_cases(patients, acceleration, experiment.test_slices, experiment.seed + 1)
                cases = prepare_cases(chosen, prior, options)
            store(work.path("evaluation", f"{strategy}_R{acceleration:g}.json"), reconstruction_errors(prior, cases))
        if wanted:
            say(f"evaluated at R = {acceleration:g}")
