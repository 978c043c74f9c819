"""GRAPPA: missing phase lines as linear combinations of their acquired neighbours in all coils.

Griswold et al., Magn Reson Med 47:1202, 2002. The weights are learnt on the calibration lines, separately for each
pattern of neighbours that occurs, so masks with irregular gaps and the seam between undersampled and calibration
lines need no special case.
"""

from collections import defaultdict

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from recon.errors import ReconError
from recon.reconstruction.grappa_plane import OVERDETERMINATION, grappa_plane
from recon.reconstruction.ridge import fitted_kernel

READOUT_WIDTH = 5  # readout samples that a kernel spans
NEIGHBOURS = 4  # acquired lines that a kernel reads, half of them on either side where there are

Pattern = tuple[int, ...]  # offsets of the acquired lines that a missing line is computed from


def grappa(
    kspace: NDArray[np.complex64],
    mask: NDArray[np.bool_],
    calibration: tuple[int, int],
    *,
    calibration_kspace: NDArray[np.complex64] | None = None,
    phase_limits: tuple[int, int] | None = None,
) -> NDArray[np.complex64]:
    """Fill the missing lines of ``kspace`` ``[coil, readout, phase]``, zero where ``mask`` is False.

    mask: ``[phase]`` or ``[readout, phase]``. Where that is every crossing of some rows and some columns with gaps
    along one axis only, as of asymmetric echoes and of 3-D scans that are accelerated along one axis, what lies beyond
    the acquired band of the other axis stays zero. Other 2-D masks go to ``grappa_plane``.

    calibration: centred fully sampled extent (readout, phase), in ``kspace`` or in the separate ``calibration_kspace``
    (same layout). phase_limits: half-open range of lines that were encoded at all; the others stay zero, and so do
    lines that lie further outside the acquired ones than the mask's widest gap between them (partial Fourier).

    Acquired lines come back unchanged. Kernels are those of ``ridge.fitted_kernel``.

    Raises ReconError for irregular 2-D masks, sizes that differ, NaN, and calibration too small for the gaps of the
    mask.
    """
    mask = np.asarray(mask)
    _check(kspace, mask, calibration, calibration_kspace)
    lines = _calibration_lines(kspace if calibration_kspace is None else calibration_kspace, calibration)
    if mask.ndim == 1:
        return _filled(kspace, mask, lines, phase_limits)
    rows, columns = np.asarray(mask.any(axis=1)), np.asarray(mask.any(axis=0))
    filled = np.array(kspace, np.complex64)
    if (mask == np.outer(rows, columns)).all():
        if (band := _band(rows)) is not None:
            first, last = band
            filled[:, first:last] = _filled(kspace[:, first:last], columns, lines, phase_limits)
            return filled
        if (band := _band(columns)) is not None:
            first, last = band
            turned = kspace[:, :, first:last].swapaxes(1, 2)
            filled[:, :, first:last] = _filled(turned, rows, lines.swapaxes(1, 2), None).swapaxes(1, 2)
            return filled
    return grappa_plane(filled, mask, lines, phase_limits)


def _filled(
    kspace: NDArray[np.complex64],
    mask: NDArray[np.bool_],
    lines: NDArray[np.complex64],
    phase_limits: tuple[int, int] | None,
) -> NDArray[np.complex64]:
    """``kspace [coil, readout, phase]`` with its missing lines, from kernels learnt on ``lines``."""
    jobs = defaultdict(list)
    for line, pattern in neighbour_patterns(mask, phase_limits).items():
        jobs[_affordable(pattern, lines.shape)].append(line)
    filled = np.array(kspace, np.complex64)
    margin = READOUT_WIDTH // 2
    padded = np.pad(kspace, ((0, 0), (margin, margin), (0, 0)))
    for pattern, targets in jobs.items():
        weights = _weights(lines, pattern)
        for line in targets:
            filled[:, :, line] = (_neighbourhoods(padded, line, pattern) @ weights).T
    return filled


