"""How long a network call takes by itself, as it is and compiled."""

import time
from collections.abc import Callable

import torch
from torch import Tensor

from recon.prior.denoiser import UNKNOWN_CONTRAST_LABEL, Denoiser, low_precision
from recon.reconstruction.machine import waiting_for

REPETITIONS = 3
SIGMA = 0.3


def network_seconds(denoiser: Denoiser, size: tuple[int, int], device: torch.device | str) -> float:
    """Seconds of one call on one image ``[readout, phase]``: the best of three, after one that is not timed."""
    return _best(denoiser, size, device)


def compiled_seconds(denoiser: Denoiser, size: tuple[int, int], device: torch.device | str) -> float:
    """The same with the network compiled by torch; the time of compiling is not in it. On a GPU with CUDA graphs.

    Raises ReconError where torch cannot compile.
    """
    from recon.errors import ReconError

    mode = "reduce-overhead" if torch.device(device).type == "cuda" else "default"
    compiled: Callable[..., Tensor] = torch.compile(denoiser, mode=mode, dynamic=False)
    try:
        return _best(compiled, size, device)
    except (
        RuntimeError,
        ImportError,
        OSError,
    ) as error:  # no compiler of C++ or no Triton: torch has many words for it
        reason = " ".join(str(error).split())[:200]
        raise ReconError(f"--compiled: torch cannot compile the network here ({reason}); leave it away") from error


def _best(network: Callable[..., Tensor], size: tuple[int, int], device: torch.device | str) -> float:
    wait = waiting_for(device)
    generator = torch.Generator().manual_seed(0)
    image = torch.view_as_complex(torch.randn((1, *size, 2), generator=generator)).to(device)
    sigma = torch.full((1,), SIGMA, device=device)
    label = torch.full((1,), UNKNOWN_CONTRAST_LABEL, dtype=torch.long, device=device)
    times = []
    with torch.no_grad(), low_precision(device):
        for _ in range(1 + REPETITIONS):
            wait()
            start = time.perf_counter()
            network(image, sigma, label)
            wait()
            times.append(time.perf_counter() - start)
    return min(times[1:])
