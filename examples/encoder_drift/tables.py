"""Label tables of simulated cohorts for `recon probe embed`: lesion present, and contrast; split by person.

    python examples/encoder_drift/tables.py --healthy DIR... --stroke DIR... --contrasts DIR... --out DIR

Persons that the shipped encoder never saw (its held-out rule) form the evaluation, the others the fit.
"""

import argparse
import csv
import json
import os
from pathlib import Path

from recon.encode.latent_prediction.encoder import SHIPPED
from recon.encode.latent_prediction.volumes import is_held_out

CONTRASTS = ("T1", "T2", "PD", "FLAIR", "DWI")


def main() -> None:
    """Write lesion.csv and contrast.csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("healthy", "stroke", "contrasts"):
        parser.add_argument(f"--{name}", type=Path, nargs="+", default=[])
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    options = json.loads((SHIPPED / "config.json").read_text(encoding="utf-8"))["pretraining"]
    fraction, seed = options["held_out_fraction"], options["seed"]
    given.out.mkdir(parents=True, exist_ok=True)
    lesion = [(folder, 0) for folder in given.healthy] + [(folder, 1) for folder in given.stroke]
    for label, folders in (("lesion", lesion), ("contrast", [(folder, None) for folder in given.contrasts])):
        rows = []
        for folder, value in folders:
            for entry in json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["scans"]:
                rows.append(
                    {
                        "file": os.path.relpath(folder / entry["file"], given.out),
                        "subject": entry["group"],
                        "case": f"{folder.name}/{Path(entry['file']).stem}",
                        "split": "eval" if is_held_out(entry["group"], fraction, seed) else "fit",
                        label: CONTRASTS.index(entry["contrast"]) if value is None else value,
                    }
                )
        if rows:
            with (given.out / f"{label}.csv").open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, rows[0])
                writer.writeheader()
                writer.writerows(rows)
            print(f"{given.out / f'{label}.csv'}: {len(rows)} volumes")


if __name__ == "__main__":
    main()
