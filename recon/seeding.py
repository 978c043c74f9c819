"""Random generators that depend on what is drawn, not on when or where it is drawn."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def stream_seed(seed: int, *names: str | int) -> int:
    """A 63-bit seed from the run's seed and the names of the draw, e.g. ``(scan identity, slice, sample)``.

    Hashing makes the streams independent of batch size, of the order of scans and of the number of processes.
    """
    text = "\x1f".join([str(int(seed)), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def share_of(seed: int, *names: str | int) -> float:
    """A number from 0 to 1 that hangs on the names alone: persons are split by it, so that a split needs no list."""
    return stream_seed(seed, *names) / 2.0**63


def torch_generator(seed: int, *names: str | int, device: str | torch.device = "cpu") -> torch.Generator:
    """A torch generator on ``device`` for one named stream of random numbers."""
    import torch  # here, because commands that only move k-space about need not wait seconds for it

    return torch.Generator(device=device).manual_seed(stream_seed(seed, *names))


def numpy_generator(seed: int, *names: str | int) -> np.random.Generator:
    """A numpy generator for one named stream of random numbers."""
    return np.random.default_rng(stream_seed(seed, *names))
