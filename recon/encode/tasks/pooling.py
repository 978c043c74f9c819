"""From the tokens of a volume to one vector: statistics of each slice, and attention over slices in any order."""

import torch
from torch import Tensor, nn

HIDDEN = 32  # features of the attention over slices


def slice_vectors(tokens: Tensor, slices: Tensor) -> Tensor:
    """Mean and standard deviation of the tokens ``[token, feature]`` of every slice, ``[slice, 2 feature]``.

    ``slices`` [token] numbers the slice of each token; slices without a token are left out.
    """
    _, index = torch.unique(slices.to(tokens.device), return_inverse=True)
    count = int(index.max()) + 1
    number = torch.bincount(index, minlength=count)[:, None].to(tokens.dtype)
    mean = torch.zeros(count, tokens.shape[1], dtype=tokens.dtype, device=tokens.device).index_add(0, index, tokens)
    mean = mean / number
    square = torch.zeros_like(mean).index_add(0, index, (tokens - mean[index]) ** 2) / number
    return torch.cat([mean, (square + 1e-8).sqrt()], dim=1)


class SliceAttention(nn.Module):
    """Weights of slices ``[slice, feature]`` that sum to 1, the same for every order of slices (gated attention, Ilse
    et al., ICML 2018). Before training all are equal."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.value = nn.Linear(features, HIDDEN)
        self.gate = nn.Linear(features, HIDDEN)
        self.weigh = nn.Linear(HIDDEN, 1, bias=False)

    def forward(self, vectors: Tensor) -> Tensor:
        score = self.weigh(torch.tanh(self.value(vectors)) * torch.sigmoid(self.gate(vectors)))
        return score[:, 0].softmax(dim=0)
