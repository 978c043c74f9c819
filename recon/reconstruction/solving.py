"""What a method's solver is given beside the prepared slices, and what it gives."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from recon.errors import ReconError
from recon.posterior.random_streams import NoiseStreams
from recon.posterior.sampler import DiffusionPrior
from recon.posterior.system import System
from recon.reconstruction.options import ReconstructionOptions
from recon.reconstruction.plan import Plan
from recon.reconstruction.preparing import Prepared
from recon.scan import Scan


@dataclass(frozen=True)
class Sampling:
    """What a sampler needs: the plan, the prior as it sees it, and the random streams. ``step`` is called after each
    network call."""

    plan: Plan
    prior: DiffusionPrior
    noise: NoiseStreams
    step: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Task:
    """Slices of ``scan`` to solve with ``options``; ``sampling`` is None for methods without a prior."""

    scan: Scan
    options: ReconstructionOptions
    sampling: Sampling | None = None


@dataclass(frozen=True)
class Solution:
    """Images of some slices in units of the problem's scale: complex ``image [slice, set, readout, phase]``.

    Samplers also give ``samples [slice, sample, set, readout, phase]``, the network calls a slice and
    ``denoising_ratios [slice, step]``, the scan's own denoising error over the tabulated one. ``pairs``: the second
    half of the samples are the antithetic partners of the first, and ``image`` is no mean of them. ``spread
    [slice]``: by what their deviations are to be multiplied; ``amplification [slice]``: their variance, before that,
    over that of the noise.
    """

    image: Tensor
    samples: Tensor | None = None
    network_calls: int = 0
    denoising_ratios: Tensor | None = None
    pairs: bool = False
    spread: Tensor | None = None
    amplification: Tensor | None = None


def required_system(prepared: Prepared, task: Task) -> System:
    """The data-consistency system; raises ReconError when the method's row prepares none."""
    if prepared.system is None:
        raise ReconError(f"method '{task.options.method}' was prepared without data consistency: its row is wrong")
    return prepared.system


def required_sampling(task: Task) -> Sampling:
    """What samplers need; raises ReconError when there is no prior."""
    if task.sampling is None:
        raise ReconError(f"method '{task.options.method}' needs a prior; give --prior, or choose another --method")
    return task.sampling
