"""Sampling masks: which k-space positions an accelerated scan acquires, and what a mask found in a file says.

1-D masks are ``[phase]`` booleans and hold for every readout position; 2-D masks are ``[readout, phase]``, for
slices of 3-D scans whose two image axes are both phase encoded. ``limits`` is the half-open range of phase lines
that the scanner encoded at all: nothing outside it is ever sampled.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from recon.acquisition.coverage import lacks_an_edge
from recon.errors import ReconError

Limits = tuple[int, int] | None

SMALLEST_GRID = 10  # samples along readout and phase; on smaller grids reconstructions diverge
SMALLEST_CALIBRATION = 8  # lines; fewer cannot hold an ESPIRiT kernel and its shifts


def centre_block(size: int, width: int) -> slice:
    """The central ``width`` of ``size`` positions; position ``size // 2`` is k-space's centre."""
    start = size // 2 - width // 2
    return slice(start, start + width)


def equispaced_mask(
    phase: int,
    acceleration: float,
    calibration_lines: int,
    generator: np.random.Generator,
    *,
    limits: Limits = None,
    offset: int | None = None,
) -> NDArray[np.bool_]:
    """Truly equispaced 1-D mask: exactly every R-th line from ``offset`` on, and the central calibration lines.

    The distance between lines is R everywhere outside the calibration, so the net acceleration is below R by what
    the calibration lines add. ``offset`` (0 to R - 1) is drawn from ``generator`` unless given.

    Raises ReconError when R is not a whole number or the calibration does not fit.
    """
    spacing = round(acceleration)
    if spacing < 1 or abs(acceleration - spacing) > 1e-9:
        raise ReconError(f"an equispaced mask needs a whole acceleration, not {acceleration:g}; use --mask random")
    mask, allowed = _calibrated(phase, calibration_lines, limits)
    drawn = int(generator.integers(spacing))
    start = drawn if offset is None else offset
    if not 0 <= start < spacing:
        raise ReconError(f"offset {start} of an equispaced mask must lie between 0 and {spacing - 1}")
    mask[start::spacing] = True
    return mask & allowed


def random_mask(
    phase: int,
    acceleration: float,
    calibration_lines: int,
    generator: np.random.Generator,
    *,
    limits: Limits = None,
) -> NDArray[np.bool_]:
    """1-D mask of lines drawn uniformly without replacement: encoded lines / acceleration of them, to the nearest
    line, calibration lines included. Raises ReconError when the calibration alone is more than that."""
    mask, allowed = _calibrated(phase, calibration_lines, limits)
    wanted = round(int(allowed.sum()) / acceleration)
    missing = wanted - int(mask.sum())
    if missing < 0:
        raise ReconError(
            f"{int(mask.sum())} calibration lines are already more than the {wanted} lines that "
            f"{acceleration:g}x leaves; ask for fewer with --calibration-lines"
        )
    mask[generator.choice(np.flatnonzero(allowed & ~mask), missing, replace=False)] = True
    return mask


