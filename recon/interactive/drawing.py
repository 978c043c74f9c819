"""The figure of interaction curves: mean Dice against clicks, reconstructions beside their references."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from recon.interactive.statistics import Case
from recon.quality.drawing import FAINT, INK, PAGE, Box, page, place, write

COLOURS = ("#4cc9f0", "#ffd166", "#ef476f", "#80ed99", "#c77dff")  # by acceleration
SIDE, GAP, LEFT, TOP = 2.0, 0.4, 0.62, 0.75  # inches


def curves_figure(pairs: Sequence[tuple[Case, Case]], target: float, title: str) -> Figure:
    """Rows of segmenters (and contrasts), columns of methods, a line an acceleration; the reference is dashed.

    A line is the mean over scans of the Dice coefficient after so many clicks; the dotted one is ``target``.
    """
    rows = sorted({(case.segmenter, case.contrast) for case, _ in pairs})
    methods = sorted({case.method for case, _ in pairs})
    rates = sorted({case.acceleration or 0.0 for case, _ in pairs})
    figure = page(LEFT + len(methods) * (SIDE + GAP) + 0.1, TOP + len(rows) * (SIDE + GAP + 0.2) + 0.1)
    write(figure, LEFT, 0.14, title, size=9.5, ha="left")
    for down, (segmenter, contrast) in enumerate(rows):
        for across, method in enumerate(methods):
            shown = [
                (case, reference)
                for case, reference in pairs
                if (case.segmenter, case.contrast, case.method) == (segmenter, contrast, method)
            ]
            box = Box(LEFT + across * (SIDE + GAP), TOP + down * (SIDE + GAP + 0.2), SIDE, SIDE)
            axes = _panel(figure, box, f"{method}, {segmenter}{', ' + contrast if contrast else ''}")
            axes.axhline(target, color=FAINT, linewidth=0.7, linestyle=":")
            if shown:
                _lines(axes, shown, rates)
            axes.set_xlabel("clicks", color=FAINT, fontsize=6.5, labelpad=2)
            if across == 0:
                axes.set_ylabel("Dice coefficient", color=FAINT, fontsize=6.5, labelpad=2)
    return figure


def _lines(axes: Axes, shown: Sequence[tuple[Case, Case]], rates: Sequence[float]) -> None:
    budget = len(shown[0][0].interaction.dice)
    clicks = np.arange(1, budget + 1)
    references = {reference.scan: reference.interaction.dice for _, reference in shown}
    axes.plot(clicks, np.mean(list(references.values()), axis=0), color=INK, linewidth=1, linestyle="--", label="full")
    for number, rate in enumerate(rates):
        curves = [case.interaction.dice for case, _ in shown if (case.acceleration or 0.0) == rate]
        if curves:
            name = f"R = {rate:g}" if rate else "image"
            axes.plot(clicks, np.mean(curves, axis=0), color=COLOURS[number % len(COLOURS)], linewidth=1, label=name)
    axes.legend(fontsize=6, frameon=False, labelcolor=INK, loc="lower right")


def _panel(figure: Figure, box: Box, title: str) -> Axes:
    write(figure, box.left + box.width / 2, box.top - 0.2, title, size=7.5)
    axes = place(figure, box)
    axes.set_axis_on()
    axes.set_facecolor(PAGE)
    axes.set_ylim(0, 1)
    axes.tick_params(labelsize=6, colors=FAINT, length=2, pad=2)
    for spine in axes.spines.values():
        spine.set_color(FAINT)
        spine.set_linewidth(0.5)
    return axes
