"""Commands ``recon serve`` and ``recon send``: the MRD streaming server, and a client to try it without a scanner."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.flags import AsJson, ConfigFile, Device, PriorFolder, Threads
from cli.options import Given, with_options
from cli.output import emit, note
from cli.reconstruction import REMARKS
from recon.errors import ReconError
from recon.reconstruction import formats as image_formats
from recon.reconstruction import methods
from recon.reconstruction.options import ReconstructionOptions

if TYPE_CHECKING:
    from recon.streaming.delivery import Delivery
    from recon.streaming.events import Event, Tell

KEPT = [name for name, row in image_formats.FORMATS.items() if not row.reads_kspace]


def register(app: typer.Typer) -> None:
    """Add this group's commands to the application."""
    app.command()(serve)
    app.command()(send)


@with_options(ReconstructionOptions, remarks=REMARKS)
def serve(
    given: Given,
    host: Annotated[
        str,
        typer.Option(metavar="ADDRESS", help="Address to listen on. 0.0.0.0: whoever reaches this machine may send."),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="PORT", help="Port to listen on; 0: any free one.")
    ] = 9002,
    prior: PriorFolder = None,
    deadline: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="SECONDS",
            help="Seconds after the last line in which the prior must be done; later slices are "
            "reconstructed by CG-SENSE, with a warning. By default: as long as it takes.",
        ),
    ] = None,
    at_end: Annotated[
        bool,
        typer.Option(
            "--at-end",
            help="Reconstruct when the scanner closes, not slice by slice: for scanners whose "
            "last-in-slice flag cannot be trusted.",
        ),
    ] = False,
    memory: Annotated[
        int, typer.Option(min=1, metavar="MIB", help="MiB of acquisitions that may wait for their slices.")
    ] = 2048,
    save: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Keep the result of every scan, as 'recon reconstruct' writes it, under names of its own "
            "(scan-00001-3f9a1c.h5); nothing is written over.",
        ),
    ] = None,
    monitor: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Baseline of 'recon monitor fit': every result that --save keeps is charted, with those that are "
            "there already, and a change is said in the log.",
        ),
    ] = None,
    formats: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="FORMATS",
            help=f"What to write beside the results that --save keeps, comma-separated: {', '.join(KEPT)}.",
        ),
    ] = "h5",
    push: Annotated[
        str | None,
        typer.Option(
            metavar="AE@HOST:PORT",
            help="Send the DICOM of each result that --save keeps to this server (C-STORE): the forms that --format "
            "names, by default classic series. What is not confirmed is tried again, also after a restart.",
        ),
    ] = None,
    silence: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="Seconds that a peer may be silent.")
    ] = 60.0,
    config: ConfigFile = None,
    device: Device = None,
    threads: Threads = 0,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print one JSON object a line: when it listens, after each session, when a PACS has confirmed a "
            "result. The log on standard error stays.",
        ),
    ] = False,
) -> None:
    """Reconstruct scans that are streamed to a port (ISMRMRD/MRD protocol), and send the images back.

    One session at a time, others wait. Each slice is reconstructed when its lines are there, a 3-D scan when all of it
    is; the images go back as two series, the image and its standard deviation, with geometry and audit. Ends with
    Ctrl-C or SIGTERM.
    """
    from recon.configuration import load_config

    options = load_config(ReconstructionOptions, config, given)
    watch, delivery = _watch(save, monitor), _delivery(save, formats, push)
    method = methods.method_of(options)

    import torch

    from recon.prior.store import load_prior, shipped_prior
    from recon.reconstruction.machine import chosen_device, physical_threads
    from recon.streaming.events import Listening, Stopped
    from recon.streaming.limits import Limits
    from recon.streaming.server import listening
    from recon.streaming.server import serve as serve_peers
    from recon.streaming.work import Service

    torch.set_num_threads(threads or physical_threads())
    place = chosen_device(device)
    loaded = load_prior(prior or shipped_prior(), place) if method.needs_prior else None
    deliver, tell = None if delivery is None else delivery.add, _teller(as_json)
    service = Service(options, loaded, place, deadline, at_end, save, watch, deliver)
    try:
        with listening(host, port) as listener, nullcontext() if delivery is None else delivery.sending(tell):
            tell(Listening(host, listener.getsockname()[1], method.name))
            serve_peers(listener, service, Limits(memory=memory << 20, silence=silence), tell)
    except KeyboardInterrupt:
        tell(Stopped())


def _teller(as_json: bool) -> "Tell":
    """What prints events. A reader of standard output who has gone does not end the server."""

    def tell(event: "Event") -> None:
        note(event.line())
        if as_json:
            try:
                emit(event.facts(), [], True)
            except ReconError as error:
                note(f"warning: {error}")

    return tell


def _watch(save: Path | None, monitor: Path | None) -> Callable[[Path], str] | None:
    """What looks at each result that is kept; makes the folder for them. Raises ReconError before anybody connects."""
    if save is None:
        if monitor is not None:
            raise ReconError("--monitor watches the results that --save DIR keeps; give both")
        return None
    from recon.streaming.keeping import kept_results, prepare_folder

    prepare_folder(save)
    if monitor is None:
        return None
    from recon.monitoring.baseline import read_baseline
    from recon.monitoring.live import begun

    return begun(read_baseline(monitor), kept_results(save)).add


def _delivery(save: Path | None, formats: str, push: str | None) -> "Delivery | None":
    """What exports and sends the results that are kept. Raises ReconError before anybody connects; a server that is
    away for now is only said."""
    wanted = image_formats.read_formats(formats)
    if refused := sorted(set(wanted) - set(KEPT)):
        raise ReconError(
            f"--format {','.join(refused)}: a server keeps no kspace for it; choose from {', '.join(KEPT)}"
        )
    if push is None and wanted == ("h5",):
        return None
    if save is None:
        raise ReconError("--format and --push are for the results that --save DIR keeps; give it, too")
    from recon.streaming.delivery import Delivery

    if push is None:
        return Delivery(save, wanted)
    from recon.images.dicom_push import check_destination, check_installed, parse_destination

    destination = parse_destination(push)
    check_installed()
    try:
        check_destination(destination)
    except ReconError as error:
        note(f"warning: {error} Results wait for it.")
    return Delivery(save, image_formats.with_pushed(wanted), destination)


def send(
    scan: Annotated[Path, typer.Argument(metavar="SCAN", help="Scan file of any format.")],
    to: Annotated[str, typer.Option(metavar="HOST:PORT", help="The server.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="File for the images that come back (MRD images in HDF5).")],
    as_json: AsJson = False,
) -> None:
    """Send a scan to an MRD server as a scanner would, and keep the images that come back."""
    from recon.streaming.sending import send_scan, write_images

    host, _, port = to.rpartition(":")
    if not (host and port.isdigit() and 0 < int(port) < 65536):
        raise ReconError(f"--to {to}: expected host:port, such as 127.0.0.1:9002")
    received = send_scan(scan, host.strip("[]"), int(port))
    for text in received.texts:
        note(f"{to}: {text}")
    write_images(out, received)
    seconds = received.last_image
    emit(
        {
            "scan": str(scan), "output": str(out), "images": len(received.images), "texts": received.texts,
            "seconds_to_first_image": received.first_image, "seconds_to_last_image": seconds,
        },
        [f"{out}: {len(received.images)} images, the last {seconds:.1f} s after the last line"],
        as_json,
    )  # fmt: skip
