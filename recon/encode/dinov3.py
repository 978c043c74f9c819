"""DINOv3 on slices, through transformers (optional extra ``encoders``): 16 x 16 patches of natural-image features.

Each slice is an image of 1 mm pixels with three equal channels, mapped to [0, 1] and standardised as DINOv3's training
images were (Siméoni et al. 2025). Class and register tokens are left out of ``tokens``; ``pooled`` is their class
token's mean over slices.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from recon.digest import file_sha256
from recon.encode.adapter import Adapter
from recon.encode.geometry import to_encoder_grid
from recon.encode.interface import PreparedVolume, ReferencePreprocessing
from recon.encode.placement import Placement
from recon.encode.weights import Loaded, drawn, read_tensors, weight_file
from recon.errors import ReconError
from recon.foreign.json_file import read_json
from recon.images.slice_axis import voxel_spacing

PATCH = (1, 16, 16)
THINNEST = 4.0  # mm: thinner slices are resampled to it, 155 slices of 1 mm would be 155 images of almost the same
SLICES_AT_ONCE = 4
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's channel statistics
LICENCE = "DINOv3 License (Meta)"


@dataclass(frozen=True, eq=False)
class DINOv3(Adapter):
    """DINOv3 (transformers.DINOv3ViTModel) applied slice by slice; inputs are ``[slice, 3, height, width]``."""

    name = "dinov3"
    token = PATCH

    def grid(self, volume: NDArray[np.floating], place: Placement) -> tuple[NDArray[np.floating], NDArray[np.float64]]:
        """1 mm in plane, slices as measured but not thinner than 4 mm."""
        thickness = max(voxel_spacing(place.affine)[place.slice_axis], THINNEST)
        grid = to_encoder_grid(volume, place.affine, place.slice_axis, (thickness, 1.0, 1.0), PATCH)
        return grid.values, grid.affine

    def measure(self, values: NDArray[np.floating]) -> tuple[NDArray[np.bool_], tuple[float, float]]:
        """What is brighter than a tenth of the window between the 0.5th and 99.5th percentiles."""
        low, high = (float(value) for value in np.percentile(values, (0.5, 99.5)))
        if high <= low:
            raise ReconError("volume: its 0.5th and 99.5th percentiles are equal; it is nearly empty")
        return values > low + 0.1 * (high - low), (low, high)

    def inputs(self, values: NDArray[np.floating], preprocessing: ReferencePreprocessing) -> torch.Tensor:
        """Three equal channels, standardised as natural images are."""
        low, high = preprocessing.intensity
        windowed = (np.clip(values, low, high) - low) / (high - low)
        images = torch.from_numpy(windowed.astype(np.float32))[:, None]
        mean, deviation = torch.tensor(MEAN), torch.tensor(DEVIATION)
        return (images - mean[:, None, None]) / deviation[:, None, None]

    def keeps(self, foreground: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Half a patch in the head keeps it."""
        return foreground >= 0.5

    def features(self, prepared: PreparedVolume) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens ``[token, hidden]`` of patches in the head; pooled is the mean of the slices' class tokens."""
        if len(prepared.coords) == 0:
            raise ReconError("no token left: every patch lies in the background; check the field of view")
        hidden = torch.cat(
            [
                self.network(pixel_values=part.to(self.device)).last_hidden_state.float()
                for part in prepared.inputs.split(SLICES_AT_ONCE)
            ]
        )
        patches = int(np.prod(prepared.mask.shape[1:]))
        lattice = hidden[:, -patches:].reshape(*prepared.mask.shape, -1)
        return lattice[tuple(prepared.coords.T.to(self.device))], hidden[:, 0].mean(dim=0)


def load(weights: Path | None, *, device: str = "cpu", random_seed: int | None = None) -> DINOv3:
    """Load a folder in transformers' layout strictly, or draw random weights of that folder's shape
    (the small model's when no folder is given).

    Nothing is downloaded. Raises ReconError for missing, unknown or misshapen tensors, or another model type.
    """
    from transformers import DINOv3ViTConfig, DINOv3ViTModel

    file = None if weights is None else weight_file(weights)
    stated = {} if file is None else _configuration(file.parent)
    if random_seed is not None:
        shape = DINOv3ViTConfig.from_dict(stated) if stated else DINOv3ViTConfig(num_register_tokens=4)
        return DINOv3.of(drawn(lambda: DINOv3ViTModel(shape), random_seed, "dinov3"), device)
    if file is None:
        raise ReconError("no weights given; name the folder in transformers' layout with --weights")
    if file.suffix != ".safetensors":
        raise ReconError(f"{file}: DINOv3 is loaded from safetensors only; obtain model.safetensors")
    read_tensors(file)  # refuses a truncated file and values that are not finite
    return DINOv3.of(Loaded(_from_folder(DINOv3ViTModel, file), file_sha256(file), LICENCE), device)


def _configuration(folder: Path) -> dict[str, Any]:
    """The folder's config.json. Raises ReconError when it is of another model, or of patches that are not 16 wide."""
    config = read_json(folder / "config.json")
    if config.get("model_type") != "dinov3_vit":
        raise ReconError(f"{folder / 'config.json'}: model_type {config.get('model_type')!r}, not 'dinov3_vit'")
    if config.get("patch_size", 16) != PATCH[1]:
        raise ReconError(f"{folder / 'config.json'}: patch_size {config['patch_size']}, only 16 is offered")
    return config


def _from_folder(model: Any, file: Path) -> Any:
    """transformers' own loading (it renames tensors between versions), made strict: nothing missing, nothing extra."""
    import transformers

    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        network, report = model.from_pretrained(
            file.parent, local_files_only=True, use_safetensors=True, output_loading_info=True, dtype=torch.float32
        )
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        text = " ".join(str(error).split())[:200]
        raise ReconError(f"{file}: does not fit its configuration ({text}); nothing was loaded") from error
    finally:
        transformers.logging.set_verbosity(verbosity)
        transformers.logging.enable_progress_bar()
    faults = [
        f"{len(names)} {what} ({', '.join(sorted(map(str, names))[:3])})"
        for what, names in (
            ("missing", report["missing_keys"]),
            ("unknown", report["unexpected_keys"]),
            ("of another shape", report["mismatched_keys"]),
        )
        if names
    ]
    if faults:
        raise ReconError(f"{file}: does not fit this encoder's tensors: {'; '.join(faults)}; nothing was loaded")
    return network.requires_grad_(False).eval()
