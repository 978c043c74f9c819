"""Siemens raw data (twix, ``.dat``) of VB, VD, VE and XA: 2-D multi-slice and 3-D Cartesian scans.

The last measurement of the file that holds images is the scan; noise comes from it or from an adjustment before it.
What is read and what is left out: docs/file-formats.md. Nothing about the patient is read.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recon.errors import ReconError
from recon.scan import Scan
from recon.scans.acquisition_rows import Rows
from recon.scans.assembly import Acquired, assembled
from recon.scans.ismrmrd_header import Encoding
from recon.scans.readouts import Acquisitions
from recon.scans.twix_file import Measurement, first_bytes, measurements
from recon.scans.twix_lines import heads_of, noise_dwell_us, noise_lines, refuse_lines, sampled_limits, sorted_lines
from recon.scans.twix_protocol import Protocol, encoding_of

_SAME_NORMAL = 0.99  # cosine between two statements of one direction


def recognises(path: Path) -> bool:
    """Whether a ``.dat`` file begins as Siemens raw data do."""
    return path.suffix.lower() == ".dat" and first_bytes(path) is not None


def open_file(path: Path) -> Scan:
    """Open a scan; reads the protocol, the headers of the lines and the noise scan, no image data.

    Raises ReconError for damaged files, echo-planar, multi-band and other scans that are not Cartesian, and as
    ``recon.scans.assembly.assembled`` does.
    """
    path = Path(path)
    scan, rows, notes, others = _imaging_measurement(path)
    protocol = Protocol(path, scan.text)
    encoding = encoding_of(protocol)
    refuse_lines(path, scan.lines, rows)
    heads = heads_of(scan, encoding, protocol.dwell_us)
    encoding = replace(encoding, limits=sampled_limits(heads, rows, encoding))
    sources = [scan]
    if rows.noise.any():
        samples = int(scan.lines["samples"][rows.noise][0])
        heads["sample_time_us"][rows.noise] = noise_dwell_us(scan.layout, samples, "")
    elif (adjustment := _noise_measurement(others, int(heads["active_channels"][rows.imaging][0]))) is not None:
        sources.append(adjustment)
        heads, rows = _with_noise(heads, rows, adjustment, encoding)
        notes = (*notes, "the noise is that of an adjustment measurement in the same file")
    notes = (*notes, *_protocol_notes(protocol, encoding, heads[rows.imaging]))
    return assembled(Acquired(path, heads, rows, [encoding], _source(sources), notes))


def _imaging_measurement(path: Path) -> tuple[Measurement, Rows, tuple[str, ...], Iterator[Measurement]]:
    """The last measurement with imaging lines, its lines by purpose, notes, and the measurements before it."""
    found = measurements(path)
    for skipped, measurement in enumerate(found):
        if not measurement.lines.size:
            continue
        rows, notes = sorted_lines(measurement.lines)
        if rows.imaging.any():
            if skipped:
                notes = (f"the last {skipped} measurements of the file hold no images and are left out", *notes)
            return measurement, rows, notes, found
    raise ReconError(f"{path}: holds no imaging lines, only noise or calibration; export the whole measurement")


def _noise_measurement(others: Iterator[Measurement], coils: int) -> Measurement | None:
    """The latest measurement before the scan with noise of the same coils."""
    for measurement in others:
        noise = noise_lines(measurement.lines)
        if noise.any() and (measurement.lines["channels"][noise] == coils).all():
            return measurement
    return None


def _with_noise(heads: NDArray, rows: Rows, adjustment: Measurement, encoding: Encoding) -> tuple[NDArray, Rows]:
    """The headers of the scan and of another measurement's lines, of which only the noise is used."""
    noise = noise_lines(adjustment.lines)
    name = Protocol(adjustment.path, adjustment.text).text("tProtocolName")
    dwell = noise_dwell_us(adjustment.layout, int(adjustment.lines["samples"][noise][0]), name)
    added = heads_of(adjustment, encoding, dwell)
    nothing = np.zeros(added.size, bool)
    rows = Rows(
        np.concatenate([rows.noise, noise]),
        np.concatenate([rows.imaging, nothing]),
        np.concatenate([rows.calibration, nothing]),
    )
    return np.concatenate([heads, added]), rows


def _protocol_notes(protocol: Protocol, encoding: Encoding, imaging: NDArray) -> list[str]:
    notes = []
    if protocol.number("sKSpace.uc2DInterpolation", 0) == 1:
        notes.append("the scanner interpolates images by zero-filling; recon keeps the measured matrix")
    places = np.unique(imaging["idx"][["slice", "kspace_encode_step_1", "kspace_encode_step_2"]], return_counts=True)[1]
    averages = np.unique(imaging["idx"]["average"]).size
    if places.max() > averages:
        notes.append(f"lines were measured up to {places.max()} times and are averaged")
    if encoding.encoded_matrix[2] == 1 and not imaging["slice_dir"].any():
        notes.append("the lines state no orientation")
    normal = np.asarray(protocol.vector("sSliceArray.asSlice[0].sNormal"))
    if normal.any() and imaging["slice_dir"][0].any() and abs(normal @ imaging["slice_dir"][0]) < _SAME_NORMAL:
        notes.append("the protocol's slice normal is not that of the lines, which counts")
    if elements := protocol.elements():
        notes.append("receive coil elements: " + ", ".join(elements))
    return notes


def _source(parts: list[Measurement]) -> Acquisitions:
    """Samples of lines, numbered through the measurements one after another."""
    starts = np.cumsum([0, *(part.lines.size for part in parts)])

    def read(rows: NDArray[np.int64], coils: int) -> Iterator[NDArray[np.complex64]]:
        for row in rows:
            number = int(np.searchsorted(starts, row, side="right")) - 1
            yield parts[number].samples(int(row - starts[number]))

    return read
