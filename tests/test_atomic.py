"""A reader never sees half a file: not after an error, a full disk, Ctrl-C or a folder that cannot be written."""

import errno
import os
import re
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from recon.atomic import atomic_path, check_place, temporary_folder
from recon.errors import ReconError

FULL_DISK = """
import resource, signal
import numpy as np
from recon.errors import ReconError
from recon.images.result import ResultHeader, write_result
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    with write_result({target!r}, ResultHeader(slices=8, shape=(64, 64), contrast="T1", voxel_size=None, affine=None,
                      configuration={{}}, attributes={{}})) as writer:
        for index in range(8):
            writer.put(index, reconstruction=np.random.default_rng(0).random((64, 64)).astype(np.float32))
except ReconError as error:
    print("refused:", error)
"""

INTERRUPTED = """
import sys, time
from recon.atomic import atomic_path, temporary_folder
with atomic_path({target!r}) as temporary:
    temporary.write_bytes(b"half")
    print("writing", flush=True)
    time.sleep(60)
"""

TERMINATED = """
import time
import cli.main
from recon.atomic import atomic_path

def write(*arguments, **settings):
    with atomic_path({target!r}) as temporary:
        temporary.write_bytes(b"half")
        print("writing", flush=True)
        time.sleep(60)

cli.main.typer.main.get_command(cli.main.app).__class__.main = write
cli.main.main(["info", "x.h5"])
"""


def test_the_file_appears_whole_with_the_users_permissions(tmp_path):
    target = tmp_path / "new" / "folder" / "image.nii.gz"
    with atomic_path(target) as temporary:
        temporary.write_bytes(b"done")
        assert temporary.name.endswith(".nii.gz")
        assert temporary.parent == target.parent
        assert not target.exists()
    assert target.read_bytes() == b"done"
    umask = os.umask(0)
    os.umask(umask)
    assert target.stat().st_mode & 0o777 == 0o666 & ~umask
    assert os.listdir(target.parent) == ["image.nii.gz"]


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), ReconError("x")])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path, error):
    target = tmp_path / "result.h5"
    target.write_text("old")
    with pytest.raises(type(error)), atomic_path(target) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise error
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["result.h5"]


def test_a_place_that_cannot_be_written_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ReconError, match="cannot write here"), atomic_path(tmp_path / "file" / "result.h5"):
        pass
    (tmp_path / "folder.h5").mkdir()
    with pytest.raises(ReconError, match=r"folder\.h5: writing failed"), atomic_path(tmp_path / "folder.h5") as path:
        path.write_text("x")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder.h5"]


def test_a_full_disk_is_one_clear_error_and_nothing_stays(tmp_path):
    """The limit on file size stands for the full disk: the same failed write, without a file system of its own."""
    pytest.importorskip("resource")
    target = tmp_path / "result.h5"
    code = FULL_DISK.format(target=str(target))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"refused: {target}: writing failed")
    assert "free some space" in done.stdout
    assert done.stderr == ""
    assert os.listdir(tmp_path) == []


