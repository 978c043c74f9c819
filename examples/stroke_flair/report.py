"""The report of the experiment: figures, tables and the answers to its questions, from the files of the stages."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from analysis import Findings, answers, interval, read_findings
from experiment import Experiment
from plots import plot_grid, plot_strategies

from recon.atomic import atomic_path


def write_report(experiment: Experiment, out: Path, strategies: dict[str, str]) -> None:
    """REPORT.md, strategies.png, grid.png and results.json in ``out``. Raises FileNotFoundError for a missing stage."""
    findings = read_findings(experiment, out, strategies)
    answered = answers(findings)
    results = {
        "target_acceleration": findings.target, "answers": answered,
        "choice": {k: findings.choice[k] for k in ("rate", "images", "epochs")},
        "nrmse": {
            f"{r:g}": {s: interval(np.array(list(v.values()))) for s, v in by.items()}
            for r, by in findings.scores.items()
        },
        "grid": [
            {"rate": rate, "images": images, "nrmse": interval(v)} for (rate, images), v in findings.points.items()
        ],
        "seconds": findings.seconds,
    }  # fmt: skip
    with atomic_path(out / "results.json") as temporary:
        temporary.write_text(json.dumps(results, indent=1), encoding="utf-8")
    plot_strategies(out / "strategies.png", findings)
    plot_grid(out / "grid.png", findings)
    with atomic_path(out / "REPORT.md") as temporary:
        temporary.write_text(_text(findings, answered), encoding="utf-8")


def _text(findings: Findings, answered: list[dict[str, Any]]) -> str:
    """REPORT.md."""
    experiment, strategies, scores = findings.experiment, findings.strategies, findings.scores
    cohorts, points, before = findings.cohorts, findings.points, findings.before
    heads = (
        f"{cohorts['heads_training']} heads for training and {cohorts['heads_test']} others for testing"
        if not cohorts["same_heads"]
        else "one built-in head in many shapes, in training and testing alike"
    )
    lengths = sorted({n for _, n in points})
    lines = [
        "# Fine-tuning on few FLAIR patients, in miniature",
        "",
        f"All data are simulated or semi-synthetic: {heads} ({cohorts['heads']}), lesions: {cohorts['lesion_shapes']}. "
        f"Matrix {experiment.size[0]} x {experiment.size[1]}, {experiment.coils} coils, SNR {experiment.snr:g}. "
        f"Pre-training: {experiment.pretraining_subjects} subjects in {', '.join(experiment.pretraining_contrasts)}; "
        f"full FLAIR: {experiment.full_subjects} scans; small cohort: {experiment.small_subjects}; "
        f"test: {experiment.test_subjects}. "
        f"Every training from scratch saw {experiment.training.images} images, but 5b only as many as the longest "
        f"fine-tuning, {max(lengths)}.",
        "",
        "## What was asked, and measured",
        "",
        "| question | measured | met |",
        "|---|---|---|",
        *[f"| {entry['question']} | {entry['measured']} | {'yes' if entry['met'] else 'no'} |" for entry in answered],
        "",
        f"The automatic choice: {findings.choice['explanation']}",
        "",
        "## Strategies: NRMSE of test subjects, mean [95 % interval over subjects]",
        "",
        "![strategies](strategies.png)",
        "",
        "| strategy | " + " | ".join(f"R = {r:g}" for r in scores) + " |",
        "|---|" + "---|" * len(scores),
    ]
    for name in sorted(strategies):
        cells = []
        for by in scores.values():
            entry = interval(np.array(list(by[name].values())))
            cells.append(f"{entry['mean']:.4f} [{entry['low']:.4f}, {entry['high']:.4f}]")
        lines.append(f"| {name}: {strategies[name]} | " + " | ".join(cells) + " |")
    lines += [
        "",
        f"## Rate and length: NRMSE of test subjects at R = {experiment.search.acceleration:g}",
        "",
        f"![grid](grid.png)\n\nWithout fine-tuning: {before.mean():.4f}.",
        "",
        "| rate | " + " | ".join(f"{n} images" for n in lengths) + " |",
        "|---|" + "---|" * len(lengths),
    ]
    for rate in sorted({r for r, _ in points}, reverse=True):
        lines.append(f"| {rate:.2g} | " + " | ".join(f"{points[rate, n].mean():.4f}" for n in lengths) + " |")
    lines += ["", "## Time", "", "| stage | wall seconds | processor seconds |", "|---|---|---|"]
    lines += [f"| {name} | {wall:.0f} | {processor:.0f} |" for name, (wall, processor) in findings.seconds.items()]
    return "\n".join(lines) + "\n"
