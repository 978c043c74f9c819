"""``recon serve --push``: finished scans go to a PACS from the server itself; a PACS that is away costs no image."""

import io
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pydicom
import pytest

from recon.images.dicom_push import Destination
from recon.streaming.delivery import Delivery
from recon.streaming.events import Tell
from recon.streaming.keeping import kept_results, prepare_folder
from recon.streaming.sending import send_scan
from recon.streaming.work import Service
from tests.orthanc import fetch, free_port
from tests.orthanc import orthanc as orthanc
from tests.streaming.recorded import running
from tests.streaming.test_kept_results import SENSE, recorded

pytest.importorskip("pynetdicom", reason="the optional package pynetdicom is not installed")


@contextmanager
def pacs(port: int, answer: Callable[[pydicom.Dataset], int] = lambda found: 0) -> Iterator[list[pydicom.Dataset]]:
    """A storage server in this process; gives what it took."""
    from pydicom.uid import EnhancedMRImageStorage, MRImageStorage
    from pynetdicom import AE, evt

    stored: list[pydicom.Dataset] = []

    def store(event: evt.Event) -> int:
        status = answer(event.dataset)
        if status == 0:
            stored.append(event.dataset)
        return status

    entity = AE(ae_title="PACS")
    for kind in (MRImageStorage, EnhancedMRImageStorage):
        entity.add_supported_context(kind)
    server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    try:
        yield stored
    finally:
        server.shutdown()


def until(wanted: Callable[[], bool]) -> None:
    """Wait for it, ten seconds at most."""
    end = time.monotonic() + 10
    while not wanted():
        assert time.monotonic() < end, "nothing came"
        time.sleep(0.02)


def unsent(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.unsent"))


def lines_into(said: list[str]) -> Tell:
    """Keeps the line of every event."""
    return lambda event: said.append(event.line())


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    prepare_folder(tmp_path / "kept")
    return tmp_path / "kept"


def test_orthanc_has_what_was_streamed(tmp_path: Path, kept: Path, orthanc: tuple[int, int]) -> None:
    dicom, web = orthanc
    said: list[str] = []
    delivery = Delivery(kept, ("dicom",), Destination("ORTHANC", "127.0.0.1", dicom))
    service = Service(SENSE, save=kept, deliver=delivery.add)
    with delivery.sending(lines_into(said)), running(service) as server:
        assert len(send_scan(recorded(tmp_path, 1), "127.0.0.1", server.port).images) == 1
        until(lambda: bool(said))
    (result,) = kept_results(kept)
    assert said == [f"{result.name}: 1 instance confirmed by ORTHANC@127.0.0.1:{dicom}"]
    (file,) = kept.glob("*_dicom/*/*.dcm")
    (name,) = json.loads(fetch(web, "/instances"))
    served = fetch(web, f"/instances/{name}/file")
    assert pydicom.dcmread(io.BytesIO(served)) == pydicom.dcmread(file)
    assert b"Muster" not in served
    assert "Muster" not in "".join([*server.notes, *said])
    assert unsent(kept) == []


def test_a_pacs_that_is_away_gets_it_later_and_after_a_restart(tmp_path: Path, kept: Path) -> None:
    port = free_port()
    said: list[str] = []
    there = Destination("PACS", "127.0.0.1", port)
    delivery = Delivery(kept, ("h5", "dicom-enhanced"), there, pause=0.1)
    service = Service(SENSE, save=kept, deliver=delivery.add)
    with delivery.sending(lines_into(said)), running(service) as server:
        for number in (1, 2):
            assert len(send_scan(recorded(tmp_path, number), "127.0.0.1", server.port).images) == 1
        until(lambda: len(said) == 2)
        time.sleep(0.3)  # it is tried again, and not said again
        assert ["not sent" in line for line in said] == [True, True]
        assert len(unsent(kept)) == 2
        with pacs(port) as stored:
            until(lambda: not unsent(kept))
            assert len(stored) == 2
        send_scan(recorded(tmp_path, 3), "127.0.0.1", server.port)
    assert ["ended by an error" in note for note in server.notes] == [False, False, False]
    assert unsent(kept) == [f"{kept_results(kept)[2].stem}.unsent"]
    with pacs(port) as stored, Delivery(kept, ("dicom",), there).sending():
        until(lambda: not unsent(kept))
    assert [entry.SOPClassUID for entry in stored] == [pydicom.uid.EnhancedMRImageStorage]


def test_what_a_pacs_refuses_holds_up_nothing_else(tmp_path: Path, kept: Path) -> None:
    port = free_port()
    said: list[str] = []
    refused: list[str] = []

    def answer(found: pydicom.Dataset) -> int:
        refused.append(found.StudyInstanceUID)
        return 0xA900 if found.StudyInstanceUID == refused[0] else 0

    delivery = Delivery(kept, ("dicom",), Destination("PACS", "127.0.0.1", port), pause=60)
    service = Service(SENSE, save=kept, deliver=delivery.add)
    with (
        pacs(port, answer) as stored,
        delivery.sending(lines_into(said)),
        running(service) as server,
    ):
        for number in (1, 2):
            send_scan(recorded(tmp_path, number), "127.0.0.1", server.port)
        until(lambda: len(said) == 2)
    assert "0xA900" in said[0]
    assert "confirmed" in said[1]
    assert len(stored) == 1
    assert unsent(kept) == [f"{kept_results(kept)[0].stem}.unsent"]


def test_an_export_that_fails_costs_no_image(tmp_path: Path, kept: Path) -> None:
    """Whatever the export finds: the images have gone back, the result is kept, and the next peer is served."""
    there = Destination("PACS", "127.0.0.1", free_port())
    delivery = Delivery(kept, ("dicom",), there)

    def deliver(path: Path, scan: object) -> str:
        return delivery.add(path, SimpleNamespace(path="session-1", voxel_size=None, affine=None))  # type: ignore[arg-type]

    with running(Service(SENSE, save=kept, deliver=deliver)) as server:
        for number in (1, 2):
            assert len(send_scan(recorded(tmp_path, number), "127.0.0.1", server.port).images) == 1
    assert len(kept_results(kept)) == 2
    for note in server.notes:
        assert "not exported: session-1: DICOM needs the voxel size" in note
    assert unsent(kept) == []


def test_options_that_cannot_be_are_one_line(tmp_path: Path, run_cli: Any) -> None:
    for words, said in (
        (["--push", "PACS@127.0.0.1:104"], "--save DIR"),
        (["--format", "nifti"], "--save DIR"),
        (["--save", tmp_path, "--push", "nowhere"], "expected AE@host:port"),
        (["--save", tmp_path, "--format", "png"], "choose from h5, nifti, dicom, dicom-enhanced"),
    ):
        refused = run_cli("serve", "--port", 0, "--method", "sense", *words)
        assert refused.code == 2
        assert said in refused.err
        assert refused.err.count("\n") == 1
