"""Simulated people: what a reader of the images would expect, and reproducible draws."""

from typing import Any

import numpy as np
import pytest

from recon.errors import ReconError
from recon.seeding import numpy_generator
from recon.simulate.anatomy import CSF, WHITE
from recon.simulate.builtin_head import builtin_anatomy
from recon.simulate.imaging import contrast_image
from recon.simulate.lesions import draw_lesion
from recon.simulate.measurement import complex_image, draw_coils
from recon.simulate.options import TERRITORIES, SimulationOptions
from recon.simulate.prescription import HEIGHTS
from recon.simulate.subject import Subject, simulate_subject
from recon.simulate.territories import TERRITORY_SHARES, territory_masks


def _subject(seed: int = 0, heights: tuple[float, float] = HEIGHTS, **given: Any) -> Subject:
    generator = numpy_generator(seed, "test")
    options = SimulationOptions(**{"size": (96, 96), "slices": 6, **given})
    return simulate_subject(builtin_anatomy(), "someone", options, generator, heights=heights)


@pytest.fixture(scope="module")
def stroke() -> Subject:
    return _subject(4, stroke=True, territory="MCA", stage="acute")


def test_head_has_brain_skull_and_scalp(stroke: Subject):
    assert stroke.fractions is not None
    assert stroke.fractions.min() >= 0
    assert stroke.fractions.sum(0).max() < 1.02
    share = stroke.brain.mean()
    assert 0.15 < share < 0.5
    t1 = contrast_image(stroke, "T1", np.random.default_rng(0)).magnitude
    outside = ~stroke.brain
    assert t1[outside].max() > t1[stroke.brain].mean()  # scalp fat
    assert (t1[outside] < 0.05).mean() > 0.6  # air


def test_flair_shows_dark_fluid_and_a_bright_lesion(stroke: Subject):
    assert stroke.lesion is not None
    assert stroke.fractions is not None
    flair = contrast_image(stroke, "FLAIR", np.random.default_rng(1)).magnitude
    white = (stroke.fractions[WHITE] > 0.9) & (stroke.lesion.core < 0.01)
    fluid = stroke.brain & (stroke.fractions[CSF] > 0.95) & (stroke.lesion.core < 0.01)
    lesion = stroke.lesion.mask & (stroke.fractions[WHITE] > 0.9)
    assert flair[fluid].mean() < 0.3 * flair[white].mean()
    assert flair[lesion].mean() > 1.12 * flair[white].mean()
    diffusion = contrast_image(stroke, "DWI", np.random.default_rng(2)).magnitude
    assert diffusion[lesion].mean() > 1.3 * diffusion[white].mean()
    t2 = contrast_image(stroke, "T2", np.random.default_rng(2)).magnitude
    assert t2[fluid].mean() > 1.5 * t2[white].mean()


@pytest.mark.parametrize("territory", ["MCA", "ACA", "PCA", "lacunar", "cerebellar"])
def test_lesions_lie_in_brain_and_territory(territory: str):
    subject = _subject(9, stroke=True, territory=territory, slices=10)
    lesion = subject.lesion
    assert lesion is not None
    assert lesion.territory == territory
    assert lesion.mask.any()
    assert (subject.brain | ~lesion.mask).all()
    step = subject.voxel_size[0] * subject.voxel_size[1] * subject.voxel_size[2] / 1000
    assert lesion.volume == pytest.approx(lesion.mask.sum() * step)
    place = territory_masks(*subject.coordinates)[territory]
    # Borders are a person's own, a few millimetres from the nominal ones.
    assert place[lesion.mask].mean() > 0.6


def test_territories_do_not_overlap_and_cover_the_hemispheres():
    x, y, z = np.meshgrid(np.arange(-65, 66, 5.0), np.arange(-100, 71, 5.0), np.arange(-30, 76, 5.0), indexing="ij")
    masks = territory_masks(x, y, z)
    assert set(masks) == set(TERRITORY_SHARES) == set(TERRITORIES)
    count = sum(masks[name].astype(int) for name in ("MCA", "ACA", "PCA", "cerebellar"))
    assert count.max() == 1
    assert (count[(z > -20)] == 1).mean() > 0.9
    for mask in masks.values():
        np.testing.assert_array_equal(mask, mask[::-1])  # both sides


