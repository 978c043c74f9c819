"""A network of two planes: an encoder of its own for each plane's series, cross-attention between them, one answer.

    tokens of a plane    patches of each slice, a channel a contrast (zeros where it is missing), their place and
                         slice; convolutions make a patch a token (the hybrid of Dosovitskiy et al., ICLR 2021)
    indication           which contrasts are there in which plane, a vector of zeros and ones, added to the whole tokens
    encoder of a plane   attention over its own tokens; a plane that was not measured is one learned token
    between planes       tokens of one attend to those of the other, either way
    answer of a token    does this patch of this slice hold lesion? Asked in training, where outlines are known
    answer               from whole tokens and smooth maxima of the tokens' answers: does the study show a lesion?

In the spirit of MP-ViT (arXiv 2505.07349), whose code is not public; not a reproduction: other sizes, other data.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from recon.encode.latent_prediction.network import TransformerBlock, draw_weights
from recon.study.contrasts import Plane
from recon.study.network import ResidualBlock, brightest
from recon.study.options import GridOptions, TransformerShape

HEIGHTS = 4  # sines and cosines of a slice's place in its stack
Planes = Mapping[
    Plane, tuple[Tensor, Tensor]
]  # volume [channel, slice, height, width], which channels are there [channel]


@dataclass(frozen=True, eq=False)
class PlanesAnswer:
    """What a network says of one study."""

    lesion: Tensor  # the logit of a lesion, a scalar
    tokens: Mapping[Plane, Tensor]  # by plane that was measured, [slice, patch]: of lesion in the patch of the slice


class Patches(nn.Module):
    """Slices to tokens: convolutions of their pixels, halved until a patch is one token."""

    def __init__(self, channels: int, shape: TransformerShape) -> None:
        super().__init__()
        steps = shape.patch.bit_length() - 1
        widths = [shape.width // 4, *[shape.width // 2] * (steps - 1), shape.width]
        self.stem = nn.Conv2d(channels, widths[0], 3, padding=1)
        self.norm = nn.GroupNorm(1, widths[0])
        self.down = nn.ModuleList(
            nn.Sequential(nn.Conv2d(widths[level], widths[level + 1], 2, stride=2), ResidualBlock(widths[level + 1]))
            for level in range(steps)
        )

    def forward(self, slices: Tensor) -> Tensor:
        """``[slice, channel, height, width]`` to ``[slice, patch, width]``."""
        features = functional.relu(self.norm(self.stem(slices)))
        for down in self.down:
            features = down(features)
        return features.flatten(2).transpose(1, 2)


class CrossBlock(nn.Module):
    """Pre-norm attention of ``[batch, token, width]`` to the tokens of the other plane."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_own, self.norm_other = (nn.LayerNorm(width, eps=1e-6) for _ in range(2))
        self.query, self.proj = nn.Linear(width, width), nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, own: Tensor, other: Tensor) -> Tensor:
        """As many tokens as ``own`` has."""

        def by_head(tokens: Tensor) -> Tensor:
            return tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        key, value = self.key_value(self.norm_other(other)).chunk(2, dim=-1)
        query = by_head(self.query(self.norm_own(own)))
        attended = functional.scaled_dot_product_attention(query, by_head(key), by_head(value))
        own = own + self.proj(attended.transpose(1, 2).flatten(-2))
        return own + self.fc2(functional.gelu(self.fc1(self.norm(own)), approximate="tanh"))


