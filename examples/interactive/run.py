"""What 2x, 4x and 8x cost a reader who outlines strokes by clicks: simulated FLAIR and DWI, by method.

    python examples/interactive/run.py --out clicks

Simulates persons with subacute strokes, undersamples and reconstructs them, and runs `recon interactive`. What exists
is kept, so an interrupted run continues. docs/interactive.md holds the table that this made.
"""

import argparse
import subprocess
import sys
from pathlib import Path

METHODS = {"zero-filled": [], "l1-wavelet": [], "posterior": ["--samples", "0"]}
ACCELERATIONS = (2, 4, 8)
CONTRASTS = ("FLAIR", "DWI")


def recon(*words: object) -> None:
    """Run one command of recon, and stop where it fails."""
    subprocess.run([sys.executable, "-m", "cli", *map(str, words)], check=True)


def main() -> None:
    """Simulate, undersample, reconstruct, click."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--subjects", type=int, default=10)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--slices", type=int, default=4)
    parser.add_argument("--seed", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--contrast", choices=CONTRASTS, action="append", help="One of them only; may be repeated.")
    given = parser.parse_args()
    full, chosen = given.out / "full", given.contrast or CONTRASTS
    contrasts = [word for contrast in chosen for word in ("--contrast", contrast)]
    recon(
        "simulate", "--out", full, "--subjects", given.subjects, "--size", given.size, "--slices", given.slices,
        "--stroke", "--stage", "subacute", *contrasts, "--seed", given.seed,
    )  # fmt: skip
    for contrast in chosen:
        scans, results = sorted(full.glob(f"*_{contrast}.h5")), []
        for rate in ACCELERATIONS:
            fast = given.out / f"R{rate}"
            missing = [scan for scan in scans if not (fast / scan.name).is_file()]
            for scan in missing:
                recon("undersample", scan, "--acceleration", rate, "--out", fast / scan.name)
            for method, more in METHODS.items():
                made = given.out / f"{method}-R{rate}"
                files = [fast / scan.name for scan in scans]
                recon("reconstruct", *files, "--method", method, *more, "--threads", given.threads, "--out", made)
                results += [made / scan.name for scan in scans]
        recon("interactive", *results, "--reference", full, "--lesions", full, "--out", given.out / contrast)


if __name__ == "__main__":
    main()
