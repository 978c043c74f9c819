"""Command ``recon encode drift``: how far reconstructions move an encoder's tokens."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cli.encode_inputs import (
    Device,
    EncoderName,
    Json,
    Precision,
    RandomInit,
    Reference,
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
from cli.output import emit, finite

if TYPE_CHECKING:
    from recon.encode.volumes import Series


def register(group: typer.Typer) -> None:
    """Add the command to the group."""
    group.command()(drift)


def drift(
    reconstructions: Annotated[
        list[Path], typer.Argument(metavar="RESULT...", help="Results of 'recon reconstruct', or NIfTI.")
    ],
    reference: Reference,
    encoder: EncoderName = None,
    weights: Weights = None,
    random_init: RandomInit = None,
    preprocessing: Annotated[
        Literal["reference", "own"],
        typer.Option(
            help="reference: geometry, mask and intensity map are the reference's; own: each volume makes its own, as "
            "upstream does, which measures mostly the mask.",
        ),
    ] = "reference",
    snr: Snr = None,
    replicas: Annotated[int, typer.Option(min=2, help="Noise-only replicas of the reference.")] = 8,
    max_samples: Annotated[int, typer.Option(min=0, help="Posterior samples to embed.")] = 8,
    slice_axis: SliceAxis = "header",
    voxel_size: VoxelSize = None,
    resample: Resample = False,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write drift.json, drift.csv and one PNG a reconstruction.")
    ] = None,
    seed: Seed = 0,
    precision: Precision = "fp32",
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """How far reconstructions move an encoder's tokens from the reference's, beside what noise alone does.

    Exploratory: encoder drift has not been validated against radiologists. HFEN, SSIM, DISTS (where installed), a noise
    floor, the posterior samples and a random-init control of the same architecture always stand beside it.
    """
    from recon.encode.drift import measure_drift, view_reference
    from recon.encode.drift_report import as_values, write_figure, write_rows
    from recon.encode.encoders import load_encoder
    from recon.encode.volumes import with_noise_of

    edges = edges_of(voxel_size)
    axis = axis_of(slice_axis, reference, edges)
    base = read(reference, edges, encoder)
    rebuilt = [read_onto(path, base, edges, encoder, resample) for path in reconstructions]
    base = with_noise_of(base, rebuilt)
    network = load(encoder, weights, random_init, device, precision)
    control_seed = seed if random_init is None else random_init + 1
    say = steps()
    options: dict[str, Any] = {
        "seed": seed,
        "replicas": replicas,
        "snr": snr,
        "preprocessing": preprocessing,
        "slice_axis": axis,
    }
    view = view_reference(network, base, note=say, **options)
    random_network = load_encoder(network.name, weights, device=device, random_seed=control_seed, precision=precision)
    control = view_reference(random_network, base, note=say, **options)
    reports = [
        (series, measure_drift(series, view, control, preprocessing=preprocessing, max_samples=max_samples, note=say))
        for series in rebuilt
    ]
    prepared = view.prepared
    result: dict[str, Any] = {
        "encoder": network.name,
        "licence": network.licence,
        "weights_hash": network.weights_hash,
        "reference": str(reference),
        "preprocessing": preprocessing,
        "slice_axis": prepared.preprocessing.slice_axis,
        "tokens_kept": len(prepared.coords),
        "tokens_dropped": int(prepared.mask.size - prepared.mask.sum()),
        "token_size_mm": prepared.token_size,
        "exploratory": True,
        "reconstructions": [as_values(series, report) for series, report in reports],
    }
    if out is not None:
        result["output"] = str(out)
        write_rows(out / "drift.csv", reports)
        for number, (series, report) in enumerate(reports):
            write_figure(out / f"drift-{number:02d}.png", view, series, report)
        _write_json(out / "drift.json", result)
    emit(result, _drift_lines(result, reports), as_json)


def _write_json(path: Path, result: dict[str, Any]) -> None:
    import json

    from recon.atomic import atomic_path

    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(finite(result), indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _drift_lines(result: dict[str, Any], reports: list[Any]) -> list[str]:
    from recon.encode.drift_report import NO_SAMPLES

    size = result["token_size_mm"]
    lines = [
        f"{result['encoder']} ({result['weights_hash'][:24]}), licence {result['licence']}; exploratory",
        f"{result['tokens_kept']} tokens of {size[1]:.3g} x {size[2]:.3g} x {size[0]:.3g} mm, "
        f"{result['tokens_dropped']} dropped; slice axis {result['slice_axis']}; "
        f"preprocessing: {result['preprocessing']}",
        f"{'':<28}{'cosine':>9}{'5th pct':>9}{'rel. L2':>9}{'pooled':>9}{'HFEN':>8}{'SSIM':>8}{'DISTS':>8}",
    ]
    for series, report in reports:
        drift_, control = report.drift, report.control
        lines.append(
            f"{_short_name(series):<28}{drift_.token_cosine:>9.5f}{drift_.token_cosine_p5:>9.5f}{drift_.relative_l2:>9.4f}"
            f"{drift_.pooled_cosine:>9.5f}{report.hfen:>8.3f}{report.ssim:>8.4f}"
            + (f"{'-':>8}" if report.dists.value is None else f"{report.dists.value:>8.4f}")
        )
        if report.samples:
            values = [sample.token_cosine for sample in report.samples]
            lines.append(f"  {len(values)} posterior samples: cosine {min(values):.5f} to {max(values):.5f}")
        elif series.samples is None and series.kind == "result of posterior":
            lines.append(f"  {NO_SAMPLES}")
        floor = [replica.token_cosine for replica in report.control_noise_floor.replicas]
        lines.append(
            f"  random-init control: {control.token_cosine:.5f}, its noise alone {min(floor):.5f} to {max(floor):.5f}"
        )
        lines.append(f"  {report.verdict}")
    missing = {report.dists.missing for _, report in reports if report.dists.missing}
    lines += [f"DISTS left out: {reason}" for reason in sorted(missing)]
    return lines


def _short_name(series: "Series") -> str:
    """File name and what made it, within a column of 27 letters."""
    method = series.kind.removeprefix("result of ")
    return (f"{series.path.name} {method}" if method != series.kind else series.path.name)[:27]
