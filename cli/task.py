"""Commands on task models: task fit, eval, map."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.encode_inputs import axis_of, load, read
from cli.flags import AsJson, ConfigFile
from cli.options import Given, with_options
from cli.output import emit, interval, speaks
from cli.progress import INTERVAL, Progress
from cli.training import DryRun, Threads, stop_after, training
from recon.encode.options import EncoderChoice, VolumeReading
from recon.encode.tasks.options import TaskEvaluationOptions, TaskFitOptions

if TYPE_CHECKING:
    from recon.encode.tasks.evaluation import TaskResult

NO_DIAGNOSIS = "exploratory, not a diagnosis"

task_app = typer.Typer(
    name="task",
    help="Task models on an encoder: low-rank adapters (MoLRE, LoRA), attention over slices, pixel supervision. "
    "Exploratory.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Labels = Annotated[
    Path,
    typer.Argument(
        metavar="LABELS.csv",
        help="Columns file, subject, one a label (0/1); optional: case, view, mask (of lesions; none: there is none), "
        "split (fit or eval), acceleration.",
    ),
]
Cache = Annotated[
    Path | None, typer.Option(metavar="FOLDER", help="Prepared volumes. Default: 'volumes' beside the table.")
]


def register(app: typer.Typer) -> None:
    """Add this group's commands to the application."""
    app.add_typer(task_app)


@task_app.command()
@with_options(TaskFitOptions, EncoderChoice)
def fit(
    labels: Labels,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="The model's folder; an interrupted run continues.")],
    given: Given,
    config: ConfigFile = None,
    cache: Cache = None,
    threads: Threads = 0,
    dry_run: DryRun = 0,
    as_json: AsJson = False,
) -> None:
    """Fit a task model on references. The encoder's own weights stay as they are.

    It begins as a linear probe on the frozen encoder. The duration is chosen on persons that are not trained on; other
    persons are held out for 'recon task eval'.
    """
    import time
    from dataclasses import asdict, replace

    from recon.configuration import load_config
    from recon.encode.probes.labels import read_labels
    from recon.encode.tasks.fit import fit_task
    from recon.reconstruction.cohort import own_device

    options = load_config(TaskFitOptions, config, given.of(TaskFitOptions))
    table = read_labels(labels)
    choice = load_config(EncoderChoice, None, given.of(EncoderChoice))
    network: Any = load(replace(choice, device=own_device(choice.device)))
    started = time.monotonic()
    with training(threads, quiet=INTERVAL) as told:
        found = fit_task(
            options, network, table, out, cache=cache or labels.parent / "volumes", report=told.report,
            note=told.note, stop_after=stop_after(dry_run, options.batch),
        )  # fmt: skip
    if not speaks():
        return
    result = {
        "output": out, "encoder": network.name, "weights_hash": network.weights_hash, "label": options.label,
        "adapter": options.adapter, "pool": options.pool, **asdict(found), "seconds": time.monotonic() - started,
        "exploratory": True,
    }  # fmt: skip
    line = (
        f"{out}: {options.label} on {network.name}, fitted on {found.persons} persons ({found.chosen_on_persons} of "
        f"them chose the duration); kept after {found.best_samples} of {found.samples} samples, log loss "
        f"{found.best_log_loss:.3f}; adapters: {found.adapter_weights:,} weights, {found.adapter_share:.2%} of the "
        "encoder's"
    )
    if not found.finished:
        line = f"{out}: stopped after {found.samples} of {options.samples} samples; the same command continues"
    emit(result, [line], as_json)