@pytest.mark.parametrize("territory", ["MCA", "lacunar"])
def test_lesions_have_the_volumes_of_strokes(territory: str):
    """Over many draws: never empty, lacunes below the 15 mm that define them, MCA infarcts of some 10 mL."""
    axes = (np.arange(-18, 60, 6.0), np.arange(75, -108, -2.0), np.arange(72, -73, -2.0))
    z, y, x = np.meshgrid(*axes, indexing="ij")
    coordinates = np.stack([x, y, z]).astype(np.float32)
    tissue = ((x / 68) ** 2 + ((y + 17) / 86) ** 2 + ((z - 12) / 66) ** 2 < 1).astype(np.float32)
    generator = np.random.default_rng(0)
    volumes = []
    for _ in range(12):
        lesion = draw_lesion(coordinates, tissue, (6.0, 2.0, 2.0), generator, territory)
        assert lesion.mask.any()
        assert lesion.core[lesion.mask].min() > 0.3
        assert lesion.core[~lesion.mask].max() < 0.75
        volumes.append(lesion.volume)
    low, high = (0.15, 3.0) if territory == "lacunar" else (0.8, 100.0)
    assert low < min(volumes) <= max(volumes) < high
    if territory == "MCA":
        assert 4 < np.median(volumes) < 30


def test_chronic_strokes_leave_a_cavity():
    large = [_subject(seed, stroke=True, territory="MCA", stage="chronic", slices=10).lesion for seed in range(30, 33)]
    biggest = max((lesion for lesion in large if lesion is not None), key=lambda lesion: lesion.volume)
    assert biggest.volume > 8
    assert biggest.cavity.max() > 0.9


def test_the_same_generator_gives_the_same_person():
    first, second, other = _subject(3, stroke=True), _subject(3, stroke=True), _subject(5, stroke=True)
    assert first.lesion is not None
    assert second.lesion is not None
    np.testing.assert_array_equal(first.fractions, second.fractions)
    np.testing.assert_array_equal(first.lesion.core, second.lesion.core)
    a, b = (contrast_image(s, "T2", np.random.default_rng(1)).magnitude for s in (first, second))
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first.brain, other.brain)


def test_phase_is_smooth_and_magnitude_is_kept(stroke: Subject):
    generator = np.random.default_rng(0)
    array = draw_coils(stroke, 4, generator)
    image, made = complex_image(stroke, "DWI", array, generator)
    np.testing.assert_allclose(np.abs(image), made.magnitude * array.shading, rtol=1e-3, atol=1e-5)
    bright = (np.abs(image[:, :, :-1]) > 0.1) & (np.abs(image[:, :, 1:]) > 0.1)
    step = np.angle(image[:, :, 1:] * image[:, :, :-1].conj())[bright]
    assert np.abs(step).max() < 0.8
    assert step.std() > 0.01


def test_geometry_is_right():
    subject = _subject(2, size=(96, 80), field_of_view=240.0, thickness=4.0, slices=5)
    assert subject.brain.shape == (5, 96, 80)
    assert subject.voxel_size == pytest.approx((2.5, 2.5, 4.0))
    columns = np.linalg.norm(subject.affine[:3, :3], axis=0)
    np.testing.assert_allclose(columns, subject.voxel_size)
    centre = subject.affine @ [48, 40, 2, 1]
    assert abs(centre[0]) < 15
    assert abs(centre[1] + 17) < 20
    assert -20 < centre[2] < 65


def test_what_cannot_be_simulated_is_refused():
    with pytest.raises(ReconError, match="choose 16 to 1024"):
        _subject(size=(8, 8))
    with pytest.raises(ReconError, match="cut the head"):
        _subject(size=(96, 48))
    with pytest.raises(ReconError, match="territory"):
        _subject(stroke=True, territory="cerebellar", heights=(40.0, 62.0))
