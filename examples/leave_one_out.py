"""Does the choice of ``recon finetune`` help patients that it never saw? Leave one patient out, fine-tune on the
others.

    python examples/leave_one_out.py --out loo [--data SCANS] [--patients 6] [--acceleration 4] [--config SEARCH]

Every patient in turn is left out of the cohort; the prior is fine-tuned on the others, and the
patient is undersampled and reconstructed by ``recon reconstruct`` with both priors. Without ``--data`` the patients are
simulated. Finished parts are kept, so the same command goes on where it stopped.
"""

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import mean, stdev
from typing import Any

SEED = 501
SEARCH = "rates: [1.0, 0.3]\nlengths: [0.00125, 0.0025]\nfolds: 2\nslices: 1\n"  # minutes each, not hours


def recon(*words: object) -> dict[str, Any]:
    """One ``recon`` command; its JSON."""
    command = [sys.executable, "-m", "cli", *map(str, words), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def error_of(folder: Path, fast: Path, full: Path, prior: Path | None) -> float:
    """NRMSE of a patient reconstructed with a prior (None: the one that comes with recon)."""
    words: list[object] = ["reconstruct", fast, "--out", folder]
    recon(*words, *(() if prior is None else ("--prior", prior)))
    return float(recon("evaluate", folder / fast.name, "--reference", full)["nrmse"])


def leave_out(scan: Path, scans: list[Path], arguments: argparse.Namespace) -> dict[str, Any]:
    """Fine-tune without ``scan``, then reconstruct it with and without."""
    folder = arguments.out / f"without_{scan.stem}"
    report = folder / "outcome.json"
    if report.is_file():
        return json.loads(report.read_text())
    cohort = folder / "cohort"
    cohort.mkdir(parents=True, exist_ok=True)
    for other in scans:
        target = cohort / other.name
        if other != scan and not target.exists():
            try:
                os.link(other, target)
            except OSError:  # another file system
                shutil.copyfile(other, target)
    tuned = recon(
        "finetune", "--data", cohort, "--out", folder / "prior", "--config", arguments.config,
        "--acceleration", arguments.acceleration, "--device", "cpu",
    )  # fmt: skip
    fast = folder / "fast" / scan.name
    if not fast.is_file():
        fast.parent.mkdir(exist_ok=True)
        recon("undersample", scan, "--acceleration", arguments.acceleration, "--out", fast, "--seed", 1)
    before = error_of(folder / "before", fast, scan, None)
    after = error_of(folder / "after", fast, scan, folder / "prior") if tuned["images"] else before
    found = {
        "patient": scan.stem, "images": tuned["images"], "rate": tuned["rate"], "before": before, "after": after,
        "explanation": tuned["explanation"],
    }  # fmt: skip
    report.write_text(json.dumps(found, indent=1))
    return found


def main() -> None:
    """Run every patient and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for everything")
    parser.add_argument("--data", type=Path, help="fully sampled scans of at least three patients, one file each")
    parser.add_argument("--patients", type=int, default=6, help="how many to simulate without --data")
    parser.add_argument("--config", type=Path, help="what each fine-tuning tries; without it a short search")
    parser.add_argument("--acceleration", type=float, default=4.0)
    arguments = parser.parse_args()
    if arguments.config is None:
        arguments.config = arguments.out / "search.yaml"
        arguments.out.mkdir(parents=True, exist_ok=True)
        arguments.config.write_text(SEARCH)
    data = arguments.data
    if data is None:
        data = arguments.out / "scans"
        if not (data / "manifest.json").is_file():
            recon(
                "simulate", "--out", data, "--subjects", arguments.patients, "--contrast", "FLAIR", "--stroke",
                "--size", "112,96", "--slices", 3, "--seed", SEED,
            )  # fmt: skip
    scans = sorted(path for path in data.glob("*.h5") if not path.stem.endswith("_lesion"))
    rows = [leave_out(scan, scans, arguments) for scan in scans]
    print(f"{'patient left out':<24} {'images':>7} {'rate':>9} {'before':>8} {'after':>8} {'gain':>8}")
    for row in rows:
        gain = row["before"] - row["after"]
        print(
            f"{row['patient']:<24} {row['images']:>7} {row['rate']:>9.2g} {row['before']:>8.4f} {row['after']:>8.4f} "
            f"{gain:>+8.4f}"
        )
    gains = [row["before"] - row["after"] for row in rows]
    error = stdev(gains) / math.sqrt(len(gains))
    print(f"mean gain {mean(gains):+.5f} ± {error:.5f} (standard error) on {len(gains)} unseen patients")


if __name__ == "__main__":
    main()
