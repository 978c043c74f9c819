"""The built-in head: the ICBM 152 average (2009a, nonlinear, symmetric; Fonov et al., NeuroImage 54:313, 2011).

The nilearn package ships it. Its template is stripped to the brain; a head without scalp is not what a scanner sees,
so the skull, the marrow and the scalp are layers by distance from the brain (``Anatomy.distance``), with the
thicknesses that ``recon.simulate.head`` draws for each subject.
"""

from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from recon.errors import ReconError
from recon.simulate.anatomy import CSF, DEEP_GREY, GREY, TISSUES, WHITE, Anatomy, AnatomySource
from recon.simulate.anatomy_grid import (
    brain_distance,
    deep_grey_weight,
    filled_brain,
    radiological,
    radiological_affine,
)
from recon.simulate.options import BUILTIN_ANATOMY

_HEIGHTS = (-50.0, 90.0)  # mm, MNI, of axial slices
_WHOLE = (-72.0, 104.0)


def builtin_sources(whole: bool = False) -> list[AnatomySource]:
    """The heads that come with the package: one; ``whole``: all of it, not only the heights of axial slices."""
    return [
        AnatomySource(
            BUILTIN_ANATOMY, BUILTIN_ANATOMY, None, partial(builtin_anatomy, whole) if whole else builtin_anatomy
        )
    ]


@lru_cache(maxsize=2)
def builtin_anatomy(whole: bool = False) -> Anatomy:
    """The ICBM 152 head from the nilearn package (1 mm), read from the installed files: nothing is downloaded.

    Raises ReconError when this release of nilearn does not ship the template.
    """
    import nibabel

    folder = _nilearn_data()
    volumes = []
    for name in ("t1", "gm", "wm"):
        path = folder / f"mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz"
        if not path.is_file():
            raise ReconError(
                f"{path}: the installed nilearn does not ship the ICBM 152 template; install nilearn 0.10-0.14"
            )
        image = nibabel.as_closest_canonical(nibabel.load(path))
        volumes.append(radiological(np.asarray(image.dataobj, np.float32)))
    affine = radiological_affine(np.asarray(image.affine), volumes[0].shape)
    # Only heights that are ever imaged: a quarter less to filter and to keep.
    ends = _WHOLE if whole else _HEIGHTS
    first, last = (round((height - affine[2, 3]) / affine[2, 0]) for height in ends)
    t1, grey, white = (volume[first : last + 1] for volume in volumes)
    affine[2, 3] += first * affine[2, 0]
    brain = filled_brain(t1 > 0)
    grey, white = grey / np.float32(255), white / np.float32(255)
    fractions = np.zeros((len(TISSUES), *t1.shape), np.float32)
    deep = deep_grey_weight(t1.shape, affine)
    fractions[WHITE] = white * brain
    fractions[GREY] = grey * (1 - deep) * brain
    fractions[DEEP_GREY] = grey * deep * brain
    fractions[CSF] = np.clip(1 - grey - white, 0, 1) * brain
    return Anatomy(
        subject=BUILTIN_ANATOMY,
        group=BUILTIN_ANATOMY,
        voxel_size=(1.0, 1.0, 1.0),
        affine=affine,
        brain=brain,
        source="ICBM 152 2009a symmetric (nilearn)",
        licence="ICBM 152 licence (free use with the copyright notice); nilearn BSD-3-Clause",
        kind="simulated",
        fractions=fractions,
        distance=brain_distance(brain, (1.0, 1.0, 1.0)),
        probabilistic=True,
    )


def _nilearn_data() -> Path:
    # Found without importing nilearn, which would take seconds for nothing but its folder.
    from importlib.util import find_spec

    found = find_spec("nilearn")
    if found is None or found.origin is None:
        raise ReconError("nilearn is not installed, and the built-in anatomy comes with it; run 'pip install nilearn'")
    return Path(found.origin).parent / "datasets" / "data"
