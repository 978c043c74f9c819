"""Commands that reconstruct: reconstruct."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.cohort import check_results, each, finish
from cli.flags import AsJson, ConfigFile, Device, PriorFolder, Threads
from cli.options import Given, with_options
from cli.output import note
from cli.progress import Progress
from recon.progress import Report
from recon.reconstruction import formats as image_formats
from recon.reconstruction import methods
from recon.reconstruction.options import ReconstructionOptions

if TYPE_CHECKING:
    from recon.images.dicom_push import Destination
    from recon.prior.store import Prior

REMARKS = {
    **{name: f"Read by {methods.readers(name)}." for name in sorted(methods.SPECIFIC)},
    "method": f"{methods.described()}.",
}


def register(app: typer.Typer) -> None:
    """Add this group's commands to the application."""
    app.command()(reconstruct)


@with_options(ReconstructionOptions, remarks=REMARKS)
def reconstruct(
    scans: Annotated[list[str], typer.Argument(metavar="SCAN", help="Scan files, or folders of them.")],
    out: Annotated[str, typer.Option(metavar="FOLDER", help="Folder for the results.")],
    given: Given,
    prior: PriorFolder = None,
    formats: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="FORMATS",
            help=f"What to write beside the HDF5 file, comma-separated. {image_formats.described()}.",
        ),
    ] = "h5",
    reference: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Fully sampled scan, or a folder of them, for the error in the PNG. Several: matched by name.",
        ),
    ] = None,
    push: Annotated[
        str | None,
        typer.Option(
            metavar="AE@HOST:PORT",
            help="Send the DICOM of each result to this server (C-STORE), too: the forms that --format names, by "
            "default classic series; they are also kept here.",
        ),
    ] = None,
    config: ConfigFile = None,
    device: Device = None,
    threads: Threads = 0,
    as_json: AsJson = False,
) -> None:
    """Reconstruct undersampled scans.

    Writes one result file a scan: the image, its standard deviation where the method knows it, the zero-filled image
    and the audit. Scans that have a result already are kept, so an interrupted cohort continues; one that cannot be
    reconstructed is said and left out, the others are done, and the exit code is 2. Under 'accelerate
    launch -m cli reconstruct ...' each process takes its share of the scans; the results are the same to the bit.
    """
    from recon.configuration import load_config
    from recon.quality.finding import find_references
    from recon.scans.finding import find_scans

    options = load_config(ReconstructionOptions, config, given)
    method = methods.method_of(options)
    wanted = image_formats.read_formats(formats)
    truths = find_references(reference or [])
    if truths:
        image_formats.check_references(wanted, truths)
    destination = _destination(push)
    if destination is not None:
        wanted = image_formats.with_pushed(wanted)
    paths = find_scans(scans)
    check_results(paths, Path(out))
    note(f"reconstructing {len(paths)} scan{'s' * (len(paths) > 1)}")

    import torch

    from recon.prior.store import load_prior, shipped_prior
    from recon.quality.pairing import pair
    from recon.reconstruction.cohort import own_device, own_share
    from recon.reconstruction.machine import chosen_device, physical_threads

    torch.set_num_threads(threads or physical_threads())
    place = own_device(chosen_device(device))
    references: list[Path | None] = (
        [*pair([path.stem for path in paths], truths, "reference")] if truths else [None] * len(paths)
    )
    share = own_share(list(zip(paths, references, strict=True)))
    with Progress() as progress:
        progress.show("loading the prior" if method.needs_prior else "opening scans", 0.0)
        loaded = load_prior(prior or shipped_prior(), place) if method.needs_prior else None
        job = _Job(options, loaded, Path(out), wanted, place, destination)

        def work(position: int, path: Path, report: Report) -> dict[str, Any]:
            return job(path, share[position][1], report)

        outcome = each([path for path, _ in share], work, progress)
    finish(outcome, [_line(entry) for entry in outcome.done], as_json, output=out)


