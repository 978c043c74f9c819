"""Training the denoiser: the EDM loss, an exponential moving average, and exact resumption.

    L = E_{sigma, x, n}  (sigma^2 + sigma_data^2) / (sigma sigma_data)^2  |D(x + sigma n) - x|^2
                                                                        Karras et al., NeurIPS 2022, Eq. 2 and Table 1

Lengths are counted in images. Warm-up and averaging scale with the length, so a short run reaches its learning rate
and forgets its start.
"""

import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from recon.atomic import atomic_path
from recon.errors import ReconError
from recon.prior.augmentation import AugmentationOptions
from recon.prior.dataset import Batches, PreparedScan, TrainingImages, split_by_subject
from recon.prior.denoiser import Denoiser, NetworkOptions, build_denoiser, low_precision
from recon.prior.provenance import seen_by
from recon.prior.store import PriorFacts, assign_contrast_labels, save_prior
from recon.prior.validation import VARIANCE_SIGMAS, denoising_error


@dataclass(frozen=True)
class TrainingOptions:
    """One training run. ``images`` is its length; fractions are of that length.

    ``ema_fraction`` is the half-life of the moving average at the end of the run as a fraction of the images seen so
    far. ``decay_fraction`` is the last part of the run, over which the learning rate falls linearly to zero.
    """

    network: NetworkOptions = field(default_factory=NetworkOptions)
    augmentation: AugmentationOptions = field(default_factory=AugmentationOptions)
    images: int = 100_000
    batch: int = 8
    crop: int = 96
    learning_rate: float = 1e-3
    warmup_fraction: float = 0.02
    decay_fraction: float = 0.3
    ema_fraction: float = 0.05
    gradient_norm: float = 1.0
    log_sigma_mean: float = -1.2
    log_sigma_std: float = 1.2
    sigma_data: float = 0.5
    unknown_fraction: float = 0.2
    validation_fraction: float = 0.1
    checkpoint_images: int = 8_000
    workers: int = 0
    in_memory: bool = True
    store_bf16: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.images < self.batch or self.batch < 1:
            raise ValueError(f"images ({self.images}) must be at least one batch ({self.batch})")
        if self.crop % self.network.stride:
            raise ValueError(f"crop {self.crop} must be a multiple of the network's stride {self.network.stride}")
        if not 0 < self.learning_rate < 1:
            raise ValueError(f"learning_rate {self.learning_rate} must lie between 0 and 1")


@dataclass(frozen=True)
class Progress:
    """What a run tells while it goes: images seen of all, epochs, smoothed loss, and an event worth a line."""

    images: int
    total: int
    epochs: float
    loss: float
    event: str = ""


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


def training_images(
    scans: Sequence[PreparedScan], contrast_labels: dict[str, int], options: TrainingOptions
) -> TrainingImages:
    """The images of a run over ``scans``."""
    return TrainingImages(
        scans,
        contrast_labels,
        crop=options.crop,
        augmentation=options.augmentation,
        unknown_fraction=options.unknown_fraction,
        log_sigma_mean=options.log_sigma_mean,
        log_sigma_std=options.log_sigma_std,
        seed=options.seed,
        in_memory=options.in_memory,
    )


def pretrain(
    options: TrainingOptions,
    scans: Sequence[PreparedScan],
    out: Path,
    report: Callable[[Progress], None],
    *,
    device: torch.device | str | None = None,
    stop_after: int | None = None,
) -> PriorFacts | None:
    """Train a prior from scratch into folder ``out``; continue there if the folder holds an interrupted run.

    ``accelerate launch`` runs it on several GPUs or nodes with the same global batches. ``stop_after`` ends the run
    early at that many images, as an interruption would (for tests and dry runs); then None is returned.
    Raises ReconError when the interrupted run had other options or the data do not fit.
    """
    from accelerate import Accelerator

    wanted_cpu = device is not None and torch.device(device).type == "cpu"
    accelerator = Accelerator(cpu=wanted_cpu or not torch.cuda.is_available())
    training, validation = split_by_subject(scans, options.validation_fraction, options.seed)
    contrast_labels = assign_contrast_labels({scan.contrast for scan in scans}, options.network.contrast_labels)
    contrast_labels.setdefault("unknown", 0)
    denoiser = build_denoiser(options.network, options.sigma_data, options.seed).to(accelerator.device)
    run = Run(denoiser, options, out / "state")
    images = training_images(training, contrast_labels, options)
    finished = train(run, images, accelerator, report, stop_after)
    if not finished or not accelerator.is_main_process:
        return None
    report(Progress(options.images, options.images, options.images / images.count, math.nan, "measuring v(sigma)"))
    run.load_average()
    errors = denoising_error(denoiser, validation, device=accelerator.device)
    facts = PriorFacts(
        network=options.network,
        sigma_data=options.sigma_data,
        contrast_labels=contrast_labels,
        denoiser_variance_sigmas=VARIANCE_SIGMAS,
        denoiser_variances=tuple(errors),
        images_seen=options.images,
        training={
            "options": dataclasses.asdict(options),
            "subjects": len({scan.subject for scan in training}),
            "validation_subjects": len({scan.subject for scan in validation}),
            "slices": images.count,
            "origins": sorted({str(scan.facts.get("origin", "not stated")) for scan in scans}),
            "licences": sorted({str(scan.facts.get("licence", "not stated")) for scan in scans}),
            "parameters": sum(p.numel() for p in denoiser.parameters()),
            "seen": seen_by(scans),
        },
    )
    dtype = torch.bfloat16 if options.store_bf16 else torch.float32
    return save_prior(out, denoiser, facts, model_card(facts), dtype)


