"""Heads from elsewhere (``--anatomy DIR``): labelled npz, labelled NIfTI, and real images in one contrast.

- ``*.npz`` with ``t1`` and ``labels`` ``[subject, slice, row, column]`` (or one subject's ``[slice, row, column]``):
  labels 0 background, 1 CSF, 2 grey, 3 white, 4 deep grey matter. Skull and scalp, which no label names, come from the
  image, and so does the partial volume of every voxel. An optional array ``groups`` names the person of each subject.
- NIfTI with whole numbers 0 to 3 (or 4), the same labels; skull and scalp are then the built-in layers.
- NIfTI whose name tells the contrast (``..._FLAIR.nii.gz``, T1, T1w, T2, PD, DWI): a real magnitude. Only its
  acquisition is simulated: semi-synthetic. Files of one subject on one grid are read together.

``licence.txt`` in the folder, if there, is quoted in every manifest.
"""

import re
from pathlib import Path

from recon.errors import ReconError
from recon.folders import entries
from recon.simulate.anatomy import AnatomySource
from recon.simulate.anatomy_names import contrast_of_name, contrast_pattern, person_of_name, stem_of_name
from recon.simulate.anatomy_nifti import image_sources, is_tissue_map, labelled_loader
from recon.simulate.anatomy_npz import npz_sources

_NOT_AN_IMAGE = re.compile(r"mask|lesion|seg|label|gt|dlmuse|dlwmls|atlas|lpba", re.IGNORECASE)


def find_anatomies(folder: str | Path) -> list[AnatomySource]:
    """Every head in ``folder`` (or in one file), in a fixed order.

    Raises ReconError when it does not exist, or holds nothing that can be used.
    """
    folder = Path(folder)
    if not folder.exists():
        raise ReconError(f"{folder}: no such folder; give --anatomy a folder with npz or NIfTI files")
    files = entries(folder, deep=True) if folder.is_dir() else [folder]
    sources: list[AnatomySource] = []
    images: dict[str, dict[str, Path]] = {}
    for path in files:
        name = path.name.lower()
        if name.endswith(".npz"):
            sources += npz_sources(path)
        elif name.endswith((".nii", ".nii.gz")):
            contrast = contrast_of_name(path.name)
            if _NOT_AN_IMAGE.search(path.name) is None and contrast is not None:
                key = f"{path.parent}/{re.sub(contrast_pattern(), '', stem_of_name(path))}"
                images.setdefault(key, {})[contrast] = path
            elif is_tissue_map(path):
                subject = stem_of_name(path)
                sources.append(AnatomySource(subject, person_of_name(subject), None, labelled_loader(path, subject)))
    for paths in images.values():
        sources += image_sources(paths)
    if not sources:
        raise ReconError(
            f"{folder}: no anatomy found; needed: npz with 't1' and 'labels', NIfTI tissue labels 0-4, or NIfTI images "
            "named by contrast (..._FLAIR.nii.gz)"
        )
    return sources
