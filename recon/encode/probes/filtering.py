"""Training cases whose label is doubtful: found by probes that were fitted on other persons, and left out of the fit.

Filtering of training data by uncertainty after Ghesu et al. (arXiv 1906.07775), here cross-fitted: every case is judged
by a probe that saw neither it nor another case of its person.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from recon.encode.probes.prediction import Prediction
from recon.encode.probes.store import Embeddings
from recon.encode.probes.table import ProbeKind
from recon.errors import ReconError
from recon.seeding import stream_seed

FOLDS = 5
Doubt = Literal["uncertainty", "disagreement"]


def least_doubtful(
    embeddings: Embeddings, labels: NDArray[np.int64], kind: ProbeKind, share: float, by: Doubt, seed: int
) -> NDArray[np.int64]:
    """Rows left when the ``share`` of greatest doubt is dropped, in their order.

    ``labels`` [volume] are 0 to classes - 1. ``by``: the probe's own uncertainty, which knows nothing of the label, or
    its disagreement with the label, 1 minus the probability that it gives it.

    Raises ReconError when a class would be left without a case, or persons are too few to be judged by others.
    """
    if not share:
        return np.arange(len(labels))
    prediction = cross_fitted(embeddings, labels, kind, seed)
    doubt = prediction.uncertainty
    if by == "disagreement":
        doubt = 1 - prediction.probabilities[np.arange(len(labels)), labels]
    dropped = np.argsort(-doubt, kind="stable")[: int(share * len(labels))]
    kept = np.setdiff1d(np.arange(len(labels)), dropped)
    if len(np.unique(labels[kept])) < len(np.unique(labels)):
        raise ReconError(f"--drop {share:g}: leaves a class without a case; drop fewer")
    return kept


def cross_fitted(embeddings: Embeddings, labels: NDArray[np.int64], kind: ProbeKind, seed: int) -> Prediction:
    """What probes say of every volume that were fitted on the persons of four other fifths.

    Raises ReconError when a fold lacks a class.
    """
    module, classes = kind.load(), int(labels.max()) + 1
    fold = np.array([stream_seed(seed, "probe-folds", person) % FOLDS for person in embeddings.subjects])
    probabilities = np.zeros((len(labels), classes))
    uncertainty = np.zeros(len(labels))
    for number in np.unique(fold):
        fitted, judged = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        if len(np.unique(labels[fitted])) < classes:
            raise ReconError("too few persons to judge each by the others: a fold lacks a class; leave --drop away")
        tensors = module.fit(embeddings.select(fitted), labels[fitted], classes, seed)
        found: Prediction = module.predict(tensors, embeddings.select(judged))
        probabilities[judged], uncertainty[judged] = found.probabilities, found.uncertainty
    return Prediction(probabilities, uncertainty)
