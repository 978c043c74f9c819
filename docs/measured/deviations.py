"""Tables of docs/methods.md on the standard deviation: how well it holds, and what more draws change."""

from pathlib import Path
from typing import Any

from measured.table import Row, Sources, Table, Told, read_rows, recon, short

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


def in_short(rows: list[Row]) -> list[str]:
    """The ranges over accelerations, and the lesions of all."""
    every = [[cell.split(" ± ")[0] for cell in row] for row in rows if row[0].startswith("R = ")]
    ratios, pixels, lesions = ([float(row[column]) for row in every] for column in (2, 3, 5))
    ends = [short(min(ratios), 2), short(max(ratios), 2), f"{min(pixels):.0f}", f"{max(pixels):.0f}"]
    return [*ends, of_lesions(rows)[0], f"{min(lesions):.0f}", f"{max(lesions):.0f}"]


def of_lesions(rows: list[Row]) -> list[str]:
    """Per cent of all lesions' intervals that hold the truth, one lesion a scan, and how many there are."""
    every = [(int(row[1]), float(row[5].split(" ± ")[0])) for row in rows if row[0].startswith("R = ")]
    held = sum(round(scans * share / 100) for scans, share in every)
    count = sum(scans for scans, _ in every)
    return [f"{100 * held / count:.0f}", str(count)]


def draws(folder: Path, sources: Sources) -> list[Row]:
    """The same of more samples. Network calls and times are not measured again."""
    options = ("--size", "128,112", "--coils", 8, "--slices", 1, "--snr", 25, "--seed", 4714)
    recon("simulate", "--out", folder / "scans", "--subjects", 3, "--contrast", "FLAIR", "--contrast", "T1", *options)
    made = []
    for samples in (2, 4, 8, 16):
        out = folder / f"samples-{samples}"
        recon("uncertainty", folder / "scans", "--acceleration", 4, "--samples", samples, "--out", out)
        [row] = [row for row in read_rows(out / "uncertainty.json") if row["group"] == "all"]
        known = f"{100 * row['relative_std_error']:.0f} %"
        coverage = (short(100 * row[key], 1) for key in ("coverage", "region_coverage"))
        made.append([str(samples), "", "", short(row["ratio"], 2), known, *coverage])
    return made


TABLES = {
    "deviations": Table(
        PAGE, "| | scans | squared error over its expectation |", 1, 21, calibration, ("ptbp",),
        told=(
            Told(
                "README.md",
                "the squared error is # to # of what it says, and 90 % intervals cover # to # % of pixels and # % "
                "(# to # by R) of the means of lesions",
                in_short,
            ),
            Told(PAGE, "Of lesions, one a scan, # % of # intervals hold the truth", of_lesions),
        ),
    ),
    "draws": Table(PAGE, "| samples | network calls |", 1, 5, draws),
}  # fmt: skip
