"""A lesion that was erased must be seen locally, and noise must not; pairs that are none are pointed out."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from recon.encode.alike import why_unlike
from recon.encode.drift import measure_drift, view_reference
from recon.encode.encoders import load_encoder
from recon.encode.local_drift import local_drift
from recon.encode.noise import add_noise
from recon.encode.options import DriftOptions
from recon.encode.volumes import Series, onto_reference
from recon.errors import ReconError, ReconWarning

AFFINE = np.diag([1.5, 1.5, 4.0, 1.0])
SHAPE = (84, 84, 10)
LESION = (50, 40, 5)


def large_head(seed: int) -> np.ndarray:
    """Magnitude: a textured ellipsoid in noisy air, large enough that a lesion is few of its tokens."""
    generator = np.random.default_rng(seed)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    texture = gaussian_filter(generator.standard_normal(x.shape), (4, 4, 1))
    inside = x**2 / 0.8 + y**2 / 0.85 + z**2 / 1.6 < 1
    return add_noise(inside * (0.6 + 0.15 * texture / texture.std()), 0.02, generator)


@pytest.fixture(scope="module")
def head() -> np.ndarray:
    return large_head(0)


def with_lesion(head: np.ndarray, millilitres: float) -> np.ndarray:
    """The head with a bright ball of this volume."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in head.shape), indexing="ij"), axis=-1)
    distance = np.linalg.norm((index - np.array(LESION)) * np.diag(AFFINE)[:3], axis=-1)
    radius = (millilitres * 1000 * 3 / 4 / np.pi) ** (1 / 3)
    return (head * (1 + 0.5 / (1 + np.exp(np.clip((distance - radius) / 0.5, -50, 50))))).astype(np.float32)


@pytest.mark.parametrize("millilitres", [0.5, 2.5, 8.0])
def test_an_erased_lesion_is_outside_locally(head: np.ndarray, millilitres: float) -> None:
    """Audit F1: the mean calls it inside, for thousands of tokens did not move."""
    encoder = load_encoder("recon-small")
    options = DriftOptions(seed=3, replicas=8)
    series = Series(Path("reference.nii.gz"), with_lesion(head, millilitres), AFFINE, "phantom", noise_std=0.02)
    view = view_reference(encoder, series, options)
    erased = add_noise(head, 0.02, np.random.default_rng(1))  # with noise of its own, everywhere
    report = measure_drift(replace(series, values=erased), view, view, options)
    assert report.local is not None
    assert not report.local.inside
    assert report.local.ratio > 2 * max(report.local.noise_ratios)
    place = AFFINE[:3, :3] @ np.array(LESION)
    assert np.abs(np.array(report.local.place) - place).max() < 24
    assert report.local_verdict.startswith("locally OUTSIDE")


def test_noise_alone_is_outside_as_often_as_is_said() -> None:
    """Exchangeable distances: the false-alarm rate is 1 / (replicas + 1), whatever their distribution by token."""
    generator = torch.Generator().manual_seed(0)
    coords = torch.cartesian_prod(torch.arange(4), torch.arange(10), torch.arange(10))

    class Lattice:
        token_to_world = np.eye(4)

    alarms, rounds = 0, 1500
    for _ in range(rounds):
        scale = torch.rand(len(coords), generator=generator).exp().pow(3)
        drawn = scale * torch.randn((9, len(coords), 5), generator=generator).square().sum(-1)
        alarms += not local_drift(drawn[0], drawn[1:], coords, Lattice()).inside  # type: ignore[arg-type]
    assert alarms / rounds == pytest.approx(1 / 9, abs=3 * (1 / 9 * 8 / 9 / rounds) ** 0.5)


def test_the_same_image_is_inside(head: np.ndarray) -> None:
    encoder = load_encoder("recon-small")
    series = Series(Path("reference.nii.gz"), head, AFFINE, "phantom", noise_std=0.02)
    view = view_reference(encoder, series, DriftOptions(replicas=2))
    report = measure_drift(series, view, view, DriftOptions())
    assert report.local is not None
    assert report.local.inside
    assert report.local.ratio == 0


def test_units_are_warned_of_and_taken_out(head: np.ndarray) -> None:
    """Audit F5: 5 % of gain moved every token without a word."""
    encoder = load_encoder("recon-small")
    series = Series(Path("reference.nii.gz"), head, AFFINE, "phantom", noise_std=0.02)
    view = view_reference(encoder, series, DriftOptions(replicas=2))
    with pytest.warns(ReconWarning, match="off by a factor 1.05"):
        report = measure_drift(replace(series, values=1.05 * series.values), view, view, DriftOptions())
    assert report.intensity_scale == pytest.approx(1 / 1.05, rel=1e-4)
    assert report.scaled.token_distance < 1e-3 * report.drift.token_distance
    negative = replace(series, values=np.where(series.values < 0.01, -0.001, series.values).astype(np.float32))
    with pytest.warns(ReconWarning, match="of its values are negative"):
        measure_drift(negative, view, view, DriftOptions())


def test_pairs_that_are_none_are_pointed_out(head: np.ndarray) -> None:
    lopsided = with_lesion(head, 20.0)
    lopsided[:25] *= 0.3
    assert why_unlike(lopsided, lopsided, AFFINE) == ""
    assert "mirrored (left and right)" in why_unlike(lopsided[::-1], lopsided, AFFINE)
    assert "another person or slice" in why_unlike(np.roll(large_head(7), 30, 1), lopsided, AFFINE)


def test_an_estimated_noise_level_is_said_to_be_one(head: np.ndarray) -> None:
    series = Series(Path("export.nii.gz"), add_noise(head, 0.02, np.random.default_rng(0)), AFFINE, "NIfTI image")
    with pytest.warns(ReconWarning, match="noise level is estimated from the image"):
        view_reference(load_encoder("recon-small"), series, DriftOptions(replicas=2))


def test_grids_that_differ_in_their_origin_are_told_apart(head: np.ndarray) -> None:
    """Audit F7: the refusal printed the same text for both."""
    series = Series(Path("a.nii.gz"), head, AFFINE, "phantom")
    moved = AFFINE.copy()
    moved[:3, 3] = (10, 0, 0)
    with pytest.raises(ReconError, match=r"first voxel at \(10\.0, 0\.0, 0\.0\).*first voxel at \(0\.0, 0\.0, 0\.0\)"):
        onto_reference(replace(series, affine=moved), series)
