"""Study networks: any set of contrasts in any order, training that goes on, models on disk, acceleration."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from safetensors.torch import load_file, save_file

from recon.encode.probes.statistics import Interval
from recon.errors import ReconError
from recon.seeding import torch_generator
from recon.study.acceleration import AccelerationReport, AccelerationResult, what_acceleration_costs
from recon.study.contrasts import INPUTS
from recon.study.evaluation import RANDOM, evaluate, unseen_studies
from recon.study.figure import acceleration_figure
from recon.study.fit import fit_study_model
from recon.study.images import Reconstructions
from recon.study.network import random_network
from recon.study.options import AccelerationOptions, StudyEvaluationOptions
from recon.study.prediction import Prediction, entropy, predict
from recon.study.rejection import rejection_areas
from recon.study.samples import draw_batch, slices_of
from recon.study.scores import StudyScore, figures, lesion_groups, score
from recon.study.store import CODES, load_model
from recon.study.table import Study, of_first_persons
from recon.study.volume import StudyVolume
from tests.less_memory import a_gigabyte_left
from tests.study.conftest import SMALL

FLAIR, DWI, ADC = (INPUTS.index(name) for name in ("FLAIR", "DWI", "ADC"))


@pytest.fixture(scope="module")
def model(studies: list[Study], reconstructions: Reconstructions, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("model")
    assert fit_study_model(SMALL, studies, out, reconstructions).finished
    return out


@pytest.mark.parametrize("kind", ["variable", "fixed", "linear"])
def test_the_order_of_series_does_not_matter_and_their_names_do(kind: str) -> None:
    options = replace(SMALL.network, kind=kind)
    network = random_network(options, SMALL.grid, [FLAIR, DWI, ADC], torch_generator(1, "test"))
    slabs = torch.randn(2, 2, 1, 40, 40, generator=torch_generator(2, "test"))
    mask, detection = network(slabs, [FLAIR, ADC])
    assert mask.shape == (2, 40, 40)
    assert detection.shape == (2,)
    turned, _ = network(slabs.flip(1), [ADC, FLAIR])
    assert torch.allclose(mask, turned, atol=1e-4)
    renamed, _ = network(slabs, [FLAIR, DWI])
    assert not torch.allclose(mask, renamed, atol=1e-3)


def test_a_variable_network_has_no_tokens_for_what_is_missing() -> None:
    network = random_network(SMALL.network, SMALL.grid, [FLAIR, DWI, ADC], torch_generator(1, "test"))
    for count in (1, 2, 3):
        slabs = torch.zeros(1, count, 1, 40, 40)
        tokens, _ = network.input(slabs, [FLAIR, DWI, ADC][:count])  # type: ignore[operator]
        assert tokens.shape == (1, count, 25, 16)
    alone, _ = network(torch.ones(1, 1, 1, 40, 40), [FLAIR])
    with_zeros, _ = network(torch.cat([torch.ones(1, 1, 1, 40, 40), torch.zeros(1, 1, 1, 40, 40)], dim=1), [FLAIR, DWI])
    assert not torch.allclose(alone, with_zeros, atol=1e-3)


def test_a_slab_holds_what_the_study_shows_and_batches_depend_on_their_number_alone(volumes: list[StudyVolume]) -> None:
    slices = slices_of(volumes, SMALL.contrasts)
    first, again = draw_batch(slices, SMALL, 4), draw_batch(slices, SMALL, 4)
    assert torch.equal(first.slabs, again.slabs)
    assert not torch.equal(first.mask, draw_batch(slices, SMALL, 8).mask)
    assert torch.equal(first.lesion, first.mask.flatten(1).amax(1))
    drawn = {len(draw_batch(slices, SMALL, number).contrasts) for number in range(40)}
    assert drawn == {1, 2, 3}


def test_studies_of_different_contrasts_are_trained_on_together(volumes: list[StudyVolume]) -> None:
    few = [replace(one, contrasts=("FLAIR",), values=one.values[:1]) for one in volumes[:2]]
    others = [replace(one, contrasts=("DWI", "ADC"), values=one.values[1:]) for one in volumes[2:]]
    slices = slices_of([*few, *others], SMALL.contrasts)
    assert slices.contrasts == ("FLAIR", "DWI", "ADC")
    drawn = {draw_batch(slices, SMALL, number).contrasts for number in range(40)}
    assert drawn == {(FLAIR,), (DWI,), (ADC,), (DWI, ADC)}  # sets that some study has
    with pytest.raises(ReconError, match="has none of the contrasts"):
        slices_of([*few, *others], ("FLAIR",))


def test_an_interrupted_training_is_the_same_training(
    studies: list[Study], reconstructions: Reconstructions, model: Path, tmp_path: Path
) -> None:
    stopped = fit_study_model(SMALL, studies, tmp_path, reconstructions, stop_after=8)
    assert not stopped.finished
    assert not (tmp_path / "config.json").exists()
    assert fit_study_model(SMALL, studies, tmp_path, reconstructions).finished
    assert load_model(tmp_path).weights_sha256 == load_model(model).weights_sha256
    with pytest.raises(ReconError, match="other options"):
        fit_study_model(replace(SMALL, samples=20), studies, tmp_path, reconstructions)


def test_frozen_features_stay_as_they_were_drawn(
    studies: list[Study], reconstructions: Reconstructions, tmp_path: Path
) -> None:
    fit_study_model(replace(SMALL, frozen=True, samples=8), studies, tmp_path, reconstructions)
    fitted = load_model(tmp_path).network.state_dict()
    numbers = [INPUTS.index(name) for name in SMALL.contrasts]
    drawn = random_network(SMALL.network, SMALL.grid, numbers, torch_generator(0, "study-network", "variable"))
    changed = {name for name, value in drawn.state_dict().items() if not torch.equal(value, fitted[name])}
    assert changed == {"to_mask.weight", "to_mask.bias", "to_detection.weight", "to_detection.bias"}


def test_a_model_refuses_persons_that_it_has_seen(studies: list[Study], model: Path, tmp_path: Path) -> None:
    with pytest.raises(ReconError, match="at least two others"):
        unseen_studies(studies, [load_model(model)])
    with pytest.raises(ReconError, match="not a folder"):
        load_model(tmp_path / "absent")
    (tmp_path / "config.json").write_text('{"format": "other"}', encoding="utf-8")
    with pytest.raises(ReconError, match="no model of"):
        load_model(tmp_path)
    assert "Nothing" not in (model / "README.md").read_text("utf-8")
    assert "diagnosis" in (model / "README.md").read_text("utf-8")


def test_a_model_from_before_there_was_another_contrast_says_the_same(
    model: Path, volumes: list[StudyVolume], tmp_path: Path
) -> None:
    shutil.copytree(model, tmp_path / "older", ignore=shutil.ignore_patterns("kept"))
    tensors = load_file(model / "model.safetensors")
    tensors[CODES] = tensors[CODES][:7].contiguous()
    save_file(tensors, tmp_path / "older" / "model.safetensors")
    now, then = (predict(load_model(folder), volumes[0]) for folder in (model, tmp_path / "older"))
    assert np.array_equal(now.mask, then.mask)
    tensors[CODES] = tensors[CODES][0]
    save_file(tensors, tmp_path / "older" / "model.safetensors")
    with pytest.raises(ReconError, match="shape"):
        load_model(tmp_path / "older")


HOSTILE: list[tuple[str, dict[str, Any], str]] = [
    ("eval", {"network": {"width": 4096, "depth": 200, "heads": 2}}, "does not fit"),
    ("eval", {"network": {"stem": 4096}}, "does not fit"),
    ("eval", {"network": {"depth": 10**6}}, "at most 256"),
    ("eval", {"grid": {"matrix": [1024, 1024]}, "network": {"patch": 4}}, "tokens a slice"),
    ("eval-planes", {"network": {"width": 4096, "depth": 200, "heads": 2}}, "does not fit"),
    ("eval-planes", {"grid": {"matrix": [1024, 1024]}, "network": {"patch": 4}}, "tokens a slice"),
]


@pytest.mark.parametrize(("command", "asked", "message"), HOSTILE)
def test_a_configuration_that_asks_for_any_memory_is_refused_in_one_line(
    command: str, asked: dict[str, Any], message: str, tmp_path: Path, run_cli: Callable[..., Any]
) -> None:
    """With a gigabyte to take: the networks that are asked for have up to 160 GB."""
    fit: dict[str, Any] = {"contrasts": ["FLAIR"], **asked}
    form = {"eval": "recon-study-2", "eval-planes": "recon-study-planes-2"}[command]
    (tmp_path / "config.json").write_text(
        json.dumps({"format": form, "fit": fit, "contrasts": ["FLAIR"], "persons": []}), encoding="utf-8"
    )
    save_file({"whole": torch.ones(1, 64)}, tmp_path / "model.safetensors")
    with a_gigabyte_left():
        refused = run_cli("study", command, tmp_path, "--model", tmp_path)
    assert refused.code == 2
    assert message in refused.err
    assert refused.err.count("\n") == 1


def test_scores_are_what_they_say(volumes: list[StudyVolume]) -> None:
    volume = volumes[0]
    assert volume.lesion is not None
    exact = score(volume, Prediction(volume.lesion.astype(np.float32), 1.0), 0.5)
    assert (exact.dice, exact.volume_error_ml) == (1.0, 0.0)
    assert exact.mask_entropy_ml == pytest.approx(0.0, abs=1e-6)
    nothing = score(volume, Prediction(np.zeros(volume.lesion.shape, np.float32), 0.5), 0.5)
    assert nothing.dice == 0.0
    assert nothing.volume_error_ml == pytest.approx(volume.lesion_ml)
    assert nothing.detection_entropy == pytest.approx(1.0)
    assert entropy(np.array([0.5, 0.0, 1.0])) == pytest.approx([1.0, 0.0, 0.0], abs=1e-9)


def test_dice_is_told_by_the_size_and_the_age_of_lesions(volumes: list[StudyVolume], studies: list[Study]) -> None:
    assert {study.lesion_age for study in studies} == {"acute", None}  # as the manifest says
    assert volumes[0].lesion is not None
    one = score(volumes[0], Prediction(volumes[0].lesion.astype(np.float32), 1.0), 0.5)
    assert (one.lesion_ml, one.lesion_age) == (volumes[0].lesion_ml, "acute")
    sizes, ages = (0.5, 3.0, 3.0, 30.0), ("chronic", "acute", None, "acute")
    scores = [
        replace(one, person=f"p{number}", dice=0.2 * number, lesion_ml=size, lesion_age=age)
        for number, (size, age) in enumerate(zip(sizes, ages, strict=True))
    ]
    scores.append(replace(one, person="p9", lesion=False, dice=float("nan"), lesion_ml=0.0, lesion_age=None))
    found = {group.lesions: (group.studies, round(group.dice.value, 6)) for group in lesion_groups(scores, 20, 0)}
    assert found == {
        "below 1 mL": (1, 0.0), "1 to 5 mL": (2, 0.3), "above 20 mL": (1, 0.6), "at least 1 mL": (3, 0.4),
        "acute": (2, 0.4), "chronic": (1, 0.0),
    }  # fmt: skip


def test_changes_are_paired_and_count_from_the_other_condition() -> None:
    better = [StudyScore(f"p{n}", True, 0.5 + 0.04 * n, 1.0, 0.9, 0.0, 0.0) for n in range(8)]
    worse = [replace(one, dice=one.dice - 0.1) for one in better]
    found = figures(worse, better, 50, 0)
    assert found.changes is not None
    change = found.changes["dice"]  # the same in every person, so no resample moves it
    assert (change.value, change.low, change.high) == pytest.approx((-0.1, -0.1, -0.1))
    assert found.values["dice"].high - found.values["dice"].low > 0.05
    assert np.isnan(found.values["auc"].value)  # no study without a lesion


def test_rejection_gains_by_an_uncertainty_that_knows_the_errors_and_not_by_one_that_does_not() -> None:
    generator = np.random.default_rng(0)
    scores = []
    for number in range(40):
        lesion, wrong = number % 2 == 0, number % 5 == 0
        chance = float(np.clip((0.8 if lesion != wrong else 0.2) + 0.05 * generator.standard_normal(), 0.01, 0.99))
        scores.append(StudyScore(f"p{number}", lesion, 0.5, 0.0, chance, 2.0 if wrong else 1.0, 0.5))
    found = rejection_areas(scores, 50, 0)
    assert found["mask_entropy"].low > 0.05
    assert abs(found["maximum_probability"].value) < abs(found["mask_entropy"].value)  # ties: rejected in order
    assert np.isnan(rejection_areas(scores[::2], 50, 0)["mask_entropy"].value)


def test_models_are_compared_subset_by_subset(model: Path, volumes: list[StudyVolume]) -> None:
    loaded = load_model(model)
    results = evaluate([loaded, loaded], volumes, StudyEvaluationOptions(repeats=20))
    assert [r.subset for r in results[::2]] == [
        "all", "without FLAIR", "without DWI", "without ADC", "only FLAIR", "only DWI", "only ADC", RANDOM
    ]  # fmt: skip
    for result in results[1::2]:
        assert result.figures.changes is not None
        assert result.figures.changes["dice"].value == 0.0
    with pytest.raises(ReconError, match="none of them"):
        predict(loaded, volumes[0], ["T1"])


def test_acceleration_changes_the_accelerated_series_alone(studies: list[Study], model: Path, tmp_path: Path) -> None:
    assert {study.person for study in of_first_persons(studies, 2)} == {"icbm152-000", "icbm152-001"}
    chosen = [studies[0], studies[5]]  # one with a stroke, another person without
    options = AccelerationOptions(accelerations=(3.0,), methods=("zero-filled",), repeats=20)
    kept = Reconstructions(tmp_path)
    report = what_acceleration_costs(load_model(model), chosen, kept, options)
    assert report.series == ("FLAIR", "DWI")  # the ADC is accelerated with its DWI
    assert [result.series for result in report.results] == ["FLAIR", "DWI", "all"]
    for result in report.results:
        assert 1.5 < result.net_acceleration <= 3.0
        assert result.figures.changes is not None
        assert result.figures.changes["mask_entropy_ml"].value != 0.0
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert len(before) == 2 * 3 * 2  # complete and accelerated, three scans, two studies
    again = what_acceleration_costs(load_model(model), chosen, Reconstructions(tmp_path), options)
    assert again == report
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before
    with pytest.raises(ReconError, match="method 'magic' is unknown"):
        what_acceleration_costs(load_model(model), chosen, kept, replace(options, methods=("magic",)))


def test_the_words_of_the_figure_fit_on_it() -> None:
    one = figures([StudyScore(f"p{n}", n > 1, 0.5, 1.0, 0.1 * n, 0.0, 0.0) for n in range(4)], None, 20, 0)
    row = AccelerationResult("FLAIR", 4.0, 2.9, "zero-filled", replace(one, changes=one.values))
    note = (
        "Persons seen in training, studies semi-synthetic and simulated; bars: 95 % over persons, paired. "
        "Probabilities of a model, not a diagnosis."
    )
    figure = acceleration_figure(AccelerationReport(one, (row,), ("FLAIR",)), note)
    renderer = FigureCanvasAgg(figure).get_renderer()
    assert len(figure.texts) == 2
    assert len(figure.axes) == 3
    nameless = replace(
        row, figures=replace(row.figures, changes={**one.values, "auc": Interval(np.nan, np.nan, np.nan)})
    )
    assert len(acceleration_figure(AccelerationReport(one, (nameless,), ("FLAIR",)), note).axes) == 2  # no empty panel
    for text in figure.texts:
        assert text.get_window_extent(renderer).x1 < figure.bbox.x1


def test_the_commands_from_cohort_to_answer(
    cohorts: tuple[Path, Path], reconstructions: Reconstructions, run_cli: Callable[..., Any], tmp_path: Path
) -> None:
    """With the complete reconstructions that are there already, as a user's are after the first command."""
    listed = run_cli("study", "list", *cohorts, "--json")
    assert listed.code == 0
    assert listed.json["persons"] == 4
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "network: {width: 16, depth: 1, heads: 2, slab: 1, code: 2, stem: 4}\n"
        "grid: {pixel: 5.0, matrix: [40, 40]}\ncontrasts: [FLAIR, DWI, ADC]\nsamples: 8\nbatch: 4\n"
        "held_out_fraction: 0.5\nseed: 4\n",
        encoding="utf-8",
    )
    kept = ("--kept", reconstructions.folder)
    shared = ("--config", recipe, *kept)
    for kind in ("variable", "fixed"):
        fitted = run_cli("study", "fit", *cohorts, *shared, "--kind", kind, "--out", tmp_path / kind, "--json")
        assert fitted.code == 0, fitted.err
        assert fitted.json["persons"] + fitted.json["held_out_persons"] == 4
    judged = run_cli(
        "study", "eval", *cohorts, "--model", tmp_path / "variable", "--model", tmp_path / "fixed",
        *kept, "--repeats", 20,
    )  # fmt: skip
    assert judged.code == 0, judged.err
    assert judged.out.count("not a diagnosis") == 1
    answer = run_cli(
        "study", "accelerate", *cohorts, "--model", tmp_path / "variable", "--out", tmp_path / "answer",
        *kept, "--acceleration", 3, "--methods", "zero-filled", "--repeats", 20,
    )  # fmt: skip
    assert answer.code == 0, answer.err
    assert answer.out.count("not a diagnosis") == 1
    stored = json.loads((tmp_path / "answer" / "accelerate.json").read_text("utf-8"))
    assert [row["series"] for row in stored["results"]] == ["FLAIR", "DWI", "all"]
    assert stored["kinds"] == "simulated"
    assert answer.out.startswith("studies: simulated\n")
    assert (tmp_path / "answer" / "accelerate.png").stat().st_size > 10_000
    wrong = run_cli("study", "accelerate", *cohorts, "--model", tmp_path / "variable", "--out", tmp_path / "answer",
                    "--acceleration", 3, "--methods", "magic")  # fmt: skip
    assert wrong.code == 2
    assert "unknown" in wrong.err


