"""Commands that judge results: evaluate."""

from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from cli.cohort import Refused
from cli.flags import AsJson
from cli.output import emit

KEYS = ("nrmse", "psnr", "ssim", "hfen")
LESION_KEYS = ("lesion_contrast_error", "lesion_nrmse")


class ListOptions(TyperCommand):
    """A command whose ``--reference`` and ``--lesions`` take several files in a row, as shell patterns give them.

    Only after the results have been named: in ``recon evaluate --reference a.h5 b.h5`` the second file is a result.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        words: list[str] = []
        option, results_named = "", False
        for word in args:
            first_value = words[-1:] == [option]
            if word.startswith("-"):
                option = word
            elif option in ("--reference", "--lesions"):
                if results_named and not first_value:
                    words.append(option)
            elif not (option == "--table" and first_value):
                results_named = True
            words.append(word)
        return super().parse_args(ctx, words)


def register(app: typer.Typer) -> None:
    """Add this group's commands to the application."""
    app.command(cls=ListOptions)(evaluate)


def evaluate(
    results: Annotated[
        list[Path],
        typer.Argument(metavar="RESULT", help="Results of 'recon reconstruct', or NIfTI images, or folders."),
    ],
    reference: Annotated[
        list[Path],
        typer.Option(
            metavar="FILE...",
            help="What to compare with: fully sampled scans (root sum of squares over the coils, or the reference "
            "stored in the file), results, or NIfTI; or folders of them. One for all results, or one each: matched by "
            "the scan's name, else by order.",
        ),
    ],
    lesions: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE...", help="Lesion masks: HDF5 with a dataset 'lesion', or NIfTI. Matched alike."),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            metavar="vendor|field_strength|site",
            help="Add the means by this fact of the results, with intervals over persons.",
        ),
    ] = None,
    table: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the table as CSV.")] = None,
    slices: Annotated[bool, typer.Option("--slices", help="Add one row a slice.")] = False,
    as_json: AsJson = False,
) -> None:
    """How close results are to a reference: NRMSE, PSNR and SSIM (as fastMRI defines them), HFEN, lesion contrast.

    Images are compared as they are, without rescaling; the column 'scale' tells the factor that would fit best. Means
    are those of each method. A result that cannot be compared is said and left out, the others are done, and the exit
    code is 2.
    """
    from recon.atomic import check_place
    from recon.errors import ReconError
    from recon.quality.comparison import compare_files, mean_rows, write_table
    from recon.quality.finding import find_lesions, find_references, find_results
    from recon.quality.strata import FACTS, stratum_rows

    if by is not None and by not in FACTS:
        raise ReconError(f"--by {by}: choose from {', '.join(FACTS)}")
    paths, refused = find_results(results), Refused()
    references, masks = find_references(reference), find_lesions(lesions or [])
    check_place(table, inputs=[*paths, *references, *masks])
    rows = compare_files(
        paths,
        references,
        masks,
        per_slice=slices,
        refuse=None if len(paths) == 1 else refused.add,
    )
    volumes = [row for row in rows if row["slice"] is None]
    if not volumes:
        raise ReconError("none of the results could be evaluated: see the lines above")
    means = mean_rows(volumes)
    if by is not None and len(means) > 1:
        methods = ", ".join(mean["method"] or "images without a stated method" for mean in means)
        raise ReconError(f"--by {by}: these results are of several methods ({methods}); evaluate one at a time")
    shown = means if len(volumes) > len(means) else []
    if table is not None:
        write_table(table, [*rows, *shown])
    keys = [*KEYS, *(LESION_KEYS if lesions else ())]
    summary = {key: means[0][key] if len(means) == 1 else None for key in keys}
    by_method = [{"method": mean["method"], **{key: mean[key] for key in keys}} for mean in means]
    output: dict[str, Any] = {} if table is None else {"output": str(table)}
    strata = [] if by is None else stratum_rows(volumes, by, keys)
    if by is not None:
        output["strata"] = strata
    lines = [*_lines(rows, shown, keys), *_stratum_lines(strata, by, keys), *refused.lines(len(paths))]
    emit({**summary, "methods": by_method, **output, "scans": rows, "refused": refused.entries}, lines, as_json)
    refused.end()


def _lines(rows: list[dict[str, Any]], means: list[dict[str, Any]], keys: list[str]) -> list[str]:
    """The table for people: one line a scan, and the mean of several, a method."""
    shown = [*rows, *means]
    counts = Counter((row["scan"], row["method"]) for row in rows if row["slice"] is None)
    names = [_name(row, counts) for row in shown]
    methods = [str(row["method"]) for row in shown]
    width, method_width = max(4, *map(len, names)), max(6, *map(len, methods))
    heads = {"lesion_contrast_error": "lesion contrast error", "lesion_nrmse": "lesion nrmse"}
    columns = [*keys, "scale"]
    titles = [heads.get(key, key) for key in columns]
    lines = ["  ".join([f"{'scan':<{width}}", f"{'method':<{method_width}}", *(f"{title:>8}" for title in titles)])]
    for name, method, row in zip(names, methods, shown, strict=True):
        cells = [
            f"{'':>{max(8, len(title))}}" if row[key] is None else f"{_number(key, row[key]):>{max(8, len(title))}}"
            for key, title in zip(columns, titles, strict=True)
        ]
        lines.append("  ".join([f"{name:<{width}}", f"{method:<{method_width}}", *cells]).rstrip())
    return [*lines, f"reference: {', '.join(sorted({row['reference_kind'] for row in rows}))}"]


def _name(row: dict[str, Any], counts: "Counter[tuple[str, str]]") -> str:
    """The scan of a row; with its file where two are of the same scan and method, such as by two priors."""
    if row["slice"] is not None:
        return f"  slice {row['slice']}"
    alike = counts[row["scan"], row["method"]] > 1
    return f"{row['scan']} ({row['result']})" if alike else str(row["scan"])


def _stratum_lines(strata: list[dict[str, Any]], by: str | None, keys: list[str]) -> list[str]:
    """One line a stratum and figure: the mean with its interval over persons."""
    lines = []
    for row in strata:
        lines.append(f"{by} {row[str(by)]}: {row['scans']} scans of {row['persons']} persons")
        for key in keys:
            if row[key] is not None:
                interval = row[f"{key}_interval"]
                words = "" if interval is None else f"  95 %: {' to '.join(_number(key, end) for end in interval)}"
                lines.append(f"  {key:<21} {_number(key, row[key]):>8}{words}")
    return lines


def _number(key: str, value: float) -> str:
    return f"{value:.2f}" if key == "psnr" else f"{value:.4f}"
