"""Where priors lose: the denoising error by noise level, contrast and region, of several priors on the same images.

    python examples/benchmarks/denoising_error.py PREPARED --prior shipped --prior other/ [--slices 48]

PREPARED is a folder of ``recon prepare``. The persons are those that the first prior's training held out, as long as
the folder is the one that it was trained on; else nobody was held out, and its error is better than it deserves.
Printed: the mean squared error per real component inside the head over sigma^2 (1: the noise is all still there), and
for every prior after the first the ratio to the first. Edges are the fifth of the head with the steepest magnitude.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from torch import Tensor

from recon.evenly import evenly_spread
from recon.prior.dataset import PreparedScan, open_folder, split_by_subject, unit_noise
from recon.prior.denoiser import UNKNOWN_CONTRAST_LABEL, denoise
from recon.prior.pretraining import split_seed_of
from recon.prior.store import Prior, load_prior, shipped_prior
from recon.seeding import torch_generator

SIGMAS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
EDGES = 0.8  # quantile of the magnitude's gradient in the head


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--prior", action="append", required=True, help="folder of a prior, or 'shipped'")
    parser.add_argument("--slices", type=int, default=48, help="slices in all")
    arguments = parser.parse_args()
    priors = [load_prior(shipped_prior() if name == "shipped" else name) for name in arguments.prior]
    scans = open_folder(arguments.data)
    options = priors[0].facts.training.get("options", {})
    fraction = float(options.get("validation_fraction", 0.1))
    _, held = split_by_subject(scans, fraction, split_seed_of(priors[0].facts))
    cases = chosen(held, arguments.slices)
    print(f"{len(cases)} slices of {len({scan.subject for scan, _ in cases})} persons")
    found = [errors(prior, cases) for prior in priors]
    print("| images | " + " | ".join(f"sigma {sigma:g}" for sigma in SIGMAS) + " |")
    print("|---" * (len(SIGMAS) + 1) + "|")
    for group in found[0]:
        cells = []
        for place in range(len(SIGMAS)):
            first = found[0][group][place]
            cells.append(" ".join([f"{first:.3f}", *(f"x {other[group][place] / first:.3f}" for other in found[1:])]))
        print(f"| {group} | " + " | ".join(cells) + " |")


def chosen(scans: Sequence[PreparedScan], count: int) -> list[tuple[PreparedScan, int]]:
    """At most ``count`` slices, spread over contrasts and scans."""
    slices = [(scan, index) for scan in scans for index in range(scan.slices)]
    slices.sort(key=lambda entry: entry[0].contrast)
    return [slices[place] for place in evenly_spread(len(slices), min(count, len(slices)))]


def errors(prior: Prior, cases: Sequence[tuple[PreparedScan, int]]) -> dict[str, list[float]]:
    """Mean over slices of the error over sigma^2, for each noise level: over all, by contrast, at edges and elsewhere.

    As for a scan that states no contrast; 'label given' is the error over all with the contrast given."""
    sums: dict[str, list[list[float]]] = {}
    for number, (scan, index) in enumerate(cases):
        clean = scan.read(index)
        head, edge = regions(clean)
        noise = unit_noise(clean.shape, torch_generator(0, "denoising error", number))
        for place, sigma in enumerate(SIGMAS):
            label = prior.facts.contrast_labels.get(scan.contrast, UNKNOWN_CONTRAST_LABEL)
            with torch.no_grad():
                blind, told = (
                    denoise(prior.denoiser, (clean + sigma * noise)[None], sigma, given)[0]
                    for given in (UNKNOWN_CONTRAST_LABEL, label)
                )
            wrong = (blind - clean).abs() ** 2 / 2 / sigma**2
            measured = {
                "all": wrong[head],
                scan.contrast: wrong[head],
                "edges": wrong[head & edge],
                "elsewhere": wrong[head & ~edge],
                "label given": ((told - clean).abs() ** 2 / 2 / sigma**2)[head],
            }
            for group, values in measured.items():
                sums.setdefault(group, [[] for _ in SIGMAS])[place].append(float(values.mean()))
    return {group: [sum(values) / len(values) for values in levels] for group, levels in sorted(sums.items())}


def regions(clean: Tensor) -> tuple[Tensor, Tensor]:
    """The head, and its edges: ``[readout, phase]`` each."""
    magnitude = clean.abs()
    head = magnitude > 0
    down, across = torch.gradient(magnitude)
    steepness = torch.hypot(down, across)
    return head, steepness > steepness[head].quantile(EDGES)


if __name__ == "__main__":
    main()
