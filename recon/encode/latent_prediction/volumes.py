"""Training volumes of the small encoder: brought onto its grid once, kept on disk, split by person."""

import hashlib
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open

from recon.digest import file_sha256
from recon.encode.geometry import check_volume, cut, foreground_share, lattice_affine
from recon.encode.latent_prediction.preparation import (
    encoder_grid,
    head_mask,
    intensity_map,
    standardise,
    token_positions,
)
from recon.encode.volumes import Series, read_series
from recon.errors import ReconError, ReconWarning
from recon.folders import entries
from recon.images.grid import on_grid
from recon.images.references import read_lesions
from recon.images.slice_axis import header_slice_axis, single_slice_axis
from recon.progress import Report, silent
from recon.seeding import share_of
from recon.tensor_file import write_tensors

MANIFEST = "manifest.json"  # of ``recon simulate``
VERSION = "recon-encoder-volume-2"
CONTRASTS = ("", "T1", "T1POST", "T2", "PD", "FLAIR", "DWI")  # those of the simulator; the first stands for any other


@dataclass(frozen=True)
class Source:
    """One volume to train on, and the person it shows."""

    path: Path
    person: str
    origin: str
    licence: str
    scan: str = ""  # volumes of one scan show one head in several contrasts; empty: this volume stands alone
    contrast: str = ""
    lesion: Path | None = None  # mask on the volume's own grid, where the simulator wrote one


@dataclass(frozen=True, eq=False)
class TrainingVolume:
    """One volume on the encoder's grid."""

    source: Source
    values: NDArray[np.float16]  # [depth, height, width], standardised
    head: NDArray[np.bool_]  # [depth, height, width]
    affine: NDArray[np.float64]  # (depth, height, width) index -> RAS+ mm
    lesion: NDArray[np.float16] | None = None  # [depth, height, width], share of lesion; None where it is not known


def find_sources(folders: Sequence[str | Path]) -> list[Source]:
    """Volumes below the folders: scans of ``recon simulate`` by its manifest, other scans and NIfTI files by name.

    Without a manifest each file counts as a person of its own, with a warning. Raises ReconError when a folder holds
    nothing.
    """
    sources: list[Source] = []
    for folder in map(Path, folders):
        if (folder / MANIFEST).is_file():
            sources += _from_manifest(folder)
            continue
        files = [
            path
            for path in (entries(folder) if folder.is_dir() else [])
            if path.name.endswith((".h5", ".nii", ".nii.gz")) and not path.stem.endswith("_lesion")
        ]
        if not files:
            raise ReconError(f"{folder}: no scans or NIfTI volumes there; give folders that hold some")
        warnings.warn(
            f"{folder}: no {MANIFEST}, so each of its {len(files)} files counts as a person of its own",
            ReconWarning,
            stacklevel=2,
        )
        sources += [Source(path, path.name, "not stated", "not stated") for path in files]
    return sources


