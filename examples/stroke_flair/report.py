"""The report of the experiment: figures, tables and the answers to its questions, from the files of the stages."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from recon.atomic import atomic_path


def write_report(experiment: Any, out: Path, strategies: dict[str, str]) -> None:
    """REPORT.md, strategies.png, grid.png and results.json in ``out``. Stages that are missing are said to be."""
    scores = _scores(experiment, out, strategies)
    points, before = _grid(out)
    choice = json.loads((out / "priors" / "4" / "finetuning.json").read_text())
    cohorts = json.loads((out / "cohorts.json").read_text())
    seconds = json.loads((out / "seconds.json").read_text()) if (out / "seconds.json").is_file() else {}
    target = 4.0 if 4.0 in experiment.accelerations else experiment.accelerations[-1]
    answers = _answers(experiment, scores[target], points, before, choice)
    results = {
        "target_acceleration": target, "answers": answers,
        "choice": {k: choice[k] for k in ("rate", "images", "epochs")},
        "nrmse": {
            f"{r:g}": {s: _interval(np.array(list(v.values()))) for s, v in by.items()} for r, by in scores.items()
        },
        "grid": [{"rate": rate, "images": images, "nrmse": _interval(v)} for (rate, images), v in points.items()],
        "seconds": seconds,
    }  # fmt: skip
    with atomic_path(out / "results.json") as temporary:
        temporary.write_text(json.dumps(results, indent=1), encoding="utf-8")
    _plot_strategies(out / "strategies.png", scores, strategies)
    _plot_grid(out / "grid.png", points, before, choice, experiment)
    text = _text(experiment, scores, strategies, answers, choice, cohorts, seconds, points, before)
    with atomic_path(out / "REPORT.md") as temporary:
        temporary.write_text(text, encoding="utf-8")


def _scores(experiment: Any, out: Path, strategies: dict[str, str]) -> dict[float, dict[str, dict[str, float]]]:
    return {
        r: {s: json.loads((out / "evaluation" / f"{s}_R{r:g}.json").read_text()) for s in sorted(strategies)}
        for r in experiment.accelerations
    }


def _grid(out: Path) -> tuple[dict[tuple[float, int], np.ndarray], np.ndarray]:
    before = json.loads((out / "grid" / "before.json").read_text())
    names = sorted(before)
    points = {}
    for path in sorted((out / "grid").glob("rate*/records.json")):
        for record in json.loads(path.read_text()):
            points[record["rate"], record["images"]] = np.array([record["nrmse"][name] for name in names])
    return points, np.array([before[name] for name in names])


def _interval(values: np.ndarray) -> dict[str, float]:
    """Mean and its 95 % interval over subjects (Student's t)."""
    mean = float(values.mean())
    if len(values) < 2:
        return {"mean": mean, "low": math.nan, "high": math.nan}
    half = float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
    return {"mean": mean, "low": mean - half, "high": mean + half}


def _paired(first: dict[str, float], second: dict[str, float]) -> dict[str, float]:
    """Second minus first, over the same subjects: positive when the first is better."""
    return _interval(np.array([second[name] - first[name] for name in sorted(first)]))


def _nearest(points: dict[tuple[float, int], np.ndarray], rate: float, images: float) -> tuple[float, int]:
    return min(points, key=lambda p: abs(math.log(p[0] / rate)) + abs(math.log(p[1] / images)))


def _answers(
    experiment: Any,
    scores: dict[str, dict[str, float]],
    points: dict[tuple[float, int], np.ndarray],
    before: np.ndarray,
    choice: dict[str, Any],
) -> list[dict[str, Any]]:
    """Each bar of the issue with what was measured and whether it was met."""
    means = {s: float(np.mean(list(v.values()))) for s, v in scores.items()}
    ratio = means["4"] / means["3"] - 1
    rates, lengths = sorted({r for r, _ in points}), sorted({n for _, n in points})
    best = min(points, key=lambda point: points[point].mean())
    interior = rates[0] < best[0] < rates[-1] and lengths[0] < best[1] < lengths[-1]
    answers = [
        {
            "question": "strategy 4 against 3 (full FLAIR): within 5 %",
            "measured": f"{100 * ratio:+.1f} %",
            "met": ratio <= 0.05,
        }
    ]
    for other in ("5", "5b", "6"):
        gain = _paired(scores["4"], scores[other])
        answers.append(
            {
                "question": f"strategy 4 better than {other}, interval of the paired difference excludes 0",
                "measured": f"{gain['mean']:+.4f} [{gain['low']:+.4f}, {gain['high']:+.4f}]",
                "met": gain["low"] > 0,
            }
        )
    answers.append(
        {
            "question": "the grid has its optimum inside",
            "measured": f"best on TEST: rate {best[0]:.2g}, {best[1]} images",
            "met": interior,
        }
    )
    if choice["images"]:
        chosen = _nearest(points, choice["rate"], choice["images"])
        mine = points[chosen]
        words = f"rate {chosen[0]:.2g}, {chosen[1]} images"
    else:
        mine, words = before, "no fine-tuning"
    excess = mine.mean() / points[best].mean() - 1
    answers.append(
        {
            "question": "the automatic choice is within 1 % of the grid's best on TEST",
            "measured": f"{words}: {100 * excess:+.2f} %",
            "met": bool(excess <= 0.01),
        }
    )
    factor, share = experiment.paper
    paper = _nearest(points, factor * experiment.training.learning_rate, share * experiment.training.images)
    for name, other, strict in (("the paper's fixed choice", points[paper], False), ("no fine-tuning", before, True)):
        gain = _interval(other - mine)
        answers.append(
            {
                "question": f"the automatic choice against {name}: {'better' if strict else 'at least as good'}",
                "measured": f"{gain['mean']:+.4f} [{gain['low']:+.4f}, {gain['high']:+.4f}]",
                "met": bool(gain["low"] > 0 if strict else gain["mean"] >= 0),
            }
        )
    return answers


def _figure(width: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _plot_strategies(path: Path, scores: dict[float, dict[str, dict[str, float]]], strategies: dict[str, str]) -> None:
    figure, axes = _figure(8.5)
    names = sorted(strategies)
    for number, (acceleration, by) in enumerate(scores.items()):
        intervals = [_interval(np.array(list(by[name].values()))) for name in names]
        place = np.arange(len(names)) + 0.15 * (number - (len(scores) - 1) / 2)
        middle = np.array([entry["mean"] for entry in intervals])
        reach = np.array([entry["high"] - entry["mean"] for entry in intervals])
        axes.errorbar(place, middle, reach, fmt="o", markersize=4, capsize=2, label=f"R = {acceleration:g}")
    axes.set_xticks(range(len(names)), [f"strategy {name}" for name in names], fontsize=8)
    axes.set_ylabel("NRMSE of test subjects, 95 % interval")
    axes.legend(frameon=False, fontsize=8)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)


def _plot_grid(
    path: Path, points: dict[tuple[float, int], np.ndarray], before: np.ndarray, choice: dict[str, Any], experiment: Any
) -> None:
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
    axes.set_ylabel(f"NRMSE of test subjects, R = {experiment.search.acceleration:g}")
    axes.legend(frameon=False, fontsize=7)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)


def _text(
    experiment: Any,
    scores: dict[float, dict[str, dict[str, float]]],
    strategies: dict[str, str],
    answers: list[dict[str, Any]],
    choice: dict[str, Any],
    cohorts: dict[str, Any],
    seconds: dict[str, list[float]],
    points: dict[tuple[float, int], np.ndarray],
    before: np.ndarray,
) -> str:
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
        *[f"| {entry['question']} | {entry['measured']} | {'yes' if entry['met'] else 'no'} |" for entry in answers],
        "",
        f"The automatic choice: {choice['explanation']}",
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
            entry = _interval(np.array(list(by[name].values())))
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
    lines += [f"| {name} | {wall:.0f} | {processor:.0f} |" for name, (wall, processor) in seconds.items()]
    return "\n".join(lines) + "\n"
