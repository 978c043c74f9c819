"""Evidential probe: a Dirichlet distribution over class probabilities, whose total evidence says how sure it is.

Sensoy, Kaplan and Kandemir, Evidential Deep Learning to Quantify Classification Uncertainty, NeurIPS 2018: evidence
e = softplus(logits), alpha = e + 1, S = sum alpha, expected probability alpha / S, vacuity K / S. Loss: their Eq. 5 and
the annealed divergence of their Eq. 9: sum_k (y_k - alpha_k / S)^2 + alpha_k (S - alpha_k) / (S^2 (S + 1))
+ lambda KL( Dir(alpha~) || Dir(1) ), alpha~ being alpha with the evidence of the true class removed.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from recon.encode.probes.prediction import Prediction
from recon.encode.probes.store import Embeddings
from recon.encode.probes.token_pool import logits, train

DIVERGENCE = 0.2  # largest lambda, reached half-way through training


def concentration(values: Tensor) -> Tensor:
    """Dirichlet parameters alpha ``[volume, class]`` from logits."""
    return functional.softplus(values) + 1


def divergence_from_uniform(alpha: Tensor) -> Tensor:
    """KL( Dir(alpha) || Dir(1, ..., 1) ) ``[volume]``."""
    total = alpha.sum(dim=-1)
    classes = alpha.shape[-1]
    constant = torch.lgamma(total) - torch.lgamma(torch.tensor(float(classes), dtype=alpha.dtype))
    terms = (alpha - 1) * (torch.digamma(alpha) - torch.digamma(total)[..., None]) - torch.lgamma(alpha)
    return constant + terms.sum(dim=-1)


def evidential_loss(values: Tensor, wanted: Tensor, done: float) -> Tensor:
    """The loss of the module's docstring, mean over volumes; ``done`` in [0, 1) is how far training is."""
    alpha = concentration(values)
    total = alpha.sum(dim=-1, keepdim=True)
    truth = functional.one_hot(wanted, values.shape[-1]).to(values.dtype)
    error = (truth - alpha / total) ** 2 + alpha * (total - alpha) / (total**2 * (total + 1))
    misleading = truth + (1 - truth) * alpha
    weight = DIVERGENCE * min(1.0, 2 * done)
    return (error.sum(dim=-1) + weight * divergence_from_uniform(misleading)).mean()


def fit(embeddings: Embeddings, labels: NDArray[np.int64], classes: int, seed: int) -> dict[str, NDArray[np.float32]]:
    """Weights of the probe. ``labels`` [volume] are 0 to ``classes`` - 1."""
    return train(embeddings, labels, classes, seed, evidential_loss)


def predict(tensors: dict[str, NDArray[np.float32]], embeddings: Embeddings) -> Prediction:
    """Expected probabilities and the vacuity K / S, 1 where there is no evidence at all."""
    alpha = concentration(logits(tensors, embeddings))
    total = alpha.sum(dim=1, keepdim=True)
    return Prediction((alpha / total).numpy(), (alpha.shape[1] / total[:, 0]).numpy())
