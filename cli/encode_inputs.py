"""What the commands of ``recon encode`` share: their options, and reading volumes and encoders that these name."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cli.output import note

if TYPE_CHECKING:
    from recon.encode.interface import Encoder
    from recon.encode.volumes import Series

EncoderName = Annotated[
    str | None, typer.Option("--encoder", metavar="NAME", help="See 'recon encode list'; default: the shipped one.")
]
Weights = Annotated[
    Path | None, typer.Option(metavar="FOLDER", help="Weights of the encoder, where they do not come with recon.")
]
RandomInit = Annotated[
    int | None,
    typer.Option(metavar="SEED", help="Use random weights drawn from this seed instead: a control, or to try things."),
]
Reference = Annotated[Path, typer.Option(metavar="FILE", help="Fully sampled scan, result, or NIfTI to compare with.")]
SliceAxis = Annotated[
    str,
    typer.Option(
        metavar="header|upstream|0|1|2",
        help="Axis of the reference taken as slice direction: from its header (largest spacing), by NeuroVFM's own "
        "size rule, or as given.",
    ),
]
VoxelSize = Annotated[
    str | None,
    typer.Option(metavar="R,P,S", help="Voxel size in mm (readout,phase,slice) for files that have no affine."),
]
Resample = Annotated[
    bool, typer.Option("--resample", help="Interpolate reconstructions that lie on another grid onto the reference's.")
]
Snr = Annotated[
    float | None,
    typer.Option(help="The scan's SNR (mean signal over noise per real component); default: stored, else estimated."),
]
Seed = Annotated[int, typer.Option(help="Seed of the noise replicas and of the random-init control.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1 ...")]
Precision = Annotated[Literal["fp32", "bf16"], typer.Option(help="Arithmetic of the encoder.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]


def load(name: str | None, weights: Path | None, random_seed: int | None, device: str, precision: str) -> "Encoder":
    """The encoder of that name with its weights, or with random ones, and a word on the latter."""
    from recon.encode.encoders import choose_encoder, load_encoder

    chosen = choose_encoder(name)
    loaded = load_encoder(chosen, weights, device=device, random_seed=random_seed, precision=precision)
    if random_seed is not None:
        note(f"random weights (seed {random_seed}): the figures describe no trained encoder")
    return loaded


def read(path: Path, edges: tuple[float, float, float] | None, encoder: str | None) -> "Series":
    """A volume, checked against what the encoder takes. Raises ReconError."""
    from recon.encode.encoders import choose_encoder, find_row
    from recon.encode.geometry import check_volume
    from recon.encode.volumes import read_series

    series = read_series(path, edges)
    check_volume(series.values, series.affine, str(path), find_row(choose_encoder(encoder)).least_slices)
    return series


def read_onto(
    path: Path, base: "Series", edges: tuple[float, float, float] | None, encoder: str | None, resample: bool
) -> "Series":
    """A volume on the grid of ``base``."""
    from recon.encode.volumes import onto_reference

    return onto_reference(read(path, edges, encoder), base, resample=resample)


def edges_of(text: str | None) -> tuple[float, float, float] | None:
    """``R,P,S`` in mm as numbers. Raises ReconError."""
    from recon.errors import ReconError

    if text is None:
        return None
    try:
        first, second, third = (float(part) for part in text.split(","))
    except ValueError as error:
        raise ReconError(f"--voxel-size {text}: give three lengths in mm, e.g. 0.7,0.7,5") from error
    return (first, second, third)


def axis_of(text: str, path: Path, edges: tuple[float, float, float] | None, tolerant: bool = False) -> int | None:
    """The axis asked for; None leaves it to the header."""
    from recon.encode.geometry import upstream_slice_axis
    from recon.errors import ReconError

    if text == "header":
        return None
    if text in ("0", "1", "2"):
        return int(text)
    if text != "upstream":
        raise ReconError(f"--slice-axis {text}: give header, upstream, 0, 1 or 2")
    try:
        series = read(path, edges, None)
        assert series.affine is not None
        return upstream_slice_axis(series.values.shape, series.affine).axis
    except ReconError:
        if tolerant:
            return None
        raise


def steps() -> Callable[[str], None]:
    """Steps as plain lines on standard error, only at a terminal."""
    import sys

    return note if sys.stderr.isatty() else lambda _: None
