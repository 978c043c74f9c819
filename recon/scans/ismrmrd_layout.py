"""Where the readouts of an ISMRMRD file go in k-space arrays: from acquisition headers to array positions."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recon.errors import ReconError
from recon.scans.ismrmrd_header import Encoding


@dataclass(frozen=True)
class Layout:
    """Where the readouts of a group go: array sizes and, per readout, file row, slice, line, first sample."""

    rows: NDArray[np.int64]
    slices: NDArray[np.int64]  # index into the scan's slices
    lines: NDArray[np.int64]  # phase position in the array
    starts: NDArray[np.int64]  # readout position of the first kept sample
    kept: NDArray[np.int64]  # number of kept samples
    discard: NDArray[np.int64]  # samples thrown away before the kept ones
    reverse: NDArray[np.bool_]


def matrix_size(encoding: Encoding, heads: NDArray) -> tuple[int, int]:
    """Array size (readout, phase). Converters that remove readout oversampling may leave the header's size as it was:
    then every readout has exactly half the samples, with the echo in the middle, and that is the true size."""
    samples = np.unique(heads["number_of_samples"])
    readout = encoding.encoded_matrix[0]
    halved = samples.size == 1 and 2 * int(samples[0]) == readout == 2 * encoding.recon_matrix[0]
    if halved and (heads["center_sample"] == samples[0] // 2).all():
        readout = int(samples[0])
    return readout, encoding.encoded_matrix[1]


def slice_order(heads: NDArray) -> dict[int, int]:
    """Slice counter -> array index, ascending along the slice direction where positions are given."""
    numbers, first = np.unique(heads["idx"]["slice"], return_index=True)
    heights = (heads["position"][first].astype(float) * heads["slice_dir"][first[0]].astype(float)).sum(axis=1)
    ranks = np.argsort(heights, kind="stable") if np.unique(heights).size == numbers.size else np.arange(numbers.size)
    return {int(numbers[rank]): place for place, rank in enumerate(ranks)}


def place_readouts(
    path: Path,
    heads: NDArray,
    rows: NDArray[np.int64],
    encoding: Encoding,
    readout: int,
    phase: int,
    order: Mapping[int, int],
    target: Encoding | None = None,
) -> Layout:
    """Array positions of the given file rows. ``target`` is the imaging encoding when ``encoding`` is a separate one;
    both must sample k-space with the same spacing, i.e. have the same encoded field of view."""
    if target is not None and encoding is not target:
        ratio = np.divide(encoding.encoded_fov[:2], target.encoded_fov[:2])
        if not np.allclose(ratio, 1, atol=0.01):
            raise ReconError(
                f"{path}: the calibration scan has another field of view ({encoding.encoded_fov[0]:g} x "
                f"{encoding.encoded_fov[1]:g} mm) than the images; export the scan without it"
            )
    chosen = heads[rows]
    samples = chosen["number_of_samples"].astype(np.int64)
    before = chosen["discard_pre"].astype(np.int64)
    kept = samples - before - chosen["discard_post"].astype(np.int64)
    centre = chosen["center_sample"].astype(np.int64)
    reverse = (chosen["flags"] & np.uint64(1 << 21)) != 0  # ACQ_IS_REVERSE, the 22nd bit
    centre = np.where(reverse, samples - 1 - centre, centre)
    before = np.where(reverse, chosen["discard_post"].astype(np.int64), before)
    starts = readout // 2 - centre + before
    # A centre of 0 means that the converter did not say; a full readout then starts at the array's beginning.
    silent = (chosen["center_sample"] == 0) & (kept == readout)
    starts = np.where(silent, 0, starts)
    step = chosen["idx"]["kspace_encode_step_1"].astype(np.int64)
    limit = encoding.limits.get("kspace_encoding_step_1")
    lines = step if limit is None else phase // 2 - limit.center + step
    outside = (starts < 0) | (starts + kept > readout) | (kept < 1) | (lines < 0) | (lines >= phase)
    if outside.any():
        row = int(rows[np.flatnonzero(outside)[0]])
        raise ReconError(
            f"{path}: acquisition {row} lies outside the header's {readout} x {phase} matrix "
            f"({outside.sum()} of {rows.size} do); the header does not belong to this data"
        )
    known = np.isin(chosen["idx"]["slice"], list(order))
    slices = np.array([order.get(int(number), 0) for number in chosen["idx"]["slice"]], np.int64)
    return Layout(
        rows=rows[known],
        slices=slices[known],
        lines=lines[known],
        starts=starts[known],
        kept=kept[known],
        discard=before[known],
        reverse=reverse[known],
    )


def places(layout: Layout, phase: int) -> NDArray[np.int64]:
    """One number per readout that names its slice and line."""
    return layout.slices * phase + layout.lines


def merge(first: Layout, second: Layout) -> Layout:
    """The readouts of both."""
    names = first.__dataclass_fields__
    return Layout(**{name: np.concatenate([getattr(first, name), getattr(second, name)]) for name in names})


def sampling(
    path: Path, layout: Layout, slices: NDArray[np.int64], readout: int, phase: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """How often each line of ``slices`` (ascending) was measured, ``[slice, phase]``, and the mask common to them."""
    counts = np.zeros((int(slices[-1]) + 1, phase), np.int64)
    np.add.at(counts, (layout.slices, layout.lines), 1)
    counts = counts[slices]
    lines = counts[0] > 0
    if ((counts > 0) != lines).any():
        raise ReconError(f"{path}: the sampled lines change from slice to slice, which recon does not support")
    if (layout.kept == readout).all():
        return counts, lines
    mask = np.zeros((readout, phase), bool)
    for line in np.flatnonzero(lines):
        here = layout.lines == line
        mask[layout.starts[here].max() : (layout.starts + layout.kept)[here].min(), line] = True
    return counts, mask
