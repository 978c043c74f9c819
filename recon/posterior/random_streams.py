"""Random numbers of a sampling run: one stream for each (slice, sample), whatever is batched with it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from recon.seeding import torch_generator


class NoiseStreams:
    """Complex noise of unit variance per real component, ``[slice, sample, ...]``, drawn from one stream for each."""

    def __init__(
        self,
        seed: int,
        identity: str,
        slices: Sequence[int],
        samples: Sequence[int],
        device: torch.device | str = "cpu",
    ) -> None:
        self._streams = [[torch_generator(seed, identity, i, j, device=device) for j in samples] for i in slices]
        self._device = device
        self.samples = len(samples)

    def __call__(self, *shape: int) -> Tensor:
        """The next numbers of every stream: complex64 ``[slice, sample, *shape]``."""
        rows = []
        for streams in self._streams:
            draws = [torch.randn((*shape, 2), generator=stream, device=self._device) for stream in streams]
            rows.append(torch.stack(draws))
        return torch.view_as_complex(torch.stack(rows))

    def distinct(self, *shape: int) -> Tensor:
        """The next numbers but for what follows from them by ``completed``: here all of them."""
        return self(*shape)

    def completed(self, drawn: Tensor) -> Tensor:
        """The numbers of all samples from ``distinct`` ones, or from any linear function of them."""
        return drawn


class AntitheticNoise:
    """Noise of ``samples`` samples in pairs: sample ``j + ceil(samples / 2)`` has that of sample ``j`` negated.

    What is odd in the noise cancels in the mean of a pair. Takes the first half of the streams of ``noise``."""

    def __init__(self, noise: NoiseStreams, samples: int) -> None:
        self._noise, self.samples = noise, samples
        self.pairs = (samples + 1) // 2

    def __call__(self, *shape: int) -> Tensor:
        """The next numbers: complex64 ``[slice, sample, *shape]``."""
        return self.completed(self.distinct(*shape))

    def distinct(self, *shape: int) -> Tensor:
        """Those of the first of every pair: complex64 ``[slice, pair, *shape]``."""
        return self._noise(*shape)[:, : self.pairs]

    def completed(self, drawn: Tensor) -> Tensor:
        """The numbers of all samples from those of the first of every pair, or from any linear function of them."""
        return torch.cat((drawn, -drawn[:, : self.samples - self.pairs]), 1)


Noise = NoiseStreams | AntitheticNoise
"""Either, as solvers see it: called with a shape, and with its number of ``samples``."""
