"""Every method with its calibration lines within the scan, measured apart, and both; with partial Fourier, too.

python examples/benchmarks/reference_scan.py [--size 128] [--methods sense,grappa,...]

One slice of a simulated T2 scan (8 coils, SNR 30, 24 calibration lines), every other line of it; the reference scan is
its FLAIR of the same person, five times as strong. Printed is a table of NRMSE against the noise-free truth.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recon.face import load_prior
from recon.quality.metrics import nrmse
from recon.reconstruction.methods import METHODS
from recon.reconstruction.options import ReconstructionOptions
from recon.reconstruction.pipeline import one_slice
from recon.scan import Scan
from recon.scans.derived import with_mask, with_slices
from recon.scans.opening import open_scan
from recon.simulate.cohort import simulate_cohort
from recon.simulate.options import SimulationOptions

LINES = 24
GAIN = 5
EDGES = {"whole": 0, "7/8": 1 / 8, "6/8": 2 / 8}  # parts of the lines that partial Fourier leaves out


def main() -> None:
    """Simulate, reconstruct, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--methods", default="zero-filled,sense,l1-wavelet,grappa,posterior")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scan, other = simulated(Path(folder), options.size)
        print("| | edge | own lines | reference apart | both |\n|---|---|---|---|---|")
        for method in options.methods.split(","):
            for edge, part in EDGES.items():
                figures = " | ".join(f"{one:.3f}" for one in errors(scan, other, method, round(part * options.size)))
                print(f"| {METHODS[method].title} | {edge} | {figures} |", flush=True)


def simulated(folder: Path, size: int) -> tuple[Scan, Scan]:
    """One slice in T2 and in FLAIR of one person, written to ``folder``."""
    settings = SimulationOptions(size=(size, size), slices=3, seed=3, coils=8, snr=30)
    simulate_cohort(folder, 1, ["T2", "FLAIR"], settings)
    of = {name: open_scan(next(folder.glob(f"*_{name}.h5"))) for name in ("T2", "FLAIR")}
    return with_slices(of["T2"], range(1, 2)), with_slices(of["FLAIR"], range(1, 2))


def errors(scan: Scan, other: Scan, method: str, left_out: int) -> list[float]:
    """NRMSE with own calibration lines, with those of a reference scan, and with both."""
    assert scan.read_reference is not None
    phase = scan.shape[3]
    centre = np.zeros(phase, bool)
    centre[phase // 2 - LINES // 2 : phase // 2 + LINES // 2] = True
    acquired = np.arange(phase) >= left_out
    every_other = (np.arange(phase) % 2 == 0) & acquired
    own = (every_other | centre) & acquired

    def reference(index: int) -> NDArray[np.complex64]:
        return (GAIN * other.read_kspace(index) * centre).astype(np.complex64)

    apart = replace(scan, calibration_kspace=reference, calibration=(scan.shape[2], LINES))
    needs_prior = METHODS[method].needs_prior
    chosen = ReconstructionOptions(method=method, **({"samples": 0} if needs_prior else {}))
    prior = load_prior(device="cpu") if needs_prior else None
    scans = (with_mask(scan, own), with_mask(apart, every_other), with_mask(apart, own))
    truth = scan.read_reference(0)
    return [nrmse(one_slice(one, 0, chosen, prior), truth) for one in scans]


if __name__ == "__main__":
    main()
