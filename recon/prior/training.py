"""Training the denoiser: the EDM loss, an exponential moving average, and exact resumption.

    L = E_{sigma, x, n}  (sigma^2 + sigma_data^2) / (sigma sigma_data)^2  |D(x + sigma n) - x|^2
                                                                        Karras et al., NeurIPS 2022, Eq. 2 and Table 1

Lengths are counted in images. Warm-up and averaging scale with the length, so a short run reaches its learning rate
and forgets its start. It is a training on the loop of ``recon.training_loop``; images are read ahead by worker
processes, each process its own part of every batch.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from recon.held_signals import ignore_signals
from recon.prior.dataset import Batches, TrainingImages
from recon.prior.denoiser import Denoiser, low_precision
from recon.prior.options import TrainingOptions
from recon.processes import Processes, alone
from recon.progress import Note, Report, unsaid
from recon.training_loop import Training, last_sample, run_to_end
from recon.training_state import fingerprint

Batch = tuple[Tensor, Tensor, Tensor, Tensor]  # image, contrast label, sigma, noise

HOW_IT_RUNS = ("workers", "in_memory", "checkpoint_images", "store_bf16")  # options that do not change the weights


def edm_loss(
    denoiser: Callable[..., Tensor],
    image: Tensor,
    contrast_label: Tensor,
    sigma: Tensor,
    noise: Tensor,
    sigma_data: float,
) -> Tensor:
    """The weighted denoising loss of one batch, mean over pixels and real components; see the module's docstring."""
    wide = sigma.reshape(-1, 1, 1)
    error = torch.view_as_real(denoiser(image + wide * noise, sigma, contrast_label) - image)
    weight = (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2
    return (weight.reshape(-1, 1, 1, 1) * error**2).mean()


def learning_rate_at(options: TrainingOptions, images: int) -> float:
    """Linear warm-up, constant, linear decay to zero; constant to the end without ``decay_fraction``."""
    up = images / max(1.0, options.warmup_fraction * options.images)
    down = 1.0
    if options.decay_fraction > 0:
        down = (options.images - images) / max(1.0, options.decay_fraction * options.images)
    return options.learning_rate * max(0.0, min(1.0, up, down))


@dataclass(frozen=True)
class Feed:
    """Batches one after the other, this process' part of each, and how many slices make an epoch."""

    batches: Iterator[Batch]
    slices: int


class Run(Training[Feed]):
    """The state of a training run: weights, their moving average, the optimiser, and how many images were seen.

    ``start``: the hash of the weights that the run began with; a run is continued by one with the same start only."""

    memory = 0.99

    def __init__(
        self, denoiser: Denoiser, options: TrainingOptions, folder: Path, start: str = "",
        processes: Processes | None = None,
    ) -> None:  # fmt: skip
        """``processes``: those that share every batch; none but this one where they are not given."""
        self.denoiser, self.options = denoiser, options
        parameters = {name: p for name, p in denoiser.network.named_parameters() if p.requires_grad}
        optimiser = torch.optim.Adam(parameters.values(), lr=options.learning_rate, fused=True)
        state = folder, fingerprint(options, HOW_IT_RUNS) + start
        shared = processes or alone(next(denoiser.parameters()).device)
        super().__init__(options, parameters, optimiser, shared, state)
        self.average = {name: p.detach().clone() for name, p in self.parameters.items()}
        self.times: list[float] = []  # when each step of the last call of ``train`` ended, in seconds

    @property
    def images(self) -> int:
        """How many images were seen."""
        return self.samples

    @property
    def seconds_per_step(self) -> float | None:
        """Of the last call of ``train``, its first step left out; None for fewer than two."""
        steps = len(self.times) - 1
        return (self.times[-1] - self.times[0]) / steps if steps > 0 else None

    def rate(self, samples: int) -> float:
        """See ``learning_rate_at``."""
        return learning_rate_at(self.options, samples)

    def loss_of(self, data: Feed) -> Tensor:
        """The EDM loss of the next batch. Parts are equal, so the mean over it is that of the processes' means."""
        device = self.processes.device
        image, contrast_label, sigma, noise = next(data.batches)
        image, contrast_label, sigma, noise = (
            entry.to(device, non_blocking=True) for entry in (image, contrast_label, sigma.float(), noise)
        )
        with low_precision(device):
            own = edm_loss(self.denoiser, image, contrast_label, sigma, noise, self.options.sigma_data)
        return self.processes.total(own / self.processes.count)

    def after_step(self) -> None:
        """The moving average follows."""
        self.update_average(self.options.batch)

    def update_average(self, batch: int) -> None:
        """Exponential moving average whose half-life is a fraction of the images seen so far."""
        halflife = max(1.0, self.options.ema_fraction * self.images)
        weight = 1 - 0.5 ** (batch / halflife)
        torch._foreach_lerp_(list(self.average.values()), [p.detach() for p in self.parameters.values()], weight)

    def load_average(self) -> None:
        """Put the averaged weights into the denoiser."""
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(self.average[name])
        self.denoiser.eval()

    def between(self, data: Feed, before: int, ended: bool, note: Note) -> None:
        """Keep the state when it is time."""
        self.times.append(time.monotonic())
        every = self.options.checkpoint_images
        if ended or before // every != self.images // every:
            self.save()
            if self.processes.main:
                epoch = self.images / data.slices
                note(f"{self.images} images (epoch {epoch:.1f}): loss {self.loss:.4f}, state saved")

    def facts(self) -> dict[str, Any]:
        """Under the names that states of priors have had from the start."""
        return {"images": self.images, "loss": repr(self.loss)}

    def take(self, facts: Mapping[str, Any]) -> None:
        """Put stored facts in place."""
        super().take({"samples": facts["images"], "loss": facts["loss"]})

    def others(self) -> dict[str, Tensor]:
        """The moving average."""
        return {f"average/{name}": tensor for name, tensor in self.average.items()}


def train(run: Run, images: TrainingImages, report: Report, stop_after: int | None = None, note: Note = unsaid) -> bool:
    """Run or continue training; True when it reached its length, False when ``stop_after`` ended it before.

    ``report`` hears of every step; ``note`` gets a line where a run continues and one with the loss for every stored
    state. Raises ReconError when the loss is not finite, or a batch cannot be shared by the processes.
    """
    from torch.utils.data import DataLoader

    options = run.options
    if run.load() and run.processes.main:
        note(f"continuing at {run.images} images")
    last = last_sample(run)
    stop = last if stop_after is None else min(last, stop_after // options.batch * options.batch)
    steps = run.images // options.batch, stop // options.batch
    batches = Batches(*steps, options.batch, run.processes.index, run.processes.count)
    loader: DataLoader[Any] = DataLoader(
        images, batch_sampler=batches, num_workers=options.workers, persistent_workers=options.workers > 0,
        worker_init_fn=_ended_by_the_training,
    )  # fmt: skip
    run.denoiser.train()
    run.times.clear()
    return run_to_end(run, Feed(iter(loader), images.count), report, note, stop)


def _ended_by_the_training(worker: int) -> None:
    """Schedulers and terminals send their signals to all processes: what reads images goes on until the training, which
    finishes its step, has ended it."""
    ignore_signals()
