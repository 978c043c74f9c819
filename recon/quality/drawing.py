"""Pieces that figures are made of: placed in inches on a dark page, without matplotlib's global state."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from scipy.ndimage import label

from recon.atomic import atomic_path

PAGE = "#0b0d10"
INK = "#f2f4f7"
FAINT = "#9aa3ad"
ACCENT = "#ffb454"
IMAGE_COLOURS, ERROR_COLOURS, STD_COLOURS = "gray", "inferno", "viridis"
INSET_FRACTION = 0.37  # of the geometric mean of a panel's sides, but at most INSET_LIMIT of the shorter one
INSET_LIMIT = 0.55
DOTS_PER_INCH = 200


@dataclass(frozen=True)
class Box:
    """A rectangle on the page in inches from the upper left corner."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True)
class Zoom:
    """The part of an image, in pixels, that an inset enlarges, and the corner of the panel that the inset takes."""

    row: int
    column: int
    size: int
    corner: tuple[str, str]  # ("upper" | "lower", "left" | "right")

    def cut(self, image: NDArray) -> NDArray:
        return image[self.row : self.row + self.size, self.column : self.column + self.size]


def page(width: float, height: float) -> Figure:
    """An empty dark figure, sizes in inches."""
    figure = Figure(figsize=(width, height), dpi=DOTS_PER_INCH, facecolor=PAGE)
    FigureCanvasAgg(figure)
    return figure


def place(figure: Figure, box: Box) -> Axes:
    """Axes without ticks at ``box``."""
    width, height = figure.get_size_inches()
    bottom = height - box.top - box.height
    axes = figure.add_axes((box.left / width, bottom / height, box.width / width, box.height / height))
    axes.set_axis_off()
    return axes


def write(
    figure: Figure, left: float, top: float, text: str, *, size: float = 8, colour: str = INK, **style: Any
) -> None:
    """Text at inches from the upper left corner, its upper edge at ``top``."""
    width, height = figure.get_size_inches()
    placing: dict[str, Any] = {"ha": "center", "va": "top", **style}
    figure.text(left / width, 1 - top / height, text, fontsize=size, color=colour, **placing)


def show(
    figure: Figure, box: Box, image: NDArray, top: float, colours: str = IMAGE_COLOURS, zoom: Zoom | None = None
) -> Axes:
    """``image`` ``[row, column]`` filling ``box``, black at 0 and brightest at ``top``, with the inset where given."""
    axes = place(figure, box)
    options: dict[str, Any] = {"cmap": colours, "vmin": 0.0, "vmax": top, "aspect": "auto"}
    axes.imshow(image, interpolation="lanczos" if colours == IMAGE_COLOURS else "nearest", **options)
    if zoom is not None:
        side = _inset_side(box.width, box.height)
        # The same magnification along both axes, also where pixels are not square.
        height = side * (box.height / image.shape[0]) / (box.width / image.shape[1])
        left = box.left if zoom.corner[1] == "left" else box.left + box.width - side
        upper = box.top if zoom.corner[0] == "upper" else box.top + box.height - height
        inset = place(figure, Box(left, upper, side, height))
        inset.imshow(zoom.cut(image), interpolation="nearest", **options)
        _frame(inset)
        outline(axes, zoom)
    return axes


def show_zoom(figure: Figure, box: Box, image: NDArray, top: float, zoom: Zoom) -> None:
    """The enlarged part of ``image`` alone, framed, in the middle of ``box``."""
    height = box.width * (box.height / image.shape[0]) / (box.width / image.shape[1])
    shrink = min(1.0, box.height / height)
    width, height = shrink * box.width, shrink * height
    at = Box(box.left + (box.width - width) / 2, box.top + (box.height - height) / 2, width, height)
    axes = place(figure, at)
    axes.imshow(zoom.cut(image), cmap=IMAGE_COLOURS, vmin=0.0, vmax=top, aspect="auto", interpolation="nearest")
    _frame(axes)


def outline(axes: Axes, zoom: Zoom) -> None:
    """Mark the part that is enlarged elsewhere."""
    corner = (zoom.column - 0.5, zoom.row - 0.5)
    axes.add_patch(Rectangle(corner, zoom.size, zoom.size, fill=False, edgecolor=ACCENT, linewidth=0.8))


def _frame(axes: Axes) -> None:
    axes.set_axis_on()
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color(ACCENT)
        spine.set_linewidth(0.8)


def colour_bar(figure: Figure, box: Box, colours: str, top: float, caption: str) -> None:
    """A horizontal bar from 0 to ``top`` per cent, its label below."""
    axes = place(figure, box)
    axes.set_axis_on()
    bar = figure.colorbar(
        ScalarMappable(Normalize(0, top), colours), cax=axes, orientation="horizontal", ticks=np.linspace(0, top, 3)
    )
    bar.ax.set_xticklabels([f"{tick:g} %" for tick in np.linspace(0, top, 3)])
    bar.ax.tick_params(labelsize=6, colors=FAINT, length=2, pad=1.5)
    bar.outline.set_edgecolor(FAINT)  # type: ignore[operator]
    bar.outline.set_linewidth(0.4)  # type: ignore[operator]
    write(figure, box.left + box.width / 2, box.top + box.height + 0.17, caption, size=6.5, colour=FAINT)


def scale_bar(
    axes: Axes, image_shape: tuple[int, ...], pixel_mm: float, zoom: Zoom | None = None, length_mm: float = 50
) -> None:
    """A bar of ``length_mm`` along the columns, in a lower corner: the left one unless the inset is there."""
    rows, columns = image_shape
    at_right = zoom is not None and zoom.corner == ("lower", "left")
    length = length_mm / pixel_mm
    start, row = (0.96 * columns - length if at_right else 0.04 * columns), 0.955 * rows
    axes.plot([start, start + length], [row, row], color=INK, linewidth=1.4, solid_capstyle="butt")
    axes.text(start, row - 0.02 * rows, f"{length_mm / 10:g} cm", color=INK, fontsize=6, ha="left", va="bottom")


def _inset_side(width: float, height: float) -> float:
    return min(INSET_FRACTION * math.sqrt(width * height), INSET_LIMIT * min(width, height))


def zoom_on(lesion: NDArray[np.bool_], image: NDArray) -> Zoom:
    """A square around the largest lesion of the slice and the darkest corner of the panel that does not cover it."""
    labels, _ = label(lesion)
    rows, columns = np.nonzero(labels == 1 + np.bincount(labels.ravel())[1:].argmax())
    height, width = image.shape
    extent = max(int(np.ptp(rows)), int(np.ptp(columns))) + 1
    size = int(np.clip(1.6 * extent, min(height, width) // 6, min(height, width) // 2))
    row = int(np.clip((rows.min() + rows.max() + 1 - size) // 2, 0, height - size))
    column = int(np.clip((columns.min() + columns.max() + 1 - size) // 2, 0, width - size))
    side = int(_inset_side(width, height))
    choices = []
    for vertical, first_row in (("upper", 0), ("lower", height - side)):
        for horizontal, first_column in (("right", width - side), ("left", 0)):
            covered = min(row + size, first_row + side) - max(row, first_row)
            across = min(column + size, first_column + side) - max(column, first_column)
            hidden = max(covered, 0) * max(across, 0)
            light = float(image[first_row : first_row + side, first_column : first_column + side].mean())
            choices.append(((hidden, light), (vertical, horizontal)))
    return Zoom(row, column, size, min(choices)[1])


def save(figure: Figure, path: str | Path) -> None:
    """Write the figure as PNG; raises ReconError when the place cannot be written."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DOTS_PER_INCH, facecolor=PAGE)
