"""One slice at a time, for whoever cannot wait for the whole scan; the images are those of the pipeline."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recon.errors import ReconError, naming
from recon.reconstruction.audit import SliceAudit, audit_slices, overall_audit
from recon.reconstruction.methods import METHODS, method_of, options_of
from recon.reconstruction.pipeline import Solver
from recon.reconstruction.shown import shown_images, shown_noise, std_degrees_of_freedom

FALLBACK = "sense"  # the method that needs no prior and little time


@dataclass(frozen=True)
class SliceResult:
    """``images``: those of ``recon.reconstruction.shown``, ``[readout, phase]`` float32. ``audit``: ``figures`` (of
    methods with a prior) and ``warnings`` of this slice alone. ``slice_audits``, ``noise`` of the image and
    ``freedoms`` of its standard deviation: what the audit of the whole scan is made of."""

    index: int
    images: dict[str, NDArray[Any]]
    audit: dict[str, Any]
    slice_audits: tuple[SliceAudit, ...]
    noise: float
    freedoms: tuple[float, ...]


def reconstruct_slice(solver: Solver, index: int, step: Callable[[], None] = lambda: None) -> SliceResult:
    """The images of one slice. ``step`` is called between stages and after each network call, and may raise.

    Raises ReconError as the pipeline does."""
    with naming(solver.scan.path):
        prepared = solver.prepare(range(index, index + 1))
        step()
        solution = solver.solve(prepared, step)
        slice_audits = audit_slices(prepared, solution)
        ((_, images),) = shown_images(prepared, solution)
        for name, image in images.items():
            if not np.isfinite(image).all():
                raise ReconError(f"slice {index}: {name} has NaN or infinite values; the reconstruction diverged")
        freedoms = std_degrees_of_freedom(images, solution.pairs)
        noise = shown_noise(prepared.problem)
    return SliceResult(index, images, overall_audit(slice_audits, []), tuple(slice_audits), noise, tuple(freedoms))


def without_prior(solver: Solver) -> Solver:
    """A solver of the same measurement by the method that falls back on no prior; its noise and coils are kept."""
    options = options_of(METHODS[FALLBACK], solver.options)
    return replace(solver, options=options, method=method_of(options), prior=None, plan=None)
