"""Colours and type of the report's figures."""

import io
from typing import Any

import numpy as np

INK, MUTED, RULE = "#1f2933", "#6b7785", "#d9dee4"
REFERENCE, NEW, MARGIN = "#8a94a3", "#0f6b75", "#b4552d"
# Worst to best, legible in print and to colour-blind readers (blue-orange).
RAMP = ("#b4552d", "#dd9d72", "#e7e2da", "#8cb9c0", "#0f6b75")
STYLE: dict[str, Any] = {
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


def new_figure(width: float, height: float) -> Any:
    """An empty figure of so many inches that will be written as SVG."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)
    return figure


def as_svg(figure: Any) -> str:
    """The figure as an <svg> element, without XML header, date or creator."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def style() -> Any:
    """``with style():`` everything drawn inside has the report's fonts and colours."""
    import matplotlib

    settings: Any = STYLE
    return matplotlib.rc_context(settings)


def ramp(levels: int) -> list[str]:
    """Colours from worst to best for a scale of ``levels`` scores."""
    from matplotlib.colors import LinearSegmentedColormap, to_hex

    colours = LinearSegmentedColormap.from_list("scores", RAMP)
    return [to_hex(colours(position)) for position in np.linspace(0, 1, max(levels, 2))][:levels]


def is_dark(colour: str) -> bool:
    """Does white text read better on this colour (#rrggbb) than black?"""
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return 0.299 * red + 0.587 * green + 0.114 * blue < 140
