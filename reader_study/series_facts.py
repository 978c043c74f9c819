"""What a stranger can learn about one exported series without looking at the picture.

Header attributes, file system facts, names, and how the pixels are stored. Reads DICOM files of any origin, and the
viewer's image scripts.
"""

import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.errors import InvalidDicomError

from recon.errors import ReconError

# May hold different values in the two arms of a pair, but only of one length and form.
IDENTIFIERS = {
    *("SOPInstanceUID", "MediaStorageSOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"),
    *("PatientID", "PatientName", "StudyID", "AccessionNumber"),
}
_HEXADECIMAL = set("0123456789abcdefABCDEF")
_HEADER_BYTES = 256  # of a viewer image script: shape, spacing and window stand before the pixels


@dataclass(frozen=True)
class FileFacts:
    """One file: everything that must be equal in both arms, and the identifiers that may differ."""

    name: str
    attributes: Mapping[str, str]  # header attribute or file fact -> value as text
    identifiers: Mapping[str, str]


@dataclass(frozen=True)
class SeriesFacts:
    """One series in one arm."""

    name: str  # its folder, or its file
    files: tuple[FileFacts, ...]
    orders: Mapping[str, int]  # file system facts that may differ but must not sort with the arm
    container: Mapping[str, float] = field(default_factory=dict)  # statistics of how pixels are stored


def read_series(files: Sequence[Path], name: str) -> SeriesFacts:
    """Facts of one series from its files in name order. Raises ReconError for a file that cannot be read."""
    if not files:
        raise ReconError(f"{name}: no files")
    container = _Container()
    facts = [_read_file(path, container) for path in files]
    numbers = [fact.attributes.get("InstanceNumber", "") for fact in facts]
    if len(set(numbers)) == len(facts) > 1:  # file names may be random; slices must be compared with their like
        facts = [fact for _, fact in sorted(zip(numbers, facts, strict=True), key=lambda entry: _natural(entry[0]))]
    status = os.stat(files[0])
    orders = {"order on disk (inode)": status.st_ino, "change time order": status.st_ctime_ns}
    return SeriesFacts(name, tuple(facts), orders, container.statistics())


def _read_file(path: Path, container: "_Container") -> FileFacts:
    status = os.stat(path)
    attributes = {
        "file name": (uid_form if path.stem.count(".") > 3 else form)(path.stem) + path.suffix,
        "file size": str(status.st_size),
        "modification time": str(status.st_mtime_ns),
        "permissions": oct(status.st_mode),
    }
    if path.suffix == ".js":
        with path.open("rb") as script:
            head = script.read(_HEADER_BYTES)
        attributes["viewer image header"] = head.split(b"\n")[0].decode("utf-8", "replace")
        return FileFacts(path.name, attributes, {})
    try:
        dataset = pydicom.dcmread(path)
    except (InvalidDicomError, OSError, EOFError) as error:
        raise ReconError(f"{path}: cannot be read as DICOM ({error})") from error
    identifiers: dict[str, str] = {"file name": path.name}
    attributes["preamble"] = (dataset.preamble or b"").hex().strip("0")
    tags = list(dataset.keys())
    attributes["order of attributes"] = " ".join(f"{int(tag):08x}" for tag in tags)
    _collect(dataset.file_meta, "", attributes, identifiers)
    _collect(dataset, "", attributes, identifiers)
    container.add(dataset)
    return FileFacts(path.name, attributes, identifiers)


def _collect(dataset: Any, prefix: str, attributes: dict[str, str], identifiers: dict[str, str]) -> None:
    """Flatten a dataset; identifiers go apart, and the form they have goes among the attributes."""
    for tag in list(dataset.keys()):  # iterating over the dataset itself would convert every value
        element = dataset.get_item(tag)
        keyword = pydicom.datadict.keyword_for_tag(tag) or f"({tag.group:04x},{tag.element:04x})"
        name = prefix + keyword
        if keyword == "PixelData":
            attributes[name] = f"{element.VR}, {len(element.value)} bytes"
            continue
        if element.VR == "SQ":
            items = dataset[tag].value
            attributes[name] = f"{len(items)} items"
            for index, item in enumerate(items):
                _collect(item, f"{name}[{index}].", attributes, identifiers)
            continue
        value = element.value
        text = value.decode("latin-1").rstrip("\0 ") if isinstance(value, bytes) else str(value)
        if keyword in IDENTIFIERS or (element.VR == "UI" and prefix):
            identifiers[name] = text
            attributes[f"{name} (form)"] = uid_form(text) if element.VR == "UI" else form(text)
        else:
            whole = "" if len(text) <= 60 else f" ... {hashlib.sha256(text.encode()).hexdigest()[:16]}"
            attributes[name] = f"{element.VR} {text[:60]!r}{whole}"


