"""Samples of pre-training: what the student sees of a head, and what the teacher sees, often another contrast."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recon.encode.latent_prediction.masking import hide_blocks, nearest_piece
from recon.encode.latent_prediction.options import PretrainingOptions
from recon.encode.latent_prediction.preparation import LEAST_SHARE
from recon.encode.latent_prediction.volumes import Tokens, TrainingVolume, contrast_index, cut_at
from recon.errors import ReconError
from recon.seeding import numpy_generator

PIECES = 4  # samples from one head cut at one offset

Head = Sequence[TrainingVolume]  # the contrasts of one head, on one grid


@dataclass(frozen=True, eq=False)
class Batch:
    """Samples of equal size."""

    patches: Tensor  # [batch, token, patch values], what the student sees
    targets: Tensor  # [batch, token, patch values], what the teacher sees
    contrast: Tensor  # [batch] int64, of the targets
    positions: Tensor  # [batch, token, 3] mm
    visible: Tensor  # [batch, visible] int64
    hidden: Tensor  # [batch, hidden] int64
    lesion: Tensor  # [batch, token] share of lesion in every token; NaN where it is not known

    def rows(self, which: Sequence[int]) -> "Batch":
        """Some of the samples."""
        index = list(which)
        return Batch(*(getattr(self, field.name)[index] for field in fields(self)))

    def to(self, device: torch.device) -> "Batch":
        """The same on a device."""
        return Batch(*(getattr(self, field.name).to(device) for field in fields(self)))


def draw_batch(heads: Sequence[Head], options: PretrainingOptions, first: int) -> Batch:
    """Samples ``first`` to ``first + batch`` of the run: head, contrasts, offset, piece, mask, augmentation of each.

    Raises ReconError when the volumes are too small for the piece.
    """
    numbers = range(first, first + options.batch)
    rows = [row for number in numbers[::PIECES] for row in _draw_samples(heads, options, number)][: options.batch]
    return Batch(*(torch.from_numpy(np.stack(column)) for column in zip(*rows, strict=True)))


def _draw_samples(heads: Sequence[Head], options: PretrainingOptions, number: int) -> list[tuple[NDArray, ...]]:
    """``PIECES`` samples of one head cut at one offset, which is what takes the time."""
    generator = numpy_generator(options.seed, "sample", number)
    patch = options.network.patch
    for _ in range(50):
        head = heads[int(generator.integers(len(heads)))]
        own = int(generator.integers(len(head)))
        others = [index for index in range(len(head)) if index != own]
        other = own
        if others and generator.uniform() < options.other_contrast:
            other = others[int(generator.integers(len(others)))]
        offset = (int(generator.integers(patch)), int(generator.integers(patch)))
        mirror = bool(generator.integers(2))
        seen = cut_at(head[own], patch, offset, mirror, LEAST_SHARE)
        if len(seen.positions) < options.tokens:
            continue
        # The teacher's tokens lie where the student's do, whatever its own contrast makes of the head's edge.
        taught = seen if other == own else cut_at(head[other], patch, offset, mirror, LEAST_SHARE, head[own].head)
        contrast = np.int64(contrast_index(head[other].source.contrast))
        return [_draw_piece(seen, taught, contrast, options, generator) for _ in range(PIECES)]
    raise ReconError(f"no volume has {options.tokens} tokens in the head; lower 'tokens' or give larger volumes")


def _draw_piece(
    seen: Tokens, taught: Tokens, contrast: np.int64, options: PretrainingOptions, generator: np.random.Generator
) -> tuple[NDArray, ...]:
    piece = nearest_piece(seen.positions, options.tokens, generator)
    patches = seen.patches[piece] * np.float32(np.exp(options.gain * generator.standard_normal()))
    level = np.float32(options.noise * generator.uniform())
    patches = patches + level * generator.standard_normal(patches.shape, dtype=np.float32)
    positions = seen.positions[piece]
    split = hide_blocks(positions, options.hidden_fraction, options.block, generator)
    return (
        *(patches, taught.patches[piece], np.asarray(contrast), positions),
        *(split.visible, split.hidden, seen.lesion[piece]),
    )
