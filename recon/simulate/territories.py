"""Where strokes occur: approximate arterial territories in MNI coordinates.

Own geometry from published descriptions: Tatu et al., Neurology 50:1699, 1998 (cerebral hemispheres) and 47:1125, 1996
(brainstem and cerebellum); shares of infarcts from Ng et al., Stroke 38:2309, 2007 (MCA 51 %, small vessel 13 %,
PCA 7 %, cerebellum 7 %, ACA 5 %; the rest, brainstem and several territories at once, is not simulated). Borders
between territories vary by centimetres between people (van der Zwan et al., J Neurosurg 77:927, 1992), so coarse
borders are no less real than fine ones.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

# Share of infarcts by territory; renormalised to those that the imaged slices contain.
TERRITORY_SHARES: Mapping[str, float] = {"MCA": 0.51, "ACA": 0.05, "PCA": 0.07, "lacunar": 0.13, "cerebellar": 0.07}

# Share of intracerebral haemorrhages, rounded by us, at the sites of Qureshi et al., N Engl J Med 344:1450, 2001: half
# lie deep, where the perforating arteries run, a third in the lobes; the brainstem is not simulated.
HAEMORRHAGE_SHARES: Mapping[str, float] = {"lacunar": 0.55, "MCA": 0.22, "PCA": 0.08, "ACA": 0.05, "cerebellar": 0.1}


def territory_masks(
    x: NDArray[np.floating], y: NDArray[np.floating], z: NDArray[np.floating]
) -> dict[str, NDArray[np.bool_]]:
    """Territories of both sides from MNI coordinates in mm (right, anterior, superior; arrays of one shape).

    Returns bool arrays of that shape by name. MCA, ACA, PCA and cerebellar do not overlap; lacunar sites (perforating
    arteries: striatum, internal capsule, thalamus, corona radiata) lie within the others. The caller intersects them
    with the brain.
    """
    side = np.abs(x)
    infratentorial = (z < -14 - 0.35 * np.clip(-y - 40, -40, 40)) & (y < -32) & (side < 58)
    # The anterior cerebral artery runs along the midline: a strip that is widest at the frontal pole and the vertex.
    width = 13 + 9 * np.clip((y - 10) / 45, 0, 1) + 9 * np.clip((z - 35) / 35, 0, 1)
    anterior = (side < width) & (y > -48) & ((z > 22) | ((y > 22) & (z > -22)))
    # The posterior cerebral artery: occipital lobe, medial and inferior temporal lobe, thalamus.
    occipital = (y < -62 - 0.30 * np.clip(side - 15, 0, 40) - 0.25 * np.clip(z - 15, 0, 40)) & (z < 45)
    medial = (side < 20) & (y < -46) & (z < 40)
    temporal = (z < -4 - 0.25 * np.clip(side - 20, 0, 40)) & (y < -18) & (side < 48)
    thalamus = (side < 19) & (y > -34) & (y < -4) & (z > -6) & (z < 18)
    posterior = (occipital | medial | temporal | thalamus) & ~infratentorial & ~anterior
    middle = ~(anterior | posterior | infratentorial) & (side > 10) & (z > -32)
    striatum = (side > 9) & (side < 32) & (y > -22) & (y < 20) & (z > -8) & (z < 20)
    radiata = (side > 16) & (side < 32) & (y > -32) & (y < 22) & (z >= 20) & (z < 36)
    return {
        "MCA": middle,
        "ACA": anterior,
        "PCA": posterior,
        "lacunar": striatum | radiata | (thalamus & (side > 4)),
        "cerebellar": infratentorial,
    }
