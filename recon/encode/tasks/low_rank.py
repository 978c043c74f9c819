"""Low-rank weights beside an encoder's linear layers: several experts with soft routing, or one product alone.

    experts   y = W x + sum_e softmax(R x)_e B_e A_e x      MoLRE (arXiv 2603.00675), routing without supervision
    lora      y = W x + B A x                               Hu et al., ICLR 2022, of as many weights

W stays as it is and B is 0 at the start, so the adapted encoder begins with the bits of its base. Adapters stand beside
the network, which keeps its own tensors and their names.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

from recon.encode.tasks.options import AdapterOptions
from recon.errors import ReconError


class LowRank(nn.Module):
    """``[..., in]`` to ``[..., out]`` through ``rank`` numbers."""

    def __init__(self, layer: nn.Linear, rank: int) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.zeros(rank, layer.in_features))
        self.up = nn.Parameter(torch.zeros(layer.out_features, rank))

    def forward(self, values: Tensor) -> Tensor:
        return functional.linear(functional.linear(values, self.down), self.up)


class Experts(nn.Module):
    """Several low-rank products, mixed by a softmax of the values themselves."""

    def __init__(self, layer: nn.Linear, experts: int, rank: int) -> None:
        super().__init__()
        self.router = nn.Parameter(torch.zeros(experts, layer.in_features))
        self.down = nn.Parameter(torch.zeros(experts, rank, layer.in_features))
        self.up = nn.Parameter(torch.zeros(experts, layer.out_features, rank))

    def gates(self, values: Tensor) -> Tensor:
        """Weights of the experts ``[..., expert]``."""
        return functional.linear(values, self.router).softmax(dim=-1)

    def forward(self, values: Tensor) -> Tensor:
        experts, rank, width = self.down.shape
        low = functional.linear(values, self.down.reshape(experts * rank, width))
        weighted = low.unflatten(-1, (experts, rank)) * self.gates(values)[..., None]
        return functional.linear(weighted.flatten(-2), self.up.permute(1, 0, 2).reshape(-1, experts * rank))


def adapted_layers(network: nn.Module, options: AdapterOptions) -> dict[str, nn.Linear]:
    """The linear layers that are adapted, by name. Raises ReconError when the encoder has none of ``targets``."""
    found = {
        name: layer
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Linear) and name.rpartition(".")[2] in options.targets
    }
    if not found:
        kinds = sorted({n.rpartition(".")[2] for n, layer in network.named_modules() if isinstance(layer, nn.Linear)})
        raise ReconError(
            f"--targets {','.join(options.targets)}: no linear layer of the encoder has such a name; it has "
            f"{', '.join(kinds) or 'no linear layer'}"
        )
    return dict(list(found.items())[-options.last :])


def equal_rank(layer: nn.Linear, options: AdapterOptions) -> int:
    """The rank at which one product has as many weights as the experts and their router, to the nearest."""
    both = layer.in_features + layer.out_features
    return max(1, round(options.experts * (options.rank * both + layer.in_features) / both))


def build_adapters(network: nn.Module, options: AdapterOptions, generator: torch.Generator) -> dict[str, nn.Module]:
    """Adapters by the name of their layer, as they are before training: they change nothing.

    Raises ReconError when they hold more than ``budget`` of the encoder's weights.
    """
    if options.adapter == "none":
        return {}
    adapters: dict[str, nn.Module] = {}
    for name, layer in adapted_layers(network, options).items():
        if options.adapter == "molre":
            adapters[name] = Experts(layer, options.experts, options.rank)
        else:
            adapters[name] = LowRank(layer, equal_rank(layer, options))
        with torch.no_grad():
            for part, parameter in adapters[name].named_parameters():
                if part != "up":
                    nn.init.normal_(parameter, std=1 / math.sqrt(layer.in_features), generator=generator)
    share = weights_in(adapters.values()) / weights_in([network])
    if share > options.budget:
        raise ReconError(
            f"the adapters would hold {weights_in(adapters.values()):,} weights, {share:.2%} of the encoder's "
            f"{weights_in([network]):,}; the budget is {options.budget:.2%}: lower experts, rank or last, or state a "
            f"larger one with --budget {math.ceil(share * 1e3) / 1e3:g}"
        )
    return adapters


def weights_in(modules: Iterable[nn.Module]) -> int:
    """How many weights modules hold."""
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


@contextmanager
def attached(network: nn.Module, adapters: Mapping[str, nn.Module]) -> Iterator[None]:
    """Within it, the adapted layers of the network add what their adapters give."""

    def beside(adapter: nn.Module) -> Callable[..., Tensor]:
        def hook(layer: nn.Module, values: tuple[Tensor, ...], given: Tensor) -> Tensor:
            added: Tensor = adapter(values[0])
            return given + added

        return hook

    handles = [network.get_submodule(name).register_forward_hook(beside(each)) for name, each in adapters.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def routing(network: nn.Module, adapters: Mapping[str, nn.Module]) -> Iterator[dict[str, list[Tensor]]]:
    """Within it, the gates ``[token, expert]`` of every routed layer are noted, by the layer's name."""
    noted: dict[str, list[Tensor]] = {name: [] for name, adapter in adapters.items() if isinstance(adapter, Experts)}

    def note(name: str, adapter: Experts) -> Callable[..., None]:
        def hook(layer: nn.Module, values: tuple[Tensor, ...]) -> None:
            noted[name].append(adapter.gates(values[0]).detach().flatten(0, -2))

        return hook

    handles = [
        network.get_submodule(name).register_forward_pre_hook(note(name, adapter))
        for name, adapter in adapters.items()
        if isinstance(adapter, Experts)
    ]
    try:
        yield noted
    finally:
        for handle in handles:
            handle.remove()


def entropy(gates: Tensor) -> tuple[float, float]:
    """Of gates ``[token, expert]``: the mean entropy of a token's gates, and the entropy of the mean gates, both over
    the logarithm of the number of experts. 1 and 1: no routing; little and 1: each token has its expert, and all
    are used."""
    if gates.shape[1] == 1:
        return 0.0, 0.0
    largest = math.log(gates.shape[1])
    token = torch.special.entr(gates).sum(dim=1).mean()
    used = torch.special.entr(gates.mean(dim=0)).sum()
    return float(token) / largest, float(used) / largest
