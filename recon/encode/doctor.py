"""Whether an encoder can be used on a volume here: everything found, and every reason to refuse, at once."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from recon.encode.encoders import find_row, load_encoder, missing_packages
from recon.encode.geometry import axis_codes, upstream_slice_axis, volume_faults
from recon.encode.interface import Encoder
from recon.encode.volumes import Series, onto_reference, read_series
from recon.errors import ReconError
from recon.images.slice_axis import SliceAxis, header_slice_axis, single_slice_axis, voxel_spacing


@dataclass
class EncoderExamination:
    """What was found, key by key in the order of checking, and why the job cannot be done."""

    facts: dict[str, Any] = field(default_factory=dict)
    refusals: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class VolumesToExamine:
    """A volume and what it is compared with, where there are any; ``slice_axis`` and ``voxel_size`` (mm) as given."""

    volume: Path | None = None
    reference: Path | None = None
    slice_axis: int | None = None
    voxel_size: tuple[float, float, float] | None = None


def examine(
    encoder_name: str,
    weights: Path | None = None,
    volumes: VolumesToExamine = VolumesToExamine(),
    *,
    random_seed: int | None = None,
    head: Path | None = None,
    device: str = "cpu",
) -> EncoderExamination:
    """Check encoder, head and volumes one after the other; a failed check does not stop the next.

    Raises ReconError only for an encoder name that does not exist.
    """
    row = find_row(encoder_name)
    found = EncoderExamination()
    facts = found.facts
    facts.update(encoder=row.name, architecture=row.architecture, token=row.token, licence=row.licence)
    facts["missing_packages"] = missing_packages(row)
    encoder = _attempt(found, load_encoder, encoder_name, weights, device=device, random_seed=random_seed)
    if encoder is not None:
        facts["licence"] = encoder.licence
        facts["weights_hash"] = encoder.weights_hash
        facts["parameters"], facts["tensors"] = _count(encoder)
    if head is not None:
        from recon.encode.neurovfm_head import load_head

        loaded = _attempt(found, load_head, head)
        if loaded is not None:
            facts["head"] = {
                "labels": len(loaded.labels), "labels_hash": loaded.labels_hash, "labels_from": loaded.labels_from,
                "weights_hash": loaded.weights_hash,
            }  # fmt: skip
    edges = volumes.voxel_size
    series = None if volumes.volume is None else _attempt(found, read_series, volumes.volume, edges)
    if series is not None:
        _examine_series(found, series, encoder, volumes.slice_axis)
    base = None if volumes.reference is None else _attempt(found, read_series, volumes.reference, edges)
    if series is not None and base is not None:
        _attempt(found, onto_reference, series, base)
    return found


def _examine_series(found: EncoderExamination, series: Series, encoder: Encoder | None, slice_axis: int | None) -> None:
    facts = found.facts
    facts["volume"] = str(series.path)
    facts["volume_kind"] = series.kind
    facts["shape"] = series.values.shape
    facts["pixel_type"] = "floating point" if series.pixel_type is None else str(series.pixel_type)
    faults = volume_faults(series.values, series.affine, find_row(facts["encoder"]).least_slices)
    found.refusals += [f"{series.path}: {fault}" for fault in faults]
    if series.affine is None or faults:
        return
    facts["voxel_size_mm"] = voxel_spacing(series.affine)
    facts["orientation"] = axis_codes(series.affine)
    given = header_slice_axis(series.affine) if slice_axis is None else SliceAxis(slice_axis, "as given")
    chosen = single_slice_axis(series.values.shape) or given
    facts["slice_axis"], facts["slice_axis_reason"] = chosen.axis, chosen.reason
    try:
        upstream = upstream_slice_axis(series.values.shape, series.affine, series.zooms)
        facts["slice_axis_upstream"] = upstream.axis
    except ReconError:
        facts["slice_axis_upstream"] = None  # its rule fails here; ours does not
    if encoder is None:
        return
    prepared = _attempt(found, encoder.prepare, series.pixels, series.affine, slice_axis=slice_axis)
    if prepared is None:
        return
    facts["grid_shape"] = prepared.preprocessing.grid_shape
    facts["token_size_mm"] = prepared.token_size
    facts["tokens_kept"] = len(prepared.coords)
    facts["tokens_dropped"] = int(prepared.mask.size - np.count_nonzero(prepared.mask))
    facts["intensity_window"] = prepared.preprocessing.intensity
    if len(prepared.coords) == 0:
        found.refusals.append(f"{series.path}: no token left, every patch touches the background")


def _attempt(found: EncoderExamination, call: Any, *arguments: Any, **options: Any) -> Any:
    try:
        return call(*arguments, **options)
    except ReconError as error:
        found.refusals.append(" ".join(str(error).split()))
        return None


def _count(encoder: Encoder) -> tuple[int | None, int | None]:
    network = getattr(encoder, "network", None)
    if network is None:
        return None, None
    tensors = network.state_dict().values()
    return sum(tensor.numel() for tensor in tensors), len(tensors)
