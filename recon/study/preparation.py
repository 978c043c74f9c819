"""Studies brought onto a network's grid once, and kept on disk by the digests of their files."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open

from recon.digest import series_sha256
from recon.errors import ReconError
from recon.progress import Report, silent
from recon.study.images import Reconstructions, b_value_of, check_persons
from recon.study.options import GridOptions
from recon.study.table import Study
from recon.study.volume import StudyVolume, study_volume
from recon.tensor_file import write_tensors

VERSION = "recon-study-volume-2"


def prepared_study(study: Study, reconstructions: Reconstructions, options: GridOptions) -> StudyVolume:
    """One study, complete, on the grid. Raises ReconError when it cannot be used."""
    check_persons(study, reconstructions)
    series = {contrast: reconstructions.quick(path) for contrast, path in study.files.items()}
    return study_volume(study, series, b_value_of(study, reconstructions), options)


def prepared_studies(
    studies: Sequence[Study], reconstructions: Reconstructions, options: GridOptions, report: Report = silent
) -> list[StudyVolume]:
    """All studies, each prepared once and kept below the folder of the reconstructions. Raises ReconError."""
    volumes = []
    for number, study in enumerate(studies):
        report("preparing studies", number / len(studies))
        path = reconstructions.folder / "volumes" / f"{_key(study, options)}.safetensors"
        if path.is_file():
            volumes.append(_read(path, study))
            continue
        volume = prepared_study(study, reconstructions, options)
        reconstructions.opened.clear()
        tensors = {"values": torch.from_numpy(volume.values.astype(np.float16))}
        if volume.lesion is not None:
            tensors["lesion"] = torch.from_numpy(volume.lesion)
        facts = {"contrasts": json.dumps(volume.contrasts), "voxel_ml": repr(volume.voxel_ml)}
        write_tensors(path, tensors, facts)
        volumes.append(_read(path, study))
    return volumes


def _key(study: Study, options: GridOptions) -> str:
    parts = [VERSION, json.dumps(dataclasses.asdict(options), sort_keys=True), repr((study.b_value, study.labelled))]
    for contrast, path in sorted(study.files.items()):
        parts.append(f"{contrast} {series_sha256(path)}")
    if study.lesion is not None:
        parts.append(series_sha256(study.lesion))
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:24]


def _read(path: Path, study: Study) -> StudyVolume:
    try:
        with safe_open(path, "np") as file:
            facts = file.metadata() or {}
            lesion = file.get_tensor("lesion").astype(bool) if study.labelled else None
            return StudyVolume(
                study.name,
                study.person,
                tuple(json.loads(facts["contrasts"])),
                file.get_tensor("values").astype(np.float32),
                lesion,
                float(facts["voxel_ml"]),
                study.lesion_age,
            )
    except Exception as error:
        raise ReconError(f"{path}: damaged ({type(error).__name__}); delete it, it is made again") from error
