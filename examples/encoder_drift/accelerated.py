"""The lesion table's unseen persons once more at 2x, 4x and 8x, for `recon probe eval --by acceleration`.

    python examples/encoder_drift/accelerated.py --table tables/lesion.csv --out accelerated --cases 48

Every person in turn gives one case with and one without a lesion. Writes accelerated.csv beside the reconstructions,
which are kept, so an interrupted run continues.
"""

import argparse
import csv
import os
from collections import Counter
from pathlib import Path

import torch
from drift import result_of


def main() -> None:
    """Undersample, reconstruct, write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, required=True, help="lesion.csv of tables.py")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cases", type=int, default=48)
    parser.add_argument("--acceleration", type=float, action="append")
    parser.add_argument("--method", default="zero-filled")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    with given.table.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "eval"]
    seen: Counter[tuple[str, str]] = Counter()
    turns = []
    for row in rows:
        turns.append((seen[row["subject"], row["lesion"]], row["subject"], row["lesion"]))
        seen[row["subject"], row["lesion"]] += 1
    chosen = [rows[index] for index in sorted(range(len(rows)), key=turns.__getitem__)][: given.cases]
    given.out.mkdir(parents=True, exist_ok=True)
    written = []
    for row in chosen:
        scan = given.table.parent / row["file"]
        files = {1.0: scan}
        for acceleration in given.acceleration or [2.0, 4.0, 8.0]:
            folder = given.out / row["case"].split("/")[0]
            files[acceleration] = result_of(scan, folder, acceleration, given.method, 1, None)
        for acceleration, path in files.items():
            relative = os.path.relpath(path, given.out)
            written.append({**row, "file": relative, "acceleration": f"{acceleration:g}"})
        print(f"{row['case']} done", flush=True)
    with (given.out / "accelerated.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, written[0])
        writer.writeheader()
        writer.writerows(written)
    print(f"{given.out / 'accelerated.csv'}: {len(written)} volumes of {len(chosen)} cases")


if __name__ == "__main__":
    main()
