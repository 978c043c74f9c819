"""Command ``recon benchmark``: every method side by side on one scan."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.flags import AsJson, Device, PriorFolder
from cli.options import Given, with_options
from cli.output import emit, note, write_json
from cli.progress import Progress
from recon.benchmark.options import BenchmarkOptions
from recon.reconstruction import methods


def register(app: typer.Typer) -> None:
    """Add this group's command to the application."""
    app.command()(benchmark)


@with_options(BenchmarkOptions, remarks={"methods": f"Known: {methods.described()}."})
def benchmark(
    scan: Annotated[str, typer.Argument(metavar="SCAN", help="A fully sampled scan; any scan with --hold-out.")],
    given: Given,
    prior: PriorFolder = None,
    slices: Annotated[
        str | None, typer.Option(metavar="FIRST-LAST", help="Only these slices, from 0: one, or first-last.")
    ] = None,
    hold_out: Annotated[
        float | None,
        typer.Option(
            metavar="FRACTION",
            help="For scans without a reference: hold out this fraction of the acquired samples outside the "
            "calibration and compare the k-space that each method predicts there. Takes the mask as it is.",
        ),
    ] = None,
    noise_sigma: Annotated[
        float | None,
        typer.Option(
            metavar="SIGMA", help="Noise standard deviation per real component, file units (with --hold-out)."
        ),
    ] = None,
    contrast: Annotated[
        str | None,
        typer.Option(metavar="CONTRAST", help="Contrast that the prior takes it for. Default: what the file says."),
    ] = None,
    out: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Folder for results, table and figures. Default: none.")
    ] = None,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Compare methods on one scan and one prior.

    A fully sampled scan is undersampled, reconstructed by every method and compared with its root-sum-of-squares image.
    """
    from recon.atomic import check_place
    from recon.configuration import load_config

    note(f"benchmark of {scan}")
    options = load_config(BenchmarkOptions, None, given)
    check_place(out, folder=True)

    import torch

    from recon.benchmark.comparison import benchmark as run
    from recon.prior.store import load_prior, shipped_prior
    from recon.reconstruction.machine import chosen_device, physical_threads

    torch.set_num_threads(physical_threads())
    place = chosen_device(device)
    figures: dict[str, str] = {}
    with Progress() as progress:
        progress.show("loading the prior", 0.0)
        opened = _opened(scan, contrast, slices)
        loaded = load_prior(prior or shipped_prior(), place)
        if hold_out is not None:
            rows = _held_out(opened, loaded, options, given, hold_out, noise_sigma, place, progress)
        else:
            folder = None if out is None else Path(out)
            made = run(opened, loaded, options, folder, device=place, report=progress.show)
            rows = list(made.rows)
            figures = {} if folder is None else _figures(made, folder)
    result: dict[str, Any] = {
        "scan": scan, "prior": loaded.facts.weights_sha256, "noise_snr": options.noise_snr, "rows": rows,
    }  # fmt: skip
    lines = _table(rows)
    if out is not None:
        result |= {"output": out, "figures": figures}
        table = Path(out) / "benchmark.json"
        write_json(table, result)
        lines += [*(f"figure: {path}" for path in figures.values()), f"table: {table}"]
    emit(result, lines, as_json)


def _opened(path: str, contrast: str | None, slices: str | None) -> Any:
    """The scan, or some of its slices, perhaps under another contrast."""
    from dataclasses import replace

    from recon.errors import ReconError
    from recon.scans.derived import with_slices
    from recon.scans.opening import open_scan

    opened = open_scan(path)
    if contrast is not None:
        opened = replace(opened, contrast=contrast)
    if slices is None:
        return opened
    first, _, last = slices.partition("-")
    if not first.isdigit() or not (last.isdigit() or not last):
        raise ReconError(f"--slices {slices}: give one number, or first-last such as 4-6")
    return with_slices(opened, range(int(first), int(last or first) + 1))


def _held_out(
    scan: Any, prior: Any, options: BenchmarkOptions, given: Given, fraction: float, noise_sigma: float | None,
    device: str, progress: Progress,
) -> list[dict[str, Any]]:  # fmt: skip
    from recon.benchmark.held_out import score_held_out
    from recon.reconstruction.options import ReconstructionOptions

    choice = ReconstructionOptions(
        samples=options.samples, steps=options.steps, coils=options.coils, noise_sigma=noise_sigma, seed=options.seed
    )
    return score_held_out(
        scan, prior, choice, given.get("methods"), fraction=fraction, oracle=options.oracle, device=device,
        report=progress.show,
    )  # fmt: skip


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
            lines.append(f"{head:<{width + 2}}" + "".join(f"{key:>15}" for key in keys) + f"{'calls':>8}")
        cells = "".join(_cell(row.get(key), key) for key in keys) + f"{row.get('network_calls', 0):>8}"
        extra = f"   weight {row['weight']:.3g}" if row.get("weight") is not None else ""
        lines.append(f"  {label:<{width}}{cells}{extra}")
    if "noise_floor" in rows[0]:
        lines.append(f"noise alone gives {rows[0]['noise_floor']:.4f}; the error of a perfect image")
    return lines


def _cell(value: float | None, key: str) -> str:
    return f"{'':>15}" if value is None else f"{value:>15.{1 if key == 'seconds' else 2 if key == 'psnr' else 4}f}"
