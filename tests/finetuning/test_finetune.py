"""Fine-tuning: what is chosen and why, resumption, adapters, new contrasts, cohorts and their faults."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recon.errors import ReconError
from recon.finetuning.candidates import Record
from recon.finetuning.choice import choose
from recon.finetuning.cohort import gather, merge_persons, split_folds
from recon.finetuning.plan import Costs, FinetuneOptions, fit_budget, parse_duration, whole_plan
from recon.finetuning.run import FinetuneTask, finetune
from recon.prior.dataset import PREPARED_FORMAT, open_folder
from recon.prior.options import AugmentationOptions, NetworkOptions, TrainingOptions
from recon.prior.pretraining import pretrain
from recon.prior.store import load_prior
from recon.prior.training import learning_rate_at
from recon.progress import silent

SMALL = TrainingOptions(
    network=NetworkOptions(channels=(16,), unshuffle=2, contrast_labels=6),
    augmentation=AugmentationOptions(rotation=0, zoom=0, phase=0, intensity=0),
    images=160,
    batch=4,
    crop=24,
    learning_rate=3e-3,
    checkpoint_images=40,
    validation_fraction=0.3,
)
SEARCH = FinetuneOptions(
    rates=(1.0, 0.1), lengths=(0.1, 0.2), folds=2, slices=1, steps=3, checkpoint_images=8, acceleration=2.0
)


def write_patient(folder: Path, name: str, contrast: str, seed: int, *, slices: int = 3, size: int = 32) -> Path:
    """A prepared file of smooth ellipses; ``contrast`` decides which are bright."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    images = []
    for _ in range(slices):
        image = np.zeros((size, size))
        for level in (0.5, 1.0, 0.2) if contrast == "FLAIR" else (1.0, 0.3, 0.8):
            centre, radii = generator.uniform(-0.3, 0.3, 2), generator.uniform(0.15, 0.5, 2)
            inside = ((rows - centre[0]) / radii[0]) ** 2 + ((columns - centre[1]) / radii[1]) ** 2
            image += level / (1 + np.exp(np.clip(20 * (inside - 1), -50, 50)))
        images.append(image * np.exp(0.1j * rows))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}_{contrast}.h5"
    with h5py.File(path, "w") as file:
        file["image"] = np.stack(images).astype(np.complex64)
        file.attrs.update(
            format=PREPARED_FORMAT, subject=name, contrast=contrast, scan_digest=f"{name}-{contrast}-{seed}",
            noise_sigma=0.02, origin="synthetic ellipses", licence="none needed",
        )  # fmt: skip
    return path


@pytest.fixture(scope="module", autouse=True)
def few_drawn_images() -> Iterator[None]:
    """The look for memorised images draws two of them, not as many as say something; it has a test of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("recon.finetuning.final.SAMPLES", 2)
        yield


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny prior trained on T1 and T2 ellipses."""
    folder = tmp_path_factory.mktemp("prior")
    for number in range(4):
        for contrast in ("T1", "T2"):
            write_patient(folder / "data", f"old{number}", contrast, 100 + number, slices=1)
    pretrain(SMALL, open_folder(folder / "data"), folder / "prior", silent, device="cpu")
    return folder / "prior"


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """Four FLAIR patients."""
    for number in range(4):
        write_patient(tmp_path / "flair", f"new{number}", "FLAIR", number)
    return tmp_path / "flair"


