"""Training throughput: a few real steps of a recipe on images of noise, which are as slow as any others."""

import itertools
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from recon.benchmark.speed_options import SpeedOptions
from recon.prior.denoiser import build_denoiser
from recon.prior.options import TrainingOptions
from recon.prior.training import Feed, Run
from recon.reconstruction.machine import Memory, waiting_for

UNTIMED_STEPS = 2
LARGEST_BATCH_ON_A_PROCESSOR = 8


@dataclass(frozen=True)
class TrainingSpeed:
    """``images_a_second`` of steps of ``batch`` images ``crop x crop``, and the peak of memory in bytes: of the device,
    or of the process where the device is the processor."""

    parameters: int
    batch: int
    crop: int
    seconds_a_step: float
    images_a_second: float
    peak_memory: int | None


def training_speed(recipe: TrainingOptions, options: SpeedOptions, device: torch.device | str) -> dict[str, Any]:
    """Time a few steps of ``recipe``; see ``TrainingSpeed``. Reading and augmenting images is not in it: that is
    other processes' work."""
    on_processor = torch.device(device).type == "cpu"
    usual = min(recipe.batch, LARGEST_BATCH_ON_A_PROCESSOR) if on_processor else recipe.batch
    batch = options.training_batch or usual
    recipe = replace(recipe, batch=batch, images=max(recipe.images, batch))
    denoiser = build_denoiser(recipe.network, recipe.sigma_data, options.seed).to(device).train()
    generator = torch.Generator().manual_seed(options.seed)
    shape = (batch, recipe.crop, recipe.crop, 2)
    image, noise = (torch.view_as_complex(torch.randn(shape, generator=generator)).to(device) for _ in range(2))
    label = torch.zeros(batch, dtype=torch.long, device=device)
    sigma = torch.full((batch,), 0.3, device=device)
    feed = Feed(itertools.repeat((image, label, sigma, noise)), batch)
    wait, memory = waiting_for(device), Memory(device)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(denoiser, recipe, Path(folder))
        began = time.perf_counter()
        for step in range(UNTIMED_STEPS + options.training_steps):
            if step == UNTIMED_STEPS:
                wait()
                began = time.perf_counter()
            run.step(feed)
        wait()
    seconds = (time.perf_counter() - began) / options.training_steps
    parameters = sum(weight.numel() for weight in denoiser.parameters())
    return asdict(TrainingSpeed(parameters, batch, recipe.crop, seconds, batch / seconds, memory.peak()))