def neighbour_patterns(mask: NDArray[np.bool_], phase_limits: tuple[int, int] | None = None) -> dict[int, Pattern]:
    """For each missing line that can be filled, the offsets of the acquired lines nearest to it, in rising order.

    Two on either side, or more on the other side at the ends of the acquired range.
    """
    first, last = phase_limits or (0, len(mask))
    acquired = np.flatnonzero(mask)
    reach = int(np.diff(acquired).max(initial=1)) - 1  # the widest gap, which also bounds extrapolation
    patterns = {}
    for line in range(max(first, acquired[0] - reach), min(last, acquired[-1] + reach + 1)):
        if mask[line]:
            continue
        below, above = acquired[acquired < line], acquired[acquired > line]
        left = min(len(below), max(NEIGHBOURS // 2, NEIGHBOURS - len(above)))
        right = NEIGHBOURS - left
        chosen = np.concatenate([below[len(below) - left :], above[:right]])
        patterns[line] = tuple(int(position) - line for position in chosen)
    return patterns


def _affordable(pattern: Pattern, lines: tuple[int, ...]) -> Pattern:
    """The pattern less its farthest lines, until the calibration region ``lines`` determines its weights."""
    coils, readouts, phases = lines
    while pattern:
        span = max(*pattern, 0) - min(*pattern, 0)
        equations = (readouts - READOUT_WIDTH + 1) * (phases - span)
        if phases > span and equations >= OVERDETERMINATION * coils * READOUT_WIDTH * len(pattern):
            return pattern
        farthest = max(pattern, key=abs)
        pattern = tuple(offset for offset in pattern if offset != farthest)
    raise ReconError(
        f"GRAPPA: {phases} calibration lines of {readouts} samples are too few for {coils} coils and the gaps of this "
        "mask; acquire more calibration lines, compress the coils, or choose the method sense"
    )


def _weights(lines: NDArray[np.complex64], pattern: Pattern) -> NDArray[np.complex64]:
    """Ridge regression of the target line on its neighbours over the calibration region: ``[source, coil]``."""
    lowest, highest = min(*pattern, 0), max(*pattern, 0)
    margin = READOUT_WIDTH // 2
    positions = range(-lowest, lines.shape[2] - highest)
    sources = np.concatenate([_neighbourhoods(lines, position, pattern) for position in positions])
    targets = np.concatenate([lines[:, margin : lines.shape[1] - margin, position].T for position in positions])
    return fitted_kernel(sources, targets)


def _neighbourhoods(padded: NDArray[np.complex64], line: int, pattern: Pattern) -> NDArray[np.complex64]:
    """What the kernel reads for ``line`` at every readout position: ``[readout, coil x neighbour x width]``."""
    neighbours = padded[:, :, [line + offset for offset in pattern]]
    windows = sliding_window_view(neighbours, READOUT_WIDTH, axis=1)  # [coil, readout, neighbour, width]
    return windows.transpose(1, 0, 2, 3).reshape(windows.shape[1], -1)


def _calibration_lines(kspace: NDArray[np.complex64], calibration: tuple[int, int]) -> NDArray[np.complex64]:
    """The centred fully sampled block ``[coil, readout, phase]``."""
    starts = [size // 2 - extent // 2 for size, extent in zip(kspace.shape[1:], calibration, strict=True)]
    return kspace[:, starts[0] : starts[0] + calibration[0], starts[1] : starts[1] + calibration[1]]


def _band(sampled: NDArray[np.bool_]) -> tuple[int, int] | None:
    """The half-open range of what is sampled of an axis; None when there are gaps in it."""
    places = np.flatnonzero(sampled)
    first, last = int(places[0]), int(places[-1]) + 1
    return (first, last) if last - first == places.size else None


def _check(
    kspace: NDArray[np.complex64],
    mask: NDArray[np.bool_],
    calibration: tuple[int, int],
    calibration_kspace: NDArray[np.complex64] | None,
) -> None:
    if kspace.ndim != 3 or mask.ndim not in (1, 2) or kspace.shape[3 - mask.ndim :] != mask.shape:
        raise ReconError(f"GRAPPA: kspace {kspace.shape} [coil, readout, phase] and mask {mask.shape} differ in size")
    if not mask.any():
        raise ReconError("GRAPPA: the mask is empty; nothing was acquired")
    if calibration_kspace is not None and calibration_kspace.shape != kspace.shape:
        raise ReconError(
            f"GRAPPA: calibration scan {calibration_kspace.shape} and scan {kspace.shape} differ in size; "
            "bring both to the same matrix"
        )
    for name, values in (("kspace", kspace), ("calibration scan", calibration_kspace)):
        if values is not None and not np.isfinite(values).all():
            raise ReconError(f"GRAPPA: {name} has NaN or infinite values")
    if min(calibration) < 1 or calibration[0] > kspace.shape[1] or calibration[1] > kspace.shape[2]:
        raise ReconError(
            f"GRAPPA: no usable calibration lines (extent {calibration[0]} x {calibration[1]}); choose the method "
            "sense with coil maps, or give a calibration scan"
        )
