"""Grids of encoders: slice direction from the header, orientation, resampling, crop and pad, tokens, painting.

Volumes here are real arrays in the index order of their affine (4x4, index -> RAS+ mm), as NIfTI stores them.
"""

from dataclasses import dataclass
from typing import Any

import nibabel
import numpy as np
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform
from numpy.typing import NDArray
from scipy import ndimage

from recon.encode.pixel_type import truncated
from recon.errors import ReconError
from recon.images.slice_axis import SliceAxis, voxel_spacing

SHEAR = 1e-2  # cosine between axes that still counts as orthogonal


@dataclass(frozen=True, eq=False)
class Grid:
    """A volume on an encoder's grid, ``[depth, height, width]``; depth runs along the slice direction."""

    values: NDArray[np.float32]
    affine: NDArray[np.float64]  # (depth, height, width) index -> RAS+ mm


def check_volume(
    volume: NDArray[np.floating], affine: NDArray[np.float64] | None, what: str = "volume", least_slices: int = 2
) -> None:
    """Refuse what an encoder cannot place in space, for the first of ``volume_faults``. Raises ReconError."""
    for fault in volume_faults(volume, affine, least_slices):
        raise ReconError(f"{what}: {fault}")


def volume_faults(volume: NDArray[np.floating], affine: NDArray[np.float64] | None, least_slices: int = 2) -> list[str]:
    """Every reason to refuse a volume: a missing, degenerate or sheared affine, an array that is not 3-D, a single
    slice (unless ``least_slices`` is 1), values that are complex or not finite, no contrast at all. Empty when it can
    be encoded."""
    faults = []
    if affine is None:
        faults.append(
            "no affine, so its slice direction and voxel size are unknown; store one in the file, "
            "or give --voxel-size to assume axis-aligned voxels"
        )
    else:
        affine = np.asarray(affine)
        if affine.shape != (4, 4) or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
            faults.append("the affine is not an invertible 4x4 matrix; correct the file's header")
        else:
            edges = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
            if np.abs(edges.T @ edges - np.eye(3)).max() > SHEAR:
                faults.append("the affine is sheared (gantry tilt); resample it to orthogonal axes first")
    if volume.ndim != 3:
        faults.append(f"{volume.ndim}-D array of shape {volume.shape}; an encoder takes one 3-D volume")
    elif min(volume.shape) < least_slices or sorted(volume.shape)[1] < 2:
        faults.append(f"a single slice (shape {volume.shape}); an encoder of volumes needs several slices")
    if np.iscomplexobj(volume):
        faults.append("complex values; give the magnitude")
    elif not np.isfinite(volume).all():
        faults.append("NaN or infinite voxels; find out where they come from before encoding")
    elif volume.size and float(volume.max()) <= float(volume.min()):
        faults.append("every voxel has the same value; there is nothing to encode")
    return faults


def upstream_slice_axis(
    shape: tuple[int, ...], affine: NDArray[np.float64], zooms: tuple[float, ...] | None = None
) -> SliceAxis:
    """NeuroVFM's own rule, for comparison: axis 2 (RPI) when all spacings are equal, else the axis of unique size.

    ``zooms`` is the voxel size as the file's header states it, which is what upstream compares: norms of an oblique
    affine's columns differ in their last bits where the header says 1 x 1 x 1 mm. Without it they have to do.

    Fragile: 0.9999 mm beside 1 mm flips it on a 176x256x256 volume. Raises ReconError where upstream fails, on
    a cube with unequal spacing.
    """
    ornt = io_orientation(affine)
    spacing = voxel_spacing(affine) if zooms is None else zooms
    if len(set(spacing)) == 1:
        axis = int(np.flatnonzero(ornt[:, 0] == 2)[0])
        return SliceAxis(axis, "upstream's rule: all spacings equal, axis 2 of RPI")
    unique = [axis for axis in range(3) if shape.count(shape[axis]) == 1]
    if not unique:
        raise ReconError(
            f"volume of shape {tuple(shape)} with spacing {_millimetres(spacing)}: upstream's rule finds no slice axis "
            "of unique size; give --slice-axis 0, 1 or 2"
        )
    axis = min(unique, key=lambda candidate: shape[candidate])
    return SliceAxis(axis, f"upstream's rule: unique size {shape[axis]}")


