"""Command ``recon interactive``: what acceleration costs a reader who outlines lesions by clicks."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.cohort import Refused
from cli.evaluation import ListOptions
from cli.flags import AsJson
from cli.options import Given, with_options
from cli.output import emit, write_json
from cli.progress import Progress
from recon.interactive.options import InteractiveOptions


def register(app: typer.Typer) -> None:
    """Add this group's command to the application."""
    app.command(cls=ListOptions)(interactive)


@with_options(InteractiveOptions)
def interactive(
    results: Annotated[
        list[Path],
        typer.Argument(metavar="RESULT", help="Results of 'recon reconstruct', or NIfTI images, or folders."),
    ],
    reference: Annotated[
        list[Path],
        typer.Option(
            metavar="FILE...",
            help="The same heads without acceleration, as in 'recon evaluate': fully sampled scans, results, NIfTI, or "
            "folders of them.",
        ),
    ],
    lesions: Annotated[
        list[Path],
        typer.Option(
            metavar="FILE...", help="True outlines: HDF5 with a dataset 'lesion', or NIfTI, or folders. Matched alike."
        ),
    ],
    given: Given,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Folder for the table and the figure. Default: none.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """What acceleration costs a task: how many clicks outline a lesion on reconstructions and on their references.

    A simulated user clicks where the segmentation differs most from the true outline; a segmenter answers, until the
    budget of clicks is spent. Prints, by segmenter, contrast, method and acceleration, Dice coefficient, normalised
    surface distance, area under the curve of Dice over clicks, and clicks to the target, with their differences from
    the references, by person. A result that cannot be segmented is said and left out, and the exit code is 2.
    """
    from recon.atomic import check_place
    from recon.configuration import load_config
    from recon.errors import ReconError
    from recon.interactive.cases import segmented_cases, table
    from recon.quality.finding import find_lesions, find_references, find_results

    options = load_config(InteractiveOptions, None, given)
    check_place(out, folder=True)
    paths, refused = find_results(results), Refused()
    with Progress(quiet=20) as progress:
        pairs = segmented_cases(
            paths,
            find_references(reference),
            find_lesions(lesions),
            options,
            progress.show,
            None if len(paths) == 1 else lambda path, error: refused.add(path, error, progress.note),
        )
    if not pairs:
        raise ReconError("none of the results could be segmented: see the lines above")
    rows = table(pairs, options)
    result: dict[str, Any] = {
        "budget": options.clicks, "target": options.target, "tolerance_mm": options.tolerance,
        "slicewise": options.slicewise, "seed": options.seed, "rows": rows, "scans": _scans(pairs),
        "refused": refused.entries,
    }  # fmt: skip
    lines = [*_lines(rows, options), *refused.lines(len(paths))]
    if out is not None:
        figure = out / "interactive.png"
        result |= {"output": str(out), "figure": str(figure)}
        write_json(out / "interactive.json", result)
        _draw(pairs, options, figure)
        lines += [f"figure: {figure}", f"table: {out / 'interactive.json'}"]
    emit(result, lines, as_json)
    refused.end()


def _scans(pairs: list[tuple[Any, Any]]) -> list[dict[str, Any]]:
    """Every segmented image once."""
    cases = {id(case): case for pair in pairs for case in pair}.values()
    facts = ("scan", "person", "contrast", "method", "acceleration", "segmenter")
    return [
        {
            **{name: getattr(case, name) for name in facts},
            **case.figures,
            "seconds": case.interaction.seconds,
            "reached": case.needed.reached,
            "dice_by_click": case.interaction.dice,
            "surface_by_click": case.interaction.surface,
        }
        for case in cases
    ]


HEADS = {"dice": "Dice", "surface": "surface", "area": "area", "clicks": "clicks"}


def _lines(rows: list[dict[str, Any]], options: InteractiveOptions) -> list[str]:
    """One line a group: the figure, and in brackets its change from the reference with p."""
    labels = [_label(row) for row in rows]
    width = max(map(len, labels))
    head = f"{'':<{width}}{'persons':>9}" + "".join(f"{name:>30}" for name in HEADS.values()) + f"{'reached':>16}"
    lines = [head]
    for label, row in zip(labels, rows, strict=True):
        cells = "".join(f"{_cell(row, name):>30}" for name in HEADS)
        reached = f"{100 * row['reached']:.0f} % of {100 * row['reached_reference']:.0f} %"
        lines.append(f"{label:<{width}}{row['persons']:>9}{cells}{reached:>16}")
    place = "slice by slice" if options.slicewise else "in the volume"
    return [
        *lines,
        f"after {options.clicks} clicks {place}; in brackets the change from the reference and its p",
        f"clicks: to Dice {options.target:g}, mean restricted to {options.clicks}; surface: within "
        f"{options.tolerance:g} mm; reached: share that got to {options.target:g}, of the references",
    ]


def _label(row: dict[str, Any]) -> str:
    rate = "" if row["acceleration"] is None else f"R = {row['acceleration']:g}"
    return " ".join(word for word in (row["segmenter"], row["contrast"], row["method"], rate) if word)


def _cell(row: dict[str, Any], name: str) -> str:
    digits = 1 if name == "clicks" else 3
    p = "" if row[f"{name}_p"] is None else f", p {row[f'{name}_p']:.2g}"
    return f"{row[name]:.{digits}f} ({row[f'{name}_change']:+.{digits}f}{p})"


def _draw(pairs: list[tuple[Any, Any]], options: InteractiveOptions, path: Path) -> None:
    from recon.interactive.drawing import curves_figure
    from recon.quality.drawing import save

    persons = len({case.person for case, _ in pairs})
    title = f"Segmentation by clicks, {persons} person{'s' * (persons > 1)}"
    save(curves_figure(pairs, options.target, title), path)
