"""The result file: one HDF5 a scan, written slice by slice and renamed into place when complete."""

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from recon.atomic import atomic_path
from recon.errors import ReconError
from recon.foreign.hdf5 import foreign_hdf5, text_attribute
from recon.foreign.json_file import json_object_in
from recon.foreign.schema import COMPLEX, NUMBER, TEXT, Part, check_schema
from recon.hdf5 import HDF5Writer, hdf5_for_writing
from recon.scans.validity import LARGEST_VOXEL, affine_fault

FORMAT = "recon-result-1"
# Attributes that a reader gives as fields of their own.
FIELDS = frozenset({"format", "contrast", "configuration", "audit", "voxel_size_mm", "affine"})
PARTS = (
    Part("reconstruction", NUMBER, (3,), needed=True),
    Part("std", NUMBER, (3,)),
    Part("zero_filled", NUMBER, (3,)),
    Part("samples", COMPLEX, (4,)),
    Part("/@contrast", TEXT, (0, 1), 1, needed=True),
    Part("/@configuration", TEXT, (0, 1), 1, needed=True),
    Part("/@audit", TEXT, (0, 1), 1, needed=True),
    Part("/@voxel_size_mm", NUMBER, (1,), 3),
    Part("/@affine", NUMBER, (2,), 16),
    Part("/@noise_std", NUMBER, (0,), 1, 0),
    Part("/@method", TEXT, (0, 1), 1),
    Part("/@scan_name", TEXT, (0, 1), 1),
)


@dataclass(frozen=True)
class Reconstruction:
    """A result read back: images ``[slice, readout, phase]``, affine (readout, phase, slice) to RAS+ mm."""

    path: Path
    reconstruction: NDArray[np.float32]  # posterior mean (or baseline), magnitude, in the scan's own units
    std: NDArray[np.float32] | None
    zero_filled: NDArray[np.float32] | None
    deviations: NDArray[np.float32] | None  # [slice, draw, readout, phase]: independent draws around the mean
    samples: NDArray[np.complex64] | None  # [slice, sample, readout, phase]
    contrast: str
    voxel_size: tuple[float, float, float] | None  # mm along readout, phase, slice
    affine: NDArray[np.float64] | None
    attributes: Mapping[str, Any]  # method, seed, prior_hash, scan_digest, acceleration ...
    configuration: Mapping[str, Any]  # resolved
    audit: Mapping[str, Any]


@dataclass(frozen=True)
class ResultHeader:
    """What a result says of itself, known before its first slice. ``shape`` (readout, phase); ``voxel_size`` in mm
    along readout, phase, slice; ``affine`` (readout, phase, slice) to RAS+ mm."""

    slices: int
    shape: tuple[int, int]
    contrast: str
    voxel_size: tuple[float, float, float] | None = None
    affine: NDArray[np.float64] | None = None
    configuration: Mapping[str, Any] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)


class ResultWriter:
    """Open result file that takes one slice at a time; made by ``write_result``."""

    def __init__(self, file: HDF5Writer, slices: int, shape: tuple[int, int]) -> None:
        self._file, self._slices, self._shape = file, slices, shape
        self._written: dict[str, set[int]] = {}

    def put(self, index: int, **images: NDArray[Any]) -> None:
        """Store slice ``index`` of ``reconstruction``, ``std``, ``zero_filled`` (``[readout, phase]``), ``deviations``
        (``[draw, readout, phase]``), ``samples`` (``[sample, readout, phase]`` complex64). Raises ReconError when a
        value is not finite, a size is wrong or there is no such slice."""
        if not 0 <= index < self._slices:
            raise ReconError(f"no slice {index}: the result was opened for {self._slices} slices")
        for name, image in images.items():
            stored = self._file[name].shape[1:] if name in self._file else image.shape
            if image.shape[-2:] != tuple(self._shape) or image.shape != stored:
                raise ReconError(f"slice {index}: {name} is {image.shape}, the result is laid out for {self._shape}")
            if not np.isfinite(image).all():
                raise ReconError(f"slice {index}: {name} has NaN or infinite values; the reconstruction diverged")
            if name not in self._file:
                kind = np.complex64 if name == "samples" else np.float32
                shape = (self._slices, *image.shape)
                self._file.create_dataset(name, shape, kind, chunks=(1, *image.shape))
            self._file[name][index] = image
            self._written.setdefault(name, set()).add(index)
        self._file.check()

    def close_with(self, audit: Mapping[str, Any]) -> None:
        """Store what is known only at the end; undefined numbers (NaN: the spread of one sample) become null."""
        self._file.attrs["audit"] = json.dumps(_defined(audit), allow_nan=False)

    def check_complete(self) -> None:
        """Raise ReconError when a slice of what was stored is missing: zeros must not pass for a reconstruction."""
        if "reconstruction" not in self._written:
            raise ReconError("nothing was reconstructed")
        for name, written in self._written.items():
            if missing := sorted(set(range(self._slices)) - written):
                raise ReconError(f"slice {missing[0]} of {name} was not written; nothing is kept")


