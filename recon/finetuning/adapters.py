"""Low-rank adapters (LoRA) on the network's convolutions and linear layers, through ``peft``.

    W' = W + B A,   A and B of rank r                      Hu et al., ICLR 2022

The adapter is smaller than 5 % of the network and merges into its weights: the merged prior is an ordinary one.
"""

from pathlib import Path

import torch
from torch import nn

from recon.errors import ReconError
from recon.prior.denoiser import Denoiser

LARGEST_SHARE = 0.05


def add_lora(denoiser: Denoiser, *, seed: int = 0) -> float:
    """Freeze the network and add a trainable adapter of the highest rank that stays below 5 % of its size.

    The rows of the contrast embedding are trained too, for a new contrast. In place; returns the adapter's share of
    the network's parameters. Raises ReconError when the network is too small for any adapter of that size.
    """
    from peft import LoraConfig, get_peft_model

    network = denoiser.network
    rank, targets = choose_rank(network)
    config = LoraConfig(
        r=rank, lora_alpha=rank, target_modules=targets, modules_to_save=["class_embedding"], lora_dropout=0.0
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        denoiser.network = get_peft_model(network, config)  # type: ignore[arg-type]
    return adapter_share(denoiser)


def adapter_share(denoiser: Denoiser) -> float:
    """Trainable parameters over those of the network without its adapter."""
    trained = sum(p.numel() for p in denoiser.network.parameters() if p.requires_grad)
    return trained / (sum(p.numel() for p in denoiser.network.parameters()) - trained)


def choose_rank(network: nn.Module) -> tuple[int, list[str]]:
    """The highest rank, and the layers it is used on: those where a rank saves most, as many as fit."""
    layers = {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, (nn.Conv2d, nn.Linear)) and name not in ("conv_in", "conv_out")
    }
    total = sum(p.numel() for p in network.parameters())
    allowed = LARGEST_SHARE * total - sum(p.numel() for n, p in network.named_parameters() if "class_embedding" in n)
    cost = {name: _cost(module) for name, module in layers.items()}
    rank = int((allowed - 1) // sum(cost.values()))
    if rank >= 1:
        return rank, list(layers)
    kept: list[str] = []
    used = 0
    for name in sorted(layers, key=lambda name: cost[name] / layers[name].weight.numel()):
        if used + cost[name] < allowed:
            kept.append(name)
            used += cost[name]
    if not kept:
        raise ReconError(
            f"a network of {total} parameters is too small for a LoRA adapter below {LARGEST_SHARE:.0%} of its size; "
            "fine-tune all of it instead (leave --adapter lora away)"
        )
    return 1, kept


def _cost(module: nn.Module) -> int:
    """Parameters of a rank-1 adapter of a layer: A spans its inputs (and kernel), B its outputs."""
    if isinstance(module, nn.Conv2d):
        return module.in_channels * module.kernel_size[0] * module.kernel_size[1] + module.out_channels
    assert isinstance(module, nn.Linear)
    return module.in_features + module.out_features


def save_adapter(denoiser: Denoiser, folder: Path) -> None:
    """The adapter alone, in peft's own layout (``adapter_config.json``, ``adapter_model.safetensors``)."""
    denoiser.network.save_pretrained(str(folder), safe_serialization=True)  # type: ignore[operator]


def merge_lora(denoiser: Denoiser) -> None:
    """Fold the adapter into the weights; the network is an ordinary one afterwards. In place."""
    denoiser.network = denoiser.network.merge_and_unload().to(  # type: ignore[operator]
        memory_format=torch.channels_last
    )
