"""Command ``recon encode dx``: scores of a diagnostic head before and after."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.encode_inputs import axis_of, load, read, read_onto
from cli.flags import AsJson
from cli.options import Given, with_options
from cli.output import emit
from cli.progress import INTERVAL, Progress
from recon.encode.options import EncoderChoice, NoiseReplicas, VolumeReading

if TYPE_CHECKING:
    from recon.encode.dx import StudyChange

ENCODER = "neurovfm"  # whose tokens the head reads


def register(group: typer.Typer) -> None:
    """Add the command to the group."""
    group.command()(dx)


@with_options(EncoderChoice, NoiseReplicas, VolumeReading, leave_out=("encoder",))
def dx(
    reference: Annotated[
        list[str], typer.Option(metavar="NAME=FILE", help="Reference of one series, e.g. FLAIR=full.nii.gz; repeat.")
    ],
    reconstruction: Annotated[
        list[str], typer.Option(metavar="NAME=FILE", help="Reconstruction of one series under the same name; repeat.")
    ],
    head: Annotated[
        Path,
        typer.Option(metavar="FOLDER", help="Diagnostic head. Label names beside it go first."),
    ],
    given: Given,
    everything: Annotated[bool, typer.Option("--all", help="Show every label, not only flips and stroke.")] = False,
    as_json: AsJson = False,
) -> None:
    """Study-level scores of NeuroVFM's head before and after reconstruction: changes and threshold flips.

    A series of the reference that has no reconstruction stands on both sides unchanged. Scores are logits, not
    probabilities: the head's calibration is known to be off.
    """
    from dataclasses import asdict

    from recon.configuration import load_config
    from recon.encode.dx import compare_study
    from recon.encode.neurovfm_head import load_head
    from recon.errors import ReconError

    choice = load_config(EncoderChoice, None, given.of(EncoderChoice))
    reading = load_config(VolumeReading, None, given.of(VolumeReading))
    named, rebuilt = _named(reference, "--reference"), _named(reconstruction, "--reconstruction")
    unknown = [name for name in rebuilt if name not in named]
    if unknown:
        raise ReconError(f"--reconstruction {unknown[0]}: no --reference {unknown[0]}=FILE to compare it with")
    loaded_head = load_head(head)
    bases = {name: read(path, reading, ENCODER) for name, path in named.items()}
    series = {
        name: read_onto(rebuilt[name], bases[name], reading, ENCODER) if name in rebuilt else bases[name]
        for name in named
    }
    network = load(choice, ENCODER)
    with Progress(quiet=INTERVAL) as progress:
        change = compare_study(
            network,
            loaded_head,
            bases,
            series,
            load_config(NoiseReplicas, None, given.of(NoiseReplicas)),
            slice_axis=axis_of(reading, next(iter(named.values()))),
            report=progress.show,
        )
    result = {
        "encoder": network.name,
        "weights_hash": network.weights_hash,
        "head_hash": loaded_head.weights_hash,
        "labels_hash": loaded_head.labels_hash,
        "labels_from": loaded_head.labels_from,
        "series": change.series,
        "unchanged_series": [name for name in named if name not in rebuilt],
        "tokens": change.tokens,
        "noise_replicas": change.replicas,
        "scores_are": "logits, not probabilities",
        "flips": [row.label for row in change.flips],
        "inside_noise": change.inside,
        "largest_ratio": change.largest_ratio,
        "noise_ratio": change.noise_ratio,
        "labels": [asdict(row) for row in change.labels],
        "exploratory": True,
    }
    emit(result, [*_lines(change, everything), loaded_head.said_of_labels()], as_json)


def _lines(change: "StudyChange", everything: bool) -> list[str]:
    shown = [row for row in change.labels if everything or row.stroke or row.flip]
    lines = [f"{'label':<36}{'reference':>10}{'recon':>10}{'change':>10}{'noise':>10}  crosses threshold"]
    for row in shown:
        noise = "-" if row.noise_delta is None else f"{row.noise_delta:.3f}"
        lines.append(
            f"{row.label:<36}{row.score_reference:>10.3f}{row.score_reconstruction:>10.3f}{row.delta:>+10.3f}{noise:>10}"
            f"  {row.flip}"
        )
    flips = f"{len(change.flips)} of {len(change.labels)} labels cross their threshold"
    if change.inside is None:
        return [*lines, f"{flips}; without replicas nobody knows what noise does; scores are not probabilities"]
    beyond = sum(bool(row.beyond_noise) for row in change.labels)
    return [
        *lines,
        f"{flips} by more than noise; {beyond} labels change by more than noise, which makes "
        f"{len(change.labels) / (change.replicas + 1):.1f} of them do so by itself",
        f"all labels together: {'inside' if change.inside else 'OUTSIDE'} (largest change {change.largest_ratio:.3g} "
        f"times what noise makes of it, noise alone up to {change.noise_ratio:.3g}; noise is called OUTSIDE in "
        f"{1 / (change.replicas + 1):.0%} of studies); scores are not probabilities",
    ]


def _named(entries: list[str], option: str) -> dict[str, Path]:
    from recon.errors import ReconError

    named: dict[str, Path] = {}
    for entry in entries:
        name, separator, path = entry.partition("=")
        if not separator or not name or not path:
            raise ReconError(f"{option} {entry}: give NAME=FILE, e.g. FLAIR=flair.nii.gz")
        if name in named:
            raise ReconError(f"{option} {name}: given twice; name the series differently")
        named[name] = Path(path)
    return named
