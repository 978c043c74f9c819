"""ISMRMRD files written by the ismrmrd package itself, acquisition by acquisition."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import ismrmrd
import numpy as np
import pytest
from ismrmrd import constants as flags

from recon.acquisition.fourier_numpy import to_image, to_kspace
from recon.acquisition.rss import reference_image, root_sum_of_squares
from recon.errors import ReconError
from recon.scans.opening import open_scan

SLICES, COILS, READOUT, PHASE = 3, 4, 32, 20

XML = """<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">
  <subjectInformation><patientName>Muster^Max</patientName></subjectInformation>
  <measurementInformation><protocolName>{protocol}</protocolName></measurementInformation>
  <acquisitionSystemInformation><systemVendor>Any</systemVendor><systemFieldStrength_T>1.5</systemFieldStrength_T>
    <relativeReceiverNoiseBandwidth>{bandwidth}</relativeReceiverNoiseBandwidth></acquisitionSystemInformation>
  <experimentalConditions><H1resonanceFrequency_Hz>63000000</H1resonanceFrequency_Hz></experimentalConditions>
  {encodings}
</ismrmrdHeader>"""

ENCODING = """<encoding>
    <encodedSpace><matrixSize><x>{readout}</x><y>{phase}</y><z>{partitions}</z></matrixSize>
      <fieldOfView_mm><x>{fov}</x><y>200</y><z>4</z></fieldOfView_mm></encodedSpace>
    <reconSpace><matrixSize><x>{rows}</x><y>{phase}</y><z>1</z></matrixSize>
      <fieldOfView_mm><x>160</x><y>200</y><z>4</z></fieldOfView_mm></reconSpace>
    <encodingLimits><kspace_encoding_step_1><minimum>0</minimum><maximum>{maximum}</maximum><center>{center}</center>
      </kspace_encoding_step_1></encodingLimits>
    <trajectory>{trajectory}</trajectory>
    <parallelImaging><accelerationFactor><kspace_encoding_step_1>1</kspace_encoding_step_1></accelerationFactor>
      <calibrationMode>{mode}</calibrationMode></parallelImaging>
  </encoding>"""


def encoding(**changes: Any) -> str:
    values: dict[str, Any] = {
        "readout": READOUT,
        "phase": PHASE,
        "partitions": 1,
        "fov": 320,
        "rows": READOUT // 2,
        "maximum": PHASE - 1,
        "center": PHASE // 2,
        "trajectory": "cartesian",
        "mode": "embedded",
    }
    return ENCODING.format(**{**values, **changes})


def header(protocol: str = "t2_tse_tra", bandwidth: float = 1.0, encodings: str | None = None, **changes: Any) -> str:
    return XML.format(protocol=protocol, bandwidth=bandwidth, encodings=encodings or encoding(**changes))


def random_kspace(*shape: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return (generator.normal(size=shape) + 1j * generator.normal(size=shape)).astype(np.complex64)


class Recorder:
    """Appends readouts as a scanner's converter would."""

    def __init__(self, path: Path, xml: str) -> None:
        self.path = path
        self.measurement = 0
        self.dataset = ismrmrd.Dataset(str(path), mode="w")
        self.dataset.write_xml_header(xml.encode())

    def line(
        self,
        samples: np.ndarray,
        *,
        line: int = 0,
        slice_number: int = 0,
        flag: int | None = None,
        center: int | None = None,
        space: int = 0,
        dwell: float = 10.0,
        discard: tuple[int, int] = (0, 0),
        trajectory: np.ndarray | None = None,
        **counters: int,
    ) -> None:
        acquisition = ismrmrd.Acquisition.from_array(np.ascontiguousarray(samples, np.complex64), trajectory)
        acquisition.idx.kspace_encode_step_1 = line
        acquisition.idx.slice = slice_number
        acquisition.measurement_uid = self.measurement
        for name, value in counters.items():
            setattr(acquisition.idx, name, value)
        acquisition.center_sample = samples.shape[1] // 2 if center is None else center
        acquisition.encoding_space_ref = space
        acquisition.sample_time_us = dwell
        acquisition.discard_pre, acquisition.discard_post = discard
        acquisition.position = (10.0, 20.0, 30.0 - 5.0 * slice_number)  # numbered from the top down
        acquisition.read_dir = (0.0, 1.0, 0.0)
        acquisition.phase_dir = (1.0, 0.0, 0.0)
        acquisition.slice_dir = (0.0, 0.0, 1.0)
        if flag is not None:
            acquisition.set_flag(flag)
        self.dataset.append_acquisition(acquisition)

    def close(self) -> Path:
        self.dataset.close()
        return self.path


