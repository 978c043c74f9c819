"""A whole interaction: what a perfect segmenter needs, curves, segmenters on an image that they can do."""

from dataclasses import replace

import numpy as np
import pytest

from recon.errors import ReconError
from recon.interactive.clicks import Click
from recon.interactive.options import InteractiveOptions
from recon.interactive.prompt import Prompt, marked, working_box
from recon.interactive.segmenters import chosen_segmenters
from recon.interactive.session import _answer, interact

OPTIONS = InteractiveOptions(clicks=6)
SPACING = (5.0, 1.0, 1.0)


def lesion(shape: tuple[int, int, int] = (3, 40, 40)) -> tuple[np.ndarray, np.ndarray]:
    rows, columns = np.mgrid[: shape[1], : shape[2]]
    truth = np.zeros(shape, bool)
    truth[1] = np.hypot(rows - 18, columns - 22) < 6
    truth[2] = np.hypot(rows - 18, columns - 22) < 4
    image = np.where(truth, 2.0, 1.0) + 0.02 * np.random.default_rng(1).normal(size=shape)
    return image.astype(np.float32), truth


def run(segment, options=OPTIONS, image=None, truth=None):
    made, outline = lesion()
    image, truth = made if image is None else image, outline if truth is None else truth
    return interact(image, truth, SPACING, segment, options, np.random.default_rng(0))


def test_a_perfect_segmenter_needs_one_click_in_the_volume_and_one_a_slice() -> None:
    _, truth = lesion()
    volume = run(lambda prompt: truth, replace(OPTIONS, slicewise=False))
    assert len(volume.clicks) == 1
    assert volume.dice == (1.0,) * 6
    slices = iter((truth[1:2], truth[2:3]))  # the larger one is clicked first
    found = run(lambda prompt: next(slices))
    assert [click.index[0] for click in found.clicks] == [1, 2]
    assert found.dice[0] < 1
    assert found.dice[1:] == (1.0,) * 5


def test_a_segmenter_that_finds_nothing_spends_the_budget() -> None:
    found = run(lambda prompt: np.zeros(prompt.image.shape, bool))
    assert found.dice == (0.0,) * 6
    assert len(found.clicks) == 6


def test_a_slice_with_background_clicks_only_is_emptied() -> None:
    """The segmenter is not asked: nothing there is said to be lesion."""
    image, truth = lesion()
    wrong = truth.copy()
    wrong[0, 2:30, 2:30] = True
    asked = []

    def segment(prompt: Prompt) -> np.ndarray:
        asked.append(prompt)
        return wrong

    prompt = Prompt(image, SPACING, (Click((0, 10, 10), False),), wrong, 30, 2)
    assert not _answer(prompt, segment, True)[0].any()
    assert asked == []


@pytest.mark.parametrize("name", ["random-walker", "region-growing"])
@pytest.mark.parametrize("slicewise", [True, False])
def test_segmenters_outline_a_bright_disc(name: str, slicewise: bool) -> None:
    segment = chosen_segmenters(InteractiveOptions(segmenters=(name,)))[name]
    found = run(segment, replace(OPTIONS, slicewise=slicewise))
    assert max(found.dice) > 0.9


@pytest.mark.parametrize("name", ["random-walker", "region-growing"])
def test_segmenters_answer_for_flat_images_and_clicks_at_the_edge(name: str) -> None:
    segment = chosen_segmenters(InteractiveOptions(segmenters=(name,)))[name]
    for image in (np.zeros((1, 8, 8), np.float32), np.ones((1, 8, 8), np.float32)):
        clicks = (Click((0, 0, 0), True), Click((0, 7, 7), False))
        mask = segment(Prompt(image, SPACING, clicks, np.zeros(image.shape, bool), 30, 0))
        assert mask[0, 0, 0]
        assert not mask[0, 7, 7]


def test_the_same_generator_gives_the_same_interaction() -> None:
    segment = chosen_segmenters(OPTIONS)["region-growing"]
    options = replace(OPTIONS, scatter=0.5)
    assert run(segment, options).clicks == run(segment, options).clicks


def test_the_working_box_follows_the_clicks_in_the_lesion_only() -> None:
    image = np.zeros((3, 50, 50), np.float32)
    clicks = (Click((1, 10, 30), True), Click((0, 45, 5), False))
    prompt = Prompt(image, (5.0, 1.0, 2.0), clicks, image > 0, reach=8, mark=1)
    assert working_box(prompt) == (slice(0, 3), slice(2, 19), slice(26, 35))


def test_a_later_mark_covers_an_earlier_one_but_not_its_click() -> None:
    image = np.zeros((1, 20, 20), np.float32)
    clicks = (Click((0, 10, 10), True), Click((0, 10, 12), False))
    prompt = Prompt(image, (5.0, 1.0, 1.0), clicks, image > 0, reach=30, mark=2)
    assert marked(prompt, working_box(prompt))[0, 10, 7:16].tolist() == [0, 1, 1, 1, 2, 2, 2, 2, 0]


def test_what_cannot_be_segmented_is_refused() -> None:
    image, truth = lesion()
    with pytest.raises(ReconError, match="empty"):
        run(lambda prompt: truth, truth=np.zeros_like(truth))
    with pytest.raises(ReconError, match="different grids"):
        run(lambda prompt: truth, truth=truth[:2])
    with pytest.raises(ReconError, match="NaN"):
        run(lambda prompt: truth, image=np.full_like(image, np.nan))
