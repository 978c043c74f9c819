"""Masked pre-training of a study network: hide tokens of all series together, tell their patches from the rest.

    L = mean over hidden patches of the head of |x - D(encode(visible), where and what is hidden)|^2

The encoder is the study network's own: tokenizer generated from the contrast, places, attention over whatever is
visible of however many series there are. The decoder is light and is thrown away: a learned mask token, told its place
and contrast, attends with what the encoder gives; pixels come by a layer generated from the contrast. In the spirit of
AMAE (arXiv 2501.09096) after He et al. (CVPR 2022), on slabs of few slices; it is not a reproduction.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from recon.encode.latent_prediction.network import TransformerBlock, draw_weights
from recon.processes import Processes
from recon.study.contrasts import INPUTS
from recon.study.network import Generated, StudyNetwork, VariableInput, random_network
from recon.study.options import StudyPretrainingOptions

LEAST_SPREAD = 0.05  # standard deviation of a patch, in standardised units, from which it shows the head and not air


@dataclass(frozen=True, eq=False)
class Hidden:
    """Which tokens of a batch are hidden: as many in each sample, so that tensors stay whole."""

    order: Tensor  # [batch, token], visible ones first; tokens of all series, series by series
    visible: int


def hide(batch: int, tokens: int, share: float, generator: torch.Generator) -> Hidden:
    """Draw what is hidden; at least one token stays visible and one is hidden."""
    visible = min(max(1, round((1 - share) * tokens)), tokens - 1)
    return Hidden(torch.rand(batch, tokens, generator=generator).argsort(dim=1), visible)


class MaskedStudyNetwork(nn.Module):
    """The encoder of a ``StudyNetwork`` and a light decoder for the patches that it did not see."""

    def __init__(self, network: StudyNetwork, options: StudyPretrainingOptions) -> None:
        super().__init__()
        shape = options.network
        self.network = network
        self.mask_token = nn.Parameter(torch.empty(1, shape.width))
        self.contrast = nn.Embedding(len(INPUTS), shape.width)
        self.blocks = nn.ModuleList(TransformerBlock(shape.width, shape.heads) for _ in range(options.decoder_depth))
        self.norm = nn.LayerNorm(shape.width, eps=1e-6)
        self.to_patch = Generated(shape.code, (shape.width, shape.slab * shape.patch**2))

    def forward(self, slabs: Tensor, contrasts: Sequence[int], hidden: Hidden) -> tuple[Tensor, Tensor]:
        """Patches as told, and as they are, ``[batch, contrast, place, slab patch^2]``; only hidden ones are of use."""
        source = self.network.input
        assert isinstance(source, VariableInput)
        patches = source.patches(slabs)
        tokens = (source.tokens(patches, contrasts) + self.network.place).flatten(1, 2)
        batch, count, width = tokens.shape
        index = hidden.order[..., None].expand(-1, -1, width)
        seen = self.network.attend(tokens.gather(1, index[:, : hidden.visible]))[:, 1:]
        numbers = torch.tensor(list(contrasts), device=slabs.device)
        # What is hidden is told by its place and its contrast alone.
        asked = self.mask_token + self.network.place[None] + self.contrast(numbers)[:, None]
        full = asked.flatten(0, 1).expand(batch, count, width).scatter(1, index[:, : hidden.visible], seen)
        for block in self.blocks:
            full = block(full)
        full = self.norm(full).view(batch, len(numbers), -1, width)
        weights, biases = self.to_patch(source.codes(numbers))
        return torch.einsum("bcpw,ciw->bcpi", full, weights) + biases[:, None], patches.transpose(2, 3)


def masked_loss(told: Tensor, true: Tensor, hidden: Hidden, processes: Processes) -> Tensor:
    """Mean squared error of hidden patches that show the head, of all processes' parts of a batch.

    Patches of air are left out: they are all alike."""
    kept = torch.zeros(hidden.order.shape, device=told.device)
    kept.scatter_(1, hidden.order[:, hidden.visible :], 1.0)
    kept = kept.view(told.shape[:3]) * (true.std(dim=-1) > LEAST_SPREAD)
    error = functional.mse_loss(told, true, reduction="none").mean(dim=-1)
    wrong, count = processes.total(torch.stack([(error * kept).sum(), kept.sum()]))
    return wrong / count.clamp(min=1.0)


def random_masked_network(
    options: StudyPretrainingOptions, contrasts: Sequence[int], generator: torch.Generator
) -> MaskedStudyNetwork:
    """The network as it is before pre-training; ``contrasts`` are numbers in ``INPUTS``."""
    network = random_network(options.network, options.grid, contrasts, generator)
    assert isinstance(network, StudyNetwork)
    encoder = {name: value.clone() for name, value in network.state_dict().items()}
    masked = MaskedStudyNetwork(network, options)
    draw_weights(masked, generator)
    network.load_state_dict(encoder)
    with torch.no_grad():
        nn.init.trunc_normal_(masked.mask_token, std=0.5, generator=generator)
    return masked