def _from_manifest(folder: Path) -> list[Source]:
    try:
        entries = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["scans"]
        return [
            Source(
                folder / Path(str(entry["file"])).name,
                str(entry["group"]),
                f"{entry['kind']}: {entry['source']}",
                str(entry["licence"]),
                f"{folder}/{entry['subject']}",
                str(entry["contrast"]),
                None if entry.get("lesion_file") is None else folder / Path(str(entry["lesion_file"])).name,
            )
            for entry in entries
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ReconError(f"{folder / MANIFEST}: not a manifest of recon simulate ({error})") from error


def is_held_out(person: str, fraction: float, seed: int) -> bool:
    """Whether a person is kept out of pre-training: decided by a hash of the name, so that it needs no list."""
    return share_of(seed, "held-out", person) < fraction


def prepare_volume(source: Source, patch: int) -> TrainingVolume:
    """Read one volume and bring it onto the encoder's grid. Raises ReconError when it cannot be placed."""
    series = read_series(source.path)
    values = np.abs(series.values)
    check_volume(values, series.affine, str(source.path), least_slices=1)
    affine = np.asarray(series.affine, np.float64)
    axis = single_slice_axis(values.shape) or header_slice_axis(affine)
    grid = encoder_grid(values, affine, axis.axis, patch, str(source.path))
    head = head_mask(grid.values)
    try:
        mapped = standardise(grid.values, intensity_map(grid.values, head))
    except ReconError as error:
        raise ReconError(f"{source.path}: {error}") from error
    lesion = None if source.lesion is None else _lesion_share(source.lesion, series, axis.axis, patch)
    return TrainingVolume(source, mapped.astype(np.float16), head, grid.affine, lesion)


def _lesion_share(path: Path, series: Series, slice_axis: int, patch: int) -> NDArray[np.float16]:
    """A lesion mask on the encoder's grid, in [0, 1]. Raises ReconError when it lies on another grid than its scan."""
    shape = np.moveaxis(series.values, -1, 0).shape
    mask = on_grid(read_lesions(path), shape, series.affine, "lesion mask")
    assert series.affine is not None
    grid = encoder_grid(np.moveaxis(mask > 0, 0, -1).astype(np.float32), series.affine, slice_axis, patch, str(path))
    return np.clip(grid.values, 0, 1).astype(np.float16)


def cached_volumes(sources: Sequence[Source], cache: Path, patch: int, report: Report = silent) -> list[TrainingVolume]:
    """All volumes, each prepared once and kept below ``cache``. Raises ReconError for one that cannot be used."""
    volumes = []
    for index, source in enumerate(sources):
        if not source.path.is_file():
            raise ReconError(f"{source.path}: no such file, though the manifest names it")
        inputs = [source.path, *([] if source.lesion is None else [source.lesion])]
        key = f"{VERSION}|{patch}|{'|'.join(file_sha256(path) for path in inputs)}"
        path = cache / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.safetensors"
        if path.is_file():
            volumes.append(_read(path, source))
            continue
        report("preparing volumes", index / len(sources))
        volume = prepare_volume(source, patch)
        tensors = {
            "values": torch.from_numpy(volume.values),
            "head": torch.from_numpy(volume.head),
            "affine": torch.from_numpy(np.ascontiguousarray(volume.affine)),
        }
        if volume.lesion is not None:
            tensors["lesion"] = torch.from_numpy(volume.lesion)
        write_tensors(path, tensors)
        volumes.append(volume)
    return volumes


def _read(path: Path, source: Source) -> TrainingVolume:
    try:
        with safe_open(path, "np") as file:
            lesion = None if source.lesion is None else file.get_tensor("lesion")
            values, head, affine = (file.get_tensor(name) for name in ("values", "head", "affine"))
            return TrainingVolume(source, values, head, affine, lesion)
    except Exception as error:
        raise ReconError(f"{path}: damaged cache ({type(error).__name__}); delete it, it is made again") from error


@dataclass(frozen=True, eq=False)
class Tokens:
    """Tokens of a volume cut at one offset."""

    patches: NDArray[np.float32]  # [token, patch values]
    positions: NDArray[np.float32]  # [token, 3] RAS mm from the middle of the tokens
    lesion: NDArray[np.float32]  # [token] share of lesion; NaN where it is not known


def contrast_index(name: str) -> int:
    """Number of a contrast; 0 for one that the simulator does not know."""
    return CONTRASTS.index(name) if name in CONTRASTS else 0


def by_head(volumes: Sequence[TrainingVolume]) -> list[list[TrainingVolume]]:
    """Volumes that show one head in several contrasts on one grid belong together; the others stand alone."""
    heads: dict[object, list[TrainingVolume]] = {}
    for number, volume in enumerate(volumes):
        scan = volume.source.scan
        grid = (volume.values.shape, np.round(volume.affine, 3).tobytes())
        heads.setdefault((scan, grid) if scan else number, []).append(volume)
    return list(heads.values())


def cut_at(
    volume: TrainingVolume,
    patch: int,
    offset: tuple[int, int],
    mirror: bool,
    least_share: float,
    head: NDArray[np.bool_] | None = None,
) -> Tokens:
    """Tokens in the head with the patch lattice moved by ``offset`` voxels; mirrored left to right when asked.

    ``head`` [depth, height, width] is the volume's own unless that of another contrast is given.
    """
    down, across = offset
    _, height, width = volume.values.shape
    size = ((height - down) // patch * patch, (width - across) // patch * patch)
    window = (slice(None), slice(down, down + size[0]), slice(across, across + size[1]))
    values, head = volume.values[window], (volume.head if head is None else head)[window]
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ np.array([0.0, down, across])
    kept = foreground_share(head, (1, patch, patch)) >= least_share
    patches = cut(values, (1, patch, patch))[kept].astype(np.float32)
    positions = token_positions(np.argwhere(kept), lattice_affine(affine, (1, patch, patch)))
    if mirror:  # the width axis is the one nearest left-right in an axial stack
        patches = patches.reshape(-1, patch, patch)[:, :, ::-1].reshape(len(patches), -1)
        axis = int(np.argmax(np.abs(affine[:3, 2])))
        positions = positions * np.where(np.arange(3) == axis, -1, 1).astype(np.float32)
    lesion = np.full(len(patches), np.nan, np.float32)
    if volume.lesion is not None:
        lesion = cut(volume.lesion[window], (1, patch, patch))[kept].mean(axis=-1, dtype=np.float32)
    return Tokens(np.ascontiguousarray(patches), positions, lesion)
