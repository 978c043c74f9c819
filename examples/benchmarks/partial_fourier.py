"""Every method on a scan whose one edge of kspace was not acquired, with all other lines and with every other one.

python examples/benchmarks/partial_fourier.py [--size 128] [--methods sense,grappa,...]

The slice is the T2 scan of reference_scan.py (simulated, 8 coils, SNR 30, 24 calibration lines). Printed is a table of
NRMSE against the noise-free truth; 7/8 of the lines' range is acquired, or 6/8.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from reference_scan import EDGES, LINES, simulated

from recon.face import load_prior
from recon.quality.metrics import nrmse
from recon.reconstruction.methods import METHODS
from recon.reconstruction.options import ReconstructionOptions
from recon.reconstruction.pipeline import one_slice
from recon.scan import Scan
from recon.scans.derived import with_mask

ORDER = "zero-filled,sense,l1-wavelet,grappa,posterior"


def main() -> None:
    """Simulate, reconstruct, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--methods", default=ORDER)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scan, _ = simulated(Path(folder), options.size)
        columns = [(edge, step) for step in (1, 2) for edge in ("7/8", "6/8")]
        print("| | " + " | ".join(f"R = {step}, {edge}" if step > 1 else edge for edge, step in columns) + " |")
        print("|---|--|--|--|--|")
        for method in options.methods.split(","):
            figures = [error(scan, method, partial(options.size, EDGES[edge], step)) for edge, step in columns]
            print(f"| {METHODS[method].title} | " + " | ".join(f"{one:.3f}" for one in figures) + " |", flush=True)


def partial(size: int, left_out: float, step: int) -> NDArray[np.bool_]:
    """Mask ``[phase]``: every ``step``-th line and the calibration lines, without a part of the range at one edge."""
    lines = np.arange(size)
    wanted = (lines % step == 0) | (abs(lines - size / 2 + 0.5) < LINES / 2)
    return wanted & (lines >= round(left_out * size))


def error(scan: Scan, method: str, mask: NDArray[np.bool_]) -> float:
    """NRMSE of one method against the noise-free truth."""
    assert scan.read_reference is not None
    needs_prior = METHODS[method].needs_prior
    chosen = ReconstructionOptions(method=method, **({"samples": 0} if needs_prior else {}))
    prior = load_prior(device="cpu") if needs_prior else None
    return nrmse(one_slice(with_mask(scan, mask), 0, chosen, prior), scan.read_reference(0))


if __name__ == "__main__":
    main()
