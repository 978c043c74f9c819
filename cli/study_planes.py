"""Commands on studies of two planes: study fit-planes, eval-planes."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from cli.flags import AsJson, Device
from cli.options import Given, with_options
from cli.output import emit, interval
from cli.progress import Progress
from cli.study import (
    NO_DIAGNOSIS,
    Kept,
    Place,
    Studies,
    fitted,
    study_app,
    train_on_studies,
)
from cli.training import DryRun, Threads
from recon.study.options import PlanesEvaluationOptions, PlanesFitOptions


def register(app: typer.Typer) -> None:
    """Add the commands to the group ``study``, which is part of the application already."""
    study_app.command("fit-planes")(fit_planes)
    study_app.command("eval-planes")(eval_planes)


@with_options(PlanesFitOptions, show_defaults=False)
def fit_planes(
    studies: Studies,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="The model's folder; an interrupted run continues.")],
    given: Given,
    config: Annotated[
        str,
        typer.Option(
            metavar="FILE", help="YAML file, or a recipe that comes with recon: study-planes, study-planes-gpu."
        ),
    ] = "study-planes",
    kept: Kept = None,
    threads: Threads = 0,
    device: Device = None,
    dry_run: DryRun = 0,
    as_json: AsJson = False,
) -> None:
    """Train a network on axial and sagittal series of each study: does it show a lesion?

    An encoder for each plane and cross-attention between them; with --resampled one encoder, to compare with.
    """
    from recon.configuration import load_config

    options = load_config(PlanesFitOptions, config, given)

    from recon.study.two_planes import fit_planes as train

    where = Place(studies, out, kept, threads, device, dry_run)
    train_on_studies(train, options, where, partial(fitted, samples="examinations"), as_json)


@with_options(PlanesEvaluationOptions)
def eval_planes(
    studies: Studies,
    model: Annotated[
        list[Path],
        typer.Option(metavar="FOLDER", help="Model of 'recon study fit-planes'; repeat to compare with the first."),
    ],
    given: Given,
    kept: Kept = None,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Detection AUC on persons that no model has seen, with both planes and with either missing, models paired."""
    from dataclasses import asdict

    from recon.configuration import load_config

    options = load_config(PlanesEvaluationOptions, None, given)

    from recon.reconstruction.machine import chosen_device
    from recon.study.images import Reconstructions
    from recon.study.planes_evaluation import evaluate_planes, unseen_pairs
    from recon.study.table import find_studies, kinds_of
    from recon.study.two_planes import load_planes

    place = chosen_device(device)
    models = [load_planes(folder, place) for folder in model]
    pairs = unseen_pairs(find_studies(studies), models)
    kinds = kinds_of([axial for axial, _ in pairs])
    with Progress() as progress:
        results = evaluate_planes(
            models, pairs, Reconstructions(kept or model[0] / "kept", device=place), options, progress.show
        )
    first = results[0]
    lines = [
        f"studies: {kinds}",
        f"{first.persons} persons that no model has seen, {first.studies} studies, {first.lesions} with a lesion; 95 % "
        f"intervals over persons; {NO_DIAGNOSIS}",
        f"{'':<16}{'model':<20}{'AUC':>24}{'first - this':>26}{'lost by the missing':>28}",
    ]
    for one in results:
        change = "" if one.change is None else interval(one.change, sign=True)
        missing = "" if one.missing is None else interval(one.missing, sign=True)
        lines.append(f"{one.condition:<16}{one.model:<20}{interval(one.auc):>24}{change:>26}{missing:>28}")
    emit(
        {
            "models": [{"model": one.name, "weights_sha256": one.weights_sha256} for one in models],
            "results": [asdict(one) for one in results], "kinds": kinds, "exploratory": True,
        },
        lines,
        as_json,
    )  # fmt: skip
