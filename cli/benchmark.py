"""Command ``recon benchmark``: samplers and baselines side by side on one scan."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.output import emit, note
from cli.progress import Progress


def register(app: typer.Typer) -> None:
    """Add this group's command to the application."""
    app.command()(benchmark)


def benchmark(
    scan: Annotated[str, typer.Argument(metavar="SCAN", help="A fully sampled scan; any scan with --hold-out.")],
    prior: Annotated[
        str | None, typer.Option(help="Folder of a prior. Default: the small one that comes with recon.")
    ] = None,
    acceleration: Annotated[str, typer.Option(help="Comma-separated accelerations.")] = "2,3,4,5",
    axis: Annotated[
        str, typer.Option(help="Image axis of the file along which lines are left out: phase, readout or both.")
    ] = "phase",
    mask: Annotated[str, typer.Option(help="Kind of mask, as in 'recon undersample'.")] = "equispaced",
    calibration_lines: Annotated[int, typer.Option(min=8, help="Fully sampled central lines.")] = 16,
    noise_snr: Annotated[
        float | None,
        typer.Option(
            help="Add complex noise until the image SNR is this: the 99th percentile of the root-sum-of-squares image "
            "of the whitened channels over the noise standard deviation per real component in each of them."
        ),
    ] = None,
    samplers: Annotated[
        str, typer.Option(help="Comma-separated: stochastic-dds, pula, dps; or none.")
    ] = "stochastic-dds,pula,dps",
    oracle: Annotated[
        bool,
        typer.Option(
            "--oracle",
            help="Add SENSE and L1-wavelet with weights tuned on the reference for each case: an oracle, which cannot "
            "be had in practice.",
        ),
    ] = False,
    dps_weights: Annotated[
        str, typer.Option(help="Weights of DPS, of which the best on the reference is taken.")
    ] = "0.3,1,3",
    samples: Annotated[int | None, typer.Option(min=1, help="Posterior samples. Default: the sampler's own.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Network calls a sample. Default: as for samples.")] = None,
    slices: Annotated[str | None, typer.Option(help="Only these slices, from 0: one, or first-last.")] = None,
    hold_out: Annotated[
        float | None,
        typer.Option(
            help="For scans without a reference: hold out this fraction of the acquired samples outside the "
            "calibration and compare the k-space that each method predicts there. Takes the mask as it is."
        ),
    ] = None,
    coils: Annotated[int, typer.Option(min=1, help="Virtual coils to compress to.")] = 16,
    noise_sigma: Annotated[
        float | None, typer.Option(help="Noise standard deviation per real component, file units (with --hold-out).")
    ] = None,
    contrast: Annotated[
        str | None, typer.Option(help="Contrast contrast_label of the prior, if the file does not say it.")
    ] = None,
    out: Annotated[str | None, typer.Option(help="Folder for results, table and figures. Default: none.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of masks, noise and samples.")] = 0,
    device: Annotated[str | None, typer.Option(help="cpu or cuda. Default: cuda where there is one.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Compare samplers and baselines on one scan and one prior.

    A fully sampled scan is undersampled, reconstructed by every method and compared with its root-sum-of-squares image.
    DPS, which has a weight to be found by hand, gets the best of --dps-weights on the reference.
    """
    import typing
    from dataclasses import replace

    from recon.errors import ReconError

    note(f"benchmark of {scan}")
    rates = _numbers("--acceleration", acceleration)
    weights = _numbers("--dps-weights", dps_weights)
    wanted = [word.strip() for word in samplers.split(",") if word.strip() not in ("", "none")]
    axes = ("phase", "readout") if axis == "both" else (axis,)
    if not set(axes) <= {"phase", "readout"}:
        raise ReconError(f"--axis {axis}: choose phase, readout or both")

    import torch

    from recon.reconstruction.pipeline import ReconstructionOptions, default_device, physical_threads
    from recon.scans.derived import with_slices
    from recon.scans.opening import open_scan

    torch.set_num_threads(physical_threads())
    chosen = device or default_device()
    with Progress() as progress:
        progress.show("loading the prior", 0.0)
        opened = open_scan(scan)
        if contrast is not None:
            opened = replace(opened, contrast=contrast)
        if slices is not None:
            first, _, last = slices.partition("-")
            if not first.isdigit() or not (last.isdigit() or not last):
                raise ReconError(f"--slices {slices}: give one number, or first-last such as 4-6")
            opened = with_slices(opened, range(int(first), int(last or first) + 1))

        from recon.prior.store import load_prior, shipped_prior

        loaded = load_prior(prior or shipped_prior(), chosen)
        if hold_out is not None:
            from recon.benchmark.held_out import score_held_out

            choice = ReconstructionOptions(
                samples=samples, steps=steps, coils=coils, noise_sigma=noise_sigma, seed=seed,
                sampler=typing.cast(typing.Any, wanted[0] if wanted else "stochastic-dds"),
            )  # fmt: skip
            rows = score_held_out(
                opened, loaded, choice, fraction=hold_out, oracle=oracle, device=chosen, report=progress.show
            )
            ratio, figures = None, {}
        else:
            from recon.benchmark.comparison import BenchmarkOptions
            from recon.benchmark.comparison import benchmark as run

            options = BenchmarkOptions(
                accelerations=rates, axes=typing.cast(typing.Any, axes), calibration_lines=calibration_lines, mask=mask,
                samplers=typing.cast(typing.Any, tuple(wanted)), dps_weights=weights, noise_snr=noise_snr,
                oracle=oracle, samples=samples, steps=steps, coils=coils, seed=seed,
            )  # fmt: skip
            folder = None if out is None else Path(out)
            made = run(opened, loaded, options, folder, device=chosen, report=progress.show)
            rows, ratio = list(made.rows), made.time_ratio
            figures = {} if folder is None else _figures(made, folder)
    result: dict[str, Any] = {"scan": scan, "prior": loaded.facts.weights_sha256, "noise_snr": noise_snr, "rows": rows}
    if ratio is not None:
        result["time_ratio"] = ratio
    lines = _table(rows)
    if ratio is not None:
        lines.append(f"time of dps over {wanted[0]}: {ratio:.1f}")
    if out is not None:
        result |= {"output": out, "figures": figures}
        table = Path(out) / "benchmark.json"
        _write(table, result)
        lines += [*(f"figure: {path}" for path in figures.values()), f"table: {table}"]
    emit(result, lines, as_json)


def _figures(made: Any, folder: Path) -> dict[str, str]:
    """One figure an axis, of the slice in the middle."""
    from recon.quality.drawing import save
    from recon.quality.figures import benchmark as draw
    from recon.quality.figures import slice_to_show

    figures = {}
    for axis, by_rate in made.images.items():
        reference, scan = made.references[axis], made.scans[axis]
        index = slice_to_show(reference)
        rows = {rate: {name: image[index] for name, image in row.items()} for rate, row in by_rate.items()}
        path = folder / f"benchmark-{axis}.png"
        figure = draw(
            rows,
            reference[index],
            affine=scan.affine,
            voxel_size=scan.voxel_size,
            title=f"{scan.contrast}, lines left out along the file's {axis} axis",
        )
        save(figure, path)
        figures[axis] = str(path)
    return figures


def _write(path: Path, result: dict[str, Any]) -> None:
    import json

    from recon.atomic import atomic_path

    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(result, indent=1), encoding="utf-8")


def _numbers(option: str, text: str) -> tuple[float, ...]:
    from recon.errors import ReconError

    try:
        values = tuple(float(word) for word in text.split(",") if word.strip())
    except ValueError as error:
        raise ReconError(f"{option} {text}: numbers with commas between are needed, such as 2,4") from error
    if not values or not all(0 < value < 1e6 for value in values):
        raise ReconError(f"{option} {text}: positive numbers are needed")
    return values


def _table(rows: list[dict[str, Any]]) -> list[str]:
    """One line a method, under a heading a case."""
    keys = [key for key in ("held_out_nrmse", "nrmse", "psnr", "ssim", "hfen", "seconds") if key in rows[0]]
    labels = [row["method"] + (" (oracle)" if row.get("oracle") else "") for row in rows]
    width = max(map(len, labels))
    lines: list[str] = []
    case: tuple[Any, ...] | None = None
    for row, label in zip(rows, labels, strict=True):
        if case != (row.get("axis"), row.get("acceleration")):
            case = (row.get("axis"), row.get("acceleration"))
            head = "" if case[0] is None else f"{case[0]}, R = {case[1]:g} (net {row['net_acceleration']:.2f})"
            lines.append(f"{head:<{width + 2}}" + "".join(f"{key:>15}" for key in keys))
        cells = "".join(f"{row[key]:>15.{1 if key == 'seconds' else 2 if key == 'psnr' else 4}f}" for key in keys)
        extra = f"   weight {row['weight']:.3g}" if row.get("weight") is not None else ""
        lines.append(f"  {label:<{width}}{cells}{extra}")
    if "noise_floor" in rows[0]:
        lines.append(f"noise alone gives {rows[0]['noise_floor']:.4f}; the error of a perfect image")
    return lines
