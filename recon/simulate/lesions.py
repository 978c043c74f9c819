"""Stroke lesions: placed in an arterial territory, of irregular shape, with the signal of their age."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, label

from recon.errors import ReconError
from recon.simulate.fields import smooth_field
from recon.simulate.options import STAGES, StrokeKind
from recon.simulate.territories import HAEMORRHAGE_SHARES, TERRITORY_SHARES, territory_masks
from recon.simulate.tissues import Tissue


@dataclass(frozen=True)
class Lesion:
    """One lesion on the subject's grid ``[slice, row, column]``."""

    core: NDArray[np.float32]  # 0..1, how far the tissue is lesion tissue (soft edges: partial effect)
    cavity: NDArray[np.float32]  # 0..1, how far it is replaced by CSF (chronic only)
    mask: NDArray[np.bool_]  # core > 0.5
    territory: str
    stage: str
    volume: float  # mL on the imaged slices, each taken to fill the slice spacing
    kind: StrokeKind = "infarct"


def lesion_tissues(tissues: Mapping[str, Tissue], stage: str, generator: np.random.Generator) -> dict[str, Tissue]:
    """Brain tissues as a lesion changes them: cytotoxic oedema first (diffusivity down, T2 slowly up), then vasogenic
    oedema (T2 and T1 up, diffusivity back to normal at 1-2 weeks), gliosis last (all up).

    Ratios after Schlaug et al., Neurology 49:113, 1997 and Lansberg et al., AJNR 22:637, 2001 (diffusivity and T2 by
    age) and Bernarding et al., Magn Reson Med 43:52, 2000 (T1). Raises ReconError for an unknown stage.
    """
    ranges = {  # ratios of T1, T2, diffusivity and water content
        "acute": ((1.08, 1.25), (1.15, 1.55), (0.45, 0.65), (1.0, 1.03)),
        "subacute": ((1.2, 1.45), (1.5, 2.0), (0.75, 1.05), (1.05, 1.1)),
        "chronic": ((1.3, 1.6), (1.5, 2.1), (1.4, 1.9), (1.05, 1.12)),
    }
    if stage not in ranges:
        raise ReconError(f"lesion stage {stage!r} is unknown; choose from {', '.join(STAGES)}")
    t1, t2, diffusivity, water = (float(generator.uniform(*limits)) for limits in ranges[stage])
    changed = dict(tissues)
    for name in ("grey", "white", "deep_grey"):
        tissue = tissues[name]
        changed[name] = replace(
            tissue,
            t1=tissue.t1 * t1,
            t2=tissue.t2 * t2,
            diffusivity=tissue.diffusivity * diffusivity,
            density=min(tissue.density * water, 1.0),
        )
    return changed


def draw_lesion(
    coordinates: NDArray[np.float32],
    tissue: NDArray[np.float32],
    spacing: tuple[float, float, float],
    generator: np.random.Generator,
    territory: str | None = None,
    stage: str | None = None,
    territories: Mapping[str, NDArray[np.bool_]] | None = None,
    kind: StrokeKind = "infarct",
) -> Lesion:
    """A random infarct or haemorrhage in the imaged slices.

    ``coordinates`` [3, slice, row, column] are approximate MNI mm (right, anterior, superior), ``tissue`` [slice, row,
    column] is the fraction of brain tissue (no CSF), ``spacing`` is mm along slice, row, column. The shape is the level
    set of a smooth random field minus the squared distance from a random site, cut at the territory's border, so that
    its volume is the one drawn (log-normal, median 12 mL; lacunes 0.7 mL, which deep haemorrhages
    are not). ``territories`` replaces the built-in geometry.

    Raises ReconError when no imaged slice holds enough tissue of the territory.
    """
    if territories is None:
        # Territories differ between people by a centimetre: move the borders smoothly.
        own = [axis + 4.0 * smooth_field(tissue.shape, spacing, 15.0, generator) for axis in coordinates]
        places = territory_masks(*own)
    else:
        places = dict(territories)
    inside = tissue > 0.6
    voxel = float(np.prod(spacing)) / 1000
    usable = {name: place & inside for name, place in places.items()}
    usable = {name: place for name, place in usable.items() if place.sum() * voxel > 0.6 and place.sum() > 60}
    if territory is not None:
        usable = {name: place for name, place in usable.items() if name == territory}
    if not usable:
        raise ReconError(
            f"no imaged slice holds tissue of the territory {territory or 'of any artery'}; image more slices"
        )
    names = sorted(usable)
    common = TERRITORY_SHARES if kind == "infarct" else HAEMORRHAGE_SHARES
    shares = np.array([common.get(name, 0.1) for name in names])
    name = names[int(generator.choice(len(names), p=shares / shares.sum()))]
    place = usable[name] & (coordinates[0] * generator.choice([-1.0, 1.0]) > 0)
    if place.sum() < 40:
        place = usable[name]
    stage = stage or str(generator.choice(STAGES, p=[0.45, 0.25, 0.30]))
    lacune = name == "lacunar" and kind == "infarct"
    median, sigma, limits = (0.7, 0.5, (0.15, 2.0)) if lacune else (12.0, 0.9, (1.0, 90.0))
    volume = float(np.clip(median * np.exp(sigma * generator.standard_normal()), *limits))
    volume = min(volume, 0.7 * float(place.sum()) * voxel)
    core = _shape(place, spacing, volume, generator)
    return replace(finish_lesion(core, tissue, spacing, name, stage, generator), kind=kind)


