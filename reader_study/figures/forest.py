"""The forest plot: every item's difference, and each reader's."""

from collections.abc import Mapping, Sequence

from reader_study.analysis_result import Analysis
from reader_study.figures.style import INK, MARGIN, MUTED, NEW, as_svg, new_figure, style


def forest(analysis: Analysis, readers: Mapping[str, Sequence[float]]) -> str:
    """Difference new - reference of every item in the primary one's unit, its interval, the readers' own, the margin.

    ``readers`` holds each reader's difference by item.
    """
    with style():
        protocol = analysis.protocol
        items = [item for item in analysis.items if protocol.in_primary_unit(protocol.item(item.item))][::-1]
        decimals = 3 if protocol.item(protocol.primary.item).confidence else 2
        figure = new_figure(7.4, 0.9 + 0.42 * len(items))
        axes = figure.add_subplot()
        margin = analysis.protocol.primary.margin
        everything = [bound for item in items for bound in (item.planned.low, item.planned.high)]
        everything += [value for item in items for value in readers.get(item.item, ())]
        reach = 1.12 * max(margin, *(abs(value) for value in everything), 1e-3)
        if margin > 0:
            axes.axvspan(-reach, -margin, color=MARGIN, alpha=0.07, lw=0)
            axes.axvline(-margin, color=MARGIN, lw=1.2, ls=(0, (4, 3)))
        axes.axvline(0, color=MUTED, lw=0.9)
        for row, item in enumerate(items):
            colour = NEW if item.primary else INK
            axes.plot([item.planned.low, item.planned.high], [row, row], color=colour, lw=2.6 if item.primary else 1.5)
            axes.plot(item.planned.estimate, row, "s", color=colour, ms=7 if item.primary else 5.5, zorder=3)
            for value in readers.get(item.item, ()):
                axes.plot(value, row - 0.24, "o", ms=4, mfc="white", mec=MUTED, mew=1.0, zorder=2)
            estimate, *limits = (
                f"{value:+.{decimals}f}" for value in (item.planned.estimate, item.planned.low, item.planned.high)
            )
            text = f"{estimate}  ({', '.join(limits)})".replace("-", "−")
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
        return as_svg(figure)
