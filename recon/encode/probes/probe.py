"""A fitted probe: which label, which encoder, whose embeddings; fitted by person, kept as safetensors."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from recon.encode.probes.filtering import Doubt, least_doubtful
from recon.encode.probes.options import FitOptions
from recon.encode.probes.prediction import Prediction
from recon.encode.probes.store import MISSING, Embeddings
from recon.encode.probes.table import PROBES, ProbeKind, find_probe
from recon.errors import ReconError
from recon.seeding import share_of
from recon.tensor_file import write_tensors

FORMAT = "recon-probe-1"


@dataclass(frozen=True, eq=False)
class Probe:
    """A classifier of one label on the embeddings of one encoder."""

    kind: str
    label: str
    classes: tuple[int, ...]  # label values, in the order of the probabilities
    encoder: str
    weights_hash: str
    persons: tuple[str, ...]  # hashes of those it was fitted on
    seed: int
    tensors: dict[str, NDArray[np.float32]]

    def predict(self, embeddings: Embeddings) -> Prediction:
        """Apply the probe. Raises ReconError when the embeddings are another encoder's."""
        if (embeddings.encoder, embeddings.weights_hash) != (self.encoder, self.weights_hash):
            raise ReconError(
                f"the probe was fitted on '{self.encoder}' ({self.weights_hash[:16]}), the embeddings are of "
                f"'{embeddings.encoder}' ({embeddings.weights_hash[:16]}); embed with the same encoder and weights"
            )
        found: Prediction = find_probe(self.kind).load().predict(self.tensors, embeddings)
        return found


def held_out_persons(embeddings: Embeddings, fraction: float, seed: int) -> set[str]:
    """About ``fraction`` of the persons, by a hash of each, so that a table that grows keeps its split."""
    return {person for person in embeddings.subjects if share_of(seed, "probe-held-out", person) < fraction}


def fit_probe(embeddings: Embeddings, options: FitOptions) -> Probe:
    """Fit on references (acceleration 1) that carry the label: those of split ``fit``, else of persons not held out.

    Raises ReconError for an unknown kind or label, and when fewer than two classes or four persons are left.
    """
    row, label = find_probe(options.probe), options.label
    values = embeddings.label(label)
    usable = (embeddings.accelerations == 1) & (values != MISSING)
    if any(embeddings.splits):
        usable &= np.array([split == "fit" for split in embeddings.splits])
    else:
        away = held_out_persons(embeddings, options.hold_out, options.seed)
        usable &= np.array([person not in away for person in embeddings.subjects])
    return fit_on(embeddings, np.flatnonzero(usable), row, label, options.seed, options.drop, options.drop_by)


def fit_on(
    embeddings: Embeddings,
    rows: NDArray[np.int64],
    kind: ProbeKind,
    label: str,
    seed: int,
    drop: float = 0.0,
    drop_by: Doubt = "disagreement",
) -> Probe:
    """Fit on the volumes ``rows``, all of which carry the label, but for the share ``drop`` of greatest doubt. Persons
    whose volumes were dropped count as seen.

    Raises ReconError when fewer than two classes or four persons are among them.
    """
    chosen, values = embeddings.select(rows), embeddings.label(label)[rows]
    classes = tuple(sorted({int(value) for value in values}))
    persons = tuple(sorted(set(chosen.subjects)))
    if len(classes) < 2 or len(persons) < 4:
        raise ReconError(
            f"label '{label}': {len(classes)} class(es) and {len(persons)} person(s) to fit on; at least 2 and 4 are "
            "needed (references with split 'fit', or fewer persons held out)"
        )
    indices = np.searchsorted(np.array(classes), values)
    kept = least_doubtful(chosen, indices, kind, drop, drop_by, seed)
    tensors = kind.load().fit(chosen.select(kept), indices[kept], len(classes), seed)
    return Probe(kind.name, label, classes, embeddings.encoder, embeddings.weights_hash, persons, seed, tensors)


def write_probe(path: str | Path, probe: Probe) -> None:
    """Write a probe as safetensors. Raises ReconError when it cannot be written."""
    facts = {
        "format": FORMAT,
        "kind": probe.kind,
        "label": probe.label,
        "classes": probe.classes,
        "encoder": probe.encoder,
        "weights_hash": probe.weights_hash,
        "persons": probe.persons,
        "seed": probe.seed,
    }
    contiguous = {name: np.ascontiguousarray(value) for name, value in probe.tensors.items()}
    write_tensors(path, contiguous, {"probe": json.dumps(facts)})


def read_probe(path: str | Path) -> Probe:
    """Read a probe. Raises ReconError for a missing, truncated or foreign file."""
    path = Path(path)
    if not path.is_file():
        raise ReconError(f"{path}: no such file; make it with 'recon probe fit'")
    try:
        with safe_open(path, "np") as file:
            facts = json.loads((file.metadata() or {})["probe"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        if facts["format"] != FORMAT or facts["kind"] not in PROBES:
            raise ValueError("another format")
        return Probe(
            str(facts["kind"]),
            str(facts["label"]),
            tuple(int(value) for value in facts["classes"]),
            str(facts["encoder"]),
            str(facts["weights_hash"]),
            tuple(map(str, facts["persons"])),
            int(facts["seed"]),
            tensors,
        )
    except Exception as error:
        raise ReconError(f"{path}: truncated or not a probe of 'recon probe fit' ({error})") from error
