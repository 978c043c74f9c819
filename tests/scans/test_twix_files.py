"""Siemens raw data written with twixtools' structures, VB and VD, from scans with known k-space and geometry."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from small_world import AFFINE, SIZE, VOXEL, write_small_scan

from recon.acquisition.fourier_numpy import centre_crop, to_image, to_kspace
from recon.errors import ReconError
from recon.images.result import read_result
from recon.scan import Scan as OpenScan
from recon.scans.opening import open_scan

pytest.importorskip("twixtools")
from twix_writer import DESCRIBED, Line, Scan, protocol, write_vb, write_vd

SLICES, COILS, READOUT, PHASE = 3, 2, 32, 20
HEIGHTS = (0.0, 12.0, 6.0)  # of slices 0, 1, 2 as the scanner numbers them: interleaved
CENTRE = (READOUT // 2, PHASE // 2, 0)


def random_kspace(*shape: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return (generator.normal(size=shape) + 1j * generator.normal(size=shape)).astype(np.complex64)


KSPACE = random_kspace(SLICES, COILS, READOUT, PHASE)
IN_ORDER = KSPACE[[0, 2, 1]]


def slice_lines(kspace: np.ndarray, numbers: Sequence[int] = range(PHASE), **options: Any) -> list[Line]:
    """All slices interleaved, line by line; ``options`` as ``Line`` has them."""
    counters = options.pop("counters", {})
    options = {"centre": CENTRE, **options}
    return [
        Line(kspace[s, :, :, line], {"Lin": line, "Sli": s, **counters}, position=(HEIGHTS[s], 3.0, 4.0), **options)
        for line in numbers
        for s in range(kspace.shape[0])
    ]


def plain(**changes: Any) -> dict[str, Any]:
    return protocol(READOUT // 2, PHASE, **changes)


@pytest.fixture(params=[write_vb, write_vd], ids=["VB", "VD"])
def written(request: pytest.FixtureRequest) -> Any:
    """Writes a file of either layout and opens it: ``written(folder, lines, **changes of the protocol)``."""

    def write(path: Path, lines: Sequence[Line], **changes: Any) -> OpenScan:
        return open_scan(request.param(path / "scan.dat", Scan(lines, plain(**changes))))

    return write


@pytest.mark.parametrize("write", [write_vb, write_vd])
def test_both_layouts_give_kspace_geometry_and_facts(write: Any, tmp_path: Path) -> None:
    scan = open_scan(write(tmp_path / "meas.dat", Scan(slice_lines(KSPACE), plain())))
    assert scan.shape == (SLICES, COILS, READOUT, PHASE)
    assert scan.image_shape == (READOUT // 2, PHASE)
    assert scan.mask.all()
    for index in range(SLICES):
        np.testing.assert_array_equal(scan.read_kspace(index), IN_ORDER[index])
    assert scan.voxel_size == (4.0, 5.0, 6.0)
    # The quaternion turns x to y to z to x: phase along y, readout along z, slices along x; then LPS to RAS.
    wanted = np.array([[0, 0, -6.0, 0], [0, -5.0, 0, -3 + 50], [4.0, 0, 0, 4 - 32], [0, 0, 0, 1]])
    assert scan.affine is not None
    np.testing.assert_allclose(scan.affine, wanted, atol=1e-5)
    header = scan.header
    assert (header.vendor, header.model, header.field_strength_t) == ("Siemens", "Prisma_fit", 2.894)
    assert (header.repetition_time_ms, header.echo_time_ms, header.flip_angle_deg) == (4000.0, 90.0, 150.0)
    assert (header.patient_position, header.protocol, header.sequence) == ("HFS", "t2_tse_tra", "tse")
    assert scan.contrast == "T2"
    assert "Muster" not in repr(scan)
    assert scan.notes == ("receive coil elements: HC1, HC2",)


@pytest.mark.parametrize(("write", "version"), [(write_vb, False), (write_vd, True)])
def test_twixtools_reads_the_same_lines(write: Any, version: bool, tmp_path: Path) -> None:
    """The writer of these tests writes what another reader understands, so that ours is not read by itself alone."""
    import twixtools

    path = write(tmp_path / "meas.dat", Scan(slice_lines(KSPACE), plain()))
    found = twixtools.read_twix(str(path), parse_pmu=False, parse_geometry=False, verbose=False)[0]
    assert found["hdr"]["MeasYaps"]["sKSpace"]["lPhaseEncodingLines"] == PHASE
    assert len(found["mdb"]) == SLICES * PHASE
    for block in found["mdb"]:
        assert block.version_is_ve == version
        np.testing.assert_array_equal(block.data, KSPACE[block.cSlc, :, :, block.cLin])


def test_order_of_lines_does_not_matter(tmp_path: Path, written: Any) -> None:
    """Echo trains and segments acquire lines in any order, each with its own segment counter."""
    order = np.random.default_rng(3).permutation(PHASE)
    lines = [line for n in order for line in slice_lines(KSPACE, [int(n)], counters={"Seg": int(n) % 4})]
    scan = written(tmp_path, lines)
    for index in range(SLICES):
        np.testing.assert_array_equal(scan.read_kspace(index), IN_ORDER[index])


@pytest.mark.parametrize("write", [write_vb, write_vd])
def test_noise_has_the_level_of_the_averaged_lines(write: Any, tmp_path: Path) -> None:
    noise = random_kspace(COILS, 256, seed=1)
    other = random_kspace(SLICES, COILS, READOUT, PHASE, seed=2)
    lines = [Line(noise, flags=["NOISEADJSCAN"]), *slice_lines(KSPACE), *slice_lines(other, counters={"Ave": 1})]
    scan = open_scan(write(tmp_path / "meas.dat", Scan(lines, plain())))
    assert scan.header.averages == 2
    np.testing.assert_allclose(scan.read_kspace(0), (KSPACE[0] + other[0]) / 2, rtol=1e-5)
    dwell = 1e6 / 256 / 130 if write is write_vb else 30.0
    np.testing.assert_allclose(scan.noise, noise * np.sqrt(dwell / 5.0 / 0.793 / 2), rtol=1e-5)


def test_noise_of_an_adjustment_in_the_same_file(tmp_path: Path) -> None:
    noise = random_kspace(COILS, 512, seed=1)
    adjustment = Scan(
        [Line(noise, flags=["NOISEADJSCAN"]), *slice_lines(KSPACE[:, :, :16])], plain(tProtocolName='"AdjCoilSens"')
    )
    path = write_vd(tmp_path / "meas.dat", adjustment, Scan(slice_lines(KSPACE), plain()))
    scan = open_scan(path)
    np.testing.assert_allclose(scan.noise, noise * np.sqrt(1 / 0.793), rtol=1e-5)
    np.testing.assert_array_equal(scan.read_kspace(1), IN_ORDER[1])
    assert any("adjustment" in note for note in scan.notes)
    backwards = write_vd(
        tmp_path / "other.dat", Scan(slice_lines(KSPACE), plain()), Scan(adjustment.lines[:1], plain())
    )
    assert any("hold no images" in note for note in open_scan(backwards).notes)


def test_lines_that_are_no_image_are_left_out_with_a_word(tmp_path: Path, written: Any) -> None:
    junk = 100 * random_kspace(COILS, READOUT, seed=5)
    flags = ["PHASCOR", "noname60", "RTFEEDBACK", "HPFEEDBACK", "PHASESTABSCAN", "RETRO_DUMMYSCAN"]
    lines = slice_lines(KSPACE)
    lines += [Line(junk, {"Lin": 3}, CENTRE, [flag]) for flag in flags]
    scan = written(tmp_path, lines)
    np.testing.assert_array_equal(scan.read_kspace(0), IN_ORDER[0])
    notes = " ".join(scan.notes)
    for word in ("1 phase-correction", "1 navigator", "2 feedback", "1 phase-stabilisation", "1 dummy"):
        assert f"{word} lines are left out" in notes


def test_integrated_calibration_lines_join_the_mask(tmp_path: Path, written: Any) -> None:
    lines = slice_lines(KSPACE, [n for n in range(0, PHASE, 2) if not 6 <= n < 14])
    lines += slice_lines(KSPACE, range(6, 14, 2), flags=["PATREFSCAN", "PATREFANDIMASCAN"])
    lines += slice_lines(KSPACE, range(7, 14, 2), flags=["PATREFSCAN"])
    scan = written(tmp_path, lines, sPat__ucRefScanMode="0x2")
    mask = np.zeros(PHASE, bool)
    mask[::2] = mask[6:14] = True
    np.testing.assert_array_equal(scan.mask, mask)
    np.testing.assert_array_equal(scan.read_kspace(2), IN_ORDER[2] * mask)
    assert scan.calibration_kspace is None
    assert scan.calibration == (READOUT, 9)  # line 14 is on the grid


def test_separate_calibration_is_for_calibration_only(tmp_path: Path, written: Any) -> None:
    reference = 3 * random_kspace(SLICES, COILS, READOUT, PHASE, seed=7)  # of another contrast
    lines = slice_lines(reference, range(5, 15), flags=["PATREFSCAN"])
    lines += slice_lines(KSPACE, range(0, PHASE, 2))
    scan = written(tmp_path, lines, sPat__ucRefScanMode="0x4")
    np.testing.assert_array_equal(np.flatnonzero(scan.mask), np.arange(0, PHASE, 2))
    np.testing.assert_array_equal(scan.read_kspace(1)[..., ::2], IN_ORDER[1][..., ::2])
    assert scan.calibration == (READOUT, 10)
    assert scan.calibration_kspace is not None
    found = scan.calibration_kspace(1)
    np.testing.assert_array_equal(found[..., 5:15], reference[2][..., 5:15])
    assert not found[..., :5].any()


@pytest.mark.parametrize("numbered_from_zero", [True, False])
def test_partial_fourier_lies_where_the_centre_line_says(
    numbered_from_zero: bool, tmp_path: Path, written: Any
) -> None:
    """Scanners number the lines of partial Fourier scans from the first one acquired or from the first of all."""
    missing = PHASE // 4
    shift = missing if numbered_from_zero else 0
    lines = slice_lines(KSPACE, range(missing, PHASE))
    for line in lines:
        line.counters = {**line.counters, "Lin": line.counters["Lin"] - shift}
        line.centre = (READOUT // 2, PHASE // 2 - shift, 0)
    scan = written(tmp_path, lines, sKSpace__ucPhasePartialFourier="0x2")
    np.testing.assert_array_equal(np.flatnonzero(scan.mask), np.arange(missing, PHASE))
    np.testing.assert_array_equal(scan.read_kspace(0)[..., missing:], IN_ORDER[0][..., missing:])
    assert scan.phase_limits == (missing, PHASE)


def test_asymmetric_echo_and_cut_samples(tmp_path: Path, written: Any) -> None:
    """The echo lies at column 10 of 26 samples, the first two of which are not to be used."""
    lines = slice_lines(KSPACE[:, :, 6:], centre=(10, PHASE // 2, 0), cut=(2, 0))
    scan = written(tmp_path, lines)
    assert scan.shape[2] == READOUT
    np.testing.assert_array_equal(scan.read_kspace(0)[:, 8:], IN_ORDER[0][:, 8:])
    assert not scan.mask[:8].any()
    assert scan.mask[8:].all()


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ({"sDiffusion__lDiffWeightings": 1, "sDiffusion__alBValue[0]": 800}, 800.0),
        ({"sDiffusion__lDiffWeightings": 1}, 0.0),  # zeros are not written
        ({"sDiffusion__lDiffWeightings": 2, "sDiffusion__alBValue[1]": 800}, None),
        ({}, None),
    ],
)
def test_b_value_of_a_protocol_with_one_weighting(
    said: dict[str, Any], found: float | None, tmp_path: Path, written: Any
) -> None:
    assert written(tmp_path, slice_lines(KSPACE), **said).header.b_value_s_per_mm2 == found


@pytest.mark.parametrize(
    ("name", "contrast"),
    [
        ("t2_tse_tra_512", "T2"),
        ("t1_mprage_sag_p2_iso", "T1"),
        ("t1_se_tra_km", "T1POST"),
        ("t2_tirm_tra_dark-fluid_320", "FLAIR"),
        ("ep2d+AF8-t2", "T2"),
        ("pd_tse_fs", "PD"),
        ("PD_T2_tse", "unknown"),
        ("AAHScout", "unknown"),
    ],
)
def test_contrast_is_guessed_from_the_protocol(name: str, contrast: str, tmp_path: Path, written: Any) -> None:
    scan = written(tmp_path, slice_lines(KSPACE), tProtocolName=f'"{name}"')
    assert scan.contrast == contrast
    assert scan.header.protocol == name.replace("+AF8-", "_")


def test_inversion_time_unless_inversion_is_off(tmp_path: Path, written: Any) -> None:
    stated = {"alTI[0]": 2_500_000}
    assert written(tmp_path, slice_lines(KSPACE), **stated).header.inversion_time_ms == 2500
    assert written(tmp_path, slice_lines(KSPACE)).header.inversion_time_ms is None
    off = written(tmp_path, slice_lines(KSPACE), **stated, sPrepPulses__ucInversion="0x4")
    assert off.header.inversion_time_ms is None


def test_zero_filled_interpolation_keeps_the_measured_matrix(tmp_path: Path, written: Any) -> None:
    scan = written(tmp_path, slice_lines(KSPACE), sKSpace__uc2DInterpolation="0x1")
    assert scan.image_shape == (READOUT // 2, PHASE)
    assert scan.voxel_size == (4.0, 5.0, 6.0)
    assert any("interpolates images by zero-filling; recon keeps the measured matrix" in note for note in scan.notes)


@pytest.mark.parametrize(("write", "stated"), [(write_vb, 1.0), (write_vd, 1.0), (write_vd, 4.0), (write_vd, None)])
def test_readout_oversampling_is_what_the_header_says(write: Any, stated: float | None, tmp_path: Path) -> None:
    """Twofold where it says nothing; removed from images, not from k-space."""
    factor = stated or 2.0
    base = round(READOUT / factor)
    said = {name: text for name, text in DESCRIBED.items() if name != "flReadoutOSFactor"}
    if stated is not None:
        said["flReadoutOSFactor"] = f'<ParamDouble."flReadoutOSFactor">  {{ <Precision> 16  {stated} }}'
    scan = open_scan(write(tmp_path / "meas.dat", Scan(slice_lines(KSPACE), protocol(base, PHASE), said)))
    assert scan.shape[2] == READOUT
    assert scan.image_shape == (base, PHASE)
    assert scan.voxel_size == (4.0, 5.0, 6.0)
    np.testing.assert_array_equal(scan.read_kspace(0), IN_ORDER[0])


def test_phase_oversampling_widens_the_field_of_view(tmp_path: Path, written: Any) -> None:
    scan = written(tmp_path, slice_lines(KSPACE), sKSpace__dPhaseOversamplingForDialog=0.25)
    assert scan.voxel_size == (4.0, 6.25, 6.0)
    assert scan.image_shape == (READOUT // 2, round(PHASE / 1.25))


PARTITIONS = 12


def volume_lines(kspace: np.ndarray, partitions: Sequence[int] = range(PARTITIONS), **options: Any) -> list[Line]:
    """All lines of a 3-D scan ``[coil, readout, phase, partition]``, partitions innermost."""
    centre = (READOUT // 2, PHASE // 2, PARTITIONS // 2)
    return [
        Line(kspace[:, :, line, part], {"Lin": line, "Par": part}, centre, position=(1.0, 2.0, 3.0), **options)
        for line in range(PHASE)
        for part in partitions
    ]


def test_volume_becomes_slices_along_the_readout(tmp_path: Path, written: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recon.scans.volume.BLOCK_BYTES", 5 * 8 * COILS * PHASE * PARTITIONS)  # five slices at a time
    kspace = random_kspace(COILS, READOUT, PHASE, PARTITIONS)
    scan = written(
        tmp_path,
        volume_lines(kspace, range(3, PARTITIONS)),  # partial Fourier along the slab
        sKSpace__ucDimension="0x4",
        sKSpace__lPartitions=PARTITIONS,
        sKSpace__dSliceOversamplingForDialog=0.5,
        **{"sSliceArray.asSlice[0].dThickness": 16.0},
    )
    assert scan.shape == (READOUT // 2, COILS, PHASE, PARTITIONS)
    assert scan.image_shape == (PHASE, 8)
    assert scan.voxel_size == (5.0, 2.0, 4.0)
    assert scan.mask.shape == (PHASE, PARTITIONS)
    assert not scan.mask[:, :3].any()
    assert scan.mask[:, 3:].all()
    kspace[..., :3] = 0
    hybrid = to_image(kspace, axes=(1,))
    for index in (0, 7, 8, 15):
        np.testing.assert_allclose(scan.read_kspace(index), hybrid[:, READOUT // 4 + index], atol=1e-5)
    # Axes phase, partition, readout; the position is that of the centre of the slab.
    assert scan.affine is not None
    np.testing.assert_allclose(scan.affine[:3, :3], [[0, -2.0, 0], [-5.0, 0, 0], [0, 0, 4.0]], atol=1e-6)
    np.testing.assert_allclose(scan.affine @ [PHASE // 2, 4, READOUT // 4, 1], [-1, -2, 3, 1], atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "flags", "message"),
    [
        ({"sFastImaging__lEPIFactor": 64}, [], "EPI readouts need ghost"),
        ({"sKSpace__ucTrajectory": "0x2"}, [], "radial trajectory"),
        ({"sKSpace__ucTrajectory": "0x4"}, [], "spiral trajectory"),
        ({}, ["REFLECT"], "every other line backwards"),
        ({}, ["SLICE_ACCEL_REFSCAN"], "multi-slice"),
        ({}, ["FIRST_SCAN_IN_BLADE"], "BLADE"),
        ({"sKSpace__lPhaseEncodingLines": 16}, [], "outside the header's 32 x 16 matrix"),
        ({"sKSpace__lBaseResolution": "nan"}, [], "lBaseResolution is 'nan'"),
        ({"sKSpace__lBaseResolution": "1e9"}, [], "lBaseResolution is 1e"),
        ({"sKSpace__lPhaseEncodingLines": 65000, "sKSpace__lBaseResolution": 30000}, [], "k-space matrix claims"),
        ({"sKSpace__dPhaseOversamplingForDialog": -3}, [], "dPhaseOversamplingForDialog"),
    ],
)
def test_scans_that_recon_does_not_do(changes: dict[str, Any], flags: list[str], message: str, tmp_path: Path) -> None:
    path = write_vd(tmp_path / "meas.dat", Scan(slice_lines(KSPACE, flags=flags), plain(**changes)))
    with pytest.raises(ReconError, match=message):
        open_scan(path)


@pytest.mark.parametrize("counter", ["Rep", "Eco", "Phs", "Set"])
def test_several_of_a_kind_are_refused(counter: str, tmp_path: Path, written: Any) -> None:
    with pytest.raises(ReconError, match="recon reads static scans"):
        written(tmp_path, [*slice_lines(KSPACE), *slice_lines(KSPACE, counters={counter: 1})])


def test_values_that_are_not_finite_are_found_in_their_slice(tmp_path: Path, written: Any) -> None:
    kspace = KSPACE.copy()
    kspace[1, 0, 3, 4] = np.nan
    scan = written(tmp_path, slice_lines(kspace))
    with pytest.raises(ReconError, match="slice 2: 1 k-space values are NaN"):
        scan.read_kspace(2)
    with pytest.raises(ReconError, match="position of"):
        written(tmp_path / "..", [*slice_lines(KSPACE)[:-1], Line(KSPACE[0, :, :, 0], position=(np.nan, 0, 0))])


def what_is_said(path: Path) -> str:
    """The refusal of a file that cannot be read; empty when it can."""
    try:
        scan = open_scan(path)
        for index in range(scan.shape[0]):
            scan.read_kspace(index)
    except ReconError as refused:
        return str(refused)
    return ""


@pytest.mark.parametrize("write", [write_vb, write_vd])
def test_damaged_files_are_one_line(write: Any, tmp_path: Path) -> None:
    """Cut anywhere, or with any of the lengths wrong: refused by a sentence, soon, whatever the length says."""
    path = write(tmp_path / "meas.dat", Scan(slice_lines(KSPACE), plain()))
    content = path.read_bytes()
    for size in (70, 500, 9000, 10300, 15000, len(content) // 2, len(content) - 700):
        path.write_bytes(content[:size])
        with pytest.raises(ReconError) as refused:
            open_scan(path)
        assert "\n" not in str(refused.value)
    generator = np.random.default_rng(0)
    start = 0 if write is write_vb else 10240
    opened = 0
    for _ in range(150):
        broken = bytearray(content)
        low, high = ((0, 200), (start, start + 64), (start + 64, len(content)))[int(generator.integers(3))]
        for place in generator.integers(low, high, 2):
            broken[place] = int(generator.integers(256))
        path.write_bytes(broken)
        said = what_is_said(path)
        opened += not said
        assert "\n" not in said
        assert "Muster" not in said
    assert opened > 0


def test_lengths_of_zero_do_not_loop(tmp_path: Path) -> None:
    """A synchronisation line that says it is empty would be read again for ever."""
    path = write_vd(tmp_path / "meas.dat", Scan(slice_lines(KSPACE), plain()))
    content = bytearray(path.read_bytes())
    start = 10240 + int.from_bytes(content[10240:10244], "little")
    content[start : start + 4] = bytes(4)
    content[start + 40] |= 1 << 5  # SYNCDATA
    path.write_bytes(content)
    with pytest.raises(ReconError, match="damaged or truncated at byte"):
        open_scan(path)


@pytest.mark.parametrize(
    ("name", "converter"),
    [
        ("P12345.7", "ge_to_ismrmrd P12345.7"),
        ("ScanArchive_1.h5", "ge_to_ismrmrd ScanArchive_1.h5"),
        ("scan.lab", "philips_to_ismrmrd -f scan"),
        ("scan.RAW", "philips_to_ismrmrd -f scan"),
        ("scan.list", "philips_to_ismrmrd -f scan"),
    ],
)
def test_other_vendors_are_told_the_converter(name: str, converter: str, tmp_path: Path, run_cli: Any) -> None:
    path = tmp_path / name
    if path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            file["Control"] = 1
    else:
        path.write_bytes(bytes(1000))
    refused = run_cli("info", path)
    assert refused.code == 2
    assert converter in refused.err
    assert refused.err.count("\n") == 1


def simulated(path: Path, write: Any = write_vd) -> tuple[Path, OpenScan]:
    """A simulated scan as Siemens raw data with twofold readout oversampling, and the scan itself."""
    source = open_scan(write_small_scan(path / "source.h5", slices=3))
    generator = np.random.default_rng(4)
    lines = []
    noise = 0.02 * (generator.normal(size=(4, 2000)) + 1j * generator.normal(size=(4, 2000)))
    level = np.sqrt(int(76800 / 2000) / 10 / 5.0 / 0.793)
    lines.append(Line(noise / level, flags=["NOISEADJSCAN"]))
    rows, columns = SIZE
    for index in (0, 2, 1):
        wide = 0.02 * (
            generator.normal(size=(4, 2 * rows, columns)) + 1j * generator.normal(size=(4, 2 * rows, columns))
        )
        wide[:, rows // 2 : rows // 2 + rows] = to_image(source.read_kspace(index))
        kspace = to_kspace(wide)
        position = (np.diag([-1, -1, 1.0]) @ (AFFINE @ [rows // 2, columns // 2, index, 1])[:3]).tolist()
        lines += [
            Line(
                kspace[:, :, line],
                {"Lin": line, "Sli": (0, 2, 1).index(index)},
                (rows, columns // 2, 0),
                position=tuple(position),
                quaternion=(0.0, 0.0, 0.0, 1.0),  # phase to -x, readout to -y, slice along z: +x and +y in RAS
            )
            for line in range(columns)
        ]
    described = plain(tProtocolName='"t2_tirm_tra_dark-fluid"', sKSpace__lBaseResolution=rows)
    described |= {"sKSpace.lPhaseEncodingLines": columns, "sSliceArray.asSlice[0].dReadoutFOV": rows * VOXEL[0]}
    described |= {"sSliceArray.asSlice[0].dPhaseFOV": columns * VOXEL[1]}
    return write(path / "meas_MID00042.dat", Scan(lines, described)), source


@pytest.mark.parametrize("write", [write_vb, write_vd])
def test_a_simulated_scan_through_the_command_line(write: Any, tmp_path: Path, run_cli: Any) -> None:
    path, source = simulated(tmp_path, write)
    told = run_cli("info", path, "--json").json
    assert told["format"] == "Siemens twix"
    assert told["can_reconstruct"]
    assert told["noise_scan"]
    assert told["contrast"] == "FLAIR"
    assert "receive coil elements" in run_cli("info", path).out
    converted = tmp_path / "converted.h5"
    assert run_cli("convert", path, "--out", converted).code == 0
    scan = open_scan(converted)
    assert scan.affine is not None
    np.testing.assert_allclose(scan.affine, AFFINE, atol=1e-4)
    for index in range(3):
        image = centre_crop(to_image(scan.read_kspace(index)), SIZE)
        np.testing.assert_allclose(image, to_image(source.read_kspace(index)), atol=1e-4)
    done = run_cli("reconstruct", path, "--method", "sense", "--out", tmp_path / "out")
    assert done.code == 0, done.err
    for made in (converted, tmp_path / "out" / "meas_MID00042.h5"):
        assert b"Muster" not in made.read_bytes()  # the patient's name stands in both texts of the raw file
    assert b"Muster" in path.read_bytes()


@pytest.mark.parametrize("write", [write_vb, write_vd])
def test_separate_reference_and_partial_fourier_reach_the_image(write: Any, tmp_path: Path, run_cli: Any) -> None:
    """Every other line of three quarters of k-space, and a reference of its own, four times as strong."""
    source = open_scan(write_small_scan(tmp_path / "source.h5", slices=1, noise=0.005))
    rows, columns = SIZE
    kspace, lines = source.read_kspace(0), []
    for line in range(columns // 2 - 8, columns // 2 + 8):
        lines.append(Line(4 * kspace[:, :, line], {"Lin": line}, (rows // 2, columns // 2, 0), ["PATREFSCAN"]))
    for line in range(columns // 4, columns, 2):
        lines.append(Line(kspace[:, :, line], {"Lin": line}, (rows // 2, columns // 2, 0)))
    described = plain(sKSpace__lBaseResolution=rows, sPat__ucRefScanMode="0x4")
    described |= {"sKSpace.lPhaseEncodingLines": columns}
    said = DESCRIBED | {"flReadoutOSFactor": '<ParamDouble."flReadoutOSFactor">  { <Precision> 16  1.0 }'}
    path = write(tmp_path / "meas.dat", Scan(lines, described, said))
    truth = np.sqrt((np.abs(to_image(kspace)) ** 2).sum(0))
    errors = {}
    for method in ("zero-filled", "sense", "grappa"):
        out = tmp_path / method
        done = run_cli("reconstruct", path, "--method", method, "--noise-sigma", 0.005, "--out", out)
        assert done.code == 0, done.err
        image = read_result(out / "meas.h5").reconstruction[0]
        errors[method] = float(np.linalg.norm(image - truth) / np.linalg.norm(truth))
    assert max(errors["sense"], errors["grappa"]) < 0.5 * errors["zero-filled"], errors
