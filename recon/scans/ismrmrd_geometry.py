"""Where the slices of an ISMRMRD file lie: positions and directions are in the patient's LPS there, in RAS+ here."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from recon.scans.ismrmrd_header import Encoding

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def _shown(encoding: Encoding, axis: int, spacing: float, samples: int) -> int:
    """Pixels of the image along an axis: its field of view, else its matrix, but never more than was measured."""
    field = encoding.recon_fov[axis]
    wanted = round(field / spacing) if np.isfinite(field) else encoding.recon_matrix[axis]
    return min(max(wanted, 1), samples)


def _directions(heads: NDArray) -> list[NDArray[np.float64]] | None:
    """Unit vectors along readout, phase and slice in LPS; None where the file does not say."""
    directions = [heads[0][name].astype(float) for name in ("read_dir", "phase_dir", "slice_dir")]
    stated = all(abs(np.linalg.norm(direction) - 1) < 0.01 for direction in directions)
    return directions if stated else None


def scan_geometry(
    encoding: Encoding, heads: NDArray, order: Mapping[int, int], readout: int, phase: int
) -> tuple[tuple[float, float, float] | None, NDArray[np.float64] | None, tuple[int, int]]:
    """Voxel size in mm, affine (readout, phase, slice) -> RAS+ mm, and the image shape without oversampling."""
    oversampling = encoding.encoded_matrix[0] / readout  # above 1 where a converter removed it
    in_plane = (encoding.encoded_fov[0] / oversampling / readout, encoding.encoded_fov[1] / phase)
    thickness = encoding.recon_fov[2]
    if not (np.isfinite([*in_plane, thickness]).all() and min(*in_plane, thickness) > 0):
        return (
            None,
            None,
            (
                min(max(encoding.recon_matrix[0], 1), readout),
                min(max(encoding.recon_matrix[1], 1), phase),
            ),
        )
    image_shape = (_shown(encoding, 0, in_plane[0], readout), _shown(encoding, 1, in_plane[1], phase))
    voxel = (in_plane[0], in_plane[1], thickness)
    centres = {order[int(head["idx"]["slice"])]: head["position"].astype(float) for head in heads[::-1]}
    directions = _directions(heads)
    if directions is None:
        return voxel, None, image_shape
    step = directions[2] * thickness
    if len(centres) > 1:
        step = (centres[len(centres) - 1] - centres[0]) / (len(centres) - 1)
        if np.linalg.norm(step) == 0:
            step = directions[2] * thickness
        voxel = (in_plane[0], in_plane[1], float(np.linalg.norm(step)))
    affine = np.eye(4)
    affine[:3, 0] = directions[0] * voxel[0]
    affine[:3, 1] = directions[1] * voxel[1]
    affine[:3, 2] = step
    # The position is the centre of the field of view, which the centred transform puts at index n // 2.
    affine[:3, 3] = centres[0] - affine[:3, :2] @ np.array([image_shape[0] // 2, image_shape[1] // 2], float)
    return voxel, _LPS_TO_RAS @ affine, image_shape


def volume_geometry(
    encoding: Encoding, heads: NDArray, matrix: tuple[int, int, int]
) -> tuple[tuple[float, float, float] | None, NDArray[np.float64] | None, tuple[int, int, int]]:
    """Of a 3-D scan whose slices lie along the readout: voxel size in mm along phase, partition and readout, affine
    (phase, partition, readout) -> RAS+ mm, and the shown positions along readout, phase and partition.

    ``matrix``: encoded positions along readout, phase and partition. The position of a header is the slab's centre."""
    oversampling = encoding.encoded_matrix[0] / matrix[0]  # above 1 where a converter removed it
    fields = np.asarray(encoding.encoded_fov) / (oversampling, 1, 1)
    if not (np.isfinite(fields).all() and fields.min() > 0):
        shown = [min(max(wanted, 1), size) for wanted, size in zip(encoding.recon_matrix, matrix, strict=True)]
        return None, None, (shown[0], shown[1], shown[2])
    spacing = [float(field) / size for field, size in zip(fields, matrix, strict=True)]
    rows, lines, partitions = (_shown(encoding, axis, spacing[axis], matrix[axis]) for axis in range(3))
    voxel = (spacing[1], spacing[2], spacing[0])
    directions = _directions(heads)
    if directions is None:
        return voxel, None, (rows, lines, partitions)
    affine = np.eye(4)
    affine[:3, :3] = np.stack([directions[1], directions[2], directions[0]], axis=1) * voxel
    centre = np.array([lines // 2, partitions // 2, rows // 2], float)
    affine[:3, 3] = heads[0]["position"].astype(float) - affine[:3, :3] @ centre
    return voxel, _LPS_TO_RAS @ affine, (rows, lines, partitions)
