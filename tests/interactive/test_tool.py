"""The file protocol: a tool that works, and everything that a tool may do wrong; nothing stays behind."""

import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from recon.errors import ReconError
from recon.interactive.clicks import Click
from recon.interactive.prompt import Prompt
from recon.interactive.tool import tool_segmenter

AFFINE = np.array([[0, -0.8, 0, 20.0], [0.7, 0, 0, -15], [0, 0, 5, 3], [0, 0, 0, 1.0]])
START = "import json, pathlib, sys, nibabel, numpy as np; folder = pathlib.Path(sys.argv[1]); "
READ = START + "image = nibabel.load(folder / 'image.nii.gz'); data = np.asarray(image.dataobj); "


def prompt(previous: bool = False) -> Prompt:
    image = np.zeros((2, 7, 5), np.float32)
    image[1, 2:5, 1:3] = 3
    clicks = (Click((1, 3, 2), True), Click((0, 0, 4), False))
    before = image > 5 if not previous else image > 1
    return Prompt(image, (5.0, 0.7, 0.8), clicks, before, 30, 2, AFFINE)


def tool(tmp_path: Path, program: str, timeout: float = 60.0):
    script = tmp_path / "a tool.py"
    script.write_text(program)
    return tool_segmenter(f"'{sys.executable}' '{script}' {{folder}}", timeout)


def test_a_tool_sees_image_and_clicks_and_its_mask_comes_back(tmp_path: Path) -> None:
    segment = tool(
        tmp_path,
        READ
        + f"""
task = json.loads((folder / "clicks.json").read_text())
assert task["format"] == "recon-clicks-1" and task["image"] == "image.nii.gz" and task["mask"] == "mask.nii.gz"
first, second = task["clicks"]
assert first["index"] == [3, 2, 1] and first["foreground"] and not second["foreground"]
assert data[tuple(first["index"])] == 3 and data[tuple(second["index"])] == 0
assert np.allclose(image.affine @ [*first["index"], 1], [*first["position_mm"], 1])
assert (folder / "previous.nii.gz").is_file()
nibabel.save(nibabel.Nifti1Image((data > 1).astype(np.uint8), image.affine), folder / "mask.nii.gz")
pathlib.Path({str(tmp_path / "where")!r}).write_text(str(folder))
""",
    )
    assert (segment(prompt(previous=True)) == (prompt().image > 1)).all()
    assert not Path((tmp_path / "where").read_text()).exists()


SAVE = "nibabel.save(nibabel.Nifti1Image({data}, {affine}), folder / 'mask.nii.gz')"
WRONG = {
    "left no mask.nii.gz": "pass",
    "ended with 3: it is broken": "sys.stderr.write('it is\\n broken'); sys.exit(3)",
    "has the shape": SAVE.format(data="data[:-1]", affine="image.affine"),
    "lies elsewhere": SAVE.format(data="0 * data", affine="np.eye(4)"),
    "other values than 0 and 1": SAVE.format(data="data", affine="image.affine"),
    "other values": SAVE.format(data="data * np.float32('nan')", affine="image.affine"),
    "truncated|not readable": "(folder / 'mask.nii.gz').write_bytes(b'none')",
    "is a link": "(folder / 'mask.nii.gz').symlink_to(folder / 'image.nii.gz')",
    "folder or device": "import os; os.mkfifo(folder / 'mask.nii.gz')",
}


@pytest.mark.parametrize("message", WRONG)
def test_what_a_tool_does_wrong_is_said_in_one_line(tmp_path: Path, message: str) -> None:
    with pytest.raises(ReconError, match=message) as caught:
        tool(tmp_path, READ + WRONG[message])(prompt())
    assert "\n" not in str(caught.value)
    assert "python" in str(caught.value)


def test_a_tool_that_hangs_ends_with_all_that_it_started(tmp_path: Path) -> None:
    child = tmp_path / "child"
    program = (
        "import subprocess, sys, time, pathlib; "
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); "
        f"pathlib.Path({str(child)!r}).write_text(str(child.pid)); time.sleep(600)"
    )
    began = time.monotonic()
    with pytest.raises(ReconError, match="longer than 3 s"):
        tool(tmp_path, program, timeout=3)(prompt())
    assert time.monotonic() - began < 60
    number = int(child.read_text())
    for _ in range(100):
        try:
            os.kill(number, 0)
            state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
        except (ProcessLookupError, FileNotFoundError):
            return
        if state == "Z":
            return
        time.sleep(0.05)
    pytest.fail("the tool's child lives on")


def test_no_shell_reads_the_command(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    with pytest.raises(ReconError, match="left no mask"):
        tool_segmenter(f"echo {{folder}} ; touch {victim}", 30)(prompt())
    assert not victim.exists()


def test_commands_that_cannot_be_run() -> None:
    for command, message in (
        ("", "empty"),
        ("'open", "open quotation"),
        ("/no/such/tool {folder}", "cannot be started"),
        ("tool", "{folder}"),
    ):
        with pytest.raises(ReconError, match=message):
            tool_segmenter(command, 5)(prompt())
