"""Blinded reader studies: plan and export. The others are in ``reader_sealing``, ``reader_conduct`` and
``reader_analysis``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cli import reader_analysis, reader_conduct, reader_sealing
from cli.flags import AsJson
from cli.output import emit
from cli.progress import INTERVAL, Progress
from cli.reader_sealing import PassphraseFile, read_passphrase, verdict_lines

reader_study = typer.Typer(
    name="reader-study",
    help="Blinded reader studies: protocol, packages for the readers, blind check, analysis.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


def register(app: typer.Typer) -> None:
    """Add this group to the application."""
    for command in (plan, export):
        reader_study.command()(command)
    reader_sealing.register(reader_study)
    reader_conduct.register(reader_study)
    reader_analysis.register(reader_study)
    app.add_typer(reader_study)


def plan(
    protocol: Annotated[Path | None, typer.Argument(metavar="PROTOCOL", help="The protocol, a YAML file.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Study folder to freeze the protocol in.")] = None,
    template: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a commented protocol to start from.")
    ] = None,
    reason: Annotated[
        str, typer.Option(metavar="REASON", help="Why a frozen protocol is changed; goes into the log.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Check a study protocol and freeze it, by its hash, before anybody reads.

    Without --out the protocol is only checked. The same protocol again changes nothing; a changed one needs --reason
    and becomes the next version in the study's log.
    """
    from reader_study.protocol import load_protocol
    from reader_study.study import freeze, planned
    from recon.atomic import atomic_path
    from recon.configuration import find_recipe
    from recon.errors import ReconError

    if template is not None:
        if template.exists():
            raise ReconError(f"{template}: exists already; choose another name")
        with atomic_path(template) as temporary:
            temporary.write_bytes(find_recipe("reader-study").read_bytes())
        emit({"output": str(template)}, [f"{template}: a protocol to fill in"], as_json)
        return
    if protocol is None:
        raise ReconError("reader-study plan: name a protocol, or write one to start from with --template FILE")
    checked = load_protocol(protocol)
    rows = planned(checked, protocol)
    result: dict[str, Any] = {
        "protocol_hash": checked.hash,
        "mode": checked.mode,
        "arms": list(checked.arm_names),
        "cases": len(checked.case_ids),
        "readers": len(checked.readers),
        "sessions": checked.sessions.count,
        "presentations": len(rows),
        "frozen": out is not None,
    }
    per_reader = len(rows) // len(checked.readers)
    spare = len(checked.readers) - len(checked.planned_readers)
    reserves = f" and {spare} in reserve" if spare else ""
    lines = [
        f"{checked.title}",
        f"  {checked.mode}, {len(checked.case_ids)} cases, {len(checked.planned_readers)} readers{reserves}, "
        f"{checked.sessions.count} sessions, {per_reader} presentations a reader",
        f"  primary: {checked.primary.hypothesis} on '{checked.primary.item}', margin {checked.primary.margin:g}, "
        f"one-sided alpha {checked.primary.alpha:g}, {checked.primary.readers} readers",
        *_sequence_lines(checked, result),
        *([f"  {checked.localisation}"] if checked.localisation is not None else []),
        *_family_lines(checked),
        *_subset_lines(checked, rows, result),
        f"  hash {checked.hash}",
    ]
    if checked.mode == "independent" and checked.sessions.count == 1:
        same_day = "one session: every reader sees both arms of a case on one day, with no washout between them"
        result["warnings"] = [same_day]
        lines.append(f"  warning: {same_day}")
    if out is not None:
        study, added = freeze(protocol, out, reason)
        result |= {"output": str(out), "version": study.version, "changed": added, "log_head": study.head}
        lines.append(f"  frozen as version {study.version} in {out}" if added else f"  already frozen in {out}")
        lines.append(f"  last line of the log {study.head}")
    else:
        lines.append("  valid, not frozen; freeze it with --out STUDY")
    emit(result, lines, as_json)


def _sequence_lines(protocol: Any, result: dict[str, Any]) -> list[str]:
    """What one presentation shows, where that are several series."""
    from reader_study.sequences import described

    if not protocol.sequences:
        return []
    result["sequences"] = list(protocol.sequence_names)
    return [f"  each presentation shows {described(protocol.sequences)}"]


def _family_lines(protocol: Any) -> list[str]:
    """How three and more arms are compared."""
    family = protocol.comparisons
    if family is None:
        return []
    order = f", {' then '.join(family.order)}" if family.order else ""
    return [f"  {', '.join(protocol.compared)}, each against {protocol.reference} ({family.procedure}{order})"]