def test_weights_on_a_full_disk_are_one_clear_error(tmp_path):
    resource = pytest.importorskip("resource")
    import torch

    from recon.tensor_file import write_tensors

    limit, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))
    try:
        with pytest.raises(ReconError, match=r"model\.safetensors: writing failed \(.*too large"):
            write_tensors(tmp_path / "model.safetensors", {"weight": torch.zeros(10_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, handler)
    assert os.listdir(tmp_path) == []


def test_ctrl_c_in_the_middle_leaves_nothing(tmp_path):
    code = INTERRUPTED.format(target=str(tmp_path / "result.h5"))
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # A test run in the background inherits an ignored SIGINT; a user's terminal does not.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"writing\n"
        assert len(os.listdir(tmp_path)) == 1
        time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGHUP", 129)])
def test_what_a_scheduler_sends_unwinds_like_ctrl_c(tmp_path, name, code):
    process = subprocess.Popen(
        [sys.executable, "-c", TERMINATED.format(target=str(tmp_path / "result.h5"))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    process.send_signal(getattr(signal, name))
    _, said = process.communicate(timeout=20)
    assert process.returncode == code, said
    assert said.startswith("recon: interrupted")
    assert os.listdir(tmp_path) == []


def test_the_next_write_removes_what_a_killed_one_left_and_nothing_else(tmp_path):
    target = tmp_path / "result.h5"
    strangers = {".result.h5.other", ".other.h5.abcdefgh.h5", "result.h5.abcdefgh.h5"}
    for name in strangers:
        (tmp_path / name).touch()
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED.format(target=str(target))], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    (held,) = set(os.listdir(tmp_path)) - strangers
    with atomic_path(target) as temporary:
        temporary.write_text("mine")
    assert set(os.listdir(tmp_path)) == {*strangers, held, "result.h5"}, "a live process holds it"
    process.kill()
    process.communicate(timeout=20)
    with atomic_path(target) as temporary:
        temporary.write_text("mine")
    assert set(os.listdir(tmp_path)) == {*strangers, "result.h5"}


def test_a_folder_that_a_killed_export_left_goes_too(tmp_path):
    left = tmp_path / ".series.abcdefgh"
    left.mkdir()
    (left / "IM0001.dcm").touch()
    with temporary_folder(tmp_path / "series") as temporary:
        (temporary / "IM0001.dcm").touch()
        assert os.listdir(tmp_path) == [temporary.name]
    assert os.listdir(tmp_path) == []


def test_devices_pipes_and_sockets_are_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe.h5")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "socket.h5"))
        (tmp_path / "link.h5").symlink_to("/dev/null")
        for name in ("pipe.h5", "socket.h5", "link.h5"):
            with pytest.raises(ReconError, match=f"{name}: is a device, pipe or socket"), atomic_path(tmp_path / name):
                pass
        assert sorted(os.listdir(tmp_path)) == ["link.h5", "pipe.h5", "socket.h5"]
    with pytest.raises(ReconError, match="is a device"), atomic_path("/dev/stdout"):
        pass


def test_a_new_file_can_be_read_while_its_writer_lives(tmp_path):
    h5py = pytest.importorskip("h5py")
    from recon.hdf5 import hdf5_for_writing

    for _ in range(2):
        with atomic_path(tmp_path / "a.h5") as temporary, hdf5_for_writing(temporary) as file:
            file.attrs["x"] = 1
        with h5py.File(tmp_path / "a.h5") as file:
            assert file.attrs["x"] == 1


def test_a_place_is_looked_at_before_hours_of_work_and_nothing_is_made(tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.touch()
    check_place(None)
    check_place(file)  # would be replaced
    check_place(tmp_path, folder=True)
    check_place(tmp_path / "new" / "folder", folder=True)
    check_place(tmp_path / "new" / "folder" / "file")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "nowhere")
    for target, folder, why in (
        (link, True, f"{link} is a link to nothing"),
        (link / "file", False, f"{link} is a link to nothing"),
        (file, True, "is a file, not a folder"),
        (tmp_path, False, "is a folder, not a file"),
        (file / "folder", True, f"{file} is a file"),
        (file / "new" / "file", False, f"{file} is a file"),
        (tmp_path / ("x" * 300), False, "File name too long"),
    ):
        with pytest.raises(ReconError, match=re.escape(why)) as refusal:
            check_place(target, folder=folder)
        assert str(refusal.value).startswith(f"{target}: ")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # tests may run as root, whom nothing is forbidden
    with pytest.raises(ReconError, match="allows no writing"):
        check_place(tmp_path / "new" / "file")
    assert {path.name for path in tmp_path.iterdir()} == {"file", "link"}


def test_a_full_disk_while_dicom_is_written_is_said_without_a_traceback(tmp_path, monkeypatch):
    """pydicom puts its own traceback into the error's text, and takes the error's number out."""
    from pydicom.filewriter import writers

    from recon.images.dicom import DicomSeries, write_dicom_series

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setitem(writers, "OW", (full, None))
    with pytest.raises(ReconError) as raised:
        write_dicom_series(tmp_path / "series", np.ones((2, 8, 8), np.float32), DicomSeries("d", "d", affine=np.eye(4)))
    assert str(raised.value).endswith(
        "writing failed (No space left on device); free some space or choose another --out"
    )
    assert os.listdir(tmp_path) == []
