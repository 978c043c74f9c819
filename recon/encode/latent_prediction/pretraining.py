"""Pre-training by masked prediction in latent space: a student sees 15 % of a piece of head and predicts the rest.

    L = mean over hidden tokens of smooth_l1( predictor(student(visible), positions), layer_norm(teacher(all)) )
        + a mean_j max(0, 1 - std_j) + b / d sum_{j != k} cov_jk^2        of the student's visible tokens

The last two terms keep features from collapsing into a few directions (VICReg, Bardes et al., ICLR 2022; in latent
prediction: Mo and Tong, NeurIPS 2024): on short runs the moving average alone does not.
The teacher is an exponential moving average of the student and sees everything (I-JEPA, Assran et al., CVPR 2023;
volumes: Vol-JEPA in arXiv 2511.18640; targets averaged over the last layers: data2vec, Baevski et al., ICML 2022).
Lengths are counted in samples; every draw depends on the seed and the number of the sample, so a run that was
interrupted and continued is the same run.
"""

import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from recon.atomic import atomic_path
from recon.encode.latent_prediction.collapse import Spread, feature_spread
from recon.encode.latent_prediction.masking import hide_blocks, nearest_piece
from recon.encode.latent_prediction.network import (
    Block,
    NetworkOptions,
    draw_weights,
    position_code,
    random_network,
)
from recon.encode.latent_prediction.preparation import LEAST_SHARE, NAME
from recon.encode.latent_prediction.volumes import Tokens, TrainingVolume, cut_at
from recon.errors import ReconError
from recon.seeding import numpy_generator, torch_generator

PIECES = 4  # samples from one volume cut at one offset


@dataclass(frozen=True)
class PretrainingOptions:
    """One pre-training run. ``samples`` is its length; fractions are of that length."""

    network: NetworkOptions = field(default_factory=NetworkOptions)
    samples: int = 8_000
    batch: int = 16
    tokens: int = 96  # of the piece of head that makes a sample
    hidden_fraction: float = 0.85
    block: float = 22.0  # mm, mean radius of a hidden ball
    predictor_width: int = 64
    predictor_depth: int = 2
    target_layers: int = 2  # last layers of the teacher that are averaged
    learning_rate: float = 1e-3
    warmup_fraction: float = 0.1
    weight_decay: float = 0.05
    variance_weight: float = 1.0  # a above
    covariance_weight: float = 0.04  # b above
    gradient_norm: float = 1.0
    average_start: float = 0.99  # of the teacher's moving average, a step; rises linearly to average_end
    average_end: float = 0.998
    gain: float = 0.15  # random factor of a sample's intensities: exp(gain * normal)
    noise: float = 0.05  # largest standard deviation of noise added to a sample, in standardised units
    held_out_fraction: float = 0.3  # of the persons, never trained on
    least_rank: float = 4.0  # effective rank of the teacher's tokens below which the run is stopped as collapsed
    least_deviation: float = 0.05
    monitor_samples: int = 1600
    checkpoint_samples: int = 1600
    seed: int = 0

    def __post_init__(self) -> None:
        if self.samples < self.batch or self.batch < 1:
            raise ValueError(f"samples ({self.samples}) must be at least one batch ({self.batch})")
        if not 0 < self.hidden_fraction < 1 or round(self.tokens * (1 - self.hidden_fraction)) < 1:
            raise ValueError(f"hidden_fraction {self.hidden_fraction} of {self.tokens} tokens leaves none to see")
        if not 0 <= self.held_out_fraction < 1:
            raise ValueError(f"held_out_fraction {self.held_out_fraction} must lie in [0, 1)")
        if not 1 <= self.target_layers <= self.network.depth:
            raise ValueError(f"target_layers {self.target_layers} must lie between 1 and depth {self.network.depth}")
        if self.predictor_width % 4:
            raise ValueError(f"predictor_width {self.predictor_width} must be a multiple of 4")
        if not 0 < self.learning_rate < 1:
            raise ValueError(f"learning_rate {self.learning_rate} must lie between 0 and 1")


