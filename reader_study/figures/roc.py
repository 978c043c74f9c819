"""Empirical ROC curves, one panel a reader."""

from collections.abc import Mapping, Sequence

from reader_study.figures.style import MUTED, NEW, REFERENCE, as_svg, new_figure, style

Curve = tuple[Sequence[float], Sequence[float]]


def roc_curves(curves: Mapping[str, Mapping[str, Curve]], arms: tuple[str, str]) -> str:
    """``curves`` by reader and arm, each (false positive fractions, true positive fractions); reference arm first."""
    with style():
        across = min(len(curves), 4)
        down = -(-len(curves) // across)
        figure = new_figure(1.9 * across + 0.4, 2.1 * down + 0.3)
        for place, (reader, own) in enumerate(curves.items(), start=1):
            axes = figure.add_subplot(down, across, place)
            axes.plot([0, 1], [0, 1], ":", color=MUTED, lw=0.8)
            for arm, colour in zip(arms, (REFERENCE, NEW), strict=True):
                axes.plot(*own[arm], "o-", color=colour, ms=3, lw=1.6, label=arm)
            axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal", title=reader, xticks=(0, 1), yticks=(0, 1))
            axes.set_xlabel("false positives")
            axes.set_ylabel("true positives")
            if place == 1:
                axes.legend(frameon=False, fontsize=7.5, loc="lower right")
        return as_svg(figure)
