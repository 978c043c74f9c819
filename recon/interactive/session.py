"""One image segmented by clicks: the policy clicks, the segmenter answers, until the budget is spent."""

import time
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from recon.errors import ReconError
from recon.interactive.agreement import dice, surface_agreement
from recon.interactive.clicks import Click, Spacing, click_places, next_click
from recon.interactive.options import InteractiveOptions
from recon.interactive.prompt import Prompt, Segment


@dataclass(frozen=True)
class Interaction:
    """What the clicks made: agreement with the truth after 1, 2, ... clicks up to the budget.

    Once the segmentation is the truth nobody clicks any more, and the curves stay where they are.
    """

    dice: tuple[float, ...]
    surface: tuple[float, ...]  # normalised surface distance
    clicks: tuple[Click, ...]
    seconds: float  # in the segmenter


def interact(
    image: NDArray,
    truth: NDArray[np.bool_],
    spacing: Spacing,
    segment: Segment,
    options: InteractiveOptions,
    generator: np.random.Generator,
    affine: NDArray[np.float64] | None = None,
) -> Interaction:
    """Segment the magnitude ``image`` ``[slice, readout, phase]`` by up to ``options.clicks`` clicks.

    ``spacing``: mm along slice, readout, phase. ``generator`` draws among equally good places. ``affine``: index
    (readout, phase, slice) to RAS+ mm. Raises ReconError when the true mask is empty, the image is not finite, or the
    segmenter fails.
    """
    if not truth.any():
        raise ReconError("the lesion mask is empty; leave out subjects without a lesion")
    if image.shape != truth.shape:
        raise ReconError(f"image {image.shape} and lesion mask {truth.shape} are on different grids")
    if not np.isfinite(image).all():
        raise ReconError("NaN or infinite values in the image; it cannot be segmented")
    empty = np.zeros(truth.shape, bool)
    given = Prompt(np.abs(image).astype(np.float32), spacing, (), empty, options.reach, options.mark, affine)
    mask, clicks, seconds = empty, [], 0.0
    overlaps: list[float] = []
    surfaces: list[float] = []
    while len(overlaps) < options.clicks:
        places = click_places(mask, truth, spacing, options.slicewise, options.scatter)
        if places is None:
            break
        clicks.append(next_click(places, generator))
        began = time.monotonic()
        mask = _answer(replace(given, clicks=tuple(clicks), previous=mask), segment, options.slicewise)
        seconds += time.monotonic() - began
        overlaps.append(dice(mask, truth))
        surfaces.append(surface_agreement(mask, truth, spacing, options.tolerance))
    left = options.clicks - len(overlaps)
    return Interaction((*overlaps, *overlaps[-1:] * left), (*surfaces, *surfaces[-1:] * left), tuple(clicks), seconds)


def _answer(prompt: Prompt, segment: Segment, slicewise: bool) -> NDArray[np.bool_]:
    """The mask after the last click: of the volume, or with its slice made anew from the clicks there."""
    if not slicewise:
        return segment(prompt)
    number = prompt.clicks[-1].index[0]
    here = tuple(replace(c, index=(0, *c.index[1:])) for c in prompt.clicks if c.index[0] == number)
    mask = prompt.previous.copy()
    if not any(click.foreground for click in here):
        mask[number] = False  # what is there was wrong, and nothing is said to be right
        return mask
    affine = prompt.affine
    if affine is not None:
        shift = affine[:3, 2] * number
        affine = np.column_stack([affine[:, :3], affine[:, 3] + [*shift, 0.0]])
    mask[number] = segment(
        replace(
            prompt,
            image=prompt.image[number : number + 1],
            previous=prompt.previous[number : number + 1],
            clicks=here,
            affine=affine,
        )
    )[0]
    return mask
