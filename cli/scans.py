"""Commands on scan files: info, convert, undersample."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.cohort import each, finish, is_one, outputs
from cli.flags import AsJson
from cli.options import Given, with_options
from cli.progress import WORTH_SAYING, Progress
from recon.progress import Report
from recon.scans.options import ConversionOptions, UndersamplingOptions
from recon.scans.readers import READERS

QUARTER_OF_EIGHTH = 1 / 32  # protocols give partial Fourier in eighths; lines come in whole numbers
FORMATS = "; ".join(f"{reader.name} ({reader.help})" for reader in READERS)


def register(app: typer.Typer) -> None:
    """Add this group's commands to the application."""
    app.command()(info)
    app.command()(convert)
    app.command()(undersample)


def info(
    scans: Annotated[list[Path], typer.Argument(metavar="SCAN", help=f"Scans, or folders of them: {FORMATS}.")],
    as_json: AsJson = False,
) -> None:
    """Say what is in a scan and whether it can be reconstructed (and why not).

    Reads every slice once to find damaged values. Exits with 1 when a scan can be opened but not reconstructed, with 2
    when one cannot be opened. With several scans or a folder, --json prints them as a list 'scans'.
    """
    from recon.scans.finding import find_scans

    paths = find_scans(scans)
    with Progress(WORTH_SAYING) as progress:
        outcome = each(paths, _inspected, progress)
    lines = [line for found in outcome.done for line in _describe(found)]
    finish(outcome, lines, as_json, one=is_one(scans))
    if not all(found["can_reconstruct"] for found in outcome.done):
        raise typer.Exit(1)


def _inspected(position: int, path: Path, report: Report) -> dict[str, Any]:
    from recon.reconstruction.feasibility import examine
    from recon.scans.readers import reader_of

    reader = reader_of(path)
    scan = reader.open(path)
    found = examine(scan, report)
    return {
        "path": str(path),
        "format": reader.name,
        "digest": scan.digest,
        "identity": scan.identity,
        "source_digest": scan.source_digest,
        "slices": scan.shape[0],
        "coils": scan.shape[1],
        "readout": scan.shape[2],
        "phase": scan.shape[3],
        "image_shape": scan.image_shape,
        "contrast": scan.contrast,
        "voxel_size_mm": scan.voxel_size,
        "orientation_known": scan.affine is not None,
        "mask": found.mask,
        "partial_fourier": found.partial_fourier,
        "acceleration": scan.acceleration,
        "phase_limits": scan.phase_limits,
        "calibration": scan.calibration,
        "separate_calibration": scan.calibration_kspace is not None,
        "noise_scan": scan.noise is not None,
        "noise_covariance": scan.noise_covariance is not None,
        "reference": scan.read_reference is not None,
        "dead_coils": found.dead_coils,
        "empty_slices": found.empty_slices,
        "header": scan.header.known(),
        "notes": scan.notes,
        "can_reconstruct": found.can_reconstruct,
        "problems": found.problems,
        "warnings": found.cautions,
    }


@with_options(ConversionOptions)
def convert(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE", help=".npy or .mat arrays, or scans of any format, or folders of scans."),
    ],
    out: Annotated[
        Path,
        typer.Option(
            metavar="FILE", help="fastMRI HDF5 (.h5), or BART (.cfl) for scans. A folder where several are converted."
        ),
    ],
    given: Given,
    as_json: AsJson = False,
) -> None:
    """Bring k-space of other origin into the fastMRI form; a sampling mask is found from its zeros.

    An output that was made of the same file before is replaced; any other file that is there only with --force.
    """
    from recon.configuration import load_config
    from recon.scans import conversion
    from recon.scans.finding import find_scans
    from recon.scans.opening import open_scan

    options = load_config(ConversionOptions, None, given)
    paths = find_scans(files)
    places = outputs(files, paths, out)

    def work(position: int, path: Path, report: Report) -> dict[str, Any]:
        made = conversion.convert(path, places[position], options, report)
        scan = open_scan(made)
        return {
            "output": str(made),
            "slices": scan.shape[0],
            "coils": scan.shape[1],
            "readout": scan.shape[2],
            "phase": scan.shape[3],
            "acceleration": scan.acceleration,
            "calibration": scan.calibration,
            "contrast": scan.contrast,
        }

    with Progress(WORTH_SAYING) as progress:
        outcome = each(paths, work, progress)
    lines = [
        f"{made['output']}: {made['slices']} slices, {made['coils']} coils, {made['readout']} readout x "
        f"{made['phase']} phase, {made['acceleration']:.2f}x, contrast {made['contrast']}"
        for made in outcome.done
    ]
    finish(outcome, lines, as_json, one=is_one(files), output=str(out))


