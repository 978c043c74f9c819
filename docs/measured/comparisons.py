"""Tables of README.md, docs/comparisons.md and docs/methods.md that compare methods, or priors, by their errors."""

from pathlib import Path
from typing import Any

from measured.table import Row, Sources, Table, read_rows, recon, script, short, tables_in, without_zero
from recon.reconstruction.methods import METHODS


def demo(folder: Path, sources: Sources) -> list[Row]:
    """Both accelerations of ``recon demo`` side by side, by method."""
    recon("demo", "--out", folder / "demo")
    rows = read_rows(folder / "demo" / "demo.json")
    made = []
    for method in dict.fromkeys(row["method"] for row in rows):
        line = [METHODS[method].title]
        for rate in (2, 4):
            [one] = [row for row in rows if row["method"] == method and row["acceleration"] == rate]
            contrast = short(100 * one["lesion_contrast_error"], 1)
            line += [short(one["nrmse"]), short(one["ssim"]), f"{contrast} %"]
        made.append(line)
    return made


def of_head(folder: Path, sources: Sources, *words: object) -> dict[tuple[str, float, str, bool], dict[str, Any]]:
    """Rows of ``recon benchmark`` on the real head, by axis, acceleration, method, and whether its weight was tuned."""
    recon("convert", sources.head, "--axes", "coil,readout,phase", "--key", "raw", "--out", folder / "head.h5")
    recon("benchmark", folder / "head.h5", *words, "--out", folder / "benchmark")
    rows = read_rows(folder / "benchmark" / "benchmark.json")
    return {(row["axis"], row["acceleration"], row["method"], row.get("oracle", False)): row for row in rows}


def head_with_noise(folder: Path, sources: Sources) -> list[Row]:
    """The main comparison, at an image SNR of 20."""
    methods = "sense,l1-wavelet,posterior,stochastic-dds,dds"
    rows = of_head(folder, sources, "--axis", "both", "--oracle", "--methods", methods, "--noise-snr", 20)
    made = []
    for axis in ("phase", "readout"):
        for rate in (2, 3, 4, 5):
            of = {method: row for (a, r, method, _), row in rows.items() if (a, r) == (axis, rate)}
            order = ("sense", "l1-wavelet", "stochastic-dds", "dds", "posterior")
            ssim = ", ".join(short(of[method]["ssim"]) for method in ("dds", "posterior"))
            made.append([axis, str(rate), *(short(of[method]["nrmse"]) for method in order), ssim])
    return made


def head_samplers(folder: Path, sources: Sources) -> list[Row]:
    """Other samplers with the same prior."""
    order = ("pigdm", "daps", "dds", "posterior")
    rows = of_head(folder, sources, "--methods", ",".join(order), "--noise-snr", 20)
    made = []
    for method in order:
        line = [METHODS[method].title]
        for rate in (2, 3, 4, 5):
            [one] = [row for (_, r, name, _), row in rows.items() if (r, name) == (rate, method)]
            line.append(f"{short(one['nrmse'])} ({short(one['ssim'])})")
        made.append(line)
    return made


def head_as_acquired(folder: Path, sources: Sources) -> list[Row]:
    """Without noise added."""
    rows = of_head(folder, sources, "--axis", "both", "--methods", "posterior,dds")
    nrmse = {key[:3]: short(row["nrmse"], 4) for key, row in rows.items()}
    made = []
    for axis in ("phase", "readout"):
        for a, b in ((2, 3), (4, 5)):
            pairs = [f"{nrmse[axis, a, method]} / {nrmse[axis, b, method]}" for method in ("dds", "posterior")]
            made.append([axis, f"{a} / {b}", *pairs])
    return made


def poisson(folder: Path, sources: Sources) -> list[Row]:
    """Held-out samples of a real Poisson scan: one row."""
    recon("convert", sources.poisson, "--axes", "coil,phase,phase2", "--out", folder / "poisson.h5")
    order = ("zero-filled", "sense", "l1-wavelet", "posterior")
    words = ("--hold-out", 0.15, "--oracle", "--methods", ",".join(order))
    recon("benchmark", folder / "poisson.h5", *words, "--out", folder / "held-out")
    rows = read_rows(folder / "held-out" / "benchmark.json")
    least = {m: min(row["held_out_nrmse"] for row in rows if row["method"] == m) for m in order}
    return [[short(least[method]) for method in order]]


def lattices(folder: Path, sources: Sources) -> list[Row]:
    """Lattices in a plane beside Poisson masks."""
    return [[row[0], *map(without_zero, row[1:])] for row in rows_of(script("benchmarks/lattices"))]


def reference_scan(folder: Path, sources: Sources) -> list[Row]:
    """A calibration scan measured apart: all lines, then with partial Fourier."""
    rows = {
        (row[0], row[1]): [without_zero(cell) for cell in row[2:]]
        for row in rows_of(script("benchmarks/reference_scan"))
    }
    names = dict.fromkeys(name for name, _ in rows)
    return [[name, *rows[name, "whole"], *rows[name, "6/8"]] for name in names]


def rows_of(text: str) -> list[Row]:
    """The rows of the one table that an example printed."""
    [rows] = tables_in(text)
    return rows


def denoising(folder: Path, sources: Sources) -> list[Row]:
    """The denoising error of an older prior, and the factor by which the shipped one changed it."""
    words = ("--prior", sources.older_prior, "--prior", "shipped", "--slices", 30)
    return rows_of(script("benchmarks/denoising_error", sources.prepared, *words))


COMPARISONS, METHODS_PAGE = "docs/comparisons.md", "docs/methods.md"
TABLES = {
    "demo": Table("README.md", "| | R = 2: NRMSE | SSIM |", 1, 2, demo),
    "head": Table(COMPARISONS, "| lines along | R | SENSE, oracle |", 2, 12, head_with_noise, ("head",)),
    "samplers": Table(COMPARISONS, "| NRMSE (SSIM) | R = 2 | R = 3 |", 1, 5, head_samplers, ("head",)),
    "as-acquired": Table(COMPARISONS, "| lines along | R | DDS | posterior mean |", 2, 3, head_as_acquired, ("head",)),
    "poisson": Table(COMPARISONS, "| zero-filled | SENSE, oracle | L1-wavelet, oracle |", 0, 3, poisson, ("poisson",)),
    "lattices": Table(METHODS_PAGE, "| | lattice 2x (1.88 net) |", 1, 3, lattices),
    "reference-scan": Table(METHODS_PAGE, "| | own lines | reference apart |", 1, 2, reference_scan),
    "denoising": Table(
        COMPARISONS, "| images | sigma 0.02 | sigma 0.05 |", 1, 6, denoising, ("older_prior", "prepared")
    ),
}
