"""What a segmenter is given, and the part of the image that it works on."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recon.interactive.clicks import Click, Spacing


@dataclass(frozen=True)
class Prompt:
    """An image ``[slice, readout, phase]``, the clicks so far (the first is in the lesion), and what they made before.

    ``affine``: index (readout, phase, slice) to RAS+ mm, where it is known. ``reach`` and ``mark`` in mm.
    """

    image: NDArray[np.float32]
    spacing: Spacing
    clicks: tuple[Click, ...]
    previous: NDArray[np.bool_]
    reach: float
    mark: float
    affine: NDArray[np.float64] | None = None


AIR_FRACTION = 0.1  # of the 99th percentile: what is darker is not tissue

Segment = Callable[[Prompt], NDArray[np.bool_]]
"""``segment(prompt)``: the mask ``[slice, readout, phase]`` that the clicks so far make."""

Box = tuple[slice, slice, slice]


def working_box(prompt: Prompt) -> Box:
    """The part within ``reach`` of the smallest box around the clicks in the lesion; at least one slice further.

    Made of the clicks alone, as the zoom of interactive tools is: nothing is known of the true outline.
    """
    inside = np.array([click.index for click in prompt.clicks if click.foreground])
    low, high = inside.min(axis=0), inside.max(axis=0)
    margins = [max(1, round(prompt.reach / edge)) for edge in prompt.spacing]
    ranges = zip(low, high, margins, prompt.image.shape, strict=True)
    first, second, third = (slice(max(int(a) - m, 0), min(int(b) + m + 1, n)) for a, b, m, n in ranges)
    return first, second, third


def marked(prompt: Prompt, box: Box) -> NDArray[np.int8]:
    """What the clicks mark in the box: 1 lesion, 2 background, 0 nothing. Each marks a disc of radius ``mark`` in its
    slice; where discs overlap, the later click counts, but a click's own voxel is its own."""
    shape = [axis.stop - axis.start for axis in box]
    marks = np.zeros(shape, np.int8)
    rows, columns = np.ogrid[: shape[1], : shape[2]]
    places = [np.array(click.index) - [axis.start for axis in box] for click in prompt.clicks]
    kinds = [1 if click.foreground else 2 for click in prompt.clicks]
    within = [bool(((place >= 0) & (place < shape)).all()) for place in places]
    for place, kind, here in zip(places, kinds, within, strict=True):
        if here:
            height = (rows - place[1]) * prompt.spacing[1]
            width = (columns - place[2]) * prompt.spacing[2]
            marks[place[0]][np.hypot(height, width) <= prompt.mark] = kind
    for place, kind, here in zip(places, kinds, within, strict=True):
        if here:
            marks[tuple(place)] = kind
    return marks


def surroundings(image: NDArray[np.float64]) -> float:
    """The median of the tissue in a part of an image; 0 where there is none."""
    tissue = image[image > AIR_FRACTION * np.percentile(image, 99)]
    return float(np.median(tissue)) if len(tissue) else 0.0


def lesion_contrast(image: NDArray[np.float64], lesion: NDArray[np.bool_]) -> float:
    """How far the median of the marks in the lesion is from its surroundings', as a positive number."""
    return abs(float(np.median(image[lesion])) - surroundings(image)) if lesion.any() else 0.0
