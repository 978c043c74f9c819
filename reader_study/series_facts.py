"""What a stranger can learn about one exported series without looking at the picture.

Header attributes, file system facts, names, and how the pixels are stored. Reads DICOM files of any origin, PNG and
NIfTI files, and the viewer's image scripts.
"""

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom
from pydicom.errors import InvalidDicomError

from reader_study.container import Container, stored_pixels
from reader_study.image_files import read_image_file
from recon.errors import ReconError

# May hold different values in the two arms of a pair, but only of one length and form.
IDENTIFIERS = {
    *("SOPInstanceUID", "MediaStorageSOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"),
    *("PatientID", "PatientName", "StudyID", "AccessionNumber"),
}
MODIFIED = "modification time"  # the one file fact that any copy changes
_HEXADECIMAL = set("0123456789abcdefABCDEF")
_HEADER_BYTES = 1024  # of a viewer image script: shape, spacing and window stand before the pixels


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
    container = Container()
    facts = [_read_file(path, container) for path in files]
    numbers = [fact.attributes.get("InstanceNumber", "") for fact in facts]
    if len(set(numbers)) == len(facts) > 1:  # file names may be random; slices must be compared with their like
        facts = [fact for _, fact in sorted(zip(numbers, facts, strict=True), key=lambda entry: _natural(entry[0]))]
    status = os.stat(files[0])
    orders = {"order on disk (inode)": status.st_ino, "change time order": status.st_ctime_ns}
    return SeriesFacts(name, tuple(facts), orders, container.statistics())


def _read_file(path: Path, container: Container) -> FileFacts:
    status = os.stat(path)
    attributes = {
        "file name": (uid_form if path.stem.count(".") > 3 else form)(path.stem) + path.suffix,
        "file size": str(status.st_size),
        MODIFIED: str(status.st_mtime_ns),
        "permissions": oct(status.st_mode),
    }
    if path.suffix == ".js":
        with path.open("rb") as script:
            head = script.read(_HEADER_BYTES)
        attributes["viewer image header"] = head.split(b"\n")[0].decode("utf-8", "replace")
        return FileFacts(path.name, attributes, {})
    other = read_image_file(path)
    if other is not None:
        attributes |= other.attributes
        for image in other.slices:
            container.add(image, other.signed)
        return FileFacts(path.name, attributes, {"file name": path.name})
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
    stored = stored_pixels(dataset)
    if stored is not None:
        container.add(*stored)
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
