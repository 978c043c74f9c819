"""Commands ``recon vessels``: what acceleration does to a traced graph of vessels, on simulated trees."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.flags import AsJson
from cli.options import Given, with_options
from cli.output import emit
from cli.progress import Progress
from recon.vessels.options import PruningOptions, TreeOptions

vessels_app = typer.Typer(
    name="vessels",
    help="Pruning an over-traced graph of vessels: graph attention against logistic regression by branch. Simulated.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Images = Annotated[
    list[Path],
    typer.Argument(metavar="IMAGE", help="Results of 'recon reconstruct', fully sampled scans, NIfTI, or folders."),
]
Truth = Annotated[
    list[Path], typer.Option(metavar="FILE", help="True vessels, or a folder of them; repeat for several. By name.")
]


def register(app: typer.Typer) -> None:
    """Add this group's commands to the application."""
    app.add_typer(vessels_app)


@vessels_app.command()
@with_options(TreeOptions)
def simulate(
    given: Given,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder for the scans and their vessel masks.")],
    subjects: Annotated[int, typer.Option(min=1, metavar="N", help="How many trees, each another person.")] = 1,
    first: Annotated[int, typer.Option(min=0, metavar="N", help="Number of the first tree.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Simulate time-of-flight angiograms of branching trees (Murray's law), as fully sampled fastMRI files."""
    from recon.configuration import load_config
    from recon.vessels.angiogram import simulate_tree

    options = load_config(TreeOptions, None, given)
    written = []
    with Progress(quiet=20) as progress:
        for number in range(first, first + subjects):
            progress.show("simulating", (number - first) / subjects)
            written.append(str(simulate_tree(out, number, options)))
    lines = [f"{len(written)} simulated angiograms in {out}, the vessels in *_mask.h5"]
    emit({"output": str(out), "scans": written}, lines, as_json)


@vessels_app.command()
@with_options(PruningOptions)
def fit(
    images: Images,
    truth: Truth,
    given: Given,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder for the fitted judges.")],
    as_json: AsJson = False,
) -> None:
    """Fit graph attention and logistic regression on the branches of over-traced graphs."""
    from recon.atomic import check_place
    from recon.configuration import load_config
    from recon.quality.finding import find_lesions, find_results
    from recon.vessels.evaluation import traced_cases
    from recon.vessels.pruning import fit_pruning, write_pruning

    check_place(out, folder=True)
    options = load_config(PruningOptions, None, given)
    with Progress(quiet=20) as progress:
        cases = traced_cases(find_results(images), find_lesions(truth), options.contrast, progress.show)
        progress.show("fitting", 1.0)
        pruning = fit_pruning(cases, options)
    write_pruning(out, pruning)
    branches, vessels = sum(len(case.truth) for case in cases), sum(int(case.truth.sum()) for case in cases)
    lines = [f"{out}: fitted on {branches} branches of {len(pruning.persons)} persons, {vessels} of them vessels"]
    result = {"output": str(out), "persons": len(pruning.persons), "branches": branches, "vessels": vessels}
    emit(result, lines, as_json)


@vessels_app.command(name="eval")
def evaluate(
    images: Images,
    truth: Truth,
    model: Annotated[Path, typer.Option(metavar="FOLDER", help="Judges of 'recon vessels fit'.")],
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of the bootstrap.")] = 0,
    as_json: AsJson = False,
) -> None:
    """F1 by branch of pruning on persons that were not in the fit, by acceleration, with intervals over persons."""
    from recon.quality.finding import find_lesions, find_results
    from recon.vessels.evaluation import pruning_table, traced_cases
    from recon.vessels.pruning import read_pruning

    pruning = read_pruning(model)
    with Progress(quiet=20) as progress:
        cases = traced_cases(find_results(images), find_lesions(truth), pruning.options.contrast, progress.show)
    rows = pruning_table(cases, pruning, pruning.options.repeats, seed)
    emit({"model": str(model), "rows": rows}, _lines(rows), as_json)


def _lines(rows: list[dict[str, Any]]) -> list[str]:
    names = ("f1_keep_all", "f1_logistic", "f1_attention", "gain")
    titles = ("F1 keep all", "logistic", "attention", "attention - logistic")
    lines = [f"{'':<24}{'persons':>8}{'branches':>9}{'vessels':>8}" + "".join(f"{title:>26}" for title in titles)]
    for row in rows:
        label = f"{row['method']} R = {row['acceleration']:g}"
        cells = "".join(f"{_cell(row, name):>26}" for name in names)
        lines.append(f"{label:<24}{row['persons']:>8}{row['branches']:>9}{row['vessels']:>8}{cells}")
    return [*lines, "in brackets: 95 % intervals over persons; vessels that were not traced do not count"]


def _cell(row: dict[str, Any], name: str) -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return f"{row[name]:.3f}" + ("" if low is None else f" ({low:.3f} to {high:.3f})")
