"""What the parts of an HDF5 scan must be, as a table that is checked before anything is read; readers rely on it."""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from recon.errors import ReconError
from recon.header import Header

NUMBER, COMPLEX, TEXT = "number", "complex number", "text"
_KINDS = {NUMBER: "biuf", COMPLEX: "c", TEXT: "SUO"}
LARGEST_TEXT = 1 << 24  # bytes; an XML header has some ten thousand


@dataclass(frozen=True)
class Part:
    """A group, dataset or attribute (``group@name``): it may be absent, but not be anything else.

    ranks: allowed numbers of axes. size: allowed number of values, None for any. Attributes must be finite.
    """

    name: str
    kind: str | None  # None: a group
    ranks: tuple[int, ...] = (0,)
    size: int | None = None
    minimum: float | None = None


def _of_header() -> Iterable[Part]:
    for field in dataclasses.fields(Header):
        kind = TEXT if field.type == str | None else NUMBER
        yield Part(f"recon@{field.name}", kind, (0, 1), 1, None if kind == TEXT else 0)


FASTMRI = (
    Part("kspace", COMPLEX, (3, 4)),
    Part("reconstruction_rss", NUMBER, (3,)),
    Part("mask", NUMBER, (1, 2, 3, 4, 5)),
    Part("ismrmrd_header", TEXT, (0, 1), 1),
    Part("/@acquisition", TEXT, (0, 1), 1),
    Part("/@patient_id", TEXT, (0, 1), 1),
    Part("recon", None),
    Part("recon/mask", NUMBER, (1, 2)),
    Part("recon/noise", COMPLEX, (2,)),
    Part("recon/noise_covariance", COMPLEX, (2,)),
    Part("recon/calibration_kspace", COMPLEX, (4,)),
    Part("recon@version", NUMBER, (0,), 1, 1),
    Part("recon@contrast", TEXT, (0, 1), 1),
    Part("recon@voxel_size_mm", NUMBER, (1,), 3),
    Part("recon@affine", NUMBER, (2,), 16),
    Part("recon@phase_limits", NUMBER, (1,), 2, 0),
    Part("recon@image_shape", NUMBER, (1,), 2, 1),
    Part("recon@source_digest", TEXT, (0, 1), 1),
    Part("recon@identity", TEXT, (0, 1), 1),
    *_of_header(),
)


def check_schema(path: Path, file: h5py.File, parts: Iterable[Part] = FASTMRI) -> None:
    """Raises ReconError, naming file, part and remedy, for the first part that is not what the table says."""
    for part in parts:
        group, _, attribute = part.name.partition("@")
        holder = file.get(group)
        if attribute:
            if isinstance(holder, h5py.Group) and attribute in holder.attrs:
                _check_attribute(path, part, holder.attrs.get_id(attribute), holder.attrs, attribute)
        elif part.kind is None and holder is not None and not isinstance(holder, h5py.Group):
            raise _refusal(path, f"'{part.name}'", "is no group")
        elif part.kind is not None and holder is not None:
            if not isinstance(holder, h5py.Dataset):
                raise _refusal(path, f"'{part.name}'", "is no dataset")
            _check_values(path, part, f"dataset '{part.name}'", holder.dtype, holder.shape)
            if part.kind == TEXT and holder.id.get_storage_size() > LARGEST_TEXT:
                raise _refusal(path, f"dataset '{part.name}'", "is too long for a text")


def _check_attribute(
    path: Path, part: Part, stored: h5py.h5a.AttrID, attributes: h5py.AttributeManager, name: str
) -> None:
    field = f"an attribute of group '{part.name.partition('@')[0]}' is damaged ('{name}'"
    if stored.get_space().get_simple_extent_type() == h5py.h5s.NULL:
        raise _refusal(path, field, "has no value")
    if stored.get_storage_size() > LARGEST_TEXT:
        raise _refusal(path, field, "is too long")
    value: Any = attributes[name]
    if part.kind == NUMBER and isinstance(value, (str, bytes)):
        raise _refusal(path, field, f"is {value[:40]!r}, not a number")
    _check_values(path, part, field, stored.dtype, tuple(stored.shape))
    if part.kind == NUMBER:
        numbers = np.asarray(value, float)
        if part.name not in _JUDGED_LATER and not np.isfinite(numbers).all():
            raise _refusal(path, field, "is NaN or infinite")
        if part.minimum is not None and (numbers < part.minimum).any():
            raise _refusal(path, field, f"is {value}, less than {part.minimum:g}")


# ``recon.scans.validity`` judges geometry, with words of its own, for scans of every format.
_JUDGED_LATER = ("recon@voxel_size_mm", "recon@affine")


def _check_values(path: Path, part: Part, field: str, dtype: np.dtype, shape: tuple[int, ...] | None) -> None:
    assert part.kind is not None
    right = dtype.kind in _KINDS[part.kind]
    if dtype.kind == "O":
        right = part.kind == TEXT and h5py.check_string_dtype(dtype) is not None
    if not right:
        raise _refusal(path, field, f"is {_words(dtype)}, not a {part.kind}")
    if shape is None or len(shape) not in part.ranks:
        ranks = " or ".join(map(str, part.ranks))
        raise _refusal(path, field, f"has {'no values' if shape is None else f'{len(shape)} axes'}, not {ranks} axes")
    if part.size is not None and int(np.prod(shape, dtype=object)) != part.size:
        raise _refusal(path, field, f"has the shape {shape}, not {part.size} values")


def _words(dtype: np.dtype) -> str:
    return "of compound type" if dtype.names else str(dtype)


def _refusal(path: Path, field: str, wrong: str) -> ReconError:
    closed = ")" if "(" in field else ""  # what is said of an attribute stands in brackets
    return ReconError(f"{path}: {field} {wrong}{closed}; export or write the scan again, or remove that part")