def test_a_figure_that_there_is_none_of_is_a_dash_and_null(
    cohorts: tuple[Path, Path],
    reconstructions: Reconstructions,
    model: Path,
    tmp_path: Path,
    run_cli: Callable[..., Any],
) -> None:
    """Every study has a lesion: no AUC."""
    config = json.loads((model / "config.json").read_text("utf-8"))
    shutil.copytree(model, tmp_path / "unseen", ignore=shutil.ignore_patterns("kept"))
    (tmp_path / "unseen" / "config.json").write_text(json.dumps({**config, "persons": []}), encoding="utf-8")
    shared = (cohorts[0], "--model", tmp_path / "unseen", "--kept", reconstructions.folder, "--repeats", 20)
    accelerate = ("accelerate", "--out", tmp_path / "answer", "--acceleration", 2, "--methods", "zero-filled")
    for words in (("eval", "--subsets", "FLAIR"), accelerate):
        said = run_cli("study", words[0], *shared, *words[1:])
        assert said.code == 0, said.err
        assert "nan" not in said.out
        assert "\u2013" in said.out
    written = json.loads((tmp_path / "answer" / "accelerate.json").read_text("utf-8"))
    assert written["complete"]["values"]["auc"]["value"] is None
    assert "NaN" not in (tmp_path / "answer" / "accelerate.json").read_text("utf-8")