def _defined(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _defined(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_defined(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def write_result(path: str | Path, header: ResultHeader) -> Iterator[ResultWriter]:
    """Write a result; the file appears under ``path`` only when the block has succeeded. Raises ReconError."""
    with atomic_path(path) as temporary, hdf5_for_writing(temporary) as file:
        file.attrs["format"] = FORMAT
        file.attrs["contrast"] = header.contrast
        file.attrs["configuration"] = json.dumps(header.configuration)
        file.attrs["audit"] = "{}"
        if header.voxel_size is not None:
            file.attrs["voxel_size_mm"] = header.voxel_size
        if header.affine is not None:
            file.attrs["affine"] = header.affine
        for name, value in header.attributes.items():
            file.attrs[name] = value
        writer = ResultWriter(file, header.slices, header.shape)
        yield writer
        try:
            writer.check_complete()
        except ReconError as error:
            raise ReconError(f"{path}: {error}") from error


class ResultCollector:
    """A result in memory, with the checks of a result file; put together by ``result``."""

    def __init__(self, header: ResultHeader, scan: Path) -> None:
        self._header, self._scan = header, scan
        self._images: dict[str, dict[int, NDArray[Any]]] = {}
        self._audit: Mapping[str, Any] = {}

    def put(self, index: int, **images: NDArray[Any]) -> None:
        """As ``ResultWriter.put``. Raises ReconError when a value is not finite."""
        for name, image in images.items():
            if not np.isfinite(image).all():
                raise ReconError(f"slice {index}: {name} has NaN or infinite values; the reconstruction diverged")
            self._images.setdefault(name, {})[index] = image

    def close_with(self, audit: Mapping[str, Any]) -> None:
        """Take what is known only at the end."""
        self._audit = json.loads(json.dumps(_defined(audit)))

    def result(self) -> Reconstruction:
        """What was collected. Raises ReconError when a slice is missing."""
        header = self._header
        for name, images in self._images.items():
            if missing := sorted(set(range(header.slices)) - set(images)):
                raise ReconError(f"slice {missing[0]} of {name} was not reconstructed")
        stacks = {name: np.stack([images[i] for i in range(header.slices)]) for name, images in self._images.items()}
        return Reconstruction(
            path=self._scan,
            reconstruction=stacks["reconstruction"],
            std=stacks.get("std"),
            zero_filled=stacks.get("zero_filled"),
            deviations=stacks.get("deviations"),
            samples=stacks.get("samples"),
            contrast=header.contrast,
            voxel_size=header.voxel_size,
            affine=header.affine,
            attributes=dict(header.attributes),
            configuration=dict(header.configuration),
            audit=self._audit,
        )


def read_result(path: str | Path, *, samples: bool = True) -> Reconstruction:
    """Read a result file; without ``samples``, which can be a hundred times as large, where they are not wanted.

    Raises ReconError when it is missing, truncated or not a result of recon."""
    path = Path(path)
    with _checked_result(path) as (file, configuration, audit):
        voxel = file.attrs.get("voxel_size_mm")
        return Reconstruction(
            path=path,
            reconstruction=file["reconstruction"][()],
            std=file["std"][()] if "std" in file else None,
            zero_filled=file["zero_filled"][()] if "zero_filled" in file else None,
            deviations=file["deviations"][()] if "deviations" in file else None,
            samples=file["samples"][()] if samples and "samples" in file else None,
            contrast=_text(file.attrs["contrast"]),
            voxel_size=None if voxel is None else (float(voxel[0]), float(voxel[1]), float(voxel[2])),
            affine=np.asarray(file.attrs["affine"], float) if "affine" in file.attrs else None,
            attributes=_plain(file.attrs),
            configuration=configuration,
            audit=audit,
        )


@dataclass(frozen=True)
class ResultFacts:
    """What a complete result says of itself. ``shape``: slice, readout, phase."""

    shape: tuple[int, int, int]
    configuration: Mapping[str, Any]
    attributes: Mapping[str, Any]
    audit: Mapping[str, Any]


def read_result_facts(path: str | Path) -> ResultFacts:
    """All of a result but its images, after every check that ``read_result`` makes. Raises ReconError as it does."""
    with _checked_result(Path(path)) as (file, configuration, audit):
        return ResultFacts(file["reconstruction"].shape, configuration, _plain(file.attrs), audit)


@contextmanager
def _checked_result(path: Path) -> Iterator[tuple[h5py.File, dict[str, Any], dict[str, Any]]]:
    """The open file, its configuration and audit, after everything has been checked but the images' values. Raises
    ReconError, also for what goes wrong while the block reads."""
    try:
        with foreign_hdf5(path) as file:
            if text_attribute(file, "format") != FORMAT:
                raise ReconError(f"{path}: not a result of 'recon reconstruct'")
            check_schema(path, file, PARTS, "reconstruct it again")
            _check_shapes(path, file)
            yield file, json_object_in(_text(file.attrs["configuration"])), json_object_in(_text(file.attrs["audit"]))
    except (OSError, KeyError, ValueError) as error:
        raise ReconError(f"{path}: truncated or damaged result ({error}); reconstruct it again") from error


def result_attributes(path: Path) -> dict[str, Any]:
    """What a result file says of itself, without its images. Raises ReconError as ``read_result`` does."""
    try:
        with foreign_hdf5(path) as file:
            return _plain(file.attrs)
    except (OSError, KeyError, ValueError) as error:
        raise ReconError(f"{path}: truncated or damaged result ({error}); reconstruct it again") from error


def _plain(attributes: Any) -> dict[str, Any]:
    """The attributes that are single values or texts, without those that are read into fields of their own."""
    return {k: (v.item() if hasattr(v, "item") else v) for k, v in attributes.items() if k not in FIELDS}


def _text(value: Any) -> str:
    """An attribute that the schema knows to be one text, in whichever way it is stored."""
    value = np.asarray(value, object).reshape(-1)[0]
    return value.decode() if isinstance(value, bytes) else str(value)


def _check_shapes(path: Path, file: h5py.File) -> None:
    """Raises ReconError when the images are not all of one size, the voxel size or the affine cannot be."""
    shape = file["reconstruction"].shape
    for name in ("std", "zero_filled", "samples"):
        found = file[name].shape if name in file else shape
        if 0 in found or (found if name != "samples" or len(found) == 3 else (found[0], *found[2:])) != shape:
            raise ReconError(
                f"{path}: '{name}' {found} does not match the reconstruction {shape}; reconstruct it again"
            )
    voxel_size, affine = file.attrs.get("voxel_size_mm"), file.attrs.get("affine")
    if voxel_size is not None and not all(0 < size < LARGEST_VOXEL for size in voxel_size):
        raise ReconError(f"{path}: voxel size {voxel_size} is not three positive lengths in mm; reconstruct it again")
    if affine is not None and (fault := affine_fault(np.asarray(affine, float))):
        raise ReconError(f"{path}: its affine {fault}; reconstruct it again")
