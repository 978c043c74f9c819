"""What the trainings with AdamW share: which weights decay, and how the learning rate goes."""

import math
from collections.abc import Iterable

import torch
from torch.nn import Parameter


def decaying_optimiser(
    parameters: Iterable[Parameter], learning_rate: float, weight_decay: float, betas: tuple[float, float]
) -> torch.optim.AdamW:
    """AdamW that lets matrices decay, and leaves biases and scales (one axis) as they are."""
    known = list(parameters)
    groups = [
        {"params": [p for p in known if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in known if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=learning_rate, betas=betas)


def warm_cosine(learning_rate: float, samples: int, length: int, warmup_fraction: float) -> float:
    """The learning rate at ``samples`` of ``length``: linear warm-up, then half a cosine to a hundredth."""
    warm = warmup_fraction * length
    if samples < warm:
        return learning_rate * samples / warm
    done = min(1.0, (samples - warm) / max(1.0, length - warm))
    return learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))
