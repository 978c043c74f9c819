"""Embeddings on disk: one HDF5 with tokens and their places, pooled features, labels and persons of every volume.

Persons, cases and studies are stored as short hashes of the names in the table, so that the file carries no identifier.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recon.atomic import atomic_path
from recon.encode.encoders import find_row
from recon.encode.interface import Encoder, PreparedVolume
from recon.encode.probes.facts import facts_of
from recon.encode.probes.labels import SPLITS, STUDY, LabelTable
from recon.encode.probes.prepared import prepared_volumes
from recon.errors import ReconError
from recon.foreign.hdf5 import foreign_hdf5, text_attribute
from recon.foreign.json_file import json_object_in
from recon.foreign.schema import NUMBER, TEXT, Part, check_schema
from recon.hdf5 import hdf5_for_writing
from recon.header import pseudonym
from recon.progress import Report, silent

FORMAT = "recon-embeddings-1"
PARTS = (
    Part("volumes", TEXT, (0,), 1, needed=True),
    Part("pooled", NUMBER, (2,), needed=True),
    Part("tokens", NUMBER, (2,), needed=True),
    Part("token_counts", NUMBER, (1,), needed=True),
    Part("accelerations", NUMBER, (1,), needed=True),
    Part("coordinates", NUMBER, (2,)),
    Part("/@encoder", TEXT, (0,), 1, needed=True),
    Part("/@weights_hash", TEXT, (0,), 1, needed=True),
)
MISSING = -(2**31)  # a label that the table leaves empty


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Embeddings of N volumes."""

    encoder: str
    weights_hash: str
    pooled: NDArray[np.float32]  # [volume, pooled feature]
    tokens: tuple[NDArray[np.float16], ...]  # each [token, feature]
    subjects: tuple[str, ...]  # hashes of the persons
    cases: tuple[str, ...]  # hashes of the cases
    accelerations: NDArray[np.float64]  # [volume]
    splits: tuple[str, ...]
    labels: dict[str, NDArray[np.int64]]  # by name [volume]; MISSING where not given
    # vendor, field_strength, site, contrast, series, study (a hash); "" where unstated
    facts: dict[str, tuple[str, ...]] = field(default_factory=dict)
    coordinates: tuple[NDArray[np.float32], ...] = ()  # each [token, 3] RAS+ mm; empty: not stored

    def select(self, rows: Sequence[int] | NDArray[np.int64]) -> "Embeddings":
        """The volumes at ``rows``, in that order."""
        index = [int(row) for row in rows]
        return Embeddings(
            self.encoder,
            self.weights_hash,
            self.pooled[index],
            tuple(self.tokens[row] for row in index),
            tuple(self.subjects[row] for row in index),
            tuple(self.cases[row] for row in index),
            self.accelerations[index],
            tuple(self.splits[row] for row in index),
            {name: values[index] for name, values in self.labels.items()},
            {name: tuple(values[row] for row in index) for name, values in self.facts.items()},
            tuple(self.coordinates[row] for row in index) if self.coordinates else (),
        )

    def without_splits(self) -> "Embeddings":
        """The same without what the table says of fit and evaluation."""
        return replace(self, splits=("",) * len(self.splits))

    def fact(self, name: str) -> tuple[str, ...]:
        """A fact of every volume; empty texts where it is not stated."""
        return self.facts.get(name) or ("",) * len(self.subjects)

    def label(self, name: str) -> NDArray[np.int64]:
        """Labels ``[volume]``. Raises ReconError for an unknown name, naming those that exist."""
        if name not in self.labels:
            raise ReconError(f"no label '{name}' in the embeddings; there are {', '.join(self.labels) or 'none'}")
        return self.labels[name]


def embed_table(encoder: Encoder, table: LabelTable, report: Report = silent) -> Embeddings:
    """Embed every volume of a table; a reconstruction is prepared with the preprocessing of its reference.

    Raises ReconError, naming the file, when one cannot be read, placed or encoded.
    """
    return embed_with_each([encoder], table, report)[0]


def embed_with_each(encoders: Sequence[Encoder], table: LabelTable, report: Report = silent) -> list[Embeddings]:
    """``embed_table`` for an encoder and its controls, every volume being read and prepared once.

    The first encoder prepares, so all must share its preparation. Raises ReconError as ``embed_table`` does.
    """
    first = encoders[0]
    if len({_preparation(encoder.name) for encoder in encoders}) > 1:
        raise ReconError(f"encoders of other names than '{first.name}': they do not share its preparation")
    pooled: list[list[NDArray[np.float32]]] = [[] for _ in encoders]
    tokens: list[list[NDArray[np.float16]]] = [[] for _ in encoders]
    coordinates = []
    for index, (_, _, prepared) in enumerate(prepared_volumes(first, table)):
        for number, encoder in enumerate(encoders):
            embedding = encoder.encode(prepared)
            pooled[number].append(embedding.pooled.numpy())
            tokens[number].append(embedding.tokens.numpy().astype(np.float16))
        coordinates.append(token_places(prepared))
        report("embedding", (index + 1) / len(table.entries))
    subjects = tuple(pseudonym(entry.subject) for entry in table.entries)
    cases = tuple(pseudonym(f"{entry.case}|{entry.view}" if entry.view else entry.case) for entry in table.entries)
    accelerations = np.array([entry.acceleration for entry in table.entries])
    splits = tuple(entry.split for entry in table.entries)
    labels = {name: np.array([entry.labels.get(name, MISSING) for entry in table.entries]) for name in table.names}
    facts = _facts(table)
    return [
        Embeddings(
            encoder.name,
            encoder.weights_hash,
            np.stack(pooled[number]).astype(np.float32),
            tuple(tokens[number]),
            subjects,
            cases,
            accelerations,
            splits,
            labels,
            facts,
            tuple(coordinates),
        )
        for number, encoder in enumerate(encoders)
    ]