def finish_lesion(
    shape: NDArray[np.bool_],
    tissue: NDArray[np.float32],
    spacing: tuple[float, float, float],
    territory: str,
    stage: str,
    generator: np.random.Generator,
) -> Lesion:
    """A lesion from its binary ``shape``: soft edges (1 to 2.5 mm, softer when acute), a patchy interior and, when
    chronic, a CSF-filled cavity within a rim of gliosis."""
    # A lacune must not be blurred away: the edge is at most a third of the radius.
    area = float(shape.sum(axis=(1, 2)).max()) * spacing[1] * spacing[2]
    blur = min(float(generator.uniform(1.0, 2.5 if stage != "chronic" else 1.4)), float(np.sqrt(area / np.pi)) / 3)
    widths = (0.0, blur / spacing[1], blur / spacing[2])
    soft = gaussian_filter(shape.astype(np.float32), widths)
    patchy = 1 + 0.10 * smooth_field(shape.shape, spacing, 6.0, generator)
    core = np.clip(soft * patchy, 0, 1) * np.clip(tissue / 0.6, 0, 1)
    # The edge stays where the shape put it, whatever the texture inside does.
    mask = (soft > 0.5) & (tissue > 0.5)
    cavity = np.zeros_like(core)
    if stage == "chronic":
        rim = float(generator.uniform(2.0, 4.0))
        eroded = gaussian_filter(shape.astype(np.float32), (0.0, rim / spacing[1], rim / spacing[2]))
        level = 0.86 + 0.06 * smooth_field(shape.shape, spacing, 5.0, generator)
        cavity = np.clip((eroded - level) * 12, 0, 1).astype(np.float32)
    voxel = float(np.prod(spacing)) / 1000
    return Lesion(core.astype(np.float32), cavity, mask, territory, stage, float(mask.sum()) * voxel)


def _shape(
    place: NDArray[np.bool_], spacing: tuple[float, float, float], volume: float, generator: np.random.Generator
) -> NDArray[np.bool_]:
    """The connected level set of a random field around a random site of ``place`` that fills ``volume`` mL of it."""
    candidates = np.argwhere(place)
    seed = candidates[generator.integers(len(candidates))]
    grids = np.ogrid[tuple(slice(0, count) for count in place.shape)]
    # An infarct follows its artery: wider along one random direction in the plane than across it.
    angle, stretch = generator.uniform(0, np.pi), generator.uniform(0.65, 1.0)
    through, down, across = ((grid - s) * pitch for grid, s, pitch in zip(grids, seed, spacing, strict=True))
    along = np.cos(angle) * down + np.sin(angle) * across
    aside = -np.sin(angle) * down + np.cos(angle) * across
    squared = through**2 + (stretch * along) ** 2 + (aside / stretch) ** 2
    radius = max((volume * 1000 * 3 / (4 * np.pi)) ** (1 / 3), 2.0)
    roughness = smooth_field(place.shape, spacing, max(0.35 * radius, 1.5), generator)
    score = 0.45 * roughness + 0.15 * smooth_field(place.shape, spacing, 2.0, generator) - squared / radius**2
    score = np.where(place, score, -np.inf)
    count = max(round(volume * 1000 / float(np.prod(spacing))), 12)
    threshold = np.partition(score[place], -count)[-count] if count < place.sum() else -np.inf
    shape = score >= threshold
    shape &= place
    parts, number = label(shape)
    if number > 1:
        sizes = np.bincount(parts.ravel())[1:]
        shape = np.isin(parts, 1 + np.flatnonzero(sizes >= max(0.1 * sizes.max(), 12)))
    return shape
