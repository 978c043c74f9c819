"""``recon prepare``: training images from scans, on several processes, resumed where it stopped."""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from recon.acquisition.fourier_numpy import to_image, to_kspace
from recon.errors import ReconError
from recon.finetuning.cohort_checks import mismatch
from recon.finetuning.validation_cases import undersampled
from recon.prior.dataset import is_prepared, open_folder, open_prepared
from recon.prior.options import PreparationOptions
from recon.prior.preparation import prepare_all, prepare_scan
from recon.prior.provenance import seen_by
from recon.scan import Scan
from recon.scans.fastmri import describe, write_fastmri
from recon.scans.opening import open_scan
from recon.scans.options import UndersamplingOptions
from recon.scans.undersample import undersample
from recon.simulate.cohort import simulate_cohort
from recon.simulate.options import SimulationOptions
from tests.small_world import object_image, write_small_scan

ROOT = Path(__file__).parents[2]

ORPHANS = """
import os, signal, sys, time
from functools import partial
from recon.atomic import atomic_path
from recon.workers import task, worker_pool

def work():
    with atomic_path({target!r}) as temporary:
        temporary.write_bytes(b"half")
        print(os.getpid(), flush=True)
        for _ in range(600):
            time.sleep(0.1)

signal.signal(signal.SIGTERM, signal.default_int_handler)
if __name__ == "__main__":
    with worker_pool(1, partial(int)) as pool:
        pool.submit(task, work).result()
"""


def pixels(path):
    with h5py.File(path) as file:
        return file["image"][:]


def test_prepared_images_are_the_scan_in_units_of_its_scale_and_are_kept(run_cli, tmp_path):
    scans, out = tmp_path / "scans", tmp_path / "out"
    scans.mkdir()
    write_small_scan(scans / "a.h5", noise=1e-3)
    write_small_scan(tmp_path / "full.h5", seed=1)
    undersample(open_scan(tmp_path / "full.h5"), scans / "c.h5", UndersamplingOptions(2, calibration_lines=12))
    first = run_cli("prepare", scans, "--out", out, "--processes", 1, "--skip-bad", "--json")
    assert first.code == 0, first.err
    assert (first.json["prepared"], first.json["kept"], len(first.json["skipped"])) == (1, 0, 1)
    image, truth = pixels(out / "a.h5"), np.abs(object_image())
    assert image.shape == truth.shape
    inside = truth > 0
    scale = np.abs(image[inside]).sum() / truth[inside].sum()
    assert np.linalg.norm(np.abs(image) / scale - truth) < 0.1 * np.linalg.norm(truth)
    assert 0.8 < np.quantile(np.abs(image), 0.99) < 4  # half the 99th percentile of the calibration's image is one
    assert np.abs(image.imag).mean() < 0.2 * np.abs(image.real).mean()  # the smooth phase is in the coil maps
    with h5py.File(out / "a.h5") as file:
        assert file.attrs["contrast"] == "FLAIR"

    stamp = (out / "a.h5").stat().st_mtime_ns
    write_small_scan(scans / "b.h5", seed=1)
    again = run_cli("prepare", scans, "--out", out, "--processes", 1)
    assert again.code == 2
    assert "c.h5: undersampled" in again.err.splitlines()[-1]
    assert sorted(path.name for path in out.iterdir()) == ["a.h5", "b.h5"]
    assert (out / "a.h5").stat().st_mtime_ns == stamp

    told: list[float] = []
    assert [scan.path.name for scan in open_folder(out, lambda stage, done: told.append(done))] == ["a.h5", "b.h5"]
    assert told == [0, 0.5]  # of thousands of files the user sees how far it is


def test_what_is_of_another_scan_or_of_other_options_is_not_kept_silently(run_cli, tmp_path):
    scan, out = write_small_scan(tmp_path / "a.h5"), tmp_path / "out"
    words = ("prepare", scan, "--out", out, "--processes", 1)
    assert run_cli(*words).code == 0
    before = (out / "a.h5").read_bytes()
    other = run_cli(*words, "--coils", 3)
    assert other.code == 2
    assert f"{out / 'a.h5'}: was made with other options" in other.err
    assert "coils=3" in other.err
    write_small_scan(scan, seed=1)
    stale = run_cli(*words)
    assert stale.code == 2
    assert f"{out / 'a.h5'}: was made of another scan than {scan}" in stale.err
    assert (out / "a.h5").read_bytes() == before


def test_a_scan_that_did_not_change_is_not_read_again(tmp_path, monkeypatch):
    """Thousands of scans are more than a terabyte; a copy of a scan has another time of change, but the same bytes."""
    scan, opened = write_small_scan(tmp_path / "a.h5"), []

    def opening(path: Path) -> Scan:
        opened.append(path)
        return open_scan(path)

    def outcomes() -> list[str]:
        return [one.state for one in prepare_all([scan], tmp_path / "out", PreparationOptions(), 1)]

    assert outcomes() == ["made"]
    monkeypatch.setattr("recon.prior.preparation.open_scan", opening)
    assert (outcomes(), opened) == (["kept"], [])
    os.utime(scan, (1e9, 1e9))
    assert (outcomes(), opened) == (["kept"], [scan])


