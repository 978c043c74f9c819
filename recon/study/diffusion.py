"""The apparent diffusion coefficient: ADC = ln(S0 / Sb) / b, from two images of one diffusion examination.

The map that scanners store and readers look at, noise and all, wherever there is signal. For a fit that knows of
Rician noise, with its standard deviation, see ``recon.quality.diffusion``.
"""

import numpy as np
from numpy.typing import NDArray

LARGEST = 4.0  # um^2/ms: above free water at body temperature there is nothing but noise


def apparent_diffusion(
    weighted: NDArray[np.floating], unweighted: NDArray[np.floating], b_value: float
) -> NDArray[np.float32]:
    """ADC in um^2/ms (1e-3 mm^2/s), clipped to 0 to 4, of magnitudes of one gain; ``b_value`` in s/mm^2.

    Where either image has no signal the ADC is 0.
    """
    signal = (weighted > 0) & (unweighted > 0)
    ratio = np.divide(unweighted, weighted, out=np.ones(weighted.shape), where=signal)
    return np.clip(1000.0 / b_value * np.log(ratio), 0, LARGEST).astype(np.float32)
