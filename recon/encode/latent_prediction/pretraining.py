"""Pre-training by masked prediction in latent space: a student sees 15 % of a piece of head and predicts the rest.

    L = mean over hidden tokens of smooth_l1( predictor(student(visible), positions, c), layer_norm(teacher(all of c)) )
        + w times the same mean over the visible tokens
        + a mean_j max(0, 1 - std_j) + b / d sum_{j != k} cov_jk^2        of the student's visible tokens
        + m mean over tokens of cross_entropy( linear(student(all)), share of simulated lesion )

c is the contrast that the teacher sees: mostly another one of the same head than the student's, so what is predicted is
tissue rather than the grey of a patch, and noise cannot be. The last term (``lesion_weight``) uses what the simulator
wrote; with a weight of 0 there are no labels. The two before it keep features from collapsing into a few directions
(VICReg, Bardes et al., ICLR 2022; in latent prediction: Mo and Tong, NeurIPS 2024): on short runs the moving average
alone does not.
The teacher is an exponential moving average of the student and sees everything (I-JEPA, Assran et al., CVPR 2023;
volumes: Vol-JEPA in arXiv 2511.18640; targets averaged over the last layers: data2vec, Baevski et al., ICML 2022).
Lengths are counted in samples; every draw depends on the seed and the number of the sample, so a run that was
interrupted and continued is the same run.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from recon.encode.latent_prediction.collapse import Spread, feature_spread
from recon.encode.latent_prediction.network import (
    TransformerBlock,
    draw_weights,
    position_code,
    random_network,
)
from recon.encode.latent_prediction.options import PretrainingOptions
from recon.encode.latent_prediction.preparation import NAME
from recon.encode.latent_prediction.sampling import Batch, Head, draw_batch
from recon.encode.latent_prediction.volumes import CONTRASTS
from recon.errors import ReconError
from recon.gradient_steps import decaying_optimiser, warm_cosine
from recon.progress import Note, Report, unsaid
from recon.seeding import torch_generator
from recon.training_state import TrainingState, fingerprint

# Options that do not change the weights of the samples seen so far.
HOW_IT_RUNS = ("cycles", "monitor_samples", "checkpoint_samples", "least_rank", "least_deviation")


class Predictor(nn.Module):
    """From the student's visible tokens and the places of the hidden ones to the teacher's tokens there."""

    def __init__(self, options: PretrainingOptions) -> None:
        super().__init__()
        width = options.predictor_width
        self.frequencies = options.network.frequencies
        self.enter = nn.Linear(options.network.width, width)
        self.place = nn.Linear(6 * self.frequencies, width)
        self.contrast = nn.Parameter(torch.zeros(len(CONTRASTS), width))  # stands where a token is asked for
        self.blocks = nn.ModuleList(TransformerBlock(width, 4) for _ in range(options.predictor_depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.leave = nn.Linear(width, options.network.width)

    def forward(self, visible: Tensor, visible_positions: Tensor, asked_positions: Tensor, contrast: Tensor) -> Tensor:
        """``[batch, visible, width]``, positions in mm, contrast asked for ``[batch]``: ``[batch, asked, width]``."""
        seen = self.enter(visible) + self.place(position_code(visible_positions, self.frequencies))
        asked = self.contrast[contrast][:, None] + self.place(position_code(asked_positions, self.frequencies))
        tokens = torch.cat([seen, asked], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        return self.leave(self.norm(tokens[:, visible.shape[1] :]))


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


class EncoderRun:
    """The state of a run: student, predictor, teacher, optimiser, and how many samples were seen."""

    def __init__(self, options: PretrainingOptions, folder: Path, device: str = "cpu") -> None:
        self.options, self.folder, self.device = options, folder, device
        self.student = random_network(options.network, torch_generator(options.seed, NAME)).to(device)
        self.teacher = random_network(options.network, torch_generator(options.seed, NAME)).to(device)
        self.teacher.requires_grad_(False)
        self.predictor = Predictor(options)
        draw_weights(self.predictor, torch_generator(options.seed, "predictor"))
        self.predictor.to(device)
        self.lesion_head = nn.Linear(options.network.width, 1)
        draw_weights(self.lesion_head, torch_generator(options.seed, "lesion-head"))
        self.lesion_head.to(device)
        self.parameters: dict[str, nn.Parameter] = {
            **{f"student/{name}": parameter for name, parameter in self.student.named_parameters()},
            **{f"predictor/{name}": parameter for name, parameter in self.predictor.named_parameters()},
            **{f"lesion_head/{name}": parameter for name, parameter in self.lesion_head.named_parameters()},
        }
        self.optimiser = decaying_optimiser(
            self.parameters.values(), options.learning_rate, options.weight_decay, (0.9, 0.98)
        )
        self.samples = 0
        self.loss = math.nan

    def step(self, batch: Batch) -> float:
        """One gradient step and the teacher's update; returns the loss."""
        options = self.options
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate_at(options, self.samples + options.batch)
        batch = batch.to(self.device)
        asked = torch.cat([batch.visible, batch.hidden], dim=1)
        with torch.no_grad():
            layers = self.teacher.layers(batch.targets, batch.positions)
            targets = gather(teacher_targets(layers, options.target_layers), asked)
        seen = gather(batch.positions, batch.visible)
        features = self.student(gather(batch.patches, batch.visible), seen)
        predicted = self.predictor(features, seen, gather(batch.positions, asked), batch.contrast)
        error = functional.smooth_l1_loss(predicted, targets, reduction="none").mean(dim=(0, 2))
        count = batch.visible.shape[1]
        loss = error[count:].mean() + options.seen_weight * error[:count].mean()
        variance, covariance = spread_penalties(features.flatten(0, 1))
        loss = loss + options.variance_weight * variance + options.covariance_weight * covariance
        known = torch.isfinite(batch.lesion)
        if options.lesion_weight and bool(known.any()):
            whole = self.student(batch.patches, batch.positions)
            found = self.lesion_head(whole)[..., 0][known]
            loss = loss + options.lesion_weight * functional.binary_cross_entropy_with_logits(
                found, batch.lesion[known]
            )
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), options.gradient_norm)
        self.optimiser.step()
        self.samples += options.batch
        done = within_cycle(options, self.samples) / options.samples
        keep = options.average_start + (options.average_end - options.average_start) * done
        with torch.no_grad():
            for average, parameter in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
                average.lerp_(parameter, 1 - keep)
        return float(loss.detach())

    def spread(self, batch: Batch) -> Spread:
        """Spread of the teacher's tokens over one batch. Raises ReconError when they have collapsed."""
        with torch.no_grad():
            tokens = self.teacher(batch.targets.to(self.device), batch.positions.to(self.device))
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
        self._state().save({"samples": self.samples, "loss": repr(self.loss)})

    def load(self) -> bool:
        """Continue from the stored state; False when there is none. Raises ReconError when it does not fit."""
        facts = self._state().load()
        if facts is None:
            return False
        self.samples, self.loss = int(facts["samples"]), float(facts["loss"])
        return True

    def _state(self) -> TrainingState:
        teacher = {f"teacher/{name}": tensor for name, tensor in self.teacher.state_dict().items()}
        same = fingerprint(self.options, HOW_IT_RUNS)
        return TrainingState(self.folder, self.parameters, self.optimiser, teacher, same)


