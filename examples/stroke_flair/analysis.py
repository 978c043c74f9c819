"""What the stages left, and the answers to the experiment's questions."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from experiment import Experiment
from scipy import stats

Scores = dict[str, dict[str, float]]  # NRMSE by strategy and subject
GridPoints = dict[tuple[float, int], np.ndarray]  # NRMSE [subject] by rate and images


@dataclass(frozen=True)
class Findings:
    """Everything that the stages left in the folder."""

    experiment: Experiment
    strategies: dict[str, str]
    scores: dict[float, Scores]  # by acceleration
    points: GridPoints
    before: np.ndarray  # NRMSE [subject] without fine-tuning
    choice: dict[str, Any]  # finetuning.json of strategy 4
    cohorts: dict[str, Any]
    seconds: dict[str, list[float]]  # wall and processor time by stage

    @property
    def target(self) -> float:
        """The acceleration that the questions are about."""
        accelerations = self.experiment.accelerations
        return 4.0 if 4.0 in accelerations else accelerations[-1]


def read_findings(experiment: Experiment, out: Path, strategies: dict[str, str]) -> Findings:
    """The files of the stages. Raises FileNotFoundError for a stage that has not run."""
    scores = {
        r: {s: json.loads((out / "evaluation" / f"{s}_R{r:g}.json").read_text()) for s in sorted(strategies)}
        for r in experiment.accelerations
    }
    before = json.loads((out / "grid" / "before.json").read_text())
    names = sorted(before)
    points = {}
    for path in sorted((out / "grid").glob("rate*/records.json")):
        for record in json.loads(path.read_text()):
            points[record["rate"], record["images"]] = np.array([record["nrmse"][name] for name in names])
    seconds = json.loads((out / "seconds.json").read_text()) if (out / "seconds.json").is_file() else {}
    choice = json.loads((out / "priors" / "4" / "finetuning.json").read_text())
    cohorts = json.loads((out / "cohorts.json").read_text())
    values = np.array([before[name] for name in names])
    return Findings(experiment, strategies, scores, points, values, choice, cohorts, seconds)


def interval(values: np.ndarray) -> dict[str, float]:
    """Mean and its 95 % interval over subjects (Student's t)."""
    mean = float(values.mean())
    if len(values) < 2:
        return {"mean": mean, "low": math.nan, "high": math.nan}
    half = float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
    return {"mean": mean, "low": mean - half, "high": mean + half}


def paired(first: dict[str, float], second: dict[str, float]) -> dict[str, float]:
    """Second minus first, over the same subjects: positive when the first is better."""
    return interval(np.array([second[name] - first[name] for name in sorted(first)]))


def nearest(points: GridPoints, rate: float, images: float) -> tuple[float, int]:
    return min(points, key=lambda p: abs(math.log(p[0] / rate)) + abs(math.log(p[1] / images)))


def answers(findings: Findings) -> list[dict[str, Any]]:
    """Each question with what was measured and whether the bar was met."""
    experiment, scores = findings.experiment, findings.scores[findings.target]
    points, before, choice = findings.points, findings.before, findings.choice
    means = {s: float(np.mean(list(v.values()))) for s, v in scores.items()}
    ratio = means["4"] / means["3"] - 1
    rates, lengths = sorted({r for r, _ in points}), sorted({n for _, n in points})
    best = min(points, key=lambda point: points[point].mean())
    interior = rates[0] < best[0] < rates[-1] and lengths[0] < best[1] < lengths[-1]
    found = [
        {
            "question": "strategy 4 against 3 (full FLAIR): within 5 %",
            "measured": f"{100 * ratio:+.1f} %",
            "met": ratio <= 0.05,
        }
    ]
    for other in ("5", "5b", "6"):
        gain = paired(scores["4"], scores[other])
        found.append(
            {
                "question": f"strategy 4 better than {other}, interval of the paired difference excludes 0",
                "measured": f"{gain['mean']:+.4f} [{gain['low']:+.4f}, {gain['high']:+.4f}]",
                "met": gain["low"] > 0,
            }
        )
    found.append(
        {
            "question": "the grid has its optimum inside",
            "measured": f"best on TEST: rate {best[0]:.2g}, {best[1]} images",
            "met": interior,
        }
    )
    if choice["images"]:
        chosen = nearest(points, choice["rate"], choice["images"])
        mine = points[chosen]
        words = f"rate {chosen[0]:.2g}, {chosen[1]} images"
    else:
        mine, words = before, "no fine-tuning"
    excess = mine.mean() / points[best].mean() - 1
    found.append(
        {
            "question": "the automatic choice is within 1 % of the grid's best on TEST",
            "measured": f"{words}: {100 * excess:+.2f} %",
            "met": bool(excess <= 0.01),
        }
    )
    factor, share = experiment.paper
    paper = nearest(points, factor * experiment.training.learning_rate, share * experiment.training.images)
    for name, other, strict in (("the paper's fixed choice", points[paper], False), ("no fine-tuning", before, True)):
        gain = interval(other - mine)
        found.append(
            {
                "question": f"the automatic choice against {name}: {'better' if strict else 'at least as good'}",
                "measured": f"{gain['mean']:+.4f} [{gain['low']:+.4f}, {gain['high']:+.4f}]",
                "met": bool(gain["low"] > 0 if strict else gain["mean"] >= 0),
            }
        )
    return found
