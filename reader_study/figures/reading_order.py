"""Scores over the reading order."""

from typing import Any

import numpy as np

from reader_study.analysis_result import Analysis
from reader_study.arrays import Floats
from reader_study.figures.style import NEW, REFERENCE, RULE, as_svg, new_figure, style
from reader_study.observations import Observations


def reading_order(analysis: Analysis, found: Observations) -> str | None:
    """Primary item over the reading order, by reader and arm, with running means; None where either is not known."""
    if not (np.isfinite(found.order) & np.isfinite(found.scores[analysis.primary.item])).any():
        return None
    from matplotlib.ticker import MaxNLocator

    with style():
        count = len(found.readers)
        figure = new_figure(7.4, 2.5 if count <= 2 else 2.1 * ((count + 1) // 2))
        scores = found.scores[analysis.primary.item]
        paired = analysis.protocol.paired
        panels = figure.subplots((count + 1) // 2, min(count, 2), sharex=True, sharey=True, squeeze=False).ravel()
        jitter = np.random.default_rng(0)
        arms = [(0, REFERENCE, analysis.protocol.reference), (1, NEW, analysis.protocol.new)]
        for index, reader in enumerate(found.readers):
            axes = panels[index]
            for arm, colour, name in arms:
                if paired and analysis.protocol.mode == "preference" and arm == 0:
                    continue
                order, score = found.order[arm, index], scores[arm, index]
                known = np.isfinite(order) & np.isfinite(score)
                order, score = order[known], score[known]
                if not order.size:
                    continue
                shaken = score + jitter.uniform(-0.12, 0.12, score.size)
                axes.plot(order, shaken, "o", ms=2.6, color=colour, alpha=0.45, mec="none")
                places, means = running_mean(order, score)
                axes.plot(places, means, color=colour, lw=2, label=name)
            axes.set_title(reader, fontsize=9, loc="left", fontweight="bold")
            axes.yaxis.set_major_locator(MaxNLocator(integer=True))
            axes.grid(axis="y", color=RULE, lw=0.6)
            axes.set_axisbelow(True)
            if index % 2 == 0:
                axes.set_ylabel(f"{analysis.primary.item} (higher = better)", fontsize=8)
            if index >= count - 2:
                axes.set_xlabel("reading order", fontsize=8)
        for axes in panels[count:]:
            axes.set_visible(False)
        panels[0].legend(frameon=False, fontsize=8, loc="lower left", ncols=2)
        return as_svg(figure)


def running_mean(order: Floats, score: Floats) -> tuple[Any, Any]:
    """Gaussian-weighted running mean of ``score`` over ``order``, a twelfth of the reading wide."""
    places = np.linspace(order.min(), order.max(), 80)
    width = max(np.ptp(order) / 12, 1.0)
    weights = np.exp(-0.5 * ((places[:, None] - order[None]) / width) ** 2)
    return places, weights @ score / weights.sum(axis=1)
