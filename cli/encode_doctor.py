"""Command ``recon encode doctor``: can this encoder be used on this volume here?"""

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.encode_inputs import Head, axis_of
from cli.flags import AsJson
from cli.options import Given, with_options
from cli.output import emit
from recon.encode.options import EncoderChoice, VolumeReading


def register(group: typer.Typer) -> None:
    """Add the command to the group."""
    group.command()(doctor)


@with_options(EncoderChoice, VolumeReading, leave_out=("precision", "resample"))
def doctor(
    given: Given,
    volume: Annotated[Path | None, typer.Argument(metavar="VOLUME", help="Result, scan or NIfTI to check.")] = None,
    head: Head = None,
    reference: Annotated[Path | None, typer.Option(metavar="FILE", help="Check that both share a grid.")] = None,
    as_json: AsJson = False,
) -> int:
    """Licence, weight hash, slice axis chosen, tokens kept and dropped, and every reason to refuse. Exits 1 if any."""
    from recon.configuration import load_config
    from recon.encode.doctor import VolumesToExamine, examine
    from recon.encode.encoders import choose_encoder

    choice = load_config(EncoderChoice, None, given.of(EncoderChoice))
    reading = load_config(VolumeReading, None, given.of(VolumeReading))
    axis = None if volume is None else axis_of(reading, volume, tolerant=True)
    found = examine(
        choose_encoder(choice.encoder),
        None if choice.weights is None else Path(choice.weights),
        VolumesToExamine(volume, reference, axis, reading.voxel_size),
        random_seed=choice.random_init,
        head=head,
        device=choice.device,
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
