"""Command ``recon encode drift``: how far reconstructions move an encoder's tokens."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.encode_inputs import Reference, axis_of, load, read, read_onto
from cli.flags import AsJson
from cli.options import Given, with_options
from cli.output import emit, write_json
from cli.progress import INTERVAL, FirstVolume, Progress
from recon.encode.options import DriftOptions, EncoderChoice, VolumeReading

if TYPE_CHECKING:
    from recon.encode.drift import DriftReport, ReferenceView
    from recon.encode.interface import Encoder
    from recon.encode.volumes import Series


def register(group: typer.Typer) -> None:
    """Add the command to the group."""
    group.command()(drift)


@with_options(EncoderChoice, DriftOptions, VolumeReading)
def drift(
    reconstructions: Annotated[
        list[Path],
        typer.Argument(
            metavar="RESULT", help="Results of 'recon reconstruct', NIfTI files, or folders of one DICOM series."
        ),
    ],
    reference: Reference,
    given: Given,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write drift.json, drift.csv and one PNG a reconstruction.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """How far reconstructions move an encoder's tokens from the reference's, beside what noise alone does.

    Exploratory: encoder drift has not been validated against radiologists. HFEN, SSIM, DISTS (where installed), a noise
    floor, the posterior samples and a random-init control of the same architecture always stand beside it.
    """
    from recon.atomic import check_place
    from recon.configuration import load_config
    from recon.encode.encoders import load_encoder
    from recon.encode.volumes import with_noise_of

    choice = load_config(EncoderChoice, None, given.of(EncoderChoice))
    options = load_config(DriftOptions, None, given.of(DriftOptions))
    check_place(out, folder=True)
    reading = load_config(VolumeReading, None, given.of(VolumeReading))
    axis = axis_of(reading, reference)
    base = read(reference, reading, choice.encoder)
    rebuilt = [read_onto(path, base, reading, choice.encoder) for path in reconstructions]
    base = with_noise_of(base, rebuilt)
    network = load(choice)
    seed = options.seed if choice.random_init is None else choice.random_init + 1
    control = load_encoder(
        network.name, choice.weights, device=choice.device, random_seed=seed, precision=choice.precision
    )
    view, reports = _measure(network, control, base, rebuilt, options, axis)
    result = _result(view, reports, reference, options)
    if out is not None:
        result["output"] = str(out)
        _write(out, view, reports, result)
    emit(result, _drift_lines(result, reports), as_json)


def _measure(
    network: "Encoder",
    control: "Encoder",
    base: "Series",
    rebuilt: "list[Series]",
    options: DriftOptions,
    axis: int | None,
) -> "tuple[ReferenceView, list[tuple[Series, DriftReport]]]":
    """The reference as both encoders see it, and the report of every reconstruction."""
    from recon.encode.drift import measure_drift, view_reference

    # In volumes encoded: the reference and its replicas twice; a reconstruction three times and its samples once.
    floor = 1 + options.replicas
    counts = [
        3 + (0 if series.samples is None else min(len(series.samples), options.max_samples)) for series in rebuilt
    ]
    total, behind = 2 * floor + sum(counts), 0
    with Progress(quiet=INTERVAL) as progress:
        told = FirstVolume(total, progress.note)

        def show(stage: str, fraction: float) -> None:
            told.report(behind + share * fraction)
            progress.show(stage, (behind + share * fraction) / total)

        share = floor
        view = view_reference(network, base, options, slice_axis=axis, report=show)
        behind += floor
        blind = view_reference(control, base, options, slice_axis=axis, report=show)
        behind += floor
        reports = []
        for series, share in zip(rebuilt, counts, strict=True):
            reports.append((series, measure_drift(series, view, blind, options, report=show)))
            behind += share
    return view, reports


def _result(
    view: "ReferenceView", reports: "list[tuple[Series, DriftReport]]", reference: Path, options: DriftOptions
) -> dict[str, Any]:
    from recon.encode.drift_report import as_values

    prepared = view.prepared
    return {
        "encoder": view.encoder.name,
        "licence": view.encoder.licence,
        "weights_hash": view.encoder.weights_hash,
        "reference": str(reference),
        "preprocessing": options.preprocessing,
        "slice_axis": prepared.preprocessing.slice_axis,
        "tokens_kept": len(prepared.coords),
        "tokens_dropped": int(prepared.mask.size - prepared.mask.sum()),
        "token_size_mm": prepared.token_size,
        "exploratory": True,
        "reconstructions": [as_values(series, report) for series, report in reports],
    }


def _write(
    out: Path, view: "ReferenceView", reports: "list[tuple[Series, DriftReport]]", result: dict[str, Any]
) -> None:
    """The table, the figures, and last the JSON: its presence says that all is there."""
    from recon.encode.drift_report import write_figure, write_rows

    write_rows(out / "drift.csv", reports)
    for number, (series, report) in enumerate(reports):
        write_figure(out / f"drift-{number:02d}.png", view, series, report)
    write_json(out / "drift.json", result)


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
        lines.append(f"  {report.local_verdict}")
        if abs(report.intensity_scale - 1) > 0.01:
            lines.append(
                f"  in the reference's units (times {report.intensity_scale:.4g}): mean token distance "
                f"{report.scaled.token_distance:.3g}"
            )
    missing = {report.dists.missing for _, report in reports if report.dists.missing}
    lines += [f"DISTS left out: {reason}" for reason in sorted(missing)]
    lines.append("the mean over tokens cannot see what changes few of them: a lesion is judged by the local verdict")
    return lines


def _short_name(series: "Series") -> str:
    """File name and what made it, within a column of 27 letters."""
    method = series.kind.removeprefix("result of ")
    return (f"{series.path.name} {method}" if method != series.kind else series.path.name)[:27]
