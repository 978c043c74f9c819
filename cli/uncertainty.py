"""Command ``recon uncertainty``: does the standard deviation hold on scans whose truth is known?"""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.flags import AsJson, Device, PriorFolder
from cli.options import Given, with_options
from cli.output import emit, note, write_json
from cli.progress import Progress
from recon.benchmark.uncertainty_options import FEWEST_CASES, UncertaintyOptions


def register(app: typer.Typer) -> None:
    """Add this group's command to the application."""
    app.command()(uncertainty)


@with_options(UncertaintyOptions)
def uncertainty(
    scans: Annotated[
        list[str],
        typer.Argument(metavar="SCAN", help="Fully sampled scans, or folders of them, best those of 'recon simulate'."),
    ],
    given: Given,
    prior: PriorFolder = None,
    out: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Folder for the table and the figure. Default: none.")
    ] = None,
    store: Annotated[
        bool,
        typer.Option(
            "--store",
            help="Write into the prior's own folder by what the variance must be multiplied for the ratios to be one. "
            "Give scans that you do not test on afterwards.",
        ),
    ] = False,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Whether the standard deviation holds: undersample scans whose truth is known, reconstruct them, and compare the
    errors with the standard deviations.

    Prints, by acceleration, contrast and kind of anatomy: the squared error over its expectation (1 is right), and how
    many of the intervals hold the truth: for pixels, for means over brain regions, and for means over lesions. What a
    scan is compared with: the noise-free truth that 'recon simulate' stores; else the root sum of squares, whose own
    noise then counts as an error.
    """
    from recon.atomic import check_place
    from recon.configuration import load_config
    from recon.errors import ReconError
    from recon.scans.finding import find_scans

    options = load_config(UncertaintyOptions, None, given)
    check_place(out, folder=True)
    paths = find_scans(scans)
    if store and len(paths) * len(options.accelerations) < FEWEST_CASES:
        raise ReconError(f"--store needs {FEWEST_CASES} cases or more; give more scans, or more accelerations")
    note(f"uncertainty of {len(paths)} scan{'s' * (len(paths) > 1)}")

    import torch

    from recon.benchmark.uncertainty import uncertainty_cases
    from recon.benchmark.uncertainty_summary import calibration_rows, fitted_factors, reliability
    from recon.prior.store import load_prior, shipped_prior, store_variance_factors
    from recon.reconstruction.machine import chosen_device, physical_threads

    torch.set_num_threads(physical_threads())
    place, folder = chosen_device(device), Path(prior or shipped_prior())
    if store:
        check_place(folder / "prior.json")
    with Progress() as progress:
        progress.show("loading the prior", 0.0)
        loaded = load_prior(folder, place)
        cases = list(uncertainty_cases(paths, loaded, options, device=place, report=progress.show))
    rows, curves = calibration_rows(cases), reliability(cases)
    kinds = sorted({case.reference_kind for case in cases})
    result: dict[str, Any] = {
        "prior": loaded.facts.weights_sha256, "level": options.level, "reference_kinds": kinds, "rows": rows,
        "reliability": curves, "scans": [_of_case(case) for case in cases],
    }  # fmt: skip
    lines = [*_table(rows, options.level), f"compared with: {'; '.join(kinds)}"]
    if out is not None:
        table, figure = Path(out) / "uncertainty.json", Path(out) / "uncertainty.png"
        result |= {"output": out, "figure": str(figure)}
        _draw(curves, rows, options.level, figure)
        write_json(table, result)
        lines += [f"figure: {figure}", f"table: {table}"]
    if store:  # at last: the table is there even where no factors follow from it
        law = fitted_factors(cases)
        store_variance_factors(folder, law)
        result["variance_factors"] = dataclasses.asdict(law)
        lines.append(f"stored in {folder}: {law}")
        if out is not None:
            write_json(table, result)
    emit(result, lines, as_json)


def _of_case(case: Any) -> dict[str, Any]:
    facts = (
        "scan",
        "person",
        "origin",
        "contrast",
        "acceleration",
        "relative_std_error",
        "ratio",
        "amplification",
        "denoising_ratio",
        "spread",
    )
    return {**{name: getattr(case, name) for name in facts}, "coverage": float(case.covered.mean())}


def _table(rows: list[dict[str, Any]], level: float) -> list[str]:
    """One line a group; +- is the standard error over persons."""
    head = f"{'':<24}{'persons':>8}{'scans':>6}{'error^2 / expected':>20}"
    head += "".join(f"{f'{100 * level:g} %: ' + name:>18}" for name in ("pixels", "regions", "lesions"))
    lines = [head]
    for row in rows:
        label = f"R = {row['acceleration']:g}" if row["group"] == "all" else f"   {row['group']}"
        cells = f"{_cell(row, 'ratio', 1):>20}"
        cells += "".join(f"{_cell(row, key, 100):>18}" for key in ("coverage", "region_coverage", "lesion_coverage"))
        lines.append(f"{label:<24}{row['persons']:>8}{row['scans']:>6}{cells}")
    error = rows[0]["relative_std_error"] if rows else 0.0
    return [*lines, f"the standard deviation of a pixel is itself known to about {100 * error:.0f} %"]


def _cell(row: dict[str, Any], key: str, factor: int) -> str:
    value, error = row[key], row[f"{key}_error"]
    if value is None:
        return "-"
    digits = 2 if factor == 1 else 1
    return f"{factor * value:.{digits}f}" + ("" if error is None else f" +- {factor * error:.{digits}f}")


def _draw(curves: list[dict[str, Any]], rows: list[dict[str, Any]], level: float, path: Path) -> None:
    from recon.quality.drawing import save
    from recon.quality.reliability import reliability_figure

    overall = [row for row in rows if row["group"] == "all"]
    persons = max(row["persons"] for row in overall)
    title = f"Calibration of the posterior standard deviation, {persons} person{'s' * (persons > 1)}"
    save(reliability_figure(curves, overall, level, title), path)
