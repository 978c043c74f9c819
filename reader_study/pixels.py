"""All arms of a case on one grey scale, without traces of the container they came from.

Appearance is what the study measures; how pixels were stored is not. So all arms share one linear mapping to 12 bits
and one display window, both from the pooled images, and nothing is clipped in any; a border or background that is
constant in one arm is zero in all; and where one arm was stored in coarser grey levels, uniform noise of half a
level closes the gaps in its histogram, slice by slice.
"""

import warnings
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from reader_study.geometry import Position
from reader_study.volumes import DisplayVolume, grey_step
from recon.errors import ReconError, ReconWarning

LARGEST = 4095  # 12 bits stored
_BRIGHTNESS_RATIO = 1.25  # of the arms' median foregrounds, beyond which brightness alone gives the arm away
_NEGATIVE = 1e-3  # share of pixels
_MASKED_ENERGY = 0.02  # share of one arm's energy under the other's zero background that calls for a warning


@dataclass(frozen=True)
class CaseImages:
    """The images of one case as they go out; the same facts for all arms."""

    pixels: dict[str, NDArray[np.uint16]]  # arm -> [slice, row, column]; 0 is background in all arms
    spacing: tuple[float, float, float]  # mm along slice, row, column
    plane: str
    window: tuple[int, int]  # centre, width
    position: Position | None = None  # of one of several sequences; the reference arm's in all arms


def prepare(
    volumes: dict[str, DisplayVolume],
    where: str,
    intensity: Literal["as-is", "median-matched"],
    rng: np.random.Generator,
    removed: NDArray[np.bool_] | None = None,
) -> CaseImages:
    """Map the arms of one case to the same 12-bit scale. ``removed`` marks the voxels of the defacing mask.

    ``rng`` draws the noise that fills quantisation gaps and the head-room. Raises ReconError when the arms do not share
    matrix, spacing, orientation, sign or brightness; warns (ReconWarning) when masking differs so much that a reader
    could tell.
    """
    check_arms(volumes, where)
    names = sorted(volumes)
    images = {name: volumes[name].pixels for name in names}
    _check_sign(images, where)
    steps = {name: slice_steps(images[name]) for name in names}
    if removed is not None:
        images = {name: np.where(removed, np.float32(0), image) for name, image in images.items()}
    medians = {name: _foreground_median(image) for name, image in images.items()}
    brightness = max(medians.values()) / min(medians.values())
    if intensity == "median-matched":
        factor = {name: medians[names[0]] / medians[name] for name in names}
        images = {name: image * np.float32(factor[name]) for name, image in images.items()}
        steps = {name: steps[name] * factor[name] for name in names}
    elif not brightness < _BRIGHTNESS_RATIO:
        raise ReconError(
            f"{where}: the arms differ in brightness by a factor of {brightness:.2g}, which tells "
            "them apart; bring them to one scale, or set viewing.intensity to median-matched"
        )
    background = _shared_background(images, where)
    images = {name: np.where(background, np.float32(0), image) for name, image in images.items()}
    top = max(float(image.max()) for image in images.values())
    bottom = min(0.0, *(float(image.min()) for image in images.values()))
    if not top > bottom:
        raise ReconError(f"{where}: the images have no contrast")
    # Neither arm reaches the end of the scale, and how near one comes is another for every case: the brightest pixel
    # is in the noisier arm, so that a full scale would tell it from one image.
    head_room = float(rng.uniform(1.02, 1.15))
    unit = max((top - bottom) * head_room / LARGEST, *(float(step.max()) for step in steps.values()))
    stored = np.stack([steps[name] for name in names])
    unequal = np.ptp(stored, axis=0) > 1e-3 * stored.max(axis=0)
    pixels: dict[str, NDArray[np.uint16]] = {}
    for name in names:
        width = np.where(unequal, steps[name], 0.0)[:, None, None]
        image = images[name] + (width * rng.uniform(-0.5, 0.5, images[name].shape)).astype(np.float32)
        levels = np.rint((image - np.float32(bottom)) * np.float32(1 / unit))
        # 0 is kept for the background that both arms share, so its extent cannot differ.
        mapped = np.clip(levels, 1, LARGEST).astype(np.uint16)
        mapped[background] = 0
        pixels[name] = mapped
    spacing = volumes[names[0]].spacing or (1.0, 1.0, 1.0)
    return CaseImages(pixels, spacing, volumes[names[0]].plane, _window(pixels))


def slice_steps(image: NDArray[np.float32]) -> NDArray[np.float64]:
    """Spacing of the grey levels of every slice, 0 for a continuous one: 8-bit files may scale each slice by itself."""
    return np.array([grey_step(one) for one in image])


