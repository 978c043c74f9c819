"""Which series of a stroke study may be accelerated? From nothing to the answer, on SIMULATED persons, in one command:

    python examples/study/run.py OUT                # --small: two minutes, to see that it works

Simulates persons with and without a stroke, fits the network of variable contrast and its controls, compares them on
persons unseen, and accelerates those persons' series. Each step prints the command that it runs; everything is kept, so
an interrupted run continues with the same command.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cli.main import main

CONTRASTS = ("DWI", "DWI-B0", "FLAIR", "T2", "T1")


@dataclass(frozen=True)
class Size:
    """How large the experiment is."""

    persons: int = 160
    slices: int = 8
    samples: int = 20000
    unseen: int = 8
    accelerations: str = "2,4,8"
    repeats: int = 1000


SMALL = Size(persons=12, slices=3, samples=160, unseen=3, accelerations="4", repeats=100)
# The model, its fixed counterparts, and the controls of what is learned at all.
MODELS = {
    "variable": ("--kind", "variable"),
    "fixed-dropout": ("--kind", "fixed"),
    "fixed-complete": ("--kind", "fixed", "--contrast-dropout", 0),
    "random-features": ("--kind", "variable", "--frozen"),
    "intensity": ("--kind", "linear", "--learning-rate", 0.03),
}


def recon(*words: object) -> None:
    """Run one ``recon`` command as from the terminal; stop where it fails."""
    line = [str(word) for word in words]
    print(f"\n$ recon {' '.join(line)}", flush=True)
    try:
        main(line)
    except SystemExit as finished:
        if finished.code:
            raise


def run(out: Path, size: Size, methods: Sequence[str]) -> None:
    """Every step, in ``out``."""
    cohorts = []
    for name, flags in (("stroke", ("--stroke",)), ("healthy", ())):
        wanted = [word for contrast in CONTRASTS for word in ("--contrast", contrast)]
        cohorts.append(out / name)
        recon(
            "simulate", "--out", out / name, "--subjects", size.persons, "--size", "96,80", "--coils", 6,
            "--slices", size.slices, "--snr", 20, "--seed", 14, *flags, *wanted,
        )  # fmt: skip
    kept = ("--kept", out / "kept")
    for name, flags in MODELS.items():
        recon("study", "fit", *cohorts, "--out", out / name, *kept, "--samples", size.samples, *flags)
    models = [word for name in MODELS for word in ("--model", out / name)]
    recon("study", "eval", *cohorts, *models, *kept, "--repeats", size.repeats)
    recon(
        "study", "accelerate", *cohorts, "--model", out / "variable", "--out", out / "answer", "--persons", size.unseen,
        "--acceleration", size.accelerations, "--methods", ",".join(methods), "--repeats", size.repeats,
    )  # fmt: skip


def parse(words: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder for everything")
    parser.add_argument("--small", action="store_true", help="a few persons: to see that it works")
    parser.add_argument(
        "--methods", default="zero-filled,l1-wavelet", help="of the reconstruction; 'posterior' takes longest"
    )
    return parser.parse_args(words)


if __name__ == "__main__":
    given = parse(sys.argv[1:])
    run(given.out, SMALL if given.small else Size(), given.methods.split(","))
