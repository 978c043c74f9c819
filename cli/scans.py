"""Commands on scan files: info, convert, undersample."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.flags import AsJson
from cli.output import emit
from cli.progress import Progress
from recon.progress import Report, silent
from recon.scans.readers import READERS

FORMATS = "; ".join(f"{reader.name} ({reader.help})" for reader in READERS)


def register(app: typer.Typer) -> None:
    """Add this group's commands to the application."""
    app.command()(info)
    app.command()(convert)
    app.command()(undersample)


def info(
    path: Annotated[Path, typer.Argument(metavar="FILE", help=f"A scan: {FORMATS}.")],
    as_json: AsJson = False,
) -> None:
    """Say what is in a scan and whether it can be reconstructed (and why not).

    Reads every slice once to find damaged values. Exits with 1 when the scan can be opened but not reconstructed.
    """
    from recon.scans.inspection import inspect
    from recon.scans.readers import reader_of

    reader = reader_of(path)
    scan = reader.open(path)
    with _shown() as report:
        found = inspect(scan, report)
    result: dict[str, Any] = {
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
        "can_reconstruct": found.can_reconstruct,
        "problems": found.problems,
        "warnings": found.cautions,
    }
    emit(result, _describe(result), as_json)
    if not found.can_reconstruct:
        raise typer.Exit(1)


def convert(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="A .npy or .mat array, or a scan of any format.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="fastMRI HDF5 (.h5), or BART (.cfl) for scans.")],
    axes: Annotated[
        str | None,
        typer.Option(
            "--axes",
            help="Names of an array's axes in stored order, e.g. coil,readout,phase; also slice, and phase2 for 3-D "
            "scans, which become slices. MATLAB 7.3 files list their axes in the reverse of MATLAB's size().",
        ),
    ] = None,
    key: Annotated[str | None, typer.Option("--key", help="The variable in a .mat file.")] = None,
    contrast: Annotated[
        str | None, typer.Option("--contrast", help="T1, T2, PD, FLAIR, DWI ... when the file does not say.")
    ] = None,
    voxel_size: Annotated[
        str | None,
        typer.Option("--voxel-size", help="Millimetres along the output's readout, phase and slice, e.g. 0.7,0.7,5."),
    ] = None,
    corner: Annotated[
        bool, typer.Option("--corner", help="The array stores k-space's centre first, not in the middle.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace --out whatever it is.")] = False,
    as_json: AsJson = False,
) -> None:
    """Bring k-space of other origin into the fastMRI form; a sampling mask is found from its zeros.

    An output that was made of the same file before is replaced; any other file that is there only with --force.
    """
    from recon.scans.arrays import open_array
    from recon.scans.bart import open_volume
    from recon.scans.conversion import convert_array, convert_scan
    from recon.scans.opening import open_scan

    size = _voxel_size(voxel_size)
    named = contrast or "unknown"
    if path.suffix in (".npy", ".mat"):
        if axes is None:
            raise typer.BadParameter(f"{path} is an array: name its axes, e.g. --axes coil,readout,phase")
        with open_array(path, axes.split(","), key) as array, _shown() as report:
            convert_array(array, out, contrast=named, voxel_size=size, corner=corner, force=force, report=report)
    elif axes is not None or key is not None or corner:
        raise typer.BadParameter(f"{path} is a scan whose axes are known; leave out --axes, --key and --corner")
    elif path.suffix in (".cfl", ".hdr") and (volume := open_volume(path)) is not None:
        with _shown() as report:
            convert_array(volume, out, contrast=named, voxel_size=size, force=force, report=report)
    else:
        source = open_scan(path)
        with _shown() as report:
            convert_scan(source, out, contrast=contrast, voxel_size=size, force=force, report=report)
    scan = open_scan(out)
    result = {
        "output": str(out),
        "slices": scan.shape[0],
        "coils": scan.shape[1],
        "readout": scan.shape[2],
        "phase": scan.shape[3],
        "acceleration": scan.acceleration,
        "calibration": scan.calibration,
        "contrast": scan.contrast,
    }
    lines = [
        f"{out}: {scan.shape[0]} slices, {scan.shape[1]} coils, {scan.shape[2]} readout x {scan.shape[3]} phase, "
        f"{scan.acceleration:.2f}x, contrast {scan.contrast}"
    ]
    emit(result, lines, as_json)


def undersample(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="A fully sampled scan.")],
    acceleration: Annotated[float, typer.Option("--acceleration", help="How many times fewer lines to acquire.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The undersampled scan (fastMRI HDF5).")],
    mask: Annotated[
        str,
        typer.Option(
            "--mask",
            help="equispaced (every R-th line plus calibration), random, poisson (2-D, for slices of 3-D scans), "
            "or the fastMRI package's: fastmri-random, fastmri-equispaced, fastmri-equispaced-fraction, "
            "fastmri-magic, fastmri-magic-fraction.",
        ),
    ] = "equispaced",
    calibration_lines: Annotated[
        int | None,
        typer.Option("--calibration-lines", min=0, help="Fully sampled central lines; 24 or fewer where not given."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Chooses the mask, together with what the scan is.")] = 0,
    keep_reference: Annotated[
        bool,
        typer.Option("--keep-reference", help="Store the fully sampled image in the output, too."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Keep only the k-space lines that a faster scan would have acquired.

    The reference image stays in the original file, which 'recon evaluate --reference FILE' reads; the output holds
    none unless --keep-reference is given. Lines always run along the readout; swap the axes with 'recon convert'.
    """
    from recon.scans import undersample as science
    from recon.scans.opening import open_scan

    scan = open_scan(path)
    with _shown() as report:
        done = science.undersample(
            scan,
            out,
            acceleration=acceleration,
            kind=mask,
            calibration_lines=calibration_lines,
            seed=seed,
            keep_reference=keep_reference,
            report=report,
        )
    result = {
        "output": str(done.output),
        "mask": done.kind,
        "acceleration": done.acceleration,
        "calibration": done.calibration,
        "sampled_lines": int(done.mask.sum()),
        "seed": seed,
    }
    lines = [
        f"{done.output}: {done.kind} mask, {done.acceleration:.2f}x net of "
        f"{done.calibration[0]} x {done.calibration[1]} calibration"
    ]
    emit(result, lines, as_json)


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
        f"  sampling     {result['mask']}, {result['acceleration']:.2f}x, calibration {calibration}",
        f"  noise        {noise}",
        f"  reference    {'stored' if result['reference'] else 'none'}",
    ]
    if result["header"]:
        lines.append("  header       " + ", ".join(f"{key} {value}" for key, value in result["header"].items()))
    lines += [f"  warning      {text}" for text in result["warnings"]]
    lines += [f"  problem      {text}" for text in result["problems"]]
    lines.append("  can be reconstructed" if result["can_reconstruct"] else "  cannot be reconstructed")
    return lines


def _voxel_size(text: str | None) -> tuple[float, float, float] | None:
    """Three positive millimetres from ``0.7,0.7,5``."""
    if text is None:
        return None
    try:
        readout, phase, through = (float(word) for word in text.split(","))
    except ValueError as error:
        raise typer.BadParameter(f"--voxel-size {text}: three numbers are needed, e.g. 0.7,0.7,5") from error
    if not all(0 < value < 1000 for value in (readout, phase, through)):
        raise typer.BadParameter(f"--voxel-size {text}: millimetres must be positive")
    return readout, phase, through


@contextmanager
def _shown() -> Iterator[Report]:
    """A progress bar. Moving k-space about takes seconds, so nothing is said where the output is not a terminal."""
    with Progress() as progress:
        yield progress.show if sys.stderr.isatty() else silent
