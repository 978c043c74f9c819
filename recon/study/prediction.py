"""What a study model says of a study: a lesion mask, whether there is a lesion, its volume, and how unsure it is."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from recon.errors import ReconError
from recon.study.contrasts import INPUTS
from recon.study.samples import slab_at
from recon.study.store import StudyModel
from recon.study.volume import StudyVolume


@dataclass(frozen=True, eq=False)
class Prediction:
    """Probabilities of a study; none of them is a diagnosis."""

    mask: NDArray[np.float32]  # [slice, height, width], of lesion
    detection: float  # of a lesion anywhere: that of the slice with the highest

    def volume_ml(self, voxel_ml: float, threshold: float) -> float:
        """Volume in mL of the voxels from ``threshold`` on."""
        return float((self.mask >= threshold).sum()) * voxel_ml

    def mask_entropy_ml(self, voxel_ml: float) -> float:
        """Binary entropy in bits summed over the voxels, times their volume: as if so many mL were a toss-up."""
        return float(entropy(self.mask.astype(np.float64)).sum()) * voxel_ml

    @property
    def detection_entropy(self) -> float:
        """Binary entropy in bits of ``detection``."""
        return float(entropy(np.array(self.detection)))


def entropy(probability: NDArray[np.float64]) -> NDArray[np.float64]:
    """Binary entropy in bits."""
    p = np.clip(probability, 1e-12, 1 - 1e-12)
    return -(p * np.log2(p) + (1 - p) * np.log2(1 - p))


def predict(model: StudyModel, volume: StudyVolume, contrasts: Sequence[str] | None = None) -> Prediction:
    """Apply a model to ``contrasts`` of a study; without them to all that both know.

    Raises ReconError when the study has none of them.
    """
    wanted = volume.contrasts if contrasts is None else contrasts
    used = [name for name in volume.contrasts if name in wanted and name in model.contrasts]
    if not used:
        raise ReconError(
            f"study {volume.name}: has {', '.join(volume.contrasts)}, none of them among {', '.join(wanted)} is known "
            f"to the model ({', '.join(model.contrasts)})"
        )
    values = volume.values[[volume.contrasts.index(name) for name in used]]
    slab = model.options.network.slab
    slabs = np.stack([slab_at(values, index, slab) for index in range(values.shape[1])])
    with torch.inference_mode():
        mask, detection = model.network(torch.from_numpy(slabs).to(model.device), [INPUTS.index(name) for name in used])
        return Prediction(mask.sigmoid().cpu().numpy(), float(detection.sigmoid().max()))
