"""A network for studies of variable contrast: tokens of whatever was measured, attention over all of them, a mask.

    tokens of a series    t = sum over patch of W(c) x + b(c),   W(c) = W_0 + sum_k e_k(c) W_k
    attention             over all tokens of all series, and one more that stands for the whole
    pixels of a series    p = ReLU(K(c) * x + k(c)), kernels generated as above; mean and maximum over the series
    mask                  tokens, averaged over the series at each place, at the bottom of a U over these pixels

e(c) is a learned code of the contrast, so the weights of the tokenizer are generated from it: a dynamic convolution in
the spirit of AdaViT (arXiv 2504.03589) and VIViT (arXiv 2505.08693), here on slabs of few slices. The decoder is of the
shape of UNETR's (Hatamizadeh et al., WACV 2022). The fixed network is the same but for its input: one channel a
contrast with zeros where it is missing, one token a place.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from recon.encode.latent_prediction.network import TransformerBlock, draw_weights
from recon.study.contrasts import INPUTS
from recon.study.options import GridOptions, NetworkOptions

OUTPUTS = ("to_mask", "to_detection")  # the last layers: what is trained on top of random features


class Found(Protocol):
    """What every study network gives of slabs ``[batch, contrast, slab, height, width]``."""

    def __call__(self, slabs: Tensor, contrasts: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Logits of the middle slice's mask ``[batch, height, width]`` and of a lesion in it ``[batch]``.

        ``contrasts`` are numbers in ``INPUTS``, one for each of the slab's, the same for all of the batch."""
        ...


