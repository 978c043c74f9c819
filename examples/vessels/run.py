"""Graph attention against logistic regression on over-traced vessel graphs, at 1x to 8x: simulated trees, zero-filled.

    python examples/vessels/run.py --out vessels

Half of the persons are fitted on, at all accelerations; the others are judged. What exists is kept.
docs/vessels.md holds the table that this made.
"""

import argparse
import subprocess
import sys
from pathlib import Path

ACCELERATIONS = (2, 4, 8)


def recon(*words: object) -> None:
    """Run one command of recon, and stop where it fails."""
    subprocess.run([sys.executable, "-m", "cli", *map(str, words)], check=True)


def main() -> None:
    """Simulate, undersample, reconstruct, fit, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--persons", type=int, default=8, help="in each half")
    parser.add_argument("--seed", type=int, default=15)
    given = parser.parse_args()
    images: dict[str, list[Path]] = {}
    for half, first in (("fit", 0), ("eval", given.persons)):
        full = given.out / half / "full"
        if not full.is_dir():
            recon(
                "vessels",
                "simulate",
                "--out",
                full,
                "--subjects",
                given.persons,
                "--first",
                first,
                "--seed",
                given.seed,
            )
        images[half] = [full]
        for rate in ACCELERATIONS:
            fast, made = given.out / half / f"R{rate}", given.out / half / f"zero-filled-R{rate}"
            fast.mkdir(exist_ok=True)  # one scan goes to a file of that name otherwise
            scans = sorted(path for path in full.glob("*.h5") if not path.stem.endswith("_mask"))
            if missing := [path for path in scans if not (fast / path.name).is_file()]:
                recon("undersample", *missing, "--acceleration", rate, "--out", fast)
            recon("reconstruct", fast, "--method", "zero-filled", "--threads", 1, "--out", made)
            images[half].append(made)
    model = given.out / "model"
    recon("vessels", "fit", *images["fit"], "--truth", given.out / "fit" / "full", "--out", model)
    recon("vessels", "eval", *images["eval"], "--truth", given.out / "eval" / "full", "--model", model)


if __name__ == "__main__":
    main()
