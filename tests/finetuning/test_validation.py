"""Held-out validation judges the images that users get."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from recon.errors import ReconError
from recon.finetuning.candidates import Record
from recon.finetuning.choice import choose
from recon.finetuning.cohort import Patient
from recon.finetuning.validation import checkpoint, prepare_cases, reconstruction_errors
from recon.finetuning.validation_cases import simulated_scan, validation_cases
from recon.images.result import read_result
from recon.prior.dataset import open_prepared
from recon.prior.preparation import PreparationOptions, prepare_scan
from recon.prior.store import Prior, load_prior
from recon.quality.metrics import nrmse
from recon.reconstruction.options import ReconstructionOptions
from recon.reconstruction.pipeline import reconstruct_to_file
from recon.scans.opening import open_scan
from recon.scans.options import UndersamplingOptions
from recon.scans.undersample import undersample
from tests.small_world import write_small_prior, write_small_scan

OPTIONS = ReconstructionOptions(samples=2, steps=2, seed=4)


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> Prior:
    return load_prior(write_small_prior(tmp_path_factory.mktemp("prior")))


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Patient:
    folder = tmp_path_factory.mktemp("patient")
    raw = write_small_scan(folder / "full.h5")
    prepare_scan(open_scan(raw), folder / "prepared.h5", PreparationOptions())
    return Patient("one", (open_prepared(folder / "prepared.h5"),), (raw,))


def test_the_judged_image_is_that_of_recon_reconstruct_to_the_bit(
    prior: Prior, patient: Patient, tmp_path: Path
) -> None:
    """Same prior, scan and settings: ``recon undersample`` and ``recon reconstruct`` against the judge's own way."""
    raw = patient.raw[0]
    assert raw is not None
    undersample(open_scan(raw), tmp_path / "fast.h5", UndersamplingOptions(acceleration=2, seed=4))
    reconstruct_to_file(open_scan(tmp_path / "fast.h5"), OPTIONS, tmp_path / "r.h5", prior)
    stored = read_result(tmp_path / "r.h5").reconstruction
    cases = prepare_cases(validation_cases([patient], 2.0, 2, 4), prior, OPTIONS)
    for entry in cases:
        prepared = entry.prepared()
        image = prepared.problem.magnitude(entry.solver.solve(prepared).image)[0].cpu().numpy()
        assert np.array_equal(image, stored[entry.case.slice])
    (error,) = reconstruction_errors(prior, cases).values()
    truth = np.stack([entry.case.reference for entry in cases])
    assert error == pytest.approx(nrmse(stored[[entry.case.slice for entry in cases]], truth), rel=1e-5)


def test_a_checkpoint_is_judged_with_its_own_weights_and_variances(prior: Prior, patient: Patient) -> None:
    cases = prepare_cases(validation_cases([patient], 2.0, 1, 4), prior, OPTIONS)
    before = reconstruction_errors(prior, cases)["one"]
    worse = checkpoint(prior, prior.denoiser, prior.facts.contrast_labels, (3.0,) * 16)
    assert reconstruction_errors(worse, cases)["one"] != before
    assert reconstruction_errors(prior, cases)["one"] == before


def test_what_is_kept_in_memory_changes_nothing(
    prior: Prior, patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = validation_cases([patient], 2.0, 2, 4)
    kept = reconstruction_errors(prior, prepare_cases(cases, prior, OPTIONS))
    monkeypatch.setattr("recon.finetuning.validation.SYSTEM_MEMORY", 0.0)
    again = prepare_cases(cases, prior, OPTIONS)
    assert all(entry.kept is None for entry in again)
    assert reconstruction_errors(prior, again) == kept


def test_a_prepared_file_becomes_a_scan_in_its_own_units(prior: Prior, patient: Patient) -> None:
    alone = dataclasses.replace(patient, raw=(None,))
    (case,) = validation_cases([alone], 2.0, 1, 0)
    assert case.simulated
    full = simulated_scan(patient.scans[0], 0)
    kspace = torch.from_numpy(full.read_kspace(0))
    from recon.acquisition.fourier import to_image

    shown = to_image(kspace).abs().square().sum(0).sqrt().numpy()
    truth = patient.scans[0].read(0).abs().numpy()
    assert nrmse(shown, truth) < 0.25
    assert reconstruction_errors(prior, prepare_cases([case], prior, OPTIONS))["one"] < 0.6


def records(*rows: tuple[float, int, list[float]]) -> list[Record]:
    return [
        Record(0, rate, images, {f"p{i}": value for i, value in enumerate(values)}, (1.0,))
        for rate, images, values in rows
    ]


def test_one_held_out_patient_is_no_basis_for_a_choice() -> None:
    """Before, the report said '± nan'."""
    with pytest.raises(ReconError, match="at least two"):
        choose(records((0.0, 0, [0.1]), (1e-3, 10, [0.09])), 10, 4)


def test_a_gain_within_its_standard_error_keeps_the_prior() -> None:
    before = [0.10, 0.11, 0.12, 0.13]
    lucky = [0.09, 0.115, 0.125, 0.12]  # better in the mean, by less than its standard error
    assert choose(records((0.0, 0, before), (1e-3, 10, lucky)), 10, 4).images == 0
    one_patient = [0.02, 0.111, 0.121, 0.131]
    assert choose(records((0.0, 0, before), (1e-3, 10, one_patient)), 10, 4).images == 0


def test_of_equally_good_points_the_mildest_is_taken() -> None:
    before = [0.10, 0.11, 0.12, 0.13]
    good, as_good = [0.0800, 0.0900, 0.1000, 0.1100], [0.0802, 0.0899, 0.1003, 0.1099]
    rows = records((0.0, 0, before), (1e-3, 100, good), (1e-4, 100, as_good), (1e-4, 10, [v - 0.002 for v in before]))
    chosen = choose(rows, 10, 4)
    assert (chosen.rate, chosen.images) == (1e-4, 100)
