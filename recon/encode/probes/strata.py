"""What a probe is worth by where a volume was measured, and on a site that it was not fitted on."""

import numpy as np

from recon.encode.probes.evaluation import GroupResult, evaluate_probe
from recon.encode.probes.options import EvaluationOptions
from recon.encode.probes.probe import Probe, fit_on
from recon.encode.probes.store import MISSING, Embeddings
from recon.encode.probes.table import find_probe
from recon.errors import ReconError


def evaluate_by_stratum(
    probe: Probe, embeddings: Embeddings, options: EvaluationOptions, fact: str
) -> list[tuple[str, GroupResult | str]]:
    """For each value of a fact, the probe's worth on its references, or why it has none.

    Raises ReconError when no volume states the fact.
    """
    found: list[tuple[str, GroupResult | str]] = []
    for name in strata_of(embeddings, fact):
        rows = [row for row, value in enumerate(embeddings.fact(fact)) if value == name]
        try:
            found.append((name, evaluate_probe(probe, embeddings.select(rows), options)[0]))
        except ReconError as error:
            if "leakage" in str(error) or "embeddings are of" in str(error):
                raise
            found.append((name, str(error)))
    return found


def leave_one_out(
    embeddings: Embeddings, kind: str, label: str, options: EvaluationOptions, fact: str = "site"
) -> list[tuple[str, GroupResult | str]]:
    """For each site, what a probe is worth there that was fitted on the references of all other sites.

    Persons at the site are left out of the fit wherever else they were measured. Raises ReconError when fewer than two
    sites are stated.
    """
    names = strata_of(embeddings, fact)
    if len(names) < 2:
        raise ReconError(f"one {fact} only ({names[0]}): leaving it out leaves nothing to fit on")
    values = np.array(embeddings.fact(fact))
    usable = (embeddings.accelerations == 1) & (embeddings.label(label) != MISSING)
    found: list[tuple[str, GroupResult | str]] = []
    for name in names:
        there = {person for person, value in zip(embeddings.subjects, values, strict=True) if value == name}
        elsewhere = np.array([person not in there for person in embeddings.subjects])
        try:
            probe = fit_on(embeddings, np.flatnonzero(usable & elsewhere), find_probe(kind), label, options.seed)
            at_site = embeddings.select(np.flatnonzero(usable & (values == name))).without_splits()
            found.append((name, evaluate_probe(probe, at_site, options)[0]))
        except ReconError as error:
            found.append((name, str(error)))
    return found


def strata_of(embeddings: Embeddings, fact: str) -> list[str]:
    """The values of a fact, in order. Raises ReconError when no volume states it."""
    values = sorted(set(embeddings.fact(fact)) - {""})
    if not values:
        raise ReconError(
            f"no volume states its {fact}; give a column '{fact}' in the table of 'recon probe embed', or volumes "
            "that state it"
        )
    return values
