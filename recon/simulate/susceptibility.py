"""What blood does to the main field about it, and what gradient echoes lose by it: why haemorrhages bloom.

    field      dB / B0 = F^-1 (1/3 - k_B^2 / |k|^2) F chi      (Salomir et al., Concepts Magn Reson B 19:26, 2003)
    in a voxel S / S0 = mean over the slice of exp(2 pi i f TE), times |sinc(G d TE)| along either edge d in the plane

Simplified: chi is that of the lesion on the scan's slices, straight lines between them, so a clot is one smooth body
and blooms little (small dense deposits bloom more); fields of air, bone and veins are not simulated, nor distortion.
"""

import numpy as np
from numpy.typing import NDArray

from recon.acquisition.fourier_numpy import to_image, to_kspace
from recon.simulate.subject import Subject

HZ_PER_TESLA_AND_PPM = 42.577
VOLUME = (0, 1, 2)
MARGIN = 32.0  # mm of nothing above and below the slices: no field comes in again at the other side
FINE = 2.5  # mm between the planes in which the field is calculated, at most


def echo_factor(subject: Subject, echo_time: float) -> NDArray[np.complex64] | None:
    """What the field of blood multiplies the image of a gradient echo at ``echo_time`` ms with, ``[slice, readout,
    phase]``: signal lost in a voxel (0 to 1) and phase; None without blood."""
    if subject.lesion is None or not subject.susceptibility:
        return None
    content = np.asarray(subject.susceptibility * subject.lesion.core * (1 - subject.lesion.cavity), np.float32)
    readout, phase, between = subject.voxel_size
    along = 0 if subject.plane == "axial" else 1  # the main field points out of axial slices, along sagittal ones
    planes = 2 * int(np.ceil((between / FINE - 1) / 2)) + 1  # odd: one in the middle of each slice
    fine, outside = _between_slices(content, planes, between)
    shift = field_shift(fine, (between / planes, readout, phase), along)[outside : len(fine) - outside]
    field = np.float32(HZ_PER_TESLA_AND_PPM * subject.field_strength) * shift  # Hz
    seconds = np.float32(echo_time * 1e-3)
    turned = np.exp(2j * np.pi * field * seconds).astype(np.complex64)
    for axis in (1, 2):
        if field.shape[axis] > 1:
            turned *= np.abs(np.sinc(np.gradient(field, axis=axis) * seconds)).astype(np.float32)  # per voxel: G d
    height = (np.arange(planes) - planes // 2) * between / planes
    seen = np.abs(height) <= subject.thickness / 2 + 1e-6
    parts = turned.reshape(len(content), planes, *turned.shape[1:])
    return np.asarray(parts[:, seen].mean(axis=1), np.complex64)


def field_shift(
    susceptibility: NDArray[np.floating], spacing: tuple[float, float, float], along: int
) -> NDArray[np.float32]:
    """dB / B0 by ``susceptibility``, both in ppm, on one grid of ``spacing`` mm; ``along``: the main field's axis.

    The grid must reach beyond what is magnetised: the field comes in again at the other side."""
    shape = susceptibility.shape
    axes = (
        ((np.arange(count) - count // 2) / (count * pitch)) ** 2 for count, pitch in zip(shape, spacing, strict=True)
    )
    squares = np.meshgrid(*axes, indexing="ij", sparse=True)
    length = squares[0] + squares[1] + squares[2]
    kernel = np.where(length > 0, 1 / 3 - squares[along] / np.where(length > 0, length, 1), 0)
    return np.asarray(to_image(to_kspace(susceptibility, VOLUME) * kernel, VOLUME).real, np.float32)


def _between_slices(content: NDArray[np.float32], planes: int, between: float) -> tuple[NDArray[np.float32], int]:
    """``planes`` for each slice by straight lines, the last slices repeated to their edges, and as many empty planes at
    either end as the second number says."""
    places = np.clip((np.arange(len(content) * planes) - planes // 2) / planes, 0, len(content) - 1)
    below = np.minimum(places.astype(int), max(len(content) - 2, 0))
    above = np.minimum(below + 1, len(content) - 1)
    share = (places - below).astype(np.float32)[:, None, None]
    outside = round(MARGIN * planes / between)
    filled = content[below] * (1 - share) + content[above] * share
    return np.pad(filled, ((outside, outside), (0, 0), (0, 0))), outside
