"""Random walker (Grady, IEEE Trans Pattern Anal Mach Intell 28:1768 (2006)) from the clicks, by scikit-image."""

import warnings

import numpy as np
from numpy.typing import NDArray
from skimage.segmentation import random_walker

from recon.interactive.prompt import Prompt, lesion_contrast, marked, working_box

EDGE_WEIGHT = 40.0  # a step as high as the lesion's contrast is exp(40) times harder than one on flat ground


def segment(prompt: Prompt) -> NDArray[np.bool_]:
    """Voxels from which a random walk that avoids edges reaches a lesion mark before a background mark.

    The edge of the working box within each slice counts as background, for the first click has no other. Edges are
    measured by the contrast between the clicks in the lesion and their surroundings. Neighbours are neighbours, however
    far apart slices are: scikit-image would take an edge between thick slices for a gentle slope.
    """
    box = working_box(prompt)
    marks = marked(prompt, box)
    border = np.ones(marks.shape[1:], bool)
    border[1:-1, 1:-1] = False
    marks[:, border] = np.where(marks[:, border] == 0, 2, marks[:, border])
    mask = np.zeros(prompt.image.shape, bool)
    mask[box] = _walked(prompt.image[box].astype(np.float64), marks, prompt) == 1
    return mask


def _walked(image: NDArray[np.float64], marks: NDArray[np.int8], prompt: Prompt) -> NDArray[np.int8]:
    spread = float(image.std())
    if (marks != 0).all() or not spread:
        return marks
    image = image / (lesion_contrast(image, marks == 1) or spread)
    flat = image.shape[0] == 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a solver that is not installed, and of marks that enclose each other
        found = random_walker(
            image[0] if flat else image,
            marks[0] if flat else marks,
            beta=10 * EDGE_WEIGHT * float(image.std()),  # scikit-image divides by ten standard deviations
            mode="cg_j",
            tol=1e-3,
        )
    return found[None] if flat else found
