"""Every kind of probe: one row each. Command line, help texts and error messages read this table.

A new probe is one module with ``fit`` and ``predict`` and one row here.
"""

import importlib
from dataclasses import dataclass
from typing import Any

from recon.errors import ReconError


@dataclass(frozen=True)
class ProbeKind:
    """One kind; its module is imported when it is used."""

    name: str
    module: str  # offers fit(embeddings, labels, classes, seed) and predict(tensors, embeddings)
    help: str

    def load(self) -> Any:
        """The module."""
        return importlib.import_module(self.module)


PROBES: dict[str, ProbeKind] = {
    row.name: row
    for row in (
        ProbeKind("linear", "recon.encode.probes.linear", "logistic regression on pooled features"),
        ProbeKind("attention", "recon.encode.probes.attention", "gated attention over tokens"),
        ProbeKind(
            "evidential",
            "recon.encode.probes.evidential",
            "over tokens, with a Dirichlet head that says how sure it is",
        ),
    )
}


def find_probe(name: str) -> ProbeKind:
    """The row called ``name``. Raises ReconError naming the rows that exist."""
    if name not in PROBES:
        raise ReconError(f"probe '{name}': unknown; choose one of {', '.join(PROBES)}")
    return PROBES[name]


def described() -> str:
    """Every kind in a few words, for help texts."""
    return "; ".join(f"{row.name}: {row.help}" for row in PROBES.values())
