"""One simulated person: one head, one shape, one lesion, before any contrast is chosen."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from recon.errors import ReconError
from recon.simulate.anatomy import BRAIN_TISSUES, TISSUES, Anatomy, Kind
from recon.simulate.fields import smooth_field
from recon.simulate.haemorrhage import blood
from recon.simulate.head import tissue_grid
from recon.simulate.lesion_files import LesionFiles, atlas_territories, real_lesion
from recon.simulate.lesions import Lesion, draw_lesion, lesion_tissues
from recon.simulate.options import Plane, SimulationOptions
from recon.simulate.pose import Pose, pull_back
from recon.simulate.prescription import HEIGHTS, SlicePrescription, prescribe, scan_affine
from recon.simulate.sites import SiteProfile, find_site
from recon.simulate.tissues import Tissue, draw_tissues


@dataclass(frozen=True)
class Origin:
    """Where a subject comes from."""

    source: str  # the files or the template
    licence: str
    kind: Kind
    anatomy: str  # the head's name


@dataclass(frozen=True)
class Subject:
    """A person in the scanner, before any contrast is chosen. Grids are ``[slice, readout, phase]``."""

    name: str
    group: str  # the person: splits go by it
    origin: Origin
    brain: NDArray[np.bool_]
    fractions: NDArray[np.float32] | None  # [tissue, slice, readout, phase]; None: semi-synthetic
    measured: Mapping[str, NDArray[np.float32]]  # contrast -> magnitude, for semi-synthetic subjects
    coordinates: NDArray[np.float32]  # [3, slice, readout, phase] approximate MNI mm
    texture: NDArray[np.float32]  # relative variation of the relaxation times, zero mean
    voxel_size: tuple[float, float, float]  # mm along readout, phase, slice
    thickness: float  # mm
    affine: NDArray[np.float64]  # (readout, phase, slice) index -> RAS+ mm
    positions: NDArray[np.floating]  # mm along the slice axis, from the middle of the head
    mirrored: bool  # left and right of the anatomy are swapped
    tissues: Mapping[str, Tissue]
    lesioned_tissues: Mapping[str, Tissue] | None
    lesion: Lesion | None
    field_strength: float  # T
    susceptibility: float = 0.0  # of blood in the lesion, ppm above tissue; an infarct has none
    site: SiteProfile | None = None  # where the person is measured; None: a protocol of its own
    plane: Plane = "axial"
    files: str = ""  # what the names of its files begin with, where it is not the name

    @property
    def stem(self) -> str:
        """What the names of its files begin with."""
        return self.files or self.name


def simulate_subject(
    anatomy: Anatomy,
    name: str,
    options: SimulationOptions,
    generator: np.random.Generator,
    lesion_files: LesionFiles | None = None,
    heights: tuple[float, float] = HEIGHTS,
) -> Subject:
    """Draw a person from ``anatomy``: pose, deformation, sharpened tissue borders, skull, tissue parameters, a lesion.

    The slices lie between two MNI ``heights`` in mm. ``lesion_files`` gives real lesion shapes (chronic unless the
    options give a stage) or a territory atlas. Everything random comes from ``generator``.

    Raises ReconError when the anatomy has no brain there or the lesion's territory is not imaged.
    """
    prescription = prescribe(anatomy, options, generator, heights)
    return subject_on(anatomy, name, options, prescription, generator, lesion_files)


def subject_on(
    anatomy: Anatomy,
    name: str,
    options: SimulationOptions,
    prescription: SlicePrescription,
    generator: np.random.Generator,
    lesion_files: LesionFiles | None = None,
    strokes: tuple[float, float] | None = None,
) -> Subject:
    """As ``simulate_subject``, on the slices of ``prescription``; strokes lie between two MNI heights in mm."""
    spacing = prescription.spacing
    pose = pull_back(anatomy, prescription, generator)
    brain = pose.slab_average(anatomy.brain.astype(np.float32)) > 0.5
    if brain.sum() < 50:
        raise ReconError(f"{anatomy.source}, {anatomy.subject}: the chosen slices hold no brain; choose other slices")
    measured = _measured_images(anatomy, pose, spacing[1])
    fractions = tissue_grid(anatomy, pose, spacing, generator) if anatomy.fractions is not None else None
    world = np.tensordot(anatomy.affine[:3, :3], pose.coordinates, 1).astype(np.float32)
    world += anatomy.affine[:3, 3].astype(np.float32)[:, None, None, None]
    texture = 0.6 * smooth_field(prescription.shape, spacing, 4.0, generator)
    texture = texture + 0.8 * smooth_field(prescription.shape, spacing, 1.3, generator)
    field_strength = float(generator.choice([1.5, 3.0]))
    site = None if options.site is None else find_site(options.site)
    if site is not None:
        field_strength = site.field_strength
    tissues = draw_tissues(field_strength, generator)
    files = lesion_files or LesionFiles()
    lesion, lesioned, susceptibility = None, None, 0.0
    if options.stroke:
        tissue = _brain_tissue(fractions, brain, measured)
        if strokes is not None:
            tissue = tissue * ((world[2] > strokes[0]) & (world[2] < strokes[1]))
        lesion = _stroke(world, tissue, spacing, options, files, generator)
        if lesion.kind == "haemorrhage":
            lesioned, susceptibility = blood(tissues, lesion.stage, field_strength, generator)
        else:
            lesioned = lesion_tissues(tissues, lesion.stage, generator)
    # A lesion in the shape of a patient's is not wholly simulated.
    kind: Kind = "semi-synthetic" if lesion is not None and files.shapes else anatomy.kind
    return Subject(
        name=name,
        # Draws from a group average are as many persons; draws from one real head stay that person.
        group=name if anatomy.probabilistic else anatomy.group,
        origin=Origin(anatomy.source, anatomy.licence, kind, anatomy.subject),
        brain=brain,
        fractions=fractions,
        measured=measured,
        coordinates=world,
        texture=texture,
        voxel_size=(spacing[1], spacing[2], spacing[0]),
        thickness=prescription.thickness,
        affine=scan_affine(prescription, pose.centre),
        positions=prescription.heights - float(np.mean(prescription.heights)),
        mirrored=pose.mirrored,
        tissues=tissues,
        lesioned_tissues=lesioned,
        lesion=lesion,
        field_strength=field_strength,
        susceptibility=susceptibility,
        site=site,
    )


def _measured_images(anatomy: Anatomy, pose: Pose, pixel: float) -> dict[str, NDArray[np.float32]]:
    """The anatomy's real magnitudes by contrast, on the grid of the scan with pixels of ``pixel`` mm."""
    images = {}
    for contrast, volume in anatomy.measured.items():
        coarser = [max(pixel / size, 1.0) for size in anatomy.voxel_size[1:]]
        # Sampling a finer image at this pixel size would fold its fine detail: average it first.
        widths = [0.0, *(0.35 * np.sqrt(ratio**2 - 1) for ratio in coarser)]
        images[contrast] = pose.slab_average(gaussian_filter(volume, widths))
    return images


def _stroke(
    coordinates: NDArray[np.float32],
    tissue: NDArray[np.float32],
    spacing: tuple[float, float, float],
    options: SimulationOptions,
    files: LesionFiles,
    generator: np.random.Generator,
) -> Lesion:
    """A lesion as ``options`` and ``files`` ask for it; the arrays as for ``draw_lesion``."""
    if files.shapes:
        found = real_lesion(files.shapes, coordinates, tissue, spacing, generator, options.stage)
        return replace(found, kind=options.stroke_kind)
    atlas = atlas_territories(files.territories, coordinates) if files.territories is not None else None
    return draw_lesion(
        coordinates, tissue, spacing, generator, options.territory, options.stage, atlas, options.stroke_kind
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
