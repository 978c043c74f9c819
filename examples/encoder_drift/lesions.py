"""What the shipped encoder knows of lesions in persons it never saw, beside its controls: the figures of its card.

    RECON_SHARED_DATA=DATA python examples/encoder_drift/lesions.py OUT

Simulates the cohorts (FLAIR, with and without a stroke; 600 scans, 8 GB), embeds them with the encoder, random inits
of its network and four hand-made features, fits one linear probe each, and prints the AUC on unseen persons: by
cohort (semi-synthetic heads of DATA/labels_ptbp60 and deformed copies of the one ICBM template are told apart) and by
size of the lesion. An interrupted run continues. Without RECON_SHARED_DATA there is the ICBM cohort only.
"""

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tables import case_of, lesion_table, scans_of

from cli.main import main as recon
from recon.encode.encoders import load_encoder
from recon.encode.interface import Encoder
from recon.encode.probes.evaluation import evaluation_rows
from recon.encode.probes.labels import read_labels
from recon.encode.probes.options import FitOptions
from recon.encode.probes.probe import fit_probe
from recon.encode.probes.statistics import auc, bootstrap
from recon.encode.probes.store import Embeddings
from recon.encode.tasks.volumes import cases_of, read_view
from recon.header import pseudonym
from recon.seeding import numpy_generator

SIZES = {"any lesion": (0.0, np.inf), "under 1 mL": (0.0, 1.0), "1 to 6 mL": (1.0, 6.0), "over 6 mL": (6.0, np.inf)}
SIMULATION = ("--contrast", "FLAIR", "--size", "192,160", "--snr", "30")
COHORTS = {
    "PTBP": ("--subjects", "240", "--slices", "6", "--seed", "77"),
    "ICBM": ("--subjects", "60", "--slices", "8", "--seed", "88"),
}


@dataclass(frozen=True, eq=False)
class Cases:
    """The unseen cases, and what each encoder's probe says of them."""

    labels: NDArray[np.int64]  # [case]
    probabilities: dict[str, NDArray[np.float64]]  # by encoder, [case, class]
    persons: tuple[str, ...]
    cohorts: NDArray[np.str_]  # [case]
    millilitres: NDArray[np.float64]  # [case], 0 without a lesion


def simulated(out: Path, heads: Path | None, subjects: int | None) -> dict[str, Path]:
    """The folders of both cohorts, with and without a stroke, by name; what exists already is kept."""
    found = {}
    for cohort, flags in COHORTS.items():
        if cohort == "PTBP" and heads is None:
            print("no RECON_SHARED_DATA: the semi-synthetic cohort is left out")
            continue
        words = [*flags, *SIMULATION, *(["--anatomy", str(heads)] if cohort == "PTBP" else [])]
        words += [] if subjects is None else ["--subjects", str(subjects)]
        for state in ("stroke", "healthy"):
            folder = out / f"{cohort.lower()}_{state}"
            found[folder.name] = folder
            try:
                recon(["simulate", "--out", str(folder), *words, *(["--stroke"] if state == "stroke" else [])])
            except SystemExit as finished:
                if finished.code:
                    raise
    return found


def embedded(table: Path, out: Path, controls: int) -> dict[str, Embeddings]:
    """What every encoder pools of every volume; volumes and embeddings are kept."""
    encoders: dict[str, Encoder] = {"recon-small": load_encoder("recon-small")}
    encoders |= {f"random init {seed}": load_encoder("recon-small", random_seed=seed) for seed in range(controls)}
    encoders["hand-made"] = load_encoder("hand-made")
    cases = cases_of(encoders["recon-small"], read_labels(table), "lesion", out / "volumes", said)
    found = {}
    for name, encoder in encoders.items():
        path = out / f"{name.replace(' ', '-')}.npy"
        if not path.is_file():
            rows = []
            for number, case in enumerate(cases):
                said(name, number / len(cases))
                rows.append(encoder.encode(read_view(case.views[0]).prepared).pooled.numpy())
            np.save(path, np.stack(rows))
        found[name] = Embeddings(
            encoder.name, encoder.weights_hash, np.load(path), (np.zeros((0, 0), np.float16),) * len(cases),
            tuple(case.person for case in cases), tuple(case.case for case in cases), np.ones(len(cases)),
            tuple(case.split for case in cases), {"lesion": np.array([case.label for case in cases])},
        )  # fmt: skip
    return found


def said(what: str, done: float) -> None:
    """A line for every twentieth of the way."""
    if round(done * 1000) % 50 == 0:
        print(f"{what}: {done:.0%}", flush=True)