def _subset_lines(protocol: Any, rows: Any, result: dict[str, Any]) -> list[str]:
    """How evenly a draw on trial shared the cases among the readers; the export draws anew, and says so too."""
    from reader_study.case_subsets import achieved

    if protocol.readers_per_case is None:
        return []
    reached = achieved(protocol, ((row.reader, row.case) for row in rows))
    result["subsets"] = {**vars(reached), "balanced_incomplete_blocks": reached.complete}
    return [f"  case subsets: {reached}"]


def export(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="The study folder that 'plan' made.")],
    images: Annotated[
        str | None,
        typer.Option(
            metavar="PATTERN",
            help="Pattern 'results/{arm}/{case}.h5', with sequences '{arm}/{case}/{sequence}.h5', or a CSV table: "
            "case, arm, (sequence,) path, mask.",
        ),
    ] = None,
    masks: Annotated[
        str | None, typer.Option(metavar="PATTERN", help="Pattern of defacing masks, 'masks/{case}.nii.gz'.")
    ] = None,
    lesions: Annotated[
        str | None,
        typer.Option(
            metavar="PATTERN", help="Pattern of the masks of the lesions that readers will mark, 'truth/{case}.nii.gz'."
        ),
    ] = None,
    push: Annotated[
        str | None,
        typer.Option(metavar="AE@HOST:PORT", help="Send the DICOM series to a server as well: AE@host:port."),
    ] = None,
    session: Annotated[
        list[str] | None,
        typer.Option(
            metavar="READER-session-N",
            help="With --push: send only what this session shows, 'R1-session-2'; repeatable. Default: all.",
        ),
    ] = None,
    calling_title: Annotated[str, typer.Option(metavar="TITLE", help="Our own AE title for --push.")] = "RECON",
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Write the blinded packages, one folder a reader and session, and seal the key.

    Images: results of 'recon reconstruct' (.h5), NIfTI, or DICOM folders. Both arms are written anew by one writer; no
    header text is carried over. The blind check runs before anything appears; when it finds a leak nothing is exported
    and the exit code is 1. With --push and no --images, an existing export is sent again.
    """
    from reader_study.export import export_study
    from reader_study.push import push as send
    from reader_study.study import open_study
    from recon.errors import ReconError
    from recon.images.dicom_push import parse_destination

    destination = parse_destination(push) if push is not None else None
    if session and destination is None:
        raise ReconError("reader-study export: --session says what --push sends; name the server with --push")
    result: dict[str, Any] = {"output": str(study)}
    lines: list[str] = []
    if images is not None:
        passphrase = read_passphrase(passphrase_file, new=True)
        with Progress(quiet=INTERVAL) as progress:
            outcome = export_study(study, images, passphrase, masks=masks, lesions=lesions, report=progress.show)
        checks = {"dicom": outcome.check.as_mapping(), "viewer": outcome.viewer_check.as_mapping()}
        result |= {"passed": outcome.passed, "check": checks, "log_head": outcome.head}
        for where, verdict in (("DICOM series", outcome.check), ("viewer's packages", outcome.viewer_check)):
            lines += verdict_lines(verdict, f" of the {where}")
        if lesions is not None and outcome.passed:
            lines.append("the lesion masks are frozen by their hashes in the log; 'analyze' needs them again")
        if not outcome.passed:
            emit(result, [*lines, "nothing was exported"], as_json)
            raise typer.Exit(1)
        folders = [str(study / package.folder) for package in outcome.packages]
        result |= {"packages": folders, "images": outcome.images, "commitment": outcome.commitment}
        if outcome.subsets is not None:
            result["subsets"] = {**vars(outcome.subsets), "balanced_incomplete_blocks": outcome.subsets.complete}
            lines.append(f"case subsets: {outcome.subsets}")
        lines += [f"{outcome.images} image series exported; hand out one folder a reader and session:"]
        lines += [f"  {folder}/start.html" for folder in folders]
        pages = study / "worklists" / "*.html"
        lines.append(f"who reads on a PACS gets the page of that session instead, which signs too: {pages}")
        lines.append(f"the score sheets that come back go to {study / 'sheets'}; 'status' says what is missing")
        lines += [f"commitment to the key {outcome.commitment}", f"last line of the log {outcome.head}"]
    elif destination is None:
        raise ReconError("reader-study export: name the images with --images")
    if destination is not None:
        with Progress(quiet=INTERVAL) as progress:
            sent = send(open_study(study), destination, calling_title, progress.show, session or ())
        result["instances_confirmed"] = sent
        lines.append(f"{sent} instances confirmed by {push}")
    emit(result, lines, as_json)
