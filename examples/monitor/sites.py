"""A probe on a site that it was not fitted on: four simulated sites, strokes in half of the persons, left out in turn.

python examples/monitor/sites.py --out FOLDER [--persons 32]

``--persons`` at each site. Everything is done by ``recon`` commands, and what is there is kept.
"""

import argparse
import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

SITES = ("site-a", "site-b", "site-c", "site-d")


def recon(*words: object) -> dict[str, Any]:
    """One ``recon`` command; its JSON."""
    command = [sys.executable, "-m", "cli", *map(str, words), "--json"]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--persons", type=int, default=32)
    chosen = parser.parse_args()
    rows = []
    for number, site in enumerate(SITES):
        for stroke in (False, True):
            folder = chosen.out / f"{site}_{'stroke' if stroke else 'healthy'}"
            made = recon(
                "simulate", "--out", folder, "--subjects", chosen.persons // 2, "--contrast", "FLAIR", "--size", 96,
                "--slices", 5, "--coils", 4, "--site", site, "--seed", 2 * number + stroke, *(["--stroke"] * stroke),
            )  # fmt: skip
            for scan in made["scans"]:
                person = f"{folder.name}-{scan['group']}"  # another seed draws other persons under the same names
                rows.append([f"{folder.name}/{scan['file']}", person, person, int(stroke)])
    table, embeddings, probe = (chosen.out / name for name in ("table.csv", "embeddings.h5", "probe.safetensors"))
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([["file", "subject", "case", "lesion"], *rows])
    if not embeddings.is_file():
        recon("probe", "embed", table, "--out", embeddings)
    recon("probe", "fit", embeddings, "--label", "lesion", "--out", probe)
    words = ("probe", "eval", embeddings, "--probe", probe)
    found = {
        "held-out persons of all sites": recon(*words, "--by", "site", "--unseen")["strata"],
        "site left out of the fit": recon(*words, "--leave-one-site-out")["strata"],
    }
    (chosen.out / "sites.json").write_text(json.dumps(found))
    print("| site | judged on | persons | AUC (95 %) |\n|---|---|---|---|")
    for how, strata in found.items():
        for row in strata:
            auc = row.get("auc")
            words_of = row.get("problem") or f"{auc['value']:.2f} ({auc['low']:.2f} to {auc['high']:.2f})"
            print(f"| {row['site']} | {how} | {row.get('persons', '-')} | {words_of} |")


if __name__ == "__main__":
    main()
