"""What encoders of other packages share: their weights in place, and the course of a preparation."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray

from recon.encode.geometry import Grid, foreground_share, lattice_affine
from recon.encode.interface import Embedding, PreparedVolume, ReferencePreprocessing, frozen_embedding
from recon.encode.placement import Placement, place_volume
from recon.encode.weights import Loaded
from recon.errors import ReconError


@dataclass(frozen=True, eq=False)
class Adapter(ABC):
    """A network of another package behind ``recon.encode.interface.Encoder``.

    An adapter says how a volume comes onto its grid, what of it is foreground, and what its network takes.
    """

    network: Any
    weights_hash: str
    device: str
    licence: str
    name: ClassVar[str]  # row in the table of encoders
    token: ClassVar[tuple[int, int, int]]  # voxels of one token along depth, height, width

    @classmethod
    def of(cls, loaded: Loaded[Any], device: str) -> Self:
        """The encoder with its network on a device."""
        return cls(loaded.network.to(device), loaded.weights_hash, device, loaded.licence)

    @abstractmethod
    def grid(self, volume: NDArray[np.floating], place: Placement) -> tuple[NDArray[np.floating], NDArray[np.float64]]:
        """The volume on the encoder's grid ``[depth, height, width]``, and that index to RAS+ mm."""

    @abstractmethod
    def measure(self, values: NDArray[np.floating]) -> tuple[NDArray[np.bool_], tuple[float, float]]:
        """Foreground ``[depth, height, width]`` of a reference, and the two values that become 0 and 1.

        Raises ReconError when the volume is too empty to tell.
        """

    @abstractmethod
    def inputs(self, values: NDArray[np.floating], preprocessing: ReferencePreprocessing) -> torch.Tensor:
        """What the network takes, float32."""

    @abstractmethod
    def features(self, prepared: PreparedVolume) -> tuple[torch.Tensor, torch.Tensor]:
        """See ``DifferentiableEncoder.features``."""

    def encode(self, prepared: PreparedVolume) -> Embedding:
        """See ``Encoder.encode``."""
        return frozen_embedding(self, prepared)

    def keeps(self, foreground: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which tokens stay, by their share of foreground: those with any."""
        return foreground > 0

    def prepare(
        self,
        volume: NDArray[np.floating],
        affine: NDArray[np.float64] | None,
        preprocessing: ReferencePreprocessing | None = None,
        *,
        slice_axis: int | None = None,
    ) -> PreparedVolume:
        """See ``Encoder.prepare``."""
        place = place_volume(self.name, volume, affine, preprocessing, slice_axis)
        values, grid_affine = self.grid(volume, place)
        if preprocessing is None:
            grid = Grid(values.astype(np.float32, copy=False), grid_affine)
            preprocessing = place.preprocessing(self.name, grid, *self.measure(values))
        kept = self.keeps(foreground_share(preprocessing.foreground, self.token))
        return PreparedVolume(
            inputs=self.inputs(values, preprocessing),
            coords=torch.from_numpy(np.argwhere(kept)),
            token_to_world=lattice_affine(preprocessing.grid_affine, self.token),
            mask=kept,
            preprocessing=preprocessing,
        )


def standard_scores(values: NDArray[np.floating], preprocessing: ReferencePreprocessing) -> NDArray[np.float32]:
    """Distance from the foreground's mean in its standard deviations; 0 outside the foreground."""
    mean, above = preprocessing.intensity
    return np.where(preprocessing.foreground, (values - mean) / (above - mean), 0.0).astype(np.float32)


def mean_and_deviation(values: NDArray[np.floating], which: str) -> tuple[float, float]:
    """The values ``[voxel]`` that become 0 and 1: their mean, and one standard deviation above it.

    Raises ReconError, naming ``which`` voxels these are, when all are the same.
    """
    mean, deviation = float(values.mean()), float(values.std())
    if not deviation > 0:
        raise ReconError(f"volume: its {which} voxels all have the same value; there is nothing to encode")
    return mean, mean + deviation
