"""One candidate run: one learning rate on one fold's training patients, judged at every length on the held-out ones.

The rate is constant after its warm-up and the weights are averaged over the last part of what was seen, so the state at
a length is what a run of that length would have ended with: all lengths of a rate share one run.
"""

import copy
import dataclasses
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from recon.atomic import atomic_path
from recon.errors import ReconError
from recon.finetuning.plan import FinetuneOptions
from recon.finetuning.validation import HeldOutValidation
from recon.prior.dataset import PreparedScan, TrainingImages
from recon.prior.denoiser import Denoiser
from recon.prior.options import TrainingOptions
from recon.prior.training import Run, train
from recon.progress import Report


@dataclass(frozen=True)
class Record:
    """One judged checkpoint. ``rate`` and ``images`` are 0 for the prior as it came. ``nrmse`` by held-out patient,
    ``denoising`` the held-out denoising error at ``VARIANCE_SIGMAS``."""

    fold: int
    rate: float
    images: int
    nrmse: dict[str, float]
    denoising: tuple[float, ...]
    seconds: float = 0.0


def training_options(
    base: TrainingOptions, options: FinetuneOptions, rate: float, images: int, warmup: float
) -> TrainingOptions:
    """The options of a fine-tuning run of ``images`` images whose rate rises over ``warmup`` images and stays.

    The contrast's own contrast label alone is trained, so the general contrast label keeps what it knew.
    """
    return dataclasses.replace(
        base,
        images=images,
        batch=options.batch or base.batch,
        crop=options.crop or base.crop,
        learning_rate=rate,
        warmup_fraction=min(1.0, warmup / images),
        decay_fraction=0.0,
        ema_fraction=options.ema_fraction,
        unknown_fraction=0.0,
        checkpoint_images=options.checkpoint_images,
        workers=0,
        store_bf16=False,
        seed=options.seed,
    )


def trainable(denoiser: Denoiser, options: FinetuneOptions) -> Denoiser:
    """A copy of a prior's denoiser whose weights, or whose new LoRA adapter's weights, can be trained."""
    fresh = copy.deepcopy(denoiser)
    if options.adapter == "lora":
        from recon.finetuning.adapters import add_lora

        add_lora(fresh, seed=options.seed)
    else:
        fresh.requires_grad_(True)
    return fresh


def run_candidate(
    denoiser: Denoiser,
    scans: Sequence[PreparedScan],
    validation: HeldOutValidation,
    options: TrainingOptions,
    lengths: Sequence[int],
    fold: int,
    folder: Path,
    report: Report,
) -> list[Record]:
    """Train ``denoiser`` to each of ``lengths`` in turn and judge its averaged weights there.

    What ``folder`` holds already is not done again; a kill at any moment costs at most the work since the last state.
    """
    path = folder / "records.json"
    records = read_records(path)
    if len(records) == len(lengths):
        return records
    images = TrainingImages(scans, validation.prior.facts.contrast_labels, options)
    run = Run(denoiser, options, folder)
    for length in lengths[len(records) :]:
        started = time.perf_counter()
        train(run, images, report, stop_after=length)
        with _averaged(run):
            nrmse, errors = validation(run.denoiser)
        seconds = time.perf_counter() - started
        records.append(Record(fold, options.learning_rate, length, nrmse, errors, seconds))
        write_records(path, records)
    (folder / "state.safetensors").unlink(missing_ok=True)  # judged at its last length: nothing will continue it
    return records


class _averaged:
    """The averaged weights in place of the trained ones, for the length of a block."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def __enter__(self) -> None:
        self._kept = {name: p.detach().clone() for name, p in self._run.parameters.items()}
        self._run.load_average()

    def __exit__(self, *_: object) -> None:
        with torch.no_grad():
            for name, parameter in self._run.parameters.items():
                parameter.copy_(self._kept[name])


def read_records(path: Path) -> list[Record]:
    """The records in a file, none when it is not there. Raises ReconError when it is damaged."""
    if not path.is_file():
        return []
    try:
        return [
            Record(**{**entry, "denoising": tuple(entry["denoising"])})
            for entry in json.loads(path.read_text(encoding="utf-8"))
        ]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ReconError(f"{path}: damaged ({error}); delete it, the candidate is then judged again") from error


def write_records(path: Path, records: Sequence[Record]) -> None:
    """Store records; a reader never sees half of them."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps([dataclasses.asdict(record) for record in records]), encoding="utf-8")