def _check_sign(images: dict[str, NDArray[np.float32]], where: str) -> None:
    """Raises ReconError where one arm has negative pixels to speak of, and the other has not."""
    shares = {name: float((image < 0).mean()) for name, image in images.items()}
    signed, unsigned = max(shares, key=lambda name: shares[name]), min(shares, key=lambda name: shares[name])
    if shares[signed] > _NEGATIVE and shares[unsigned] < shares[signed] / 10:
        raise ReconError(
            f"{where}: arm '{signed}' has negative pixels ({shares[signed]:.1%}) and arm '{unsigned}' has not, which "
            "tells them apart; give the magnitude of both"
        )


def check_arms(volumes: dict[str, DisplayVolume], where: str) -> None:
    """Raises ReconError where two arms are not on one grid, or hold the same pixels."""
    for one, other in combinations(sorted(volumes.items()), 2):
        _check_pair(one, other, where)


def _check_pair(one: tuple[str, DisplayVolume], other: tuple[str, DisplayVolume], where: str) -> None:
    (first, a), (second, b) = one, other
    if a.pixels.shape[0] != b.pixels.shape[0]:
        raise ReconError(
            f"{where}: unequal series, {len(a.pixels)} slices in arm '{first}' and {len(b.pixels)} in '{second}'"
        )
    if a.pixels.shape != b.pixels.shape:
        raise ReconError(
            f"{where}: matrix {a.pixels.shape[1]}x{a.pixels.shape[2]} in arm '{first}' and "
            f"{b.pixels.shape[1]}x{b.pixels.shape[2]} in '{second}'; bring both to one grid first"
        )
    if a.plane != b.plane:
        raise ReconError(
            f"{where}: arm '{first}' is {a.plane} and '{second}' {b.plane}; both need the same orientation"
        )
    spacings = (a.spacing or (1.0, 1.0, 1.0), b.spacing or (1.0, 1.0, 1.0))
    if not np.allclose(*spacings, rtol=2e-3):
        raise ReconError(f"{where}: voxel size {spacings[0]} mm in arm '{first}' and {spacings[1]} mm in '{second}'")
    if np.array_equal(a.pixels, b.pixels):
        raise ReconError(f"{where}: both arms hold the same pixels; the same file was given twice")


def _foreground_median(image: NDArray[np.float32]) -> float:
    sample = _sample(image)
    foreground = sample[sample > 0.1 * np.quantile(sample, 0.999)]
    return float(np.median(foreground)) if foreground.size else 1.0


def _sample(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Half a million voxels spread over the volume: enough for quantiles."""
    return image.reshape(-1)[:: max(1, image.size // 500_000)]


def _shared_background(images: dict[str, NDArray[np.float32]], where: str) -> NDArray[np.bool_]:
    """Zero padding, masks, defacing, frames: what is no image in either arm.

    Exactly zero in one piece with the border of the slice, or rows and columns at the border that hold one value.
    """
    union = np.zeros(next(iter(images.values())).shape, bool)
    for image in images.values():
        union |= _constant_frame(image)
        for index in range(len(image)):
            zero = image[index] == 0
            edge = zero[0].any() or zero[-1].any() or zero[:, 0].any() or zero[:, -1].any()
            if edge:
                labels, _ = ndimage.label(zero)
                rim = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
                union[index] |= np.isin(labels, rim[rim > 0])
    for name, image in images.items():
        total = float(np.square(image, dtype=np.float64).sum())
        lost = float(np.square(image[union], dtype=np.float64).sum()) / total
        if lost > _MASKED_ENERGY:
            warnings.warn(
                f"{where}: the other arm is zero where arm '{name}' has {lost:.0%} of its energy; that part was "
                "removed from both. Was one arm masked and the other not?",
                ReconWarning,
                stacklevel=3,
            )
    return union


def _constant_frame(image: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Rows and columns at the border that hold one value each, peeled off one after the other."""
    frame = np.ones(image.shape, bool)
    for one, marked in zip(image, frame, strict=True):
        top, bottom, left, right = 0, one.shape[0], 0, one.shape[1]
        peeled = True
        while peeled and top < bottom and left < right:
            inner = one[top:bottom, left:right]
            sides = [np.ptp(side) == 0 for side in (inner[0], inner[-1], inner[:, 0], inner[:, -1])]
            top, bottom, left, right = top + sides[0], bottom - sides[1], left + sides[2], right - sides[3]
            peeled = any(sides)
        if top < bottom and left < right:  # a slice of one value is empty, and no frame
            marked[top:bottom, left:right] = False
        else:
            marked[:] = False
    return frame


def _window(pixels: dict[str, NDArray[np.uint16]]) -> tuple[int, int]:
    """Centre and width from 0 to just above the brightest tissue of the pooled pair."""
    counts = np.sum([np.bincount(image.reshape(-1), minlength=LARGEST + 1) for image in pixels.values()], axis=0)
    cumulative = np.cumsum(counts[1:])
    upper = int(np.searchsorted(cumulative, 0.995 * cumulative[-1])) + 1
    width = min(max(round(1.05 * upper), 2), LARGEST)
    return width // 2, width
