"""Commands on studies: study list, pretrain, fit, eval, accelerate."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.flags import AsJson, Device, PriorFolder
from cli.options import Given, with_options
from cli.output import emit, interval, speaks, write_json
from cli.progress import Progress
from cli.training import DryRun, Threads, stop_after, training
from recon.study.options import (
    AccelerationOptions,
    StudyEvaluationOptions,
    StudyFitOptions,
    StudyPretrainingOptions,
    StudyTrainingOptions,
)

if TYPE_CHECKING:
    from recon.study.acceleration import AccelerationReport
    from recon.study.evaluation import SubsetResult
    from recon.study.fit import Fitted

study_app = typer.Typer(
    name="study",
    help="Studies of several series: which may be accelerated, and what it costs in the infarct that a model finds. "
    "Exploratory; nothing of it is a diagnosis.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

NO_DIAGNOSIS = "probabilities of a model, not a diagnosis"
Studies = Annotated[
    list[Path],
    typer.Argument(metavar="STUDY", help="Folders of 'recon simulate', or tables of studies (.csv, .json)."),
]
Kept = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER", help="Where prepared studies and reconstructions are kept for the next run.",
        show_default=False,
    ),
]  # fmt: skip


def register(app: typer.Typer) -> None:
    """Add this group's commands to the application."""
    app.add_typer(study_app)


@study_app.command("list")
def list_studies(studies: Studies, as_json: AsJson = False) -> None:
    """Which studies there are, of whom, with which series; every fault of a table is one line."""
    from recon.study.table import find_studies

    found = find_studies(studies)
    persons = {study.person for study in found}
    entries: list[dict[str, Any]] = [
        {
            "study": study.name, "person": study.person, "plane": study.plane, "contrasts": list(study.contrasts),
            "lesion": study.shows_lesion,
        }
        for study in found
    ]  # fmt: skip
    words = {None: "lesion not known", True: "lesion", False: "no lesion"}
    lines = [
        f"{study.name:<32}{study.person:<20}{study.plane:<10}{', '.join(study.contrasts):<32}{words[entry['lesion']]}"
        for study, entry in zip(found, entries, strict=True)
    ]
    lines.append(f"{len(found)} studies of {len(persons)} persons")
    emit({"studies": entries, "persons": len(persons)}, lines, as_json)


@study_app.command()
@with_options(StudyPretrainingOptions, show_defaults=False)
def pretrain(
    studies: Studies,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="The encoder's folder; an interrupted run continues.")],
    given: Given,
    config: Annotated[
        str, typer.Option(metavar="FILE", help="YAML file, or a recipe that comes with recon: study-pretraining.")
    ] = "study-pretraining",
    kept: Kept = None,
    threads: Threads = 0,
    device: Device = None,
    dry_run: DryRun = 0,
    as_json: AsJson = False,
) -> None:
    """Pre-train the encoder of a study network without outlines: it tells hidden tokens of all series from the rest.

    Begin with it by 'recon study fit --from'. Persons are held out as there; lesions need not be known.
    """
    from recon.configuration import load_config

    options = load_config(StudyPretrainingOptions, config, given)

    from recon.study.pretraining import pretrain_study_model

    def words(outcome: "Fitted") -> str:
        return f"pre-trained on {seen(outcome)}; squared error of hidden patches {outcome.loss:.3f}"

    where = Place(studies, out, kept, threads, device, dry_run)
    train_on_studies(pretrain_study_model, options, where, words, as_json)


@study_app.command()
@with_options(StudyFitOptions, show_defaults=False)
def fit(
    studies: Studies,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="The model's folder; an interrupted run continues.")],
    given: Given,
    config: Annotated[
        str, typer.Option(metavar="FILE", help="YAML file, or a recipe that comes with recon: study, study-gpu.")
    ] = "study",
    start: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="FOLDER",
            show_default=False,
            help="Begin with the weights of this model, or of a 'recon study pretrain', instead of drawn ones.",
        ),
    ] = None,
    kept: Kept = None,
    threads: Threads = 0,
    device: Device = None,
    dry_run: DryRun = 0,
    as_json: AsJson = False,
) -> None:
    """Train a network that outlines infarcts in studies of any contrasts, and says whether there is one.

    What is not given here comes from the recipe. Persons are held out by a hash of their name (held_out_fraction): they
    are for 'recon study eval' and 'recon study accelerate', which refuse persons that a model has seen.
    """
    from recon.configuration import load_config

    options = load_config(StudyFitOptions, config, given)

    from recon.study.fit import fit_study_model
    from recon.study.start import load_start

    begun = None if start is None else load_start(start)
    where = Place(studies, out, kept, threads, device, dry_run)
    train_on_studies(partial(fit_study_model, start=begun), options, where, fitted, as_json)