@task_app.command("eval")
@with_options(TaskEvaluationOptions, EncoderChoice)
def evaluate(
    labels: Labels,
    model: Annotated[
        list[Path], typer.Option(metavar="FOLDER", help="Model of 'recon task fit'; repeat: others against the first.")
    ],
    given: Given,
    cache: Cache = None,
    threads: Threads = 0,
    as_json: AsJson = False,
) -> None:
    """AUC, accuracy and calibration error on persons that no model saw, with intervals over persons, paired; how tokens
    were routed to experts; how often the heatmap's maximum lies in the lesion.
    """
    from dataclasses import asdict

    import torch

    from recon.configuration import load_config
    from recon.encode.probes.labels import read_labels
    from recon.encode.tasks.evaluation import evaluate_tasks, unseen_cases
    from recon.encode.tasks.store import load_task
    from recon.encode.tasks.volumes import cases_of

    options = load_config(TaskEvaluationOptions, None, given.of(TaskEvaluationOptions))
    table = read_labels(labels)
    network = load(load_config(EncoderChoice, None, given.of(EncoderChoice)))
    models = [load_task(folder, network) for folder in model]
    if threads:
        torch.set_num_threads(threads)
    with Progress(quiet=INTERVAL) as progress:
        cases = cases_of(network, table, models[0].options.label, cache or labels.parent / "volumes", progress.show)
        results = evaluate_tasks(models, unseen_cases(cases, models), options, progress.show)
    result = {
        "label": models[0].options.label, "encoder": network.name, "weights_hash": network.weights_hash,
        "bootstrap": options.repeats, "models": [asdict(one) for one in results], "exploratory": True,
    }  # fmt: skip
    emit(result, _lines(models[0].options.label, results), as_json)


@task_app.command("map")
@with_options(EncoderChoice, VolumeReading)
def map_task(
    volume: Annotated[Path, typer.Argument(metavar="FILE", help="Result, scan, NIfTI or DICOM series.")],
    model: Annotated[Path, typer.Option(metavar="FOLDER", help="Model of 'recon task fit' with --pixel-weight.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="NIfTI to write (.nii.gz), in the volume's space.")],
    given: Given,
    as_json: AsJson = False,
) -> None:
    """The model's heatmap of one volume: its chance of lesion in every token, as coarse as the tokens are."""
    import numpy as np

    from recon.atomic import check_place
    from recon.configuration import load_config
    from recon.encode.map import painted_map, write_map
    from recon.encode.tasks.evaluation import heatmap
    from recon.encode.tasks.store import load_task
    from recon.encode.tasks.volumes import View

    check_place(out, inputs=[volume])
    choice = load_config(EncoderChoice, None, given.of(EncoderChoice))
    reading = load_config(VolumeReading, None, given.of(VolumeReading))
    network = load(choice)
    loaded = load_task(model, network)
    series = read(volume, reading, choice.encoder)
    prepared = network.prepare(series.pixels, series.affine, slice_axis=axis_of(reading, volume))
    said, (values,) = heatmap(loaded, [View(prepared, None)])
    painted = painted_map(
        prepared, f"chance of lesion in the token ({loaded.options.label})", np.asarray(values.double())
    )
    write_map(out, painted)
    chances = said.logits.double().softmax(dim=0).tolist()
    result = {
        "output": out, "label": loaded.options.label, "classes": loaded.classes, "probabilities": chances,
        "largest": float(values.max()), "peak_world": painted.peak_world, "resolution": painted.resolution,
        "exploratory": True,
    }  # fmt: skip
    line = (
        f"{out}: largest {result['largest']:.3f} at {', '.join(f'{edge:.0f}' for edge in painted.peak_world)} mm "
        f"(RAS); resolution {painted.resolution}; {NO_DIAGNOSIS}"
    )
    emit(result, [line], as_json)


def _lines(label: str, results: "list[TaskResult]") -> list[str]:
    first = results[0]
    lines = [
        f"'{label}', {first.cases} cases of {first.persons} unseen persons; 95 % intervals over persons; "
        f"{NO_DIAGNOSIS}",
        f"{'':<24}{'weights':>9}{'AUC':>24}{'accuracy':>10}{'ECE':>7}  - {first.model}",
    ]
    for one in results:
        change = "" if one.difference is None else interval(one.difference, sign=True)
        lines.append(
            f"{one.model:<24}{one.adapter_weights:>9,}{interval(one.auc):>24}{one.accuracy.value:>10.3f}"
            f"{one.calibration_error.value:>7.3f}  {change}"
        )
    for one in results:
        for layer, (token, used) in one.routing.items():
            lines.append(
                f"{one.model}, {layer}: entropy of a token's gates {token:.2f}, of their mean {used:.2f} (1: uniform)"
            )
        if one.heatmap_in_lesion is not None:
            share = one.heatmap_in_lesion
            lines.append(
                f"{one.model}: maximum of the heatmap in the lesion in {share.count} of {share.of} "
                f"({share.low:.0%} to {share.high:.0%}, Wilson)"
            )
    return lines