def to_encoder_grid(
    volume: NDArray[np.floating],
    affine: NDArray[np.float64],
    slice_axis: int,
    spacing: tuple[float, float, float],
    multiple: tuple[int, int, int],
    what: str = "volume",
    pixel_type: np.dtype[Any] | None = None,
) -> Grid:
    """Orient to RPI, B-spline resample to ``spacing``, crop centrally to ``multiple``; depth first.

    ``spacing`` in mm and ``multiple`` in voxels are (depth, height, width). RPI: index 0 runs to the Right, 1 to
    Posterior, 2 to Inferior. A sagittal stack becomes (x, y, z), a coronal one (y, z, x), an axial one (z, y, x).
    With an integer ``pixel_type`` the resampled values are what ITK leaves of them in that type.

    Raises ReconError when less than one patch is left, naming the direction.
    """
    oriented, oriented_affine, axes = orient(volume, affine, "RPI")
    depth = int(np.flatnonzero(axes == slice_axis)[0])
    order = {2: (2, 1, 0), 1: (1, 2, 0), 0: (0, 1, 2)}[depth]
    target = np.empty(3)
    target[list(order)] = spacing
    resampled, resampled_affine = resample_bspline(oriented, oriented_affine, target)
    if pixel_type is not None:
        resampled = truncated(resampled, pixel_type)
    values = np.transpose(resampled, order)
    grid_affine = resampled_affine[:, [*order, 3]]
    size = np.array(values.shape) // multiple * multiple
    if (size == 0).any():
        direction = ("slice", "height", "width")[int(np.flatnonzero(size == 0)[0])]
        covered = " x ".join(f"{n * step:.0f}" for n, step in zip(values.shape, spacing, strict=True))
        needed = " x ".join(f"{n * step:.0f}" for n, step in zip(multiple, spacing, strict=True))
        raise ReconError(
            f"{what}: covers {covered} mm (slice, height, width), less than one token of {needed} mm along "
            f"{direction}; the encoder needs more slices or a larger field of view"
        )
    start = (np.array(values.shape) - size) // 2
    window = tuple(slice(int(a), int(a + n)) for a, n in zip(start, size, strict=True))
    grid_affine[:3, 3] = grid_affine[:3, :3] @ start + grid_affine[:3, 3]
    return Grid(np.ascontiguousarray(values[window], dtype=np.float32), grid_affine)


def orient(
    volume: NDArray[np.floating], affine: NDArray[np.float64], directions: str
) -> tuple[NDArray[np.floating], NDArray[np.float64], NDArray[np.int64]]:
    """Flip and permute axes so that they run to ``directions``, e.g. ``RPI`` or ``RAS``; no interpolation.

    Returns the array, its affine, and for each new axis the old one it came from.
    """
    transform = ornt_transform(io_orientation(affine), axcodes2ornt(tuple(directions)))
    oriented = apply_orientation(volume, transform)
    source = np.argsort(transform[:, 0]).astype(np.int64)
    return oriented, affine @ inv_ornt_aff(transform, volume.shape), source


def resample_bspline(
    volume: NDArray[np.floating], affine: NDArray[np.float64], spacing: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cubic B-spline resampling along the array's own axes to ``spacing`` mm, the first voxel centre kept.

    New size is int(size * old / new + 1e-4): 36 slices of 3.999997 mm stay 36 on a 4 mm grid, where upstream's plain
    int() makes 35 of them, and then 32 when it crops to whole patches. Mirror boundary; positions half a voxel or more
    beyond the last centre are zero, as in ITK's resampler. Nothing is smoothed before a coarser slice grid (as
    upstream).
    """
    old = np.array(voxel_spacing(affine))
    # 155 * 1.0000001 / 4 must not lose a slice to the last bit of a header's float32.
    shape = np.maximum((np.array(volume.shape) * old / spacing + 1e-4).astype(int), 1)
    step = np.asarray(spacing) / old
    coefficients = ndimage.spline_filter(volume.astype(np.float64), order=3, mode="mirror")
    values = ndimage.affine_transform(
        coefficients, step, output_shape=tuple(shape), order=3, mode="mirror", prefilter=False
    )
    for axis in range(3):
        outside = np.arange(shape[axis]) * step[axis] > volume.shape[axis] - 0.5 - 1e-9
        values[(slice(None),) * axis + (outside,)] = 0
    return values, affine @ np.diag([*step, 1.0])


def resize(
    volume: NDArray[np.floating], affine: NDArray[np.float64], shape: tuple[int, int, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The whole field of view stretched onto ``shape`` voxels, trilinear, outer edges aligned."""
    step = np.array(volume.shape) / shape
    offset = (step - 1) / 2
    values = ndimage.affine_transform(
        volume.astype(np.float64), step, offset, output_shape=shape, order=1, mode="nearest"
    )
    to_old = np.diag([*step, 1.0])
    to_old[:3, 3] = offset
    return values, affine @ to_old


