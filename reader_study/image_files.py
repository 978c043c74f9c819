"""What PNG and NIfTI files tell besides the picture: chunks and header fields, and the stored values."""

import hashlib
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from numpy.typing import NDArray
from PIL import Image

from recon.errors import ReconError

_PNG = b"\x89PNG\r\n\x1a\n"
_LEVELS = 4095  # of pixels that are no integers
_TEXTS = ("descrip", "aux_file", "intent_name", "db_name", "data_type")


@dataclass(frozen=True)
class ImageFile:
    """Header facts, and every slice `[row, column]` of stored values from 0; no slices where there is colour."""

    attributes: Mapping[str, str]
    slices: Sequence[NDArray[np.int64]]
    signed: bool


def read_image_file(path: Path) -> ImageFile | None:
    """Facts of a PNG or NIfTI file by its name; None for any other. Raises ReconError for a damaged one."""
    name = path.name.lower()
    try:
        if name.endswith(".png"):
            return _png(path)
        if name.endswith((".nii", ".nii.gz")):
            return _nifti(path)
    except (OSError, ValueError, struct.error, zlib.error, EOFError, ImageFileError) as error:
        raise ReconError(f"{path}: cannot be read ({error})") from error
    return None


def _png(path: Path) -> ImageFile:
    content = path.read_bytes()
    if not content.startswith(_PNG):
        raise ReconError(f"{path}: is not a PNG file")
    attributes: dict[str, str] = {}
    place, order = len(_PNG), []
    while place + 8 <= len(content):
        length, kind = struct.unpack(">I4s", content[place : place + 8])
        chunk = content[place + 8 : place + 8 + length]
        name = kind.decode("latin-1")
        place += 12 + length
        if name == "IDAT":
            continue
        order.append(name)
        if name == "IHDR":
            attributes["PNG IHDR"] = str(struct.unpack(">IIBBBBB", chunk))
        elif name != "IEND":
            attributes[f"PNG {name}, {order.count(name)}"] = _mark(chunk)  # texts may name people
    attributes["order of chunks"] = " ".join(order)
    with Image.open(path) as image:
        pixels = np.asarray(image)
    if pixels.ndim != 2 or pixels.dtype.kind not in "ui":
        return ImageFile(attributes, (), False)
    return ImageFile(attributes, (pixels.astype(np.int64),), False)


def _nifti(path: Path) -> ImageFile:
    image: Any = nibabel.load(path)
    attributes = {}
    for name in image.header.keys():  # noqa: SIM118, a header is no mapping
        value = image.header[name]
        attributes[f"NIfTI {name}"] = _mark(np.asarray(value).tobytes()) if name in _TEXTS else str(value)
    for number, extension in enumerate(image.header.extensions, start=1):
        attributes[f"NIfTI extension {number}"] = f"code {extension.get_code()}, {_mark(extension.get_sizeondisk())}"
    if path.name.lower().endswith(".gz"):
        with path.open("rb") as file:
            head = file.read(64)
        named = head[10:].split(b"\0")[0] if head[3] & 8 else b""
        attributes["gzip header"] = f"{head[:10].hex()}, name {_mark(named)}"
    stored = np.asarray(image.dataobj.get_unscaled())
    if stored.ndim != 3 or stored.dtype.kind not in "uif":
        return ImageFile(attributes, (), False)
    signed = bool((stored < 0).any())
    if stored.dtype.kind == "f":
        low, high = float(min(stored.min(), 0)), float(stored.max())
        stored = np.rint((stored - low) * (_LEVELS / (high - low if high > low else 1.0)))
    elif signed:
        stored = stored.astype(np.int64) - int(stored.min())
    return ImageFile(attributes, [stored[..., index].astype(np.int64) for index in range(stored.shape[2])], signed)


def _mark(content: bytes | int) -> str:
    """Length and hash: two contents are told apart without showing either."""
    if isinstance(content, int):
        return f"{content} bytes"
    return f"{len(content)} bytes {hashlib.sha256(content).hexdigest()[:16]}" if content.strip(b"\0 ") else "empty"
