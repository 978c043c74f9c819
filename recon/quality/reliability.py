"""The figure of a calibration: predicted standard deviation against the error that was made, and coverage."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from recon.quality.drawing import ACCENT, FAINT, INK, PAGE, Box, page, place, write

COLOURS = ("#4cc9f0", "#80ed99", "#ffd166", "#ef476f", "#c77dff", "#f2f4f7")
TITLES = {"all": "the whole head", "edges": "edges", "elsewhere": "elsewhere", "lesions": "lesions"}
KINDS = {"coverage": "pixels", "region_coverage": "regions", "lesion_coverage": "lesions"}
SIDE, GAP, LEFT, TOP = 2.0, 0.32, 0.62, 0.72  # inches


def reliability_figure(
    curves: Sequence[dict[str, Any]], rows: Sequence[dict[str, Any]], level: float, title: str
) -> Figure:
    """``curves``: rows of ``acceleration``, ``place``, ``predicted``, ``error``, one panel a place. ``rows``: those of
    an acceleration and all groups, with the coverages of ``KINDS`` at ``level`` and their errors."""
    places = [name for name in TITLES if any(row["place"] == name for row in curves)]
    rates = sorted({row["acceleration"] for row in curves})
    width = LEFT + (len(places) + 1) * (SIDE + GAP) + 0.4
    figure = page(width, TOP + SIDE + 0.5)
    write(figure, LEFT, 0.16, title, size=9.5, ha="left")
    values = [100 * row[key] for row in curves for key in ("predicted", "error")]
    limits = (0.8 * min(values), 1.25 * max(values))
    for number, name in enumerate(places):
        axes = _panel(figure, number, TITLES[name])
        axes.plot(limits, limits, color=FAINT, linewidth=0.8, linestyle="--")
        for rate, colour in zip(rates, COLOURS, strict=False):
            points = [row for row in curves if row["place"] == name and row["acceleration"] == rate]
            axes.plot(
                [100 * row["predicted"] for row in points],
                [100 * row["error"] for row in points],
                color=colour, marker="o", markersize=2.6, linewidth=1.0, label=f"R = {rate:g}",
            )  # fmt: skip
        axes.set(xscale="log", yscale="log", xlim=limits, ylim=limits)
        _ticks(axes, limits)
        axes.set_xlabel("predicted std, % of white", color=FAINT, fontsize=6.5, labelpad=2)
        if number == 0:
            axes.set_ylabel("RMS error, % of white", color=FAINT, fontsize=6.5, labelpad=2)
            axes.legend(fontsize=6, frameon=False, labelcolor=INK, loc="upper left")
    _coverage(_panel(figure, len(places), f"{100 * level:g} % intervals cover"), rows, level)
    return figure


def _panel(figure: Figure, number: int, title: str) -> Axes:
    left = LEFT + number * (SIDE + GAP)
    write(figure, left + SIDE / 2, TOP - 0.22, title, size=8)
    axes = place(figure, Box(left, TOP, SIDE, SIDE))
    axes.set_axis_on()
    axes.set_facecolor(PAGE)
    axes.tick_params(labelsize=6, colors=FAINT, length=2, pad=2)
    for spine in axes.spines.values():
        spine.set_color(FAINT)
        spine.set_linewidth(0.5)
    return axes


def _ticks(axes: Axes, limits: tuple[float, float]) -> None:
    wanted = [value for value in (0.2, 0.5, 1, 2, 5, 10, 20, 50) if limits[0] <= value <= limits[1]]
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(_fixed(wanted))
        axis.set_minor_locator(_fixed([]))
        axis.set_major_formatter(lambda value, _: f"{value:g}")


def _fixed(values: list[float]) -> Any:
    from matplotlib.ticker import FixedLocator

    return FixedLocator(values)


def _coverage(axes: Axes, rows: Sequence[dict[str, Any]], level: float) -> None:
    """Coverage by acceleration of pixels, regions and lesions, with the standard error over persons."""
    axes.axhspan(100 * level - 3, 100 * level + 3, color=FAINT, alpha=0.25, linewidth=0)
    axes.axhline(100 * level, color=FAINT, linewidth=0.8, linestyle="--")
    for shift, (key, name), colour in zip((-0.2, 0.0, 0.2), KINDS.items(), (INK, COLOURS[0], ACCENT), strict=True):
        known = [(place, row) for place, row in enumerate(rows) if row.get(key) is not None]
        axes.errorbar(
            [place + shift for place, _ in known],
            [100 * row[key] for _, row in known],
            yerr=[100 * (row[f"{key}_error"] or 0.0) for _, row in known],
            fmt="o", markersize=3, linewidth=0.8, color=colour, label=name,
        )  # fmt: skip
    axes.set_xticks(range(len(rows)), [f"R = {row['acceleration']:g}" for row in rows])
    lowest = min((100 * row[key] for row in rows for key in KINDS if row.get(key) is not None), default=100 * level)
    axes.set(xlim=(-0.6, len(rows) - 0.4), ylim=(min(100 * level - 20, lowest - 5), 101))
    axes.legend(fontsize=6, frameon=False, labelcolor=INK, loc="lower left")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g} %")
    axes.yaxis.tick_right()
