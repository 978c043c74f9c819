"""How long after the last line the first and the last image of a streamed scan are there, over the offline run.

python examples/benchmarks/streaming_latency.py [--slices 8] [--size 128] [--method posterior] [--runs 3]

A simulated scan (interleaved slices, twofold undersampled) is sent to a server in a process of its own, as fast as it
takes it, and reconstructed by 'recon reconstruct' of the same options; both are timed with the prior loaded: the
offline run is the pipeline's own time, from the open file to the finished result. Printed are medians.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import torch

from recon.prior.store import load_prior, shipped_prior
from recon.reconstruction.methods import METHODS
from recon.reconstruction.options import ReconstructionOptions
from recon.reconstruction.pipeline import reconstruct
from recon.scans.opening import open_scan
from recon.streaming.sending import send_scan


def main() -> None:
    """Simulate, time both ways, print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=8)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--method", default="posterior")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        file = simulated(Path(folder), options.slices, options.size)
        chosen = ReconstructionOptions(method=options.method)
        prior = load_prior(shipped_prior(), "cpu") if METHODS[options.method].needs_prior else None
        offline = []
        for _ in range(options.runs):
            began = time.monotonic()
            reconstruct(open_scan(file), prior, chosen)
            offline.append(time.monotonic() - began)
        first, last = streamed(file, options.method, options.runs)
    whole = median(offline)
    print(f"{options.slices} slices, {options.method}: offline {whole:.2f} s")
    print(f"first image {first:.2f} s after the last line ({first / whole:.2f} of the offline run)")
    print(f"last image {last:.2f} s after the last line ({last / whole:.2f} of the offline run)")


def simulated(folder: Path, slices: int, size: int) -> Path:
    """A simulated scan, twofold undersampled."""
    command = [sys.executable, "-m", "cli"]
    full = [*command, "simulate", "--out", folder, "--subjects", 1, "--size", size, "--slices", slices, "--coils", 8]
    subprocess.run([str(word) for word in full], check=True, capture_output=True)
    (source,) = folder.glob("*.h5")
    fast = [*command, "undersample", source, "--acceleration", 2, "--out", folder / "fast" / "scan.h5"]
    subprocess.run([str(word) for word in fast], check=True, capture_output=True)
    return folder / "fast" / "scan.h5"


def streamed(file: Path, method: str, runs: int) -> tuple[float, float]:
    """Median seconds from the last line to the first and to the last image."""
    command = [sys.executable, "-m", "cli", "serve", "--port", "0", "--method", method, "--threads", "1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        try:
            found = re.search(r":(\d+),", server.stderr.readline())
            assert found is not None
            received = [send_scan(file, "127.0.0.1", int(found[1])) for _ in range(runs)]
        finally:
            server.terminate()
    return median(entry.first_image for entry in received), median(entry.last_image for entry in received)


if __name__ == "__main__":
    main()
