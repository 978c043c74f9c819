"""Heads placed otherwise: slabs of a batch turned, zoomed and shifted in plane, masks with them."""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from recon.study.options import StudyTrainingOptions


def placed_otherwise(
    slabs: Tensor, masks: Tensor, options: StudyTrainingOptions, generator: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """``[batch, contrast, slab, height, width]`` and masks ``[batch, ..., height, width]`` (0 or 1), each sample
    turned by up to ``options.turn`` degrees, zoomed and shifted; edges are repeated. Unchanged where all are 0."""
    if not (options.turn or options.zoom or options.shift):
        return slabs, masks
    batch, (height, width) = len(masks), masks.shape[-2:]
    sizes = torch.tensor([width, height], dtype=torch.float32)
    maps = torch.stack([_map(sizes, options, generator) for _ in range(batch)])
    grid = functional.affine_grid(maps, [batch, 1, height, width], align_corners=False)
    flat = slabs.reshape(batch, -1, height, width)
    moved = functional.grid_sample(flat, grid, padding_mode="border", align_corners=False).view(slabs.shape)
    flat = masks.reshape(batch, -1, height, width)
    outlines = functional.grid_sample(flat, grid, padding_mode="border", align_corners=False).view(masks.shape)
    return moved, (outlines > 0.5).float()


def _map(sizes: Tensor, options: StudyTrainingOptions, generator: np.random.Generator) -> Tensor:
    """Where each output pixel is taken from, in the normalised coordinates of ``affine_grid``: ``[2, 3]``."""
    angle = math.radians(options.turn) * float(generator.uniform(-1, 1))
    scale = math.exp(options.zoom * float(generator.uniform(-1, 1)))
    shift = options.shift / options.grid.pixel * torch.from_numpy(generator.uniform(-1, 1, 2)).float()
    turn = scale * torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    # Pixels are square, normalised coordinates are not: (x, y) / (width, height) / 2.
    return torch.cat([turn * sizes / sizes[:, None], (2 * shift / sizes)[:, None]], dim=1)
