"""A small pre-norm vision transformer over patches of slices; positions are millimetres, so slice gaps may differ."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from recon.encode.latent_prediction.options import TransformerOptions

FAINT_PLACE = 0.2  # of the usual size of the position code's weights, before training
WAVELENGTHS = (400.0, 10.0)  # mm, longest and shortest of the position code


def position_code(positions: Tensor, frequencies: int) -> Tensor:
    """Sine and cosine of positions ``[..., token, 3]`` in mm, ``[..., token, 6 frequencies]`` float32.

    Wavelengths are spaced geometrically between 400 and 10 mm, the same along all three axes.
    """
    longest, shortest = WAVELENGTHS
    steps = torch.linspace(0, 1, frequencies, dtype=torch.float64, device=positions.device)
    rates = 2 * math.pi / longest * (longest / shortest) ** steps
    angles = positions.to(torch.float64)[..., None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=-1).flatten(-2).float()


class TransformerBlock(nn.Module):
    """Pre-norm transformer block on ``[batch, token, width]``."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        batch, count, width = tokens.shape
        mixed = self.qkv(self.norm1(tokens)).view(batch, count, 3, self.heads, width // self.heads)
        query, key, value = mixed.permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(query, key, value)
        tokens = tokens + self.proj(attended.transpose(1, 2).reshape(batch, count, width))
        return tokens + self.fc2(functional.gelu(self.fc1(self.norm2(tokens)), approximate="tanh"))


class SliceTransformer(nn.Module):
    """Patches ``[batch, token, patch values]`` at positions ``[batch, token, 3]`` mm to ``[batch, token, width]``."""

    def __init__(self, options: TransformerOptions) -> None:
        super().__init__()
        self.options = options
        self.embed = nn.Linear(options.patch**2, options.width)
        self.place = nn.Linear(6 * options.frequencies, options.width)
        self.blocks = nn.ModuleList(TransformerBlock(options.width, options.heads) for _ in range(options.depth))
        self.norm = nn.LayerNorm(options.width, eps=1e-6)

    def forward(self, patches: Tensor, positions: Tensor) -> Tensor:
        return self.layers(patches, positions)[-1]

    def layers(self, patches: Tensor, positions: Tensor) -> list[Tensor]:
        """The tokens after every block; the last entry has passed the final norm and is what ``forward`` gives."""
        tokens = self.embed(patches) + self.place(position_code(positions, self.options.frequencies))
        found = []
        for block in self.blocks:
            tokens = block(tokens)
            found.append(tokens)
        return [*found[:-1], self.norm(found[-1])]


def draw_weights(network: nn.Module, generator: torch.Generator) -> None:
    """Fresh weights from one generator: truncated normal scaled to the fan-in, zero biases, unit norms."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "norm" in name:
                parameter.fill_(1.0 if name.endswith("weight") else 0.0)
            elif parameter.ndim == 1:
                parameter.zero_()
            else:
                nn.init.trunc_normal_(parameter, std=1 / math.sqrt(parameter.shape[-1]), generator=generator)


def random_network(options: TransformerOptions, generator: torch.Generator) -> SliceTransformer:
    """The network as it is before any training: the start of pre-training, and the random-init control."""
    network = SliceTransformer(options)
    draw_weights(network, generator)
    with torch.no_grad():
        # Tokens that are mostly place could be predicted from place alone, and nothing would be learned of content.
        network.place.weight.mul_(FAINT_PLACE)
    return network
