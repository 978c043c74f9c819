"""Tissue parameters: published means, and one subject's own values about them.

Sources of the means (the variation between subjects is ours, of the order of the published standard deviations):
T1 and T2 of white and grey matter at 3 T: Wansapura et al., J Magn Reson Imaging 9:531, 1999; T1 at 1.5 T and T1 of
CSF: Rooney et al., Magn Reson Med 57:308, 2007; T2 at 1.5 T and muscle: Stanisz et al., Magn Reson Med 54:507, 2005;
fat and marrow: de Bazelaire et al., Radiology 230:652, 2004; deep grey matter: Gelman et al., Magn Reson Med 45:71,
2001 and Wansapura; T2* of cortex, white matter and basal ganglia: Peters et al., Magn Reson Imaging 25:748, 2007 (R2'
= 1/T2* - 1/T2); water content (proton density): Whittall et al., Magn Reson Med 37:34, 1997; diffusivities:
Pierpaoli et al., Radiology 201:637, 1996.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from recon.errors import ReconError


@dataclass(frozen=True)
class Tissue:
    """Relaxation times in ms, proton density relative to water, diffusivity in 1e-3 mm^2/s, dephasing R2' in 1/ms."""

    t1: float
    t2: float
    density: float
    diffusivity: float
    dephasing: float = 0.0  # by fields within a voxel; a spin echo undoes it


TISSUE_TABLE: Mapping[float, Mapping[str, Tissue]] = {
    1.5: {
        "csf": Tissue(4200, 2000, 1.00, 3.0),
        "grey": Tissue(1188, 95, 0.83, 0.80, 0.0014),
        "white": Tissue(656, 72, 0.71, 0.70, 0.0012),
        "deep_grey": Tissue(1000, 82, 0.80, 0.73, 0.0053),
        "fat": Tissue(343, 58, 0.90, 0.05),
        "scalp": Tissue(1008, 44, 0.75, 1.40),
        "marrow": Tissue(549, 49, 0.50, 0.20),
    },
    3.0: {
        "csf": Tissue(4200, 2000, 1.00, 3.0),
        "grey": Tissue(1331, 110, 0.83, 0.80, 0.0061),
        "white": Tissue(832, 80, 0.71, 0.70, 0.0063),
        "deep_grey": Tissue(1150, 85, 0.80, 0.73, 0.016),
        "fat": Tissue(382, 68, 0.90, 0.05),
        "scalp": Tissue(1412, 50, 0.75, 1.40),
        "marrow": Tissue(586, 49, 0.50, 0.20),
    },
}


def draw_tissues(field_strength: float, generator: np.random.Generator, variation: float = 0.06) -> dict[str, Tissue]:
    """One subject's tissues: every parameter varies log-normally about the table, with the standard deviation
    ``variation`` of its logarithm (density a third of it, T1 of CSF a quarter, dephasing none).

    Raises ReconError for a field strength other than 1.5 or 3 T.
    """
    if field_strength not in TISSUE_TABLE:
        raise ReconError(f"field strength {field_strength} T has no tissue table; choose 1.5 or 3.0")

    def vary(value: float, relative: float) -> float:
        return value * float(np.exp(relative * generator.standard_normal()))

    drawn = {}
    for name, tissue in TISSUE_TABLE[field_strength].items():
        drawn[name] = Tissue(
            t1=vary(tissue.t1, variation if name != "csf" else variation / 4),
            t2=vary(tissue.t2, variation),
            density=min(vary(tissue.density, variation / 3), 1.0),
            diffusivity=vary(tissue.diffusivity, variation),
            dephasing=tissue.dephasing,
        )
    return drawn
