"""Real FLAIR heads with lesion masks: is the local verdict OUTSIDE without the largest lesion, and inside for noise?

    python examples/encoder_drift/real_lesions.py --images 'HEADS/*_FLAIR.nii.gz' --mask-suffix _lesions

The mask of ``x_FLAIR.nii.gz`` is ``x_FLAIR_lesions.nii.gz`` beside it, on the same voxels. A lesion is a connected part
of the mask (26 neighbours). Noise is one more draw of the image's own noise; the erased image has such a draw, too.
"""

import argparse
import glob
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy import ndimage

from recon.encode.distance import cosine_distance
from recon.encode.drift import ReferenceView, view_reference
from recon.encode.encoders import load_encoder
from recon.encode.erasure import erase_lesion
from recon.encode.local_drift import LocalDrift, local_drift
from recon.encode.noise import add_noise
from recon.encode.options import DriftOptions
from recon.encode.volumes import Series, read_series
from recon.errors import ReconError, ReconWarning
from recon.images.slice_axis import header_slice_axis, voxel_spacing
from recon.seeding import numpy_generator


def verdict(view: ReferenceView, values: np.ndarray) -> LocalDrift:
    """The local verdict on ``values`` [readout, phase, slice] of the view's own voxels."""
    series, prepared = view.series, view.prepared
    assert view.noise_distances is not None
    moved = view.encoder.encode(
        view.encoder.prepare(series.in_pixel_type(values), series.affine, prepared.preprocessing)
    )
    distances = cosine_distance(view.embedding.tokens, moved.tokens)
    return local_drift(distances, view.noise_distances, moved.coords, prepared)


def largest_lesion(mask: np.ndarray) -> np.ndarray:
    """The largest connected part of a mask."""
    parts, count = ndimage.label(mask, np.ones((3, 3, 3)))
    if not count:
        raise ReconError("the mask is empty; there is no lesion to erase")
    return parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))


def about_lesion(series: Series, lesion: np.ndarray, slices: int) -> tuple[Series, np.ndarray]:
    """So many slices of a volume and its lesion, about the slice that has most of the lesion: an encoder that works
    slice by slice then takes seconds a volume."""
    assert series.affine is not None
    axis = header_slice_axis(series.affine).axis
    middle = int(lesion.sum(axis=tuple({0, 1, 2} - {axis})).argmax())
    first = max(min(middle - slices // 2, lesion.shape[axis] - slices), 0)
    taken = tuple(slice(first, first + slices) if each == axis else slice(None) for each in range(3))
    affine = series.affine.copy()
    affine[:3, 3] += first * affine[:3, axis]
    return replace(series, values=series.values[taken], affine=affine), lesion[taken]


def main() -> None:
    """Print one line a head and the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", required=True, help="pattern of NIfTI files, quoted")
    parser.add_argument("--mask-suffix", required=True, help="what a mask's name has before .nii.gz beyond its image's")
    parser.add_argument("--replicas", type=int, default=8)
    parser.add_argument("--slices", type=int, default=16, help="taken of each image, about the middle of the lesion")
    given = parser.parse_args()
    warnings.simplefilter("ignore", ReconWarning)  # that the level is estimated holds for all, and is said below
    encoder, options = load_encoder("recon-small"), DriftOptions(replicas=given.replicas)
    erased_outside = noise_outside = at_the_lesion = count = 0
    for path in sorted(map(Path, glob.glob(given.images))):
        series = read_series(path)
        mask = read_series(path.with_name(path.name.replace(".nii", f"{given.mask_suffix}.nii")))
        if series.affine is None or mask.values.shape != series.values.shape:
            raise ReconError(f"{path}: no affine, or the mask has other voxels")
        series, lesion = about_lesion(series, largest_lesion(mask.values > 0.5), given.slices)
        view = view_reference(encoder, series, options)
        level = view.noise_floor.noise_std
        noisy = add_noise(series.values, level, numpy_generator(1, "noise alone", path.name))
        without = erase_lesion(noisy, lesion, numpy_generator(1, "erased", path.name), noise_std=level)
        noise, erased = verdict(view, noisy), verdict(view, without)
        place = np.linalg.inv(series.affine) @ np.append(erased.place, 1.0)
        edges = voxel_spacing(series.affine)
        away = ndimage.distance_transform_edt(~lesion, sampling=edges)
        millimetres = float(away[tuple(np.clip(np.rint(place[:3]).astype(int), 0, np.array(lesion.shape) - 1))])
        volume = lesion.sum() * float(np.prod(edges)) / 1000
        count += 1
        noise_outside += not noise.inside
        erased_outside += not erased.inside
        at_the_lesion += not erased.inside and millimetres <= 8
        print(
            f"{path.name:<24} {volume:6.2f} mL  erased: {'inside' if erased.inside else 'OUTSIDE'} "
            f"(ratio {erased.ratio:.3g}, noise up to {max(erased.noise_ratios):.3g}; {millimetres:.0f} mm from the "
            f"lesion)  noise: {'inside' if noise.inside else 'OUTSIDE'}",
            flush=True,
        )
    print(
        f"OUTSIDE after erasing the largest lesion: {erased_outside} of {count} ({at_the_lesion} within 8 mm of it); "
        f"for noise alone: {noise_outside} of {count}, {1 / (given.replicas + 1):.0%} expected; noise level "
        "estimated from each image"
    )


if __name__ == "__main__":
    main()
