"""The experiment's settings and folder, and what every stage uses of both."""

import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recon.atomic import atomic_path
from recon.finetuning.plan import FinetuneOptions
from recon.prior.options import TrainingOptions
from recon.progress import Report

STRATEGIES = {
    "1": "joint training on everything, full FLAIR",
    "2": "pre-training, fine-tuned on full FLAIR",
    "3": "full FLAIR alone",
    "4": "pre-training, fine-tuned on the small FLAIR cohort (the proposal)",
    "5": "the small FLAIR cohort alone",
    "5b": "the small FLAIR cohort alone, no longer than the longest fine-tuning",
    "6": "joint training with the small FLAIR cohort",
    "0": "pre-training without fine-tuning",
}


@dataclass(frozen=True)
class Experiment:
    """The whole experiment; see config.yaml for what each key means."""

    size: tuple[int, int]
    slices: int
    coils: int
    snr: float
    pretraining_subjects: int
    pretraining_contrasts: tuple[str, ...]
    full_subjects: int
    small_subjects: int
    test_subjects: int
    test_slices: int
    accelerations: tuple[float, ...]
    steps: tuple[int, ...]
    samples: int
    training: TrainingOptions
    search: FinetuneOptions
    paper: tuple[float, float] = (0.1, 0.02)
    seed: int = 0
    test_share: float = field(default=0.2)  # of the heads
    grid_slices: int = 1  # of each test head, in the grid


@dataclass(frozen=True)
class Work:
    """The experiment and the folder in which it is done."""

    experiment: Experiment
    out: Path

    def path(self, *names: str) -> Path:
        return self.out.joinpath(*names)


def say(line: str) -> None:
    """One line of progress with the time of day."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {line}\n")
    sys.stderr.flush()


def store(path: Path, values: Any) -> None:
    """A JSON file, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(values, indent=1, default=str), encoding="utf-8")


def progress(name: str) -> Report:
    """A line every half minute."""
    last = time.monotonic()

    def tell(stage: str, fraction: float) -> None:
        nonlocal last
        if time.monotonic() - last > 30:
            last = time.monotonic()
            say(f"{name}: {stage}, {100 * fraction:.0f} %")

    return tell
