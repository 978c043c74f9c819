"""Networks of two planes: what they are given, training that goes on, and detection with a plane missing."""

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
from recon.seeding import numpy_generator, torch_generator
from recon.study.examinations import (
    Examination,
    examinations,
    given_planes,
    has_lesion,
    names_by_plane,
    pairs_of,
)
from recon.study.images import Reconstructions
from recon.study.options import GridOptions, PlanesFitOptions, TransformerShape
from recon.study.plane_network import Planes, channels_of, random_plane_network
from recon.study.table import Study, find_studies
from recon.study.two_planes import PlanesRun, fit_planes, load_planes

SMALL = PlanesFitOptions(
    network=TransformerShape(width=16, depth=1, heads=2, patch=16),
    grid=GridOptions(pixel=5.0, matrix=(48, 48)),
    contrasts=("FLAIR", "T2STAR"),
    samples=12,
    batch=3,
    held_out_fraction=0.0,
    checkpoint_samples=3,
)
CONTRASTS = ("FLAIR", "T2STAR")


@pytest.fixture(scope="module")
def two_planes(both_planes: tuple[Path, Path]) -> list[Study]:
    return find_studies(both_planes)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Reconstructions:
    return Reconstructions(tmp_path_factory.mktemp("kept-planes"))


@pytest.fixture(scope="module")
def found(two_planes: list[Study], kept: Reconstructions) -> list[Examination]:
    return examinations(pairs_of(two_planes), kept, SMALL)


def test_examinations_hold_both_planes_of_one_person(found: list[Examination]) -> None:
    assert [one.lesion for one in found] == [True] * 3 + [False] * 3
    for one in found:
        assert set(one.values) == {"axial", "sagittal"}
        assert {volume.person for volume in one.values.values()} == {one.person}
        assert not np.allclose(one.values["axial"].values[0, 1], one.values["sagittal"].values[0, 1])


def test_what_was_not_measured_is_not_given(found: list[Examination]) -> None:
    names = names_by_plane(CONTRASTS, False)
    assert set(given_planes(found[0], names, ("axial", "sagittal"))) == {"axial", "sagittal"}
    (only,) = given_planes(found[0], names, ("sagittal",)).items()
    assert only[0] == "sagittal"
    assert only[1][0].shape == (2, 3, 48, 48)
    without = replace(found[0].values["axial"], contrasts=("T2STAR",), values=found[0].values["axial"].values[1:])
    volume, there = given_planes(replace(found[0], values={**found[0].values, "axial": without}), names, ("axial",))[
        "axial"
    ]
    assert there.tolist() == [0, 1]
    assert not volume[0].any()


def test_the_answer_uses_either_plane_and_the_indication() -> None:
    network = random_plane_network(SMALL.network, SMALL.grid, channels_of(CONTRASTS, False), torch_generator(1, "test"))
    generator = torch_generator(2, "test")
    both: Planes = {
        plane: (torch.randn(2, 3, 48, 48, generator=generator), torch.ones(2)) for plane in ("axial", "sagittal")
    }

    def logit(given: Planes) -> float:
        return float(network(given).lesion.detach())

    said = logit(both)
    for plane in ("axial", "sagittal"):
        changed: Planes = {**both, plane: (both[plane][0] + 0.5, both[plane][1])}
        assert logit(changed) != pytest.approx(said, abs=1e-5)
        assert logit({plane: both[plane]}) != pytest.approx(said, abs=1e-5)
    assert logit({**both, "axial": (both["axial"][0], torch.tensor([1.0, 0.0]))}) != pytest.approx(said, abs=1e-5)
    network({"axial": both["axial"]}).lesion.backward()
    assert network.encoders["sagittal"].absent.grad is not None


def test_an_interrupted_training_is_the_same_and_a_model_is_read_back(
    two_planes: list[Study], kept: Reconstructions, found: list[Examination], tmp_path: Path
) -> None:
    assert fit_planes(SMALL, two_planes, tmp_path / "once", kept).finished
    assert not fit_planes(SMALL, two_planes, tmp_path / "twice", kept, stop_after=6).finished
    assert fit_planes(SMALL, two_planes, tmp_path / "twice", kept).finished
    once, twice = load_planes(tmp_path / "once"), load_planes(tmp_path / "twice")
    assert once.weights_sha256 == twice.weights_sha256
    run = PlanesRun(SMALL, CONTRASTS, tmp_path / "once", alone())
    assert run.load()
    given = given_planes(found[0], names_by_plane(CONTRASTS, False), ("axial", "sagittal"))
    with torch.inference_mode():
        assert float(once.network(given).lesion) == pytest.approx(float(run.network(given).lesion), abs=1e-6)
    card = (tmp_path / "once" / "README.md").read_text("utf-8")
    assert "diagnosis" in card
    assert "| outlines | of 6 examinations, patch by patch, with weight 1 |" in card
    with pytest.raises(ReconError, match="no model of 'recon study fit-planes'"):
        load_planes(tmp_path)


