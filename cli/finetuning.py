"""The command that fine-tunes a prior: finetune."""

from pathlib import Path
from typing import Annotated

import typer

from cli.flags import AsJson, ConfigFile, Device, PriorFolder
from cli.options import Given, with_options
from cli.output import emit, speaks
from cli.progress import WORTH_SAYING
from cli.training import training
from recon.finetuning.plan import FinetuneOptions


def register(app: typer.Typer) -> None:
    """Add this group's commands to the application."""
    app.command()(finetune)


@with_options(FinetuneOptions)
def finetune(
    data: Annotated[
        str,
        typer.Option(metavar="FOLDER", help="Folder of the patients' scans: raw of any format, or prepared."),
    ],
    out: Annotated[
        str, typer.Option(metavar="FOLDER", help="Folder for the fine-tuned prior; an interrupted run is continued.")
    ],
    *,
    prior: PriorFolder = None,
    old_data: Annotated[
        str | None,
        typer.Option(metavar="FOLDER", help="Folder of prepared scans of old contrasts, to check what was forgotten."),
    ] = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Go on without scans that cannot be used.")] = False,
    given: Given,
    config: ConfigFile = None,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Fine-tune a prior on some patients; choose rate and length on held-out ones.

    Candidates are judged by reconstructing patients that they were not trained on. FINETUNING.md in the output folder
    shows the whole search and says why the choice was made. Can be interrupted at any moment; the same command
    continues.
    """
    import os

    from recon.configuration import load_config

    options = load_config(FinetuneOptions, config, given)

    import torch

    from recon.finetuning.run import FinetuneTask
    from recon.finetuning.run import finetune as run
    from recon.prior.dataset import open_folder
    from recon.prior.store import shipped_prior
    from recon.reconstruction.machine import chosen_device, physical_threads

    if device is not None:
        chosen_device(device)
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(physical_threads())
    folder = Path(prior) if prior else shipped_prior()
    with training(quiet=WORTH_SAYING) as told:
        old = open_folder(old_data, told.report) if old_data else []
    task = FinetuneTask(folder, Path(data), Path(out), old, skip_bad)
    with training() as told:
        outcome = run(task, options, device=device, report=told.report, note=told.note)
    if not speaks():
        return
    values = outcome.values
    result = {
        "output": out, "rate": outcome.rate, "images": outcome.images, "epochs": outcome.epochs,
        "explanation": outcome.explanation, "kept": outcome.kept, "checks": outcome.checks,
        "warnings": list(outcome.warnings), "adapter_share": values.get("adapter_share"),
        "choice": values.get("choice"), "plan": values.get("plan"),
    }  # fmt: skip
    lines = [outcome.explanation, *[f"{name}: {text}" for name, text in outcome.checks.items()]]
    lines.append(f"{'kept' if outcome.kept else 'fine-tuned prior'}: {out} (report: {Path(out) / 'FINETUNING.md'})")
    emit(result, lines, as_json)
