"""Training the denoiser: the EDM loss, an exponential moving average, and exact resumption.

    L = E_{sigma, x, n}  (sigma^2 + sigma_data^2) / (sigma sigma_data)^2  |D(x + sigma n) - x|^2
                                                                        Karras et al., NeurIPS 2022, Eq. 2 and Table 1

Lengths are counted in images. Warm-up and averaging scale with the length, so a short run reaches its learning rate
and forgets its start.
"""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from recon.errors import ReconError
from recon.prior.dataset import Batches, TrainingImages
from recon.prior.denoiser import Denoiser, low_precision
from recon.prior.options import TrainingOptions
from recon.progress import Note, Report, unsaid
from recon.training_state import TrainingState, fingerprint

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


class Run:
    """The state of a training run: weights, their moving average, the optimiser, and how many images were seen.

    ``start``: the hash of the weights that the run began with; a run is continued by one with the same start only."""

    def __init__(self, denoiser: Denoiser, options: TrainingOptions, folder: Path, start: str = "") -> None:
        self.denoiser, self.options, self.folder, self.start = denoiser, options, folder, start
        self.parameters = {name: p for name, p in denoiser.network.named_parameters() if p.requires_grad}
        self.optimiser = torch.optim.Adam(self.parameters.values(), lr=options.learning_rate, fused=True)
        self.average = {name: p.detach().clone() for name, p in self.parameters.items()}
        self.images = 0
        self.loss = math.nan
        self.seconds_per_step: float | None = None  # of the last call of ``train``, its first step left out

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

    def save(self) -> None:
        """Write the state; a kill at any moment leaves the previous one intact."""
        self._state().save({"images": self.images, "loss": repr(self.loss)})

    def load(self) -> bool:
        """Continue from the stored state; False when there is none. Raises ReconError when it does not fit."""
        facts = self._state().load()
        if facts is None:
            return False
        self.images, self.loss = int(facts["images"]), float(facts["loss"])
        return True

    def _state(self) -> TrainingState:
        averages = {f"average/{name}": tensor for name, tensor in self.average.items()}
        same = fingerprint(self.options, HOW_IT_RUNS) + self.start
        return TrainingState(self.folder, self.parameters, self.optimiser, averages, same)


def training_step(
    run: Run,
    model: Callable[..., Tensor],
    batch: tuple[Tensor, Tensor, Tensor, Tensor],
    backward: Callable[[Tensor], None] = Tensor.backward,
) -> Tensor:
    """One step on ``(image, contrast_label, sigma, noise)`` on the run's device: loss, gradients, weights, average.

    ``model`` is the run's denoiser, perhaps wrapped for several processes. Returns the loss, still on the device.
    """
    image, contrast_label, sigma, noise = batch
    options = run.options
    for group in run.optimiser.param_groups:
        group["lr"] = learning_rate_at(options, run.images + options.batch)
    with low_precision(image.device):
        loss = edm_loss(model, image, contrast_label, sigma, noise, options.sigma_data)
    backward(loss)
    torch.nn.utils.clip_grad_norm_(run.parameters.values(), options.gradient_norm)
    run.optimiser.step()
    run.optimiser.zero_grad()
    run.images += options.batch
    run.update_average(options.batch)
    return loss.detach()


def train(
    run: Run,
    images: TrainingImages,
    accelerator: Any,
    report: Report,
    stop_after: int | None = None,
    note: Note = unsaid,
) -> bool:
    """Run or continue training; True when it reached its length, False when ``stop_after`` ended it before.

    ``report`` hears of every step; ``note`` gets a line where a run continues and one with the loss for every stored
    state. Raises ReconError when the loss is not finite.
    """
    from torch.utils.data import DataLoader

    options = run.options
    if run.load():
        if accelerator.is_main_process:
            note(f"continuing at {run.images} images")
        report("training", run.images / options.images)
    model = accelerator.prepare(run.denoiser) if accelerator.num_processes > 1 else run.denoiser
    last = options.images // options.batch
    stop = last if stop_after is None else min(last, stop_after // options.batch)
    batches = Batches(
        run.images // options.batch, stop, options.batch, accelerator.process_index, accelerator.num_processes
    )
    loader: DataLoader[Any] = DataLoader(
        images, batch_sampler=batches, num_workers=options.workers, persistent_workers=options.workers > 0
    )
    run.denoiser.train()
    next_checkpoint = run.images + options.checkpoint_images
    times: list[float] = []
    for image, contrast_label, sigma, noise in loader:
        batch = (
            entry.to(accelerator.device, non_blocking=True) for entry in (image, contrast_label, sigma.float(), noise)
        )
        image, contrast_label, sigma, noise = batch
        loss = training_step(run, model, (image, contrast_label, sigma, noise), accelerator.backward)
        value = float(loss)
        if not math.isfinite(value):
            raise ReconError(
                f"training diverged at image {run.images} (loss {value}); lower the learning rate "
                f"({options.learning_rate}) and start again from the last state in {run.folder}"
            )
        run.loss = value if math.isnan(run.loss) else 0.99 * run.loss + 0.01 * value
        times.append(time.monotonic())
        if run.images >= next_checkpoint or run.images // options.batch == stop:
            next_checkpoint = run.images + options.checkpoint_images
            if accelerator.is_main_process:
                run.save()
                note(f"{run.images} images (epoch {run.images / images.count:.1f}): loss {run.loss:.4f}, state saved")
        report("training", run.images / options.images)
    if len(times) > 1:
        run.seconds_per_step = (times[-1] - times[0]) / (len(times) - 1)
    return run.images // options.batch >= last
