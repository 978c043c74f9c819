"""Signs of collapse: an encoder that gives every token the same feature predicts itself perfectly and sees nothing."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Spread:
    """How much features differ from token to token."""

    deviation: float  # mean over features of the standard deviation over tokens
    effective_rank: float  # exp of the entropy of the covariance's eigenvalue shares; 1 when one direction is left


def feature_spread(tokens: Tensor) -> Spread:
    """Spread of features ``[token, feature]``; effective rank after Roy and Vetterli, EUSIPCO 2007."""
    values = tokens.detach().double()
    values = values - values.mean(dim=0)
    covariance = values.T @ values / max(1, len(values) - 1)
    eigenvalues = torch.linalg.eigvalsh(covariance).clamp_min(0)
    total = float(eigenvalues.sum())
    if total <= 1e-20:
        return Spread(0.0, 1.0)
    shares = eigenvalues / total
    entropy = -float((shares * shares.clamp_min(1e-300).log()).sum())
    deviation = float(covariance.diagonal().clamp_min(0).sqrt().mean())
    return Spread(deviation, float(torch.tensor(entropy).exp()))