class PlaneEncoder(nn.Module):
    """The tokens of one plane's series."""

    def __init__(self, shape: TransformerShape, channels: int, indicated: int, places: int) -> None:
        super().__init__()
        self.tokenizer = Patches(channels, shape)
        self.place = nn.Parameter(torch.empty(places, shape.width))
        self.height = nn.Linear(2 * HEIGHTS, shape.width)
        self.indicate = nn.Linear(indicated, shape.width)
        self.whole = nn.Parameter(torch.empty(1, shape.width))
        self.absent = nn.Parameter(torch.empty(1, shape.width))
        self.blocks = nn.ModuleList(TransformerBlock(shape.width, shape.heads) for _ in range(shape.depth))

    def forward(self, volume: Tensor | None, indication: Tensor) -> Tensor:
        """``[1, 1 + token, width]`` of a volume ``[channel, slice, height, width]``, or of none; the first token stands
        for the whole."""
        whole = self.whole + self.indicate(indication)
        if volume is None:
            tokens = self.absent
        else:
            patches = self.tokenizer(volume.transpose(0, 1))
            heights = self.height(slice_code(len(patches)).to(patches))
            tokens = (patches + self.place + heights[:, None]).flatten(0, 1)
        sequence = torch.cat([whole, tokens])[None]
        for block in self.blocks:
            sequence = block(sequence)
        return sequence


class PlaneNetwork(nn.Module):
    """See the module's docstring."""

    def __init__(self, shape: TransformerShape, grid: GridOptions, channels: Mapping[Plane, int]) -> None:
        super().__init__()
        self.channels, self.planes = dict(channels), tuple(channels)
        places = grid.matrix[0] * grid.matrix[1] // shape.patch**2
        indicated = sum(channels.values())
        self.encoders = nn.ModuleDict(
            {plane: PlaneEncoder(shape, count, indicated, places) for plane, count in channels.items()}
        )
        self.cross = nn.ModuleDict(
            {plane: CrossBlock(shape.width, shape.heads) for plane in channels} if len(channels) > 1 else {}
        )
        self.norm = nn.LayerNorm(shape.width, eps=1e-6)
        self.to_token = nn.Linear(shape.width, 1)
        self.to_detection = nn.Linear(len(channels) * (shape.width + 1), 1)

    def forward(self, given: Planes) -> PlanesAnswer:
        """What is said of one study; planes that are not ``given`` were not measured."""
        there = [given[plane][1] if plane in given else torch.zeros(count) for plane, count in self.channels.items()]
        indication = torch.cat([one.to(self.norm.weight) for one in there])[None]
        tokens = {
            plane: self.encoders[plane](given[plane][0] if plane in given else None, indication)
            for plane in self.planes
        }
        if len(tokens) > 1:
            first, second = self.planes
            tokens = {
                first: self.cross[first](tokens[first], tokens[second]),
                second: self.cross[second](tokens[second], tokens[first]),
            }
        normed = {plane: self.norm(each)[0] for plane, each in tokens.items()}
        said = {plane: self.to_token(each[1:])[:, 0] for plane, each in normed.items()}
        parts = [part for plane, each in normed.items() for part in (each[0], brightest(said[plane][None])[0])]
        asked = {
            plane: said[plane].unflatten(0, (given[plane][0].shape[1], -1)) for plane in self.planes if plane in given
        }
        return PlanesAnswer(self.to_detection(torch.cat(parts))[0], asked)


def slice_code(count: int) -> Tensor:
    """Sines and cosines of the slices' places in their stack, ``[slice, 2 HEIGHTS]``."""
    places = (torch.arange(count) + 0.5) / count
    angles = torch.pi * places[:, None] * 2.0 ** torch.arange(HEIGHTS)
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def random_plane_network(
    shape: TransformerShape, grid: GridOptions, channels: Mapping[Plane, int], generator: torch.Generator
) -> PlaneNetwork:
    """A network as it is before training."""
    network = PlaneNetwork(shape, grid, channels)
    draw_weights(network, generator)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.ndim == 4:  # convolutions: the fan-in is the whole kernel
                nn.init.trunc_normal_(parameter, std=parameter[0].numel() ** -0.5, generator=generator)
            if name.rpartition(".")[2] in ("place", "whole", "absent"):
                nn.init.trunc_normal_(parameter, std=0.5, generator=generator)
    return network


def channels_of(contrasts: Sequence[str], resampled: bool) -> dict[Plane, int]:
    """Channels by plane; resampled, the sagittal series are more channels of the axial encoder."""
    return {"axial": 2 * len(contrasts)} if resampled else {"axial": len(contrasts), "sagittal": len(contrasts)}
