"""The denoiser: a diffusers U-Net in EDM preconditioning, complex images as two channels.

    D(x; sigma) = c_skip x + c_out F(c_in x; ln sigma, contrast)          Karras et al., NeurIPS 2022, Table 1

Contrast contrast_labels are preallocated rows of an embedding: giving a free contrast label to a new contrast changes
no weight that an old contrast uses. Any image size is taken; it is padded to the network's stride and cropped back.
"""

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from recon.errors import ReconError
from recon.prior.options import NetworkOptions

UNKNOWN_CONTRAST_LABEL = 0  # trained on every contrast: what an unlabelled scan uses
SIGMA_RANGE = (1e-3, 100.0)  # noise levels that the time embedding can tell apart


class Denoiser(nn.Module):
    """``D(x; sigma)`` for complex images; see the module's docstring."""

    def __init__(self, network: nn.Module, sigma_data: float, unshuffle: int, stride: int) -> None:
        super().__init__()
        self.network, self.sigma_data, self.unshuffle, self.stride = network, sigma_data, unshuffle, stride

    def forward(self, image: Tensor, sigma: Tensor, contrast_label: Tensor) -> Tensor:
        """The posterior mean of the clean image given ``image = clean + sigma (n1 + i n2)``.

        ``image [batch, readout, phase]`` complex64; ``sigma [batch]`` per real component; ``contrast_label [batch]``
        int.
        """
        noisy = torch.view_as_real(image).movedim(-1, 1)
        sigma = sigma.to(noisy.dtype).reshape(-1, 1, 1, 1)
        total = sigma**2 + self.sigma_data**2
        folded = self._fold(noisy / total.sqrt())
        raw = self.network(folded, time_embedding(sigma.flatten()), class_labels=contrast_label).sample
        output = self._unfold(raw.float(), noisy.shape[-2:])
        denoised = noisy * (self.sigma_data**2 / total) + output * (sigma * self.sigma_data / total.sqrt())
        return torch.view_as_complex(denoised.movedim(1, -1).contiguous())

    def _fold(self, image: Tensor) -> Tensor:
        down, across = (-image.shape[-2] % self.stride, -image.shape[-1] % self.stride)
        padded = functional.pad(image, (across // 2, across - across // 2, down // 2, down - down // 2))
        folded = functional.pixel_unshuffle(padded, self.unshuffle)
        return folded.contiguous(memory_format=torch.channels_last)

    def _unfold(self, folded: Tensor, shape: torch.Size) -> Tensor:
        padded = functional.pixel_shuffle(folded, self.unshuffle)
        top, left = (-shape[0] % self.stride) // 2, (-shape[1] % self.stride) // 2
        return padded[..., top : top + shape[0], left : left + shape[1]]


def denoise(denoiser: Denoiser, image: Tensor, sigma: float, contrast_label: int) -> Tensor:
    """``D(image; sigma)`` of a batch ``[batch, readout, phase]`` of one noise level and one contrast, in the device's
    low precision; whether gradients are kept is the caller's business."""
    level = torch.full((image.shape[0],), sigma, device=image.device)
    labels = torch.full((image.shape[0],), contrast_label, dtype=torch.long, device=image.device)
    with low_precision(image.device):
        return denoiser(image, level, labels)


def time_embedding(sigma: Tensor) -> Tensor:
    """ln sigma spread over 0..1000, the range for which the network's sinusoidal embedding is made."""
    low, high = (math.log(value) for value in SIGMA_RANGE)
    return (sigma.clamp(*SIGMA_RANGE).log() - low) / (high - low) * 1000


def build_network(options: NetworkOptions) -> nn.Module:
    """A new diffusers ``UNet2DModel`` with random weights (from torch's global generator). Raises ReconError where
    diffusers does not load."""
    try:
        from diffusers import UNet2DModel
    except (ImportError, RuntimeError) as error:  # diffusers makes a RuntimeError of what it meets in its own imports
        raise ReconError(
            "diffusers does not load here, most often because torchvision is not of torch's build; install both anew "
            "from one index: pip install --force-reinstall torch torchvision "
            "('python -c \"import torchvision\"' says more)"
        ) from error

    levels = len(options.channels)
    down = ["AttnDownBlock2D" if level in options.attention else "DownBlock2D" for level in range(levels)]
    network: Any = UNet2DModel(
        in_channels=2 * options.unshuffle**2,
        out_channels=2 * options.unshuffle**2,
        block_out_channels=options.channels,
        layers_per_block=options.blocks,
        down_block_types=tuple(down),
        up_block_types=tuple(name.replace("Down", "Up") for name in reversed(down)),
        add_attention=levels - 1 in options.attention,
        attention_head_dim=options.channels[-1] // 4,
        norm_num_groups=options.groups,
        num_class_embeds=options.contrast_labels,
        dropout=0.0,
    )
    nn.init.zeros_(network.conv_out.bias)
    nn.init.zeros_(network.conv_out.weight)  # an untrained denoiser then starts at c_skip x, its best linear denoised
    nn.init.zeros_(network.class_embedding.weight)
    return network.to(memory_format=torch.channels_last)


def build_denoiser(options: NetworkOptions, sigma_data: float, seed: int) -> Denoiser:
    """A denoiser with random weights that depend on ``seed`` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Denoiser(build_network(options), sigma_data, options.unshuffle, options.stride)


def parameter_count(options: NetworkOptions) -> int:
    """Weights of the network that ``options`` describe, without allocating them."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build_network(options).parameters())


def low_precision(device: torch.device | str) -> AbstractContextManager[object]:
    """bf16 arithmetic where the processor has it in hardware, else nothing."""
    kind = torch.device(device).type
    if kind == "cuda" and torch.cuda.is_bf16_supported():
        return torch.autocast("cuda", torch.bfloat16)
    if kind == "cpu" and torch.backends.mkldnn.is_available() and _cpu_has_bf16():
        return torch.autocast("cpu", torch.bfloat16)
    return nullcontext()


def _cpu_has_bf16() -> bool:
    query = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(query()) if query is not None else False
