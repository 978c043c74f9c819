"""What the commands of ``recon encode`` share: reading the volumes and encoders that their options name."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.output import note
from recon.encode.options import EncoderChoice, VolumeReading

if TYPE_CHECKING:
    from recon.encode.interface import Encoder
    from recon.encode.volumes import Series

Reference = Annotated[
    Path, typer.Option(metavar="FILE", help="Fully sampled scan, result, NIfTI or DICOM series to compare with.")
]
Head = Annotated[Path | None, typer.Option(metavar="FOLDER", help="Diagnostic head with its label names.")]


def load(choice: EncoderChoice, name: str | None = None) -> "Encoder":
    """The encoder chosen (or ``name``) with its weights, or with random ones, and a word on the latter."""
    from recon.encode.encoders import choose_encoder, load_encoder

    loaded = load_encoder(
        choose_encoder(name or choice.encoder),
        choice.weights,
        device=choice.device,
        random_seed=choice.random_init,
        precision=choice.precision,
    )
    if choice.random_init is not None:
        note(f"random weights (seed {choice.random_init}): the figures describe no trained encoder")
    return loaded


def read(path: Path, reading: VolumeReading, encoder: str | None) -> "Series":
    """A volume, checked against what the encoder takes. Raises ReconError."""
    from recon.encode.encoders import choose_encoder, find_row
    from recon.encode.geometry import check_volume
    from recon.encode.volumes import read_series

    series = read_series(path, reading.voxel_size)
    check_volume(series.values, series.affine, str(path), find_row(choose_encoder(encoder)).least_slices)
    return series


def read_onto(path: Path, base: "Series", reading: VolumeReading, encoder: str | None) -> "Series":
    """A volume on the grid of ``base``."""
    from recon.encode.volumes import onto_reference

    return onto_reference(read(path, reading, encoder), base, resample=reading.resample)


def axis_of(reading: VolumeReading, path: Path, tolerant: bool = False) -> int | None:
    """The axis asked for; None leaves it to the header."""
    from recon.encode.geometry import upstream_slice_axis
    from recon.errors import ReconError

    if reading.slice_axis == "header":
        return None
    if reading.slice_axis in ("0", "1", "2"):
        return int(reading.slice_axis)
    if reading.slice_axis != "upstream":
        raise ReconError(f"--slice-axis {reading.slice_axis}: give header, upstream, 0, 1 or 2")
    try:
        series = read(path, reading, None)
        assert series.affine is not None
        return upstream_slice_axis(series.values.shape, series.affine, series.zooms).axis
    except ReconError:
        if tolerant:
            return None
        raise
