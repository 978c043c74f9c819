"""A small graph attention network (Velickovic et al., ICLR 2018) in plain PyTorch: is this branch a vessel?"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from recon.vessels.options import PruningOptions

LEARNING_RATE = 5e-3
WEIGHT_DECAY = 1e-3


class AttentionLayer(nn.Module):
    """One layer: every branch attends to itself and to the branches that it meets."""

    def __init__(self, inputs: int, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.width = heads, width
        self.project = nn.Linear(inputs, heads * width)
        self.own = nn.Parameter(torch.zeros(heads, width))
        self.other = nn.Parameter(torch.zeros(heads, width))
        self.skip = nn.Linear(inputs, heads * width)

    def forward(self, features: Tensor, adjacent: Tensor) -> Tensor:
        """``features`` [branch, feature], ``adjacent`` [branch, branch] boolean; returns [branch, heads * width]."""
        values = self.project(features).reshape(len(features), self.heads, self.width)
        scores = (values * self.own).sum(-1)[:, None] + (values * self.other).sum(-1)[None]  # [branch, branch, head]
        seen = adjacent | torch.eye(len(features), dtype=torch.bool)
        scores = nn.functional.leaky_relu(scores, 0.2).masked_fill(~seen[..., None], -torch.inf)
        mixed = torch.einsum("ijh,jhf->ihf", scores.softmax(dim=1), values).flatten(1)
        return nn.functional.elu(mixed + self.skip(features))


class BranchNetwork(nn.Module):
    """Two attention layers and a linear one: the log odds that each branch is a vessel."""

    def __init__(self, features: int, width: int, heads: int) -> None:
        super().__init__()
        self.first = AttentionLayer(features, width, heads)
        self.second = AttentionLayer(heads * width, width, heads)
        self.last = nn.Linear(heads * width, 1)

    def forward(self, features: Tensor, adjacent: Tensor) -> Tensor:
        """[branch] log odds."""
        return self.last(self.second(self.first(features, adjacent), adjacent))[:, 0]


def fitted_network(
    graphs: Sequence[tuple[Tensor, Tensor, Tensor]], options: PruningOptions, seed: int
) -> BranchNetwork:
    """Fit on graphs of (standardised features, adjacent, truth), one graph a step, in an order drawn from ``seed``.

    A branch of the rarer kind weighs more, so that both kinds weigh alike over all graphs, as for the control.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = BranchNetwork(graphs[0][0].shape[1], options.width, options.heads)
        for layer in (network.first, network.second):
            nn.init.normal_(layer.own, std=0.1)
            nn.init.normal_(layer.other, std=0.1)
    truths = torch.cat([truth for _, _, truth in graphs])
    balance = (truths == 0).sum() / (truths == 1).sum().clamp(min=1)
    optimiser = torch.optim.Adam(network.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, options.epochs)
    for _ in range(options.epochs):
        for index in torch.randperm(len(graphs), generator=generator).tolist():
            features, adjacent, truth = graphs[index]
            loss = nn.functional.binary_cross_entropy_with_logits(
                network(features, adjacent), truth, pos_weight=balance
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        schedule.step()
    return network.eval()
