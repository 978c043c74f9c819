"""What the lines of Siemens raw data are for, and their headers in ISMRMRD's terms."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recon.errors import ReconError
from recon.scans.acquisition_rows import Rows
from recon.scans.ismrmrd_header import Encoding, EncodingLimit
from recon.scans.twix_file import VB, Layout, Measurement

_REFERENCE, _REFERENCE_AND_IMAGE, _REFLECTED, _NOISE = 22, 23, 24, 25  # bits of a line's mask
# Lines that are neither image nor calibration nor noise: bits of the mask, and what people call them.
_LEFT_OUT = {
    "phase-correction": (21, 39), "navigator": (60,), "feedback": (1, 2), "phase-stabilisation": (14, 15),
    "tagging": (34,), "coil-normalisation": (35,), "dummy": (50, 51), "transmitter-control": (53, 56),
}  # fmt: skip
_MULTI_BAND = (38, 39)
_BLADE = (40, 41, 42)
_NOISE_OF_ADJUSTMENTS = {"AdjCoilSens": 5.0, "AdjQuietCoilSens": 4.0}  # microseconds between samples
HEADS = np.dtype(
    [(name, "<i8") for name in (
        "measurement_uid", "acquisition_time_stamp", "scan_counter", "number_of_samples", "active_channels",
        "discard_pre", "discard_post", "center_sample", "encoding_space_ref",
    )]
    + [("flags", "<u8"), ("sample_time_us", "<f8")]
    + [(name, "<f8", (3,)) for name in ("position", "read_dir", "phase_dir", "slice_dir")]
    + [("idx", [(name, "<i8") for name in (
        "kspace_encode_step_1", "kspace_encode_step_2", "slice", "repetition", "contrast", "phase", "set", "average",
    )])]
)  # fmt: skip
_SAME = {
    "measurement_uid": "measurement", "acquisition_time_stamp": "time", "scan_counter": "counter",
    "number_of_samples": "samples", "active_channels": "channels", "discard_pre": "cut_before",
    "discard_post": "cut_after", "center_sample": "centre_column",
}  # fmt: skip
_COUNTERS = {
    "slice": "slice", "repetition": "repetition", "contrast": "echo", "phase": "phase", "set": "set",
    "average": "average",
}  # fmt: skip


def noise_lines(lines: NDArray) -> NDArray[np.bool_]:
    """``[line]``: those that hold the receivers' noise alone."""
    return _flagged(lines, _NOISE)


def sorted_lines(lines: NDArray) -> tuple[Rows, tuple[str, ...]]:
    """Which lines are what, and a note for each kind that is left out."""
    noise = noise_lines(lines)
    ignored = noise.copy()
    notes = []
    for name, bits in _LEFT_OUT.items():
        these = _flagged(lines, *bits) & ~ignored
        ignored |= these
        if these.any():
            notes.append(f"{these.sum()} {name} lines are left out")
    reference = _flagged(lines, _REFERENCE) & ~_flagged(lines, _REFERENCE_AND_IMAGE) & ~ignored
    return Rows(noise, ~ignored & ~reference, reference), tuple(notes)


def refuse_lines(path: Path, lines: NDArray, rows: Rows) -> None:
    """Raises ReconError for lines of echo-planar, multi-band and PROPELLER scans, whatever the protocol says."""
    imaging = lines[rows.imaging]
    if _flagged(imaging, _REFLECTED).any():
        raise ReconError(
            f"{path}: echo-planar or bipolar readouts, every other line backwards, need ghost correction first, which "
            "recon does not do; export images, or correct and import it by 'recon convert'"
        )
    if _flagged(lines, *_MULTI_BAND).any():
        raise ReconError(f"{path}: simultaneous multi-slice excitation, which recon cannot take apart")
    if _flagged(imaging, *_BLADE).any():
        raise ReconError(f"{path}: BLADE (PROPELLER) trajectory; recon reads Cartesian scans only")


def heads_of(measurement: Measurement, encoding: Encoding, dwell_us: float) -> NDArray:
    """The headers ``[line]`` with ISMRMRD's field names. Lines and partitions count from k-space's centre, which every
    line states for itself, so that the centre is at half of the encoded matrix."""
    lines = measurement.lines
    heads = np.zeros(lines.size, HEADS)
    for ours, theirs in _SAME.items():
        heads[ours] = lines[theirs]
    for ours, theirs in _COUNTERS.items():
        heads["idx"][ours] = lines[theirs]
    _, phase, partitions = encoding.encoded_matrix
    heads["idx"]["kspace_encode_step_1"] = lines["line"].astype(int) - lines["centre_line"] + phase // 2
    heads["idx"]["kspace_encode_step_2"] = lines["partition"]
    if partitions > 1:
        heads["idx"]["kspace_encode_step_2"] += partitions // 2 - lines["centre_partition"].astype(int)
    heads["position"] = lines["position"]
    for name, direction in zip(("phase_dir", "read_dir", "slice_dir"), _directions(lines["quaternion"]), strict=True):
        heads[name] = direction
    heads["sample_time_us"] = dwell_us
    return heads


def noise_dwell_us(layout: Layout, samples: int, protocol: str) -> float:
    """Time between the samples of a noise line, by the rules that siemens_to_ismrmrd has for it: 130 Hz a pixel in VB,
    768 us a line later (floored to the scanner's raster of 0.1 us), fixed ones in the adjustments of the coils."""
    if protocol in _NOISE_OF_ADJUSTMENTS:
        return _NOISE_OF_ADJUSTMENTS[protocol]
    return 1e6 / samples / 130 if layout is VB else int(76800 / samples) / 10


def sampled_limits(heads: NDArray, rows: Rows, encoding: Encoding) -> dict[str, EncodingLimit]:
    """First, last and central line. Where more is missing at an edge than between lines, it was never encoded
    (partial Fourier)."""
    phase, partitions = encoding.encoded_matrix[1:]
    steps = np.unique(heads["idx"]["kspace_encode_step_1"][rows.imaging | rows.calibration])
    gap = int(np.diff(steps).max(initial=1))
    first = int(steps[0]) if steps[0] >= gap else 0
    last = int(steps[-1]) if phase - 1 - steps[-1] >= gap else phase - 1
    limits = {"kspace_encoding_step_1": EncodingLimit(first, last, phase // 2)}
    return limits | {"kspace_encoding_step_2": EncodingLimit(0, partitions - 1, partitions // 2)}


def _flagged(lines: NDArray, *bits: int) -> NDArray[np.bool_]:
    wanted = np.uint64(sum(1 << bit for bit in bits))
    return (lines["mask"] & wanted) != 0


def _directions(quaternions: NDArray) -> list[NDArray[np.float64]]:
    """Unit vectors ``[line, 3]`` in LPS along phase, readout and slice: the columns of the rotation that the quaternion
    (w, x, y, z) stands for. Zeros where it is none."""
    norm = np.linalg.norm(quaternions.astype(np.float64), axis=1)[:, None]
    is_rotation = np.abs(norm - 1) < 0.01
    unit = np.where(is_rotation, quaternions / np.where(is_rotation, norm, 1), np.where(np.isfinite(norm), 0.0, np.nan))
    w, x, y, z = unit.T
    stated = (w * w + x * x + y * y + z * z)[:, None]
    columns = (
        np.stack([1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)], axis=1),
        np.stack([2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)], axis=1),
        np.stack([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)], axis=1),
    )
    return [column * stated for column in columns]
