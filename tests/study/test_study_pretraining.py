"""Masked pre-training, trainings that begin with other weights, sets of contrasts, and slabs of faster scans."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recon.configuration import load_config
from recon.errors import ReconError
from recon.processes import alone
from recon.seeding import torch_generator
from recon.study.contrasts import INPUTS
from recon.study.evaluation import evaluate, unseen_studies
from recon.study.faster import as_if_faster
from recon.study.fit import fit_study_model
from recon.study.images import Reconstructions
from recon.study.masking import Hidden, hide, masked_loss, random_masked_network
from recon.study.network import random_network
from recon.study.options import StudyEvaluationOptions, StudyFitOptions, StudyPretrainingOptions
from recon.study.placing import placed_otherwise
from recon.study.pretraining import pretrain_study_model
from recon.study.protocols import by_protocol, contrast_set, with_contrasts
from recon.study.start import begin_with, load_start
from recon.study.store import load_model, person_hash
from recon.study.table import Study
from recon.study.volume import StudyVolume
from tests.study.conftest import SMALL

HIDING = StudyPretrainingOptions(
    network=SMALL.network, grid=SMALL.grid, contrasts=SMALL.contrasts, samples=16, batch=4, held_out_fraction=0.0,
    checkpoint_samples=4,
)  # fmt: skip
FLAIR = INPUTS.index("FLAIR")
NUMBERS = [INPUTS.index(name) for name in SMALL.contrasts]


@pytest.fixture(scope="module")
def encoder(studies: list[Study], reconstructions: Reconstructions, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("encoder")
    unknown = [replace(study, lesion=None, labelled=False) for study in studies]  # no outline is needed
    assert pretrain_study_model(HIDING, unknown, out, reconstructions).finished
    return out


@pytest.mark.parametrize("count", [1, 2, 3])
def test_what_is_hidden_is_not_seen_whatever_the_number_of_series(count: int) -> None:
    masked = random_masked_network(HIDING, NUMBERS, torch_generator(0, "test"))
    slabs = torch.randn(2, count, 1, 40, 40, generator=torch_generator(1, "test"))
    hidden = hide(2, 25 * count, 0.7, torch_generator(2, "test"))
    assert abs(hidden.visible - 0.3 * 25 * count) <= 0.5
    told, true = masked(slabs, NUMBERS[:count], hidden)
    assert told.shape == true.shape == (2, count, 25, 64)
    patches = slabs.view(2, count, 5, 8, 5, 8).transpose(3, 4).reshape(2, 25 * count, 8, 8).clone()
    for sample in range(2):
        patches[sample, hidden.order[sample, hidden.visible :]] += 5.0
    other = patches.view(2, count, 5, 5, 8, 8).transpose(3, 4).reshape(slabs.shape)
    assert torch.allclose(masked(other, NUMBERS[:count], hidden)[0], told, atol=1e-5)
    for sample in range(2):
        patches[sample, hidden.order[sample, : hidden.visible]] += 5.0
    seen = patches.view(2, count, 5, 5, 8, 8).transpose(3, 4).reshape(slabs.shape)
    assert not torch.allclose(masked(seen, NUMBERS[:count], hidden)[0], told, atol=1e-2)


def test_the_loss_is_that_of_hidden_patches_of_the_head() -> None:
    true = torch.randn(1, 2, 3, 4, generator=torch_generator(0, "test"))
    true[0, 1, 2] = -1.4  # air
    hidden = Hidden(torch.tensor([[0, 1, 2, 3, 4, 5]]), 4)  # the last two are hidden, one of them is air
    told = true.clone()
    told[0, 0] += 9.0
    told[0, 1, 2] += 9.0
    assert float(masked_loss(told, true, hidden, alone())) == 0.0
    told[0, 1, 1] += 2.0
    assert float(masked_loss(told, true, hidden, alone())) == pytest.approx(4.0)


def test_an_interrupted_pretraining_is_the_same_pretraining(
    studies: list[Study], reconstructions: Reconstructions, encoder: Path, tmp_path: Path
) -> None:
    assert not pretrain_study_model(HIDING, studies, tmp_path, reconstructions, stop_after=8).finished
    assert not (tmp_path / "config.json").exists()
    assert pretrain_study_model(HIDING, studies, tmp_path, reconstructions).finished
    assert load_start(tmp_path).weights_sha256 == load_start(encoder).weights_sha256
    assert "diagnosis" in (tmp_path / "README.md").read_text("utf-8")


def test_a_training_begins_with_what_was_pretrained_and_draws_the_rest(encoder: Path) -> None:
    start = load_start(encoder)
    network = random_network(SMALL.network, SMALL.grid, NUMBERS, torch_generator(5, "test"))
    drawn = {name: value.clone() for name, value in network.state_dict().items()}
    begin_with(network, start, SMALL.network, SMALL.grid)
    for name, value in network.state_dict().items():
        pixels = name.startswith(("input.stem", "input.features", "decoder", "to_"))
        assert torch.equal(value, drawn[name] if pixels else start.tensors[name]), name
    with pytest.raises(ReconError, match="another network"):
        begin_with(network, start, replace(SMALL.network, width=24), SMALL.grid)
    with pytest.raises(ReconError, match="another grid"):
        begin_with(network, start, SMALL.network, replace(SMALL.grid, pixel=4.0))
    fixed = replace(SMALL.network, kind="fixed")
    other = random_network(fixed, SMALL.grid, NUMBERS[:2], torch_generator(5, "test"))
    misshapen = replace(start, network=fixed, tensors={"input.stem.weight": torch.zeros(4, 3, 3, 3)})
    with pytest.raises(ReconError, match="has another shape"):
        begin_with(other, misshapen, fixed, SMALL.grid)


def test_a_model_has_seen_whom_its_start_has_seen(
    studies: list[Study], reconstructions: Reconstructions, encoder: Path, tmp_path: Path
) -> None:
    few = replace(SMALL, persons=1, samples=8)
    alone = fit_study_model(few, studies, tmp_path / "alone", reconstructions)
    assert alone.persons == 1
    assert len(unseen_studies(studies, [load_model(tmp_path / "alone")])) == 6
    fit_study_model(few, studies, tmp_path / "begun", reconstructions, start=load_start(encoder))
    begun = load_model(tmp_path / "begun")
    assert begun.persons == {person_hash(study.person) for study in studies}
    assert begun.weights_sha256 != load_model(tmp_path / "alone").weights_sha256
    assert "began with" in (tmp_path / "begun" / "README.md").read_text("utf-8")
    again = fit_study_model(few, studies, tmp_path / "again", reconstructions, start=load_start(tmp_path / "begun"))
    assert again.finished  # a fitted model is a start, too
    with pytest.raises(ReconError, match="another start"):
        fit_study_model(few, studies, tmp_path / "begun", reconstructions)


def test_starts_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ReconError, match="not a folder"):
        load_start(tmp_path / "absent")
    (tmp_path / "config.json").write_text('{"format": "other"}', encoding="utf-8")
    with pytest.raises(ReconError, match="no model of"):
        load_start(tmp_path)
    (tmp_path / "config.json").write_text('{"format": "recon-study-2", "fit": {}}', encoding="utf-8")
    with pytest.raises(ReconError, match="damaged"):
        load_start(tmp_path)
    with pytest.raises(ValueError, match="only a variable network"):
        StudyPretrainingOptions(network=replace(SMALL.network, kind="fixed"))
    with pytest.raises(ValueError, match=r"hidden 1\.0"):
        StudyPretrainingOptions(hidden=1.0)


def test_each_person_is_seen_with_one_protocol(volumes: list[StudyVolume]) -> None:
    seen = by_protocol(volumes, ("FLAIR", "DWI+ADC"))
    sets = {person: {v.contrasts for v in seen if v.person == person} for person in {v.person for v in seen}}
    assert sorted(sets.values(), key=str) == [{("DWI", "ADC")}] * 2 + [{("FLAIR",)}] * 2
    for before, after in zip(volumes, seen, strict=True):
        rows = [before.contrasts.index(name) for name in after.contrasts]
        assert np.array_equal(after.values, before.values[rows])
    assert contrast_set("adc + dwi") == ("DWI", "ADC")
    for words in ("FLAIR+FLAIR", "FLAIR+PET", ""):
        with pytest.raises(ReconError, match="set of contrasts"):
            contrast_set(words)
    with pytest.raises(ReconError, match="has no T2"):
        with_contrasts(volumes[0], ("T2", "FLAIR"))


def test_sets_of_contrasts_are_judged_as_they_are_named(
    studies: list[Study], volumes: list[StudyVolume], reconstructions: Reconstructions, tmp_path: Path
) -> None:
    options = replace(SMALL, protocols=("FLAIR", "DWI+ADC"))
    assert fit_study_model(options, studies, tmp_path, reconstructions).contrasts == ("FLAIR", "DWI", "ADC")
    model = load_model(tmp_path)
    asked = StudyEvaluationOptions(subsets=("FLAIR+ADC", "FLAIR+DWI+ADC"), repeats=20)
    assert [result.subset for result in evaluate([model], volumes, asked)] == ["FLAIR+ADC", "FLAIR+DWI+ADC"]
    with pytest.raises(ReconError, match="not all studies and models have T1"):
        evaluate([model], volumes, replace(asked, subsets=("T1+FLAIR",)))


def test_a_faster_scan_is_blurred_and_ghosted_and_diffusion_with_one_mask() -> None:
    columns = np.linspace(-1, 1, 64, dtype=np.float32)
    head = np.tile(np.clip(1 - columns**2 * 2, 0, 1), (2, 1, 40, 1)) + 0.5 * (np.abs(columns) < 0.2)
    slab = (np.concatenate([head, head, head]) - 1.4).astype(np.float32)
    slab = slab[:3].reshape(3, 1, 40, 64)
    contrasts = ("FLAIR", "DWI", "ADC")
    assert np.array_equal(as_if_faster(slab, contrasts, 0.0, np.random.default_rng(0)), slab)
    changed = as_if_faster(slab, contrasts, 1.0, np.random.default_rng(0))
    assert changed.dtype == np.float32
    assert np.array_equal(changed[1], changed[2])
    assert not np.array_equal(changed[0], changed[1])
    for after, before in zip(changed, slab, strict=True):
        assert 1e-3 < np.abs(after - before).mean() < 0.5
        assert after.min() >= before.min() - 1e-5  # still a magnitude


def test_a_head_is_placed_otherwise_with_its_outline() -> None:
    masks = torch.zeros(3, 72, 64)
    masks[:, 20:30, 10:20] = 1
    slabs = (2 * masks - 1)[:, None, None].repeat(1, 2, 3, 1, 1)
    generator = np.random.default_rng(0)
    for turn, zoom, shift in ((180.0, 0.0, 0.0), (0.0, 0.5, 0.0), (0.0, 0.0, 9.0), (30.0, 0.2, 9.0)):
        options = replace(StudyFitOptions(), turn=turn, zoom=zoom, shift=shift)
        moved, outlines = placed_otherwise(slabs, masks, options, generator)
        assert not torch.equal(outlines, masks)
        assert torch.equal((moved[:, 1, 2] > 0).float(), outlines)  # the outline goes where the lesion goes
        if not zoom:
            assert (outlines.sum(dim=(1, 2)) - 100).abs().max() < 8  # a turn is one in millimetres, pixels are square
    still = replace(StudyFitOptions(), turn=0.0, zoom=0.0, shift=0.0)
    assert placed_otherwise(slabs, masks, still, generator)[0] is slabs
    with pytest.raises(ValueError, match="at most 180 degrees"):
        StudyFitOptions(turn=200.0)


def test_the_recipes_fit_one_another_and_make_networks() -> None:
    fitted = load_config(StudyFitOptions, "study", {})
    hiding = load_config(StudyPretrainingOptions, "study-pretraining", {})
    assert (hiding.network, hiding.grid, hiding.contrasts) == (fitted.network, fitted.grid, fitted.contrasts)
    large = load_config(StudyFitOptions, "study-gpu", {})
    network = random_network(large.network, large.grid, NUMBERS, torch_generator(0, "test"))
    with torch.inference_mode():
        mask, detection = network(torch.zeros(1, 1, 3, 144, 128), [FLAIR])
    assert (mask.shape, detection.shape) == ((1, 144, 128), (1,))


def test_pretraining_by_command(cohorts: tuple[Path, Path], run_cli: Callable[..., Any], tmp_path: Path) -> None:
    shape = (
        "network: {width: 16, depth: 1, heads: 2, slab: 1, code: 2, stem: 4}\n"
        "grid: {pixel: 5.0, matrix: [40, 40]}\ncontrasts: [FLAIR, DWI, ADC]\nsamples: 8\nbatch: 4\n"
        "held_out_fraction: 0.5\nseed: 4\n"
    )
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(shape, encoding="utf-8")
    shared = ("--config", recipe, "--kept", tmp_path / "kept")
    started = run_cli("study", "pretrain", *cohorts, *shared, "--out", tmp_path / "encoder", "--dry-run", 1, "--json")
    assert (started.code, started.json["finished"]) == (0, False)
    done = run_cli("study", "pretrain", *cohorts, *shared, "--out", tmp_path / "encoder", "--json")
    assert (done.code, done.json["finished"], done.json["samples"]) == (0, True, 8)
    stored = json.loads((tmp_path / "encoder" / "config.json").read_text("utf-8"))
    assert stored["format"] == "recon-study-pretraining-1"
    fitted = run_cli(
        "study", "fit", *cohorts, *shared, "--from", tmp_path / "encoder", "--out", tmp_path / "model", "--persons", 1
    )
    assert fitted.code == 0, fitted.err
    judged = run_cli(
        "study", "eval", *cohorts, "--model", tmp_path / "model", "--kept", tmp_path / "kept", "--repeats", 20,
        "--subsets", "FLAIR,DWI+ADC", "--json",
    )  # fmt: skip
    assert [row["subset"] for row in judged.json["results"]] == ["FLAIR", "DWI+ADC"]
    refused = run_cli("study", "eval", *cohorts, "--model", tmp_path / "encoder", "--kept", tmp_path / "kept")
    assert refused.code == 2
    assert "no model of" in refused.err
