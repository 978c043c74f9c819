"""How long until a watch sees a planted change, and how long it stays silent without one: replays of simulated series.

python examples/monitor/replay.py --out FOLDER [--persons 100] [--changed 20] [--replays 60] [--baseline 40]

Scans of many persons at one site are simulated and reconstructed once, with and without each change. The persons
without a change stand for all persons there could be: a replay draws ``--baseline`` of them with replacement as its
baseline, fits it as ``recon monitor fit`` does, and watches scans drawn from all of them likewise, endlessly without a
change, and with a change after the 20th scan. As many replays again take ``--baseline`` of the persons without
replacement and watch the others alone, as a routine has other persons than its baseline.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest
from series import CHANGES, series

from recon.monitoring.baseline import Stratum, fit_baseline
from recon.monitoring.cusum import chart
from recon.monitoring.features import WatchedScan
from recon.monitoring.kernel_test import permutation_p_value
from recon.monitoring.options import FitOptions

STATED = 100.0  # run length asked for, in scans
BEFORE, LONGEST, STREAMS, WINDOW, WINDOWS = 20, 100, 10, 10, 5


def standardised(stratum: Stratum, scans: list[WatchedScan]) -> np.ndarray:
    """Figures ``[scan, figure]`` in standard deviations of the baseline."""
    values = np.array([[scan.figures[name] for name in stratum.figures] for scan in scans])
    return (values - stratum.location) / stratum.scale


def drawn(values: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """``count`` scans with replacement."""
    return values[generator.integers(len(values), size=count)]


def replay(number: int, pool: dict[str, list[WatchedScan]], size: int, others: bool = False) -> dict[str, Any]:
    """One baseline: the run length without a change, delays after each, and what one window says. ``others``: only
    persons that are not in the baseline are watched."""
    generator = np.random.default_rng([78 if others else 77, number])
    every = pool["none"]
    order = generator.permutation(len(every)) if others else generator.integers(len(every), size=size)
    chosen = [every[i] for i in order[:size]]
    renamed = [replace(scan, person=str(place)) for place, scan in enumerate(chosen)]
    baseline = fit_baseline(renamed, FitOptions(run_length=STATED, seed=number))
    stratum = baseline.strata[0]
    limit = stratum.limit.value
    quiet = standardised(stratum, [every[i] for i in order[size:]] if others else every)
    alarms = len(chart(drawn(quiet, 4000, generator), limit).alarms)
    found: dict[str, Any] = {"limit": limit, "run_length": 4000 / max(alarms, 0.5), "figures": stratum.figures}
    own = (stratum.values - stratum.location) / stratum.scale
    for name in CHANGES:
        values = quiet if name == "none" else standardised(stratum, pool[name])
        delays, raised_by = [], []
        for _ in range(STREAMS if name != "none" else 0):
            stream = np.concatenate([drawn(quiet, BEFORE, generator), drawn(values, LONGEST, generator)])
            raised = chart(stream, limit).alarms
            if raised and raised[0][0] < BEFORE:
                continue  # a false alarm before the change: no delay is defined
            delays.append(raised[0][0] - BEFORE + 1 if raised else LONGEST)
            raised_by += [stratum.figures[raised[0][1]]] if raised else []
        persons = [str(place) for place in range(len(own) + WINDOW)]
        late = np.arange(len(persons)) >= len(own)
        p_values = [
            permutation_p_value(
                [np.concatenate([own, drawn(values, WINDOW, generator)])], persons, late, 199, generator
            )[1]
            for _ in range(WINDOWS)
        ]
        found[name] = {"delays": delays, "raised_by": raised_by, "p_values": p_values}
    return found


def interval(values: list[float], digits: int = 1) -> str:
    """The mean, and 95 % of its bootstrap over replays."""
    sample, generator = np.array(values, float), np.random.default_rng(0)
    means = sample[generator.integers(len(sample), size=(2000, len(sample)))].mean(1)
    low, high = np.quantile(means, (0.025, 0.975))
    return f"{sample.mean():.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def share(hits: Sequence[bool] | np.ndarray) -> str:
    """A share with Wilson's 95 % interval, as if all were independent."""
    ends = binomtest(int(np.sum(hits)), len(hits)).proportion_ci(method="wilson")
    return f"{np.mean(hits):.2f} ({ends.low:.2f} to {ends.high:.2f})"


def table(replays: list[dict[str, Any]]) -> str:
    """Markdown."""
    lengths = np.array([entry["run_length"] for entry in replays])
    low, middle, high = np.quantile(lengths, (0.05, 0.5, 0.95))
    limits = np.array([entry["limit"] for entry in replays])
    lines = [
        f"Without a change: a false alarm every {middle:.0f} scans (median over {len(replays)} baselines; 5 % to 95 %: "
        f"{low:.0f} to {high:.0f}; stated: at least {STATED:g} for 90 % of baselines, held by a share of "
        f"{share(lengths >= STATED)}); the limit is {np.median(limits):.1f} in the median.",
        "",
        "| change | scans until the alarm, mean | median | within 20 scans | raised most often by | "
        "window of 10: p <= .05 |",
        "|---|---|---|---|---|---|",
    ]
    for name in CHANGES:
        hits = share([p <= 0.05 for entry in replays for p in entry[name]["p_values"]])
        per_replay = [entry[name]["delays"] for entry in replays if entry[name]["delays"]]
        if not per_replay:
            lines.append(f"| {name} | - | - | - | - | {hits} |")
            continue
        delays = np.concatenate(per_replay)
        by = [figure for entry in replays for figure in entry[name]["raised_by"]]
        most = max(set(by), key=by.count) if by else "-"
        often = f" ({100 * by.count(most) / len(by):.0f} %)" if by else ""
        within = share(delays <= 20)
        mean = interval([float(np.mean(d)) for d in per_replay])
        lines.append(f"| {name} | {mean} | {np.median(delays):g} | {within} | {most}{often} | {hits} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--persons", type=int, default=100, help="without a change")
    parser.add_argument("--changed", type=int, default=20, help="other persons, for each change")
    parser.add_argument("--replays", type=int, default=60)
    parser.add_argument("--baseline", type=int, default=40, help="scans of a baseline")
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    changed = [name for name in CHANGES if name != "none"]
    pool = series(["none"], range(chosen.persons), chosen.out)
    pool |= series(changed, range(chosen.persons, chosen.persons + chosen.changed), chosen.out)
    replays = [replay(number, pool, chosen.baseline) for number in range(chosen.replays)]
    others = [replay(number, pool, chosen.baseline, others=True) for number in range(chosen.replays)]
    (chosen.out / "replays.json").write_text(json.dumps({"all": replays, "others": others}))
    text = f"All persons watched\n\n{table(replays)}\n\nOnly persons outside of the baseline\n\n{table(others)}"
    (chosen.out / "table.md").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