@dataclass(frozen=True)
class _Job:
    """What is done for every scan of the cohort."""

    options: ReconstructionOptions
    prior: "Prior | None"
    out: Path
    formats: tuple[str, ...]
    device: str
    destination: "Destination | None" = None

    def __call__(self, path: Path, reference: Path | None, show: Any) -> dict[str, Any]:
        from recon.errors import ReconError
        from recon.folders import same_place
        from recon.reconstruction.cohort import check_kept
        from recon.reconstruction.formats import check_exportable, export, exported
        from recon.reconstruction.pipeline import reconstruct_to_file
        from recon.scans.opening import open_scan

        output = self.out / f"{path.stem}.h5"
        if same_place(output, path):
            raise ReconError(f"{output}: is the scan itself; choose another --out")
        entry: dict[str, Any] = {"scan": str(path), "output": str(output), "kept": output.is_file()}
        scan = open_scan(path)
        if entry["kept"]:
            check_kept(output, self.options, None if self.prior is None else self.prior.facts.weights_sha256, scan)
            note(f"{output}: kept, it is there already")
            if exported(output, self.formats):
                return self._pushed(entry, output, show)
        check_exportable(scan, self.formats)
        if not entry["kept"]:
            show(path.stem, 0.0)
            outcome = reconstruct_to_file(scan, self.options, output, self.prior, device=self.device, report=show)
            for warning in outcome.warnings:
                note(f"{path.stem}: warning: {warning}")
            entry |= {
                "acceleration": scan.acceleration, "network_calls": outcome.network_calls,
                "seconds": outcome.seconds["total"], "stages": outcome.seconds, **outcome.figures,
                "warnings": list(outcome.warnings),
            }  # fmt: skip
        entry["files"] = [str(file) for file in export(output, scan, self.formats, reference)]
        return self._pushed(entry, output, show)

    def _pushed(self, entry: dict[str, Any], output: Path, show: Any) -> dict[str, Any]:
        """Send the DICOM series of a result, where that is asked for."""
        if self.destination is not None:
            from recon.images.dicom_push import send_files

            files = image_formats.pushed_files(output, self.formats)
            entry["instances_confirmed"] = send_files(files, self.destination, report=show)
        return entry


def _destination(text: str | None) -> "Destination | None":
    """Where to send; raises ReconError when nobody is there, before hours are spent."""
    if text is None:
        return None
    from recon.images.dicom_push import check_destination, parse_destination

    destination = parse_destination(text)
    check_destination(destination)
    return destination


def _line(entry: dict[str, Any]) -> str:
    if entry["kept"]:
        return f"{entry['output']}: kept"
    text = f"{entry['output']}: R = {entry['acceleration']:.2f}, {entry['seconds']:.1f} s{_shares(entry['stages'])}"
    if "noise_inflation" in entry:
        text += f", chi2 {entry['chi2']:.3f} (expected 1)" if "chi2" in entry else ""
        text += (
            f", noise raised {entry['noise_inflation']:.2f}x, "
            f"denoising error {entry['denoising_inflation']:.2f}x the table"
        )
        if "std_relative_error" in entry:
            text += f", std known to {100 * entry['std_relative_error']:.0f} %"
        if "averaging_gain_db" in entry:
            text += (
                f", averaging gain {entry['averaging_gain_db']:.2f} dB (law {entry['averaging_gain_expected_db']:.2f})"
            )
    return text + (f"; {len(entry['warnings'])} warning(s)" if entry["warnings"] else "; no warnings")


def _shares(stages: dict[str, float]) -> str:
    """Where the time of a sampling run went, in per cent."""
    if "network" not in stages:
        return ""
    consistency = sum(stages[name] for name in ("map refinement", "solver set-up", "data consistency"))
    shares = {"network": stages["network"], "data consistency": consistency}
    shares["everything else"] = stages["total"] - sum(shares.values())
    percent = [f"{name} {100 * value / stages['total']:.0f} %" for name, value in shares.items()]
    return f" ({', '.join(percent)})"