@with_options(UndersamplingOptions)
def undersample(
    scans: Annotated[list[Path], typer.Argument(metavar="SCAN", help="Fully sampled scans, or folders of them.")],
    out: Annotated[
        Path,
        typer.Option(metavar="FILE", help="The undersampled scan (fastMRI HDF5). A folder where there are several."),
    ],
    given: Given,
    as_json: AsJson = False,
) -> None:
    """Keep only the k-space lines that a faster scan would have acquired.

    The reference image stays in the original file, which 'recon evaluate --reference FILE' reads; the output holds
    none unless --keep-reference is given. Lines always run along the readout; swap the axes with 'recon convert'.
    """
    from recon.configuration import load_config
    from recon.scans import undersample as science
    from recon.scans.finding import find_scans
    from recon.scans.opening import open_scan

    options = load_config(UndersamplingOptions, None, given)
    paths = find_scans(scans)
    places = outputs(scans, paths, out)

    def work(position: int, path: Path, report: Report) -> dict[str, Any]:
        done = science.undersample(open_scan(path), places[position], options, report)
        return {
            "output": str(done.output),
            "mask": done.kind,
            "acceleration": done.acceleration,
            "calibration": done.calibration,
            "sampled_lines": int(done.mask.sum()),
            "seed": options.seed,
        }

    with Progress(WORTH_SAYING) as progress:
        outcome = each(paths, work, progress)
    lines = [
        f"{done['output']}: {done['mask']} mask, {done['acceleration']:.2f}x net of "
        f"{done['calibration'][0]} x {done['calibration'][1]} calibration"
        for done in outcome.done
    ]
    finish(outcome, lines, as_json, one=is_one(scans), output=str(out))


def _sampling(result: dict[str, Any]) -> str:
    """The mask in words, with the edges of k-space that it lacks."""
    words = [result["mask"]]
    for axis, share in zip(("readout", "phase"), result["partial_fourier"] or (), strict=False):
        if share < 1:
            eighths = round(8 * share)
            nearly = f" ({eighths}/8)" if eighths < 8 and abs(share - eighths / 8) < QUARTER_OF_EIGHTH else ""
            words.append(f"partial Fourier: {100 * share:.0f} % of {axis}{nearly}")
    if len(words) > 1 and words[0] == "partial Fourier":
        words = words[1:]
    return ", ".join(words)


def _describe(result: dict[str, Any]) -> list[str]:
    """The findings of ``info`` for people."""
    voxel = result["voxel_size_mm"]
    noise = "scan" if result["noise_scan"] else "covariance" if result["noise_covariance"] else "none"
    calibration = f"{result['calibration'][0]} x {result['calibration'][1]}"
    if result["separate_calibration"]:
        calibration += ", and a separate calibration scan"
    lines = [
        f"{result['path']} ({result['format']})",
        f"  k-space      {result['slices']} slices, {result['coils']} coils, "
        f"{result['readout']} readout x {result['phase']} phase",
        f"  image        {result['image_shape'][0]} x {result['image_shape'][1]}"
        + (f", voxel {voxel[0]:.3g} x {voxel[1]:.3g} x {voxel[2]:.3g} mm" if voxel else ""),
        f"  contrast     {result['contrast']}",
        f"  sampling     {_sampling(result)}, {result['acceleration']:.2f}x, calibration {calibration}",
        f"  noise        {noise}",
        f"  reference    {'stored' if result['reference'] else 'none'}",
    ]
    if result["header"]:
        lines.append("  header       " + ", ".join(f"{key} {value}" for key, value in result["header"].items()))
    lines += [f"  note         {text}" for text in result["notes"]]
    lines += [f"  warning      {text}" for text in result["warnings"]]
    lines += [f"  problem      {text}" for text in result["problems"]]
    lines.append("  can be reconstructed" if result["can_reconstruct"] else "  cannot be reconstructed")
    return lines
