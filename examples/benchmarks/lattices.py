"""Every method on masks with gaps along both axes, as slices of 3-D scans have them: CAIPIRINHA's lattice and Poisson
discs of the same number of samples.

python examples/benchmarks/lattices.py [--size 96] [--methods sense,grappa,...]

Two slices of a simulated T1 scan (12 coils, SNR 30, 24 x 24 calibration samples). Printed is a table of NRMSE against
the noise-free truth, the mean of both slices. GRAPPA takes lattices only.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

from recon.acquisition.masks import caipirinha_mask, poisson_mask
from recon.errors import ReconError
from recon.face import load_prior
from recon.prior.store import Prior
from recon.quality.metrics import nrmse
from recon.reconstruction.methods import METHODS
from recon.reconstruction.options import ReconstructionOptions
from recon.reconstruction.pipeline import one_slice
from recon.scan import Scan
from recon.scans.derived import with_mask
from recon.scans.opening import open_scan
from recon.simulate.cohort import simulate_cohort
from recon.simulate.options import SimulationOptions

CALIBRATION = (24, 24)
ACCELERATIONS = (2, 4, 6)


def main() -> None:
    """Simulate, reconstruct, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--methods", default="zero-filled,sense,l1-wavelet,grappa,posterior")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        settings = SimulationOptions(size=(options.size, options.size), slices=2, seed=3, coils=12, snr=30)
        simulate_cohort(Path(folder), 1, ["T1"], settings)
        scan = open_scan(next(Path(folder).glob("*_T1.h5")))
        scans = dict(arms(scan))
        print(f"| | {' | '.join(scans)} |\n|{'---|' * (len(scans) + 1)}")
        for method in options.methods.split(","):
            prior = load_prior(device="cpu") if METHODS[method].needs_prior else None
            figures = " | ".join(error(one, scan, method, prior) for one in scans.values())
            print(f"| {METHODS[method].title} | {figures} |", flush=True)


def arms(scan: Scan) -> list[tuple[str, Scan]]:
    """The faster scans, with a name for each."""
    found = []
    for rate in ACCELERATIONS:
        plane = (scan.shape[2], scan.shape[3])
        lattice = caipirinha_mask(plane, rate, CALIBRATION, np.random.default_rng(rate))
        net = lattice.size / lattice.sum()
        discs = poisson_mask(plane, net, CALIBRATION, np.random.default_rng(rate), elliptical=False)
        found += [(f"lattice {rate}x ({net:.2f} net)", with_mask(scan, lattice))]
        found += [(f"Poisson {net:.2f}", with_mask(scan, discs))]
    return found


def error(fast: Scan, full: Scan, method: str, prior: Prior | None) -> str:
    """NRMSE in the mean of the slices, or a dash where the method does not take the mask."""
    chosen = ReconstructionOptions(method=method, **({} if prior is None else {"samples": 0}))
    assert full.read_reference is not None
    try:
        images = [one_slice(fast, index, chosen, prior) for index in range(full.shape[0])]
    except ReconError as refusal:
        if "it fills lattices, not irregular masks" not in str(refusal):
            raise
        return "–"
    return f"{np.mean([nrmse(image, full.read_reference(index)) for index, image in enumerate(images)]):.3f}"


if __name__ == "__main__":
    main()
