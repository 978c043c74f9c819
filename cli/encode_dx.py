"""Command ``recon encode dx``: scores of a diagnostic head before and after."""

from pathlib import Path
from typing import Annotated

import typer

from cli.encode_inputs import (
    Device,
    Json,
    Precision,
    RandomInit,
    Resample,
    Seed,
    SliceAxis,
    Snr,
    VoxelSize,
    Weights,
    axis_of,
    edges_of,
    load,
    read,
    read_onto,
    steps,
)
from cli.output import emit


def register(group: typer.Typer) -> None:
    """Add the command to the group."""
    group.command()(dx)


def dx(
    reference: Annotated[
        list[str], typer.Option(metavar="NAME=FILE", help="Reference of one series, e.g. FLAIR=full.nii.gz; repeat.")
    ],
    reconstruction: Annotated[
        list[str], typer.Option(metavar="NAME=FILE", help="Reconstruction of one series under the same name; repeat.")
    ],
    head: Annotated[Path, typer.Option(metavar="FOLDER", help="Diagnostic head with its label names.")],
    weights: Weights = None,
    random_init: RandomInit = None,
    snr: Snr = None,
    replicas: Annotated[int, typer.Option(min=0, help="Noise-only replicas of the study; 0 for none.")] = 4,
    everything: Annotated[bool, typer.Option("--all", help="Show every label, not only flips and stroke.")] = False,
    slice_axis: SliceAxis = "header",
    voxel_size: VoxelSize = None,
    resample: Resample = False,
    seed: Seed = 0,
    precision: Precision = "fp32",
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Study-level scores of NeuroVFM's head before and after reconstruction: changes and threshold flips.

    A series of the reference that has no reconstruction stands on both sides unchanged. Scores are logits, not
    probabilities: the head's calibration is known to be off.
    """
    from dataclasses import asdict

    from recon.encode.dx import NoiseReplicas, compare_study
    from recon.encode.neurovfm_head import load_head
    from recon.errors import ReconError

    edges = edges_of(voxel_size)
    named, rebuilt = _named(reference, "--reference"), _named(reconstruction, "--reconstruction")
    unknown = [name for name in rebuilt if name not in named]
    if unknown:
        raise ReconError(f"--reconstruction {unknown[0]}: no --reference {unknown[0]}=FILE to compare it with")
    loaded_head = load_head(head)
    bases = {name: read(path, edges, "neurovfm") for name, path in named.items()}
    series = {
        name: read_onto(rebuilt[name], bases[name], edges, "neurovfm", resample) if name in rebuilt else bases[name]
        for name in named
    }
    network = load("neurovfm", weights, random_init, device, precision)
    change = compare_study(
        network,
        loaded_head,
        bases,
        series,
        NoiseReplicas(seed, replicas, snr),
        slice_axis=axis_of(slice_axis, next(iter(named.values())), edges),
        note=steps(),
    )
    result = {
        "encoder": network.name,
        "weights_hash": network.weights_hash,
        "head_hash": loaded_head.weights_hash,
        "series": change.series,
        "unchanged_series": [name for name in named if name not in rebuilt],
        "tokens": change.tokens,
        "noise_replicas": change.replicas,
        "scores_are": "logits, not probabilities",
        "flips": [row.label for row in change.flips],
        "labels": [asdict(row) for row in change.labels],
        "exploratory": True,
    }
    shown = [row for row in change.labels if everything or row.stroke or row.flip]
    lines = [f"{'label':<36}{'reference':>10}{'recon':>10}{'change':>10}{'noise':>10}  crosses threshold"]
    for row in shown:
        noise = "-" if row.noise_delta is None else f"{row.noise_delta:.3f}"
        lines.append(
            f"{row.label:<36}{row.score_reference:>10.3f}{row.score_reconstruction:>10.3f}{row.delta:>+10.3f}{noise:>10}"
            f"  {row.flip}"
        )
    lines.append(
        f"{len(change.flips)} of {len(change.labels)} labels cross their threshold; scores are not probabilities"
    )
    emit(result, lines, as_json)


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
