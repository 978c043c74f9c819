"""The charts of a stratum as one PNG: the sums of every figure with the limit, and the windows below."""

import io

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from recon.monitoring.check import StratumCheck
from recon.monitoring.features import TITLES
from recon.quality.drawing import ACCENT, DOTS_PER_INCH, FAINT, INK, PAGE, Box, page, place, write

WIDTH, LEFT, HEIGHT, GAP = 7.5, 2.6, 0.62, 0.14  # inches
LOWER = "#6cb6ff"


def charts_png(checked: StratumCheck) -> bytes:
    """A row for each figure: the upper sum above the line, the lower one below it, the limit dashed, alarms marked."""
    figures = checked.stratum.figures
    figure = page(WIDTH, 0.5 + (len(figures) + 1) * (HEIGHT + GAP) + 0.4)
    limit = checked.stratum.limit.value
    highest = max(1.3 * limit, min(1.05 * float(checked.sums.max(initial=0.0)), 3 * limit))
    numbers = np.arange(1, len(checked.scans) + 1)
    write(
        figure,
        0.15,
        0.12,
        "CUSUM in standard deviations of the baseline: white, upward; blue, downward; dashed, the limit",
        ha="left",
    )
    for row, name in enumerate(figures):
        axes = _row(figure, row, TITLES.get(name, name), len(numbers))
        axes.axhline(0.0, color=FAINT, linewidth=0.4)
        for side, sign, colour in ((0, 1, INK), (1, -1, LOWER)):
            axes.plot(numbers, sign * checked.sums[:, row, side], color=colour, linewidth=0.9)
            axes.axhline(sign * limit, color=FAINT, linewidth=0.6, linestyle="--")
        for alarm in checked.alarms:
            if alarm.figure == name:
                axes.axvline(alarm.number, color=ACCENT, linewidth=1.0)
        axes.set(ylim=(-highest, highest), yticks=[-limit, limit], yticklabels=[f"{-limit:.1f}", f"{limit:.1f}"])
    axes = _row(figure, len(figures), "windows: p-value of the permutation test", len(numbers))
    for window in checked.windows:
        colour = ACCENT if window.changed else FAINT
        axes.plot([window.first - 0.4, window.last + 0.4], 2 * [window.p_value], color=colour, linewidth=2.0)
    axes.set(yscale="log", ylim=(1e-4, 1.5), yticks=[1e-3, 1e-2, 1e-1, 1], yticklabels=["0.001", "0.01", "0.1", "1"])
    axes.minorticks_off()
    axes.tick_params(labelbottom=True)
    axes.set_xlabel("scan", color=FAINT, fontsize=6.5, labelpad=1)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=DOTS_PER_INCH, facecolor=PAGE)
    return stream.getvalue()


def _row(figure: Figure, row: int, title: str, count: int) -> Axes:
    top = 0.45 + row * (HEIGHT + GAP)
    write(figure, LEFT - 0.45, top + HEIGHT / 2, title, size=6.5, ha="right", va="center")
    axes = place(figure, Box(LEFT, top, WIDTH - LEFT - 0.2, HEIGHT))
    axes.set_axis_on()
    axes.set_facecolor(PAGE)
    axes.set_xlim(0.5, count + 0.5)
    axes.tick_params(labelsize=5.5, colors=FAINT, length=2, pad=2, labelbottom=False)
    for spine in axes.spines.values():
        spine.set_color(FAINT)
        spine.set_linewidth(0.5)
    return axes
