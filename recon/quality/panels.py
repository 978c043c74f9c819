"""The panel of one result file: which slice, which images, which words."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from recon.errors import ReconError
from recon.images.result import Reconstruction
from recon.quality.figures import panel, slice_to_show


def panel_of_result(
    result: Reconstruction,
    *,
    baselines: Mapping[str, NDArray] | None = None,
    reference: NDArray | None = None,
    lesion: NDArray[np.bool_] | None = None,
    index: int | None = None,
) -> Figure:
    """The ``panel`` of one slice of a result: zero-filled, baselines by name, its reconstruction, its std.

    baselines, reference and lesion are ``[slice, readout, phase]`` on the result's grid. ``index`` chooses the slice;
    without it the one with the most lesion, else the middle. Raises ReconError when shapes differ or there is no such
    slice.
    """
    shape = result.reconstruction.shape
    volumes = dict(baselines or {})
    # Of the zero-filled method both are one image, once in single and once through the file in the same precision.
    if result.zero_filled is not None and not np.array_equal(result.zero_filled, result.reconstruction):
        volumes = {"zero-filled": result.zero_filled, **volumes}
    method = str(result.attributes.get("method", "posterior"))
    volumes[str(result.attributes.get("title", method))] = result.reconstruction
    for name, volume in {**volumes, "reference": reference, "lesion mask": lesion}.items():
        if volume is not None and volume.shape != shape:
            raise ReconError(f"{result.path}: {name} is {volume.shape}, the result {shape}; both need the same grid")
    if index is None:
        index = slice_to_show(result.reconstruction, lesion)
    if not 0 <= index < shape[0]:
        raise ReconError(f"{result.path}: no slice {index}; the result has slices 0 to {shape[0] - 1}")
    words = [result.contrast] if result.contrast != "unknown" else []
    if "acceleration" in result.attributes:
        words.append(f"R = {float(result.attributes['acceleration']):.2g}")
    words.append(f"slice {index + 1} of {shape[0]}")
    return panel(
        {name: volume[index] for name, volume in volumes.items()},
        std=None if result.std is None else result.std[index],
        reference=None if reference is None else reference[index],
        lesion=None if lesion is None else lesion[index],
        affine=result.affine,
        voxel_size=result.voxel_size,
        title=", ".join(words),
    )
