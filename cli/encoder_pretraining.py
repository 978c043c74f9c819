"""Command ``recon encode pretrain``: the small encoder that ships, or another of its kind."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.encode import encode_app
from cli.output import emit, note

if TYPE_CHECKING:
    from recon.encode.latent_prediction.pretraining import PretrainingProgress


def register(app: typer.Typer) -> None:
    """Add the command to the group ``encode``, which is part of the application already."""
    encode_app.command()(pretrain)


def pretrain(
    data: Annotated[
        list[Path],
        typer.Option(metavar="FOLDER", help="Folder of 'recon simulate', of scans or of NIfTI volumes; repeat."),
    ],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="The encoder's folder; an interrupted run continues.")],
    config: Annotated[
        str, typer.Option(help="YAML file, or a recipe that comes with recon: encoder-small.")
    ] = "encoder-small",
    samples: Annotated[int | None, typer.Option(help="Length of the run in samples.")] = None,
    batch: Annotated[int | None, typer.Option(help="Samples a step.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Learning rate after warm-up.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of weights, samples and held-out persons.")] = None,
    cache: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Prepared volumes. Default: 'volumes' below --out.")
    ] = None,
    threads: Annotated[int, typer.Option(min=0, help="Processor threads; 0 leaves it to torch.")] = 0,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    dry_run: Annotated[int, typer.Option(min=0, help="Stop after this many steps; the same command continues.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """Pre-train a small encoder by masked prediction in latent space, across the contrasts of one head.

    No labels are used but the lesion masks of 'recon simulate', and those not where the recipe's lesion_weight is 0.

    Persons are held out by a hash of their name (held_out_fraction), so that probes can be judged on subjects that the
    encoder never saw. Variance and effective rank of the tokens are watched; a collapse is an error.
    """
    import time

    import torch

    from recon.configuration import load_config
    from recon.encode.latent_prediction.options import PretrainingOptions
    from recon.encode.latent_prediction.recipe import pretrain_encoder

    overrides = {"samples": samples, "batch": batch, "learning_rate": learning_rate, "seed": seed}
    options = load_config(PretrainingOptions, config, overrides)
    if threads:
        torch.set_num_threads(threads)
    started = time.monotonic()
    total = options.samples * options.cycles
    with _Bar(total) as bar:
        outcome = pretrain_encoder(
            options,
            data,
            out,
            bar.show,
            cache=cache,
            device=device,
            stop_after=dry_run * options.batch if dry_run else None,
            say=note,
        )
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


class _Bar:
    """A tqdm bar in samples; what the collapse monitor measures as lines."""

    def __init__(self, total: int) -> None:
        import sys

        from tqdm import tqdm

        interval = 0.5 if sys.stderr.isatty() else 60.0
        self._bar = tqdm(total=total, unit="sample", desc="pre-training", mininterval=interval, dynamic_ncols=True)

    def __enter__(self) -> "_Bar":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def show(self, progress: "PretrainingProgress") -> None:
        self._bar.update(progress.samples - self._bar.n)
        self._bar.set_postfix_str(f"loss {progress.loss:.4f}", refresh=False)
        if progress.spread is not None:
            note(
                f"sample {progress.samples}: loss {progress.loss:.4f}, effective rank "
                f"{progress.spread.effective_rank:.1f}, standard deviation {progress.spread.deviation:.3f}"
            )
        if progress.event == "continuing":
            note(f"continuing at sample {progress.samples}")
