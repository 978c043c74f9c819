"""From tissue to signal: the textbook signal equations.

They are those of Bernstein, King and Zhou, Handbook of MRI Pulse Sequences, 2004.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from recon.errors import ReconError
from recon.simulate.anatomy import TISSUES
from recon.simulate.tissues import TISSUE_TABLE, Tissue

CONTRASTS = ("T1", "T1POST", "T2", "PD", "FLAIR", "DWI", "DWI-B0", "T2STAR")
GRADIENT_ECHOES = ("gradient-echo", "mprage", "t2star")  # kinds of sequence whose echo no pulse refocuses
UNWEIGHTED = {"DWI-B0": "DWI"}  # the image at b = 0 of a diffusion examination: same times, gain, noise


@dataclass(frozen=True)
class PulseSequence:
    """One contrast's timing in ms. ``kind``: "spin-echo", "gradient-echo", "t2star", "mprage", "inversion" or
    "diffusion"."""

    contrast: str
    kind: str
    repetition_time: float
    echo_time: float
    inversion_time: float = 0.0
    flip_angle: float = 90.0  # degrees
    b_value: float = 0.0  # s/mm^2
    fat_signal: float = 1.0  # what fat suppression leaves of fat and marrow
    contrast_agent: bool = False


NOMINAL: Mapping[str, PulseSequence] = {
    "T1": PulseSequence("T1", "spin-echo", 550, 10),
    "T1POST": PulseSequence("T1POST", "spin-echo", 550, 10, contrast_agent=True),
    "T2": PulseSequence("T2", "spin-echo", 5000, 100, fat_signal=0.8),
    "PD": PulseSequence("PD", "spin-echo", 3000, 18, fat_signal=0.8),
    "FLAIR": PulseSequence("FLAIR", "inversion", 9000, 100, inversion_time=2500, fat_signal=0.3),
    "DWI": PulseSequence("DWI", "diffusion", 5000, 80, b_value=1000, fat_signal=0.08),
    "DWI-B0": PulseSequence("DWI-B0", "diffusion", 5000, 80, b_value=0, fat_signal=0.08),
    "T2STAR": PulseSequence("T2STAR", "t2star", 650, 20, flip_angle=20),
}


def signal(tissue: Tissue, sequence: PulseSequence) -> float:
    """Magnitude of the transverse magnetisation at the echo, relative to that of pure water fully relaxed.

    spin-echo      M0 (1 - exp(-TR/T1)) exp(-TE/T2)
    gradient-echo  M0 sin a (1 - E1) / (1 - cos a E1) exp(-TE/T2), spoiled, E1 = exp(-TR/T1); its echo is so short
                   (3 ms) that R2' is left out
    t2star         the same with exp(-TE/T2*), 1/T2* = 1/T2 + R2'
    mprage         M0 (1 - 2 exp(-TI/T1) / (1 + exp(-TR/T1)))
    inversion      M0 (1 - 2 exp(-TI/T1) + exp(-TR/T1)) exp(-TE/T2)
    diffusion      M0 (1 - exp(-TR/T1)) exp(-TE/T2) exp(-b D)

    Raises ReconError for an unknown kind.
    """
    recovery = float(np.exp(-sequence.repetition_time / tissue.t1))
    decay = float(np.exp(-sequence.echo_time / tissue.t2))
    inverted = float(np.exp(-sequence.inversion_time / tissue.t1))
    if sequence.kind == "spin-echo":
        value = (1 - recovery) * decay
    elif sequence.kind in ("gradient-echo", "t2star"):
        if sequence.kind == "t2star":
            decay *= float(np.exp(-sequence.echo_time * tissue.dephasing))
        angle = np.deg2rad(sequence.flip_angle)
        value = float(np.sin(angle)) * (1 - recovery) / (1 - float(np.cos(angle)) * recovery) * decay
    elif sequence.kind == "mprage":
        value = (1 - 2 * inverted / (1 + recovery)) * decay
    elif sequence.kind == "inversion":
        value = (1 - 2 * inverted + recovery) * decay
    elif sequence.kind == "diffusion":
        value = (1 - recovery) * decay * float(np.exp(-sequence.b_value * tissue.diffusivity * 1e-3))
    else:
        raise ReconError(f"sequence kind {sequence.kind!r} is unknown")
    return tissue.density * value


def nulling_time(t1: float, repetition_time: float) -> float:
    """The inversion time in ms at which ``inversion`` nulls a tissue of this T1: T1 ln(2 / (1 + exp(-TR/T1)))."""
    return float(t1 * np.log(2 / (1 + np.exp(-repetition_time / t1))))


def draw_sequence(contrast: str, generator: np.random.Generator) -> PulseSequence:
    """A site's own version of ``contrast``: timings, fat suppression and, for T1, the kind of sequence, around the
    nominal. Raises ReconError for a contrast that is not in ``CONTRASTS``."""
    nominal = NOMINAL.get(contrast)
    if nominal is None:
        raise ReconError(f"contrast {contrast!r} cannot be simulated; choose from {', '.join(CONTRASTS)}")
    echo = nominal.echo_time * generator.uniform(0.85, 1.15)
    repetition = nominal.repetition_time * generator.uniform(0.85, 1.2)
    fat = float(np.clip(nominal.fat_signal * generator.uniform(0.5, 1.3), 0, 1))
    drawn = replace(nominal, echo_time=echo, repetition_time=repetition, fat_signal=fat)
    if contrast == "FLAIR":
        ideal = nulling_time(TISSUE_TABLE[3.0]["csf"].t1, repetition)
        return replace(drawn, inversion_time=ideal * generator.uniform(0.97, 1.03))
    if contrast == "T1":
        kind = generator.choice(["spin-echo", "spin-echo", "mprage", "gradient-echo"])
        if kind == "mprage":
            return replace(
                drawn,
                kind="mprage",
                repetition_time=generator.uniform(1900, 2400),
                inversion_time=generator.uniform(880, 1000),
                echo_time=3.0,
            )
        if kind == "gradient-echo":
            return replace(
                drawn,
                kind="gradient-echo",
                repetition_time=generator.uniform(200, 280),
                flip_angle=generator.uniform(65, 80),
                echo_time=3.0,
            )
    return drawn


def tissue_signals(tissues: Mapping[str, Tissue], sequence: PulseSequence) -> NDArray[np.float32]:
    """Signed signal of every tissue in the order of ``TISSUES``, float32 ``[tissue]``.

    The sign matters after an inversion: fractions of opposite sign cancel in one voxel before the magnitude is taken.
    """
    values = []
    for name in TISSUES:
        tissue = tissues[name]
        if sequence.contrast_agent and name in ("scalp", "marrow"):
            # Outside the blood-brain barrier gadolinium shortens T1: about 0.3 mM at 4 /mM/s (Rohrer 2005).
            tissue = replace(tissue, t1=1 / (1 / tissue.t1 + 0.3 * 4e-3))
        value = signal(tissue, sequence)
        values.append(value * sequence.fat_signal if name in ("fat", "marrow") else value)
    return np.asarray(values, np.float32)
