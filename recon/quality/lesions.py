"""How faithfully a reconstruction shows the lesions: their contrast, their error, their contrast-to-noise ratio.

The contrast of a lesion is ``(mean in the lesion - mean in the ring) / mean in the ring``. The ring is the
perilesional tissue in the same slice: between 1 and 5 pixels away (the first pixel is left out, because masks are
rarely exact to a pixel), without air, which is what is darker than a tenth of the reference's 99th percentile. Lesion
and ring come from the mask and the reference alone, so that every method is measured on the same pixels.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import binary_dilation, generate_binary_structure

from recon.errors import ReconError

RING_GAP = 1  # pixels left out around the lesion
RING_WIDTH = 4  # pixels
AIR_FRACTION = 0.1  # of the reference's 99th percentile


@dataclass(frozen=True)
class LesionMetrics:
    """Figures of merit over all lesion pixels of a volume. NaN where the ring is empty or has no signal."""

    pixels: int
    contrast: float  # of the image
    contrast_reference: float
    contrast_error: float  # |contrast - contrast_reference| / |contrast_reference|
    nrmse: float  # ||x - r|| / ||r|| inside the lesion
    contrast_to_noise: float  # |mean in the lesion - mean in the ring| over the standard deviation in the ring
    contrast_to_noise_reference: float


def evaluate_lesions(image: ArrayLike, reference: ArrayLike, lesion: ArrayLike) -> LesionMetrics:
    """Measure magnitude ``image`` against ``reference`` where ``lesion`` is set, all ``[slice, readout, phase]``.

    ``lesion`` is boolean or a probability (set where at least one half). The contrast-to-noise ratio takes the spread
    of the perilesional ring as noise, which holds the anatomy's own variation too: compare it with the reference's.

    Raises ReconError for shapes that differ, NaN or infinite values, or an empty mask.
    """
    image, reference = _magnitude("image", image), _magnitude("reference", reference)
    inside = lesion_mask(lesion)
    if not image.shape == reference.shape == inside.shape:
        raise ReconError(
            f"image {image.shape}, reference {reference.shape} and lesion mask {inside.shape} are on different grids "
            "[slice, readout, phase]"
        )
    if not inside.any():
        raise ReconError("the lesion mask is empty; leave it out for subjects without a lesion")
    ring = perilesional_ring(inside, reference)
    contrast, noise_ratio = _contrast(image, inside, ring)
    contrast_reference, noise_ratio_reference = _contrast(reference, inside, ring)
    norm = float(np.linalg.norm(reference[inside]))
    return LesionMetrics(
        pixels=int(inside.sum()),
        contrast=contrast,
        contrast_reference=contrast_reference,
        contrast_error=abs(contrast - contrast_reference) / abs(contrast_reference) if contrast_reference else math.nan,
        nrmse=float(np.linalg.norm((image - reference)[inside])) / norm if norm else math.nan,
        contrast_to_noise=noise_ratio,
        contrast_to_noise_reference=noise_ratio_reference,
    )


def perilesional_ring(lesion: NDArray[np.bool_], reference: NDArray) -> NDArray[np.bool_]:
    """The tissue ``[slice, readout, phase]`` that a lesion is compared with; see the head of this module."""
    disc = generate_binary_structure(2, 1)[None]  # grown in the slice only: slices may be far apart
    near = binary_dilation(lesion, disc, iterations=RING_GAP)
    far = binary_dilation(near, disc, iterations=RING_WIDTH)
    tissue = reference > AIR_FRACTION * np.percentile(reference, 99)
    return far & ~near & tissue


def lesion_mask(values: ArrayLike) -> NDArray[np.bool_]:
    """A boolean mask ``[slice, readout, phase]`` from booleans, labels or probabilities. Raises ReconError."""
    array = np.asarray(values)
    array = array[None] if array.ndim == 2 else array
    if array.ndim != 3 or array.dtype.kind not in "bfiu":
        raise ReconError(f"lesion mask: expected [slice, readout, phase], found {array.dtype} {array.shape}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ReconError("lesion mask: NaN or infinite values")
    return np.asarray(array >= 0.5) if array.dtype.kind == "f" else array != 0


def _contrast(image: NDArray[np.float64], lesion: NDArray[np.bool_], ring: NDArray[np.bool_]) -> tuple[float, float]:
    """Lesion contrast and contrast-to-noise ratio of one image."""
    if ring.sum() < 2:
        return math.nan, math.nan
    surroundings, spread = float(image[ring].mean()), float(image[ring].std())
    difference = float(image[lesion].mean()) - surroundings
    return (
        difference / surroundings if surroundings else math.nan,
        abs(difference) / spread if spread else math.nan,
    )


def _magnitude(name: str, values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values)
    array = array[None] if array.ndim == 2 else array
    if array.ndim != 3:
        raise ReconError(f"{name}: expected [slice, readout, phase], found shape {array.shape}")
    if not np.isfinite(array).all():
        raise ReconError(f"{name}: NaN or infinite values; lesions cannot be measured")
    return np.abs(array).astype(np.float64)
