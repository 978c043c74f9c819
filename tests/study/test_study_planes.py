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
from recon.seeding import torch_generator
from recon.study.images import Reconstructions
from recon.study.options import GridOptions, PlanesFitOptions, TransformerShape
from recon.study.plane_network import Planes, channels_of, random_plane_network
from recon.study.table import Study, find_studies
from recon.study.two_planes import (
    Examination,
    PlanesRun,
    examinations,
    fit_planes,
    given_planes,
    load_planes,
    names_by_plane,
    pairs_of,
)

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
        return float(network(given).detach())

    said = logit(both)
    for plane in ("axial", "sagittal"):
        changed: Planes = {**both, plane: (both[plane][0] + 0.5, both[plane][1])}
        assert logit(changed) != pytest.approx(said, abs=1e-5)
        assert logit({plane: both[plane]}) != pytest.approx(said, abs=1e-5)
    assert logit({**both, "axial": (both["axial"][0], torch.tensor([1.0, 0.0]))}) != pytest.approx(said, abs=1e-5)
    loss = network({"axial": both["axial"]})
    loss.backward()
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
        assert float(once.network(given)) == pytest.approx(float(run.network(given)), abs=1e-6)
    card = (tmp_path / "once" / "README.md").read_text("utf-8")
    assert "diagnosis" in card
    with pytest.raises(ReconError, match="no model of 'recon study fit-planes'"):
        load_planes(tmp_path)


def test_a_network_learns_what_can_be_learned(found: list[Examination], tmp_path: Path) -> None:
    """A square in sagittal slices only: the loss falls far below that of guessing."""
    marked = []
    for one in found:
        sagittal = one.values["sagittal"]
        values = sagittal.values.copy()
        values[1, 1, 16:32, 16:32] = 8.0 if one.lesion else 0.0
        marked.append(replace(one, values={**one.values, "sagittal": replace(sagittal, values=values)}))
    options = replace(
        SMALL,
        samples=120,
        batch=4,
        learning_rate=3e-3,
        contrast_dropout=0.0,
        plane_dropout=0.0,
        turn=0,
        zoom=0,
        shift=0,
    )
    run = PlanesRun(options, CONTRASTS, tmp_path, alone())
    losses = [run.step(marked) for _ in range(20)]
    assert np.mean(losses[-5:]) < 0.35 < np.mean(losses[:3])


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
    assert load_config(PlanesFitOptions, "study-planes", {}).grid.matrix == (64, 64)
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
    assert stored["format"] == "recon-study-planes-1"