STILL = replace(SMALL, contrast_dropout=0.0, plane_dropout=0.0, turn=0.0, zoom=0.0, shift=0.0, gain=0.0, batch=4)


def marked(found: list[Examination]) -> list[Examination]:
    """A bright square in the middle sagittal slice of those with a lesion, and its outline; none in axial slices."""
    changed = []
    for one in found:
        axial, sagittal = one.values["axial"], one.values["sagittal"]
        square = np.zeros(sagittal.values.shape[1:], bool)
        square[1, 18:26, 20:29] = one.lesion
        values = np.where(square, 6.0, sagittal.values).astype(np.float32)
        both = {"axial": replace(axial, lesion=np.zeros(axial.values.shape[1:], bool)),
                "sagittal": replace(sagittal, values=values, lesion=square)}  # fmt: skip
        changed.append(replace(one, values=both))
    return changed


def test_a_network_learns_from_outlines(found: list[Examination], tmp_path: Path) -> None:
    """A square in sagittal slices only: both parts of the loss fall far below those of guessing, log 2 each."""
    options, data = replace(STILL, samples=200, learning_rate=3e-3), marked(found)
    run = PlanesRun(options, CONTRASTS, tmp_path, alone())
    losses = [run.step(data) for _ in range(50)]
    assert np.mean(losses[-5:]) < 0.3 < np.log(2) < np.mean(losses[:3])
    bit = PlanesRun(replace(options, outline_weight=0.0), CONTRASTS, tmp_path, alone())
    bit.network.load_state_dict(run.network.state_dict())
    assert float(bit.loss_of(data).detach()) < 0.1


def test_without_weight_or_outlines_the_loss_is_that_of_the_bit(found: list[Examination], tmp_path: Path) -> None:
    def loss(weight: float, data: list[Examination]) -> float:
        run = PlanesRun(replace(STILL, outline_weight=weight), CONTRASTS, tmp_path, alone())
        return float(run.loss_of(data).detach())

    only = [one for one in found if one.lesion][:1]
    run = PlanesRun(STILL, CONTRASTS, tmp_path, alone())
    names = names_by_plane(CONTRASTS, False)
    logits = [run.network(given_planes(one, names, ("axial", "sagittal"))).lesion.detach() for one in only]
    bit = float(-torch.nn.functional.logsigmoid(logits[0]))
    mirrored = loss(0.0, only)  # half of the draws are mirrored, so the figure is near, not the same
    assert mirrored == pytest.approx(bit, rel=0.2)
    blind = [replace(one, values={p: replace(v, lesion=None) for p, v in one.values.items()}) for one in only]
    assert blind[0].outline("axial") is None
    assert loss(1.0, blind) == pytest.approx(mirrored, abs=1e-6)
    assert loss(1.0, only) > mirrored + 0.2
    assert loss(2.0, only) - mirrored == pytest.approx(2 * (loss(1.0, only) - mirrored), rel=1e-4)
    half = [replace(only[0], values={**only[0].values, "sagittal": blind[0].values["sagittal"]})]
    assert mirrored + 0.2 < loss(1.0, half) != pytest.approx(loss(1.0, only), abs=1e-5)
    clear = replace(blind[0], lesion=False)  # whoever has no lesion has none anywhere: nothing needs outlining
    assert not np.any(clear.outline("axial"))


def test_outlines_are_turned_mirrored_and_shifted_with_the_image(found: list[Examination], tmp_path: Path) -> None:
    """The image is the outline, so what the network sees must be what it is asked for."""
    (one,) = [one for one in marked(found) if one.lesion][:1]
    drawn = {
        plane: replace(volume, values=np.stack([volume.lesion.astype(np.float32)] * 2))
        for plane, volume in one.values.items()
        if volume.lesion is not None
    }
    options = replace(STILL, turn=30.0, zoom=0.2, shift=20.0)
    run = PlanesRun(options, CONTRASTS, tmp_path, alone())
    places = set()
    for number in range(6):
        shown = run._shown(replace(one, values=drawn), numpy_generator(number, "test"))
        seen, outline = shown.given["sagittal"][0], shown.outlines["sagittal"]
        assert torch.equal((seen[0] > 0.5).float(), outline)
        assert outline[1].sum() > 20
        places.add(tuple(outline[1].nonzero()[0].tolist()))
    assert len(places) > 3


