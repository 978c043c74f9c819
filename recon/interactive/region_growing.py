"""Region growing from the clicks: a flood that stops half-way to the surroundings, by scikit-image."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_fill_holes, generate_binary_structure, median_filter
from skimage.segmentation import flood

from recon.interactive.prompt import Prompt, marked, surroundings, working_box

HALVINGS = 6  # of the tolerance, until a flood leaves the background clicks out


def segment(prompt: Prompt) -> NDArray[np.bool_]:
    """The union of the floods from all clicks in the lesion, with holes within a slice filled.

    The image is first smoothed by the median of 3 x 3 pixels in the slice. A flood takes the connected voxels whose
    value is within a tolerance of the click's: half of the difference between the click and the median tissue of the
    working box, halved again until no background mark is reached.
    """
    box = working_box(prompt)
    image = median_filter(prompt.image[box].astype(np.float64), size=(1, 3, 3), mode="nearest")
    marks = marked(prompt, box)
    avoided = marks == 2
    level = surroundings(image)
    grown = marks == 1
    for click in prompt.clicks:
        if click.foreground:
            place = tuple(int(at - axis.start) for at, axis in zip(click.index, box, strict=True))
            grown |= _flood(image, place, abs(float(image[place]) - level) / 2, avoided)
    flat = generate_binary_structure(3, 1)
    flat[[0, 2]] = False
    mask = np.zeros(prompt.image.shape, bool)
    mask[box] = binary_fill_holes(grown, flat) & ~avoided
    return mask


def _flood(
    image: NDArray[np.float64], place: tuple[int, ...], tolerance: float, avoided: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """The flood of the widest tolerance that leaves ``avoided`` out; nothing when none does."""
    for halving in range(HALVINGS + 1):
        found = flood(image, place, tolerance=tolerance / 2**halving, connectivity=1)
        if not (found & avoided).any():
            return np.asarray(found)
    return np.zeros(image.shape, bool)