def within_cycle(options: PretrainingOptions, samples: int) -> int:
    """How far the cycle is, 1 to ``options.samples``, when so many samples of the run were seen."""
    return (samples - 1) % options.samples + 1


def learning_rate_at(options: PretrainingOptions, samples: int) -> float:
    """In every cycle: linear warm-up, then half a cosine to a hundredth."""
    done = within_cycle(options, samples)
    return warm_cosine(options.learning_rate, done, options.samples, options.warmup_fraction)


def pretrain(
    run: EncoderRun,
    heads: Sequence[Head],
    report: Report,
    stop_after: int | None = None,
    note: Note = unsaid,
) -> bool:
    """Run or continue; True when the run reached its length, False when ``stop_after`` samples ended it before.

    ``report`` hears of every step, ``note`` gets a line for each measurement of rank and deviation.
    Raises ReconError when the loss is not finite or the tokens collapse; the last good state stays on disk.
    """
    options = run.options
    total = options.samples * options.cycles
    if run.load():
        note(f"continuing at sample {run.samples}")
        report("pre-training", run.samples / total)
    last = total // options.batch * options.batch
    stop = last if stop_after is None else min(last, stop_after)
    while run.samples < stop:
        batch = draw_batch(heads, options, run.samples)
        before = run.samples
        value = run.step(batch)
        if not math.isfinite(value):
            raise ReconError(
                f"pre-training diverged at sample {run.samples} (loss {value}); lower learning_rate, in another --out"
            )
        run.loss = value if math.isnan(run.loss) else 0.95 * run.loss + 0.05 * value
        ended = run.samples >= stop
        if ended or before // options.monitor_samples != run.samples // options.monitor_samples:
            spread = run.spread(batch)
            note(
                f"sample {run.samples}: loss {run.loss:.4f}, effective rank {spread.effective_rank:.1f}, standard "
                f"deviation {spread.deviation:.3f}"
            )
        if ended or before // options.checkpoint_samples != run.samples // options.checkpoint_samples:
            run.save()
        report("pre-training", run.samples / total)
    return run.samples >= last
