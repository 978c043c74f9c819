"""Any other segmenter, by files: an image and clicks into a folder, its command run on it, a mask read back.

The folder holds ``image.nii.gz``, ``clicks.json`` and, from the second click, ``previous.nii.gz`` (what the clicks
before made). The command must leave ``mask.nii.gz`` of zeros and ones on the image's grid and exit with 0. It is run
without a shell, each click in a new folder, and its whole process group ends with it.
"""

import json
import os
import shlex
import signal
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG
from typing import IO

import numpy as np
from numpy.typing import NDArray

from recon.errors import ReconError
from recon.images.nifti import read_nifti, write_nifti
from recon.interactive.prompt import Prompt, Segment

FORMAT = "recon-clicks-1"
FOLDER = "{folder}"
SAID = 300  # characters of what a tool said that an error repeats


def tool_segmenter(command: str, timeout: float) -> Segment:
    """A segmenter that runs ``command``, in whose words ``{folder}`` stands for the folder; ``timeout`` in seconds.

    Raises ReconError when the command has no words, or none of them says where the folder goes.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ReconError(f"the tool's command '{command}' has an open quotation ({error}); close it") from error
    if not words:
        raise ReconError("the tool's command is empty; give a program and its arguments")

    if not any(FOLDER in word for word in words[1:]):
        raise ReconError(f"the tool's command '{command}' must say where its folder goes: put {FOLDER} among its words")

    def segment(prompt: Prompt) -> NDArray[np.bool_]:
        with tempfile.TemporaryDirectory(prefix="recon-clicks-") as name:
            folder = Path(name).resolve()
            affine = _write(folder, prompt)
            _run([word.replace(FOLDER, str(folder)) for word in words], timeout)
            return _mask(folder / "mask.nii.gz", words[0], prompt.image.shape, affine)

    return segment


def _write(folder: Path, prompt: Prompt) -> NDArray[np.float64]:
    """Put the task into the folder; returns the affine (readout, phase, slice) to mm that its image has."""
    slice_mm, readout_mm, phase_mm = prompt.spacing
    placing = {"voxel_size": (readout_mm, phase_mm, slice_mm), "affine": prompt.affine}
    image = folder / "image.nii.gz"
    write_nifti(image, prompt.image, **placing)  # type: ignore[arg-type]
    if prompt.previous.any():
        write_nifti(folder / "previous.nii.gz", prompt.previous.astype(np.float32), **placing)  # type: ignore[arg-type]
    affine = read_nifti(image).affine
    clicks = []
    for click in prompt.clicks:
        index = [*click.index[1:], click.index[0]]
        position = (affine @ [*index, 1.0])[:3]
        clicks.append({"index": index, "position_mm": position.tolist(), "foreground": click.foreground})
    task = {"format": FORMAT, "image": "image.nii.gz", "mask": "mask.nii.gz", "clicks": clicks}
    (folder / "clicks.json").write_text(json.dumps(task, indent=1), encoding="utf-8")
    return affine


def _run(words: list[str], timeout: float) -> None:
    """Run the command where the user is. Raises ReconError when it cannot start, fails, or takes too long."""
    with tempfile.TemporaryFile() as said:
        try:
            process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said,
                start_new_session=True,
            )  # fmt: skip
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise ReconError(f"the tool {words[0]} cannot be started ({reason}); give its full path") from error
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise ReconError(
                f"the tool {words[0]} took longer than {timeout:g} s for a click; give it a longer --timeout"
            ) from None
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if code:
            raise ReconError(f"the tool {words[0]} ended with {code}: {_last_words(said)}")


def _last_words(said: IO[bytes]) -> str:
    size = said.seek(0, os.SEEK_END)
    said.seek(max(0, size - 4 * SAID))
    text = "".join(char if char.isprintable() else " " for char in said.read().decode("utf-8", "replace"))
    return " ".join(text.split())[-SAID:] or "it said nothing on standard error"


def _mask(path: Path, tool: str, shape: tuple[int, ...], affine: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The tool's mask ``[slice, readout, phase]``, everything about it checked. Raises ReconError."""
    try:
        regular = S_ISREG(os.lstat(path).st_mode)
    except OSError:
        raise ReconError(f"the tool {tool} left no {path.name} in its folder") from None
    if not regular:
        raise ReconError(f"the tool {tool}: {path.name} is a link, folder or device; write the file itself")
    try:
        found = read_nifti(path)
    except ReconError as error:
        raise ReconError(f"the tool {tool}: {str(error).replace(str(path), path.name)}") from error
    expected = (*shape[1:], shape[0])
    if found.values.shape != expected:
        raise ReconError(f"the tool {tool}: {path.name} has the shape {found.values.shape}, the image {expected}")
    if not np.allclose(found.affine, affine, atol=1e-2):
        raise ReconError(f"the tool {tool}: {path.name} lies elsewhere than the image; keep the image's affine")
    if not np.isin(found.values, (0, 1)).all():
        raise ReconError(f"the tool {tool}: {path.name} holds other values than 0 and 1; write the lesion as 1")
    return np.moveaxis(found.values == 1, -1, 0)
