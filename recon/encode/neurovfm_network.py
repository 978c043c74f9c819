"""NeuroVFM's encoder in plain PyTorch: a pre-norm ViT-B over 3D patches, attention within one series.

Written from the published description (arXiv 2511.18640); tensor names are those of its public weights. 85,803,234
parameters in 136 tensors.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

PATCH_VALUES, WIDTH, DEPTH, HEADS, POSITION_CHANNELS = 1024, 768, 12, 12, 30
ATTENTION_CHUNK = 1024  # queries at once: 12 heads x 1024 x 2025 float32 scores are 100 MB


def position_code(coords: Tensor) -> Tensor:
    """Fixed 3D position code ``[token, 30]`` of patch indices ``[token, 3]``: interleaved sine and cosine, base 10000.

    Ten channels an axis: sin(c w_k), cos(c w_k) with w_k = 10000^(-2k/10), k = 0..4.
    """
    channels = POSITION_CHANNELS // 3
    frequencies = 10000.0 ** (-torch.arange(0, channels, 2, dtype=torch.float64, device=coords.device) / channels)
    angles = coords.to(torch.float64)[:, :, None] * frequencies  # [token, axis, frequency]
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1).float()


class TokenEmbedding(nn.Module):
    """Linear projection of patch values; the position code takes the last 30 of the 768 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.proj = nn.Linear(PATCH_VALUES, WIDTH - POSITION_CHANNELS)

    def forward(self, patches: Tensor, coords: Tensor) -> Tensor:
        projected = self.proj(patches)
        return torch.cat([projected, position_code(coords).to(projected.dtype)], dim=-1)


class Attention(nn.Module):
    """Multi-head self-attention over the tokens of one series, ``[token, 768]``."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.proj = nn.Linear(WIDTH, WIDTH, bias=False)

    def forward(self, tokens: Tensor, chunk: int) -> Tensor:
        count = len(tokens)
        query, key, value = self.qkv(tokens).view(count, 3, HEADS, WIDTH // HEADS).permute(1, 2, 0, 3).unsqueeze(1)
        # Queries in chunks bound the memory of the score matrix; each query's result does not depend on the others.
        mixed = [functional.scaled_dot_product_attention(part, key, value) for part in query.split(chunk, dim=2)]
        return self.proj(torch.cat(mixed, dim=2).squeeze(0).transpose(0, 1).reshape(count, WIDTH))


class Mlp(nn.Module):
    """Two layers with the tanh form of GELU (the exact form differs by 2e-4)."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(WIDTH, 4 * WIDTH)
        self.fc2 = nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.fc2(functional.gelu(self.fc1(tokens), approximate="tanh"))


class NeuroVFMBlock(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self) -> None:
        super().__init__()
        self.mixer = Attention()
        self.norm1 = nn.LayerNorm(WIDTH, eps=1e-6)
        self.norm2 = nn.LayerNorm(WIDTH, eps=1e-6)
        self.mlp = Mlp()

    def forward(self, tokens: Tensor, chunk: int) -> Tensor:
        tokens = tokens + self.mixer(self.norm1(tokens), chunk)
        return tokens + self.mlp(self.norm2(tokens))


class NeuroVFMNetwork(nn.Module):
    """Patches ``[token, 1024]`` and their indices ``[token, 3]`` of one series to features ``[token, 768]``."""

    def __init__(self) -> None:
        super().__init__()
        self.token_embed = TokenEmbedding()
        self.blocks = nn.ModuleList(NeuroVFMBlock() for _ in range(DEPTH))
        self.norm = nn.LayerNorm(WIDTH, eps=1e-6)

    def forward(self, patches: Tensor, coords: Tensor, chunk: int = ATTENTION_CHUNK) -> Tensor:
        tokens = self.token_embed(patches, coords)
        for block in self.blocks:
            tokens = block(tokens, chunk)
        return self.norm(tokens)


def random_network(generator: torch.Generator) -> NeuroVFMNetwork:
    """The network with freshly drawn weights, for controls: truncated normal of std 0.02, zero biases, depth-scaled."""
    with torch.device("meta"):
        network = NeuroVFMNetwork()
    network.to_empty(device="cpu")
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "norm" in name.split(".")[-2]:
                parameter.fill_(1.0 if name.endswith("weight") else 0.0)
            elif parameter.ndim == 1:
                parameter.zero_()
            else:
                nn.init.trunc_normal_(parameter, std=0.02, generator=generator)
        for index, block in enumerate(network.blocks, start=1):
            for weight in (block.mixer.proj.weight, block.mlp.fc2.weight):  # type: ignore[union-attr]
                weight.div_(math.sqrt(2.0 * index))  # type: ignore[operator]
    return network
