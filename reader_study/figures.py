"""Figures of the report as SVG text: forest plot, Likert distributions, scores over the reading order."""

import io
from typing import Any

import numpy as np
import numpy.typing as npt

from reader_study.analysis import Analysis, ItemResult
from reader_study.observations import Observations

INK, MUTED, RULE = "#1f2933", "#6b7785", "#d9dee4"
REFERENCE, NEW, MARGIN = "#8a94a3", "#0f6b75", "#b4552d"
# Worst to best, legible in print and to colour-blind readers (blue-orange).
RAMP = ("#b4552d", "#dd9d72", "#e7e2da", "#8cb9c0", "#0f6b75")
_STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.edgecolor": RULE,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "svg.hashsalt": "recon",
}


def _figure(width: float, height: float) -> Any:
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)
    return figure


def _svg(figure: Any) -> str:
    """The figure as an <svg> element, without XML header, date or creator."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _style() -> Any:
    import matplotlib

    style: Any = _STYLE
    return matplotlib.rc_context(style)


def forest(analysis: Analysis) -> str:
    """Difference new - reference of every item with its interval, the readers' own differences, and the margin."""
    with _style():
        items = analysis.items[::-1]
        figure = _figure(7.4, 0.9 + 0.42 * len(items))
        axes = figure.add_subplot()
        margin = analysis.protocol.primary.margin
        everything = [bound for item in items for bound in (item.planned.low, item.planned.high)]
        everything += [reader.estimate for item in items for reader in item.by_reader.values()]
        reach = 1.12 * max(margin, *(abs(value) for value in everything), 1e-3)
        if margin > 0:
            axes.axvspan(-reach, -margin, color=MARGIN, alpha=0.07, lw=0)
            axes.axvline(-margin, color=MARGIN, lw=1.2, ls=(0, (4, 3)))
        axes.axvline(0, color=MUTED, lw=0.9)
        for row, item in enumerate(items):
            colour = NEW if item.primary else INK
            axes.plot([item.planned.low, item.planned.high], [row, row], color=colour, lw=2.6 if item.primary else 1.5)
            axes.plot(item.planned.estimate, row, "s", color=colour, ms=7 if item.primary else 5.5, zorder=3)
            for reader in item.by_reader.values():
                axes.plot(reader.estimate, row - 0.24, "o", ms=4, mfc="white", mec=MUTED, mew=1.0, zorder=2)
            text = f"{item.planned.estimate:+.2f}  ({item.planned.low:+.2f}, {item.planned.high:+.2f})".replace(
                "-", "−"
            )
            axes.annotate(
                text,
                (1.01, row),
                xycoords=("axes fraction", "data"),
                va="center",
                fontsize=8.5,
                color=colour,
                fontweight="bold" if item.primary else "normal",
            )
        axes.set_yticks(range(len(items)), [item.item + ("  (primary)" if item.primary else "") for item in items])
        for label, item in zip(axes.get_yticklabels(), items, strict=True):
            label.set_fontweight("bold" if item.primary else "normal")
        axes.set_ylim(-0.7, len(items) - 0.4)
        axes.set_xlim(-reach, reach)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        protocol = analysis.protocol
        axes.set_xlabel(f"← {protocol.reference} better      mean difference      {protocol.new} better →")
        if margin > 0:
            axes.annotate(
                "margin",
                (-margin, 1.0),
                xycoords=("data", "axes fraction"),
                ha="right",
                va="top",
                fontsize=8,
                color=MARGIN,
                xytext=(-3, 0),
                textcoords="offset points",
            )
        return _svg(figure)


def likert(analysis: Analysis) -> str:
    """Shares of every score by item and arm, all readers together, as given (not turned)."""
    with _style():
        items = [item for item in analysis.items if item.descriptive]
        rows = [(item, row) for item in items for row in item.descriptive if row.reader == "all"]
        figure = _figure(7.4, 0.8 + 0.27 * len(rows) + 0.12 * len(items))
        axes = figure.add_subplot()
        heights, labels = [], []
        at = 0.0
        previous: ItemResult | None = None
        for item, row in rows:
            at += 0.0 if previous is None else (1.0 if item is previous else 1.55)
            previous = item
            heights.append(at)
            labels.append(row.arm)
            levels = list(row.counts)
            colours = ramp(len(levels))
            if item.direction == "lower-is-better":
                colours = colours[::-1]
            left = 0.0
            for level, colour in zip(levels, colours, strict=True):
                share = 100 * row.counts[level] / row.scores
                axes.barh(at, share, left=left, color=colour, height=0.82, edgecolor="white", lw=0.8)
                if share >= 7:
                    shade = "white" if _dark(colour) else INK
                    axes.text(left + share / 2, at, f"{share:.0f}", ha="center", va="center", fontsize=7.5, color=shade)
                left += share
            axes.text(101.5, at, f"{row.mean:.2f}".replace("-", "−"), va="center", fontsize=8, color=MUTED)
        for item in items:
            inside = [height for height, (owner, _) in zip(heights, rows, strict=True) if owner is item]
            weight = "bold" if item.primary else "normal"
            axes.text(-21, float(np.mean(inside)), item.item, va="center", ha="right", fontsize=9, fontweight=weight)
        axes.set_yticks(heights, labels, fontsize=8, color=MUTED)
        axes.set_ylim(at + 0.7, -0.7)
        axes.set_xlim(0, 100)
        axes.text(101.5, -0.75, "mean", fontsize=7.5, color=MUTED)
        axes.tick_params(axis="both", length=0)
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.set_xticks([])
        return _svg(figure)


def ramp(levels: int) -> list[str]:
    """Colours from worst to best for a scale of ``levels`` scores."""
    from matplotlib.colors import LinearSegmentedColormap, to_hex

    colours = LinearSegmentedColormap.from_list("scores", RAMP)
    return [to_hex(colours(position)) for position in np.linspace(0, 1, max(levels, 2))][:levels]


def _dark(colour: str) -> bool:
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return 0.299 * red + 0.587 * green + 0.114 * blue < 140


def order_drift(analysis: Analysis, found: Observations) -> str | None:
    """Primary item over the reading order, by reader and arm, with running means; None without a known order."""
    if not np.isfinite(found.order).any():
        return None
    from matplotlib.ticker import MaxNLocator

    with _style():
        count = len(found.readers)
        figure = _figure(7.4, 2.5 if count <= 2 else 2.1 * ((count + 1) // 2))
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
        return _svg(figure)


def running_mean(order: npt.NDArray[np.float64], score: npt.NDArray[np.float64]) -> tuple[Any, Any]:
    """Gaussian-weighted running mean of ``score`` over ``order``, a twelfth of the reading wide."""
    places = np.linspace(order.min(), order.max(), 80)
    width = max(np.ptp(order) / 12, 1.0)
    weights = np.exp(-0.5 * ((places[:, None] - order[None]) / width) ** 2)
    return places, weights @ score / weights.sum(axis=1)