@pytest.fixture(scope="module")
def searched(prior: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole search on four patients."""
    folder = tmp_path_factory.mktemp("searched")
    for number in range(4):
        write_patient(folder / "flair", f"new{number}", "FLAIR", number)
    old = open_folder(prior.parent / "data")
    finetune(FinetuneTask(prior, folder / "flair", folder / "out", old_data=old), SEARCH, device="cpu")
    return folder


def test_search_stores_grid_choice_and_reasons(searched: Path, prior: Path) -> None:
    out = searched / "out"
    values = json.loads((out / "finetuning.json").read_text())
    grid = values["choice"]["grid"]
    assert [(round(e["rate"], 6), e["images"]) for e in grid] == [
        (0.0, 0), (3e-4, 16), (3e-4, 32), (3e-3, 16), (3e-3, 32)
    ]  # fmt: skip
    best = min(grid, key=lambda entry: entry["nrmse"])
    assert (values["rate"], values["images"]) == (best["rate"], best["images"])
    assert best["nrmse_error"] > 0
    assert values["choice"]["patients"] == 4
    assert values["explanation"].count(". ") == 1, "two sentences"
    assert f"{best['nrmse']:.4f}" in values["explanation"]
    assert "epochs" in values["explanation"]
    assert (out / "finetuning.png").stat().st_size > 10_000
    text = (out / "FINETUNING.md").read_text()
    assert all(f"{entry['nrmse']:.4f}" in text for entry in grid)
    before, after = load_prior(prior), load_prior(out)
    assert after.facts.contrast_labels == {**before.facts.contrast_labels, "FLAIR": 3}
    assert after.facts.denoiser_variances != before.facts.denoiser_variances, "measured again on the target data"
    assert after.facts.denoiser_variances == pytest.approx(best["denoising"])
    record = after.facts.training["finetuning"][0]
    assert record["patients"] == 4
    assert record["seen"]["scale"]["median"] > 0
    assert set(values["forgetting"]) == {"T1", "T2"}
    assert not list(out.rglob("state.safetensors"))


def test_every_patient_is_judged_once_by_runs_that_never_saw_it(searched: Path) -> None:
    folder = searched / "out" / "search"
    seen: list[str] = []
    for fold in range(2):
        names = {
            tuple(sorted(r["nrmse"]))
            for p in folder.glob(f"fold{fold}_*/records.json")
            for r in json.loads(p.read_text())
        }
        assert len(names) == 1, "every candidate of a fold is judged on the same patients"
        seen += names.pop()
    assert sorted(seen) == [f"new{i}" for i in range(4)]


def test_finished_run_is_kept_and_other_options_are_refused(searched: Path, prior: Path) -> None:
    again = finetune(FinetuneTask(prior, searched / "flair", searched / "out"), SEARCH, device="cpu")
    assert again.kept
    assert again.images > 0
    with pytest.raises(ReconError, match="other options"):
        finetune(
            FinetuneTask(prior, searched / "flair", searched / "out"),
            FinetuneOptions(rate=1e-4, images=8),
            device="cpu",
        )


def test_shared_checkpoint_equals_a_run_of_that_length(prior: Path, cohort: Path, tmp_path: Path) -> None:
    """The search's claim: the state at a length is what a run of that length ends with."""
    from recon.finetuning.candidates import trainable, training_options
    from recon.prior.dataset import TrainingImages
    from recon.prior.training import Run, train

    loaded = load_prior(prior)
    scans, contrast_labels = open_folder(cohort), {**loaded.facts.contrast_labels, "FLAIR": 3}
    ends = []
    for total, folder in ((16, "short"), (32, "long")):
        options = training_options(SMALL, SEARCH, 1e-3, total, warmup=8.0)
        run = Run(trainable(loaded.denoiser, SEARCH), options, tmp_path / folder)
        train(
            run,
            TrainingImages(scans, contrast_labels, options),
            silent,
            stop_after=16,
        )
        ends.append(run.average)
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_rate_reaches_its_value_and_stays() -> None:
    from recon.finetuning.candidates import training_options

    options = training_options(SMALL, SEARCH, 1e-3, 160, warmup=16.0)
    rates = [learning_rate_at(options, images) for images in range(4, 164, 4)]
    assert rates[0] == pytest.approx(2.5e-4)
    assert rates[3:] == [1e-3] * 37


def test_given_rate_and_length_skip_the_search(prior: Path, cohort: Path, tmp_path: Path) -> None:
    outcome = finetune(
        FinetuneTask(prior, cohort, tmp_path / "out"), FinetuneOptions(rate=1e-3, images=17), device="cpu"
    )
    assert outcome.images == 16
    assert outcome.epochs == pytest.approx(16 / 9)
    assert not (tmp_path / "out" / "search").exists()


def test_new_contrast_changes_no_output_of_old_ones(prior: Path) -> None:
    from recon.finetuning.session import start_contrast_labels

    loaded = load_prior(prior)
    image = torch.randn(4, 24, 24, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    sigma, contrast_label = torch.full((4,), 0.3), torch.tensor([0, 1, 2, 3])
    before = loaded.denoiser(image, sigma, contrast_label)
    start_contrast_labels(loaded, {**loaded.facts.contrast_labels, "FLAIR": 3})
    after = loaded.denoiser(image, sigma, contrast_label)
    assert torch.equal(before[:3], after[:3])
    assert torch.equal(
        loaded.denoiser(image[:1], sigma[:1], torch.tensor([3])),
        loaded.denoiser(image[:1], sigma[:1], torch.tensor([0])),
    ), "a new contrast starts from the general contrast label"


def test_training_a_new_contrast_leaves_the_other_slots_rows(searched: Path, prior: Path) -> None:
    old, new = (load_prior(folder).denoiser.network.class_embedding.weight for folder in (prior, searched / "out"))
    assert torch.equal(old[[0, 1, 2, 4, 5]], new[[0, 1, 2, 4, 5]])
    assert not torch.equal(old[3], new[3])


def test_lora_is_small_mergeable_and_readable_by_peft(prior: Path, cohort: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    from recon.finetuning.adapters import adapter_share, add_lora, merge_lora

    options = FinetuneOptions(rate=3e-3, images=32, adapter="lora")
    outcome = finetune(FinetuneTask(prior, cohort, tmp_path / "out"), options, device="cpu")
    assert 0 < outcome.values["adapter_share"] < 0.05
    merged, base = load_prior(tmp_path / "out"), load_prior(prior)
    from recon.finetuning.session import start_contrast_labels

    start_contrast_labels(base, merged.facts.contrast_labels)
    base.denoiser.network = PeftModel.from_pretrained(base.denoiser.network, tmp_path / "out" / "adapter").eval()
    image = torch.randn(1, 24, 24, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    arguments = (image, torch.full((1,), 0.3), torch.tensor([3]))
    assert torch.allclose(merged.denoiser(*arguments), base.denoiser(*arguments), atol=2e-5)
    fresh = load_prior(prior)
    expected = fresh.denoiser(*arguments)
    add_lora(fresh.denoiser)
    assert adapter_share(fresh.denoiser) < 0.05
    assert torch.equal(fresh.denoiser(*arguments), expected), "an untrained adapter changes nothing"
    merge_lora(fresh.denoiser)
    assert torch.allclose(fresh.denoiser(*arguments), expected, atol=1e-6)


def test_kill_at_any_checkpoint_resumes_to_the_same_weights(prior: Path, searched: Path, tmp_path: Path) -> None:
    """Interruptions inside the search and inside the final run, in process; kill -9 itself is the slow test."""
    whole, cohort = json.loads((searched / "out" / "finetuning.json").read_text()), searched / "flair"

    class Stop(Exception):
        pass

    assert whole["images"] > 0
    for images in (12, 4 * 32 + whole["images"] - 4):  # the last one within the final run

        def stop(stage: str, fraction: float, images: int = images) -> None:
            if round(fraction * 5 * 32) == images:  # two rates on two folds and the final run
                raise Stop

        with pytest.raises(Stop):
            finetune(FinetuneTask(prior, cohort, tmp_path / "cut"), SEARCH, device="cpu", report=stop)
    finetune(FinetuneTask(prior, cohort, tmp_path / "cut"), SEARCH, device="cpu")
    name = "diffusion_pytorch_model.safetensors"
    assert (searched / "out" / name).read_bytes() == (tmp_path / "cut" / name).read_bytes()


@pytest.mark.slow
def test_kill_9_at_random_moments_resumes_to_the_same_weights(prior: Path, cohort: Path, tmp_path: Path) -> None:
    config = tmp_path / "search.yaml"
    config.write_text(
        "rates: [1.0, 0.1]\nlengths: [0.5, 1.0]\nfolds: 2\nslices: 1\nsteps: 3\ncheckpoint_images: 8\nacceleration: 2\n"
    )

    def command(out: str) -> list[str]:
        words = [
            "finetune",
            "--prior",
            prior,
            "--data",
            cohort,
            "--out",
            tmp_path / out,
            "--config",
            config,
            "--device",
            "cpu",
        ]
        return [sys.executable, "-m", "cli", *map(str, words)]

    started = time.monotonic()
    subprocess.run(command("whole"), check=True, capture_output=True)
    length = time.monotonic() - started
    generator = np.random.default_rng(int(time.time()))
    killed = 0
    while killed < 5:
        process = subprocess.Popen(command("cut"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            code = process.wait(timeout=generator.uniform(0.3, 0.9) * length)
            assert code == 0
            break  # it got to its end between the kills
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            killed += 1
    assert killed >= 2
    subprocess.run(command("cut"), check=True, capture_output=True)
    name = "diffusion_pytorch_model.safetensors"
    assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "cut" / name).read_bytes()


def test_bad_scans_are_named_and_skipped_only_when_asked(cohort: Path, tmp_path: Path) -> None:
    truncated = cohort / "broken_FLAIR.h5"
    truncated.write_bytes((cohort / "new0_FLAIR.h5").read_bytes()[:3000])
    write_patient(cohort, "nan", "FLAIR", 9)
    with h5py.File(cohort / "nan_FLAIR.h5", "r+") as file:
        file["image"][1, 3, 3] = np.nan
    with pytest.raises(ReconError, match=r"broken_FLAIR\.h5.*--skip-bad"):
        gather(cohort, tmp_path / "prepared", skip_bad=False)
    patients, skipped = gather(cohort, tmp_path / "prepared", skip_bad=True)
    assert [patient.name for patient in patients] == [f"new{i}" for i in range(4)]
    assert len(skipped) == 2
    assert any("nan_FLAIR.h5" in reason for reason in skipped)


def test_command_line(prior: Path, cohort: Path, tmp_path: Path, run_cli: Callable[..., object]) -> None:
    words = ("finetune", "--prior", prior, "--data", cohort, "--out", tmp_path / "out", "--device", "cpu", "--json")
    outcome = run_cli(*words, "--rate", "1e-3", "--images", "8")
    assert outcome.code == 0, outcome.err  # type: ignore[attr-defined]
    assert outcome.json["images"] == 8
    assert outcome.json["epochs"] == pytest.approx(8 / 9)
    for extra, message in (
        (("--rate", "1e-3"), "rate and images go together"),
        (("--budget", "soon"), "not a duration"),
        (("--device", "abacus"), "choose cpu or cuda"),
    ):
        outcome = run_cli(*words, *extra)
        assert outcome.code == 2
        assert message in outcome.err


def test_a_scan_in_place_of_a_folder_is_called_a_file(
    prior: Path, cohort: Path, tmp_path: Path, run_cli: Callable[..., Any]
) -> None:
    words = ("--prior", prior, "--out", tmp_path / "out", "--device", "cpu")
    one = next(cohort.glob("*.h5"))
    for option, wrong in (("--data", one), ("--old-data", one), ("--data", tmp_path / "nowhere")):
        more = () if option == "--data" else ("--data", cohort)
        outcome = run_cli("finetune", *words, *more, option, wrong)
        assert (outcome.code, outcome.out) == (2, "")
        why = "a file, not a folder" if wrong == one else "no such folder"
        assert f"{wrong}: {why}; give the folder" in outcome.err


@given(
    costs=st.tuples(st.floats(1e-4, 1.0), st.floats(0.01, 100.0)),
    budget=st.floats(1.0, 1e5),
    patients=st.integers(4, 60),
)
@settings(max_examples=60, deadline=None)
def test_budget_is_kept_or_the_smallest_plan_says_so(costs: tuple[float, float], budget: float, patients: int) -> None:
    plan = whole_plan(FinetuneOptions(), patients, 8, 1e-3, 72_000)
    fitted = fit_budget(plan, Costs(*costs), budget, folds_fixed=False)
    assert fitted.seconds == pytest.approx(Costs(*costs).of(fitted))
    assert set(fitted.rates) <= set(plan.rates)
    assert set(fitted.lengths) <= set(plan.lengths)
    fits = fitted.seconds <= budget
    assert fits or (fitted.folds, len(fitted.rates), len(fitted.lengths)) == (1, 1, 1)
    assert fits == (not any("smallest plan" in entry for entry in fitted.left_out))
    assert bool(fitted.left_out) == (Costs(*costs).of(plan) > budget)


@pytest.mark.parametrize(("text", "seconds"), [("30m", 1800), ("2h", 7200), ("1h30m", 5400), ("90s", 90), ("45", 45)])
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@given(count=st.integers(2, 40), folds=st.integers(1, 8), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_folds_split_patients(count: int, folds: int, seed: int) -> None:
    from recon.finetuning.cohort import Patient

    patients = [Patient(f"p{i}", (), ()) for i in range(count)]
    if folds > count:
        return
    splits = split_folds(patients, folds, seed)
    held = [p.name for _, part in splits for p in part]
    for training, part in splits:
        assert {p.name for p in training} | {p.name for p in part} == {p.name for p in patients}
        assert not {p.name for p in training} & {p.name for p in part}
        assert training
        assert part
    assert len(held) == len(set(held))
    assert folds == 1 or len(held) == count


def test_choice_finds_the_interior_optimum_and_its_paired_error() -> None:
    generator = np.random.default_rng(0)
    patients = {f"p{i}": float(v) for i, v in enumerate(generator.uniform(0.05, 0.15, 12))}
    records = [Record(0, 0.0, 0, patients, (1.0,))]
    for rate, worse in ((1e-3, 1.0), (1e-4, 0.9), (1e-5, 0.97)):
        for images, factor in ((100, 1.02), (400, 1.0), (1600, 1.03)):
            scores = {n: v * worse * factor * (1 + generator.normal(0, 0.001)) for n, v in patients.items()}
            records.append(Record(0, rate, images, scores, (0.9,)))
    choice = choose(records, slices_per_epoch=50, acceleration=4)
    assert (choice.rate, choice.images, choice.interior) == (1e-4, 400, True)
    values = np.array(list(patients.values()))
    assert choice.best.gain == pytest.approx(0.1 * values.mean(), rel=0.02)
    assert choice.best.gain_error == pytest.approx(0.1 * values.std(ddof=1) / np.sqrt(12), rel=0.1)
    assert "8.0 epochs" in choice.explanation
    nothing = choose([records[0], Record(0, 1e-3, 100, {n: 1.1 * v for n, v in patients.items()}, (1.0,))], 50, 4)
    assert nothing.images == 0
    assert "kept unchanged" in nothing.explanation


def test_one_person_under_two_names_is_found_and_kept_together(tmp_path: Path) -> None:
    from recon.finetuning.cohort_checks import overlap, same_person

    for number in range(3):
        write_patient(tmp_path, f"p{number}", "FLAIR", number, size=64)
    write_patient(tmp_path, "copy", "FLAIR", 0, size=64)  # the same head again ...
    with h5py.File(tmp_path / "copy_FLAIR.h5", "r+") as file:  # ... measured anew: shifted, brighter, other noise
        noise = np.random.default_rng(5).normal(size=(3, 64, 64)) * 0.005
        file["image"][...] = 1.2 * np.roll(file["image"][...], (3, -2), (1, 2)) + noise
    scans = open_folder(tmp_path)
    assert [pair[:2] for pair in same_person(scans)] == [("copy", "p0")]
    patients, _ = gather(tmp_path, tmp_path / "prepared", skip_bad=False)
    merged = merge_persons(patients, [("copy", "p0")])
    assert [p.name for p in merged] == ["copy", "p1", "p2"]
    assert len(merged[0].scans) == 2
    left = [scan for scan in scans if scan.subject in ("copy", "p1")]
    right = [scan for scan in scans if scan.subject in ("p0", "p2")]
    assert len(overlap(left, right)) == 1
    assert "look like one person" in overlap(left, right)[0]
    assert "subject p1 is in training and in validation" in overlap(left, left)


def test_mismatch_warns_of_matrix_field_noise(cohort: Path) -> None:
    from recon.finetuning.cohort_checks import mismatch
    from recon.prior.provenance import seen_by

    scans = open_folder(cohort)
    seen = seen_by(scans)
    assert mismatch(scans, seen) == []
    assert "matrix 32x32" in mismatch(scans, {**seen, "matrix": [[10, 10], [12, 12]]})[0]
    assert "noise" in mismatch(scans, {**seen, "noise_sigma": [0.001, 0.002]})[0]
    strong = [replace(scan, header=replace(scan.header, field_strength_t=7.0)) for scan in scans]
    assert "field strength 7" in mismatch(strong, {**seen, "field_strength_t": [1.5, 3.0]})[0]
    assert "does not record" in mismatch(scans, None)[0]


def test_memorisation_check_tells_copies_from_new_images(tmp_path: Path) -> None:
    from recon.finetuning.memorisation import check_memorisation

    for number in range(12):
        write_patient(tmp_path / "train", f"p{number}", "FLAIR", number, slices=4, size=64)
    for number in range(50, 53):
        write_patient(tmp_path / "new", f"q{number}", "FLAIR", number, slices=4, size=64)
    training, new = open_folder(tmp_path / "train"), open_folder(tmp_path / "new")
    copies = torch.stack([scan.read(1).flip(-1) + 0.01 for scan in training])
    unseen = torch.stack([scan.read(k) for scan in new for k in range(4)])
    assert check_memorisation(copies, training).memorised
    assert not check_memorisation(unseen, training).memorised


def test_forgetting_is_measured(prior: Path) -> None:
    from recon.finetuning.cohort_checks import forgetting

    before, after = load_prior(prior), load_prior(prior)
    scans = open_folder(prior.parent / "data")
    assert forgetting(before.denoiser, after.denoiser, scans, before.facts.contrast_labels) == pytest.approx(
        {"T1": 1.0, "T2": 1.0}
    )
    with torch.no_grad():
        after.denoiser.network.conv_out.weight.mul_(3)  # type: ignore[union-attr, operator]
    assert min(forgetting(before.denoiser, after.denoiser, scans, before.facts.contrast_labels).values()) > 1.05


@pytest.mark.slow
def test_raw_scans_are_prepared_and_judged_with_their_own_coils(
    prior: Path, tmp_path: Path, run_cli: Callable[..., object]
) -> None:
    from recon.finetuning.validation import prepare_cases
    from recon.finetuning.validation_cases import validation_cases
    from recon.reconstruction.options import ReconstructionOptions

    words = ("simulate", "--out", tmp_path / "scans", "--subjects", 3, "--contrast", "FLAIR", "--stroke")
    assert run_cli(*words, "--size", "64,64", "--slices", 2, "--coils", 4).code == 0  # type: ignore[attr-defined]
    command = ("finetune", "--prior", prior, "--data", tmp_path / "scans", "--out", tmp_path / "out", "--device", "cpu")
    outcome = run_cli(*command, "--rate", "1e-3", "--images", "8", "--json")
    assert outcome.code == 0, outcome.err  # type: ignore[attr-defined]
    assert len(list((tmp_path / "out" / "prepared").glob("*.h5"))) == 3
    patients, _ = gather(tmp_path / "scans", tmp_path / "out" / "prepared", skip_bad=False)
    cases = prepare_cases(
        validation_cases(patients, 2.0, 1, 0), load_prior(prior), ReconstructionOptions(method="sense")
    )
    assert len(cases) == 3
    for entry in cases:
        assert not entry.case.simulated
        assert int(entry.case.scan.mask.sum()) < 0.65 * entry.case.scan.mask.size
        prepared = entry.prepared()
        image = prepared.problem.magnitude(entry.solver.solve(prepared).image)[0].numpy()
        reference = entry.case.reference
        error = np.linalg.norm(image - reference) / np.linalg.norm(reference)
        assert error < 0.3, "the reference is in the units of the reconstruction"
