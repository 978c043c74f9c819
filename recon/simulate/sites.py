"""Sites of simulated scans: what a scanner and its protocol fix, the same for every person measured there.

Without a site every subject has a protocol of its own. The sites are made up; none is that of a real vendor.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from recon.acquisition.fourier_numpy import to_image, to_kspace
from recon.errors import ReconError
from recon.simulate.pulse_sequence import NOMINAL, PulseSequence, nulling_time
from recon.simulate.tissues import TISSUE_TABLE


@dataclass(frozen=True)
class SiteProfile:
    """What a site fixes. ``noise``: noise standard deviation relative to what the SNR asked for gives. ``shading``: the
    power of the receive shading that is left. ``correlation``: strength of the coils' noise correlation. ``detail``:
    by what the highest spatial frequency of the image is multiplied, 1 at the lowest; above 1 it is sharpened."""

    name: str
    field_strength: float  # T
    echo_time: float  # over the nominal one
    repetition_time: float  # over the nominal one
    fat: float  # over the nominal signal that fat suppression leaves
    noise: float
    shading: float
    correlation: float
    detail: float


SITES = {
    site.name: site
    for site in (
        SiteProfile("site-a", 3.0, 1.0, 1.0, 1.0, 1.0, 0.35, 0.10, 1.0),
        SiteProfile("site-b", 3.0, 1.12, 0.9, 0.6, 1.15, 0.60, 0.20, 1.35),
        SiteProfile("site-c", 1.5, 0.88, 1.1, 1.2, 1.5, 0.25, 0.06, 0.7),
        SiteProfile("site-d", 1.5, 1.05, 0.95, 0.8, 1.25, 0.45, 0.15, 1.15),
    )
}


def find_site(name: str) -> SiteProfile:
    """The profile of that name. Raises ReconError for an unknown one."""
    if name not in SITES:
        raise ReconError(f"--site {name}: unknown; choose from {', '.join(SITES)}")
    return SITES[name]


def site_sequence(contrast: str, site: SiteProfile) -> PulseSequence:
    """The timing of a contrast at a site. Raises ReconError for a contrast that cannot be simulated."""
    nominal = NOMINAL.get(contrast)
    if nominal is None:
        raise ReconError(f"contrast {contrast!r} cannot be simulated; choose from {', '.join(NOMINAL)}")
    repetition = nominal.repetition_time * site.repetition_time
    inversion = nominal.inversion_time
    if inversion:
        inversion = nulling_time(TISSUE_TABLE[site.field_strength]["csf"].t1, repetition)
    return replace(
        nominal,
        echo_time=nominal.echo_time * site.echo_time,
        repetition_time=repetition,
        inversion_time=inversion,
        fat_signal=min(1.0, nominal.fat_signal * site.fat),
    )


def with_detail(image: NDArray[np.complex64], detail: float) -> NDArray[np.complex64]:
    """An image ``[..., readout, phase]`` whose spatial frequencies are multiplied by 1 at the lowest, ``detail`` at the
    edge of kspace, growing with the square of the frequency."""
    return image if detail == 1 else to_image(filtered(to_kspace(image), detail))


def filtered(kspace: NDArray[np.complex64], detail: float) -> NDArray[np.complex64]:
    """kspace ``[..., readout, phase]`` multiplied as ``with_detail`` says."""
    readout, phase = (np.arange(size) - size // 2 for size in kspace.shape[-2:])
    squares = (2 * readout[:, None] / len(readout)) ** 2 + (2 * phase / len(phase)) ** 2
    return (kspace * (1 + (detail - 1) * np.minimum(squares, 1.0))).astype(np.complex64)
