"""NRMSE against network calls on one fully sampled scan: the operating curves of all samplers, as a figure.

    python examples/benchmarks/operating_curve.py head.h5 --out curve [--acceleration 4] [--noise-snr 20]

Every sampler runs at several numbers of steps and samples through ``recon.benchmark``, as for any user. A curve is the
least error that a method reached with at most so many network calls of a slice, all samples together; DPS has the best
of the weights tried on the reference, whose calls are not counted. Horizontal lines: classical methods with the weight
that is best on the reference. Results are kept in the folder, so that an interrupted run continues.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from PIL import Image

from recon.atomic import atomic_path
from recon.benchmark.comparison import benchmark
from recon.benchmark.options import BenchmarkOptions
from recon.prior.store import load_prior, shipped_prior
from recon.quality.drawing import ACCENT, FAINT, INK, PAGE, Box, page, place, save, write
from recon.reconstruction.methods import METHODS
from recon.scans.opening import open_scan

POINTS: dict[str, tuple[tuple[int, int], ...]] = {  # (samples, steps); without samples: the recursion alone
    "posterior": ((0, 2), (0, 3), (0, 5), (0, 8), (0, 10), (0, 16), (0, 32)),
    "dds": ((1, 5), (1, 10), (1, 20), (2, 10), (2, 20), (4, 20)),
    "stochastic-dds": ((1, 5), (1, 10), (1, 20), (2, 20), (4, 20)),
    "pigdm": ((1, 5), (1, 10), (1, 20), (2, 20), (4, 20)),
    "daps": ((1, 6), (1, 10), (1, 20), (1, 40), (2, 40)),
    "pula": ((1, 20), (1, 50), (1, 100)),
    "dps": ((1, 50), (1, 150)),
}
CLASSICAL = ("sense", "l1-wavelet")
COLOURS = (ACCENT, "#4cc9f0", "#80ed99", "#ef476f", "#c77dff", "#ffd166", "#9aa3ad")
WIDTH = 1400  # pixels of the figure


def measured(words: argparse.Namespace, table: Path) -> list[dict[str, Any]]:
    """Every point of every curve; those that ``table`` holds already are not computed again."""
    rows: list[dict[str, Any]] = json.loads(table.read_text()) if table.is_file() else []
    scan, prior = open_scan(words.scan), load_prior(shipped_prior() if words.prior is None else words.prior)
    jobs: list[tuple[str, int | None, int | None]] = [(name, None, None) for name in CLASSICAL]
    jobs += [(name, *point) for name in words.methods.split(",") for point in POINTS[name]]
    for method, samples, steps in jobs:
        if any((row["method"], row["samples"], row["steps"]) == (method, samples, steps) for row in rows):
            continue
        options = BenchmarkOptions(
            accelerations=(words.acceleration,), methods=(method,), oracle=True, noise_snr=words.noise_snr,
            samples=samples, steps=steps, weights=(("dps", tuple(words.dps_weights)),),
        )  # fmt: skip
        best = min(benchmark(scan, prior, options).rows, key=lambda row: row["nrmse"])
        kept = {key: best[key] for key in ("nrmse", "ssim", "network_calls", "seconds", "weight")}
        rows.append({"method": method, "samples": samples, "steps": steps, **kept})
        print(f"{method}, samples {samples}, steps {steps}: {best['network_calls']} calls, NRMSE {best['nrmse']:.4f}")
        with atomic_path(table) as temporary:
            temporary.write_text(json.dumps(rows, indent=1))
    return rows


def drawn(rows: list[dict[str, Any]], title: str) -> Figure:
    """NRMSE against network calls, both logarithmic."""
    figure = page(7.0, 4.4)
    write(figure, 0.7, 0.15, title, size=9.5, ha="left")
    axes = place(figure, Box(0.7, 0.5, 4.7, 3.3))
    axes.set_axis_on()
    axes.set_facecolor(PAGE)
    found = [row for row in rows if row["method"] in POINTS]
    for name, colour in zip(POINTS, COLOURS, strict=True):
        points = sorted((row["network_calls"], row["nrmse"]) for row in found if row["method"] == name)
        if not points:
            continue
        best = [min(error for calls, error in points if calls <= limit) for limit, _ in points]
        axes.plot([calls for calls, _ in points], best, color=colour, linewidth=1.2, label=METHODS[name].title)
        axes.plot(*zip(*points, strict=True), color=colour, linestyle="", marker="o", markersize=3)
    for row, style in zip((row for row in rows if row["method"] in CLASSICAL), ("--", ":"), strict=False):
        label = f"{METHODS[row['method']].title}, oracle"
        axes.axhline(row["nrmse"], color=FAINT, linewidth=0.9, linestyle=style, label=label)
    axes.set(xscale="log", yscale="log")
    axes.set_xlabel("network calls of a slice, all samples together", color=FAINT, fontsize=7.5)
    axes.set_ylabel("NRMSE", color=FAINT, fontsize=7.5)
    most = max(row["network_calls"] for row in found)
    ticks = [tick for tick in (2, 5, 10, 20, 50, 100, 200, 500) if tick <= 1.2 * most]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    levels = [level for level in (0.08, 0.09, 0.1, 0.12, 0.15, 0.2, 0.3, 0.5) if _within(level, rows)]
    axes.set_yticks(levels, [f"{level:g}" for level in levels])
    axes.minorticks_off()
    axes.set_xlim(1.7, 1.2 * most)
    for spine in axes.spines.values():
        spine.set_color(FAINT)
        spine.set_linewidth(0.5)
    axes.tick_params(labelsize=7, colors=FAINT, length=2)
    axes.legend(fontsize=7, frameon=False, labelcolor=INK, loc="upper left", bbox_to_anchor=(1.01, 1.0))
    return figure


def _within(level: float, rows: list[dict[str, Any]]) -> bool:
    errors = [row["nrmse"] for row in rows]
    return 0.95 * min(errors) <= level <= 1.05 * max(errors)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scan", help="a fully sampled scan")
    parser.add_argument("--out", type=Path, required=True, help="folder of the figure and of operating_curve.json")
    parser.add_argument("--prior", help="folder of a prior; without it the one that comes with recon")
    parser.add_argument("--acceleration", type=float, default=4.0)
    parser.add_argument("--noise-snr", type=float, default=20.0)
    parser.add_argument("--methods", default=",".join(POINTS))
    parser.add_argument("--dps-weights", type=float, nargs="+", default=[1.0, 3.0, 10.0], help="tried on the reference")
    words = parser.parse_args()
    words.out.mkdir(parents=True, exist_ok=True)
    rows = measured(words, words.out / "operating_curve.json")
    target = words.out / "operating_curve.png"
    save(drawn(rows, f"{Path(words.scan).stem}: R = {words.acceleration:g}, image SNR {words.noise_snr:g}"), target)
    with Image.open(target) as figure:
        size = (WIDTH, round(figure.height * WIDTH / figure.width))
        figure.convert("RGB").resize(size, Image.Resampling.LANCZOS).quantize(64).save(target, optimize=True)
    print(f"{target}: {len(rows)} points")


if __name__ == "__main__":
    main()
