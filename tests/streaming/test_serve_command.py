"""``recon serve`` as a process, ``recon send`` as its client: images on disk, and an end within two seconds."""

import json
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
from recon.streaming.keeping import kept_results
from tests.streaming.recorded import connect, lines_of, record, small_scan

ROOT = Path(__file__).parents[2]
PIPES: dict[str, int] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}


@contextmanager
def serving(*words: str) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    """The process and the port that it says it listens on."""
    command = [sys.executable, "-m", "cli", "serve", "--port", "0", "--threads", "1", *words]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=ROOT, text=True, env=environment, **PIPES) as server:
        try:
            assert server.stderr is not None
            line = server.stderr.readline()
            found = re.match(r"listening on 127\.0\.0\.1:(\d+), method", line)
            assert found is not None, line
            yield server, int(found[1])
        finally:
            server.kill()


@pytest.mark.slow
def test_images_on_disk_and_a_clean_end(tmp_path: Path, run_cli) -> None:
    xml, lines = lines_of(small_scan(tmp_path))
    file = record(tmp_path / "scan.h5", xml, lines)
    with serving("--method", "sense") as (server, port):
        outcome = run_cli("send", file, "--to", f"127.0.0.1:{port}", "--out", tmp_path / "images.h5", "--json")
        assert outcome.code == 0, outcome.err
        assert outcome.json["images"] == 3
        refused = record(tmp_path / "other.h5", xml.replace(b"cartesian", b"spiral"), lines)
        answer = run_cli("send", refused, "--to", f"127.0.0.1:{port}", "--out", tmp_path / "none.h5")
        assert answer.code == 2
        assert "spiral trajectory" in answer.err
        assert not (tmp_path / "none.h5").exists()
        with connect(port):  # a peer that says nothing must not hold up the end
            time.sleep(0.7)
            began = time.monotonic()
            assert server.stderr is not None
            server.send_signal(signal.SIGTERM)
            said = [line.strip() for line in iter(server.stderr.readline, "stopped\n")]
            assert time.monotonic() - began < 4  # the interpreter's own end takes longer on a busy machine
        with pytest.raises(ConnectionRefusedError):
            connect(port)
        server.wait(60)
    assert server.returncode == 0
    assert [line.partition(":")[0] for line in said] == ["session 1", "session 2"]
    dataset = ismrmrd.Dataset(str(tmp_path / "images.h5"), create_if_needed=False)
    images = [dataset.read_image("image_1", number) for number in range(dataset.number_of_images("image_1"))]
    dataset.close()
    images.sort(key=lambda image: image.position[2])
    expected = reconstruct(open_scan(file), options=ReconstructionOptions(method="sense")).reconstruction
    np.testing.assert_array_equal(np.stack([image.data[0, 0].T for image in images]), expected)


def test_what_it_does_as_json(tmp_path: Path, run_cli) -> None:
    """A line when it listens, one a session, one at the end, each an object; sessions that failed are told apart."""
    xml, lines = lines_of(small_scan(tmp_path))
    file = record(tmp_path / "scan.h5", xml, lines)
    with serving("--method", "zero-filled", "--save", str(tmp_path / "kept"), "--json") as (server, port):
        assert run_cli("send", file, "--to", f"127.0.0.1:{port}", "--out", tmp_path / "images.h5").code == 0
        with connect(port) as peer:
            peer.sendall(b"garbage")
        assert server.stdout is not None
        told = [json.loads(server.stdout.readline()) for _ in range(3)]
        server.send_signal(signal.SIGTERM)
        rest = server.stdout.read().splitlines()
        assert server.wait(60) == 0
    assert told[0] == {"event": "listening", "host": "127.0.0.1", "port": port, "method": "zero-filled"}
    first, second = told[1:]
    (kept,) = kept_results(tmp_path / "kept")
    assert (first["event"], first["session"], first["slices"], first["images"]) == ("session", 1, 3, 3)
    assert (first["fault"], first["result"], first["not_kept"], first["watch"]) == (None, kept.name, None, None)
    assert 0 < first["seconds_to_first_image"] <= first["seconds_to_last_image"]
    assert (second["session"], second["images"], second["result"]) == (2, 0, None)
    assert second["fault"]
    assert second.keys() == first.keys()
    assert (first["coils"], second["coils"], second["acceleration"]) == (4, None, None)
    assert [json.loads(line) for line in rest] == [{"event": "stopped"}]


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