@dataclass(frozen=True)
class Place:
    """What a training reads, where it writes, and on what it runs."""

    studies: list[Path]
    out: Path
    kept: Path | None
    threads: int
    device: str | None
    dry_run: int


def train_on_studies(
    train: "Callable[..., Fitted]",
    options: StudyTrainingOptions,
    where: Place,
    words: "Callable[[Fitted], str]",
    as_json: bool,
) -> None:
    """Train, and print what came of it: ``words`` of a training that is finished."""
    import time

    from recon.reconstruction.machine import chosen_device
    from recon.study.images import Reconstructions
    from recon.study.table import find_studies

    place = chosen_device(where.device)
    started = time.monotonic()
    with training(where.threads) as told:
        outcome = train(
            options, find_studies(where.studies), where.out,
            Reconstructions(where.kept or where.out / "kept", device=place),
            report=told.report, note=told.note, stop_after=stop_after(where.dry_run, options.batch),
        )  # fmt: skip
    if not speaks():
        return
    seconds = time.monotonic() - started
    line = words(outcome)
    if not outcome.finished:
        line = f"stopped after {outcome.samples} samples; the same command continues"
    emit({"output": where.out, **asdict(outcome), "seconds": seconds}, [f"{where.out}: {line}"], as_json)


def seen(outcome: "Fitted", samples: str = "slabs") -> str:
    """What a training saw; ``samples``: what one of them is."""
    return (
        f"{outcome.samples} {samples} from {outcome.studies} studies of {outcome.persons} persons, "
        f"{outcome.held_out_persons} held out; {', '.join(outcome.contrasts)}"
    )


def fitted(outcome: "Fitted", samples: str = "slabs") -> str:
    """What a training that is finished made."""
    weights = f"{outcome.parameters:,} weights; loss {outcome.loss:.3f}"
    return f"trained on {seen(outcome, samples)}; {weights}; {NO_DIAGNOSIS}"


