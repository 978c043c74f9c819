"""Tables of README.md, docs/comparisons.md and docs/methods.md that compare methods, or priors, by their errors."""

from pathlib import Path
from typing import Any

from measured.table import Row, Sources, Table, Told, read_rows, recon, script, short, tables_in, without_zero
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


def of_head(
    folder: Path, sources: Sources, *words: object, contrast: str = ""
) -> dict[tuple[str, float, str, bool], dict[str, Any]]:
    """Rows of ``recon benchmark`` on the real head, by axis, acceleration, method, and whether its weight was tuned."""
    scan, out = folder / f"head{contrast}.h5", folder / f"benchmark{contrast}"
    named = ("--contrast", contrast) if contrast else ()
    recon("convert", sources.head, "--axes", "coil,readout,phase", "--key", "raw", *named, "--out", scan)
    recon("benchmark", scan, *words, "--out", out)
    rows = read_rows(out / "benchmark.json")
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


def ten_calls(folder: Path, sources: Sources) -> list[Row]:
    """The posterior mean by ten network calls at R = 2 to 5, lines along phase: one row."""
    words = ("--methods", "posterior", "--samples", 0, "--steps", 10, "--noise-snr", 20)
    rows = of_head(folder, sources, *words)
    return [[short(rows["phase", rate, "posterior", False]["nrmse"]) for rate in (2, 3, 4, 5)]]


def other_masks(folder: Path, sources: Sources) -> list[Row]:
    """Least and largest NRMSE of the posterior mean at R = 3, then at R = 4, over four other masks: one row."""
    words = ("--methods", "posterior", "--noise-snr", 20, "--acceleration", "3,4")
    found = [of_head(folder, sources, *words, contrast=contrast) for contrast in ("T1", "T2", "PD", "FLAIR")]
    made = []
    for rate in (3, 4):
        errors = [rows["phase", rate, "posterior", False]["nrmse"] for rows in found]
        made += [short(min(errors)), short(max(errors))]
    return [made]


def of_main_table(rows: list[Row]) -> list[str]:
    """L1-wavelet and the posterior mean at R = 4 along phase."""
    [row] = [row for row in rows if row[:2] == ["phase", "4"]]
    return [row[3], row[6]]


def of_samplers(rows: list[Row]) -> list[str]:
    """DDS, PiGDM and DAPS at R = 4."""
    errors = {row[0]: row[3].split()[0] for row in rows}
    return [errors[METHODS[name].title] for name in ("dds", "pigdm", "daps")]


def of_only_row(rows: list[Row]) -> list[str]:
    """What came out is the sentence's figures."""
    return rows[0]


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


def partial_fourier(folder: Path, sources: Sources) -> list[Row]:
    """One edge of kspace not acquired."""
    return [[row[0], *map(without_zero, row[1:])] for row in rows_of(script("benchmarks/partial_fourier"))]


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
    "head": Table(
        COMPARISONS, "| lines along | R | SENSE, oracle |", 2, 12, head_with_noise, ("head",),
        told=(Told("README.md", "best for the reference #; the posterior mean # with", of_main_table),),
    ),
    "samplers": Table(
        COMPARISONS, "| NRMSE (SSIM) | R = 2 | R = 3 |", 1, 5, head_samplers, ("head",),
        told=(Told("README.md", "NRMSE of #, PiGDM #, DAPS #, L1-wavelet", of_samplers),),
    ),
    "ten-calls": Table(
        COMPARISONS, "", 0, 1, ten_calls, ("head",),
        told=(Told(COMPARISONS, "along the phase axis has # / # / # / # at R = 2 to 5", of_only_row),),
    ),
    "other-masks": Table(
        COMPARISONS, "", 0, 2, other_masks, ("head",),
        told=(
            Told(COMPARISONS, "give the posterior mean # to # at R = 3 and # to # at R = 4 along phase", of_only_row),
        ),
    ),
    "as-acquired": Table(COMPARISONS, "| lines along | R | DDS | posterior mean |", 2, 3, head_as_acquired, ("head",)),
    "poisson": Table(COMPARISONS, "| zero-filled | SENSE, oracle | L1-wavelet, oracle |", 0, 3, poisson, ("poisson",)),
    "lattices": Table(METHODS_PAGE, "| | lattice 2x (1.88 net) |", 1, 3, lattices),
    "reference-scan": Table(METHODS_PAGE, "| | own lines | reference apart |", 1, 2, reference_scan),
    "partial-fourier": Table(METHODS_PAGE, "| | 7/8 | 6/8 |", 1, 1, partial_fourier),
    "denoising": Table(
        COMPARISONS, "| images | sigma 0.02 | sigma 0.05 |", 1, 3, denoising, ("older_prior", "prepared")
    ),
}  # fmt: skip
