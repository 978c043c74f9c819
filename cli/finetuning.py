"""The command that fine-tunes a prior: finetune."""

from pathlib import Path
from typing import Annotated

import typer

from cli.output import emit, note


def register(app: typer.Typer) -> None:
    """Add this group's commands to the application."""
    app.command()(finetune)


def finetune(
    data: Annotated[str, typer.Option(help="Folder of the patients' scans: raw of any format, or prepared.")],
    out: Annotated[str, typer.Option(help="Folder for the fine-tuned prior; an interrupted run there is continued.")],
    prior: Annotated[
        str | None, typer.Option(help="Folder of the prior. Default: the small one that comes with recon.")
    ] = None,
    rate: Annotated[float | None, typer.Option(help="Learning rate; with --images, skips the search.")] = None,
    images: Annotated[int | None, typer.Option(help="Length in images; with --rate, skips the search.")] = None,
    budget: Annotated[
        str | None, typer.Option(help="Time to spend, such as 30m or 2h; says what it leaves out.")
    ] = None,
    folds: Annotated[
        int | None, typer.Option(help="Folds over patients. Default: 4 below 40 patients, else one split.")
    ] = None,
    lora: Annotated[bool | None, typer.Option("--lora", help="Train a LoRA adapter below 5 % of the size.")] = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Go on without scans that cannot be used.")] = False,
    acceleration: Annotated[float | None, typer.Option(help="Acceleration that candidates are judged at.")] = None,
    old_data: Annotated[
        str | None, typer.Option(help="Folder of prepared scans of old contrasts, to check what was forgotten.")
    ] = None,
    config: Annotated[
        str | None, typer.Option(help="YAML file with these and more options; flags override it.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same weights.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda. Default: cuda where there is one.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Fine-tune a prior on some patients; choose rate and length on held-out ones.

    Candidates are judged by reconstructing patients that they were not trained on. FINETUNING.md in the output folder
    shows the whole search and says why the choice was made. Can be interrupted at any moment; the same command
    continues.
    """
    import os

    from cli.priors import TrainingBar
    from recon.configuration import load_config
    from recon.errors import ReconError
    from recon.finetuning.plan import FinetuneOptions, parse_duration

    given = {
        "rate": rate, "images": images, "budget": None if budget is None else parse_duration(budget), "folds": folds,
        "adapter": "lora" if lora else None, "acceleration": acceleration, "seed": seed,
    }  # fmt: skip
    options = load_config(FinetuneOptions, config, given)
    if device is not None and device not in ("cpu", "cuda") and not device.startswith("cuda:"):
        raise ReconError(f"--device {device}: choose cpu or cuda")

    import torch

    from recon.finetuning.run import finetune as run
    from recon.prior.dataset import open_folder
    from recon.prior.store import shipped_prior
    from recon.reconstruction.machine import physical_threads

    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(physical_threads())
    old = open_folder(old_data) if old_data else []
    folder = Path(prior) if prior else shipped_prior()
    with TrainingBar(0) as bar:
        outcome = run(
            folder, Path(data), Path(out), options, skip_bad=skip_bad, old_data=old, device=device,
            report=bar.show_stage, note=note,
        )  # fmt: skip
    if int(os.environ.get("RANK", "0")) != 0:
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
