"""Blood in the brain: its relaxation times and its susceptibility, by its age.

The signs are those of Bradley, Radiology 189:15, 1993: deoxyhaemoglobin within red cells (acute) shortens T2; free
methaemoglobin (subacute) shortens T1; haemosiderin (chronic) shortens T2; all of them are paramagnetic, so gradient
echoes lose signal. The ranges are ours. The susceptibility of deoxygenated blood is 3.4 ppm (SI) times haematocrit
times the deoxygenated share (Spees et al., Magn Reson Med 45:533, 2001). Not simulated: the hyperacute bleeding, oedema
about it, tissue pushed aside, fluid levels, the distortion of echo-planar images.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from recon.errors import ReconError
from recon.simulate.options import STAGES
from recon.simulate.tissues import Tissue

Range = tuple[float, float]
BRAIN = ("grey", "white", "deep_grey")


@dataclass(frozen=True)
class BloodRanges:
    """Blood of one age: ratios to the person's grey matter, but for the last two."""

    t1: Range
    t2: Range  # at 3 T
    diffusivity: Range
    dephasing: Range  # R2' in 1/ms at 3 T; it grows with the field strength
    susceptibility: Range  # ppm above tissue (SI)


BLOOD: Mapping[str, BloodRanges] = {
    "acute": BloodRanges((1.0, 1.15), (0.25, 0.4), (0.5, 0.8), (0.03, 0.06), (0.5, 1.2)),
    "subacute": BloodRanges((0.3, 0.45), (1.1, 1.5), (0.9, 1.2), (0.005, 0.015), (0.2, 0.5)),
    "chronic": BloodRanges((1.05, 1.2), (0.35, 0.55), (1.2, 1.5), (0.04, 0.08), (0.5, 1.0)),
}


def blood(
    tissues: Mapping[str, Tissue], stage: str, field_strength: float, generator: np.random.Generator
) -> tuple[dict[str, Tissue], float]:
    """The tissues with blood in the place of brain tissue, and how much more magnetisable it is than tissue, in ppm.

    Raises ReconError for an unknown stage.
    """
    if stage not in BLOOD:
        raise ReconError(f"lesion stage {stage!r} is unknown; choose from {', '.join(STAGES)}")
    ranges, grey = BLOOD[stage], tissues["grey"]
    t1, t2, diffusivity, dephasing, susceptibility = (
        float(generator.uniform(*limits))
        for limits in (ranges.t1, ranges.t2, ranges.diffusivity, ranges.dephasing, ranges.susceptibility)
    )
    if t2 < 1:  # what shortens T2 grows with the field strength
        t2 = 1 - (1 - t2) * field_strength / 3.0
    filled = replace(
        grey,
        t1=grey.t1 * t1,
        t2=grey.t2 * t2,
        diffusivity=grey.diffusivity * diffusivity,
        dephasing=dephasing * field_strength / 3.0,
    )
    return {**tissues, **dict.fromkeys(BRAIN, filled)}, susceptibility
