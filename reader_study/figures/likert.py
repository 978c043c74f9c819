"""Stacked bars of the scores as given."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reader_study.figures.style import INK, MUTED, as_svg, is_dark, new_figure, ramp, style
from reader_study.statistics.descriptive import Descriptive


@dataclass(frozen=True)
class ItemShares:
    """The scores of one item, all readers together, arm by arm."""

    name: str
    lowest_is_best: bool
    primary: bool
    arms: tuple[Descriptive, ...]


def likert(items: Sequence[ItemShares]) -> str:
    """Shares of every score by item and arm, all readers together, as given (not turned)."""
    with style():
        items = [item for item in items if item.arms]
        rows = [(item, row) for item in items for row in item.arms]
        figure = new_figure(7.4, 0.8 + 0.27 * len(rows) + 0.12 * len(items))
        axes = figure.add_subplot()
        heights, labels = [], []
        at = 0.0
        previous: ItemShares | None = None
        for item, row in rows:
            at += 0.0 if previous is None else (1.0 if item is previous else 1.55)
            previous = item
            heights.append(at)
            labels.append(row.arm)
            levels = list(row.counts)
            colours = ramp(len(levels))
            if item.lowest_is_best:
                colours = colours[::-1]
            left = 0.0
            for level, colour in zip(levels, colours, strict=True):
                share = 100 * row.counts[level] / row.scores
                axes.barh(at, share, left=left, color=colour, height=0.82, edgecolor="white", lw=0.8)
                if share >= 7:
                    shade = "white" if is_dark(colour) else INK
                    axes.text(left + share / 2, at, f"{share:.0f}", ha="center", va="center", fontsize=7.5, color=shade)
                left += share
            axes.text(101.5, at, f"{row.mean:.2f}".replace("-", "−"), va="center", fontsize=8, color=MUTED)
        for item in items:
            inside = [height for height, (owner, _) in zip(heights, rows, strict=True) if owner is item]
            weight = "bold" if item.primary else "normal"
            axes.text(-21, float(np.mean(inside)), item.name, va="center", ha="right", fontsize=9, fontweight=weight)
        axes.set_yticks(heights, labels, fontsize=8, color=MUTED)
        axes.set_ylim(at + 0.7, -0.7)
        axes.set_xlim(0, 100)
        axes.text(101.5, -0.75, "mean", fontsize=7.5, color=MUTED)
        axes.tick_params(axis="both", length=0)
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.set_xticks([])
        return as_svg(figure)
