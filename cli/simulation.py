"""Command ``recon simulate``: brain scans with known truth."""

from collections.abc import Iterator
from typing import Annotated, Any

import typer


def register(app: typer.Typer) -> None:
    """Add this group's command to the application."""
    app.command()(simulate)


def simulate(
    out: Annotated[str, typer.Option(help="Folder for the scans, lesion masks and manifest.json.")],
    subjects: Annotated[int, typer.Option(help="How many subjects.", min=1)] = 1,
    contrast: Annotated[
        list[str] | None, typer.Option(help="T1, T1POST, T2, PD, FLAIR or DWI; repeat for several. Default FLAIR.")
    ] = None,
    stroke: Annotated[bool, typer.Option("--stroke", help="Give every subject a stroke, with its mask.")] = False,
    territory: Annotated[
        str | None, typer.Option(help="Where: MCA, ACA, PCA, lacunar or cerebellar. Default: as often as in patients.")
    ] = None,
    stage: Annotated[str | None, typer.Option(help="How old: acute, subacute or chronic. Default: any.")] = None,
    size: Annotated[str, typer.Option(help="Matrix: one number, or readout,phase.")] = "192",
    coils: Annotated[int, typer.Option(help="Receive coils.")] = 8,
    slices: Annotated[int, typer.Option(help="Slices a subject.")] = 8,
    snr: Annotated[
        float,
        typer.Option(help="Mean brain signal over noise std (per real component, coils combined)."),
    ] = 30.0,
    field_of_view: Annotated[
        float | None, typer.Option(help="Millimetres along the readout. Default: 220 to 250, drawn for each subject.")
    ] = None,
    thickness: Annotated[float | None, typer.Option(help="Slice thickness in mm. Default: 3 to 5, drawn.")] = None,
    oversampling: Annotated[int, typer.Option(help="Readout oversampling, 1 or 2.")] = 1,
    anatomy: Annotated[
        str | None,
        typer.Option(help="Folder of labelled npz or NIfTI heads, or of real images. Default: the built-in head."),
    ] = None,
    lesion_shapes: Annotated[
        str | None, typer.Option(help="Folder of real lesion masks (NIfTI, MNI space) to use as shapes.")
    ] = None,
    territories: Annotated[
        str | None, typer.Option(help="Atlas of arterial territories (NIfTI, MNI space) instead of the built-in ones.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same scans.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Simulate brain scans: anatomy, contrast, strokes, coils and noise, written as fully sampled fastMRI files.

    Scans that exist already are kept, so an interrupted run continues. manifest.json names the person behind each scan
    (split training and test by it) and the licence of the anatomy.
    """
    from pathlib import Path

    from cli.output import emit
    from recon.errors import ReconError
    from recon.simulate.anatomy_files import builtin_sources, find_anatomies
    from recon.simulate.cohort import MANIFEST, Settings, simulate_cohort
    from recon.simulate.lesion_files import find_lesion_files

    try:
        numbers = [int(word) for word in size.split(",")]
    except ValueError as error:
        raise ReconError(f"--size {size}: give one number, or readout,phase such as 256,192") from error
    if len(numbers) not in (1, 2):
        raise ReconError(f"--size {size}: give one number, or readout,phase such as 256,192")
    settings = Settings(
        size=(numbers[0], numbers[-1]),
        coils=coils,
        slices=slices,
        snr=snr,
        stroke=stroke,
        seed=seed,
        oversampling=oversampling,
        field_of_view=field_of_view,
        thickness=thickness,
        territory=territory,
        stage=stage,
        anatomy="icbm152" if anatomy is None else Path(anatomy).name,
        lesion_shapes=None if lesion_shapes is None else Path(lesion_shapes).name,
        territories=None if territories is None else Path(territories).name,
    )
    if (territory or stage or lesion_shapes or territories) and not stroke:
        raise ReconError("--territory, --stage, --lesion-shapes and --territories describe a stroke; add --stroke")
    if lesion_shapes and (territory or territories):
        raise ReconError("--lesion-shapes brings its own places; leave out --territory and --territories")
    sources = builtin_sources() if anatomy is None else find_anatomies(anatomy)
    result = simulate_cohort(
        out,
        sources,
        subjects,
        contrast or ["FLAIR"],
        settings,
        find_lesion_files(lesion_shapes, territories),
        progress=_progress,
    )
    kinds = sorted({entry["kind"] for entry in result["scans"]})
    lines = [
        f"{result['written']} scans written, {result['kept']} kept, {len(result['scans'])} in {out}; "
        f"all {' or '.join(kinds)}",
        f"persons, sources and licences: {out}/{MANIFEST}",
    ]
    emit({"output": out, **result}, lines, as_json)


def _progress(subjects: Iterator[Any], total: int) -> Iterator[Any]:
    """A bar on a terminal, else a plain line at every tenth."""
    import sys

    from tqdm import tqdm

    from cli.output import note

    if sys.stderr.isatty():
        yield from tqdm(subjects, total=total, desc="simulating", unit="subject")
        return
    for done, subject in enumerate(subjects):
        if done and done * 10 // total > (done - 1) * 10 // total:
            note(f"simulated {done} of {total} subjects")
        yield subject
