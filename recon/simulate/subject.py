"""One simulated person: one head, one shape, one lesion, before any contrast is chosen."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from recon.errors import ReconError
from recon.simulate.anatomy import BRAIN_TISSUES, TISSUES, Anatomy
from recon.simulate.contrast import Tissue, draw_tissues
from recon.simulate.fields import smooth_field
from recon.simulate.geometry import pull_back, scan_affine, slab_average, slab_offsets, slice_heights
from recon.simulate.head import tissue_grid
from recon.simulate.lesion_files import LesionFiles, atlas_territories, real_lesion
from recon.simulate.lesions import Lesion, draw_lesion, lesion_tissues

# Narrower than this, a real scan folds; the simulator does not simulate folding, so it refuses.
_HEAD_WIDTH = 180.0  # mm


@dataclass(frozen=True)
class Subject:
    """A person in the scanner, before any contrast is chosen. Grids are ``[slice, readout, phase]``."""

    name: str
    group: str
    brain: NDArray[np.bool_]
    fractions: NDArray[np.float32] | None  # [tissue, slice, readout, phase]
    measured: Mapping[str, NDArray[np.float32]]  # contrast -> magnitude, for semi-synthetic subjects
    coordinates: NDArray[np.float32]  # [3, slice, readout, phase] approximate MNI mm
    texture: NDArray[np.float32]  # relative variation of the relaxation times, zero mean
    voxel_size: tuple[float, float, float]  # mm along readout, phase, slice
    affine: NDArray[np.float64]  # (readout, phase, slice) index -> RAS+ mm
    positions: NDArray[np.floating]  # mm along the slice axis, from the middle of the head
    tissues: Mapping[str, Tissue]
    lesioned_tissues: Mapping[str, Tissue] | None
    lesion: Lesion | None
    field_strength: float
    facts: Mapping[str, str | float | int]


def simulate_subject(
    anatomy: Anatomy,
    generator: np.random.Generator,
    *,
    name: str,
    size: int | tuple[int, int] = 192,
    field_of_view: float | None = None,
    slices: int = 8,
    thickness: float | None = None,
    stroke: bool = False,
    territory: str | None = None,
    stage: str | None = None,
    lesion_files: LesionFiles | None = None,
    field_strength: float | None = None,
    lowest: float = -18.0,
    highest: float = 62.0,
) -> Subject:
    """Draw a person from ``anatomy``: pose, deformation, sharpened tissue borders, skull, tissue parameters, a lesion.

    ``size`` is (readout, phase) or one number for both; ``field_of_view`` in mm is that of the readout, with square
    pixels (drawn from 220-250 when None). ``slices`` slices of ``thickness`` mm (drawn from 3-5 when None; less where
    the anatomy is thinner) are spread between ``lowest`` and ``highest`` mm MNI height, as far as the anatomy reaches.
    ``lesion_files`` gives real lesion shapes (chronic unless ``stage`` is given) or a territory atlas. Everything
    random comes from ``generator``.

    Raises ReconError when the anatomy has no brain there or the lesion's territory is not imaged.
    """
    shape = (size, size) if isinstance(size, int) else size
    if min(shape) < 16 or slices < 1:
        raise ReconError(f"size {shape} and {slices} slices: at least 16 pixels and one slice are needed")
    view = float(generator.uniform(220, 250)) if field_of_view is None else float(field_of_view)
    pixel = view / shape[0]
    if pixel * shape[1] < _HEAD_WIDTH:
        raise ReconError(
            f"size {shape[0]} x {shape[1]}: {pixel * shape[1]:.0f} mm along the phase direction cut the head off; "
            f"choose a wider matrix ({_HEAD_WIDTH:.0f} mm at least)"
        )
    heights, thickness, step = slice_heights(anatomy, slices, thickness, lowest, highest, generator)
    grid_shape, spacing = (len(heights), *shape), (step, pixel, pixel)
    centre, mirrored, coordinates = pull_back(anatomy, heights, shape, spacing, generator)
    samples = slab_offsets(anatomy, thickness)

    brain = slab_average(anatomy.brain.astype(np.float32), anatomy, coordinates, samples) > 0.5
    if brain.sum() < 50:
        raise ReconError(f"{anatomy.source}, {anatomy.subject}: the chosen slices hold no brain; choose other slices")
    measured = {}
    for key, volume in anatomy.measured.items():
        coarser = [max(pixel / size, 1.0) for size in anatomy.voxel_size[1:]]
        # Sampling a finer image at this pixel size would fold its fine detail: average it first.
        widths = [0.0, *(0.35 * np.sqrt(ratio**2 - 1) for ratio in coarser)]
        measured[key] = slab_average(gaussian_filter(volume, widths), anatomy, coordinates, samples)
    fractions = None
    if anatomy.fractions is not None:
        fractions = tissue_grid(anatomy, coordinates, samples, brain, spacing, generator)
    world = np.tensordot(anatomy.affine[:3, :3], coordinates, 1).astype(np.float32)
    world += anatomy.affine[:3, 3].astype(np.float32)[:, None, None, None]
    texture = 0.6 * smooth_field(grid_shape, spacing, 4.0, generator) + 0.8 * smooth_field(
        grid_shape, spacing, 1.3, generator
    )
    strength = float(field_strength if field_strength is not None else generator.choice([1.5, 3.0]))
    tissues = draw_tissues(strength, generator)
    lesion, lesioned = None, None
    if stroke:
        tissue = _brain_tissue(fractions, brain, measured)
        files = lesion_files or LesionFiles()
        if files.shapes:
            lesion = real_lesion(files.shapes, world, tissue, spacing, generator, stage)
        else:
            atlas = atlas_territories(files.territories, world) if files.territories is not None else None
            lesion = draw_lesion(world, tissue, spacing, generator, territory, stage, atlas)
        lesioned = lesion_tissues(tissues, lesion.stage, generator)
    facts: dict[str, str | float | int] = {
        "source": anatomy.source,
        "licence": anatomy.licence,
        "kind": anatomy.kind,
        "anatomy": anatomy.subject,
        "field_strength_t": strength,
        "slice_thickness_mm": round(thickness, 3),
        "mirrored": int(mirrored),
    }
    if lesion is not None:
        if lesion_files is not None and lesion_files.shapes:
            facts["kind"] = "semi-synthetic"  # the shape of the lesion is a patient's
        facts |= {
            "lesion_ml": round(lesion.volume, 3),
            "lesion_territory": lesion.territory,
            "lesion_stage": lesion.stage,
        }
    return Subject(
        name=name,
        # Draws from a group average are as many persons; draws from one real head stay that person.
        group=name if anatomy.probabilistic else anatomy.group,
        brain=brain,
        fractions=fractions,
        measured=measured,
        coordinates=world,
        texture=texture,
        voxel_size=(pixel, pixel, step),
        affine=scan_affine(shape, pixel, heights, step, centre),
        positions=heights - float(np.mean(heights)),
        tissues=tissues,
        lesioned_tissues=lesioned,
        lesion=lesion,
        field_strength=strength,
        facts=facts,
    )


def _brain_tissue(
    fractions: NDArray[np.float32] | None, brain: NDArray[np.bool_], measured: Mapping[str, NDArray[np.float32]]
) -> NDArray[np.float32]:
    """Fraction of brain tissue without CSF; of a measured image only an estimate by intensity."""
    if fractions is not None:
        return fractions[[TISSUES.index(name) for name in BRAIN_TISSUES]].sum(0)
    tissue = brain.astype(np.float32)
    for contrast, image in measured.items():
        typical = float(np.median(image[brain]))
        low, high = (0.55, 9.0) if contrast != "T2" else (0.4, 1.9)
        tissue *= (image > low * typical) & (image < high * typical)
    return gaussian_filter(tissue, (0, 0.6, 0.6))
