"""Label tables of simulated cohorts for `recon probe embed`: lesion present, and contrast; split by person.

    python examples/encoder_drift/tables.py --healthy DIR... --stroke DIR... --contrasts DIR... --out DIR

Persons that the shipped encoder never saw (its held-out rule) form the evaluation, the others the fit.
"""

import argparse
import csv
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recon.encode.latent_prediction.encoder import SHIPPED
from recon.encode.latent_prediction.volumes import is_held_out
from recon.encode.probes.labels import NO_LESION

CONTRASTS = ("T1", "T2", "PD", "FLAIR", "DWI")


def lesion_table(healthy: Sequence[Path], stroke: Sequence[Path], out: Path) -> Path:
    """Write lesion.csv: 1 for every scan of the folders with a stroke, 0 for the others."""
    folders = [(folder, 0) for folder in healthy] + [(folder, 1) for folder in stroke]
    return _write("lesion", [(folder, entry, value) for folder, value in folders for entry in scans_of(folder)], out)


def contrast_table(folders: Sequence[Path], out: Path) -> Path:
    """Write contrast.csv: the number of every scan's contrast."""
    entries = [(folder, entry) for folder in folders for entry in scans_of(folder)]
    return _write("contrast", [(f, entry, CONTRASTS.index(entry["contrast"])) for f, entry in entries], out)


def scans_of(folder: Path) -> list[dict[str, Any]]:
    """The scans of a cohort, as its manifest has them."""
    scans: list[dict[str, Any]] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["scans"]
    return scans


def case_of(folder: Path, entry: Mapping[str, Any]) -> str:
    """The name of a scan in the tables."""
    return f"{folder.name}/{Path(entry['file']).stem}"


def _write(label: str, labelled: Sequence[tuple[Path, Mapping[str, Any], int]], out: Path) -> Path:
    options = json.loads((SHIPPED / "config.json").read_text(encoding="utf-8"))["pretraining"]
    fraction, seed = options["held_out_fraction"], options["seed"]
    rows = [
        {
            "file": os.path.relpath(folder / entry["file"], out),
            "subject": entry["group"],
            "case": case_of(folder, entry),
            "split": "eval" if is_held_out(entry["group"], fraction, seed) else "fit",
            "mask": os.path.relpath(folder / entry["lesion_file"], out) if entry.get("lesion_file") else NO_LESION,
            label: value,
        }
        for folder, entry, value in labelled
    ]
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{label}.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    print(f"{path}: {len(rows)} volumes")
    return path


def main() -> None:
    """Write lesion.csv and contrast.csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("healthy", "stroke", "contrasts"):
        parser.add_argument(f"--{name}", type=Path, nargs="+", default=[])
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    if given.healthy or given.stroke:
        lesion_table(given.healthy, given.stroke, given.out)
    if given.contrasts:
        contrast_table(given.contrasts, given.out)


if __name__ == "__main__":
    main()