@dataclass(frozen=True)
class PretrainingProgress:
    """What a run tells while it goes."""

    samples: int
    total: int
    loss: float
    spread: Spread | None = None  # of the teacher's tokens, when it was just measured
    event: str = ""


class Predictor(nn.Module):
    """From the student's visible tokens and the places of the hidden ones to the teacher's tokens there."""

    def __init__(self, options: PretrainingOptions) -> None:
        super().__init__()
        width = options.predictor_width
        self.frequencies = options.network.frequencies
        self.enter = nn.Linear(options.network.width, width)
        self.place = nn.Linear(6 * self.frequencies, width)
        self.mask = nn.Parameter(torch.zeros(width))
        self.blocks = nn.ModuleList(Block(width, 4) for _ in range(options.predictor_depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.leave = nn.Linear(width, options.network.width)

    def forward(self, visible: Tensor, visible_positions: Tensor, hidden_positions: Tensor) -> Tensor:
        """``[batch, visible, width]`` and positions in mm to predictions ``[batch, hidden, width]``."""
        seen = self.enter(visible) + self.place(position_code(visible_positions, self.frequencies))
        asked = self.mask + self.place(position_code(hidden_positions, self.frequencies))
        tokens = torch.cat([seen, asked], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        return self.leave(self.norm(tokens[:, visible.shape[1] :]))


@dataclass(frozen=True, eq=False)
class Batch:
    """Samples of equal size."""

    patches: Tensor  # [batch, token, patch values]
    positions: Tensor  # [batch, token, 3] mm
    visible: Tensor  # [batch, visible] int64
    hidden: Tensor  # [batch, hidden] int64


def draw_batch(volumes: Sequence[TrainingVolume], options: PretrainingOptions, first: int) -> Batch:
    """Samples ``first`` to ``first + batch`` of the run: volume, offset, piece, mask and augmentation of each.

    Raises ReconError when the volumes are too small for the piece.
    """
    numbers = range(first, first + options.batch)
    rows = [row for number in numbers[::PIECES] for row in _draw_samples(volumes, options, number)][: options.batch]
    return Batch(*(torch.from_numpy(np.stack(column)) for column in zip(*rows, strict=True)))


def _draw_samples(
    volumes: Sequence[TrainingVolume], options: PretrainingOptions, number: int
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """``PIECES`` samples of one volume cut at one offset, which is what takes the time."""
    generator = numpy_generator(options.seed, "sample", number)
    patch = options.network.patch
    for _ in range(50):
        volume = volumes[int(generator.integers(len(volumes)))]
        offset = (int(generator.integers(patch)), int(generator.integers(patch)))
        tokens = cut_at(volume, patch, offset, bool(generator.integers(2)), LEAST_SHARE)
        if len(tokens.positions) >= options.tokens:
            return [_draw_piece(tokens, options, generator) for _ in range(PIECES)]
    raise ReconError(f"no volume has {options.tokens} tokens in the head; lower 'tokens' or give larger volumes")


def _draw_piece(
    tokens: Tokens, options: PretrainingOptions, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    piece = nearest_piece(tokens.positions, options.tokens, generator)
    patches = tokens.patches[piece] * np.float32(np.exp(options.gain * generator.standard_normal()))
    level = np.float32(options.noise * generator.uniform())
    patches = patches + level * generator.standard_normal(patches.shape, dtype=np.float32)
    positions = tokens.positions[piece]
    split = hide_blocks(positions, options.hidden_fraction, options.block, generator)
    return patches, positions, split.visible, split.hidden


def gather(tokens: Tensor, indices: Tensor) -> Tensor:
    """Rows of ``[batch, token, feature]`` by ``[batch, row]`` indices."""
    return tokens.gather(1, indices[..., None].expand(-1, -1, tokens.shape[-1]))


def teacher_targets(layers: Sequence[Tensor], count: int) -> Tensor:
    """Layer-normed tokens of the last ``count`` layers, averaged and layer-normed again."""
    width = layers[-1].shape[-1:]
    normed = [functional.layer_norm(layer, width) for layer in layers[-count:]]
    return functional.layer_norm(torch.stack(normed).mean(dim=0), width)


def spread_penalties(features: Tensor) -> tuple[Tensor, Tensor]:
    """Variance and covariance terms of VICReg over ``[token, feature]``: both 0 for white features of unit variance."""
    centred = features - features.mean(dim=0)
    covariance = centred.T @ centred / (len(features) - 1)
    deviation = (covariance.diagonal() + 1e-4).sqrt()
    others = covariance.square().sum() - covariance.diagonal().square().sum()
    return functional.relu(1 - deviation).mean(), others / features.shape[1]


class Run:
    """The state of a run: student, predictor, teacher, optimiser, and how many samples were seen."""

    def __init__(self, options: PretrainingOptions, folder: Path, device: str = "cpu") -> None:
        self.options, self.folder, self.device = options, folder, device
        self.student = random_network(options.network, torch_generator(options.seed, NAME)).to(device)
        self.teacher = random_network(options.network, torch_generator(options.seed, NAME)).to(device)
        self.teacher.requires_grad_(False)
        self.predictor = Predictor(options)
        draw_weights(self.predictor, torch_generator(options.seed, "predictor"))
        self.predictor.to(device)
        self.parameters: dict[str, nn.Parameter] = {
            **{f"student/{name}": parameter for name, parameter in self.student.named_parameters()},
            **{f"predictor/{name}": parameter for name, parameter in self.predictor.named_parameters()},
        }
        decayed = [p for p in self.parameters.values() if p.ndim > 1]
        others = [p for p in self.parameters.values() if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": options.weight_decay}, {"params": others, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(groups, lr=options.learning_rate, betas=(0.9, 0.98))
        self.samples = 0
        self.loss = math.nan

    def step(self, batch: Batch) -> float:
        """One gradient step and the teacher's update; returns the loss."""
        options = self.options
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate_at(options, self.samples + options.batch)
        patches, positions = batch.patches.to(self.device), batch.positions.to(self.device)
        visible, hidden = batch.visible.to(self.device), batch.hidden.to(self.device)
        with torch.no_grad():
            targets = gather(teacher_targets(self.teacher.layers(patches, positions), options.target_layers), hidden)
        seen = gather(positions, visible)
        features = self.student(gather(patches, visible), seen)
        predicted = self.predictor(features, seen, gather(positions, hidden))
        loss = functional.smooth_l1_loss(predicted, targets)
        variance, covariance = spread_penalties(features.flatten(0, 1))
        loss = loss + options.variance_weight * variance + options.covariance_weight * covariance
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), options.gradient_norm)
        self.optimiser.step()
        self.samples += options.batch
        done = self.samples / options.samples
        keep = options.average_start + (options.average_end - options.average_start) * min(1.0, done)
        with torch.no_grad():
            for average, parameter in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
                average.lerp_(parameter, 1 - keep)
        return float(loss.detach())

    def spread(self, batch: Batch) -> Spread:
        """Spread of the teacher's tokens over one batch. Raises ReconError when they have collapsed."""
        with torch.no_grad():
            tokens = self.teacher(batch.patches.to(self.device), batch.positions.to(self.device))
        found = feature_spread(tokens.flatten(0, 1))
        options = self.options
        if found.effective_rank < options.least_rank or found.deviation < options.least_deviation:
            raise ReconError(
                f"pre-training collapsed after {self.samples} samples: effective rank {found.effective_rank:.2f} (at "
                f"least {options.least_rank}), standard deviation {found.deviation:.3f} (at least "
                f"{options.least_deviation}); lower learning_rate or raise average_start, and start in another --out"
            )
        return found

    def save(self) -> None:
        """Write the state; a kill at any moment leaves the previous one intact."""
        tensors = {f"teacher/{name}": tensor for name, tensor in self.teacher.state_dict().items()}
        for name, parameter in self.parameters.items():
            tensors[f"weight/{name}"] = parameter.detach()
            for key, value in self.optimiser.state.get(parameter, {}).items():
                tensors[f"{key}/{name}"] = value
        facts = {"samples": self.samples, "loss": repr(self.loss), "options": _fingerprint(self.options)}
        with atomic_path(self.folder / "state.safetensors") as temporary:
            contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
            save_file(contiguous, temporary, metadata={"run": json.dumps(facts)})

    def load(self) -> bool:
        """Continue from the stored state; False when there is none. Raises ReconError when it does not fit."""
        path = self.folder / "state.safetensors"
        if not path.is_file():
            return False
        try:
            with safe_open(path, "pt") as file:
                facts: dict[str, Any] = json.loads((file.metadata() or {})["run"])
            tensors = load_file(path, device=self.device)
        except Exception as error:
            raise ReconError(
                f"{path}: the interrupted run is damaged ({type(error).__name__}); delete the folder to start again"
            ) from error
        if facts["options"] != _fingerprint(self.options):
            raise ReconError(f"{path}: the interrupted run had other options; use the same ones or another --out")
        self.teacher.load_state_dict(
            {name.removeprefix("teacher/"): value for name, value in tensors.items() if name.startswith("teacher/")}
        )
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(tensors[f"weight/{name}"])
                if f"step/{name}" in tensors:
                    keys = ("step", "exp_avg", "exp_avg_sq")
                    # The step counter lives on the CPU, whatever the weights live on.
                    self.optimiser.state[parameter] = {
                        key: tensors[f"{key}/{name}"].cpu() if key == "step" else tensors[f"{key}/{name}"]
                        for key in keys
                    }
        self.samples, self.loss = int(facts["samples"]), float(facts["loss"])
        return True


def learning_rate_at(options: PretrainingOptions, samples: int) -> float:
    """Linear warm-up, then half a cosine to a hundredth."""
    warm = options.warmup_fraction * options.samples
    if samples < warm:
        return options.learning_rate * samples / warm
    done = min(1.0, (samples - warm) / max(1.0, options.samples - warm))
    return options.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))


def pretrain(
    run: Run,
    volumes: Sequence[TrainingVolume],
    report: Callable[[PretrainingProgress], None],
    stop_after: int | None = None,
) -> bool:
    """Run or continue; True when the run reached its length, False when ``stop_after`` samples ended it before.

    Raises ReconError when the loss is not finite or the tokens collapse; the last good state stays on disk.
    """
    options = run.options
    if run.load():
        report(PretrainingProgress(run.samples, options.samples, run.loss, event="continuing"))
    last = options.samples // options.batch * options.batch
    stop = last if stop_after is None else min(last, stop_after)
    while run.samples < stop:
        batch = draw_batch(volumes, options, run.samples)
        before = run.samples
        value = run.step(batch)
        if not math.isfinite(value):
            raise ReconError(
                f"pre-training diverged at sample {run.samples} (loss {value}); lower learning_rate, in another --out"
            )
        run.loss = value if math.isnan(run.loss) else 0.95 * run.loss + 0.05 * value
        spread, event = None, ""
        ended = run.samples >= stop
        if ended or before // options.monitor_samples != run.samples // options.monitor_samples:
            spread = run.spread(batch)
        if ended or before // options.checkpoint_samples != run.samples // options.checkpoint_samples:
            run.save()
            event = "state saved"
        report(PretrainingProgress(run.samples, options.samples, run.loss, spread, event))
    return run.samples >= last


def _fingerprint(options: PretrainingOptions) -> str:
    """What must be equal for a run to be continued."""
    values = dataclasses.asdict(options)
    for key in ("monitor_samples", "checkpoint_samples", "least_rank", "least_deviation"):
        values.pop(key)
    return json.dumps(values, sort_keys=True)
