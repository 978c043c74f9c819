"""Command ``recon encode pretrain``: the small encoder that ships, or another of its kind."""

from pathlib import Path
from typing import Annotated

import typer

from cli.encode import encode_app
from cli.flags import AsJson
from cli.options import Given, with_options
from cli.output import emit, speaks
from cli.training import DryRun, Threads, stop_after, training
from recon.encode.latent_prediction.options import PretrainingOptions


def register(app: typer.Typer) -> None:
    """Add the command to the group ``encode``, which is part of the application already."""
    encode_app.command()(pretrain)


@with_options(PretrainingOptions, show_defaults=False)
def pretrain(
    data: Annotated[
        list[Path],
        typer.Option(metavar="FOLDER", help="Folder of 'recon simulate', of scans or of NIfTI volumes; repeat."),
    ],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="The encoder's folder; an interrupted run continues.")],
    given: Given,
    config: Annotated[
        str, typer.Option(metavar="FILE", help="YAML file, or a recipe that comes with recon: encoder-small.")
    ] = "encoder-small",
    cache: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Prepared volumes. Default: 'volumes' below --out.")
    ] = None,
    threads: Threads = 0,
    device: Annotated[str, typer.Option(metavar="DEVICE", help="cpu or cuda.")] = "cpu",
    dry_run: DryRun = 0,
    as_json: AsJson = False,
) -> None:
    """Pre-train a small encoder by masked prediction in latent space, across the contrasts of one head.

    What is not given here comes from the recipe, which also holds the shape of the network. Lengths are in samples.

    No labels are used but the lesion masks of 'recon simulate', and those not where the recipe's lesion_weight is 0.

    Persons are held out by a hash of their name (held_out_fraction), so that probes can be judged on subjects that the
    encoder never saw. Variance and effective rank of the tokens are watched; a collapse is an error.

    'torchrun' and 'accelerate launch' share every batch between processes; the weights are the same but for rounding.
    """
    import time

    from recon.configuration import load_config

    options = load_config(PretrainingOptions, config, given)

    from recon.encode.latent_prediction.recipe import pretrain_encoder
    from recon.reconstruction.machine import chosen_device

    chosen_device(device)
    started = time.monotonic()
    total = options.samples * options.cycles
    stop = stop_after(dry_run, options.batch)
    with training(threads) as told:
        outcome = pretrain_encoder(
            options, data, out, told.report, cache=cache, device=device, stop_after=stop, note=told.note
        )
    if not speaks():
        return
    result = {
        "output": out,
        "finished": outcome.finished,
        "samples": outcome.samples,
        "volumes": outcome.volumes,
        "persons": outcome.persons,
        "held_out_persons": outcome.held_out_persons,
        "loss": outcome.loss,
        "seconds": time.monotonic() - started,
    }
    line = (
        f"{out}: pre-trained on {outcome.samples} samples from {outcome.volumes} volumes of {outcome.persons} persons, "
        f"{outcome.held_out_persons} held out; loss {outcome.loss:.4f}"
    )
    if not outcome.finished:
        line = f"{out}: stopped after {outcome.samples} of {total} samples; the same command continues"
    emit(result, [line], as_json)
