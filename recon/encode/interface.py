"""What every encoder offers: prepare a volume, encode it, and say where each token lies in the patient."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recon.errors import ReconError


@dataclass(frozen=True, eq=False)
class ReferencePreprocessing:
    """Everything in the preparation that was decided by looking at one volume: geometry, mask and intensity map.

    Percentiles and masks taken anew from a reconstruction change with its background and swamp any real
    difference; a reconstruction is therefore prepared with the preprocessing of its reference.
    """

    encoder: str  # name of the encoder that made it
    shape: tuple[int, int, int]  # of the volume it was made from, in the index order of ``affine``
    affine: NDArray[np.float64]  # 4x4, index of that volume -> RAS+ mm
    slice_axis: int  # axis of that volume taken as the slice direction
    grid_shape: tuple[int, int, int]  # [depth, height, width] voxels of the encoder's own grid
    grid_affine: NDArray[np.float64]  # 4x4, (depth, height, width) index -> RAS+ mm
    foreground: NDArray[np.bool_]  # [depth, height, width]
    intensity: tuple[float, float]  # values of the volume that become 0 and 1


@dataclass(frozen=True, eq=False)
class PreparedVolume:
    """A volume ready for one encoder: N tokens, each with its place."""

    inputs: torch.Tensor  # what the network takes: float32, encoder-specific; the first axis is often the token
    coords: torch.Tensor  # [token, 3] int64: (depth, height, width) index of every token on the token lattice
    token_to_world: NDArray[np.float64]  # 4x4, token index -> RAS+ mm of the token's centre; columns are token edges
    mask: NDArray[np.bool_]  # token lattice [depth, height, width]: True where a token was kept
    preprocessing: ReferencePreprocessing  # the one it was prepared with, or the one its own volume gave

    @property
    def token_size(self) -> tuple[float, float, float]:
        """Edge lengths of one token in mm along depth, height, width: the finest detail a map can show."""
        edges = np.linalg.norm(self.token_to_world[:3, :3], axis=0)
        return (float(edges[0]), float(edges[1]), float(edges[2]))


@dataclass(frozen=True, eq=False)
class Embedding:
    """What the encoder says of one volume, float32 on the CPU."""

    tokens: torch.Tensor  # [token, feature]
    coords: torch.Tensor  # [token, 3] int64, as in ``PreparedVolume``
    pooled: torch.Tensor  # [pooled feature] of the whole volume; each encoder says what it is


@runtime_checkable
class Encoder(Protocol):
    """One encoder with its weights loaded; the table of them is ``recon.encode.encoders``."""

    @property
    def name(self) -> str:
        """Row name in the table of encoders."""

    @property
    def licence(self) -> str:
        """Licence of the weights, in words."""

    @property
    def weights_hash(self) -> str:
        """SHA-256 of the weight file, or ``random-init seed N`` for a control."""

    def prepare(
        self,
        volume: NDArray[np.floating],
        affine: NDArray[np.float64] | None,
        preprocessing: ReferencePreprocessing | None = None,
        *,
        slice_axis: int | None = None,
    ) -> PreparedVolume:
        """Bring a volume onto the encoder's grid and cut it into tokens.

        ``volume`` is a real magnitude image, floating point or in a file's integer type (``Series.pixels``),
        in the index order of ``affine`` (a NIfTI array; a result of
        ``recon reconstruct`` is ``[slice, readout, phase]`` and is moved to (readout, phase, slice) first).
        ``preprocessing`` fixes geometry, mask and intensity map to those of a reference; ``slice_axis`` (0, 1, 2)
        overrides the axis that the affine gives.

        Raises ReconError for a single slice, a missing or degenerate affine, values that are not finite, and a
        volume whose grid is not the preprocessing's.
        """

    def encode(self, prepared: PreparedVolume) -> Embedding:
        """Run the network; the same input gives the same bits. Raises ReconError when no token is left."""


@runtime_checkable
class DifferentiableEncoder(Encoder, Protocol):
    """An encoder that is a network whose features can be differentiated: adapters and task heads are trained on it."""

    @property
    def network(self) -> nn.Module:
        """The network; none of its own weights requires a gradient."""

    @property
    def device(self) -> str:
        """Where it computes."""

    def features(self, prepared: PreparedVolume) -> tuple[Tensor, Tensor]:
        """``tokens`` and ``pooled`` of ``encode``, float32 on the encoder's device, in the caller's gradient mode.

        Raises ReconError when no token is left.
        """


def frozen_embedding(encoder: DifferentiableEncoder, prepared: PreparedVolume) -> Embedding:
    """``Encoder.encode`` of an encoder that has ``features``: without gradients, on the CPU.

    Raises ReconError when no token is left, or the features are not finite.
    """
    with torch.inference_mode():
        tokens, pooled = (part.float().cpu().clone() for part in encoder.features(prepared))
    if not torch.isfinite(tokens).all():
        raise ReconError("the encoder gave features that are not finite; its weights are damaged")
    return Embedding(tokens, prepared.coords, pooled)
