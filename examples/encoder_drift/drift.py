"""Drift of the shipped encoder at 2x, 4x and 8x over a simulated cohort, by reconstruction method.

    python examples/encoder_drift/drift.py --cohort DIR --out DIR --cases 6 --method zero-filled --method posterior

Undersampled scans, results and drift.csv lie below --out and are kept, so an interrupted run continues. The posterior
needs a prior (the shipped one, or --prior). Only persons that the encoder never saw are used.
"""

import argparse
import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from recon import ReconstructionOptions, load_prior, open_scan
from recon.encode.distance import Drift
from recon.encode.encoders import load_encoder
from recon.encode.interface import Encoder
from recon.encode.latent_prediction.encoder import SHIPPED
from recon.encode.latent_prediction.volumes import is_held_out
from recon.encode.noise import add_noise, noise_level
from recon.encode.volumes import Series, onto_reference, read_series
from recon.reconstruction.methods import METHODS, options_of
from recon.reconstruction.pipeline import reconstruct_to_file
from recon.scans.options import UndersamplingOptions
from recon.scans.undersample import undersample
from recon.seeding import numpy_generator

Row = dict[str, Any]  # one line of drift.csv


def result_of(scan_path: Path, out: Path, acceleration: float, method: str, samples: int, prior: Any) -> Path:
    """Undersample and reconstruct where that has not been done yet."""
    faster = out / f"{acceleration:g}x" / scan_path.name
    if not faster.is_file():
        undersample(open_scan(scan_path), faster, UndersamplingOptions(acceleration=acceleration))
    result = out / f"{acceleration:g}x-{method}" / scan_path.name
    if not result.is_file():
        row = METHODS[method]
        options = options_of(row, ReconstructionOptions(samples=samples))
        reconstruct_to_file(open_scan(faster), options, result, prior if row.needs_prior else None)
    return result


def held_out(cohort: Path, cases: int) -> list[dict[str, Any]]:
    """The first scans of a cohort whose persons the shipped encoder never saw, as its manifest has them."""
    options = json.loads((SHIPPED / "config.json").read_text(encoding="utf-8"))["pretraining"]
    scans = json.loads((cohort / "manifest.json").read_text(encoding="utf-8"))["scans"]
    unseen = [scan for scan in scans if is_held_out(scan["group"], options["held_out_fraction"], options["seed"])]
    return unseen[:cases]


def volumes_of(
    scan: Path, out: Path, methods: list[str], accelerations: list[float], samples: int, prior: Any
) -> tuple[Series, dict[tuple[str, float], NDArray[np.float32]]]:
    """A scan's reference, and what is compared with it by method and acceleration: its reconstructions, on the grid of
    the reference, and the reference with noise alone."""
    base = read_series(scan)
    noise, _, _ = noise_level(base, 2, None)
    volumes = {("noise alone", 1.0): add_noise(base.values, noise, numpy_generator(0, "floor", scan.name))}
    for method in methods:
        for acceleration in accelerations:
            result = result_of(scan, out, acceleration, method, samples, prior)
            volumes[method, acceleration] = onto_reference(read_series(result), base).values
    return base, volumes


def drifts(encoder: Encoder, base: Series, volumes: dict[tuple[str, float], NDArray[np.float32]]) -> list[Row]:
    """How far each of ``volumes`` moves from the reference's embedding."""
    prepared = encoder.prepare(base.values, base.affine)
    reference = encoder.encode(prepared)
    rows = []
    for (method, acceleration), values in volumes.items():
        drift = Drift.between(reference, encoder.encode(encoder.prepare(values, base.affine, prepared.preprocessing)))
        rows.append(
            {
                "method": method, "acceleration": acceleration, "token_distance": drift.token_distance,
                "token_cosine_p5": drift.token_cosine_p5, "relative_l2": drift.relative_l2,
            }
        )  # fmt: skip
    return rows


def print_means(rows: list[Row], cases: int) -> None:
    """The mean token distance by encoder, method and acceleration, and whether it rises with acceleration."""
    print(f"mean token distance (1 - cosine) over {cases} unseen cases")
    for name, method in dict.fromkeys((row["encoder"], row["method"]) for row in rows):
        mine = [row for row in rows if (row["encoder"], row["method"]) == (name, method)]
        values = {
            acceleration: np.mean([row["token_distance"] for row in mine if row["acceleration"] == acceleration])
            for acceleration in dict.fromkeys(row["acceleration"] for row in mine)
        }
        line = "  ".join(f"{acceleration:g}x {value:.5f}" for acceleration, value in values.items())
        ordered = list(values.values())
        verdict = "" if len(ordered) < 2 else "monotone" if ordered == sorted(ordered) else "NOT monotone"
        print(f"  {name:<12} {method:<12} {line}  {verdict}")


def main() -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cohort", type=Path, required=True, help="folder of recon simulate")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cases", type=int, default=6)
    parser.add_argument("--acceleration", type=float, action="append")
    parser.add_argument("--method", action="append", choices=list(METHODS), help="repeat for several")
    parser.add_argument("--samples", type=int, default=4, help="posterior samples averaged")
    parser.add_argument("--prior", help="folder; default the shipped one")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    methods = given.method or ["zero-filled", "sense", "l1-wavelet", "posterior"]
    accelerations = given.acceleration or [2.0, 4.0, 8.0]
    prior = load_prior(given.prior, device="cpu") if any(METHODS[method].needs_prior for method in methods) else None
    scans = held_out(given.cohort, given.cases)
    encoders = {"shipped": load_encoder("recon-small"), "random-init": load_encoder("recon-small", random_seed=0)}
    rows: list[Row] = []
    for scan in scans:
        path = given.cohort / scan["file"]
        base, volumes = volumes_of(path, given.out, methods, accelerations, given.samples, prior)
        for name, encoder in encoders.items():
            rows += [{"encoder": name, "file": scan["file"], **row} for row in drifts(encoder, base, volumes)]
        print(f"{scan['file']} done", flush=True)
    given.out.mkdir(parents=True, exist_ok=True)
    with (given.out / "drift.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    print_means(sorted(rows, key=lambda row: list(encoders).index(row["encoder"])), len(scans))


if __name__ == "__main__":
    main()
