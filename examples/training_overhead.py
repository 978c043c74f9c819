"""What a training step costs beyond forward, backward and optimiser: reading, augmenting, averaging, reporting.

    python examples/training_overhead.py --data PREPARED [--config cpu] [--steps 40]

Prints the ratio of the time per step of ``train`` to that of the bare step on a batch that lies in memory, in
wall time and in processor time (which other load changes less; on a GPU only wall time means anything). Both
alternate, and the ratio is that of the medians, so that other load on the machine hits both alike.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from recon.configuration import load_config
from recon.prior.dataset import TrainingImages, open_folder
from recon.prior.denoiser import build_denoiser, low_precision
from recon.prior.options import TrainingOptions
from recon.prior.store import assign_contrast_labels
from recon.prior.training import Run, edm_loss, train


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--config", default="cpu")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--scans", type=int, default=40, help="prepared files to read")
    arguments = parser.parse_args()
    options = load_config(TrainingOptions, arguments.config)
    scans = open_folder(arguments.data)[: arguments.scans]
    contrast_labels = assign_contrast_labels({scan.contrast for scan in scans}, options.network.contrast_labels)
    images = TrainingImages(scans, contrast_labels, options)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    denoiser = build_denoiser(options.network, options.sigma_data, 0).to(device)
    batch = [images[i] for i in range(options.batch)]
    image = torch.stack([entry[0] for entry in batch]).to(device)
    contrast_label = torch.tensor([entry[1] for entry in batch], device=device)
    sigma = torch.tensor([entry[2] for entry in batch], device=device)
    noise = torch.stack([entry[3] for entry in batch]).to(device)
    optimiser = torch.optim.Adam(denoiser.parameters(), lr=1e-4, fused=True)

    def bare() -> None:
        with low_precision(device):
            loss = edm_loss(denoiser, image, contrast_label, sigma, noise, options.sigma_data)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        float(loss.detach())  # waits for a GPU

    whole: list[tuple[float, float]] = []
    alone: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        run = Run(denoiser, options, Path(folder))
        last = [clocks()]

        def step(stage: str, fraction: float) -> None:
            whole.append(passed(last[0]))
            started = clocks()
            bare()
            alone.append(passed(started))
            last[0] = clocks()

        train(run, images, step, stop_after=options.batch * arguments.steps)
    for name, which in (("wall time", 0), ("processor time", 1)):
        long = statistics.median(entry[which] for entry in whole[3:-1])
        short = statistics.median(entry[which] for entry in alone[3:-1])
        print(f"{name}: step {1e3 * long:.1f} ms, bare {1e3 * short:.1f} ms, ratio {long / short:.3f}")


def clocks() -> tuple[float, float]:
    """Wall and processor clock."""
    return time.perf_counter(), time.process_time()


def passed(since: tuple[float, float]) -> tuple[float, float]:
    """Wall and processor seconds since ``since``."""
    now = clocks()
    return now[0] - since[0], now[1] - since[1]


if __name__ == "__main__":
    main()
