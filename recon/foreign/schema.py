"""What the parts of an HDF5 file must be, as a table that is checked before anything is read; readers rely on it."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from recon.errors import ReconError

NUMBER, COMPLEX, TEXT = "number", "complex number", "text"
_KINDS = {NUMBER: "biuf", COMPLEX: "c", TEXT: "SUO"}
LARGEST_TEXT = 1 << 24  # bytes; an XML header has some ten thousand
LARGEST_NUMBER = 1e38  # of attributes: what single precision holds
LARGEST_ROW = 1 << 31  # bytes of one entry along the first axis, which is what is read at once


@dataclass(frozen=True)
class Part:
    """A group, dataset or attribute (``group@name``): it may not be anything else, nor absent when it is ``needed``.

    ranks: allowed numbers of axes. size: allowed number of values, None for any. Attributes must be finite.
    ``judged_later``: whoever reads it says with words of its own when a value cannot be.
    """

    name: str
    kind: str | None  # None: a group
    ranks: tuple[int, ...] = (0,)
    size: int | None = None
    minimum: float | None = None
    needed: bool = False
    judged_later: bool = False


def check_schema(path: Path, file: h5py.File, parts: Iterable[Part], remedy: str) -> None:
    """Raises ReconError, naming file, part and ``remedy``, for the first part that is not what the table says."""
    for part in parts:
        try:
            _check(path, part, file, remedy)
        except (OSError, KeyError, RuntimeError, TypeError, ValueError, OverflowError) as error:
            said = " ".join(str(error).split())
            raise _refusal(path, f"'{part.name}'", f"cannot be read ({said})", remedy) from error


def _check(path: Path, part: Part, file: h5py.File, remedy: str) -> None:
    group, _, attribute = part.name.partition("@")
    holder = file.get(group)
    if attribute:
        if isinstance(holder, h5py.Group) and attribute in holder.attrs:
            _check_attribute(path, part, holder, attribute, remedy)
        elif part.needed:
            raise _refusal(path, f"attribute '{attribute}'", "is missing", remedy)
    elif holder is None:
        if part.needed:
            raise _refusal(path, f"'{part.name}'", "is missing", remedy)
    elif part.kind is None:
        if not isinstance(holder, h5py.Group):
            raise _refusal(path, f"'{part.name}'", "is no group", remedy)
    elif not isinstance(holder, h5py.Dataset):
        raise _refusal(path, f"'{part.name}'", "is no dataset", remedy)
    else:
        _check_dataset(path, part, holder, remedy)


def _check_dataset(path: Path, part: Part, dataset: h5py.Dataset, remedy: str) -> None:
    field = f"dataset '{part.name}'"
    _check_values(path, part, field, dataset.dtype, dataset.shape, remedy)
    declared = dataset.size * dataset.dtype.itemsize
    if part.kind == TEXT and max(declared, dataset.id.get_storage_size()) > LARGEST_TEXT:
        raise _refusal(path, field, "is too long for a text", remedy)
    if declared > LARGEST_ROW * max(1, dataset.shape[0] if dataset.ndim > 1 else 1):
        raise _refusal(path, field, f"declares {declared} bytes, more than can be read at once", remedy)


def _check_attribute(path: Path, part: Part, holder: h5py.Group, name: str, remedy: str) -> None:
    stored = holder.attrs.get_id(name)
    group = part.name.partition("@")[0]
    field = f"attribute '{name}'" if group == "/" else f"an attribute of group '{group}' is damaged ('{name}'"
    if stored.get_space().get_simple_extent_type() == h5py.h5s.NULL:
        raise _refusal(path, field, "has no value", remedy)
    if stored.get_storage_size() > LARGEST_TEXT:
        raise _refusal(path, field, "is too long", remedy)
    value: Any = holder.attrs[name]
    if part.kind == NUMBER and isinstance(value, (str, bytes)):
        raise _refusal(path, field, f"is {value[:40]!r}, not a number", remedy)
    _check_values(path, part, field, stored.dtype, tuple(stored.shape), remedy)
    if part.kind == TEXT and not all(map(_readable, _texts(value))):
        raise _refusal(path, field, "is no readable text", remedy)
    if part.kind == NUMBER:
        numbers = np.asarray(value, float)
        if not part.judged_later and not (np.abs(numbers) <= LARGEST_NUMBER).all():
            raise _refusal(path, field, "is NaN or infinite", remedy)
        if part.minimum is not None and (numbers < part.minimum).any():
            raise _refusal(path, field, f"is {value}, less than {part.minimum:g}", remedy)


def _texts(value: Any) -> list[str]:
    """The words of a text attribute, a single one or one in an array, with marks where they are not UTF-8."""
    words = np.asarray(value, object).reshape(-1)
    return [word.decode("utf-8", "replace") if isinstance(word, bytes) else str(word) for word in words]


def _readable(text: str) -> bool:
    return "\ufffd" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text)


def _check_values(
    path: Path, part: Part, field: str, dtype: np.dtype, shape: tuple[int, ...] | None, remedy: str
) -> None:
    assert part.kind is not None
    right = dtype.kind in _KINDS[part.kind]
    if dtype.kind == "O":
        right = part.kind == TEXT and h5py.check_string_dtype(dtype) is not None
    if not right:
        raise _refusal(path, field, f"is {_words(dtype)}, not a {part.kind}", remedy)
    if shape is None or len(shape) not in part.ranks:
        ranks = " or ".join(map(str, part.ranks))
        found = "no values" if shape is None else f"{len(shape)} axes"
        raise _refusal(path, field, f"has {found}, not {ranks} axes", remedy)
    if part.size is not None and int(np.prod(shape, dtype=object)) != part.size:
        raise _refusal(path, field, f"has the shape {shape}, not {part.size} values", remedy)


def _words(dtype: np.dtype) -> str:
    return "of compound type" if dtype.names else str(dtype)


def _refusal(path: Path, field: str, wrong: str, remedy: str) -> ReconError:
    closed = ")" if "(" in field else ""  # what is said of an attribute of a group stands in brackets
    return ReconError(f"{path}: {field} {wrong}{closed}; {remedy}")
