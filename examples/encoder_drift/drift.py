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

from recon.encode.distance import Drift
from recon.encode.encoders import load_encoder
from recon.encode.latent_prediction.encoder import SHIPPED
from recon.encode.latent_prediction.volumes import is_held_out
from recon.encode.noise import add_noise, noise_level
from recon.encode.volumes import onto_reference, read_series
from recon.scans.opening import open_scan
from recon.seeding import numpy_generator


def result_of(scan_path: Path, out: Path, acceleration: float, method: str, samples: int, prior: Any) -> Path:
    """Undersample and reconstruct where that has not been done yet."""
    from recon.reconstruction.pipeline import ReconstructionOptions, reconstruct
    from recon.scans.undersample import undersample

    faster = out / f"{acceleration:g}x" / scan_path.name
    if not faster.is_file():
        undersample(open_scan(scan_path), faster, acceleration=acceleration)
    result = out / f"{acceleration:g}x-{method}" / scan_path.name
    if not result.is_file():
        options = ReconstructionOptions(method=method, samples=samples)  # type: ignore[arg-type]
        reconstruct(open_scan(faster), options, result, prior if method == "posterior" else None)
    return result


def main() -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cohort", type=Path, required=True, help="folder of recon simulate")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cases", type=int, default=6)
    parser.add_argument("--acceleration", type=float, action="append")
    parser.add_argument("--method", action="append", help="zero-filled, sense, l1-wavelet, posterior; repeat")
    parser.add_argument("--samples", type=int, default=4, help="posterior samples averaged")
    parser.add_argument("--prior", help="folder; default the shipped one")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    methods = given.method or ["zero-filled", "sense", "l1-wavelet", "posterior"]
    accelerations = given.acceleration or [2.0, 4.0, 8.0]
    prior = None
    if "posterior" in methods:
        from recon.prior.store import load_prior, shipped_prior

        prior = load_prior(given.prior or shipped_prior(), "cpu")
    options = json.loads((SHIPPED / "config.json").read_text(encoding="utf-8"))["pretraining"]
    entries = [
        entry
        for entry in json.loads((given.cohort / "manifest.json").read_text(encoding="utf-8"))["scans"]
        if is_held_out(entry["group"], options["held_out_fraction"], options["seed"])
    ][: given.cases]
    encoders = {"shipped": load_encoder("recon-small"), "random-init": load_encoder("recon-small", random_seed=0)}
    rows: list[dict[str, Any]] = []

    def note(name: str, entry: dict[str, Any], what: str, acceleration: float, drift: Drift) -> None:
        rows.append(
            {
                "encoder": name, "file": entry["file"], "method": what, "acceleration": acceleration,
                "token_distance": drift.token_distance, "token_cosine_p5": drift.token_cosine_p5,
                "relative_l2": drift.relative_l2,
            }
        )  # fmt: skip

    for entry in entries:
        base = read_series(given.cohort / entry["file"])
        noise, _, _ = noise_level(base, 2, None)
        noisy = add_noise(base.values, noise, numpy_generator(0, "floor", entry["file"]))
        rebuilt = {
            (method, acceleration): onto_reference(
                read_series(
                    result_of(given.cohort / entry["file"], given.out, acceleration, method, given.samples, prior)
                ),
                base,
            ).values
            for method in methods
            for acceleration in accelerations
        }
        for name, encoder in encoders.items():
            prepared = encoder.prepare(base.values, base.affine)
            reference = encoder.encode(prepared)
            volumes = {("noise alone", 1.0): noisy, **rebuilt}
            for (method, acceleration), values in volumes.items():
                embedded = encoder.encode(encoder.prepare(values, base.affine, prepared.lock))
                note(name, entry, method, acceleration, Drift.between(reference, embedded))
        print(f"{entry['file']} done", flush=True)
    given.out.mkdir(parents=True, exist_ok=True)
    with (given.out / "drift.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    print(f"mean token distance (1 - cosine) over {len(entries)} unseen cases")
    for name in encoders:
        for method in ["noise alone", *methods]:
            values = {
                acceleration: np.mean(
                    [
                        row["token_distance"]
                        for row in rows
                        if (row["encoder"], row["method"], row["acceleration"]) == (name, method, acceleration)
                    ]
                )
                for acceleration in ([1.0] if method == "noise alone" else accelerations)
            }
            line = "  ".join(f"{acceleration:g}x {value:.5f}" for acceleration, value in values.items())
            ordered = list(values.values())
            verdict = "" if len(ordered) < 2 else "monotone" if ordered == sorted(ordered) else "NOT monotone"
            print(f"  {name:<12} {method:<12} {line}  {verdict}")


if __name__ == "__main__":
    main()