class Run:
    """The state of a training run: weights, their moving average, the optimiser, and how many images were seen."""

    def __init__(self, denoiser: Denoiser, options: TrainingOptions, folder: Path) -> None:
        self.denoiser, self.options, self.folder = denoiser, options, folder
        self.parameters = {name: p for name, p in denoiser.network.named_parameters() if p.requires_grad}
        self.optimiser = torch.optim.Adam(self.parameters.values(), lr=options.learning_rate, fused=True)
        self.average = {name: p.detach().clone() for name, p in self.parameters.items()}
        self.images = 0
        self.loss = math.nan

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
        tensors: dict[str, Tensor] = {}
        for name, parameter in self.parameters.items():
            state = self.optimiser.state.get(parameter, {})
            tensors[f"weight/{name}"] = parameter.detach()
            tensors[f"average/{name}"] = self.average[name]
            for key in ("exp_avg", "exp_avg_sq", "step"):
                if key in state:
                    tensors[f"{key}/{name}"] = state[key]
        facts = {"images": self.images, "loss": repr(self.loss), "options": _fingerprint(self.options)}
        with atomic_path(self.folder / "state.safetensors") as temporary:
            contiguous = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
            save_file(contiguous, temporary, metadata={"run": json.dumps(facts)})

    def load(self) -> bool:
        """Continue from the stored state; False when there is none. Raises ReconError when it does not fit."""
        path = self.folder / "state.safetensors"
        if not path.is_file():
            return False
        from safetensors import safe_open

        try:
            with safe_open(path, "pt") as file:
                facts: dict[str, Any] = json.loads((file.metadata() or {})["run"])
            tensors = load_file(path)
        except Exception as error:
            raise ReconError(
                f"{path}: interrupted run is damaged ({error}); delete the folder to start again"
            ) from error
        if facts["options"] != _fingerprint(self.options):
            raise ReconError(f"{path}: the interrupted run had other options; use the same ones or another --out")
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(tensors[f"weight/{name}"])
                self.average[name].copy_(tensors[f"average/{name}"])
                if f"step/{name}" in tensors:
                    like = parameter.detach()
                    self.optimiser.state[parameter] = {
                        "step": tensors[f"step/{name}"].to(like.device),
                        "exp_avg": torch.empty_like(like).copy_(tensors[f"exp_avg/{name}"]),
                        "exp_avg_sq": torch.empty_like(like).copy_(tensors[f"exp_avg_sq/{name}"]),
                    }
        self.images, self.loss = int(facts["images"]), float(facts["loss"])
        return True


def _fingerprint(options: TrainingOptions) -> str:
    """What must be equal for a run to be continued: everything but how it is run."""
    values = dataclasses.asdict(options)
    for key in ("workers", "in_memory", "checkpoint_images", "store_bf16"):
        values.pop(key)
    return json.dumps(values, sort_keys=True)


def train(
    run: Run,
    images: TrainingImages,
    accelerator: Any,
    report: Callable[[Progress], None],
    stop_after: int | None = None,
) -> bool:
    """Run or continue training; True when it reached its length, False when ``stop_after`` ended it before."""
    from torch.utils.data import DataLoader

    options = run.options
    if run.load():
        report(Progress(run.images, options.images, run.images / images.count, run.loss, "continuing"))
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
    for image, contrast_label, sigma, noise in loader:
        batch = (
            entry.to(accelerator.device, non_blocking=True) for entry in (image, contrast_label, sigma.float(), noise)
        )
        image, contrast_label, sigma, noise = batch
        for group in run.optimiser.param_groups:
            group["lr"] = learning_rate_at(options, run.images + options.batch)
        with low_precision(accelerator.device):
            loss = edm_loss(model, image, contrast_label, sigma, noise, options.sigma_data)
        accelerator.backward(loss)
        torch.nn.utils.clip_grad_norm_(run.parameters.values(), options.gradient_norm)
        run.optimiser.step()
        run.optimiser.zero_grad()
        run.images += options.batch
        run.update_average(options.batch)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise ReconError(
                f"training diverged at image {run.images} (loss {value}); lower the learning rate "
                f"({options.learning_rate}) and start again from the last state in {run.folder}"
            )
        run.loss = value if math.isnan(run.loss) else 0.99 * run.loss + 0.01 * value
        event = ""
        if run.images >= next_checkpoint or run.images // options.batch == stop:
            next_checkpoint = run.images + options.checkpoint_images
            if accelerator.is_main_process:
                run.save()
            event = "state saved"
        report(Progress(run.images, options.images, run.images / images.count, run.loss, event))
    return run.images // options.batch >= last


def model_card(facts: PriorFacts) -> str:
    """The README of a prior's folder."""
    training = facts.training
    lines = [
        "# Diffusion prior for MRI reconstruction",
        "",
        f"Written by recon {facts.code_version}. Load it with `recon reconstruct SCAN --prior THIS_FOLDER`.",
        "",
        "| | |",
        "|---|---|",
        f"| parameters | {training.get('parameters', 0):,} |",
        f"| training length | {facts.images_seen:,} images |",
        f"| training data | {training.get('slices', 0)} slices of {training.get('subjects', 0)} subjects |",
        f"| held out for v(sigma) | {training.get('validation_subjects', 0)} subjects |",
        f"| contrasts | {', '.join(name for name in facts.contrast_labels if name != 'unknown')} |",
        f"| origins | {'; '.join(training.get('origins', []))} |",
        f"| licences of the data | {'; '.join(training.get('licences', []))} |",
        f"| scale | {facts.scale_statistic} |",
        "",
        "It draws images that are plausible under its training data. Where a scan differs from them, trust the audit",
        "that every reconstruction reports. It is not a medical device.",
    ]
    return "\n".join(lines)
