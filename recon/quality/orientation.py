"""Turning a slice the way a radiologist looks at it."""

import numpy as np
from numpy.typing import NDArray


def upright(
    image: NDArray, affine: NDArray[np.float64] | None, voxel_size: tuple[float, float, float] | None = None
) -> tuple[NDArray, tuple[float, float]]:
    """``image`` ``[readout, phase]`` as ``[row, column]`` for display, and the size of its pixels (row, column) in mm.

    With an affine (index (readout, phase, slice) to RAS+ mm): axial slices have anterior at the top and the patient's
    right on the left, coronal ones the head at the top and the right on the left, sagittal ones the head at the top and
    anterior on the left. Without one the image stays as it is. Pixels of unknown size are taken as 1 mm.
    """
    if affine is None:
        size = (1.0, 1.0) if voxel_size is None else (voxel_size[0], voxel_size[1])
        return image, size
    columns = np.asarray(affine, float)[:3, :3]
    size = (float(np.linalg.norm(columns[:, 0])), float(np.linalg.norm(columns[:, 1])))
    # Which of the body's axes (0 left-right, 1 front-back, 2 foot-head) each image axis follows most.
    directions = columns / np.linalg.norm(columns, axis=0)
    through = int(np.abs(directions[:, 2]).argmax())
    rows_along, columns_along = {2: (1, 0), 1: (2, 0), 0: (2, 1)}[through]
    weight = np.abs(directions[:, :2])
    if weight[rows_along, 0] + weight[columns_along, 1] < weight[rows_along, 1] + weight[columns_along, 0]:
        image, directions, size = image.T, directions[:, [1, 0, 2]], (size[1], size[0])
    # RAS+ grows to the right, front and head: rows run down from front or head, columns from the right or the front.
    if directions[rows_along, 0] > 0:
        image = image[::-1]
    if directions[columns_along, 1] > 0:
        image = image[:, ::-1]
    return image, size
