"""The figures of a reconstruction: a panel of one slice, and methods side by side at several accelerations."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from recon.errors import ReconError
from recon.quality.drawing import (
    ACCENT,
    ERROR_COLOURS,
    FAINT,
    INK,
    STD_COLOURS,
    Box,
    Zoom,
    colour_bar,
    outline,
    page,
    scale_bar,
    show,
    show_zoom,
    write,
    zoom_on,
)
from recon.quality.metrics import SSIM_WINDOW, evaluate
from recon.quality.orientation import upright

PANEL_SIDE = 2.2  # inches of the longer side of an image
GAP, MARGIN = 0.06, 0.22  # inches
WINDOW_PERCENTILE = 99.8
STD_TOPS = (0.5, 1, 2, 5, 10, 20, 50, 100)  # per cent of the window


@dataclass(frozen=True)
class View:
    """What is common to every image of a figure: orientation, size on the page, window, zoom."""

    affine: NDArray[np.float64] | None
    voxel_size: tuple[float, float, float] | None
    width: float  # inches
    height: float
    pixel_mm: tuple[float, float]  # row, column, as displayed
    window: float  # image value shown white
    zoom: Zoom | None  # as displayed

    def turn(self, image: NDArray) -> NDArray:
        return upright(np.abs(image), self.affine, self.voxel_size)[0]


def panel(
    images: Mapping[str, NDArray],
    *,
    std: NDArray | None = None,
    reference: NDArray | None = None,
    lesion: NDArray[np.bool_] | None = None,
    affine: NDArray[np.float64] | None = None,
    voxel_size: tuple[float, float, float] | None = None,
    title: str = "",
    error_gain: float = 5,
) -> Figure:
    """One slice, every image ``[readout, phase]`` in the same window.

    images: by caption, in order, e.g. zero-filled, a baseline, the posterior mean (the last is accentuated). std: of
    posterior samples. With a ``reference`` a second row has the absolute errors, ``error_gain`` times the window, and
    every image its NRMSE, PSNR and SSIM for this slice. A ``lesion`` mask adds an enlarged inset around it. affine and
    voxel_size (see ``orientation.upright``) turn the slice upright and give the scale bar.

    Raises ReconError when shapes differ, values are not finite or there is nothing to show.
    """
    view = _view(images, reference, std, lesion, affine, voxel_size)
    columns = ([("reference", reference)] if reference is not None else []) + list(images.items())
    with_errors = reference is not None
    count = len(columns) + (1 if std is not None and not with_errors else 0)
    head, caption, foot = (0.42 if title else 0.14), 0.2, 0.5
    metrics_height = 0.2 if with_errors else 0.0
    row_height = caption + view.height + metrics_height
    width = 2 * MARGIN + count * view.width + (count - 1) * GAP
    bars = with_errors or std is not None
    height = head + row_height + (caption + view.height if with_errors else 0) + (foot if bars else 0.1) + 0.05
    figure = page(width, height)
    if title:
        write(figure, MARGIN, 0.12, title, size=9, ha="left", weight="bold")
    top = head + caption
    below = head + row_height + caption
    for index, (name, image) in enumerate(columns):
        left = MARGIN + index * (view.width + GAP)
        box = Box(left, top, view.width, view.height)
        accentuated = name != "reference" and index == len(columns) - 1
        axes = _image(figure, box, view, image, name, accentuated)
        if index == 0 and (affine is not None or voxel_size is not None):
            scale_bar(axes, view.turn(image).shape, view.pixel_mm[1], view.zoom)
        if reference is not None and name != "reference":
            _metrics_line(figure, box, image, reference)
            error = view.turn(np.abs(np.abs(image) - reference))
            at = Box(left, below, view.width, view.height)
            write(figure, left + view.width / 2, below - 0.16, f"error × {error_gain:g}", size=7, colour=FAINT)
            show(figure, at, error, view.window / error_gain, ERROR_COLOURS, view.zoom)
    bar_top = height - foot + 0.06
    if std is not None:
        left = MARGIN if with_errors else MARGIN + (count - 1) * (view.width + GAP)
        at = Box(left, below if with_errors else top, view.width, view.height)
        turned = view.turn(std)
        top_percent = _std_top(turned, view.window)
        write(figure, left + view.width / 2, at.top - 0.17, "posterior std", size=8.5, weight="bold")
        show(figure, at, turned, top_percent / 100 * view.window, STD_COLOURS, view.zoom)
        bar = Box(left + 0.1 * view.width, bar_top, 0.8 * view.width, 0.07)
        colour_bar(figure, bar, STD_COLOURS, top_percent, "posterior std relative to the window")
    if with_errors:
        left, right = MARGIN + view.width + GAP, width - MARGIN
        wide = min(right - left, 2 * view.width) * 0.8
        bar = Box((left + right - wide) / 2, bar_top, wide, 0.07)
        colour_bar(figure, bar, ERROR_COLOURS, 100 / error_gain, "absolute error relative to the window")
    return figure


def benchmark(
    rows: Mapping[float, Mapping[str, NDArray]],
    reference: NDArray,
    *,
    lesion: NDArray[np.bool_] | None = None,
    affine: NDArray[np.float64] | None = None,
    voxel_size: tuple[float, float, float] | None = None,
    title: str = "",
    error_gain: float = 5,
    errors: bool = True,
) -> Figure:
    """Methods side by side (columns) at several accelerations (rows), after the reference, all in one window.

    rows: by acceleration, then by method, images ``[readout, phase]``; every acceleration with the same methods. Below
    each image its NRMSE, PSNR and SSIM for this slice, the best of each row accentuated, and its absolute error.
    Otherwise as ``panel``. Raises ReconError.
    """
    methods = list(next(iter(rows.values()), {}))
    if not methods or any(list(row) != methods for row in rows.values()):
        raise ReconError("benchmark figure: every acceleration needs the same methods in the same order")
    every = {f"{method} at {rate:g}": image for rate, row in rows.items() for method, image in row.items()}
    view = _view(every, reference, None, lesion, affine, voxel_size)
    head, caption, foot, metrics_height = (0.42 if title else 0.14), 0.22, 0.5, 0.22
    row_height = view.height + metrics_height + (view.height + 2 * GAP if errors else 0)
    count = len(methods) + 1
    width = 2 * MARGIN + 0.2 + count * view.width + (count - 1) * GAP
    height = head + caption + len(rows) * row_height + (foot if errors else 0.08)
    figure = page(width, height)
    if title:
        write(figure, MARGIN, 0.12, title, size=9, ha="left", weight="bold")
    lefts = [MARGIN + 0.2 + index * (view.width + GAP) for index in range(count)]
    for left, name in zip(lefts, ["reference", *methods], strict=True):
        write(figure, left + view.width / 2, head + 0.03, name, size=8.5, weight="bold")
    for number, (rate, row) in enumerate(rows.items()):
        top = head + caption + number * row_height
        write(figure, MARGIN, top + view.height / 2, f"R = {rate:g}", size=9, weight="bold", rotation=90, va="center")
        if number == 0:
            turned = view.turn(reference)
            axes = show(figure, Box(lefts[0], top, view.width, view.height), turned, view.window)
            if affine is not None or voxel_size is not None:
                scale_bar(axes, turned.shape, view.pixel_mm[1])
            if view.zoom is not None:
                outline(axes, view.zoom)
                if errors:  # the reference has no error: the place below it shows the lesion large
                    at = Box(lefts[0], top + view.height + metrics_height, view.width, view.height)
                    show_zoom(figure, at, turned, view.window, view.zoom)
        scores = {name: evaluate(image, reference).volume.nrmse for name, image in row.items()}
        best = min(scores, key=lambda name: scores[name])
        for left, (name, image) in zip(lefts[1:], row.items(), strict=True):
            box = Box(left, top, view.width, view.height)
            show(figure, box, view.turn(image), view.window, zoom=view.zoom)
            _metrics_line(figure, box, image, reference, ACCENT if name == best else INK)
            if errors:
                at = Box(left, top + view.height + metrics_height, view.width, view.height)
                error = view.turn(np.abs(np.abs(image) - reference))
                show(figure, at, error, view.window / error_gain, ERROR_COLOURS, view.zoom)
    if errors:
        wide = min(2 * view.width, lefts[-1] + view.width - lefts[1])
        bar = Box((lefts[1] + lefts[-1] + view.width - wide) / 2, height - foot + 0.06, wide, 0.07)
        label = f"absolute error (× {error_gain:g}) relative to the window"
        colour_bar(figure, bar, ERROR_COLOURS, 100 / error_gain, label)
    return figure


def slice_to_show(volume: NDArray, lesion: NDArray[np.bool_] | None = None) -> int:
    """The slice with the most lesion, else the one nearest the middle of those with at least half the most signal."""
    if lesion is not None and lesion.any():
        return int(lesion.reshape(len(lesion), -1).sum(1).argmax())
    signal = np.abs(volume).reshape(len(volume), -1).sum(1)
    candidates = np.flatnonzero(signal >= signal.max() / 2)
    return int(candidates[np.abs(candidates - len(volume) // 2).argmin()])


def _view(
    images: Mapping[str, NDArray],
    reference: NDArray | None,
    std: NDArray | None,
    lesion: NDArray[np.bool_] | None,
    affine: NDArray[np.float64] | None,
    voxel_size: tuple[float, float, float] | None,
) -> View:
    """Check every image and settle what they share."""
    if not images:
        raise ReconError("figure: no image to show")
    named = {**images, "reference": reference, "std": std}
    shape = np.shape(next(iter(images.values())))
    for name, image in named.items():
        if image is None:
            continue
        if image.ndim != 2 or image.shape != shape:
            raise ReconError(f"figure: '{name}' is {image.shape}, expected one slice [readout, phase] of {shape}")
        if not np.isfinite(image).all():
            raise ReconError(f"figure: '{name}' has NaN or infinite values")
    if lesion is not None and lesion.shape != shape:
        raise ReconError(f"figure: the lesion mask is {lesion.shape}, the images {shape}")
    guide = np.abs(reference if reference is not None else list(images.values())[-1])
    window = float(np.percentile(guide, WINDOW_PERCENTILE)) or float(guide.max())
    if window <= 0:
        raise ReconError("figure: the slice is empty (all zeros)")
    turned, pixel_mm = upright(guide, affine, voxel_size)
    extent = (turned.shape[0] * pixel_mm[0], turned.shape[1] * pixel_mm[1])
    scale = PANEL_SIDE / max(extent)
    zoom = None
    if lesion is not None and lesion.any():
        zoom = zoom_on(upright(lesion, affine, voxel_size)[0], turned)
    return View(affine, voxel_size, scale * extent[1], scale * extent[0], pixel_mm, window, zoom)


def _image(figure: Figure, box: Box, view: View, image: NDArray, name: str, accentuated: bool) -> Axes:
    colour = ACCENT if accentuated else INK
    write(figure, box.left + box.width / 2, box.top - 0.17, name, size=8.5, colour=colour, weight="bold")
    return show(figure, box, view.turn(image), view.window, zoom=view.zoom)


def _metrics_line(figure: Figure, box: Box, image: NDArray, reference: NDArray, colour: str = INK) -> None:
    if min(reference.shape) < SSIM_WINDOW:
        return
    found = evaluate(image, reference).volume
    text = f"NRMSE {found.nrmse:.3f}   PSNR {found.psnr:.1f}   SSIM {found.ssim:.3f}"
    size = min(7.0, 3.6 * box.width)
    write(figure, box.left + box.width / 2, box.top + box.height + 0.04, text, size=size, colour=colour)


def _std_top(std: NDArray, window: float) -> float:
    """The end of the std's scale in per cent of the window: the least round figure that few pixels exceed."""
    wanted = 100 * float(np.percentile(std, 99.5)) / window
    return next((top for top in STD_TOPS if top >= wanted), STD_TOPS[-1])
