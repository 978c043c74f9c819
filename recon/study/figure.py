"""The figure of an acceleration report: Dice lost, by series, acceleration and method."""

import numpy as np
from matplotlib.figure import Figure

from recon.quality.drawing import FAINT, INK, PAGE, Box, page, place, write
from recon.study.acceleration import AccelerationReport, AccelerationResult

COLOURS = ("#4cc9f0", "#ffd166", "#80ed99", "#ef476f", "#c77dff")
PANELS = (("dice", "Dice, change"), ("auc", "detection AUC, change"), ("volume_error_ml", "volume error, change in mL"))
SIDE, HEIGHT, GAP, LEFT, TOP = 2.6, 1.5, 0.3, 0.95, 0.75  # inches
LEAST_WIDTH = 7.4  # inches: of the note


def acceleration_figure(report: AccelerationReport, note: str) -> Figure:
    """One row a figure of merit, one column an acceleration; bars are 95 % intervals over persons."""
    rates = sorted({result.acceleration for result in report.results})
    methods = list(dict.fromkeys(result.method for result in report.results))
    names = list(dict.fromkeys(result.series for result in report.results))
    width = max(LEFT + len(rates) * (SIDE + GAP) + 0.2, LEAST_WIDTH)
    panels = [(key, title) for key, title in PANELS if any(_finite(r, key) for r in report.results)]
    figure = page(width, TOP + len(panels) * (HEIGHT + GAP) + 0.35)
    whole = report.complete
    write(
        figure, LEFT, 0.14, f"What acceleration costs: {whole.persons} persons, {whole.studies} studies, complete Dice "
        f"{whole.values['dice'].value:.2f}", size=9, ha="left",
    )  # fmt: skip
    write(figure, LEFT, 0.34, note, size=6.5, colour=FAINT, ha="left")
    for row, (key, title) in enumerate(panels):
        top = TOP + row * (HEIGHT + GAP)
        shared = None
        for column, rate in enumerate(rates):
            axes = place(figure, Box(LEFT + column * (SIDE + GAP), top, SIDE, HEIGHT))
            axes.set_axis_on()
            axes.set_facecolor(PAGE)
            axes.tick_params(labelsize=6, colors=FAINT, length=2, pad=2)
            for spine in axes.spines.values():
                spine.set_color(FAINT)
                spine.set_linewidth(0.5)
            axes.axhline(0, color=FAINT, linewidth=0.8, linestyle="--")
            if shared is None:
                shared = axes
                axes.set_ylabel(title, color=FAINT, fontsize=6.5)
            else:
                axes.sharey(shared)
                axes.tick_params(labelleft=False)
            if row == 0:
                axes.set_title(f"R = {rate:g}", color=INK, fontsize=8, pad=3)
            for number, method in enumerate(methods):
                shift = 0.8 * ((number + 0.5) / len(methods) - 0.5)
                chosen = [r for r in report.results if (r.acceleration, r.method) == (rate, method)]
                changes = [r.figures.changes[key] for r in chosen if r.figures.changes]
                axes.errorbar(
                    [names.index(r.series) + shift for r in chosen],
                    [change.value for change in changes],
                    yerr=np.maximum([[c.value - c.low for c in changes], [c.high - c.value for c in changes]], 0.0),
                    fmt="o", markersize=3, linewidth=0.9, color=COLOURS[number % len(COLOURS)], label=method,
                )  # fmt: skip
            axes.set_xticks(range(len(names)), names)
            axes.set_xlim(-0.6, len(names) - 0.4)
            if (row, column) == (len(panels) - 1, 0):  # below the panels, where it covers no bar
                axes.legend(
                    fontsize=6, frameon=False, labelcolor=INK, loc="upper left", bbox_to_anchor=(-0.02, -0.1), ncols=4
                )
    return figure


def _finite(result: AccelerationResult, key: str) -> bool:
    """Whether there is such a change: an AUC needs studies with and without a lesion."""
    return result.figures.changes is not None and bool(np.isfinite(result.figures.changes[key].value))