@pytest.fixture
def recorder(tmp_path: Path) -> Callable[..., Recorder]:
    return lambda xml=None: Recorder(tmp_path / "scan.h5", xml or header())


def record_full(recorder: Recorder, kspace: np.ndarray, lines: Any = range(PHASE), **options: Any) -> None:
    """All slices interleaved, line by line."""
    for line in lines:
        for number in range(kspace.shape[0]):
            recorder.line(kspace[number, :, :, line], line=line, slice_number=number, **options)


def test_full_scan_with_noise_and_oversampling(recorder: Callable[..., Recorder]) -> None:
    kspace = random_kspace(SLICES, COILS, READOUT, PHASE)
    noise = random_kspace(COILS, 256, seed=1)
    file = recorder()
    file.line(noise, flag=flags.ACQ_IS_NOISE_MEASUREMENT)
    record_full(file, kspace)
    file.line(random_kspace(COILS, READOUT), flag=flags.ACQ_IS_NAVIGATION_DATA)
    scan = open_scan(file.close())
    assert scan.shape == (SLICES, COILS, READOUT, PHASE)
    assert scan.image_shape == (READOUT // 2, PHASE)
    assert scan.contrast == "T2"
    assert scan.acceleration == 1
    assert scan.header.vendor == "Any"
    np.testing.assert_allclose(scan.noise, noise, rtol=1e-6)
    # Slices are ordered upwards, although the scanner numbered them downwards.
    for index in range(SLICES):
        np.testing.assert_array_equal(scan.read_kspace(index), kspace[SLICES - 1 - index])
    np.testing.assert_array_equal(
        reference_image(scan, 0), root_sum_of_squares(kspace[SLICES - 1], (READOUT // 2, PHASE))
    )
    assert "Muster" not in repr(scan)


def test_measurements_of_one_protocol_have_their_own_identity(tmp_path: Path) -> None:
    """By the scanner's counters; what it measured is not asked."""
    found = []
    for number, (measurement, seed) in enumerate([(0, 0), (0, 1), (1, 0)]):
        file = Recorder(tmp_path / f"{number}.h5", header())
        file.measurement = measurement
        record_full(file, random_kspace(SLICES, COILS, READOUT, PHASE, seed=seed))
        found.append(open_scan(file.close()))
    first, same, other = found
    assert first.digest != same.digest
    assert first.identity == same.identity != other.identity


def test_geometry_is_the_patients(recorder: Callable[..., Recorder]) -> None:
    """The field of view's centre, in LPS in the file, lies at the middle voxel of each slice, in RAS+."""
    file = recorder()
    record_full(file, random_kspace(SLICES, COILS, READOUT, PHASE))
    scan = open_scan(file.close())
    assert scan.voxel_size == (10.0, 10.0, 5.0)  # 5 mm apart, although 4 mm thick
    assert scan.header.slice_thickness_mm == 4
    for index in range(SLICES):
        centre = scan.affine @ [READOUT // 4, PHASE // 2, index, 1]
        np.testing.assert_allclose(centre, [-10, -20, 20 + 5 * index, 1])
    np.testing.assert_allclose(scan.affine[:3, 0], [0, -10, 0])
    np.testing.assert_allclose(scan.affine[:3, 1], [-10, 0, 0])


def test_noise_is_brought_to_the_images_level(recorder: Callable[..., Recorder]) -> None:
    """Twice the dwell time and two averages: a quarter of the variance; a filter that passes .8 hides the rest."""
    kspace = random_kspace(1, COILS, READOUT, PHASE)
    noise = random_kspace(COILS, 256, seed=1)
    file = recorder(header(bandwidth=0.8))
    file.line(noise, flag=flags.ACQ_IS_NOISE_MEASUREMENT, dwell=5.0)
    for average in range(2):
        record_full(file, kspace * (1 + average), dwell=10.0, average=average)
    scan = open_scan(file.close())
    np.testing.assert_allclose(scan.noise, noise * np.sqrt(0.25 / 0.8), rtol=1e-5)
    np.testing.assert_allclose(scan.read_kspace(0), 1.5 * kspace[0], rtol=1e-5)
    assert scan.header.averages == 2


def test_lines_that_are_averaged_unevenly_are_said(recorder: Callable[..., Recorder], run_cli: Any) -> None:
    """Twice in the centre only: one noise level for all lines is too high there, and a user should know."""
    kspace = random_kspace(2, COILS, READOUT, PHASE)
    file = recorder()
    record_full(file, kspace)
    record_full(file, 3 * kspace, lines=range(6, 14), average=1)
    path = file.close()
    scan = open_scan(path)
    assert scan.notes == ("lines are averages of 1 to 2 measurements: the noise is taken for that of 1 everywhere",)
    assert scan.header.averages is None
    np.testing.assert_allclose(scan.read_kspace(0)[..., 6:14], 2 * kspace[1, ..., 6:14], rtol=1e-5)
    np.testing.assert_allclose(scan.read_kspace(0)[..., :6], kspace[1, ..., :6], rtol=1e-5)
    assert f"note         {scan.notes[0]}" in run_cli("info", path).out


def test_embedded_calibration_lines_join_the_mask(recorder: Callable[..., Recorder]) -> None:
    kspace = random_kspace(2, COILS, READOUT, PHASE)
    file = recorder()
    for line in range(PHASE):
        in_centre = 6 <= line < 14
        if line % 2 == 0 or in_centre:
            flag = None
            if in_centre:
                flag = (
                    flags.ACQ_IS_PARALLEL_CALIBRATION_AND_IMAGING
                    if line % 2 == 0
                    else flags.ACQ_IS_PARALLEL_CALIBRATION
                )
            record_full(file, kspace, [line], flag=flag)
    scan = open_scan(file.close())
    expected = np.arange(PHASE) % 2 == 0
    expected[6:14] = True
    np.testing.assert_array_equal(scan.mask, expected)
    assert scan.calibration == (READOUT, 9)
    assert scan.calibration_kspace is None
    np.testing.assert_array_equal(scan.read_kspace(0), kspace[1] * expected)


@pytest.mark.parametrize("own_encoding", [True, False])
def test_separate_calibration_scan(own_encoding: bool, recorder: Callable[..., Recorder]) -> None:
    """Lines measured apart, in an encoding of half the matrix or flagged as external in the same one."""
    kspace = random_kspace(2, COILS, READOUT, PHASE)
    calibration = random_kspace(2, COILS, READOUT // 2, 10, seed=4)
    if own_encoding:
        both = encoding() + encoding(readout=READOUT // 2, phase=10, maximum=9, center=5)
        file = recorder(header(encodings=both))
        record_full(file, calibration, range(10), space=1, flag=flags.ACQ_IS_PARALLEL_CALIBRATION)
    else:
        file = recorder(header(mode="external"))
        for line in range(10):
            for number in range(2):
                file.line(
                    calibration[number, :, :, line],
                    line=line + 5,
                    slice_number=number,
                    flag=flags.ACQ_IS_PARALLEL_CALIBRATION,
                )
    record_full(file, kspace, range(0, PHASE, 2))
    scan = open_scan(file.close())
    assert scan.mask.sum() == PHASE // 2
    assert scan.calibration == (READOUT // 2, 10)
    expected = np.zeros((COILS, READOUT, PHASE), np.complex64)
    expected[:, 8:24, 5:15] = calibration[1]
    np.testing.assert_array_equal(scan.calibration_kspace(0), expected)
    np.testing.assert_array_equal(scan.read_kspace(0)[..., ::2], kspace[1][..., ::2])


def test_dual_calibration(recorder: Callable[..., Recorder]) -> None:
    """Calibration lines within the scan stay data, although a scan measured apart is what is calibrated on."""
    kspace, apart = random_kspace(2, COILS, READOUT, PHASE), random_kspace(2, COILS, READOUT, PHASE, seed=4)
    file = recorder(header(mode="external"))
    record_full(file, apart, range(4, 16), flag=flags.ACQ_IS_PARALLEL_CALIBRATION)
    record_full(file, kspace, range(0, 8, 2))
    record_full(file, kspace, range(8, 12), flag=flags.ACQ_IS_PARALLEL_CALIBRATION_AND_IMAGING)
    record_full(file, kspace, range(12, PHASE, 2))
    scan = open_scan(file.close())
    expected = np.arange(PHASE) % 2 == 0
    expected[8:12] = True
    np.testing.assert_array_equal(scan.mask, expected)
    np.testing.assert_array_equal(scan.read_kspace(0), kspace[1] * expected)
    assert scan.calibration == (READOUT, 12)
    np.testing.assert_array_equal(scan.calibration_kspace(0)[..., 4:16], apart[1][..., 4:16])


@pytest.mark.parametrize(("values", "found"), [((800,), 800), ((800, 800), 800), ((0, 800), None), ((), None)])
def test_b_value_where_the_header_knows_it(
    values: tuple[int, ...], found: float | None, recorder: Callable[..., Recorder]
) -> None:
    """Several b-values belong to a series; which of them one image has is not in the header."""
    entries = "".join(
        f"<diffusion><gradientDirection><rl>1</rl><ap>0</ap><fh>0</fh></gradientDirection><bvalue>{b}</bvalue></diffusion>"
        for b in values
    )
    file = recorder(
        header().replace("</ismrmrdHeader>", f"<sequenceParameters>{entries}</sequenceParameters></ismrmrdHeader>")
    )
    record_full(file, random_kspace(1, COILS, READOUT, PHASE))
    assert open_scan(file.close()).header.b_value_s_per_mm2 == found


def test_partial_fourier_and_limits(recorder: Callable[..., Recorder]) -> None:
    """14 of 20 lines, numbered from 0, with the centre at number 4."""
    kspace = random_kspace(1, COILS, READOUT, PHASE)
    file = recorder(header(maximum=13, center=4))
    for number in range(14):
        file.line(kspace[0, :, :, number + 6], line=number)
    scan = open_scan(file.close())
    assert scan.phase_limits == (6, 20)
    assert scan.acceleration == 1
    assert scan.calibration == (READOUT, 9)
    kspace[..., :6] = 0
    np.testing.assert_array_equal(scan.read_kspace(0), kspace[0])


def test_asymmetric_echo_and_discarded_samples(recorder: Callable[..., Recorder], tmp_path: Path, run_cli: Any) -> None:
    """24 of 32 samples with the echo at sample 8, after 2 to throw away at the start and 1 at the end."""
    kspace = random_kspace(1, COILS, READOUT, PHASE)
    file = recorder()
    junk = np.full((COILS, 2), 99)
    for line in range(PHASE):
        samples = np.concatenate([junk, kspace[0, :, 8:, line], junk[:, :1]], axis=1)
        file.line(samples, line=line, center=10, discard=(2, 1))
    scan = open_scan(file.close())
    assert scan.mask.shape == (READOUT, PHASE)
    assert not scan.mask[:8].any()
    assert scan.mask[8:].all()
    kspace[:, :, :8] = 0
    np.testing.assert_array_equal(scan.read_kspace(0), kspace[0])
    out = tmp_path / "out.h5"
    command = (
        "undersample",
        scan.path,
        "--acceleration",
        2,
        "--calibration-lines",
        8,
        "--keep-reference",
        "--out",
        out,
    )
    assert run_cli(*command).code == 0
    fewer = open_scan(out)
    np.testing.assert_array_equal(fewer.mask.any(axis=1), scan.mask.any(axis=1))
    assert fewer.mask.sum() < 0.8 * scan.mask.sum()
    np.testing.assert_array_equal(fewer.read_reference(0), reference_image(scan, 0))


def test_reversed_readouts_are_turned(recorder: Callable[..., Recorder]) -> None:
    kspace = random_kspace(1, COILS, READOUT, PHASE)
    file = recorder()
    for line in range(PHASE):
        if line % 2:
            file.line(kspace[0, :, ::-1, line], line=line, center=READOUT // 2 - 1, flag=flags.ACQ_IS_REVERSE)
        else:
            file.line(kspace[0, :, :, line], line=line)
    np.testing.assert_array_equal(open_scan(file.close()).read_kspace(0), kspace[0])


def test_point_source_lies_where_the_header_says(recorder: Callable[..., Recorder]) -> None:
    image = np.zeros((1, 1, READOUT, PHASE))
    image[..., READOUT // 2 + 3, PHASE // 2 - 4] = 1
    file = recorder()
    record_full(file, to_kspace(image))
    scan = open_scan(file.close())
    found = reference_image(scan, 0)
    place = np.unravel_index(found.argmax(), found.shape)
    # 3 voxels of 10 mm along +posterior, 4 along -left, from the centre at (10, 20, 30) mm LPS.
    np.testing.assert_allclose(scan.affine @ [*place, 0, 1], [-(10 - 40), -(20 + 30), 30, 1], atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "counters", "message"),
    [
        ({"trajectory": "radial"}, {}, "radial trajectory"),
        ({"trajectory": "spiral"}, {}, "spiral trajectory"),
        ({"trajectory": "epi"}, {}, "EPI"),
        ({}, {"repetition": 1}, "2 repetitions"),
        ({}, {"contrast": 1}, "2 echoes"),
        ({}, {"kspace_encode_step_2": 1}, "3-D"),
        ({"phase": 10, "maximum": 9, "center": 5}, {}, "outside the header's"),
    ],
)
def test_scans_that_recon_does_not_do(
    changes: dict[str, Any], counters: dict[str, int], message: str, recorder: Callable[..., Recorder], run_cli: Any
) -> None:
    kspace = random_kspace(1, COILS, READOUT, PHASE)
    file = recorder(header(**changes))
    record_full(file, kspace)
    if counters:
        record_full(file, kspace, **counters)
    path = file.close()
    with pytest.raises(ReconError, match=message):
        open_scan(path)
    assert run_cli("info", path).code == 2


def test_lines_that_change_from_slice_to_slice(recorder: Callable[..., Recorder]) -> None:
    file = recorder()
    file.line(random_kspace(COILS, READOUT), line=3, slice_number=0)
    file.line(random_kspace(COILS, READOUT), line=4, slice_number=1)
    with pytest.raises(ReconError, match="change from slice to slice"):
        open_scan(file.close())


def test_images_without_acquisitions(recorder: Callable[..., Recorder]) -> None:
    file = recorder()
    file.dataset.append_image("image_0", ismrmrd.Image.from_array(np.ones((8, 8), np.float32)))
    with pytest.raises(ReconError, match="holds no acquisitions"):
        open_scan(file.close())


def test_noise_alone_and_truncated_readouts(recorder: Callable[..., Recorder], tmp_path: Path) -> None:
    file = recorder()
    file.line(random_kspace(COILS, 64), flag=flags.ACQ_IS_NOISE_MEASUREMENT)
    with pytest.raises(ReconError, match="no imaging acquisitions"):
        open_scan(file.close())
    file = recorder()
    record_full(file, random_kspace(1, COILS, READOUT, PHASE))
    path = file.close()
    with h5py.File(path, "r+") as opened:
        row = opened["dataset/data"][5]
        row["data"] = row["data"][:-3]
        opened["dataset/data"][5] = row
    with pytest.raises(ReconError, match="acquisition 5 is truncated"):
        open_scan(path).read_kspace(0)


def test_values_that_are_not_finite(recorder: Callable[..., Recorder]) -> None:
    kspace = random_kspace(1, COILS, READOUT, PHASE)
    kspace[0, 1, 2, 3] = np.nan
    file = recorder()
    record_full(file, kspace)
    with pytest.raises(ReconError, match="slice 0: 1 k-space values are NaN"):
        open_scan(file.close()).read_kspace(0)


def test_conversion_keeps_everything(recorder: Callable[..., Recorder], tmp_path: Path, run_cli: Any) -> None:
    kspace = random_kspace(SLICES, COILS, READOUT, PHASE)
    file = recorder(header(protocol="Axial T2 FLAIR"))
    file.line(random_kspace(COILS, 256, seed=1), flag=flags.ACQ_IS_NOISE_MEASUREMENT)
    record_full(file, kspace)
    path = file.close()
    result = run_cli("convert", path, "--out", tmp_path / "out.h5", "--json")
    assert result.code == 0
    assert result.json["contrast"] == "FLAIR"
    before, after = open_scan(path), open_scan(tmp_path / "out.h5")
    assert (before.shape, before.image_shape, before.voxel_size) == (after.shape, after.image_shape, after.voxel_size)
    np.testing.assert_allclose(after.affine, before.affine)
    np.testing.assert_array_equal(after.noise, before.noise)
    assert after.header.slice_thickness_mm == 4
    for index in range(SLICES):
        np.testing.assert_array_equal(after.read_kspace(index), before.read_kspace(index))
        np.testing.assert_array_equal(after.read_reference(index), reference_image(before, index))


@pytest.mark.parametrize("name", ["scan", "order"])
def test_volume_of_a_converter(name: str, recorder: Callable[..., Recorder]) -> None:
    """3-D: slices along the readout; lines and partitions in any order."""
    partitions = 6
    kspace = random_kspace(COILS, READOUT, PHASE, partitions)
    file = recorder(header(partitions=partitions))
    places = [(line, part) for line in range(PHASE) for part in range(partitions)]
    if name == "order":
        places = [places[n] for n in np.random.default_rng(1).permutation(len(places))]
    for line, part in places:
        file.line(kspace[:, :, line, part], line=line, kspace_encode_step_2=part)
    scan = open_scan(file.close())
    assert scan.shape == (READOUT // 2, COILS, PHASE, partitions)
    assert scan.calibration == (PHASE, partitions)
    hybrid = to_image(kspace, axes=(1,))
    for index in (0, 8, 15):
        np.testing.assert_allclose(scan.read_kspace(index), hybrid[:, READOUT // 4 + index], atol=1e-5)
    assert scan.affine is not None
    # Phase along x and readout along y of the patient's LPS, the slab along z.
    np.testing.assert_allclose(scan.affine[:3, :3], [[-10, 0, 0], [0, 0, -10], [0, 4 / partitions, 0]], atol=1e-6)
    np.testing.assert_allclose(scan.affine @ [PHASE // 2, partitions // 2, READOUT // 4, 1], [-10, -20, 30, 1])
