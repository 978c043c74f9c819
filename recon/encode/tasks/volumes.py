"""The cases that task models are fitted and judged on: prepared once for an encoder, kept on disk, read when needed."""

import functools
import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from torch import Tensor

from recon.digest import series_sha256
from recon.encode.encoders import find_row
from recon.encode.interface import Encoder, PreparedVolume, ReferencePreprocessing
from recon.encode.probes.labels import LabelledVolume, LabelTable
from recon.encode.probes.prepared import prepared_volumes
from recon.encode.volumes import Series
from recon.errors import ReconError
from recon.header import pseudonym
from recon.images.grid import on_grid
from recon.images.references import read_lesions
from recon.progress import Report, silent
from recon.tensor_file import write_tensors

VERSION = "recon-task-volume-1"


@dataclass(frozen=True)
class Case:
    """One case at one acceleration: the files of its views in the cache. Person and case are hashes."""

    person: str
    case: str
    acceleration: float
    split: str
    label: int
    views: tuple[Path, ...]
    names: tuple[str, ...]  # of the views

    def seen_in(self, names: Sequence[str]) -> "Case":
        """The case in some of its views; in all without ``names``. Raises ReconError when it has none of them."""
        if not names:
            return self
        kept = [number for number, name in enumerate(self.names) if name in names]
        if not kept:
            raise ReconError(
                f"a case has no view {' or '.join(names)} (but {', '.join(map(repr, self.names))}); name its views in "
                "the table's column view"
            )
        return replace(
            self, views=tuple(self.views[number] for number in kept), names=tuple(self.names[number] for number in kept)
        )


@dataclass(frozen=True, eq=False)
class View:
    """One prepared volume of a case."""

    prepared: PreparedVolume
    lesion: Tensor | None  # [token] share of lesion; None where it is not known


def cases_of(encoder: Encoder, table: LabelTable, label: str, cache: Path, report: Report = silent) -> list[Case]:
    """Every case that carries the label, its volumes prepared and kept below ``cache``.

    Raises ReconError for an unknown label, rows of one case with different labels, and what cannot be read or placed.
    """
    if label not in table.names:
        raise ReconError(f"no label '{label}' in the table; there are {', '.join(table.names)}")
    labelled = tuple(entry for entry in table.entries if label in entry.labels)
    if not labelled:
        raise ReconError(f"no row of the table carries the label '{label}'")
    digest = functools.cache(series_sha256)  # a reference is an input of each of its reconstructions, too
    files = [_cache_file(encoder, entry, labelled, cache, digest) for entry in labelled]
    missing = {(e.case, e.view) for e, path in zip(labelled, files, strict=True) if not path.is_file()}
    # A reconstruction is prepared as its reference was, so that is read, too.
    asked = [(e, path) for e, path in zip(labelled, files, strict=True) if (e.case, e.view) in missing]
    volumes = prepared_volumes(encoder, replace(table, entries=tuple(entry for entry, _ in asked)))
    for number, ((entry, series, prepared), (_, path)) in enumerate(zip(volumes, asked, strict=True)):
        report("preparing volumes", number / len(asked))
        if not path.is_file():
            _write(path, prepared, _lesion(entry, series, prepared))
    groups: dict[tuple[str, float], list[int]] = defaultdict(list)
    for number, entry in enumerate(labelled):
        groups[entry.case, entry.acceleration].append(number)
    found = []
    for (case, acceleration), numbers in groups.items():
        first = labelled[numbers[0]]
        if any((labelled[n].labels[label], labelled[n].split) != (first.labels[label], first.split) for n in numbers):
            raise ReconError(f"case '{case}': its views have different labels or splits; a case has one of each")
        views = tuple(files[number] for number in numbers)
        names = tuple(labelled[number].view for number in numbers)
        value = first.labels[label]
        found.append(Case(pseudonym(first.subject), pseudonym(case), acceleration, first.split, value, views, names))
    return found


