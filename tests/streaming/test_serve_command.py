"""``recon serve`` as a process, ``recon send`` as its client: images on disk, and an end within two seconds."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ismrmrd
import numpy as np
import pytest

from recon.reconstruction.options import ReconstructionOptions
from recon.reconstruction.pipeline import reconstruct
from recon.scans.opening import open_scan
from tests.streaming.recorded import connect, lines_of, record, small_scan

ROOT = Path(__file__).parents[2]


@contextmanager
def serving(*words: str) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    """The process and the port that it says it listens on."""
    command = [sys.executable, "-m", "cli", "serve", "--port", "0", "--threads", "1", *words]
    server = subprocess.Popen(
        command, cwd=ROOT, stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    try:
        assert server.stderr is not None
        line = server.stderr.readline()
        found = re.match(r"listening on 127\.0\.0\.1:(\d+), method", line)
        assert found is not None, line + server.stderr.read()
        yield server, int(found[1])
    finally:
        server.kill()
        server.wait()


def test_images_on_disk_and_a_clean_end(tmp_path: Path, run_cli) -> None:
    file = record(tmp_path / "scan.h5", *lines_of(small_scan(tmp_path)))
    with serving("--method", "sense") as (server, port):
        outcome = run_cli("send", file, "--to", f"127.0.0.1:{port}", "--out", tmp_path / "images.h5", "--json")
        assert outcome.code == 0, outcome.err
        assert outcome.json["images"] == 3
        with connect(port):  # a peer that says nothing must not hold up the end
            time.sleep(0.7)
            began = time.monotonic()
            server.send_signal(signal.SIGTERM)
            _, said = server.communicate(timeout=10)
        assert time.monotonic() - began < 4
    assert server.returncode == 0
    assert said.splitlines()[-1] == "stopped"
    assert "Traceback" not in said
    dataset = ismrmrd.Dataset(str(tmp_path / "images.h5"), create_if_needed=False)
    images = [dataset.read_image("image_1", number) for number in range(dataset.number_of_images("image_1"))]
    dataset.close()
    images.sort(key=lambda image: image.position[2])
    expected = reconstruct(open_scan(file), options=ReconstructionOptions(method="sense")).reconstruction
    np.testing.assert_array_equal(np.stack([image.data[0, 0].T for image in images]), expected)


def test_a_refused_scan_leaves_no_file_and_one_line(tmp_path: Path, run_cli) -> None:
    xml, lines = lines_of(small_scan(tmp_path))
    file = record(tmp_path / "scan.h5", xml.replace(b"cartesian", b"spiral"), lines)
    with serving("--method", "zero-filled") as (_, port):
        outcome = run_cli("send", file, "--to", f"127.0.0.1:{port}", "--out", tmp_path / "images.h5")
    assert outcome.code == 2
    assert "spiral trajectory" in outcome.err
    assert not (tmp_path / "images.h5").exists()


@pytest.mark.parametrize("to", ["127.0.0.1", "host:0", ":9002", "host:x"])
def test_bad_addresses(to: str, tmp_path: Path, run_cli) -> None:
    outcome = run_cli("send", tmp_path / "scan.h5", "--to", to, "--out", tmp_path / "images.h5")
    assert outcome.code == 2
    assert "host:port" in outcome.err


def test_a_port_in_use_is_one_line(run_cli) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        outcome = run_cli("serve", "--method", "sense", "--port", listener.getsockname()[1])
    assert outcome.code == 2
    assert "cannot be listened on" in outcome.err
