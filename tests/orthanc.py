"""A real Orthanc on loopback, for tests that send to a DICOM server."""

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory) -> Iterator[tuple[int, int]]:
    """(DICOM port, web port) of a fresh server that only loopback reaches."""
    program = shutil.which("Orthanc")
    if program is None:
        pytest.skip("Orthanc is not installed (Debian package orthanc)")
    folder = tmp_path_factory.mktemp("orthanc")
    dicom, web = free_port(), free_port()
    settings = {
        "Name": "test",
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "DicomAet": "ORTHANC",
        "DicomPort": dicom,
        "HttpPort": web,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAlwaysAllowStore": True,
        "Plugins": [],
        "SyncStorageArea": False,  # a test has nothing to lose when the power fails
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    log = (folder / "log").open("wb")
    server = subprocess.Popen([program, folder / "orthanc.json"], stdout=log, stderr=log)
    try:
        for _ in range(150):
            try:
                fetch(web, "/system")
                break
            except (urllib.error.URLError, ConnectionError):
                if server.poll() is not None:
                    pytest.skip(f"Orthanc does not start here: {(folder / 'log').read_text()[-300:]}")
                time.sleep(0.1)
        else:
            pytest.skip("Orthanc did not answer within 15 s")
        yield dicom, web
    finally:
        server.terminate()
        server.wait(20)
        log.close()


def fetch(port: int, path: str, content: bytes | None = None) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", data=content, timeout=10) as answer:
        return bytes(answer.read())