def test_the_same_scan_under_two_names_counts_once(run_cli, tmp_path):
    """Two names, one person's images twice as often as anybody else's."""
    scans, out = tmp_path / "scans", tmp_path / "out"
    scans.mkdir()
    one, two = write_small_scan(scans / "a.h5"), scans / "copy_of_a.h5"
    shutil.copy(one, two)
    words = ("prepare", scans, "--out", out, "--processes", 1)
    refused = run_cli(*words)
    assert (refused.code, refused.out) == (2, "")
    assert f"{two}: the same scan as {one}; leave one of them out (add --skip-bad" in refused.err.splitlines()[-1]
    assert [path.name for path in out.iterdir()] == ["a.h5"]
    skipped = run_cli(*words, "--skip-bad", "--json")
    assert (skipped.code, skipped.json["kept"], skipped.json["prepared"]) == (0, 1, 0)
    assert [path.name for path in out.iterdir()] == ["a.h5"]
    prepare_scan(open_scan(two), out / two.name, PreparationOptions())  # as an earlier recon did
    again = run_cli(*words, "--skip-bad", "--json")
    (said,) = again.json["skipped"]
    assert said.endswith(f"and remove {out / two.name}")
    assert (out / two.name).exists(), "what this run has not made is the user's"


def test_a_full_disk_is_one_clear_error(tmp_path):
    resource = pytest.importorskip("resource")
    scan = open_scan(write_small_scan(tmp_path / "a.h5"))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, before[1]))
    try:
        with pytest.raises(ReconError, match=r"p\.h5: writing failed"):
            prepare_scan(scan, tmp_path / "out" / "p.h5", PreparationOptions())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert not os.listdir(tmp_path / "out")


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM"])
def test_workers_end_with_their_parent_and_leave_nothing(tmp_path, name):
    script, out = tmp_path / "start.py", tmp_path / "out"
    script.write_text(ORPHANS.format(target=str(out / "result.h5")))
    process = subprocess.Popen(
        [sys.executable, str(script)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert int(process.stdout.readline()) != process.pid
    assert len(os.listdir(out)) == 1
    process.send_signal(getattr(signal, name))
    process.communicate(timeout=30)  # ends when the worker, which has the same output, has ended
    assert os.listdir(out) == []


@pytest.mark.slow
def test_interrupted_preparation_ends_soon_leaves_nothing_and_continues(tmp_path):
    """Ctrl-C in a terminal reaches every process of the group; the scans it did not come to are left for the next."""
    scans, out = tmp_path / "scans", tmp_path / "out"
    scans.mkdir()
    for number in range(6):
        write_small_scan(scans / f"s{number}.h5", slices=20, seed=number)
    command = [sys.executable, "-m", "cli", "prepare", str(scans), "--processes", "2", "--out"]
    process = subprocess.Popen(
        [*command, str(out)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + 120
    while not list(out.glob("s*.h5")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "interrupted" in said
    assert "Traceback" not in said
    done = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    assert 1 <= len(done) < 6
    assert all(name.startswith("s") for name in done), done
    for folder in (out, tmp_path / "whole"):
        subprocess.run([*command, str(folder)], cwd=ROOT, check=True, capture_output=True, timeout=300)
    assert sorted(path.name for path in out.iterdir()) == [f"s{number}.h5" for number in range(6)]
    for path in out.iterdir():
        assert path.name not in done or path.stat().st_mtime_ns == done[path.name]
        assert np.array_equal(pixels(path), pixels(tmp_path / "whole" / path.name))


def padded(path, phase_pad=(4, 4), **options):
    """The small scan with zero lines at the edges of k-space that were never encoded, as fastMRI pads its volumes."""
    scan = open_scan(write_small_scan(path.with_name("whole.h5"), **options))
    before, after = phase_pad
    slices, coils, readout, phase = scan.shape
    described = replace(
        describe(scan, scan),
        shape=(slices, coils, readout, phase + before + after),
        image_shape=(readout, phase + before + after),
        phase_limits=(before, before + phase),
        mask=None,
    )
    with write_fastmri(path, described) as writer:
        for index in range(slices):
            writer.put(index, np.pad(scan.read_kspace(index), ((0, 0), (0, 0), phase_pad)))
    return scan, open_scan(path)


def test_zero_padded_edges_are_prepared_and_change_neither_scale_nor_image(tmp_path):
    """Padding interpolates the image; what was measured, its calibration, scale and noise stay the same."""
    scan, wide = padded(tmp_path / "wide.h5", noise=1e-3)
    assert not wide.mask.all()
    options = PreparationOptions(calibration_lines=(16,))
    for each, name in ((scan, "a.h5"), (wide, "b.h5")):
        assert prepare_scan(each, tmp_path / name, options) == 2
    one, other = pixels(tmp_path / "a.h5"), pixels(tmp_path / "b.h5")
    assert other.shape == (2, 48, 48)
    # The lines that were measured, on the grid of the original; orthonormal transforms scale with the grid.
    narrow = to_image(to_kspace(other)[..., 4:44]) * np.sqrt(40 / 48)
    assert np.linalg.norm(np.abs(narrow) - np.abs(one)) < 0.03 * np.linalg.norm(one)
    with h5py.File(tmp_path / "a.h5") as first, h5py.File(tmp_path / "b.h5") as second:
        assert first.attrs["calibration_lines"] == second.attrs["calibration_lines"] == 16
        # Of a sample of k-space: the same noise over a scale that is the grid's share smaller.
        assert second.attrs["noise_sigma"] == pytest.approx(first.attrs["noise_sigma"] * np.sqrt(48 / 40), rel=0.02)
    ratio = np.quantile(np.abs(other), 0.99) / np.quantile(np.abs(one), 0.99)
    assert ratio == pytest.approx(1, abs=0.03)


def test_padded_scans_are_undersampled_within_their_encoded_lines(tmp_path):
    """Fine-tuning's validation undersamples such a scan where lines were encoded, and nowhere else."""
    _, wide = padded(tmp_path / "wide.h5")
    fast = undersampled(wide, 2.0, 0)
    assert not fast.mask[:4].any()
    assert not fast.mask[44:].any()
    assert fast.acceleration == pytest.approx(40 / fast.mask[4:44].sum())
    assert 1.3 < fast.acceleration <= 2


def test_a_separate_calibration_scan_does_not_decide_the_scale_of_training_images(tmp_path):
    scan = open_scan(write_small_scan(tmp_path / "full.h5"))
    lines = np.abs(np.arange(40) - 20) < 6
    separate = replace(
        scan,
        calibration_kspace=lambda index: (7 * scan.read_kspace(index) * lines).astype(np.complex64),
        calibration=(48, 11),
    )
    for each, name in ((scan, "a.h5"), (separate, "b.h5")):
        prepare_scan(each, tmp_path / name, PreparationOptions())
    assert np.array_equal(pixels(tmp_path / "a.h5"), pixels(tmp_path / "b.h5"))


@pytest.mark.parametrize("source", ["simulated", "fastmri"])
def test_the_field_strength_guard_fires_on_a_scan_as_a_format_writes_it(source, tmp_path, run_cli):
    """From the file through preparation to the warning: 1.5 T against a prior that saw 3 T only."""
    raw, out = tmp_path / "raw", tmp_path / "out"
    if source == "simulated":
        options = SimulationOptions(size=(80, 80), coils=4, slices=1, seed=3)
        record = simulate_cohort(raw, 1, ["FLAIR"], options)["scans"][0]
        strength = record["field_strength_t"]
    else:
        raw.mkdir()
        path, strength = write_small_scan(raw / "a.h5"), 1.494
        with h5py.File(path, "r+") as file:  # as the public data set has it: in the XML alone
            text = file["ismrmrd_header"][()].decode().replace(">3.0<", f">{strength}<")
            del file["ismrmrd_header"], file["recon"]
            file["ismrmrd_header"] = text
    done = run_cli("prepare", raw, "--out", out, "--processes", 1, "--json")
    assert done.code == 0, done.err
    prepared = open_folder(out)
    seen = seen_by(prepared)
    assert seen["field_strength_t"] == [strength, strength]
    assert mismatch(prepared, seen) == []
    other = 3.0 if strength < 2 else 1.5
    (warning,) = mismatch(prepared, {**seen, "field_strength_t": [other, other]})
    assert f"field strength {strength:g} to {strength:g} T, the prior saw {other:g} to {other:g} T" in warning


def test_prepared_files_of_the_first_version_are_read(tmp_path):
    scan = open_scan(write_small_scan(tmp_path / "full.h5"))
    prepare_scan(scan, tmp_path / "a.h5", PreparationOptions())
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        assert file.attrs["format"] == "recon-prepared-2"
        for name in ("scan_identity", "echo_time_ms", "field_strength_t"):
            del file.attrs[name]
        file.attrs["format"] = "recon-prepared-1"
        file.attrs["licence"] = "CC0"
    assert is_prepared(tmp_path / "a.h5")
    prepared = open_prepared(tmp_path / "a.h5")
    assert prepared.header.licence == "CC0"
    assert prepared.header.field_strength_t is None
    assert prepared.scan_digest == scan.digest
    assert prepared.noise_sigma is not None
    assert "field_strength_t" not in seen_by([prepared])