def judged(found: dict[str, Embeddings], folders: dict[str, Path]) -> Cases:
    """A linear probe on each, fitted on the persons of split fit, and what it says of the others."""
    probabilities = {}
    for name, embeddings in found.items():
        probe = fit_probe(embeddings, FitOptions("lesion"))
        chosen = embeddings.select(evaluation_rows(embeddings, probe, unseen_only=False))
        probabilities[name] = probe.predict(chosen).probabilities
    origin = {
        pseudonym(case_of(folder, entry)): (name.split("_")[0].upper(), float(entry.get("lesion_ml") or 0))
        for name, folder in folders.items()
        for entry in scans_of(folder)
    }
    known = [origin[case] for case in chosen.cases]
    return Cases(
        chosen.label("lesion"),
        probabilities,
        chosen.subjects,
        np.array([cohort for cohort, _ in known]),
        np.array([millilitres for _, millilitres in known]),
    )


def row_of(cases: Cases, rows: NDArray[np.int64], repeats: int) -> dict[str, object]:
    """AUC by encoder, and the paired differences of the first to the mean random init and to hand-made features."""
    labels, persons = cases.labels[rows], tuple(cases.persons[row] for row in rows)
    given = [each[rows] for each in cases.probabilities.values()]

    def figures(index: NDArray[np.int64]) -> NDArray[np.float64]:
        areas = [auc(labels[index], each[index]) for each in given]
        to_random = [areas[0] - np.mean(areas[1:-1])] if len(areas) > 2 else []
        return np.array([*areas, *to_random, areas[0] - areas[-1]])

    intervals = bootstrap(figures, persons, repeats, numpy_generator(0, "lesions"))
    names = [
        *cases.probabilities,
        *(["difference to random init"] if len(given) > 2 else []),
        "difference to hand-made",
    ]
    return {
        "cases": len(rows), "lesions": int(labels.sum()), "persons": len(set(persons)),
        **{name: [each.value, each.low, each.high] for name, each in zip(names, intervals, strict=True)},
    }  # fmt: skip


def results(cases: Cases, repeats: int) -> dict[str, dict[str, object]]:
    """The rows of the table: every cohort and every size; cases without a lesion stand in each row of their cohort."""
    found = {}
    cohorts = sorted(set(cases.cohorts), reverse=True)
    for cohort in [*cohorts, *(["both"] if len(cohorts) > 1 else [])]:
        there = (cases.cohorts == cohort) | (cohort == "both")
        for size, (low, high) in SIZES.items():
            sized = (cases.labels == 0) | ((cases.millilitres >= low) & (cases.millilitres < high))
            rows = np.flatnonzero(there & sized)
            if len(set(cases.labels[rows])) == 2:
                found[f"{cohort}, {size}"] = row_of(cases, rows, repeats)
    return found


def show(found: dict[str, dict[str, object]]) -> None:
    """Print the table."""
    names = [name for name in next(iter(found.values())) if name not in ("cases", "lesions", "persons")]
    print("AUC of a linear probe for a lesion, unseen persons; 95 % intervals over persons. Not a diagnosis.")
    print("| | persons, cases, lesions | " + " | ".join(names) + " |")
    print("|---" * (2 + len(names)) + "|")
    for title, row in found.items():
        cells = []
        for name in names:
            value, low, high = row[name]  # type: ignore[misc]
            sign = "+" if name.startswith("difference") else ""
            cells.append(f"{value:{sign}.3f} ({low:{sign}.3f} to {high:{sign}.3f})".replace("0.", "."))
        print(f"| {title} | {row['persons']}, {row['cases']}, {row['lesions']} | " + " | ".join(cells) + " |")


def main(words: Sequence[str] | None = None) -> None:
    """Simulate, embed, fit, print; OUT/lesions.json holds the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder for everything")
    parser.add_argument("--subjects", type=int, help="of each cohort, to try it; default: as the card has it")
    parser.add_argument("--controls", type=int, default=3, help="random inits")
    parser.add_argument("--repeats", type=int, default=2000)
    given = parser.parse_args(words)
    torch.set_num_threads(1)
    shared = os.environ.get("RECON_SHARED_DATA")
    heads = None if shared is None else Path(shared) / "labels_ptbp60"
    folders = simulated(given.out, heads, given.subjects)
    parts = {state: [path for name, path in folders.items() if name.endswith(state)] for state in ("healthy", "stroke")}
    table = lesion_table(parts["healthy"], parts["stroke"], given.out)
    found = results(judged(embedded(table, given.out, given.controls), folders), given.repeats)
    (given.out / "lesions.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    show(found)


if __name__ == "__main__":
    main()
