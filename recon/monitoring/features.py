"""What a watch reads of a result: figures of its audit and its image, its scanner and protocol, the person's hash."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recon.errors import ReconError
from recon.images.result import Reconstruction, read_result

# Figures of the audit that are ratios or levels: their logarithm is charted. See ``recon.reconstruction.audit``.
RATIOS = (
    "noise_sigma_relative", "noise_inflation", "chi2", "mean_chi2", "denoising_inflation", "scale_ratio",
)  # fmt: skip
TITLES = {
    "noise_std": "noise of the image",
    "noise_sigma_relative": "noise over image scale",
    "noise_inflation": "noise used over noise estimated",
    "chi2": "residual of the samples over the noise",
    "mean_chi2": "residual of the mean image over the noise",
    "denoising_inflation": "denoising error over its table",
    "scale_ratio": "image scale",
    "averaging_gain_excess_db": "averaging gain over its expectation",
    "brightness": "bright signal of the image",
    "tissue_ratio": "bright tissue over the middle one",
    "sharpness": "fine detail over all detail",
    "noise_ratio": "noise over bright signal",
}


@dataclass(frozen=True)
class WatchedScan:
    """One result as a watch sees it. ``figures`` by name, logarithms but for the averaging gain."""

    name: str
    person: str  # hash
    acquired_at: str | None  # ISO 8601
    facts: Mapping[str, str]  # every fact that can tell scanners and protocols apart
    figures: Mapping[str, float]
    embedding: tuple[float, ...] | None = None


def read_watched(path: Path) -> tuple[WatchedScan, Reconstruction]:
    """What a watch sees of a result file. Raises ReconError when it is damaged, of another kind, or its audit holds
    something that is not a number."""
    result = read_result(path, samples=False)
    figures = {**_audit_figures(path, result.audit), **_image_figures(path, result)}
    attributes = result.attributes
    acquired = attributes.get("acquired_at")
    # Without a person every scan counts as one: intervals are then too narrow for several scans of one.
    person = str(attributes.get("person") or attributes.get("scan_digest") or path.stem)
    seen = WatchedScan(path.stem, person, None if acquired is None else str(acquired), _facts(result), figures)
    return seen, result


def _facts(result: Reconstruction) -> dict[str, str]:
    attributes = {key: value for key, value in result.attributes.items() if key not in ("scan_digest", "person")}
    facts = {key: f"{value:.4g}" if isinstance(value, float) else str(value) for key, value in attributes.items()}
    rows, columns = result.reconstruction.shape[1:]
    facts |= {
        "contrast": result.contrast,
        "matrix": f"{rows}x{columns}",
        "acceleration": f"{float(attributes.get('acceleration', 1.0)):.1f}",
        "prior": str(attributes.get("prior_hash", "none"))[:12],
    }
    return facts


def _audit_figures(path: Path, audit: Mapping[str, Any]) -> dict[str, float]:
    stated = audit.get("figures", {})
    if not isinstance(stated, Mapping):
        raise ReconError(f"{path}: its audit is damaged ('figures' is no table); reconstruct it again")
    found = {name: math.log(_positive(path, name, stated[name])) for name in RATIOS if name in stated}
    if "noise_std" in audit:
        found["noise_std"] = math.log(_positive(path, "noise_std", audit["noise_std"]))
    if "averaging_gain_db" in stated:
        gain, expected = (
            _number(path, name, stated.get(name)) for name in ("averaging_gain_db", "averaging_gain_expected_db")
        )
        found["averaging_gain_excess_db"] = gain - expected
    return found


def _positive(path: Path, name: str, value: Any) -> float:
    number = _number(path, name, value)
    if number <= 0:
        raise ReconError(f"{path}: its audit says {name} = {number:g}, which must be positive; reconstruct it again")
    return number


def _number(path: Path, name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ReconError(f"{path}: its audit says {name} = {value}, not a finite number; reconstruct it again")
    return float(value)


def _image_figures(path: Path, result: Reconstruction) -> dict[str, float]:
    """Figures of the image itself, which every method has: brightness, the ratio of bright to middle tissue, the share
    of fine detail, and the noise over the signal."""
    image = np.abs(np.asarray(result.reconstruction, np.float64))
    if not np.isfinite(image).all():
        raise ReconError(f"{path}: its image has NaN or infinite values; reconstruct it again")
    white = float(np.percentile(image, 99))
    if white <= 0:
        raise ReconError(f"{path}: its image is empty; reconstruct it again")
    head = image[image > 0.15 * white]
    found = {
        "brightness": math.log(white),
        "tissue_ratio": math.log(float(np.percentile(head, 90) / np.percentile(head, 50))),
        "sharpness": math.log(_fine_share(image)),
    }
    noise = result.audit.get("noise_std")
    if noise is not None:
        found["noise_ratio"] = math.log(_positive(path, "noise_std", noise) / white)
    return found


def _fine_share(image: NDArray[np.float64]) -> float:
    """Energy of differences of neighbours over that of differences two pixels apart, ``[slice, row, column]``: a
    low-pass lowers it, sharpening and noise raise it."""
    near = sum(float((np.diff(image, axis=axis) ** 2).sum()) for axis in (1, 2))
    far = float(((image[:, 2:] - image[:, :-2]) ** 2).sum() + ((image[:, :, 2:] - image[:, :, :-2]) ** 2).sum())
    return max(near, 1e-30) / max(far, 1e-30)
