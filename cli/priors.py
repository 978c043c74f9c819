"""Commands on priors: prepare, pretrain."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.cohort import check_results
from cli.flags import AsJson, Device
from cli.options import Given, with_options
from cli.output import emit, speaks
from cli.progress import WORTH_SAYING, Progress
from cli.training import stop_after, training
from recon.prior.options import PreparationOptions, TrainingOptions


def register(app: typer.Typer) -> None:
    """Add this group's commands to the application."""
    app.command()(prepare)
    app.command()(pretrain)


@with_options(PreparationOptions)
def prepare(
    scans: Annotated[list[str], typer.Argument(metavar="SCAN", help="Fully sampled scans, or folders of them.")],
    out: Annotated[str, typer.Option(metavar="FOLDER", help="Folder for the prepared images, one file a scan.")],
    given: Given,
    processes: Annotated[int, typer.Option(min=0, metavar="N", help="Processes; 0 uses every core.")] = 0,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Go on without scans that cannot be prepared.")] = False,
    as_json: AsJson = False,
) -> None:
    """Turn fully sampled scans into training images: whitened, compressed, coil-combined, scaled.

    Scans that are prepared already are kept, so an interrupted run continues.
    """
    from recon.configuration import load_config
    from recon.errors import ReconError
    from recon.prior.preparation import prepare_all
    from recon.scans.finding import find_scans

    options = load_config(PreparationOptions, None, given)
    paths = find_scans(scans)
    check_results(paths, Path(out))
    made, kept, failed = 0, 0, []
    with Progress() as progress:
        progress.show("preparing", 0.0)
        for number, outcome in enumerate(prepare_all(paths, Path(out), options, processes or None), 1):
            progress.show("preparing", number / len(paths))
            made += outcome.state == "made"
            kept += outcome.state == "kept"
            if outcome.state == "failed":
                failed.append(outcome.reason)
                if not skip_bad:
                    raise ReconError(f"{outcome.reason} (add --skip-bad to go on without such scans)")
                progress.note(f"skipped {outcome.reason}")
    if made + kept == 0:
        raise ReconError("no scan could be prepared")
    emit(
        {"output": out, "prepared": made, "kept": kept, "skipped": failed},
        [f"{made} scans prepared, {kept} kept, {len(failed)} skipped: {out}"],
        as_json,
    )


@with_options(TrainingOptions, show_defaults=False)
def pretrain(
    data: Annotated[str, typer.Option(metavar="FOLDER", help="Folder of prepared images (recon prepare).")],
    out: Annotated[
        str, typer.Option(metavar="FOLDER", help="Folder for the prior; an interrupted run there is continued.")
    ],
    given: Given,
    config: Annotated[
        str, typer.Option(metavar="FILE", help="YAML file, or a recipe that comes with recon: cpu, fastmri-brain.")
    ] = "cpu",
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="PRIOR",
            help="Begin with the weights of this prior ('shipped' is the one that comes with recon) instead of from "
            "scratch; network and scaling are then that prior's.",
        ),
    ] = None,
    device: Device = None,
    dry_run: Annotated[
        int,
        typer.Option(
            min=0, metavar="STEPS", help="Stop after so many steps; report weights, time a step and peak memory."
        ),
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Train a diffusion prior, from scratch or from the weights of another one.

    What is not given here comes from the recipe, which also holds the shape of the network and the augmentation.
    A small set of patients is better served by recon finetune, which looks for the length that does not overfit.

    On several GPUs or nodes: accelerate launch -m cli pretrain ... with the same options gives the same batches.
    """
    from recon.configuration import load_config

    options = load_config(TrainingOptions, config, given)

    from recon.prior.dataset import open_folder
    from recon.prior.pretraining import pretrain as run
    from recon.prior.pretraining import started_from
    from recon.prior.store import load_prior, shipped_prior
    from recon.reconstruction.machine import chosen_device

    if device is not None:
        chosen_device(device)

    begin = None
    if start is not None:
        begin = load_prior(shipped_prior() if start == "shipped" and not Path(start).exists() else start)
        options = started_from(options, begin)
    with training(quiet=WORTH_SAYING) as told:
        scans = open_folder(data, told.report)
    started = time.monotonic()
    stop = stop_after(dry_run, options.batch)
    with training() as told:
        outcome = run(
            options, scans, Path(out), told.report, start=begin, device=device, stop_after=stop, note=told.note
        )
    if not speaks():
        return
    seconds = time.monotonic() - started
    result: dict[str, Any] = {
        "output": out, "images": outcome.images, "seconds": seconds, "finished": outcome.facts is not None
    }  # fmt: skip
    lines = [f"stopped after {outcome.images} images in {seconds:.0f} s; the same command continues"]
    if outcome.facts is not None:
        result["images"] = outcome.facts.images_seen
        lines = [f"prior trained on {outcome.facts.images_seen} images: {out}"]
    elif dry_run:
        facts, line = _dry_run(options, outcome.seconds_per_step)
        result |= facts
        lines = [line, *lines]
    emit(result, lines, as_json)


def _dry_run(options: TrainingOptions, seconds_per_step: float | None) -> tuple[dict[str, Any], str]:
    """What a few steps tell about the whole: weights, seconds a step after the first, peak memory."""
    import torch

    from recon.prior.denoiser import parameter_count
    from recon.reconstruction.machine import peak_memory_of_process

    parameters, memory = parameter_count(options.network), peak_memory_of_process()
    facts: dict[str, Any] = {
        "parameters": parameters, "seconds_per_step": seconds_per_step, "peak_memory_bytes": memory,
    }  # fmt: skip
    line = f"{parameters / 1e6:.1f} M parameters"
    if seconds_per_step is not None:
        line += f", {seconds_per_step:.2f} s a step of {options.batch} images"
    if memory is not None:
        line += f", {memory / 1e9:.2f} GB of memory at the peak"
    if torch.cuda.is_available():
        facts["peak_device_memory_bytes"] = torch.cuda.max_memory_allocated()
        line += f", {facts['peak_device_memory_bytes'] / 1e9:.2f} GB on the device"
    return facts, line
