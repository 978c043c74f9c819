"""Made-up lesions of the augmentation: local, of any signal, and nothing where there is no head."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recon.configuration import load_config
from recon.errors import ReconError
from recon.prior.augmentation import augment, with_made_up_lesion
from recon.prior.options import AugmentationOptions, TrainingOptions

SHAPE = (64, 56)


def head(scale: int = 1) -> torch.Tensor:
    """A disc of signal with texture and a phase, air around it; its radius is 24 pixels times ``scale``."""
    rows, columns = np.mgrid[: scale * SHAPE[0], : scale * SHAPE[1]]
    inside = np.hypot(rows - 32 * scale, columns - 28 * scale) < 24 * scale
    magnitude = inside * (1 + 0.2 * np.sin(rows / 3) * np.cos(columns / 4))
    return torch.from_numpy((magnitude * np.exp(1j * (0.3 + columns / 40))).astype(np.complex64))


@given(seed=st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_a_lesion_changes_magnitude_in_one_place_and_nothing_else(seed: int) -> None:
    image = head(scale=3)
    changed = with_made_up_lesion(image, torch.Generator().manual_seed(seed))
    assert torch.isfinite(torch.view_as_real(changed)).all()
    assert (changed[image.abs() == 0] == 0).all()
    turned = changed * image.conj()
    assert turned.imag.abs().max() < 1e-4
    assert turned.real.min() > -1e-4
    there = (changed - image).abs() > 0.02 * image.abs().max()
    rows, columns = torch.nonzero(there, as_tuple=True)
    if len(rows):  # a radius of at most 14 pixels, roughened and stretched, in a head of 144
        assert rows.max() - rows.min() <= 72
        assert columns.max() - columns.min() <= 72
        assert there.sum() <= 0.12 * (image.abs() > 0).sum()


def test_lesions_are_bright_and_dark_small_and_large() -> None:
    image = head()
    contrasts, sizes = [], []
    for seed in range(200):
        change = with_made_up_lesion(image, torch.Generator().manual_seed(seed)).abs() - image.abs()
        there = change.abs() > 0.1
        sizes.append(int(there.sum()))
        contrasts.append(float(change[there].mean()) if there.any() else 0.0)
    assert 0.25 < np.mean(np.array(contrasts) > 0.1) < 0.75
    assert 0.15 < np.mean(np.array(contrasts) < -0.1) < 0.75
    assert min(size for size in sizes if size) < 30 < 300 < max(sizes)


def test_an_image_without_signal_stays_as_it_is() -> None:
    empty = torch.zeros(SHAPE, dtype=torch.complex64)
    assert torch.equal(with_made_up_lesion(empty, torch.Generator().manual_seed(0)), empty)


def test_the_option_says_how_many_images_get_one() -> None:
    image = head()
    every, some, none = (
        AugmentationOptions(flips=False, rotation=0, zoom=0, intensity=0, phase=0, lesions=part)
        for part in (1.0, 0.35, 0.0)
    )
    changed = [
        np.mean(
            [
                not torch.equal(augment(image, options, torch.Generator().manual_seed(seed)), image)
                for seed in range(300)
            ]
        )
        for options in (every, some, none)
    ]
    assert changed[0] > 0.97
    assert changed[1] == pytest.approx(0.35, abs=0.09)
    assert changed[2] == 0
    again = [augment(image, every, torch.Generator().manual_seed(5)) for _ in range(2)]
    assert torch.equal(*again)


@pytest.mark.parametrize("part", [-0.1, 1.5])
def test_a_part_is_between_nothing_and_all(part: float) -> None:
    with pytest.raises(ValueError, match="lesions"):
        AugmentationOptions(lesions=part)
    with pytest.raises(ReconError, match="lesions"):
        load_config(TrainingOptions, None, {"augmentation": {"lesions": part}})
