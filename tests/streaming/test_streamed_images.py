"""What comes back over the wire is what ``recon reconstruct`` makes of the same data in a file."""

from collections.abc import Callable
from pathlib import Path

import ismrmrd
import numpy as np
import pytest
from numpy.typing import NDArray

from recon.prior.store import load_prior
from recon.reconstruction.options import ReconstructionOptions
from recon.reconstruction.pipeline import reconstruct
from recon.scans.opening import open_scan
from recon.streaming.sending import send_scan
from recon.streaming.work import Service
from tests.small_world import write_small_prior, write_small_scan
from tests.streaming.recorded import Line, edited, lines_of, record, running, small_scan

FEW = ReconstructionOptions(steps=3, samples=2)
SENSE = ReconstructionOptions(method="sense")


@pytest.fixture(scope="module")
def prior(tmp_path_factory):
    return load_prior(write_small_prior(tmp_path_factory.mktemp("prior")))


def interleaved(xml: bytes, lines: list[Line]) -> tuple[bytes, list[Line]]:
    return xml, lines


def slice_by_slice(xml: bytes, lines: list[Line]) -> tuple[bytes, list[Line]]:
    """Slices measured one after another, numbered from the top down."""
    top = max(int(head["idx"]["slice"]) for head, _ in lines)

    def turn(_: int, head: NDArray) -> None:
        head["idx"]["slice"] = top - head["idx"]["slice"]

    lines = edited(lines, turn)
    noise = [line for line in lines if int(line[0]["flags"]) & 1 << 18]
    rest = [line for line in lines if not int(line[0]["flags"]) & 1 << 18]
    return xml, noise + sorted(rest, key=lambda line: int(line[0]["idx"]["slice"]))


def averaged(xml: bytes, lines: list[Line]) -> tuple[bytes, list[Line]]:
    """Two averages, the second with other noise; the flag comes in both, the header tells of two."""
    generator = np.random.default_rng(1)
    noise = [line for line in lines if int(line[0]["flags"]) & 1 << 18]
    first = [line for line in lines if not int(line[0]["flags"]) & 1 << 18]
    second = []
    for head, samples in first:
        head = head.copy()
        head["idx"]["average"] = 1
        drawn = generator.standard_normal((2, *samples.shape)) * 0.02
        second.append((head, (samples + drawn[0] + 1j * drawn[1]).astype(np.complex64)))
    limit = b"<average><minimum>0</minimum><maximum>1</maximum><center>0</center></average></encodingLimits>"
    return xml.replace(b"</encodingLimits>", limit), noise + first + second


def without_limits(xml: bytes, lines: list[Line]) -> tuple[bytes, list[Line]]:
    """A header that does not tell how many slices there are, and no flags: all waits for the end."""

    def clear(_: int, head: NDArray) -> None:
        head["flags"] = int(head["flags"]) & ~(1 << 7)

    before, _, rest = xml.partition(b"<slice>")
    return before + rest.partition(b"</slice>")[2], edited(lines, clear)


def short_echo(xml: bytes, lines: list[Line]) -> tuple[bytes, list[Line]]:
    """An asymmetric echo: the first ten samples of every line of an image are missing."""
    cut = []
    for head, samples in lines:
        if not int(head["flags"]) & 1 << 18:
            head["center_sample"] = samples.shape[1] // 2 - 10
            samples = np.ascontiguousarray(samples[:, 10:])
            head["number_of_samples"] = samples.shape[1]
        cut.append((head, samples))
    return xml, cut


def flagged_calibration(xml: bytes, lines: list[Line]) -> tuple[bytes, list[Line]]:
    """Odd lines of the centre are for calibration only, even ones for both; they come first."""

    def flag(_: int, head: NDArray) -> None:
        line = int(head["idx"]["kspace_encode_step_1"])
        if not int(head["flags"]) & 1 << 18 and 14 <= line < 26:
            head["flags"] = int(head["flags"]) | (1 << 20 if line % 2 == 0 else 1 << 19)

    lines = edited(lines, flag)
    calibrating = [line for line in lines if int(line[0]["flags"]) & 1 << 19]
    return xml, calibrating + [line for line in lines if not int(line[0]["flags"]) & 1 << 19]


@pytest.mark.parametrize(
    "change", [interleaved, slice_by_slice, averaged, without_limits, short_echo, flagged_calibration]
)
def test_images_are_those_of_the_file(
    change: Callable[[bytes, list[Line]], tuple[bytes, list[Line]]], tmp_path: Path
) -> None:
    file = record(tmp_path / "scan.h5", *change(*lines_of(small_scan(tmp_path, slices=4))))
    with running(Service(SENSE)) as server:
        received = send_scan(file, "127.0.0.1", server.port)
    expected = reconstruct(open_scan(file), options=SENSE)
    np.testing.assert_array_equal(received.series(1), expected.reconstruction)
    assert received.closed
    assert received.texts == []
    assert "4 images of 4 slices" in server.notes[0]


