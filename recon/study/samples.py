"""What a step of training sees: slabs of studies, a random subset of their contrasts, changed a little.

Every draw depends on the seed and the number of the sample alone, so an interrupted run
continues as if it had not been.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recon.errors import ReconError
from recon.seeding import numpy_generator
from recon.study.contrasts import INPUTS, in_order
from recon.study.faster import as_if_faster
from recon.study.options import StudyFitOptions
from recon.study.placing import placed_otherwise
from recon.study.volume import StudyVolume


@dataclass(frozen=True, eq=False)
class Batch:
    """Slabs of one set of contrasts."""

    slabs: Tensor  # [batch, contrast, slab, height, width]
    contrasts: tuple[int, ...]  # numbers in INPUTS
    mask: Tensor  # [batch, height, width], 0 or 1
    lesion: Tensor  # [batch], 1 where the middle slice holds a lesion


@dataclass(frozen=True, eq=False)
class Slices:
    """Where to draw from: ``(volume, slice)`` with and without a lesion."""

    volumes: Sequence[StudyVolume]
    contrasts: tuple[str, ...]  # trained on: those asked for that any study has
    with_lesion: NDArray[np.int64]  # [row, 2]
    without: NDArray[np.int64]

    def of(self, rows: NDArray[np.int64], chosen: tuple[str, ...]) -> NDArray[np.int64]:
        """Those of ``rows`` whose study has every contrast of ``chosen``."""
        able = np.array([set(chosen) <= set(volume.contrasts) for volume in self.volumes])
        return rows[able[rows[:, 0]]]


def slab_at(values: NDArray[np.float32], index: int, slab: int) -> NDArray[np.float32]:
    """``[contrast, slab, height, width]`` about a slice of ``[contrast, slice, ...]``; the ends are repeated."""
    numbers = np.clip(np.arange(index - slab // 2, index + slab // 2 + 1), 0, values.shape[1] - 1)
    return values[:, numbers]


def slices_of(volumes: Sequence[StudyVolume], contrasts: Sequence[str]) -> Slices:
    """The slices that may be drawn. Raises ReconError when there are none of a kind, or a study has no contrast."""
    rows: dict[bool, list[tuple[int, int]]] = {True: [], False: []}
    there = {name for volume in volumes for name in volume.contrasts} & set(contrasts)
    for number, volume in enumerate(volumes):
        assert volume.lesion is not None
        if not there & set(volume.contrasts):
            raise ReconError(f"study {volume.name}: has none of the contrasts {', '.join(contrasts)}; leave it out")
        for index, plane in enumerate(volume.lesion):
            rows[bool(plane.any())].append((number, index))
    if not rows[True] or not rows[False]:
        missing = "with" if not rows[True] else "without"
        raise ReconError(f"no slice {missing} a lesion in the studies to train on; give some of either kind")
    return Slices(volumes, in_order(there), np.array(rows[True]), np.array(rows[False]))


def any_slices(volumes: Sequence[StudyVolume], contrasts: Sequence[str]) -> Slices:
    """All slices of studies whose lesions need not be known. Raises ReconError when no study has a contrast."""
    there = {name for volume in volumes for name in volume.contrasts} & set(contrasts)
    rows = [
        (number, index)
        for number, volume in enumerate(volumes)
        if there & set(volume.contrasts)
        for index in range(volume.values.shape[1])
    ]
    if not rows:
        raise ReconError(f"no study has any of the contrasts {', '.join(contrasts)}")
    return Slices(volumes, in_order(there), np.empty((0, 2), np.int64), np.array(rows))


def draw_subset(contrasts: tuple[str, ...], chance: float, generator: np.random.Generator) -> tuple[str, ...]:
    """All contrasts, or by ``chance`` a random non-empty subset of a size that is uniform."""
    if generator.random() >= chance:
        return contrasts
    size = int(generator.integers(1, len(contrasts) + 1))
    return in_order({contrasts[int(index)] for index in generator.permutation(len(contrasts))[:size]})


def draw_contrasts(
    slices: Slices, chance: float, generator: np.random.Generator
) -> tuple[tuple[str, ...], NDArray[np.int64], NDArray[np.int64]]:
    """The contrasts of a batch, and the slices with and without a lesion whose study has them all."""
    chosen = draw_subset(slices.contrasts, chance, generator)
    lesioned, clear = slices.of(slices.with_lesion, chosen), slices.of(slices.without, chosen)
    if not len(lesioned) + len(clear):  # no study has them all: what one study has of them, or of all
        volume = slices.volumes[int(generator.integers(len(slices.volumes)))]
        usable = in_order(set(slices.contrasts) & set(volume.contrasts))
        chosen = in_order(set(usable) & set(chosen)) or usable
        lesioned, clear = slices.of(slices.with_lesion, chosen), slices.of(slices.without, chosen)
    return chosen, lesioned, clear


def gains(count: int, deviation: float, generator: np.random.Generator) -> NDArray[np.float32]:
    """A factor for each series ``[contrast, 1, 1, 1]``: no scanner promises an intensity."""
    return np.exp(deviation * generator.standard_normal((count, 1, 1, 1))).astype(np.float32)


def draw_batch(slices: Slices, options: StudyFitOptions, first: int) -> Batch:
    """The batch that begins at sample ``first``."""
    generator = numpy_generator(options.seed, "study-batch", first)
    chosen, lesioned, clear = draw_contrasts(slices, options.contrast_dropout, generator)
    slabs, masks = [], []
    for _ in range(options.batch):
        wanted, other = (lesioned, clear) if generator.random() < options.lesion_share else (clear, lesioned)
        pool = wanted if len(wanted) else other
        number, index = pool[int(generator.integers(len(pool)))]
        volume = slices.volumes[int(number)]
        rows = [volume.contrasts.index(name) for name in chosen]
        slab = slab_at(volume.values[rows], int(index), options.network.slab)
        slab = as_if_faster(slab, chosen, options.faster, generator)
        assert volume.lesion is not None
        mask = volume.lesion[int(index)]
        if generator.random() < 0.5 and options.grid.plane == "axial":  # heads are symmetric from side to side only
            slab, mask = slab[..., ::-1], mask[:, ::-1]
        widths = (options.noise * generator.random((len(rows), 1, 1, 1))).astype(np.float32)
        noise = widths * generator.standard_normal(slab.shape, dtype=np.float32)
        slabs.append(slab * gains(len(rows), options.gain, generator) + noise)
        masks.append(mask)
    mask = torch.from_numpy(np.stack(masks).astype(np.float32))
    placed, mask = placed_otherwise(torch.from_numpy(np.stack(slabs)), mask, options, generator)
    return Batch(
        placed,
        tuple(INPUTS.index(name) for name in chosen),
        mask,
        mask.flatten(1).amax(dim=1),
    )