def read_view(path: Path) -> View:
    """A prepared volume of the cache. Raises ReconError when it is damaged."""
    try:
        with safe_open(path, "pt") as file:
            facts = json.loads((file.metadata() or {})["volume"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        preprocessing = ReferencePreprocessing(
            encoder=facts["encoder"],
            shape=tuple(facts["shape"]),
            affine=tensors["affine"].numpy(),
            slice_axis=facts["slice_axis"],
            grid_shape=tuple(facts["grid_shape"]),
            grid_affine=tensors["grid_affine"].numpy(),
            foreground=tensors["foreground"].numpy(),
            intensity=tuple(facts["intensity"]),
        )
        prepared = PreparedVolume(
            tensors["inputs"],
            tensors["coords"],
            tensors["token_to_world"].numpy(),
            tensors["mask"].numpy(),
            preprocessing,
        )
    except Exception as error:
        raise ReconError(f"{path}: damaged cache ({type(error).__name__}); delete it, it is made again") from error
    return View(prepared, tensors.get("lesion"))


def some_tokens(view: View, count: int, generator: torch.Generator) -> View:
    """So many tokens of a view, drawn at random, where the network takes them one by one; else the view as it is."""
    prepared = view.prepared
    total = len(prepared.coords)
    if not 0 < count < total or prepared.inputs.ndim != 2 or len(prepared.inputs) != total:
        return view
    chosen = torch.randperm(total, generator=generator)[:count].sort().values
    fewer = replace(prepared, inputs=prepared.inputs[chosen], coords=prepared.coords[chosen])
    return View(fewer, None if view.lesion is None else view.lesion[chosen])


def lesion_share(lesion: NDArray[np.bool_], affine: NDArray[np.float64], prepared: PreparedVolume) -> Tensor:
    """The share of lesion ``[token]`` in every token, by the centres of the mask's voxels
    ``[readout, phase, slice]``."""
    lattice = np.zeros(prepared.mask.shape, np.float32)
    to_token = np.linalg.inv(prepared.token_to_world) @ affine
    places = np.rint(np.argwhere(lesion) @ to_token[:3, :3].T + to_token[:3, 3]).astype(int)
    places = places[((places >= 0) & (places < prepared.mask.shape)).all(axis=1)]
    np.add.at(lattice, tuple(places.T), 1.0)
    voxels = abs(np.linalg.det(prepared.token_to_world[:3, :3]) / np.linalg.det(affine[:3, :3]))
    return torch.from_numpy(np.minimum(lattice / voxels, 1.0)[tuple(prepared.coords.numpy().T)].astype(np.float32))


def _lesion(entry: LabelledVolume, series: Series, prepared: PreparedVolume) -> Tensor | None:
    if entry.without_lesion:
        return torch.zeros(len(prepared.coords))
    if entry.mask is None:
        return None
    shape = np.moveaxis(series.values, -1, 0).shape
    mask = np.moveaxis(on_grid(read_lesions(entry.mask), shape, series.affine, "lesion mask"), 0, -1) > 0
    return lesion_share(mask, np.asarray(series.affine), prepared)


def _cache_file(
    encoder: Encoder,
    entry: LabelledVolume,
    entries: Sequence[LabelledVolume],
    cache: Path,
    digest: Callable[[Path], str],
) -> Path:
    """Where a row's prepared volume is kept: a name of everything that it is made of."""
    preparation = find_row(encoder.name).prepared_as or encoder.name
    inputs = [entry.file, *([] if entry.mask is None else [entry.mask])]
    if entry.acceleration != 1:
        inputs += [
            other.file
            for other in entries
            if (other.case, other.view, other.acceleration) == (entry.case, entry.view, 1)
        ]
    # Statistics of a preparation lie beside the weights; random weights have the standard ones.
    key = [VERSION, preparation, str(entry.without_lesion), getattr(encoder, "weights_hash", "")]
    key += [digest(path) for path in inputs]
    return cache / f"{hashlib.sha256('|'.join(key).encode()).hexdigest()[:24]}.safetensors"


def _write(path: Path, prepared: PreparedVolume, lesion: Tensor | None) -> None:
    preprocessing = prepared.preprocessing
    arrays = {
        "token_to_world": prepared.token_to_world, "mask": prepared.mask, "affine": preprocessing.affine,
        "grid_affine": preprocessing.grid_affine, "foreground": preprocessing.foreground,
    }  # fmt: skip
    tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
    tensors |= {"inputs": prepared.inputs.contiguous(), "coords": prepared.coords.contiguous()}
    if lesion is not None:
        tensors["lesion"] = lesion
    facts = {
        "encoder": preprocessing.encoder, "shape": list(preprocessing.shape), "slice_axis": preprocessing.slice_axis,
        "grid_shape": list(preprocessing.grid_shape), "intensity": list(preprocessing.intensity),
    }  # fmt: skip
    write_tensors(path, tensors, {"volume": json.dumps(facts)})