def form(text: str) -> str:
    """The shape of a name, so that two random names of one kind look alike.

    Each word becomes as many h (it could be hexadecimal), x (letters) or m (letters and digits) as it is long.
    """

    def shape(word: "re.Match[str]") -> str:
        letters = word.group()
        kind = "h" if set(letters) <= _HEXADECIMAL else "x" if letters.isalpha() else "m"
        return kind * len(letters)

    return re.sub(r"[^\W_]+", shape, text)


def uid_form(uid: str) -> str:
    """Root (up to five components), number of components and length of a UID; the rest may be random."""
    parts = uid.split(".")
    root = ".".join(part for part in parts[:5] if len(part) < 16)
    return f"root {root}, {len(parts)} components, {len(uid)} characters"


def _natural(text: str) -> tuple[int, str]:
    """Sorts the texts of numbers by value."""
    return len(text), text


class _Container:
    """Gathers the statistics of how pixels are stored, slice by slice."""

    def __init__(self) -> None:
        self._counts: NDArray[np.int64] = np.zeros(1, np.int64)
        self._border_rows = 0
        self._least = 0
        self._slices = 0
        self._signed = 0

    def add(self, dataset: Any) -> None:
        """One slice. Compressed, coloured or unreadable pixels count nothing: the equality gate sees those facts."""
        if "PixelData" not in dataset or dataset.get("BitsAllocated") not in (8, 16):
            return
        if dataset.file_meta.get("TransferSyntaxUID") is None or dataset.file_meta.TransferSyntaxUID.is_compressed:
            return
        signed = dataset.get("PixelRepresentation") == 1
        kind = f"<{'i' if signed else 'u'}{dataset.BitsAllocated // 8}"
        rows, columns = int(dataset.Rows), int(dataset.Columns)
        raw = np.frombuffer(dataset.PixelData, kind)
        if raw.size < rows * columns:
            return
        image = raw[: rows * columns].reshape(rows, columns).astype(np.int64) + (32768 if signed else 0)
        counts = np.bincount(image.reshape(-1))
        size = max(counts.size, self._counts.size)
        total = np.zeros(size, np.int64)
        total[: self._counts.size] = self._counts
        total[: counts.size] += counts
        self._counts = total
        self._slices += 1
        self._signed += signed
        edges: Iterable[NDArray[np.int64]] = (image, image[::-1], image.T, image.T[::-1])
        for view in edges:
            flat = view.min(axis=1) == view.max(axis=1)
            self._border_rows += int(np.argmin(flat)) if not flat.all() else len(flat)

    def statistics(self) -> dict[str, float]:
        """Share of the lowest value, constant border rows and columns a slice, share of empty grey levels in the
        central range, bits in use, pixels at the highest level, share of slices stored with a sign."""
        if not self._slices:
            return {}
        occupied = np.flatnonzero(self._counts)
        total = float(self._counts.sum())
        cumulative = np.cumsum(self._counts[occupied[0] + 1 :])
        empty = 0.0
        if cumulative.size and cumulative[-1]:
            low, high = np.searchsorted(cumulative, [0.05 * cumulative[-1], 0.95 * cumulative[-1]])
            central = self._counts[occupied[0] + 1 + low : occupied[0] + 2 + high]
            empty = float((central == 0).mean()) if central.size else 0.0
        return {
            "zero background share": float(self._counts[occupied[0]]) / total,
            "constant border rows": self._border_rows / self._slices,
            "histogram gaps": empty,
            "bits in use": float(np.ceil(np.log2(occupied[-1] + 1))),
            "pixels at the highest level": float(self._counts[occupied[-1]]),
            "signed pixels": self._signed / self._slices,
        }