def pad_to_multiple(grid: Grid, multiple: tuple[int, int, int]) -> Grid:
    """Zeros on all sides, as evenly as can be, until every edge is a multiple of so many voxels."""
    size = np.array(grid.values.shape)
    total = -size % np.array(multiple)
    before = total // 2
    values = np.pad(grid.values, [(int(a), int(b)) for a, b in zip(before, total - before, strict=True)])
    affine = grid.affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ before
    return Grid(values, affine)


def cut(grid: NDArray[Any], patch: tuple[int, int, int]) -> NDArray[Any]:
    """``[depth, height, width]`` to ``[patch depth, patch height, patch width, value]``, values in C order."""
    counts = [n // p for n, p in zip(grid.shape, patch, strict=True)]
    blocks = grid.reshape(counts[0], patch[0], counts[1], patch[1], counts[2], patch[2])
    return blocks.transpose(0, 2, 4, 1, 3, 5).reshape(*counts, -1)


def foreground_share(foreground: NDArray[np.bool_], patch: tuple[int, int, int]) -> NDArray[np.float64]:
    """Share of foreground voxels in every patch, ``[patch depth, patch height, patch width]``; 1 when all are."""
    return np.asarray(cut(foreground, patch).mean(axis=-1), np.float64)


def lattice_affine(grid_affine: NDArray[np.float64], patch: tuple[int, int, int]) -> NDArray[np.float64]:
    """Patch index -> RAS+ mm of the patch's centre, from the affine of the voxels."""
    to_voxel = np.diag([*map(float, patch), 1.0])
    to_voxel[:3, 3] = (np.array(patch) - 1) / 2
    return grid_affine @ to_voxel


def paint(
    token_values: NDArray[np.floating],
    coords: NDArray[np.int64],
    token_to_world: NDArray[np.float64],
    shape: tuple[int, int, int],
    affine: NDArray[np.float64],
) -> NDArray[np.float32]:
    """Values of tokens painted into a native volume: each voxel takes the token that its centre lies in, else 0.

    ``token_values`` [token], ``coords`` [token, 3] lattice indices; ``shape`` and ``affine`` of the native volume.
    """
    lattice_shape = tuple(coords.max(axis=0) + 1)
    lattice = np.zeros(lattice_shape, np.float32)
    lattice[tuple(coords.T)] = token_values
    native_to_token = np.linalg.inv(token_to_world) @ affine
    return ndimage.affine_transform(
        lattice, native_to_token[:3, :3], native_to_token[:3, 3], output_shape=shape, order=0, mode="grid-constant"
    )


def resample_onto(
    volume: NDArray[np.floating],
    affine: NDArray[np.float64],
    shape: tuple[int, int, int],
    target: NDArray[np.float64],
) -> NDArray[np.float32]:
    """A volume interpolated (cubic B-spline) onto another grid through the two affines; zero outside its own."""
    mapping = np.linalg.inv(affine) @ target
    return ndimage.affine_transform(
        volume.astype(np.float32), mapping[:3, :3], mapping[:3, 3], output_shape=shape, order=3, mode="constant"
    )


def same_grid(
    shape: tuple[int, ...], affine: NDArray[np.float64], other_shape: tuple[int, ...], other: NDArray[np.float64]
) -> bool:
    """Whether two volumes have the same voxels: equal shapes, corners within a tenth of a voxel."""
    if tuple(shape) != tuple(other_shape):
        return False
    corners = np.array([[x, y, z, 1] for x in (0, shape[0]) for y in (0, shape[1]) for z in (0, shape[2])]).T
    return bool(np.abs((affine - other) @ corners).max() < 0.1 * min(voxel_spacing(affine)))


def axis_codes(affine: NDArray[np.float64]) -> str:
    """Anatomical directions of the array's axes, e.g. ``LPS``."""
    return "".join(nibabel.aff2axcodes(affine))


def _millimetres(spacing: NDArray[np.float64] | tuple[float, ...]) -> str:
    return " x ".join(f"{edge:.6g}" for edge in spacing) + " mm"
