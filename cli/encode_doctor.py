"""Command ``recon encode doctor``: can this encoder be used on this volume here?"""

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.encode_inputs import Device, EncoderName, Json, RandomInit, SliceAxis, VoxelSize, Weights, axis_of, edges_of
from cli.output import emit


def register(group: typer.Typer) -> None:
    """Add the command to the group."""
    group.command()(doctor)


def doctor(
    volume: Annotated[Path | None, typer.Argument(metavar="VOLUME", help="Result, scan or NIfTI to check.")] = None,
    encoder: EncoderName = None,
    weights: Weights = None,
    random_init: RandomInit = None,
    head: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Diagnostic head to check.")] = None,
    reference: Annotated[Path | None, typer.Option(metavar="FILE", help="Check that both share a grid.")] = None,
    slice_axis: SliceAxis = "header",
    voxel_size: VoxelSize = None,
    device: Device = "cpu",
    as_json: Json = False,
) -> int:
    """Licence, weight hash, slice axis chosen, tokens kept and dropped, and every reason to refuse. Exits 1 if any."""
    from recon.encode.doctor import VolumesToExamine, examine
    from recon.encode.encoders import choose_encoder

    edges = edges_of(voxel_size)
    axis = None if volume is None else axis_of(slice_axis, volume, edges, tolerant=True)
    found = examine(
        choose_encoder(encoder),
        weights,
        VolumesToExamine(volume, reference, axis, edges),
        random_seed=random_init,
        head=head,
        device=device,
    )
    lines = [f"{key.replace('_', ' '):<22} {_words(value)}" for key, value in found.facts.items()]
    lines += [f"refused: {reason}" for reason in found.refusals] or ["nothing to refuse"]
    emit({**found.facts, "refusals": found.refusals, "usable": not found.refusals}, lines, as_json)
    return 1 if found.refusals else 0


def _words(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(_words(entry) for entry in value) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{key.replace('_', ' ')} {_words(entry)}" for key, entry in value.items())
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
