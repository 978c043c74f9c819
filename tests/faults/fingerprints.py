"""What a folder holds, so that two runs can be compared: every file, but for times that are written down in it."""

import hashlib
import json
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import h5py
import numpy as np

TIMES = ("seconds", "stages", "time", "finished", "started", "seconds_per_step", "minutes", "device")


def contents(folder: Path) -> dict[str, str]:
    """Digest by path of every file under ``folder``, hidden ones, too."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    names = [str(path.relative_to(folder)) for path in files]
    return {name: "" if hidden(name) else digest(folder / name) for name in names}


def digest(path: Path) -> str:
    """Of the content, but for seconds that a run took."""
    if path.suffix == ".h5" and h5py.is_hdf5(path):
        return _hash(json.dumps(_hdf5(path), sort_keys=True, default=str).encode())
    if path.suffix == ".dcm":
        return _hash(json.dumps(_dicom(path), sort_keys=True).encode())
    if path.suffix == ".json":
        return _hash(json.dumps(_timeless(json.loads(path.read_text("utf-8"))), sort_keys=True).encode())
    if path.suffix == ".md":  # model cards say how long it took
        lines = path.read_text("utf-8").splitlines()
        return _hash("\n".join(line for line in lines if " min" not in line and " s" not in line).encode())
    return _hash(path.read_bytes())


def hidden(name: str) -> bool:
    return any(part.startswith(".") for part in Path(name).parts)


def fits(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(entry) for key, entry in value.items() if key not in TIMES}
    if isinstance(value, list):
        return [_timeless(entry) for entry in value]
    return value


def _hdf5(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with h5py.File(path) as file:

        def note(name: str, entry: Any) -> None:
            if isinstance(entry, h5py.Dataset):
                found[name] = _hash(np.asarray(entry[()]).tobytes())
            found[f"{name}@"] = {key: _attribute(value) for key, value in entry.attrs.items()}

        file.visititems(note)
        found["@"] = {key: _attribute(value) for key, value in file.attrs.items()}
    return found


def _dicom(path: Path) -> dict[str, str]:
    """Every element but the moment of writing and the identifiers, which are new in every export."""
    import pydicom

    elements = pydicom.dcmread(path)
    return {
        element.keyword: _hash(repr(element.value).encode())
        for element in elements
        if element.VR not in ("DA", "TM", "DT", "UI") and element.VR != "SQ"
    }


def _attribute(value: Any) -> Any:
    if isinstance(value, str) and value.startswith("{"):
        return _timeless(json.loads(value))
    return value.tolist() if hasattr(value, "tolist") else str(value)
