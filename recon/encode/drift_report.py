"""A drift report as JSON-ready values, as table rows, and as a figure."""

import csv
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from recon.atomic import atomic_path
from recon.encode.drift import DriftReport, ReferenceView, iterate_rows, spread
from recon.encode.geometry import paint
from recon.encode.volumes import Series

COLUMNS = (
    *("name", "what", "token_distance", "token_cosine", "token_cosine_p5", "relative_l2", "pooled_cosine", "tokens"),
    *("hfen", "ssim", "dists"),
)
NO_SAMPLES = "no posterior samples stored in this file; reconstruct with --keep-samples to see their spread"


def as_values(series: Series, report: DriftReport) -> dict[str, Any]:
    """Every figure of a report under stable snake_case keys."""
    return {
        "reconstruction": str(series.path),
        "kind": series.kind,
        **asdict(report.drift),
        "inside_noise_floor": report.inside,
        "verdict": report.verdict,
        "local": None
        if report.local is None
        else {
            **asdict(report.local),
            "inside": report.local.inside,
            "false_alarm_rate": report.local.false_alarm_rate,
        },
        "local_verdict": report.local_verdict,
        "after_intensity_scale": asdict(report.scaled),
        "noise_floor": {
            "token_distance": spread(report.noise_floor.replicas),
            "snr": report.noise_floor.snr,
            "noise_std": report.noise_floor.noise_std,
            "source": report.noise_floor.source,
            "replicas": [asdict(replica) for replica in report.noise_floor.replicas],
        },
        "posterior_samples_missing": None if report.samples else NO_SAMPLES,
        "posterior_samples": None
        if not report.samples
        else {
            "against_reference": spread(report.samples),
            "against_reconstruction": spread(report.sample_spread),
            "samples": [asdict(sample) for sample in report.samples],
        },
        "random_init": {
            **asdict(report.control),
            "noise_floor": spread(report.control_noise_floor.replicas),
            "inside_noise_floor": report.control.token_distance <= report.control_noise_floor.limit,
        },
        "hfen": report.hfen,
        "ssim": report.ssim,
        "dists": report.dists.value,
        "dists_missing": report.dists.missing or None,
        "intensity_scale": report.intensity_scale,
    }


def write_rows(path: str | Path, reports: Sequence[tuple[Series, DriftReport]]) -> None:
    """One CSV row for every embedding that was compared. Raises ReconError when it cannot be written."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="")
        writer.writeheader()
        for series, report in reports:
            for what, drift in iterate_rows(report):
                row: dict[str, Any] = {"name": series.path.name, "what": what, **asdict(drift)}
                if what == "reconstruction":
                    row.update(hfen=report.hfen, ssim=report.ssim, dists=report.dists.value)
                writer.writerow({key: "" if value is None else value for key, value in row.items()})


def write_figure(path: str | Path, reference: ReferenceView, series: Series, report: DriftReport) -> None:
    """PNG: reference, reconstruction and token distances of one slice, and the drift beside its noise floor.

    The slice is the one through the token that moved most. Raises ReconError when it cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    prepared = reference.prepared
    preprocessing = prepared.preprocessing
    painted = paint(
        report.token_distances.numpy(),
        report.coords.numpy(),
        prepared.token_to_world,
        preprocessing.shape,
        preprocessing.affine,
    )
    stacks = [
        np.moveaxis(values, preprocessing.slice_axis, 0) for values in (reference.series.values, series.values, painted)
    ]
    index = int(stacks[2].max(axis=(1, 2)).argmax()) if stacks[2].any() else len(stacks[2]) // 2
    figure = Figure(figsize=(13, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 4, width_ratios=(1, 1, 1.15, 1.6))
    top = float(np.percentile(stacks[0], 99.5))
    for axis, image, title in zip(axes[:2], stacks[:2], ("reference", series.path.name), strict=True):
        axis.imshow(image[index], cmap="gray", vmin=0, vmax=top)
        axis.set_title(title, fontsize=9)
    depth, height, width = prepared.token_size
    axes[2].imshow(stacks[0][index], cmap="gray", vmin=0, vmax=top)
    shown = np.ma.masked_equal(stacks[2][index], 0)
    image = axes[2].imshow(shown, cmap="magma", alpha=0.7, vmin=0, vmax=float(painted.max()) or 1)
    axes[2].set_title(f"1 - cosine, tokens of {height:.3g} x {width:.3g} x {depth:.3g} mm", fontsize=9)
    figure.colorbar(image, ax=axes[2], fraction=0.046)
    for axis in axes[:3]:
        axis.set_axis_off()
    _plot_distances(axes[3], report)
    encoder = reference.encoder
    weights = encoder.weights_hash if encoder.weights_hash.startswith("random") else encoder.weights_hash[:12]
    figure.suptitle(f"{encoder.name} ({weights}), exploratory: {report.verdict}", fontsize=9)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")


def _plot_distances(axis: Any, report: DriftReport) -> None:
    groups = [
        ("noise", [replica.token_distance for replica in report.noise_floor.replicas], "tab:gray"),
        ("samples", [sample.token_distance for sample in report.samples], "tab:blue"),
        ("reconstruction", [report.drift.token_distance], "tab:red"),
        ("noise,\nrandom init", [r.token_distance for r in report.control_noise_floor.replicas], "lightgray"),
        ("random init", [report.control.token_distance], "tab:orange"),
    ]
    shown = [(name, values, colour) for name, values, colour in groups if values]
    for place, (_, values, colour) in enumerate(shown):
        axis.plot([place] * len(values), values, "o", color=colour, alpha=0.7)
    axis.axhline(report.noise_floor.limit, color="tab:gray", linewidth=0.8, linestyle="--")
    axis.set_xticks(range(len(shown)), [name for name, _, _ in shown], fontsize=8)
    if min(min(values) for _, values, _ in shown) > 0:
        axis.set_yscale("log")
    axis.set_ylabel("mean 1 - cosine over tokens")
