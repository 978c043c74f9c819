"""``recon prepare``: training images from scans, on several processes, resumed where it stopped."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from recon.scans.opening import open_scan
from recon.scans.undersample import undersample
from tests.small_world import object_image, write_small_scan

ROOT = Path(__file__).parents[2]


def pixels(path):
    with h5py.File(path) as file:
        return file["image"][:]


def test_prepared_images_are_the_scan_in_units_of_its_scale_and_are_kept(run_cli, tmp_path):
    scans, out = tmp_path / "scans", tmp_path / "out"
    scans.mkdir()
    write_small_scan(scans / "a.h5", noise=1e-3)
    write_small_scan(tmp_path / "full.h5", seed=1)
    undersample(open_scan(tmp_path / "full.h5"), scans / "c.h5", acceleration=2, calibration_lines=12)
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
