"""The noise of a scan in its image."""

from recon.reconstruction.options import ReconstructionOptions
from recon.reconstruction.pipeline import solver_for
from recon.reconstruction.shown import shown_noise
from recon.scan import Scan


def image_noise(scan: Scan) -> float:
    """Noise per real component in the image of a fully sampled scan, in its units: the median over its middle slice.

    The noise covariance of the coils, carried through whitening and combination. Raises ReconError when the scan has no
    usable calibration.
    """
    middle = scan.shape[0] // 2
    solver = solver_for(scan, ReconstructionOptions(method="zero-filled", coils=scan.shape[1]))
    return shown_noise(solver.prepare(range(middle, middle + 1)).problem)