def test_a_table_may_know_of_a_lesion_that_nobody_outlined(
    both_planes: tuple[Path, Path], kept: Reconstructions, tmp_path: Path
) -> None:
    rows = ["study,person,contrast,file,lesion,plane"]
    for name, lesion, plane in (
        ("icbm152-000", both_planes[0] / "icbm152-000_lesion.h5", "axial"), ("icbm152-000-SAG", "", "sagittal"),
        ("icbm152-001", "present", "axial"), ("icbm152-001-SAG", "present", "sagittal"),
        ("icbm152-002", "", "axial"), ("icbm152-002-SAG", "", "sagittal"),
    ):  # fmt: skip
        study = name.removesuffix("-SAG")
        rows.append(f"{study},{study},FLAIR,{both_planes[0] / f'{name}_FLAIR.h5'},{lesion},{plane}")
    table = tmp_path / "studies.csv"
    table.write_text("\n".join(rows) + "\n", encoding="utf-8")
    studies = find_studies([table])
    assert [study.shows_lesion for study in studies] == [True, None, True, True, None, None]
    assert not any(study.labelled for study in studies[1:])  # what is fitted on outlines leaves them out
    pairs = pairs_of(studies)
    assert [has_lesion(pair) for pair in pairs] == [True, True]
    first, second = examinations(pairs, kept, SMALL)
    assert (first.outline("sagittal"), second.outline("axial")) == (None, None)
    assert np.any(first.outline("axial"))


def test_resampled_series_are_channels_of_the_axial_encoder(two_planes: list[Study], kept: Reconstructions) -> None:
    options = replace(SMALL, resampled=True)
    (one,) = examinations(pairs_of(two_planes)[:1], kept, options)
    (volume,) = one.values.values()
    assert volume.contrasts == ("FLAIR", "T2STAR", "sagittal FLAIR", "sagittal T2STAR")
    inside = volume.values[1, 1] > volume.values[1, 1].min()
    both = inside & (volume.values[3, 1] > volume.values[3, 1].min())
    assert both.sum() > 100
    names = names_by_plane(CONTRASTS, True)
    assert given_planes(one, names, ("sagittal",))["axial"][1].tolist() == [0, 0, 1, 1]


def test_what_is_wrong_is_one_line(two_planes: list[Study]) -> None:
    with pytest.raises(ReconError, match="no study was measured in both planes"):
        pairs_of([study for study in two_planes if study.plane == "axial"])
    mixed = [study if study.plane == "axial" else replace(study, person="other") for study in two_planes]
    with pytest.raises(ReconError, match="one is right"):
        pairs_of(mixed)
    with pytest.raises(ValueError, match="takes both"):
        replace(SMALL, grid=replace(SMALL.grid, plane="sagittal"))
    assert load_config(PlanesFitOptions, "study-planes", {}).grid.matrix == (48, 48)
    assert load_config(PlanesFitOptions, "study-planes-gpu", {}).network.depth == 6


def test_the_commands(both_planes: tuple[Path, Path], run_cli: Callable[..., Any], tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "network: {width: 16, depth: 1, heads: 2, patch: 16}\ngrid: {pixel: 5.0, matrix: [48, 48]}\n"
        "contrasts: [FLAIR, T2STAR]\nsamples: 6\nbatch: 3\nheld_out_fraction: 0.6\nseed: 1\n",
        encoding="utf-8",
    )
    shared = ("--config", recipe, "--kept", tmp_path / "kept")
    for name, flags in (("own", ()), ("resampled", ("--resampled",))):
        fitted = run_cli("study", "fit-planes", *both_planes, *shared, *flags, "--out", tmp_path / name, "--json")
        assert fitted.code == 0, fitted.err
        assert fitted.json["finished"]
    again = run_cli("study", "fit-planes", *both_planes, *shared, "--out", tmp_path / "own")
    assert f"trained on {fitted.json['samples']} examinations from" in again.out
    judged = run_cli(
        "study", "eval-planes", *both_planes, "--model", tmp_path / "own", "--model", tmp_path / "resampled", "--kept",
        tmp_path / "kept", "--repeats", 20, "--json",
    )  # fmt: skip
    assert judged.code == 0, judged.err
    assert [row["condition"] for row in judged.json["results"]] == ["both planes", "axial only", "sagittal only"] * 2
    assert judged.json["results"][0]["change"] is None
    assert judged.json["results"][3]["change"] is not None
    refused = run_cli("study", "eval", *both_planes, "--model", tmp_path / "own", "--kept", tmp_path / "kept")
    assert (refused.code, "no model of" in refused.err) == (2, True)
    stored = json.loads((tmp_path / "own" / "config.json").read_text("utf-8"))
    assert stored["format"] == "recon-study-planes-2"
