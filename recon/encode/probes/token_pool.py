"""Gated attention over the tokens of a volume (Ilse et al., ICML 2018), trained with a loss that its caller brings."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recon.encode.probes.store import Embeddings
from recon.seeding import torch_generator

HIDDEN = 48
STEPS = 300
BATCH = 24
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 0.05
TOKEN_DROPOUT = 0.3  # share of a volume's tokens left out of a training step

Loss = Callable[[Tensor, Tensor, float], Tensor]  # logits [volume, class], labels [volume], share of training done


class TokenPool(nn.Module):
    """Tokens ``[volume, token, feature]`` and which of them exist to logits ``[volume, class]``."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.reduce = nn.Linear(features, HIDDEN)
        self.value = nn.Linear(HIDDEN, HIDDEN)
        self.gate = nn.Linear(HIDDEN, HIDDEN)
        self.weigh = nn.Linear(HIDDEN, 1)
        self.classify = nn.Linear(HIDDEN, classes)

    def forward(self, tokens: Tensor, present: Tensor) -> Tensor:
        reduced = torch.relu(self.reduce(tokens))
        score = self.weigh(torch.tanh(self.value(reduced)) * torch.sigmoid(self.gate(reduced)))[..., 0]
        attention = score.masked_fill(~present, float("-inf")).softmax(dim=1)
        return self.classify((attention[..., None] * reduced).sum(dim=1))


def train(
    embeddings: Embeddings, labels: NDArray[np.int64], classes: int, seed: int, loss: Loss
) -> dict[str, NDArray[np.float32]]:
    """Weights of the pool after AdamW on random volumes, each class drawn equally often."""
    mean, deviation = _statistics(embeddings)
    features = embeddings.tokens[0].shape[1]
    network = TokenPool(features, classes)
    generator = torch_generator(seed, "token-pool")
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                nn.init.trunc_normal_(parameter, std=parameter.shape[1] ** -0.5, generator=generator)
            else:
                parameter.zero_()
    optimiser = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    members = [torch.from_numpy(np.flatnonzero(labels == index)) for index in range(classes)]
    targets = torch.from_numpy(labels)
    for step in range(STEPS):
        kinds = torch.randint(classes, (BATCH,), generator=generator)
        rows = [
            int(members[int(kind)][torch.randint(len(members[int(kind)]), (1,), generator=generator)]) for kind in kinds
        ]
        tokens, present = _pad([embeddings.tokens[row] for row in rows], mean, deviation)
        left_out = torch.rand(present.shape, generator=generator) < TOKEN_DROPOUT
        left_out[:, 0] = False  # a volume always keeps a token
        for group in optimiser.param_groups:
            group["lr"] = LEARNING_RATE * (1 - step / STEPS)
        value = loss(network(tokens, present & ~left_out), targets[rows], step / STEPS)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
    tensors = {name: tensor.detach().numpy() for name, tensor in network.state_dict().items()}
    return {**tensors, "mean": mean.numpy(), "deviation": deviation.numpy()}


def logits(tensors: dict[str, NDArray[np.float32]], embeddings: Embeddings) -> Tensor:
    """Logits ``[volume, class]`` of a trained pool, float64."""
    network = TokenPool(embeddings.tokens[0].shape[1], len(tensors["classify.bias"]))
    own = {name: torch.from_numpy(value) for name, value in tensors.items() if name in network.state_dict()}
    network.load_state_dict(own, strict=True)
    mean, deviation = torch.from_numpy(tensors["mean"]), torch.from_numpy(tensors["deviation"])
    found = []
    with torch.inference_mode():
        for volume in embeddings.tokens:
            found.append(network(*_pad([volume], mean, deviation))[0])
    return torch.stack(found).double()


def _statistics(embeddings: Embeddings) -> tuple[Tensor, Tensor]:
    total = np.concatenate([tokens.astype(np.float32) for tokens in embeddings.tokens])
    return torch.from_numpy(total.mean(axis=0)), torch.from_numpy(total.std(axis=0) + 1e-6)


def _pad(volumes: list[NDArray[np.float16]], mean: Tensor, deviation: Tensor) -> tuple[Tensor, Tensor]:
    longest = max(len(tokens) for tokens in volumes)
    padded = torch.zeros(len(volumes), longest, volumes[0].shape[1])
    present = torch.zeros(len(volumes), longest, dtype=torch.bool)
    for row, tokens in enumerate(volumes):
        padded[row, : len(tokens)] = (torch.from_numpy(tokens.astype(np.float32)) - mean) / deviation
        present[row, : len(tokens)] = True
    return padded, present
