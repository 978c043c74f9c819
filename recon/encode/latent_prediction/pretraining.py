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
It is a training on the loop of ``recon.training_loop``; sums over tokens go over the whole batch, in however many
processes it lies.
"""

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
from recon.processes import Processes
from recon.progress import Note
from recon.seeding import torch_generator
from recon.training_loop import Training
from recon.training_state import fingerprint

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


def spread_penalties(features: Tensor, processes: Processes) -> tuple[Tensor, Tensor]:
    """Variance and covariance terms of VICReg over ``[token, feature]`` of all processes: both 0 for white features of
    unit variance. ``features`` are this process' part of them."""
    own = torch.cat([features.detach().sum(dim=0), features.new_tensor([len(features)])])
    *_, count = whole = processes.total(own)
    # The covariance does not change with the mean that it is taken about, to first order: no gradient goes that way.
    centred = features - whole[:-1] / count
    covariance = processes.total(centred.T @ centred) / (count - 1)
    deviation = (covariance.diagonal() + 1e-4).sqrt()
    others = covariance.square().sum() - covariance.diagonal().square().sum()
    return functional.relu(1 - deviation).mean(), others / features.shape[1]


class EncoderRun(Training[Sequence[Head]]):
    """The state of a run: student, predictor, teacher, optimiser, and how many samples were seen."""

    memory = 0.95

    def __init__(self, options: PretrainingOptions, folder: Path, processes: Processes) -> None:
        self.options, device = options, processes.device
        self.student = random_network(options.network, torch_generator(options.seed, NAME)).to(device)
        self.teacher = random_network(options.network, torch_generator(options.seed, NAME)).to(device)
        self.teacher.requires_grad_(False)
        self.predictor = Predictor(options)
        draw_weights(self.predictor, torch_generator(options.seed, "predictor"))
        self.predictor.to(device)
        self.lesion_head = nn.Linear(options.network.width, 1)
        draw_weights(self.lesion_head, torch_generator(options.seed, "lesion-head"))
        self.lesion_head.to(device)
        parameters: dict[str, nn.Parameter] = {
            **{f"student/{name}": parameter for name, parameter in self.student.named_parameters()},
            **{f"predictor/{name}": parameter for name, parameter in self.predictor.named_parameters()},
            **{f"lesion_head/{name}": parameter for name, parameter in self.lesion_head.named_parameters()},
        }
        optimiser = decaying_optimiser(parameters.values(), options.learning_rate, options.weight_decay, (0.9, 0.98))
        super().__init__(options, parameters, optimiser, processes, (folder, fingerprint(options, HOW_IT_RUNS)))

    @property
    def length(self) -> int:
        """All cycles."""
        return self.options.samples * self.options.cycles

    def rate(self, samples: int) -> float:
        """It starts over in every cycle."""
        return learning_rate_at(self.options, samples)

    def loss_of(self, data: Sequence[Head]) -> Tensor:
        """See the module's docstring. The batch is drawn whole, whatever number of processes share it."""
        return self.batch_loss(draw_batch(data, self.options, self.samples))

    def batch_loss(self, whole: Batch) -> Tensor:
        """The loss of a batch, of which this process computes its part; see ``recon.processes``."""
        options, processes = self.options, self.processes
        batch = whole.rows(processes.own(range(len(whole.patches)))).to(processes.device)
        asked = torch.cat([batch.visible, batch.hidden], dim=1)
        with torch.no_grad():
            layers = self.teacher.layers(batch.targets, batch.positions)
            targets = gather(teacher_targets(layers, options.target_layers), asked)
        seen = gather(batch.positions, batch.visible)
        features = self.student(gather(batch.patches, batch.visible), seen)
        predicted = self.predictor(features, seen, gather(batch.positions, asked), batch.contrast)
        error = functional.smooth_l1_loss(predicted, targets, reduction="none").mean(dim=2).sum(dim=0)
        error = processes.total(error) / len(whole.patches)
        count = batch.visible.shape[1]
        loss = error[count:].mean() + options.seen_weight * error[:count].mean()
        variance, covariance = spread_penalties(features.flatten(0, 1), processes)
        loss = loss + options.variance_weight * variance + options.covariance_weight * covariance
        known = int(torch.isfinite(whole.lesion).sum())
        if options.lesion_weight and known:
            loss = loss + options.lesion_weight * processes.total(self._lesion_loss(batch)) / known
        return loss

    def _lesion_loss(self, batch: Batch) -> Tensor:
        """Sum of the cross entropy over the tokens whose share of lesion is known."""
        known = torch.isfinite(batch.lesion)
        found = self.lesion_head(self.student(batch.patches, batch.positions))[..., 0][known]
        return functional.binary_cross_entropy_with_logits(found, batch.lesion[known], reduction="sum")

    def after_step(self) -> None:
        """The teacher follows the student."""
        options = self.options
        done = within_cycle(options, self.samples) / options.samples
        keep = options.average_start + (options.average_end - options.average_start) * done
        with torch.no_grad():
            for average, parameter in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
                average.lerp_(parameter, 1 - keep)

    def between(self, data: Sequence[Head], before: int, ended: bool, note: Note) -> None:
        """Measure rank and deviation, and keep the state, when it is time."""
        options = self.options
        if ended or before // options.monitor_samples != self.samples // options.monitor_samples:
            spread = self.spread(draw_batch(data, options, before))
            note(
                f"sample {self.samples}: loss {self.loss:.4f}, effective rank {spread.effective_rank:.1f}, standard "
                f"deviation {spread.deviation:.3f}"
            )
        if ended or before // options.checkpoint_samples != self.samples // options.checkpoint_samples:
            self.save()

    def spread(self, batch: Batch) -> Spread:
        """Spread of the teacher's tokens over one batch, the whole of it in every process: all of them stop when it has
        collapsed, with ReconError."""
        device = self.processes.device
        with torch.no_grad():
            tokens = self.teacher(batch.targets.to(device), batch.positions.to(device))
        found = feature_spread(tokens.flatten(0, 1))
        options = self.options
        if found.effective_rank < options.least_rank or found.deviation < options.least_deviation:
            raise ReconError(
                f"pre-training collapsed after {self.samples} samples: effective rank {found.effective_rank:.2f} (at "
                f"least {options.least_rank}), standard deviation {found.deviation:.3f} (at least "
                f"{options.least_deviation}); lower learning_rate or raise average_start, and start in another --out"
            )
        return found

    def others(self) -> dict[str, Tensor]:
        """The teacher."""
        return {f"teacher/{name}": tensor for name, tensor in self.teacher.state_dict().items()}


def within_cycle(options: PretrainingOptions, samples: int) -> int:
    """How far the cycle is, 1 to ``options.samples``, when so many samples of the run were seen."""
    return (samples - 1) % options.samples + 1


def learning_rate_at(options: PretrainingOptions, samples: int) -> float:
    """In every cycle: linear warm-up, then half a cosine to a hundredth."""
    done = within_cycle(options, samples)
    return warm_cosine(options.learning_rate, done, options.samples, options.warmup_fraction)
