"""What commands that train have in common: flags, and who speaks where several processes share a training."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated

import typer

from cli.output import speaks
from cli.progress import Progress
from recon.progress import Note, Report, silent, unsaid

Threads = Annotated[int, typer.Option(min=0, metavar="N", help="Processor threads; 0 leaves it to torch.")]
DryRun = Annotated[
    int, typer.Option(min=0, metavar="STEPS", help="Stop after so many steps; the same command continues.")
]


@dataclass(frozen=True)
class Told:
    """Where a training says how far it is, and what happened."""

    report: Report
    note: Note


@contextmanager
def training(threads: int = 0, quiet: float = 0.0) -> Iterator[Told]:
    """Set the processor threads (0: as they are) and show progress, in the first of several processes only."""
    if threads:
        import torch

        torch.set_num_threads(threads)
    if not speaks():
        yield Told(silent, unsaid)
        return
    with Progress(quiet) as progress:
        yield Told(progress.show, progress.note)


def stop_after(dry_run: int, batch: int) -> int | None:
    """How many samples ``dry_run`` steps see; None without a dry run."""
    return dry_run * batch if dry_run else None
