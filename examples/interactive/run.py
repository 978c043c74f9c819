"""What 2x, 4x and 8x cost a reader who outlines strokes by clicks: simulated FLAIR, DWI and ADC maps, by method.

    python examples/interactive/run.py --out clicks

Simulates persons with strokes (subacute ones for FLAIR, acute ones for DWI and ADC), undersamples and reconstructs
them, and runs `recon interactive`. ADC maps are fitted to reconstructions of b = 0 and b = 1000, and their references
to the fully sampled scans with their noise. What exists is kept, so an interrupted run continues. docs/interactive.md
holds the tables that this made.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from recon.quality.adc_maps import write_adc

METHODS = {"zero-filled": [], "l1-wavelet": [], "posterior": ["--samples", "0"]}
ACCELERATIONS = (2, 4, 8)
# What is simulated for each question, at which stage of the stroke.
QUESTIONS = {"FLAIR": (("FLAIR",), "subacute"), "DWI": (("DWI", "DWI-B0"), "acute")}


def recon(*words: object) -> None:
    """Run one command of recon, and stop where it fails."""
    subprocess.run([sys.executable, "-m", "cli", *map(str, words)], check=True)


def adc_maps(images: Path, out: Path) -> list[Path]:
    """The ADC map of every person in ``images``, who has a result ``NAME_DWI.h5`` and one ``NAME_DWI-B0.h5``."""
    out.mkdir(parents=True, exist_ok=True)
    names = sorted(path.stem.removesuffix("_DWI") for path in images.glob("*_DWI.h5"))
    return [
        write_adc([images / f"{name}_DWI-B0.h5", images / f"{name}_DWI.h5"], (), out / f"{name}_ADC.nii.gz").output
        for name in names
    ]


def arguments() -> argparse.Namespace:
    """The words of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--subjects", type=int, default=10)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--slices", type=int, default=4)
    parser.add_argument("--seed", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--contrast", choices=tuple(QUESTIONS), action="append", help="One only; DWI includes ADC.")
    parser.add_argument("--method", choices=tuple(METHODS), action="append", help="One only; may be repeated.")
    return parser.parse_args()


def main() -> None:
    """Simulate, undersample, reconstruct, click."""
    given = arguments()
    for question in given.contrast or QUESTIONS:
        contrasts, stage = QUESTIONS[question]
        top = given.out / question
        full, complete = top / "full", top / "full-images"
        words = [word for contrast in contrasts for word in ("--contrast", contrast)]
        recon(
            "simulate", "--out", full, "--subjects", given.subjects, "--size", given.size, "--slices", given.slices,
            "--stroke", "--stage", stage, *words, "--seed", given.seed,
        )  # fmt: skip
        scans = [path for contrast in contrasts for path in sorted(full.glob(f"*_{contrast}.h5"))]
        arms = {}
        for rate in ACCELERATIONS:
            fast = top / f"R{rate}"
            fast.mkdir(exist_ok=True)  # one scan goes to a file of that name otherwise
            if missing := [scan for scan in scans if not (fast / scan.name).is_file()]:
                recon("undersample", *missing, "--acceleration", rate, "--out", fast)
            for method in given.method or METHODS:
                made = arms[f"{method}-R{rate}"] = top / f"{method}-R{rate}"
                words = [*(fast / scan.name for scan in scans), "--method", method, *METHODS[method]]
                recon("reconstruct", *words, "--threads", given.threads, "--out", made)
        results = [path for made in arms.values() for path in sorted(made.glob(f"*_{question}.h5"))]
        recon("interactive", *results, "--reference", full, "--lesions", full, "--out", top / "clicks")
        if question == "DWI":
            recon("reconstruct", *scans, "--method", "zero-filled", "--threads", given.threads, "--out", complete)
            references = adc_maps(complete, top / "adc" / "full")
            for name, made in arms.items():
                print(f"ADC maps, {name}:", flush=True)
                recon(
                    "interactive", *adc_maps(made, top / "adc" / name), "--reference", *references,
                    "--lesions", full, "--out", top / "clicks-adc" / name,
                )  # fmt: skip


if __name__ == "__main__":
    main()
