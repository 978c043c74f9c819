"""Tables of docs/methods.md on the standard deviation: how well it holds, and what more draws change."""

from pathlib import Path
from typing import Any

from measured.table import Row, Sources, Table, read_rows, recon, short

PAGE = "docs/methods.md"
SEEDS = {"FLAIR": 4711, "T1": 4712, "T2": 4713}  # of no fit


def simulated(folder: Path, contrast: str, *words: object) -> list[Path]:
    """The first four of five persons with strokes, in ``folder``, where ``words`` may name another anatomy."""
    options = ("--size", "128,112", "--coils", 8, "--slices", 3, "--snr", 25, "--stroke")
    recon(
        "simulate",
        "--out",
        folder,
        "--subjects",
        5,
        *options,
        "--contrast",
        contrast,
        "--seed",
        SEEDS[contrast],
        *words,
    )
    return sorted(folder.glob(f"*_{contrast}.h5"))[:4]


def calibration(folder: Path, sources: Sources) -> list[Row]:
    """Squared error over its expectation, and coverage, by acceleration, contrast and anatomy."""
    scans: list[Path] = []
    for contrast in SEEDS:
        scans += simulated(folder / f"built-in-{contrast}", contrast)
        scans += simulated(folder / f"ptbp-{contrast}", contrast, "--anatomy", sources.ptbp)
    recon("uncertainty", *scans, "--out", folder / "uncertainty")
    return [calibration_row(row) for row in read_rows(folder / "uncertainty" / "uncertainty.json")]


def calibration_row(row: dict[str, Any]) -> Row:
    """One group at one acceleration; ± is the standard error over persons."""
    name = f"R = {row['acceleration']:g}" if row["group"] == "all" else row["group"]
    columns = (("ratio", 1, 2), ("coverage", 100, 1), ("region_coverage", 100, 1), ("lesion_coverage", 100, 0))
    figures = [
        f"{short(factor * row[key], digits)} ± {short(factor * row[f'{key}_error'], digits)}"
        for key, factor, digits in columns
    ]
    return [name, str(row["scans"]), *figures]


TABLES = {
    "deviations": Table(PAGE, "| | scans | squared error over its expectation |", 1, 15, calibration, ("ptbp",)),
}
