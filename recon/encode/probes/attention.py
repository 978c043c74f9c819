"""Attention multiple-instance probe: gated attention over tokens, cross entropy."""

import numpy as np
from numpy.typing import NDArray
from torch.nn import functional

from recon.encode.probes.prediction import Prediction
from recon.encode.probes.store import Embeddings
from recon.encode.probes.token_pool import logits, train


def fit(embeddings: Embeddings, labels: NDArray[np.int64], classes: int, seed: int) -> dict[str, NDArray[np.float32]]:
    """Weights of the probe. ``labels`` [volume] are 0 to ``classes`` - 1."""
    return train(embeddings, labels, classes, seed, lambda values, wanted, _: functional.cross_entropy(values, wanted))


def predict(tensors: dict[str, NDArray[np.float32]], embeddings: Embeddings) -> Prediction:
    """Probabilities and their uncertainty, 1 minus the largest probability."""
    probabilities = logits(tensors, embeddings).softmax(dim=1).numpy()
    return Prediction(probabilities, 1 - probabilities.max(axis=1))
