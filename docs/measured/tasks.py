"""Tables of docs/interactive.md, docs/vessels.md, docs/monitoring.md and docs/studies.md: what follows of images.

All come from examples or commands that the pages name, with their own defaults.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from measured.table import Row, Sources, Table, answer, between, read_rows, recon, script, short, tables_in
from recon.reconstruction.methods import METHODS

METHODS_OF_CLICKS = ("zero-filled", "l1-wavelet", "posterior")
SEGMENTERS = ("random-walker", "region-growing")
CONTRASTS = ("DWI", "DWI-B0", "FLAIR", "T2", "T1")


def clicks_on_flair(folder: Path, sources: Sources) -> list[Row]:
    """Clicks on simulated subacute strokes in FLAIR."""
    script("interactive/run", "--out", folder, "--contrast", "FLAIR")
    return [
        [*names, f"{short(row['area'], 2)}, {short(row['area_change'], 2, '+')}", clicks(row), *chance(row)]
        for names, row in in_order(read_rows(folder / "FLAIR" / "clicks" / "interactive.json"))
    ]


def clicks_on_dwi(folder: Path, sources: Sources) -> list[Row]:
    """Clicks on simulated acute strokes in DWI and on maps of the ADC."""
    script("interactive/run", "--out", folder, "--contrast", "DWI")
    top = folder / "DWI"
    rows = read_rows(top / "clicks" / "interactive.json")
    rates = sorted({row["acceleration"] for row in rows})
    maps = []
    for method in METHODS_OF_CLICKS:
        for rate, asked in zip(rates, (2, 4, 8), strict=True):
            own = read_rows(top / "clicks-adc" / f"{method}-R{asked}" / "interactive.json")
            maps += [row | {"method": method, "acceleration": rate} for row in own]
    made = []
    for images, found in (("DWI", rows), ("ADC", maps)):
        for names, row in in_order(found):
            area = f"{short(row['area'], 2)}, {short(row['area_change'], 2, '+')} ({p_value(row['area_p'])})"
            made.append([images, *names, area, clicks(row), *chance(row)])
    return made


def in_order(rows: list[dict[str, Any]]) -> Iterator[tuple[Row, dict[str, Any]]]:
    """Rows of ``recon interactive`` by segmenter, method and acceleration, with the cells that name them."""
    for segmenter in SEGMENTERS:
        for method in METHODS_OF_CLICKS:
            own = [row for row in rows if (row["segmenter"], row["method"]) == (segmenter, method)]
            for row in sorted(own, key=lambda row: row["acceleration"]):
                title = METHODS[method].title
                yield [segmenter.replace("-", " "), title, f"{row['acceleration']:.2f}"], row


def clicks(row: dict[str, Any]) -> str:
    """Clicks to the target, and their change from the reference with its interval."""
    low, high = (short(row[f"clicks_change_{end}"], 1) for end in ("low", "high"))
    return f"{short(row['clicks'], 1)}, {short(row['clicks_change'], 1, '+')} ({low} to {high})"


def chance(row: dict[str, Any]) -> Row:
    """p of the sign test, and how many got to the target."""
    return [p_value(row["clicks_p"]), f"{row['reached'] * row['persons']:.0f} of {row['persons']}"]


def p_value(p: float) -> str:
    """Two digits, three where it is small."""
    return "1" if p >= 0.995 else short(p, 2 if p >= 0.05 else 3)


def vessels(folder: Path, sources: Sources) -> list[Row]:
    """F1 of pruning graphs of simulated vessels."""
    script("vessels/run", "--out", folder)
    half = folder / "eval"
    images = (half / "full", *sorted(half.glob("zero-filled-R*")))
    found = answer("vessels", "eval", *images, "--truth", half / "full", "--model", folder / "model")["rows"]
    made = []
    for row in sorted(found, key=lambda row: row["acceleration"]):
        figures = [
            f"{short(row[name], 2)} ({short(row[f'{name}_low'], 2)} to {short(row[f'{name}_high'], 2)})"
            for name in ("f1_logistic", "f1_attention", "gain")
        ]
        counts = (str(row["branches"]), str(row["vessels"]), short(row["f1_keep_all"], 2))
        made.append([f"{row['acceleration']:.1f}".removesuffix(".0"), *counts, *figures])
    return made


def replays(folder: Path, sources: Sources) -> list[Row]:
    """How soon a watch sees planted changes, where only persons outside of the baseline are watched."""
    printed = script("monitor/replay", "--out", folder, "--changed", 5, "--replays", 40)
    _, outside = tables_in(printed)
    return outside


def sites(folder: Path, sources: Sources) -> list[Row]:
    """A probe on a site that it was not fitted on, beside one that was fitted on all."""
    script("monitor/sites", "--out", folder)
    found = json.loads((folder / "sites.json").read_text(encoding="utf-8"))
    held = {row["site"]: row for row in found["held-out persons of all sites"]}
    return [
        [
            row["site"],
            between(row["auc"], 2),
            f"{between(held[row['site']]['auc'], 2)}, {held[row['site']]['persons']} persons",
        ]
        for row in found["site left out of the fit"]
    ]


def acceleration(folder: Path, sources: Sources, cohorts: tuple[str, ...], rates: str, methods: str) -> list[Row]:
    """What acceleration costs the model of docs/studies.md: all columns, AUC among them."""
    home = sources.studies or folder
    for name, persons, *flags in (("stroke", 160, "--stroke"), ("healthy", 92)):
        if not (home / name / "manifest.json").is_file():
            wanted = [word for contrast in CONTRASTS for word in ("--contrast", contrast)]
            setup = ("--size", "96,80", "--coils", 6, "--slices", 8, "--snr", 20, "--seed", 14)
            recon("simulate", "--out", home / name, "--subjects", persons, *setup, *flags, *wanted)
    kept = ("--kept", folder / "kept")
    if not (home / "variable" / "config.json").is_file():  # written last
        recon("study", "fit", home / "stroke", home / "healthy", "--out", home / "variable", *kept)
    recon(
        "study", "accelerate", *(home / name for name in cohorts), "--model", home / "variable", *kept,
        "--out", folder / "answer", "--persons", 6, "--acceleration", rates, "--methods", methods,
    )  # fmt: skip
    return [changes_of(result) for result in read_rows(folder / "answer" / "accelerate.json", "results")]


def changes_of(result: dict[str, Any]) -> Row:
    """One method, acceleration and series of ``recon study accelerate``; AUC is empty where it cannot be had."""
    columns = (("dice", 2), ("auc", 2), ("volume_error_ml", 1), ("mask_entropy_ml", 1))
    changes = result["figures"]["changes"]
    figures = ["" if changes[key]["value"] is None else between(changes[key], n, "+") for key, n in columns]
    rate = f"{result['acceleration']:g} ({result['net_acceleration']:.1f})"
    return [rate, result["method"], result["series"], *figures]


def ghosts(folder: Path, sources: Sources) -> list[Row]:
    """Zero-filled at R = 4 and 8, on persons with and without an infarct."""
    return acceleration(folder, sources, ("stroke", "healthy"), "4,8", "zero-filled")


def wavelets(folder: Path, sources: Sources) -> list[Row]:
    """L1-wavelet at R = 4 and 8, on persons with an infarct."""
    return without_auc(acceleration(folder, sources, ("stroke",), "4,8", "l1-wavelet"))


def means(folder: Path, sources: Sources) -> list[Row]:
    """The posterior mean at R = 4 and 8, likewise."""
    return without_auc(acceleration(folder, sources, ("stroke",), "4,8", "posterior"))


def all_methods(folder: Path, sources: Sources) -> list[Row]:
    """All methods at R = 2, likewise."""
    return without_auc(acceleration(folder, sources, ("stroke",), "2", "zero-filled,l1-wavelet,posterior"))


def without_auc(rows: list[Row]) -> list[Row]:
    """Without the column that only persons with and without an infarct have together."""
    return [[*row[:4], *row[5:]] for row in rows]


INTERACTIVE, MONITORING, STUDIES = "docs/interactive.md", "docs/monitoring.md", "docs/studies.md"
ACCELERATED = "| R (net) | method | accelerated | Dice |"
TABLES = {
    "clicks-flair": Table(INTERACTIVE, "| segmenter | method | R (net) |", 3, 10, clicks_on_flair),
    "clicks-dwi": Table(
        INTERACTIVE, "| | segmenter | method | R (net) |", 4, 20, clicks_on_dwi
    ),
    "vessels": Table("docs/vessels.md", "| R (net) | branches |", 1, 5, vessels),
    "replays": Table(
        MONITORING, "| change | scans until the alarm, mean |", 1, 4, replays
    ),
    "sites": Table(MONITORING, "| site | fitted on the other sites, AUC", 1, 3, sites),
    "studies-zero-filled": Table(STUDIES, f"{ACCELERATED} AUC |", 3, 3, ghosts),
    "studies-wavelet": Table(STUDIES, ACCELERATED, 3, 4, wavelets, after="The six studies with an infarct alone"),
    "studies-posterior": Table(STUDIES, ACCELERATED, 3, 20, means, after="The same six by the posterior mean"),
    "studies-all": Table(STUDIES, ACCELERATED, 3, 12, all_methods, after="and by all methods at R = 2"),
}  # fmt: skip
