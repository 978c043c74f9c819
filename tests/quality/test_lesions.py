"""Lesion metrics in closed form."""

import math

import numpy as np
import pytest

from recon.errors import ReconError
from recon.quality.lesions import evaluate_lesions, lesion_mask, perilesional_ring


def brain() -> tuple[np.ndarray, np.ndarray]:
    image = np.full((2, 40, 36), 100.0)
    image[:, :, :4] = 0.5  # air
    lesion = np.zeros(image.shape, bool)
    lesion[0, 15:22, 14:20] = True
    image[lesion] = 150
    return image, lesion


def test_contrast_and_its_error():
    reference, lesion = brain()
    image = reference.copy()
    image[lesion] = 140
    found = evaluate_lesions(image, reference, lesion)
    assert found.contrast_reference == pytest.approx(0.5)
    assert found.contrast == pytest.approx(0.4)
    assert found.contrast_error == pytest.approx(0.2)
    assert found.nrmse == pytest.approx(10 / 150)
    assert found.pixels == 42
    # a common factor changes no contrast but is an error of the image
    brighter = evaluate_lesions(1.1 * reference, reference, lesion)
    assert brighter.contrast_error == pytest.approx(0)
    assert brighter.nrmse == pytest.approx(0.1)


def test_contrast_to_noise_counts_the_spread_around_the_lesion():
    reference, lesion = brain()
    noise = np.random.default_rng(0).normal(size=reference.shape)
    found = evaluate_lesions(reference + 5 * noise, reference + 2.5 * noise, lesion)
    assert found.contrast_to_noise == pytest.approx(50 / 5, rel=0.15)
    assert found.contrast_to_noise_reference == pytest.approx(50 / 2.5, rel=0.15)


def test_ring_lies_around_the_lesion_in_its_slice_without_air():
    reference, lesion = brain()
    lesion[0, 15:22, 4:10] = True  # reaches the air
    ring = perilesional_ring(lesion, reference)
    assert ring[0].any()
    assert not ring[1].any()
    assert not (ring & lesion).any()
    assert not ring[0, :, :4].any()
    assert not ring[0, 14, 14]  # the first pixel outside is left out: masks are not exact to a pixel


def test_masks_come_as_booleans_labels_or_probabilities():
    assert lesion_mask(np.array([[0.2, 0.7]])).tolist() == [[[False, True]]]
    assert lesion_mask(np.array([[0, 3]], np.uint8)).tolist() == [[[False, True]]]
    with pytest.raises(ReconError, match="expected"):
        lesion_mask(np.array(["a"]))
    with pytest.raises(ReconError, match="NaN"):
        lesion_mask(np.full((4, 4), np.nan))


def test_what_cannot_be_measured():
    reference, lesion = brain()
    with pytest.raises(ReconError, match="lesion mask is empty"):
        evaluate_lesions(reference, reference, np.zeros_like(lesion))
    with pytest.raises(ReconError, match="different grids"):
        evaluate_lesions(reference, reference, lesion[:, 1:])
    with pytest.raises(ReconError, match="image: NaN"):
        evaluate_lesions(np.full_like(reference, np.nan), reference, lesion)
    everywhere = evaluate_lesions(reference, reference, np.ones_like(lesion))
    assert math.isnan(everywhere.contrast)  # no tissue is left around it
    assert everywhere.nrmse == 0
