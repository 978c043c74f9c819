"""One image must not tell its arm: grey scale, levels, borders, sign, patient and orientation."""

import nibabel
import numpy as np
import pytest
from scipy import ndimage

from reader_study.export import export_study
from reader_study.pair_identity import PairIdentity
from reader_study.pixels import prepare
from reader_study.volumes import DisplayVolume
from recon.errors import ReconError, ReconWarning
from tests.reader_study.study_maker import PASSPHRASE, make_study


def volume(pixels: np.ndarray) -> DisplayVolume:
    return DisplayVolume(pixels.astype(np.float32), (5.0, 1.0, 1.0), "axial")


def arms_of_unequal_noise(cases, seed=0):
    """Standard with noise, and a smoother arm: what a reconstruction does."""
    rng = np.random.default_rng(seed)
    for _ in range(cases):
        smooth = ndimage.gaussian_filter(rng.uniform(20, 100, (3, 40, 40)), (0, 1, 1)) + 20
        yield {
            "noisy": volume(smooth + rng.normal(0, 9, smooth.shape)),
            "quiet": volume(smooth + rng.normal(0, 1, smooth.shape)),
        }


def test_no_image_reaches_the_end_of_the_scale():
    """Clipping at a pooled quantile told the noisier arm from one image."""
    rng = np.random.default_rng(1)
    tops = []
    for arms in arms_of_unequal_noise(20):
        made = prepare(arms, "C1", "as-is", rng).pixels
        assert max(image.max() for image in made.values()) < 4095
        tops.append(max(image.max() for image in made.values()))
    assert np.ptp(tops) > 200  # nor stops at a place of its own


def test_eight_bits_with_a_slope_a_slice_are_not_told_by_their_levels():
    rng = np.random.default_rng(2)
    whole = ndimage.gaussian_filter(rng.uniform(0, 100, (3, 60, 60)), (0, 1, 1)) + 50
    whole[2] *= 3
    slopes = np.array([0.5, 0.7, 1.9])[:, None, None]
    eight_bit = np.round(whole / slopes) * slopes
    made = prepare(
        {"soc": volume(eight_bit), "dm": volume(whole + rng.normal(0, 0.5, whole.shape))}, "C1", "as-is", rng
    )
    for index in range(3):
        levels = [np.unique(made.pixels[arm][index]).size for arm in ("soc", "dm")]
        assert max(levels) < 1.5 * min(levels), (index, levels)


def test_a_constant_border_of_one_arm_is_background_of_both():
    rng = np.random.default_rng(3)
    first, second = rng.uniform(10, 100, (2, 3, 20, 20))
    first[:, :2], first[:, :, -1] = 7, 3
    with pytest.warns(ReconWarning, match="Was one arm masked"):
        made = prepare({"a": volume(first), "b": volume(second)}, "case C1", "as-is", rng)
    for image in made.pixels.values():
        assert (image[:, :2] == 0).all()
        assert (image[:, :, -1] == 0).all()
        assert (image[:, 2:, :-1] > 0).all()


def test_signed_pixels_against_magnitudes_are_refused():
    rng = np.random.default_rng(4)
    real = rng.uniform(10, 100, (3, 20, 20))
    real[:, :8] = rng.normal(0, 5, (3, 8, 20))
    with pytest.raises(ReconError, match="arm 'dm' has negative pixels"):
        prepare({"soc": volume(np.abs(real)), "dm": volume(real)}, "case C1", "as-is", rng)


def head(rng, size=48):
    """A head of its own shape, with something on one side."""
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    image = np.stack([(np.hypot(x / rng.uniform(0.6, 0.9), y / 0.9) < 1) * 60.0 for _ in range(4)])
    for _ in range(6):
        place = rng.uniform(-0.5, 0.5, 2)
        image += 30 * (np.hypot(x - place[0], y - place[1]) < rng.uniform(0.1, 0.25))
    return ndimage.gaussian_filter(image, (0, 1, 1)) + 5


def test_another_patient_and_a_mirrored_arm_are_found():
    rng = np.random.default_rng(5)

    def noisy(image, level=3):
        return (image + rng.normal(0, level, image.shape)).astype(np.float32)

    heads = [head(rng) for _ in range(8)]
    good = PairIdentity()
    for index, image in enumerate(heads):
        good.add(f"C{index}", noisy(image, 9), noisy(image))
    good.check()
    wrong = PairIdentity()
    for index, image in enumerate(heads):  # every image of one arm from the next patient
        wrong.add(f"C{index}", noisy(image, 9), noisy(heads[index - 1]))
    with pytest.raises(ReconError, match=r"case C0: its two images look like different patients .*case C1 fits better"):
        wrong.check()
    one = PairIdentity()
    for index, image in enumerate(heads):
        one.add(f"C{index}", noisy(image, 9), noisy(head(rng) if index == 3 else image))
    with pytest.raises(ReconError, match="case C3"):
        one.check()
    for axis in range(1, 3):
        mirrored = PairIdentity()
        mirrored.add("C0", noisy(heads[0], 9), np.flip(noisy(heads[0]), axis))
        with pytest.raises(ReconError, match=r"case C0: the arms agree better with one of them flipped"):
            mirrored.check()
    other = PairIdentity()
    other.add("C0", rng.normal(size=(4, 9, 9)), rng.normal(size=(4, 9, 9)))
    with pytest.raises(ReconError, match="do not show the same thing"):
        other.check()


def test_a_mirrored_affine_stops_the_export(tmp_path):
    folder, images = make_study(tmp_path, cases=3)
    path = tmp_path / "images" / "dm" / "C002.nii"
    image = nibabel.load(path)
    nibabel.save(nibabel.Nifti1Image(np.array(image.dataobj), image.affine @ np.diag([-1.0, 1, 1, 1])), path)
    with pytest.raises(ReconError, match="case C002: the arms agree better with one of them flipped, left and right"):
        export_study(folder, images, PASSPHRASE, work_factor=2**4)
