"""Command ``recon demo``: the whole chain on a simulated stroke scan."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.flags import AsJson, Device, PriorFolder
from cli.options import Given, with_options
from cli.output import emit, note
from cli.progress import Progress
from recon.benchmark.options import DemonstrationOptions

TITLES = {
    "nrmse": "nrmse", "psnr": "psnr", "ssim": "ssim", "hfen": "hfen", "lesion_contrast_error": "lesion contrast error",
    "seconds": "seconds",
}  # fmt: skip
DIGITS = {"psnr": 2, "seconds": 1}


def register(app: typer.Typer) -> None:
    """Add this group's command to the application."""
    app.command()(demo)


@with_options(DemonstrationOptions)
def demo(
    given: Given,
    out: Annotated[
        str, typer.Option(metavar="FOLDER", help="Folder for scans, results, figure and table.")
    ] = "recon-demo",
    prior: PriorFolder = None,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Simulate a stroke FLAIR scan, undersample it, reconstruct it by every method and compare.

    Nothing is downloaded. Everything is simulated: the figures show how the methods behave, not how well they do on
    patients.
    """
    from recon.atomic import check_place
    from recon.configuration import load_config

    options = load_config(DemonstrationOptions, None, given)
    check_place(out, folder=True)
    note(f"everything here is simulated; scans, results and figure go to {out}")

    import torch

    from recon.benchmark.demonstration import demonstrate
    from recon.reconstruction.machine import chosen_device, physical_threads

    torch.set_num_threads(physical_threads())
    chosen = chosen_device(device)

    def load() -> Any:
        from recon.prior.store import load_prior, shipped_prior

        return load_prior(prior or shipped_prior(), chosen)

    with Progress() as progress:
        made = demonstrate(Path(out), load, options, device=chosen, report=progress.show)
    lines = [*_table(made.rows), f"figure: {made.figure}", f"table: {made.table}"]
    emit({"output": out, "figure": str(made.figure), "simulated": True, "rows": list(made.rows)}, lines, as_json)


def _table(rows: tuple[dict[str, Any], ...]) -> list[str]:
    """One line a method and acceleration."""
    width = max(len(row["method"]) for row in rows)
    lines = ["   ".join([" R", f"{'method':<{width}}", *(f"{title:>7}" for title in TITLES.values())])]
    for row in rows:
        cells = []
        for key, title in TITLES.items():
            value = row[key]
            text = "" if value is None else f"{value:.{DIGITS.get(key, 4)}f}"
            cells.append(f"{text:>{max(7, len(title))}}")
        lines.append("   ".join([f"{row['acceleration']:>2}", f"{row['method']:<{width}}", *cells]))
    return lines
