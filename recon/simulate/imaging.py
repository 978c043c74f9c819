"""One contrast of a subject: the signal equations applied to tissues, lesion and texture."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from recon.errors import ReconError
from recon.simulate.anatomy import BRAIN_TISSUES, CSF, FAT, GREY, MARROW, SCALP, TISSUES, WHITE
from recon.simulate.pulse_sequence import (
    GRADIENT_ECHOES,
    NOMINAL,
    UNWEIGHTED,
    PulseSequence,
    draw_sequence,
    tissue_signals,
)
from recon.simulate.sites import site_sequence
from recon.simulate.subject import Subject
from recon.simulate.susceptibility import echo_factor
from recon.simulate.tissues import Tissue


@dataclass(frozen=True)
class ContrastImage:
    """The magnitude ``[slice, readout, phase]`` (float32) and how it was made.

    Its mean over the brain is 1, but for the image at b = 0, which keeps its ratio to the diffusion-weighted image.
    """

    magnitude: NDArray[np.float32]
    sequence: PulseSequence
    measured: bool  # a real magnitude: the sequence only says how the lesion looks in it

    def parameters(self) -> dict[str, str | float]:
        """The sequence as a manifest holds it: kind, times in ms, b-value in s/mm^2."""
        found: dict[str, str | float] = {
            "sequence": "measured" if self.measured else self.sequence.kind,
            "tr_ms": round(self.sequence.repetition_time, 1),
            "te_ms": round(self.sequence.echo_time, 1),
        }
        if self.sequence.inversion_time:
            found["ti_ms"] = round(self.sequence.inversion_time, 1)
        if self.sequence.kind == "diffusion":
            found["b_value"] = self.sequence.b_value
        return found


def contrast_image(
    subject: Subject, contrast: str, generator: np.random.Generator, sequence: PulseSequence | None = None
) -> ContrastImage:
    """The subject's magnitude image in one contrast, with the timing of ``sequence`` or a timing drawn.

    For a semi-synthetic subject only its measured contrasts are possible. Raises ReconError otherwise.
    """
    drawn = sequence or draw_sequence(contrast, generator)  # drawn in any case: a site changes no other draw
    sequence = drawn if subject.site is None else site_sequence(contrast, subject.site)
    if subject.fractions is None:
        if contrast not in subject.measured:
            have = ", ".join(sorted(subject.measured))
            raise ReconError(f"{subject.origin.source}: only {have} was measured, {contrast} cannot be made from it")
        image = subject.measured[contrast].copy()
        if subject.lesion is not None:
            image *= _lesion_ratio(subject, sequence)
    else:
        image = np.abs(_mix(subject, sequence))
    if sequence.kind in GRADIENT_ECHOES and (factor := echo_factor(subject, sequence.echo_time)) is not None:
        image = image * np.abs(factor)
    mean = float(image[subject.brain].mean())
    if contrast in UNWEIGHTED and subject.fractions is not None:
        # One gain for the whole diffusion examination, or no diffusion coefficient could be had from its images.
        weighted = replace(sequence, b_value=NOMINAL[UNWEIGHTED[contrast]].b_value)
        mean = float(np.abs(_mix(subject, weighted))[subject.brain].mean())
    if not np.isfinite(mean) or mean <= 0:
        raise ReconError(f"{subject.origin.source}: the image has no signal in the brain")
    return ContrastImage((image / mean).astype(np.float32), sequence, measured=subject.fractions is None)


def _mix(subject: Subject, sequence: PulseSequence) -> NDArray[np.float32]:
    """Signed signal of the mixture: sum over tissues of fraction times signal, with lesion and texture."""
    assert subject.fractions is not None
    fractions = subject.fractions
    healthy = tissue_signals(subject.tissues, sequence)
    image = np.tensordot(healthy, fractions, 1)
    if subject.lesion is not None and subject.lesioned_tissues is not None:
        changed = tissue_signals(subject.lesioned_tissues, sequence)
        indices = [TISSUES.index(name) for name in BRAIN_TISSUES]
        brain = fractions[indices]
        difference = np.tensordot(changed[indices] - healthy[indices], brain, 1)
        image = image + subject.lesion.core * difference
        loss = subject.lesion.core * subject.lesion.cavity
        image = image * (1 - loss) + loss * healthy[CSF] * fractions[[CSF, *indices]].sum(0)
    # Relaxation times vary by a few per cent within a tissue: a first-order change of the signal with T1 and T2.
    slope = _relative_slope(subject.tissues, sequence)
    image = image + 0.04 * subject.texture * np.tensordot(slope * healthy, fractions, 1)
    return image.astype(np.float32)


def _relative_slope(tissues: Mapping[str, Tissue], sequence: PulseSequence) -> NDArray[np.float32]:
    """d ln S / d ln (T1 and T2 together) of every tissue, bounded: near a null the logarithm has no slope."""
    step = 0.02
    longer = {
        name: replace(tissue, t1=tissue.t1 * (1 + step), t2=tissue.t2 * (1 + step)) for name, tissue in tissues.items()
    }
    before, after = tissue_signals(tissues, sequence), tissue_signals(longer, sequence)
    slope = (after - before) / np.maximum(np.abs(before), 1e-3) / step
    # In fat and skin the texture is structure (septa, follicles), not relaxation: as strong as in muscle.
    slope[[FAT, SCALP, MARROW]] = 3.0
    return np.clip(slope, -3, 3).astype(np.float32)


def _lesion_ratio(subject: Subject, sequence: PulseSequence) -> NDArray[np.float32]:
    """What a lesion multiplies a measured magnitude with: the ratio of signals of white and grey matter."""
    assert subject.lesion is not None
    assert subject.lesioned_tissues is not None
    indices = [WHITE, GREY]
    healthy = float(np.abs(tissue_signals(subject.tissues, sequence)[indices]).mean())
    changed = float(np.abs(tissue_signals(subject.lesioned_tissues, sequence)[indices]).mean())
    fluid = float(np.abs(tissue_signals(subject.tissues, sequence)[CSF]))
    core, cavity = subject.lesion.core, subject.lesion.cavity
    ratio = 1 + core * (changed / healthy - 1)
    loss = core * cavity
    return (ratio * (1 - loss) + loss * fluid / healthy).astype(np.float32)
