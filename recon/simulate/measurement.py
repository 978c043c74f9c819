"""A subject in the scanner: the complex image of one contrast, seen by a coil array, with noise."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recon.simulate.coils import coil_maps
from recon.simulate.imaging import ContrastImage, contrast_image
from recon.simulate.pulse_sequence import GRADIENT_ECHOES, UNWEIGHTED, PulseSequence
from recon.simulate.scanner import SimulatedKspace, background_phase, noise_correlation, simulate_kspace
from recon.simulate.sites import with_detail
from recon.simulate.subject import Subject
from recon.simulate.susceptibility import echo_factor


@dataclass(frozen=True)
class CoilArray:
    """The receivers of one examination; the same for all contrasts of a subject."""

    maps: NDArray[np.complex64]  # [slice, coil, readout, phase], sum_c |S_c|^2 = 1
    shading: NDArray[np.float32]  # [slice, readout, phase], what is left of the receive shading
    correlation: NDArray[np.complex64]  # [coil, coil] noise correlation


@dataclass(frozen=True)
class SimulatedScan:
    """What was measured and the truth behind it."""

    image: NDArray[np.complex64]  # [slice, readout, phase], noise-free, shading included: what A maps to the data
    acquired: SimulatedKspace
    contrast: ContrastImage


def draw_coils(subject: Subject, coils: int, generator: np.random.Generator) -> CoilArray:
    """A coil array around the subject's head. Between a fifth and two thirds (as a power) of its shading is left in the
    image, as after a scanner's intensity normalisation."""
    maps, total = coil_maps(
        subject.positions, subject.brain.shape[1:], subject.voxel_size[:2], coils, generator, subject.plane
    )
    power, strength = generator.uniform(0.2, 0.67), None
    if subject.site is not None:
        power, strength = subject.site.shading, subject.site.correlation
    strength = float(generator.uniform(0.05, 0.25)) if strength is None else strength
    return CoilArray(maps, total ** np.float32(power), noise_correlation(coils, generator, strength=strength))


def complex_image(
    subject: Subject,
    contrast: str,
    array: CoilArray,
    generator: np.random.Generator,
    sequence: PulseSequence | None = None,
) -> tuple[NDArray[np.complex64], ContrastImage]:
    """The noise-free complex image ``[slice, readout, phase]`` of one contrast: magnitude, shading and phase.

    Gradient echoes and diffusion carry the full background phase (air above the sinuses included), spin echoes a part.
    """
    made = contrast_image(subject, contrast, generator, sequence)
    x, y, z = subject.coordinates
    # Above the frontal and sphenoid sinuses the field bends: strongest near (0, 45, -25) mm.
    sinus = np.exp(-((x / 22) ** 2 + ((y - 45) / 26) ** 2 + ((z + 25) / 16) ** 2))
    strength = 1.0 if made.sequence.kind in (*GRADIENT_ECHOES, "diffusion") else 0.45
    spacing = (subject.voxel_size[2], *subject.voxel_size[:2])
    phase = background_phase(made.magnitude.shape, spacing, generator, strength, sinus)
    if made.sequence.kind in GRADIENT_ECHOES:
        factor = echo_factor(subject, made.sequence.echo_time)
        phase = phase if factor is None else phase + np.angle(factor)
    return (made.magnitude * array.shading * np.exp(1j * phase)).astype(np.complex64), made


def measure(
    subject: Subject,
    contrast: str,
    array: CoilArray,
    generator: np.random.Generator,
    *,
    snr: float,
    oversampling: int = 1,
    sequence: PulseSequence | None = None,
) -> SimulatedScan:
    """Fully sampled multi-coil k-space of one contrast at a stated SNR (see ``scanner.noise_scale``).

    ``sequence`` is the timing, where it is not to be drawn. The image at b = 0 has the noise of the diffusion-weighted
    image of that SNR, and so a higher SNR of its own.

    Raises ReconError for an unknown contrast or an SNR that is not positive.
    """
    image, made = complex_image(subject, contrast, array, generator, sequence)
    if contrast in UNWEIGHTED:
        snr *= float(made.magnitude[subject.brain].mean())  # 1 for all others, by their normalisation
    if subject.site is not None:
        image, snr = with_detail(image, subject.site.detail), snr / subject.site.noise
    acquired = simulate_kspace(
        image,
        array.maps,
        generator,
        snr=snr,
        brain=subject.brain,
        correlation=array.correlation,
        oversampling=oversampling,
    )
    return SimulatedScan(image, acquired, made)