def test_posterior_with_its_standard_deviation_geometry_and_audit(prior, tmp_path: Path) -> None:
    def number(count: int, head: NDArray) -> None:
        head["scan_counter"], head["acquisition_time_stamp"], head["measurement_uid"] = count, 4000 + count, 77

    xml, lines = lines_of(small_scan(tmp_path))
    file = record(tmp_path / "scan.h5", xml, edited(lines, number))
    with running(Service(FEW, prior)) as server:
        received = send_scan(file, "127.0.0.1", server.port)
    scan = open_scan(file)
    expected = reconstruct(scan, prior, FEW)
    assert expected.std is not None
    np.testing.assert_array_equal(received.series(1), expected.reconstruction)
    np.testing.assert_array_equal(received.series(2), expected.std)
    assert len(received.images) == 6
    for image in received.images:
        header, shape = image.getHead(), expected.reconstruction.shape[1:]
        assert tuple(header.matrix_size) == (*shape, 1)
        assert header.measurement_uid == 77
        index = round((header.position[2] - scan.affine[2, 3]) / scan.voxel_size[2])
        centre = scan.affine @ (shape[0] // 2, shape[1] // 2, index, 1)
        np.testing.assert_allclose(header.position, centre[:3] * (-1, -1, 1), atol=1e-4)
        for axis, name in enumerate(("read_dir", "phase_dir", "slice_dir")):
            direction = np.array(getattr(header, name)) * (-1, -1, 1)
            np.testing.assert_allclose(direction * scan.voxel_size[axis], scan.affine[:3, axis], atol=1e-4)
        np.testing.assert_allclose(header.field_of_view, np.array([*shape, 1]) * scan.voxel_size, rtol=1e-6)
        meta = ismrmrd.Meta.deserialize(image.attribute_string)
        assert meta["recon_method"] == "posterior"
        assert meta["recon_prior"] == prior.facts.weights_sha256
        assert float(meta["recon_chi2"]) > 0
        assert "recon_averaging_gain_db" in meta
        words = meta["SeriesDescription"] + meta["ImageComments"]
        assert ("standard deviation" in words) == (header.image_series_index == 2)


def test_other_formats_are_sent_as_acquisitions(tmp_path: Path) -> None:
    """fastMRI kspace line by line, and back: the same image but for the format's own header."""
    file = write_small_scan(tmp_path / "scan.h5")
    with running(Service(SENSE)) as server:
        received = send_scan(file, "127.0.0.1", server.port)
    expected = reconstruct(open_scan(file), options=SENSE).reconstruction
    np.testing.assert_allclose(received.series(1), expected, rtol=1e-5, atol=1e-5 * expected.max())


def test_deadline_falls_back_with_a_word(prior, tmp_path: Path) -> None:
    file = record(tmp_path / "scan.h5", *lines_of(small_scan(tmp_path)))
    with running(Service(FEW, prior, deadline=0.0, at_end=True)) as server:
        received = send_scan(file, "127.0.0.1", server.port)
    np.testing.assert_array_equal(received.series(1), reconstruct(open_scan(file), options=SENSE).reconstruction)
    assert len(received.images) == 3
    assert len(received.texts) == 1
    assert "deadline" in received.texts[0]
    meta = ismrmrd.Meta.deserialize(received.images[0].attribute_string)
    assert meta["recon_method"] == "sense"
    assert "deadline" in meta["recon_warnings"][0]
    assert "without the prior" in server.notes[0]


def test_a_prior_that_refuses_falls_back_with_a_word(prior, tmp_path: Path) -> None:
    file = record(tmp_path / "scan.h5", *lines_of(small_scan(tmp_path)))
    options = ReconstructionOptions(steps=3, contrast="T7")
    with running(Service(options, prior)) as server:
        received = send_scan(file, "127.0.0.1", server.port)
    np.testing.assert_array_equal(received.series(1), reconstruct(open_scan(file), options=SENSE).reconstruction)
    assert "T7" in received.texts[0]


def test_real_kspace(shared_data: Path, tmp_path: Path, run_cli) -> None:
    """Measured kspace, converted, sent line by line. The other real file beside it has a 2-D mask: no lines."""
    source, file = shared_data / "kspace" / "mchiew_sense_raw_data.mat", tmp_path / "real.h5"
    if not source.is_file():
        pytest.skip("the file is absent")
    words = ("--axes", "coil,readout,phase", "--key", "raw", "--voxel-size", "1,1,5", "--out", file)
    outcome = run_cli("convert", source, *words)
    assert outcome.code == 0, outcome.err
    with running(Service(SENSE)) as server:
        received = send_scan(file, "127.0.0.1", server.port)
    expected = reconstruct(open_scan(file), options=SENSE).reconstruction
    np.testing.assert_allclose(received.series(1), expected, rtol=1e-4, atol=1e-5 * expected.max())
