"""The one measured-data object: what a scanner acquired, read slice by slice."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recon.contrast_names import canonical_contrast
from recon.header import UNSTATED, Header, identity_of

KspaceReader = Callable[[int], NDArray[np.complex64]]
ImageReader = Callable[[int], NDArray[np.float32]]


@dataclass(frozen=True)
class Scan:
    """One multi-coil Cartesian scan. No patient identity is carried.

    ``read_kspace(slice)`` gives complex64 ``[coil, readout, phase]``, centred, orthonormal FFT convention, with
    readout oversampling still in it; unsampled positions are exactly zero. Nothing is read before it is asked for.

    ``digest`` says which bytes a result was made from. ``identity`` names the random streams: masks, noise, samples. It
    hangs on what was measured (header, contrast, shape, voxel size) and on what was done to it since, never on k-space,
    whose last bits depend on the machine that computed it, nor on the file's name. Where it is not given it is made of
    the header. Scans that state nothing to tell them apart, not even a subject, then share their streams: each of
    their masks and noises is as random as before, they are only not independent of each other's.
    """

    path: Path
    digest: str  # SHA-256 of the file's content, and of what was done to it since: provenance
    shape: tuple[int, int, int, int]  # slice, coil, readout, phase
    read_kspace: KspaceReader
    mask: NDArray[np.bool_]  # [phase], or [readout, phase] for a 2-D mask; all True when fully sampled
    # Centred fully sampled extent (readout, phase); (0, 0) when there is none. Of ``calibration_kspace`` where the scan
    # has one, else of its own mask.
    calibration: tuple[int, int]
    image_shape: tuple[int, int]  # (readout, phase) after readout oversampling is removed and phase padding cropped
    contrast: str  # T1, T2, PD, FLAIR, DWI, T1POST ... or "unknown"; brought to this spelling, see contrast_names
    voxel_size: tuple[float, float, float] | None = None  # mm along readout, phase, slice
    affine: NDArray[np.float64] | None = None  # 4x4, (readout, phase, slice) index -> RAS+ mm (NIfTI convention)
    phase_limits: tuple[int, int] | None = None  # half-open range of phase lines that were encoded at all
    noise: NDArray[np.complex64] | None = None  # [coil, sample] noise scan
    noise_covariance: NDArray[np.complex128] | None = None  # [coil, coil], E[n n^H], as stored in the file
    calibration_kspace: KspaceReader | None = None  # separate calibration scan, same layout, zeros where not measured
    read_reference: ImageReader | None = None  # [readout, phase] magnitude reference stored in the file
    header: Header = UNSTATED
    source_digest: str | None = None  # digest of the scan that this file was made of
    identity: str = ""
    notes: tuple[str, ...] = ()  # for people: what of the file was left out or assumed

    def __post_init__(self) -> None:
        object.__setattr__(self, "contrast", canonical_contrast(self.contrast))
        if not self.identity:
            named = identity_of_header(self.header, self.contrast, self.shape, self.voxel_size)
            object.__setattr__(self, "identity", named)

    @property
    def name(self) -> str:
        """The file's name without suffix, as text that can be stored: bytes that are not UTF-8 as escapes."""
        return self.path.stem.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")

    @property
    def acceleration(self) -> float:
        """Encoded positions over acquired positions (padding outside the encoding limits does not count)."""
        mask = self.mask
        if self.phase_limits is not None:
            mask = mask[..., self.phase_limits[0] : self.phase_limits[1]]
        return float(mask.size / max(int(mask.sum()), 1))


def identity_of_header(
    header: Header,
    contrast: str,
    shape: tuple[int, int, int, int],
    voxel_size: tuple[float, float, float] | None,
) -> str:
    """The identity of a scan of which no other is known; see ``Scan``. ``contrast`` in the spelling of a scan."""
    known = [word for entry in header.known().items() for word in entry]
    return identity_of("scan", contrast, *shape, *map(float, voxel_size or ()), *known)