class Generated(nn.Module):
    """A weight of ``shape`` and a bias of its last axis, generated from the code of a contrast."""

    def __init__(self, code: int, shape: tuple[int, int]) -> None:
        super().__init__()
        self.base = nn.Parameter(torch.empty(shape[1], shape[0]))
        self.directions = nn.Parameter(torch.empty(code, shape[1], shape[0]))
        self.bias_directions = nn.Linear(code, shape[1])

    def forward(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """``[contrast, code]`` to weights ``[contrast, out, in]`` and biases ``[contrast, out]``."""
        scale = len(self.directions) ** -0.5
        weights = self.base + scale * torch.einsum("ck,koi->coi", codes, self.directions)
        return weights, self.bias_directions(codes)


class PixelFeatures(nn.Module):
    """What the pixel features of all series of a study make together."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.join = nn.Conv2d(2 * width, width, 1)
        self.norm = nn.GroupNorm(1, width)

    def forward(self, features: Tensor) -> Tensor:
        """``[batch, contrast, stem, height, width]`` to ``[batch, stem, height, width]``, whatever the order."""
        each = functional.relu(features)
        # The mean says what the series agree on, the maximum what one of them shows.
        return functional.relu(self.norm(self.join(torch.cat([each.mean(dim=1), each.amax(dim=1)], dim=1))))


class VariableInput(nn.Module):
    """Tokens and pixel features of any set of contrasts."""

    def __init__(self, options: NetworkOptions) -> None:
        super().__init__()
        self.patch, self.slab = options.patch, options.slab
        self.codes = nn.Embedding(len(INPUTS), options.code)
        self.tokenizer = Generated(options.code, (options.slab * options.patch**2, options.width))
        self.stem = Generated(options.code, (options.slab * 9, options.stem))
        self.features = PixelFeatures(options.stem)

    def patches(self, slabs: Tensor) -> Tensor:
        """Slabs ``[batch, contrast, slab, height, width]`` as ``[batch, contrast, slab patch^2, place]``."""
        batch, count = slabs.shape[:2]
        unfolded = functional.unfold(slabs.flatten(0, 1), self.patch, stride=self.patch)
        return unfolded.view(batch, count, *unfolded.shape[1:])

    def tokens(self, patches: Tensor, contrasts: Sequence[int]) -> Tensor:
        """Patches as tokens ``[batch, contrast, place, width]``, by weights generated from the contrast."""
        weights, biases = self.tokenizer(self.codes(torch.tensor(list(contrasts), device=patches.device)))
        return torch.einsum("bcip,cwi->bcpw", patches, weights) + biases[:, None]

    def forward(self, slabs: Tensor, contrasts: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Tokens ``[batch, contrast, place, width]`` and the pixels' features ``[batch, stem, height, width]``."""
        kernels, offsets = self.stem(self.codes(torch.tensor(list(contrasts), device=slabs.device)))
        features = [
            functional.conv2d(slabs[:, number], kernel.view(-1, self.slab, 3, 3), offset, padding=1)
            for number, (kernel, offset) in enumerate(zip(kernels, offsets, strict=True))
        ]
        return self.tokens(self.patches(slabs), contrasts), self.features(torch.stack(features, dim=1))


class FixedInput(nn.Module):
    """Tokens and pixel features of one channel a contrast; a missing one is all zeros."""

    def __init__(self, options: NetworkOptions, contrasts: Sequence[int]) -> None:
        super().__init__()
        self.channels = list(contrasts)
        width = len(self.channels) * options.slab
        self.tokenizer = nn.Conv2d(width, options.width, options.patch, stride=options.patch)
        self.stem = nn.Conv2d(width, options.stem, 3, padding=1)
        self.features = PixelFeatures(options.stem)

    def forward(self, slabs: Tensor, contrasts: Sequence[int]) -> tuple[Tensor, Tensor]:
        """As ``VariableInput``, with one token a place."""
        stacked = zero_filled_channels(slabs, contrasts, self.channels).flatten(1, 2)
        tokens = self.tokenizer(stacked).flatten(2).transpose(1, 2)
        return tokens[:, None], self.features(self.stem(stacked)[:, None])


class ResidualBlock(nn.Module):
    """x + ReLU(GN(conv ReLU(GN(conv x))))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.norms = nn.ModuleList(nn.GroupNorm(1, width) for _ in range(2))

    def forward(self, features: Tensor) -> Tensor:
        inner = features
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            inner = functional.relu(norm(convolution(inner)))
        return features + inner


class Decoder(nn.Module):
    """From tokens on their lattice, and pixel features, to features of pixels: a U with the tokens at its bottom."""

    def __init__(self, options: NetworkOptions) -> None:
        super().__init__()
        self.steps = {4: 2, 8: 3, 16: 4}[options.patch]
        widths = [options.stem * min(2**level, 4) for level in range(self.steps + 1)]
        self.down = nn.ModuleList(
            nn.Sequential(nn.Conv2d(widths[level], widths[level + 1], 2, stride=2), ResidualBlock(widths[level + 1]))
            for level in range(self.steps)
        )
        self.enter = nn.Conv2d(options.width + widths[-1], widths[-1], 1)
        levels = list(reversed(range(self.steps)))
        self.narrow = nn.ModuleList(nn.Conv2d(widths[level + 1], widths[level], 1) for level in levels)
        self.up = nn.ModuleList(nn.Conv2d(widths[level], widths[level], 3, padding=1) for level in levels)
        self.norms = nn.ModuleList(nn.GroupNorm(1, widths[level]) for level in levels)

    def forward(self, lattice: Tensor, pixels: Tensor) -> Tensor:
        """Lattice ``[batch, width, rows, columns]`` and pixels ``[batch, stem, height, width]`` to such pixels."""
        kept = [pixels]
        for down in self.down:
            kept.append(down(kept[-1]))
        features = functional.relu(self.enter(torch.cat([lattice, kept[-1]], dim=1)))
        for narrow, up, norm, beside in zip(self.narrow, self.up, self.norms, reversed(kept[:-1]), strict=True):
            wide = functional.interpolate(narrow(features), scale_factor=2.0, mode="nearest")
            features = functional.relu(norm(up(wide + beside)))
        return features


class StudyNetwork(nn.Module):
    """See the module's docstring; ``contrasts`` are those that a fixed network has channels for."""

    def __init__(self, options: NetworkOptions, grid: GridOptions, contrasts: Sequence[int]) -> None:
        super().__init__()
        self.lattice = (grid.matrix[0] // options.patch, grid.matrix[1] // options.patch)
        self.input = VariableInput(options) if options.kind == "variable" else FixedInput(options, contrasts)
        self.place = nn.Parameter(torch.empty(self.lattice[0] * self.lattice[1], options.width))
        self.whole = nn.Parameter(torch.empty(1, options.width))
        self.blocks = nn.ModuleList(TransformerBlock(options.width, options.heads) for _ in range(options.depth))
        self.norm = nn.LayerNorm(options.width, eps=1e-6)
        self.decoder = Decoder(options)
        self.to_mask = nn.Conv2d(options.stem, 1, 1)
        self.to_detection = nn.Linear(options.width + 1, 1)

    def attend(self, tokens: Tensor) -> Tensor:
        """Tokens ``[batch, token, width]`` and before them the one that stands for the whole, after attention."""
        sequence = torch.cat([self.whole.expand(len(tokens), *self.whole.shape), tokens], dim=1)
        for block in self.blocks:
            sequence = block(sequence)
        normed: Tensor = self.norm(sequence)
        return normed

    def forward(self, slabs: Tensor, contrasts: Sequence[int]) -> tuple[Tensor, Tensor]:
        """See ``Found``."""
        tokens, pixels = self.input(slabs, contrasts)
        batch, series, places, width = tokens.shape
        sequence = self.attend((tokens + self.place).flatten(1, 2))
        lattice = sequence[:, 1:].view(batch, series, places, width).mean(dim=1).transpose(1, 2)
        features = self.decoder(lattice.reshape(batch, width, *self.lattice), pixels)
        mask = self.to_mask(features)[:, 0]
        detection = self.to_detection(torch.cat([sequence[:, 0], brightest(mask)], dim=1))[:, 0]
        return mask, detection


class IntensityNetwork(nn.Module):
    """The control that sees single pixels: logistic regression on the intensities of all contrasts."""

    def __init__(self, contrasts: Sequence[int]) -> None:
        super().__init__()
        self.channels = list(contrasts)
        # Intensities, their squares, and which contrasts there are: a lesion may be darker or brighter than the rest.
        self.to_mask = nn.Conv2d(3 * len(self.channels), 1, 1)
        self.to_detection = nn.Linear(1, 1)

    def forward(self, slabs: Tensor, contrasts: Sequence[int]) -> tuple[Tensor, Tensor]:
        """See ``Found``."""
        middle = slabs[:, :, slabs.shape[2] // 2 : slabs.shape[2] // 2 + 1]
        values = zero_filled_channels(middle, contrasts, self.channels)[:, :, 0]
        there = zero_filled_channels(torch.ones_like(middle), contrasts, self.channels)[:, :, 0]
        mask = self.to_mask(torch.cat([values, values.square(), there], dim=1))[:, 0]
        return mask, self.to_detection(brightest(mask))[:, 0]


def zero_filled_channels(slabs: Tensor, contrasts: Sequence[int], channels: Sequence[int]) -> Tensor:
    """``[batch, contrast, ...]`` as ``[batch, channel, ...]``, zeros where a channel's contrast is missing."""
    filled = slabs.new_zeros(slabs.shape[0], len(channels), *slabs.shape[2:])
    for number, contrast in enumerate(contrasts):
        if contrast in channels:
            filled[:, channels.index(contrast)] = slabs[:, number]
    return filled


def brightest(mask: Tensor) -> Tensor:
    """A smooth maximum of mask logits ``[batch, height, width]``, ``[batch, 1]``: log of their mean exponential."""
    flat = mask.flatten(1)
    return torch.logsumexp(flat, dim=1, keepdim=True) - torch.log(torch.tensor(float(flat.shape[1])))


def random_network(
    options: NetworkOptions, grid: GridOptions, contrasts: Sequence[int], generator: torch.Generator
) -> nn.Module:
    """A network as it is before training; ``contrasts`` are numbers in ``INPUTS``."""
    linear = options.kind == "linear"
    network: nn.Module = IntensityNetwork(contrasts) if linear else StudyNetwork(options, grid, contrasts)
    draw_weights(network, generator)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.ndim == 4:  # convolutions: the fan-in is the whole kernel
                nn.init.trunc_normal_(parameter, std=(parameter[0].numel()) ** -0.5, generator=generator)
            if name in ("place", "whole"):
                nn.init.trunc_normal_(parameter, std=0.5, generator=generator)
            if name == "to_mask.bias":
                parameter.fill_(-3.0)  # few pixels are lesion
    return network
