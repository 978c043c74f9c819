"""Command ``recon simulate``: brain scans with known truth."""

from typing import Annotated

import typer

from cli.flags import AsJson
from cli.options import Given, with_options
from recon.simulate.options import SimulationOptions


def register(app: typer.Typer) -> None:
    """Add this group's command to the application."""
    app.command()(simulate)


@with_options(SimulationOptions)
def simulate(
    out: Annotated[str, typer.Option(metavar="FOLDER", help="Folder for the scans, lesion masks and manifest.json.")],
    given: Given,
    subjects: Annotated[int, typer.Option(metavar="N", help="How many subjects.", min=1)] = 1,
    contrast: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CONTRAST",
            help="T1, T1POST, T2, PD, FLAIR, T2STAR (gradient echo), DWI or DWI-B0 (the image at b = 0 of the same "
            "diffusion examination, from which with DWI the ADC follows); repeat for several. Default FLAIR.",
        ),
    ] = None,
    config: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="YAML file with the options of the simulation; flags override it."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Simulate brain scans: anatomy, contrast, strokes, coils and noise, written as fully sampled fastMRI files.

    Scans that exist already are kept, so an interrupted run continues. manifest.json names the person behind each scan
    (split training and test by it) and the licence of the anatomy.
    """
    from cli.output import emit
    from cli.progress import Progress
    from recon.configuration import load_config
    from recon.simulate.cohort import simulate_cohort
    from recon.simulate.manifest import MANIFEST

    options = load_config(SimulationOptions, config, given)
    with Progress() as progress:
        result = simulate_cohort(out, subjects, contrast or ["FLAIR"], options, report=progress.show)
    kinds = sorted({scan["kind"] for scan in result["scans"]})
    lines = [
        f"{result['written']} scans written, {result['kept']} kept, {len(result['scans'])} in {out}; "
        f"all {' or '.join(kinds)}",
        f"persons, sources and licences: {out}/{MANIFEST}",
    ]
    emit({"output": out, **result}, lines, as_json)
