"""What a fine-tuning leaves for its reader: the whole grid as JSON, the U-shaped curves, and a page of text."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recon.atomic import atomic_path
from recon.finetuning.choice import Choice
from recon.prior.validation import VARIANCE_SIGMAS


def write_json(path: Path, values: dict[str, Any]) -> None:
    """One JSON file, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(values, indent=1, default=str) + "\n", encoding="utf-8")


def choice_values(choice: Choice) -> dict[str, Any]:
    """A choice as plain values."""
    return dataclasses.asdict(choice)


def plot(choice: Choice, path: Path, acceleration: float) -> None:
    """NRMSE against length, one curve a rate, and how the denoising error changed at every noise level."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.5, 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    before = choice.before
    left.axhline(before.nrmse, color="0.4", linestyle="--", linewidth=1, label="no fine-tuning")
    rates = sorted({entry.rate for entry in choice.grid if entry.images}, reverse=True)
    for number, rate in enumerate(rates):
        entries = [entry for entry in choice.grid if entry.rate == rate]
        # The error bars are those of the paired difference to no fine-tuning: what the comparison of curves rests on.
        left.errorbar(
            [entry.images for entry in entries], [entry.nrmse for entry in entries],
            [entry.gain_error for entry in entries], color=f"C{number}", marker="o", markersize=3, linewidth=1.2,
            capsize=2, label=f"rate {rate:.2g}",
        )  # fmt: skip
        mine = [entry for entry in entries if entry.images == (choice.images or entries[-1].images)]
        right.semilogx(
            VARIANCE_SIGMAS, np.array(mine[0].denoising) / np.array(before.denoising), color=f"C{number}", linewidth=1.2
        )
    if choice.images:
        left.plot(
            choice.images, choice.best.nrmse, marker="*", markersize=14, color="black", linestyle="none", label="chosen"
        )
    left.set_xscale("log")
    left.set_xlabel("length (images)")
    left.set_ylabel(f"NRMSE of held-out patients, R = {acceleration:g}")
    left.legend(fontsize=7, frameon=False)
    right.axhline(1, color="0.4", linestyle="--", linewidth=1)
    right.set_xlabel("noise level sigma")
    right.set_ylabel("denoising error / that of no fine-tuning")
    right.set_title("held-out patients, at the chosen length", fontsize=8)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)


def page(choice: Choice | None, sentences: str, warnings: Sequence[str], checks: dict[str, Any]) -> str:
    """The report as Markdown."""
    lines = ["# Fine-tuning", "", sentences, ""]
    if choice is not None:
        lines += ["![NRMSE against length and rate](finetuning.png)", ""]
        lines += ["| rate | images | NRMSE | standard error | gain over no fine-tuning | its standard error |"]
        lines += ["|---|---|---|---|---|---|"]
        for entry in choice.grid:
            mark = " (chosen)" if entry is choice.best else ""
            rate = f"{entry.rate:.3g}{mark}" if entry.images else f"no fine-tuning{mark}"
            lines.append(
                f"| {rate} | {entry.images} | {entry.nrmse:.4f} | {entry.nrmse_error:.4f} | {entry.gain:+.4f} | "
                f"{entry.gain_error:.4f} |"
            )
        lines.append("")
    lines += ["## Checks", ""]
    lines += [f"- {name}: {text}" for name, text in checks.items()]
    lines += ["", "## Warnings", ""]
    lines += [f"- {warning}" for warning in warnings] or ["None."]
    return "\n".join(lines) + "\n"
