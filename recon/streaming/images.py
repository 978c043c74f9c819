"""The images that go back: magnitude and standard deviation as two series, with geometry and audit."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recon.reconstruction.slicewise import SliceResult
from recon.streaming.work import Work
from recon.version import __version__

# Name of the image, series index, what it is in words.
SERIES = (("reconstruction", 1, "image"), ("std", 2, "standard deviation"))
_COPIED = (
    "measurement_uid", "position", "read_dir", "phase_dir", "slice_dir", "patient_table_position",
    "acquisition_time_stamp", "physiology_time_stamp",
)  # fmt: skip
_COUNTERS = ("average", "slice", "contrast", "phase", "repetition", "set")
_MAGNITUDE = 1


def mrd_images(work: Work, result: SliceResult, head: NDArray, number: int) -> list[Any]:
    """One ``ismrmrd.Image`` a series of a slice; ``head``: of its first acquisition; ``number``: of images sent so far.

    Pixels are float32 in the units of the measured data, ``[1, 1, phase, readout]``, as MRD orders them: x, the
    readout, runs fastest.
    """
    import ismrmrd

    found = []
    for name, series, _ in SERIES:
        if name not in result.images:
            continue
        pixels = np.ascontiguousarray(result.images[name].T, np.float32)
        image = ismrmrd.Image.from_array(pixels, transpose=False)
        for field in _COPIED:
            value = head[field]
            setattr(image, field, tuple(value.tolist()) if value.ndim else int(value))
        for field in _COUNTERS:
            setattr(image, field, int(head["idx"][field]))
        image.field_of_view = _field_of_view(work, result.images[name].shape)
        image.image_type, image.image_index, image.image_series_index = _MAGNITUDE, number + 1, series
        image.attribute_string = _attributes(work, result, name, head).serialize()
        found.append(image)
    return found


def _field_of_view(work: Work, shape: tuple[int, ...]) -> tuple[float, float, float]:
    """In mm along readout, phase, slice; zero where the header does not say. The slice counts with its thickness."""
    scan = work.solver.scan
    if scan.voxel_size is None:
        return (0.0, 0.0, 0.0)
    thickness = scan.header.slice_thickness_mm or scan.voxel_size[2]
    return (shape[0] * scan.voxel_size[0], shape[1] * scan.voxel_size[1], thickness)


def _attributes(work: Work, result: SliceResult, name: str, head: NDArray) -> Any:
    """What the image says of itself; keys of our own begin with ``recon_``."""
    from ismrmrd import Meta

    solver = work.solver
    (words,) = [words for entry, _, words in SERIES if entry == name]
    title = solver.method.title
    described = title if name == "reconstruction" else f"{title}: {words} of the image, not an image of the patient"
    warnings = [*work.warnings, *result.audit["warnings"]]
    if work.fallback is not None:
        warnings.insert(0, f"reconstructed without the prior: {work.fallback}")
    attributes: dict[str, Any] = {
        "DataRole": "Image",
        "SeriesDescription": f"recon {title}" + ("" if name == "reconstruction" else f" {words}"),
        "SequenceDescriptionAdditional": "recon" if name == "reconstruction" else f"recon_{name}",
        "ImageComments": described + "".join(f"; WARNING: {warning}" for warning in warnings),
        "ImageProcessingHistory": ["recon", solver.method.name],
        "Keep_image_geometry": 1,
        "ImageRowDir": [f"{value:.9f}" for value in head["read_dir"]],
        "ImageColumnDir": [f"{value:.9f}" for value in head["phase_dir"]],
        "recon_version": __version__,
        "recon_image": name,
        "recon_method": solver.method.name,
        "recon_seed": solver.options.seed,
        "recon_prior": "none" if solver.prior is None else solver.prior.facts.weights_sha256,
        "recon_acceleration": f"{solver.scan.acceleration:.4g}",
        "recon_noise_source": solver.measurement.preprocessing.noise.source,
    }
    for figure, value in result.audit.get("figures", {}).items():
        if math.isfinite(value):
            attributes[f"recon_{figure}"] = f"{value:.6g}"
    if warnings:
        attributes["recon_warnings"] = warnings
    return Meta(attributes)