@study_app.command("eval")
@with_options(StudyEvaluationOptions)
def evaluate(
    studies: Studies,
    model: Annotated[
        list[Path], typer.Option(metavar="FOLDER", help="Model of 'recon study fit'; repeat to compare with the first.")
    ],
    given: Given,
    kept: Kept = None,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Dice and detection on persons that no model has seen, for subsets of the contrasts, models paired.

    Subsets: all, all but one, each alone, and for each study a random one. Changes are those of the first model minus
    the other; intervals are 95 %, over persons.
    """
    from recon.configuration import load_config

    options = load_config(StudyEvaluationOptions, None, given)

    from recon.reconstruction.machine import chosen_device
    from recon.study.evaluation import evaluate as evaluated
    from recon.study.evaluation import unseen_studies
    from recon.study.images import Reconstructions
    from recon.study.preparation import prepared_studies
    from recon.study.store import load_model
    from recon.study.table import find_studies, kinds_of, of_first_persons

    place = chosen_device(device)
    models = [load_model(folder, place) for folder in model]
    _one_grid(models)
    chosen = of_first_persons(unseen_studies(find_studies(studies), models), options.persons)
    with Progress() as progress:
        volumes = prepared_studies(
            chosen, Reconstructions(kept or model[0] / "kept"), models[0].options.grid, progress.show
        )
        results = evaluated(models, volumes, options, progress.show)
    emit(
        {
            "models": [{"model": one.name, "weights_sha256": one.weights_sha256} for one in models],
            "results": [asdict(result) for result in results], "kinds": kinds_of(chosen), "exploratory": True,
        },
        [f"studies: {kinds_of(chosen)}", *_evaluation_lines(results)],
        as_json,
    )  # fmt: skip


def _one_grid(models: Sequence[Any]) -> None:
    from recon.errors import ReconError

    for other in models[1:]:
        if other.options.grid != models[0].options.grid:
            raise ReconError(
                f"{other.folder}: was trained on another grid than {models[0].folder}; compare models of one"
            )


def _evaluation_lines(results: "Sequence[SubsetResult]") -> list[str]:
    first = results[0].figures
    lines = [
        f"{first.persons} persons that no model has seen, {first.studies} studies, {first.lesions} with a lesion; 95 % "
        f"intervals over persons; {NO_DIAGNOSIS}",
        f"{'subset':<16}{'model':<20}{'Dice':>22}{'first - this':>26}{'AUC':>22}{'first - this':>26}",
    ]
    for result in results:
        values, changes = result.figures.values, result.figures.changes
        cells = "".join(
            f"{interval(values[key]):>22}{interval(changes[key], sign=True) if changes else '':>26}"
            for key in ("dice", "auc")
        )
        lines.append(f"{result.subset:<16}{result.model:<20}{cells}")
    for result in results:
        for group in result.lesions:
            name = f"{group.lesions} ({group.studies})"
            lines.append(f"Dice of lesions {name:<24}{result.model:<20}{interval(group.dice):>22}")
    if any(result.rejection is not None for result in results):
        lines.append(
            "AUC gained by rejecting the most uncertain studies (mean over 0 to 50 %; at random: 0), all series:"
        )
    for result in results:
        if result.rejection is not None:
            gains = ", ".join(f"by {key.replace('_', ' ')} {interval(found, sign=True)}" for key, found in
                              list(result.rejection.items())[:2])  # fmt: skip
            lines.append(f"  {result.model:<20}{gains}")
    return lines


@study_app.command()
@with_options(AccelerationOptions)
def accelerate(
    studies: Studies,
    model: Annotated[Path, typer.Option(metavar="FOLDER", help="Model of 'recon study fit'.")],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder for the table, the figure and what is kept.")],
    given: Given,
    kept: Kept = None,
    prior: PriorFolder = None,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Which series may be accelerated: undersample fully sampled studies, reconstruct, and see what the model loses.

    Each series is accelerated alone, then all together. Prints the change from complete series in Dice, detection AUC,
    lesion-volume error and uncertainty (entropy), paired, with 95 % intervals over persons. Reconstructions are kept,
    so an interrupted run continues.
    """
    from recon.atomic import check_place
    from recon.configuration import load_config

    options = load_config(AccelerationOptions, None, given)
    check_place(out, folder=True)

    import torch

    from recon.prior.store import load_prior, shipped_prior
    from recon.reconstruction.machine import chosen_device, physical_threads
    from recon.reconstruction.methods import METHODS
    from recon.study.acceleration import what_acceleration_costs
    from recon.study.evaluation import unseen_studies
    from recon.study.images import Reconstructions
    from recon.study.store import load_model
    from recon.study.table import find_studies, kinds_of, of_first_persons, of_plane

    torch.set_num_threads(physical_threads())
    place = chosen_device(device)
    network = load_model(model, place)
    found = find_studies(studies)
    chosen = of_first_persons(
        of_plane(found, network.options.grid.plane) if options.seen else unseen_studies(found, [network]),
        options.persons,
    )
    needs_prior = any(name in METHODS and METHODS[name].needs_prior for name in options.methods)
    with Progress() as progress:
        loaded = load_prior(prior or shipped_prior(), place) if needs_prior else None
        reconstructions = Reconstructions(kept or out / "kept", loaded, place, seed=options.seed)
        report = what_acceleration_costs(network, chosen, reconstructions, options, progress.show)
    result: dict[str, Any] = {
        "output": out, "model": network.name, "weights_sha256": network.weights_sha256,
        "prior": None if loaded is None else loaded.facts.weights_sha256, "options": asdict(options),
        "persons_seen_in_training": options.seen, **asdict(report), "exploratory": True,
    }  # fmt: skip
    lines = [f"studies: {kinds_of(chosen)}", *_acceleration_lines(report)]
    result["kinds"] = kinds_of(chosen)
    _write(out, result, report, f"{'seen in training' if options.seen else 'unseen'}, studies {kinds_of(chosen)}")
    emit(result, [*lines, f"table and figure: {out}/accelerate.json, accelerate.png"], as_json)


def _acceleration_lines(report: "AccelerationReport") -> list[str]:
    whole = report.complete
    lines = [
        f"{whole.persons} persons, {whole.studies} studies, {whole.lesions} with a lesion; 95 % intervals over "
        f"persons; {NO_DIAGNOSIS}",
        f"complete series: Dice {interval(whole.values['dice'])}, AUC {interval(whole.values['auc'])}, volume error "
        f"{interval(whole.values['volume_error_ml'], digits=1)} mL",
        "changes from complete series:",
        f"{'R':>4}{'net':>6} {'method':<14}{'series':<8}{'Dice':>26}{'AUC':>26}{'volume error, mL':>24}"
        f"{'mask entropy, mL':>24}{'detection entropy, bit':>26}",
    ]
    for row in report.results:
        changes = row.figures.changes or {}
        cells = "".join(
            f"{interval(changes[key], sign=True, digits=digits):>{width}}"
            for key, digits, width in (
                ("dice", 3, 26), ("auc", 3, 26), ("volume_error_ml", 1, 24), ("mask_entropy_ml", 1, 24),
                ("detection_entropy", 3, 26),
            )
        )  # fmt: skip
        lines.append(f"{row.acceleration:>4g}{row.net_acceleration:>6.1f} {row.method:<14}{row.series:<8}{cells}")
    return lines


def _write(out: Path, result: dict[str, Any], report: "AccelerationReport", persons: str) -> None:
    from recon.quality.drawing import save
    from recon.study.figure import acceleration_figure

    write_json(out / "accelerate.json", result)
    note = f"Persons {persons}; bars: 95 % over persons, paired. {NO_DIAGNOSIS[0].upper()}{NO_DIAGNOSIS[1:]}."
    save(acceleration_figure(report, note), out / "accelerate.png")
