"""A result as PNG: the panel of one slice, with the error where a reference is given."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recon.images.grid import on_grid
from recon.images.reading import read_volume
from recon.images.result import Reconstruction
from recon.quality.drawing import save
from recon.quality.figures import slice_to_show
from recon.quality.panels import panel_of_result
from recon.reconstruction.export import is_sampled
from recon.reconstruction.formats import beside
from recon.reconstruction.methods import METHODS
from recon.reconstruction.options import ReconstructionOptions
from recon.reconstruction.pipeline import one_slice
from recon.scan import Scan

BASELINE = METHODS["sense"]  # shown beside what a prior made


def write(result: Reconstruction, scan: Scan, reference: Path | None) -> list[Path]:
    """Write the panel beside the result. Raises ReconError when the reference is on another grid."""
    truth = None
    if reference is not None:
        truth = on_grid(read_volume(reference), result.reconstruction.shape, result.affine, "reference")
    index = slice_to_show(result.reconstruction)
    baselines = {}
    if is_sampled(result):
        volume = np.zeros_like(result.reconstruction)
        volume[index] = _baseline(result, scan, index)
        baselines[BASELINE.title] = volume
    path = beside(".png")(result.path)
    save(panel_of_result(result, baselines=baselines, reference=truth, index=index), path)
    return [path]


def _baseline(result: Reconstruction, scan: Scan, index: int) -> NDArray[np.float32]:
    """One slice by the baseline, for comparison, with the coils and noise of the result."""
    used = result.configuration
    options = ReconstructionOptions(
        method=BASELINE.name,
        coils=int(used.get("coils", 16)),
        noise_sigma=used.get("noise_sigma"),
        map_sets=int(used.get("map_sets", 1)),
    )
    return one_slice(scan, index, options)
