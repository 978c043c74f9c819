"""Which acquisitions of a raw file are what, and where they go: shared by the formats that are lists of readouts.

Headers of acquisitions have the field names of ISMRMRD, whatever the format: readers translate theirs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recon.errors import ReconError
from recon.scans.ismrmrd_header import Encoding
from recon.scans.ismrmrd_layout import Layout, merge, place_readouts, places

_SINGLE = {"repetition": "repetitions", "contrast": "echoes", "phase": "cardiac phases", "set": "sets"}


@dataclass(frozen=True)
class Rows:
    """Which acquisitions of a file are what, each ``[acquisition]``, and the encoding of the imaging ones."""

    noise: NDArray[np.bool_]
    imaging: NDArray[np.bool_]
    calibration: NDArray[np.bool_]  # lines for calibration alone, and those of another encoding
    space: int = 0

    def of(self, chosen: NDArray[np.bool_]) -> "Rows":
        """Without the lines for images and calibration that are not among ``chosen [acquisition]``."""
        return replace(self, imaging=self.imaging & chosen, calibration=self.calibration & chosen)


def layouts(
    path: Path,
    heads: NDArray,
    rows: Rows,
    encodings: Sequence[Encoding],
    order: Mapping[int, int],
    matrix: tuple[int, int],
) -> tuple[Layout, Layout | None]:
    """Where the imaging lines go, calibration lines of their own encoding among them; and a separate calibration
    scan. ``order``: slice counter -> array index; ``matrix``: (readout, phase)."""
    readout, phase = matrix
    encoding = encodings[rows.space]
    layout = place_readouts(path, heads, np.flatnonzero(rows.imaging), encoding, readout, phase, order)
    if not rows.calibration.any():
        return layout, None
    other = encodings[min(int(heads["encoding_space_ref"][rows.calibration][0]), len(encodings) - 1)]
    separate = place_readouts(path, heads, np.flatnonzero(rows.calibration), other, readout, phase, order, encoding)
    repeats = np.isin(places(separate, phase), places(layout, phase)).any()
    if other is encoding and encoding.calibration_mode not in ("separate", "external") and not repeats:
        return merge(layout, separate), None
    return layout, separate


def common_coils(path: Path, heads: NDArray, rows: Rows) -> int:
    """The number of coils of every acquisition that is used. Raises ReconError when it is zero or varies."""
    coils = int(heads["active_channels"][rows.imaging][0])
    if coils == 0 or (heads["active_channels"][rows.imaging | rows.calibration | rows.noise] != coils).any():
        raise ReconError(f"{path}: acquisitions have {coils} or a varying number of coils; export the scan again")
    return coils


def measurement_words(imaging: NDArray) -> list[str]:
    """What tells two measurements of one protocol apart: counters and clock of the scanner at the first line of an
    image, whole numbers. Of the first alone, because it is known before the last has come."""
    return [imaging[name][:1].tobytes().hex() for name in ("measurement_uid", "acquisition_time_stamp", "scan_counter")]


def refuse_several(path: Path, heads: NDArray) -> None:
    """Raises ReconError for dynamic scans, several echoes and the like."""
    for counter, name in _SINGLE.items():
        values = np.unique(heads["idx"][counter])
        if values.size > 1:
            raise ReconError(f"{path}: {values.size} {name}; recon reads static scans with one, export them apart")


def refuse_places(path: Path, heads: NDArray) -> None:
    """Raises ReconError for positions and directions that are NaN or infinite; directions of zero say nothing."""
    for name in ("position", "read_dir", "phase_dir", "slice_dir"):
        broken = ~np.isfinite(heads[name]).all(axis=1)
        if broken.any():
            raise ReconError(
                f"{path}: {name} of {broken.sum()} of {heads.size} imaging acquisitions is NaN or infinite "
                f"(first: number {np.flatnonzero(broken)[0]}); export the scan again"
            )