def token_places(prepared: PreparedVolume) -> NDArray[np.float32]:
    """Where the middle of each token lies, ``[token, 3]`` RAS+ mm."""
    return (prepared.coords.numpy() @ prepared.token_to_world[:3, :3].T + prepared.token_to_world[:3, 3]).astype(
        np.float32
    )


def _preparation(encoder: str) -> str:
    """The row of the table of encoders that prepares for this one."""
    return find_row(encoder).prepared_as or encoder


def _facts(table: LabelTable) -> dict[str, tuple[str, ...]]:
    """What the table says of where each volume was measured, else what the volume's own file says."""
    stated = [{**facts_of(entry.file), **entry.facts} for entry in table.entries]
    for facts in stated:
        if STUDY in facts:
            facts[STUDY] = pseudonym(facts[STUDY])
    names = sorted({name for facts in stated for name in facts})
    return {name: tuple(facts.get(name, "") for facts in stated) for name in names}


def write_embeddings(path: str | Path, embeddings: Embeddings) -> None:
    """Write an embeddings file; it appears only when complete. Raises ReconError when it cannot be written."""
    with atomic_path(path) as temporary, hdf5_for_writing(temporary) as file:
        file.attrs["format"] = FORMAT
        file.attrs["encoder"] = embeddings.encoder
        file.attrs["weights_hash"] = embeddings.weights_hash
        volumes = {
            "subjects": embeddings.subjects,
            "cases": embeddings.cases,
            "splits": embeddings.splits,
            "labels": {name: values.tolist() for name, values in embeddings.labels.items()},
            "facts": embeddings.facts,
        }
        file.create_dataset("volumes", data=json.dumps(volumes))  # an attribute could not hold thousands
        file.create_dataset("pooled", data=embeddings.pooled)
        file.create_dataset("accelerations", data=embeddings.accelerations)
        counts = np.array([len(tokens) for tokens in embeddings.tokens])
        file.create_dataset("token_counts", data=counts)
        file.create_dataset("tokens", data=np.concatenate(embeddings.tokens), compression="gzip", compression_opts=1)
        if embeddings.coordinates:
            places = np.concatenate(embeddings.coordinates)
            file.create_dataset("coordinates", data=places, compression="gzip", compression_opts=1)
        file.check()


def read_embeddings(path: str | Path) -> Embeddings:
    """Read an embeddings file. Raises ReconError for a missing, truncated or foreign file, or one with NaN."""
    path = Path(path)
    if not path.is_file():
        raise ReconError(f"{path}: no such file; make it with 'recon probe embed'")
    try:
        with foreign_hdf5(path) as file:
            if text_attribute(file, "format") != FORMAT:
                raise ReconError(f"{path}: not an embeddings file of 'recon probe embed'")
            check_schema(path, file, PARTS, "make it again with 'recon probe embed'")
            volumes = json_object_in(file["volumes"].asstr()[()])
            counts = np.asarray(file["token_counts"], int)
            if (counts < 1).any() or counts.sum() != len(file["tokens"]):
                raise ValueError(f"{len(file['tokens'])} tokens where the counts ask for {counts.sum()}")
            tokens = np.asarray(file["tokens"], np.float16)
            ends = np.cumsum(counts)[:-1]
            places = np.asarray(file["coordinates"], np.float32) if "coordinates" in file else None
            if places is not None and (places.shape != (len(tokens), 3) or not np.isfinite(places).all()):
                raise ValueError(f"coordinates of shape {places.shape}, or not finite, for {len(tokens)} tokens")
            found = Embeddings(
                str(file.attrs["encoder"]),
                str(file.attrs["weights_hash"]),
                np.asarray(file["pooled"], np.float32),
                tuple(np.split(tokens, ends)),
                tuple(map(str, volumes["subjects"])),
                tuple(map(str, volumes["cases"])),
                np.asarray(file["accelerations"], np.float64),
                tuple(map(str, volumes["splits"])),
                {str(name): np.asarray(values, np.int64) for name, values in volumes["labels"].items()},
                {str(name): tuple(map(str, values)) for name, values in volumes.get("facts", {}).items()},
                () if places is None else tuple(np.split(places, ends)),
            )
    except (OSError, KeyError, ValueError, TypeError, AttributeError, OverflowError) as error:
        raise ReconError(f"{path}: truncated or not an embeddings file ({error})") from error
    sizes = {
        len(part)
        for part in (found.pooled, found.tokens, found.subjects, found.cases, found.accelerations, found.splits)
    }
    described = [len(v) for v in found.labels.values()] + [len(v) for v in found.facts.values()]
    if len(sizes) > 1 or any(count != len(found.pooled) for count in described):
        raise ReconError(f"{path}: its parts have different lengths; make it again with 'recon probe embed'")
    if not ((found.accelerations >= 1) & np.isfinite(found.accelerations)).all():
        raise ReconError(f"{path}: an acceleration is less than 1; make it again with 'recon probe embed'")
    if not set(found.splits) <= set(SPLITS):
        raise ReconError(f"{path}: a split is neither fit, eval nor empty; make it again with 'recon probe embed'")
    if not np.isfinite(found.pooled).all() or not np.isfinite(tokens).all():
        raise ReconError(f"{path}: NaN or infinite features; make it again with 'recon probe embed'")
    return found
