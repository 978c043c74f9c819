"""DISTS, a learned image distance (of those compared, the nearest to readers of knee MRI: Adamson et al.), by piq."""

import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

WEIGHTS = ("dists_weights.pt", "vgg16-397923af.pth")  # names that piq and torchvision keep in torch's cache


@dataclass(frozen=True)
class DistsResult:
    """The figure, or why there is none."""

    value: float | None
    missing: str = ""


def dists(image: NDArray[np.floating], reference: NDArray[np.floating]) -> DistsResult:
    """Mean DISTS (Ding et al., TPAMI 2022) over the middle half of the slices ``[slice, row, column]``.

    Intensities are divided by the reference's maximum and clipped to [0, 1]. Nothing is downloaded: piq's weights must
    already lie in torch's cache, and they are read as tensors only.
    """
    if importlib.util.find_spec("piq") is None:
        return DistsResult(None, "piq is not installed")
    cache = Path(torch.hub.get_dir()) / "checkpoints"
    absent = [name for name in WEIGHTS if not (cache / name).is_file()]
    if absent:
        return DistsResult(None, f"weights not in torch's cache: {', '.join(absent)}; piq.DISTS() fetches them once")
    import piq

    with _tensors_only():
        metric = piq.DISTS(reduction="mean")
    count = len(reference)
    quarter = count // 4
    top = float(reference.max())
    values = []
    with torch.inference_mode():
        for index in range(quarter, max(count - quarter, quarter + 1)):
            tensors = [
                torch.from_numpy(np.clip(volume[index] / top, 0, 1).astype(np.float32)).expand(1, 3, -1, -1)
                for volume in (image, reference)
            ]
            values.append(float(metric(*tensors)))
    return DistsResult(float(np.mean(values)))


@contextmanager
def _tensors_only() -> Iterator[None]:
    """Make torch.load refuse anything but tensors, in piq's call too."""
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