def poisson_mask(
    shape: tuple[int, int],
    acceleration: float,
    calibration: tuple[int, int],
    generator: np.random.Generator,
    *,
    limits: Limits = None,
    elliptical: bool = True,
) -> NDArray[np.bool_]:
    """2-D variable-density Poisson-disc mask ``[readout, phase]`` with a fully sampled centre.

    No two samples outside the calibration lie closer than a distance that grows threefold from k-space's centre to its
    edge. The distances start large and shrink until the wanted number of samples is in place (dart throwing with
    decreasing radius, McCool and Fiume 1992), so ``acceleration`` is met to the nearest sample. It counts the whole
    encoded rectangle; an elliptical mask leaves the corners out. (sigpy's generator meets the number only within a
    tolerance and does not end when it cannot.)

    Raises ReconError when the calibration alone is too much, or the ellipse too small for the acceleration.
    """
    first, last = limits or (0, shape[1])
    _check_calibration(shape[0], calibration[0])
    _check_calibration(last - first, calibration[1])
    wanted = round(shape[0] * (last - first) / acceleration)
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    # Distance from the centre, 1 at the middle of each edge.
    distance = np.hypot((rows - shape[0] // 2) / (shape[0] / 2), (columns - shape[1] // 2) / (shape[1] / 2))
    allowed = (distance <= 1) if elliptical else np.ones(shape, bool)
    allowed[:, :first] = False
    allowed[:, last:] = False
    mask = np.zeros(shape, bool)
    mask[centre_block(shape[0], calibration[0]), centre_block(shape[1], calibration[1])] = True
    mask[:, :first] = False
    mask[:, last:] = False
    allowed |= mask
    if mask.sum() > wanted or allowed.sum() < wanted:
        raise ReconError(
            f"no Poisson mask of {shape[0]} x {shape[1]} reaches {acceleration:g}x with {calibration[0]} x "
            f"{calibration[1]} calibration{' and empty corners' if elliptical else ''}; change one of them"
        )
    scale = np.sqrt(acceleration)
    while (missing := wanted - int(mask.sum())) > 0:
        radii = scale * (1 + 2 * distance)
        _throw_darts(mask, allowed, radii, missing, generator)
        scale *= 0.85
    return mask


def caipirinha_mask(
    shape: tuple[int, int],
    acceleration: float,
    calibration: tuple[int, int],
    generator: np.random.Generator,
    *,
    limits: Limits = None,
) -> NDArray[np.bool_]:
    """2-D lattice ``[readout, phase]`` with gaps along both axes and a fully sampled centre (Breuer et al., Magn Reson
    Med 55:549, 2006).

    R = R1 R2, as square as whole numbers allow: every R1-th row, in it every R2-th position, moved by R2 / 2 (rounded
    down, at least by one) from one such row to the next. 2: a chequerboard; 4: 2 x 2; 6: 2 x 3. Where the lattice
    begins is drawn from ``generator``.

    Raises ReconError when R is not a whole number or the calibration does not fit.
    """
    product = round(acceleration)
    if product < 1 or abs(acceleration - product) > 1e-9:
        raise ReconError(f"a caipirinha mask needs a whole acceleration, not {acceleration:g}; use --mask poisson")
    first, last = limits or (0, shape[1])
    _check_calibration(shape[0], calibration[0])
    _check_calibration(last - first, calibration[1])
    by_row = max(step for step in range(1, int(np.sqrt(product)) + 1) if product % step == 0)
    by_column = product // by_row
    row, column = np.indices(shape) + generator.integers(0, (by_row, by_column)).reshape(2, 1, 1)
    shift = max(by_column // 2, 1)
    mask = np.asarray((row % by_row == 0) & ((column - shift * (row // by_row)) % by_column == 0))
    mask[centre_block(shape[0], calibration[0]), centre_block(shape[1], calibration[1])] = True
    mask[:, :first] = False
    mask[:, last:] = False
    return mask


def _throw_darts(
    mask: NDArray[np.bool_],
    allowed: NDArray[np.bool_],
    radii: NDArray[np.float64],
    wanted: int,
    generator: np.random.Generator,
) -> None:
    """Add up to ``wanted`` samples to ``mask``, in random order, none within the radius of another one."""
    size = mask.shape
    extent = np.array(size) / max(size)  # discs are as wide in the image's own units along both axes
    free = allowed & ~mask
    # Radii in quarters of a position: few enough different discs to draw each only once.
    quarters = np.maximum(np.rint(4 * radii), 1).astype(int)
    discs: dict[int, NDArray[np.bool_]] = {}

    def cover(row: int, column: int) -> None:
        quarter = int(quarters[row, column])
        if quarter not in discs:
            reach = np.floor(quarter / 4 * extent).astype(int)
            y, x = np.ogrid[-reach[0] : reach[0] + 1, -reach[1] : reach[1] + 1]
            discs[quarter] = np.hypot(y / extent[0], x / extent[1]) < quarter / 4
        disc = discs[quarter]
        top, left = row - disc.shape[0] // 2, column - disc.shape[1] // 2
        window = free[max(top, 0) : top + disc.shape[0], max(left, 0) : left + disc.shape[1]]
        start = (max(-top, 0), max(-left, 0))
        window &= ~disc[start[0] : start[0] + window.shape[0], start[1] : start[1] + window.shape[1]]

    for row, column in np.argwhere(mask):
        cover(row, column)
    for place in generator.permutation(np.flatnonzero(free)):
        row, column = divmod(int(place), size[1])
        if free[row, column]:
            mask[row, column] = True
            cover(row, column)
            wanted -= 1
            if wanted == 0:
                return


def fastmri_mask(
    kind: str,
    phase: int,
    acceleration: float,
    calibration_lines: int,
    generator: np.random.Generator,
    *,
    limits: Limits = None,
) -> NDArray[np.bool_]:
    """1-D mask of the fastMRI package (``fastmri.data.subsample``), drawn over all ``phase`` lines and cut to
    ``limits`` afterwards, as its own loader does. ``kind`` is the package's name, e.g. ``equispaced_fraction``."""
    from fastmri.data.subsample import create_mask_for_mask_type

    if kind != "random" and abs(acceleration - round(acceleration)) > 1e-9:
        raise ReconError(f"fastMRI's {kind} mask needs a whole acceleration, not {acceleration:g}")
    _, allowed = _calibrated(phase, calibration_lines, limits)
    whole = round(acceleration) if abs(acceleration - round(acceleration)) < 1e-9 else acceleration
    draw = create_mask_for_mask_type(kind, [calibration_lines / phase], [whole])
    mask, _ = draw((1, phase, 2), seed=int(generator.integers(2**31)))
    return mask.numpy().reshape(phase).astype(bool) & allowed


def _fastmri(kind: str) -> Callable[..., NDArray[np.bool_]]:
    def draw(
        phase: int, acceleration: float, calibration_lines: int, generator: np.random.Generator, *, limits: Limits
    ) -> NDArray[np.bool_]:
        return fastmri_mask(kind, phase, acceleration, calibration_lines, generator, limits=limits)

    return draw


LINE_MASKS: Mapping[str, Callable[..., NDArray[np.bool_]]] = MappingProxyType(
    {
        "equispaced": equispaced_mask,
        "random": random_mask,
        "fastmri-random": _fastmri("random"),
        "fastmri-equispaced": _fastmri("equispaced"),
        "fastmri-equispaced-fraction": _fastmri("equispaced_fraction"),
        "fastmri-magic": _fastmri("magic"),
        "fastmri-magic-fraction": _fastmri("magic_fraction"),
    }
)
PLANE_MASKS: Mapping[str, Callable[..., NDArray[np.bool_]]] = MappingProxyType(
    {"poisson": poisson_mask, "caipirinha": caipirinha_mask}
)
KINDS = (*LINE_MASKS, *PLANE_MASKS)


def draw_mask(
    kind: str,
    shape: tuple[int, int],
    acceleration: float,
    calibration_lines: int,
    generator: np.random.Generator,
    limits: Limits = None,
) -> NDArray[np.bool_]:
    """A mask of any ``KINDS`` for k-space of ``shape`` (readout, phase).

    ``PLANE_MASKS`` give ``[readout, phase]`` with a square calibration of ``calibration_lines``; all others
    ``[phase]``. Raises ReconError for an unknown kind, an acceleration below 1 or a calibration that does not fit.
    """
    if not np.isfinite(acceleration) or acceleration < 1:
        raise ReconError(f"acceleration must be at least 1, not {acceleration:g}")
    if kind in PLANE_MASKS:
        region = (calibration_lines, calibration_lines)
        return PLANE_MASKS[kind](shape, acceleration, region, generator, limits=limits)
    if kind not in LINE_MASKS:
        raise ReconError(f"unknown mask '{kind}'; choose one of {', '.join(KINDS)}")
    return LINE_MASKS[kind](shape[1], acceleration, calibration_lines, generator, limits=limits)


def detect_mask(kspace: NDArray) -> NDArray[np.bool_]:
    """The mask of prospectively undersampled ``kspace`` ``[coil, readout, phase]``: where any coil is not zero.

    ``[phase]`` when whole lines are missing, ``[readout, phase]`` when single positions or readout ends are.
    """
    acquired = np.zeros(kspace.shape[-2:], bool)
    for coil in kspace:
        acquired |= coil != 0
    lines = np.asarray(acquired.any(axis=0))
    if not lines.any():
        return lines
    # A measured value may be exactly zero by chance (integer data); a missing readout end is never only a few values.
    filled = acquired[:, lines].mean()
    if acquired.any(axis=1).all() and filled > 0.99:
        return lines
    return acquired


def calibration_extent(mask: NDArray[np.bool_], readout: int) -> tuple[int, int]:
    """Largest centred fully sampled extent (readout, phase) of a mask; (0, 0) when the centre is not sampled.

    ``centre_block(readout, extent[0])`` by ``centre_block(phase, extent[1])`` is sampled throughout. Of all such
    blocks of a 2-D mask the one with the longest shorter side is taken, as coil maps need both, then the largest.
    """
    if mask.ndim == 1:
        width = _centred_run(mask)
        return (readout, width) if width else (0, 0)
    best = (0, 0)
    for height in range(1, mask.shape[0] + 1):
        width = _centred_run(np.asarray(mask[centre_block(mask.shape[0], height)].all(axis=0)))
        if not width:
            break
        best = max(best, (height, width), key=lambda extent: (min(extent), extent[0] * extent[1]))
    return best


def net_acceleration(mask: NDArray[np.bool_], limits: Limits = None) -> float:
    """Encoded positions over acquired positions."""
    if limits is not None:
        mask = mask[..., limits[0] : limits[1]]
    return float(mask.size / max(int(mask.sum()), 1))


def every_line_sampled(mask: NDArray[np.bool_], limits: Limits = None) -> bool:
    """Whether all encoded phase lines were acquired; readouts may lack an end (asymmetric echo)."""
    first, last = limits or (0, mask.shape[-1])
    inside = mask[..., first:last]
    return bool((inside == inside.any(axis=-1, keepdims=True)).all() and inside.any())


def describe_mask(mask: NDArray[np.bool_], limits: Limits = None) -> str:
    """What a mask is, in words: fully sampled, partial Fourier, central lines, equispaced, irregular lines, or 2-D."""
    first, last = limits or (0, mask.shape[-1])
    inside = mask[..., first:last]
    if inside.all():
        return "fully sampled"
    if mask.ndim == 2:
        rows, columns = inside.any(axis=1), inside.any(axis=0)
        if (inside == np.outer(rows, columns)).all():
            return "partial readout" if columns.all() else "lines with partial readout"
        return "2-D"
    sampled = np.flatnonzero(mask)
    if sampled.size and sampled[-1] - sampled[0] + 1 == sampled.size:
        return "partial Fourier" if lacks_an_edge(mask) else "central lines only"
    gaps = np.diff(sampled)
    wide = gaps[gaps > 1]
    if wide.size and (np.bincount(wide).max() >= wide.size - 2):
        # One spacing; next to the calibration lines a shorter gap may stand on either side.
        return f"equispaced by {int(np.bincount(wide).argmax())}"
    return "irregular lines"


def _centred_run(sampled: NDArray[np.bool_]) -> int:
    """Largest n for which ``centre_block(size, n)`` is sampled throughout."""
    size, centre = sampled.size, sampled.size // 2
    if not sampled[centre]:
        return 0
    missing = np.flatnonzero(~sampled)
    left = centre - max(missing[missing < centre], default=-1) - 1
    right = min(missing[missing > centre], default=size) - centre - 1
    # centre_block(n) takes n // 2 positions to the left of the centre and (n - 1) // 2 to the right.
    return int(min(2 * left + 1, 2 * right + 2))


def _check_calibration(encoded: int, calibration: int) -> None:
    if not 0 <= calibration <= encoded:
        raise ReconError(f"{calibration} calibration lines do not fit into {encoded} encoded lines")


def _calibrated(phase: int, calibration_lines: int, limits: Limits) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """A mask with only the calibration lines, and which lines may be sampled at all."""
    first, last = limits or (0, phase)
    _check_calibration(last - first, calibration_lines)
    allowed = np.zeros(phase, bool)
    allowed[first:last] = True
    mask = np.zeros(phase, bool)
    mask[centre_block(phase, calibration_lines)] = True
    return mask & allowed, allowed
