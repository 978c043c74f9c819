"""The two figures of the report."""

import math
from pathlib import Path
from typing import Any

import numpy as np
from analysis import Findings, interval

from recon.atomic import atomic_path


def _figure(width: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def plot_strategies(path: Path, findings: Findings) -> None:
    """NRMSE of every strategy at every acceleration."""
    figure, axes = _figure(8.5)
    scores, names = findings.scores, sorted(findings.strategies)
    for number, (acceleration, by) in enumerate(scores.items()):
        intervals = [interval(np.array(list(by[name].values()))) for name in names]
        place = np.arange(len(names)) + 0.15 * (number - (len(scores) - 1) / 2)
        middle = np.array([entry["mean"] for entry in intervals])
        reach = np.array([entry["high"] - entry["mean"] for entry in intervals])
        axes.errorbar(place, middle, reach, fmt="o", markersize=4, capsize=2, label=f"R = {acceleration:g}")
    axes.set_xticks(range(len(names)), [f"strategy {name}" for name in names], fontsize=8)
    axes.set_ylabel("NRMSE of test subjects, 95 % interval")
    axes.legend(frameon=False, fontsize=8)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)


def plot_grid(path: Path, findings: Findings) -> None:
    """NRMSE over length, a line for each rate."""
    points, before, choice = findings.points, findings.before, findings.choice
    figure, axes = _figure(6)
    axes.axhline(before.mean(), color="0.4", linestyle="--", linewidth=1, label="no fine-tuning")
    for number, rate in enumerate(sorted({r for r, _ in points}, reverse=True)):
        lengths = sorted(n for r, n in points if r == rate)
        errors = [(points[rate, n] - before).std(ddof=1) / math.sqrt(len(before)) for n in lengths]
        axes.errorbar(
            lengths, [points[rate, n].mean() for n in lengths], errors, color=f"C{number}", marker="o", markersize=3,
            capsize=2, label=f"rate {rate:.2g}",
        )  # fmt: skip
    if choice["images"]:
        axes.axvline(choice["images"], color="black", linewidth=0.6, linestyle=":")
        axes.set_title(
            f"chosen without the test subjects: rate {choice['rate']:.2g}, {choice['images']} images", fontsize=8
        )
    axes.set_xscale("log")
    axes.set_xlabel("length (images)")
    axes.set_ylabel(f"NRMSE of test subjects, R = {findings.experiment.search.acceleration:g}")
    axes.legend(frameon=False, fontsize=7)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)
