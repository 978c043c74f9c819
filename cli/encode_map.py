"""Command ``recon encode map``: where the tokens moved."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.encode_inputs import Head, Reference, axis_of, load, read, read_onto
from cli.flags import AsJson
from cli.options import Given, with_options
from cli.output import emit
from recon.encode.options import EncoderChoice, VolumeReading

if TYPE_CHECKING:
    from recon.encode.interface import Encoder


def register(group: typer.Typer) -> None:
    """Add the command to the group."""
    group.command("map")(map_tokens)


@with_options(EncoderChoice, VolumeReading)
def map_tokens(
    reconstruction: Annotated[Path, typer.Argument(metavar="RESULT", help="Result of 'recon reconstruct', or NIfTI.")],
    reference: Reference,
    out: Annotated[Path, typer.Option(metavar="FILE", help="NIfTI to write (.nii.gz), in the reference's space.")],
    given: Given,
    label: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Map what each token added to the change of this label's score (needs --head)."
        ),
    ] = None,
    head: Head = None,
    as_json: AsJson = False,
) -> None:
    """Where the tokens moved: differences painted back into the patient's own space, as coarse as the tokens are."""
    from recon.atomic import check_place
    from recon.configuration import load_config
    from recon.encode.map import difference_map, label_map, write_map
    from recon.errors import ReconError

    if (label is None) != (head is None):
        raise ReconError("--label and --head belong together: give both, or neither")
    choice = load_config(EncoderChoice, None, given.of(EncoderChoice))
    check_place(out, inputs=[reconstruction, reference])
    reading = load_config(VolumeReading, None, given.of(VolumeReading))
    axis = axis_of(reading, reference)
    base = read(reference, reading, choice.encoder)
    series = read_onto(reconstruction, base, reading, choice.encoder)
    network = load(choice)
    prepared = network.prepare(base.pixels, base.affine, slice_axis=axis)
    before = network.encode(prepared)
    after = network.encode(network.prepare(series.pixels, base.affine, prepared.preprocessing))
    labels: dict[str, str] = {}
    if label is not None and head is not None:
        from recon.encode.neurovfm_head import load_head

        _need_neurovfm(network)
        loaded = load_head(head)
        labels = {"labels_hash": loaded.labels_hash, "labels_from": loaded.labels_from}
        token_map = label_map(prepared, before, after, loaded, label)
    else:
        token_map = difference_map(prepared, before, after)
    write_map(out, token_map)
    peak = ", ".join(f"{value:.1f}" for value in token_map.peak_world)
    result = {
        "output": str(out),
        "quantity": token_map.quantity,
        "encoder": network.name,
        "weights_hash": network.weights_hash,
        "token_size_mm": token_map.token_size,
        "resolution": token_map.resolution,
        "tokens": len(token_map.coords),
        "peak_world_mm": token_map.peak_world,
        "peak_value": float(token_map.token_values[abs(token_map.token_values).argmax()]),
        "score_change": token_map.logit_change,
        "sum_of_tokens": float(token_map.token_values.sum()),
        **labels,
        "exploratory": True,
    }
    lines = [
        f"{out}: {token_map.quantity}",
        f"resolution {token_map.resolution}: nothing finer can be read from it",
        f"{len(token_map.coords)} tokens; largest {result['peak_value']:.3g} at RAS ({peak}) mm",
    ]
    if token_map.logit_change is not None:
        lines.append(
            f"score of {label} changed by {token_map.logit_change:+.4g}, the sum over tokens (not a probability)"
        )
    emit(result, lines, as_json)


def _need_neurovfm(network: "Encoder") -> None:
    from recon.errors import ReconError

    if network.name != "neurovfm":
        raise ReconError(
            f"the diagnostic head reads tokens of 'neurovfm', not of '{network.name}'; give --encoder neurovfm"
        )
