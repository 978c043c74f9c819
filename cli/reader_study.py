"""Blinded reader studies: plan, export, check, unseal. The others are in ``reader_conduct`` and ``reader_analysis``."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import reader_analysis, reader_conduct
from cli.flags import AsJson, Columns, ExpectHead, Sheets
from cli.output import emit, note
from cli.progress import INTERVAL, Progress

if TYPE_CHECKING:
    from reader_study.study import Study

reader_study = typer.Typer(
    name="reader-study",
    help="Blinded reader studies: protocol, packages for the readers, blind check, analysis.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

PassphraseFile = Annotated[
    Path | None, typer.Option(help="File whose first line is the passphrase; otherwise it is asked for.")
]


def register(app: typer.Typer) -> None:
    """Add this group to the application."""
    for command in (plan, export, check, unseal):
        reader_study.command()(command)
    reader_conduct.register(reader_study)
    reader_analysis.register(reader_study)
    app.add_typer(reader_study)


def plan(
    protocol: Annotated[Path | None, typer.Argument(help="The protocol, a YAML file.")] = None,
    out: Annotated[Path | None, typer.Option(help="Study folder to freeze the protocol in.")] = None,
    template: Annotated[Path | None, typer.Option(help="Write a commented protocol to start from.")] = None,
    reason: Annotated[str, typer.Option(help="Why a frozen protocol is changed; goes into the log.")] = "",
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
    study: Annotated[Path, typer.Argument(help="The study folder that 'plan' made.")],
    images: Annotated[
        str | None,
        typer.Option(
            help="Pattern 'results/{arm}/{case}.h5', with sequences '{arm}/{case}/{sequence}.h5', or a CSV table: "
            "case, arm, (sequence,) path, mask."
        ),
    ] = None,
    masks: Annotated[str | None, typer.Option(help="Pattern of defacing masks, 'masks/{case}.nii.gz'.")] = None,
    lesions: Annotated[
        str | None,
        typer.Option(help="Pattern of the masks of the lesions that readers will mark, 'truth/{case}.nii.gz'."),
    ] = None,
    push: Annotated[str | None, typer.Option(help="Send the DICOM series to a server as well: AE@host:port.")] = None,
    session: Annotated[
        list[str] | None,
        typer.Option(help="With --push: send only what this session shows, 'R1-session-2'; repeatable. Default: all."),
    ] = None,
    calling_title: Annotated[str, typer.Option(help="Our own AE title for --push.")] = "RECON",
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
        passphrase = _passphrase(passphrase_file, new=True)
        with Progress(quiet=INTERVAL) as progress:
            outcome = export_study(study, images, passphrase, masks=masks, lesions=lesions, report=progress.show)
        checks = {"dicom": outcome.check.as_mapping(), "viewer": outcome.viewer_check.as_mapping()}
        result |= {"passed": outcome.passed, "check": checks, "log_head": outcome.head}
        for where, verdict in (("DICOM series", outcome.check), ("viewer's packages", outcome.viewer_check)):
            lines += _verdict_lines(verdict, f" of the {where}")
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


def check(
    folder: Annotated[
        Path, typer.Argument(help="A study folder, or any folder or zip archive with the series of two arms.")
    ],
    pairs: Annotated[
        Path | None, typer.Option(help="CSV table of any package: case, arm, path (of a series or a file).")
    ] = None,
    passphrase_file: Annotated[
        Path | None,
        typer.Option(help="Study folder only: open the key for the check of pairs; the log will say so."),
    ] = None,
    sheets: Annotated[
        list[Path] | None,
        typer.Option(help="Study folder only: check score sheets that came in and log their hashes; repeatable."),
    ] = None,
    columns: Columns = None,
    expect_head: ExpectHead = None,
    as_json: AsJson = False,
) -> None:
    """Blind check: can anything but the picture tell the arm? Exit code 1 names the attribute that leaks.

    Any folder or zip archive: ARM/CASE/ or CASE/ARM/ with DICOM, PNG or NIfTI files, or a table. A study folder: that
    no file, key or log line was altered, and that all series have the same attributes; the pairs themselves were
    checked by 'export' and can be checked again with the passphrase. With --sheets also every score sheet: study,
    signature, scale, completeness.
    """
    from reader_study.blind_check import check_pairs
    from reader_study.pair_folders import find_pairs, unpacked
    from reader_study.study import LOG, open_study
    from recon.errors import ReconError

    if columns is not None and not sheets:
        raise ReconError(f"--columns {columns}: is of score tables; name them with --sheets")
    if pairs is None and (folder / LOG).is_file():
        _check_study(open_study(folder, expect_head), passphrase_file, sheets, columns, as_json)
        return
    with unpacked(folder) as place, Progress(quiet=INTERVAL) as progress:
        verdict = check_pairs(find_pairs(place, pairs), progress.show)
    emit({"output": str(folder), **verdict.as_mapping()}, _verdict_lines(verdict), as_json)
    if not verdict.passed:
        raise typer.Exit(1)


def _check_study(
    study: "Study", passphrase_file: Path | None, sheets: list[Path] | None, columns: Path | None, as_json: bool
) -> None:
    from reader_study import audit_log
    from reader_study.blind_check import check_pairs
    from reader_study.export import dicom_pairs
    from reader_study.integrity import absent, uniform_series, verify_files
    from reader_study.opened_key import unlock
    from reader_study.series_facts import MODIFIED
    from reader_study.study import LOG

    problems = verify_files(study)
    findings = uniform_series(study)
    copied = [finding for finding in findings if finding.attribute == MODIFIED]
    problems += [f"{finding.attribute}: {finding.example}" for finding in findings if finding not in copied]
    away = absent(study)
    result: dict[str, Any] = {"output": str(study.folder), "passed": not problems, "problems": problems, "absent": away}
    result["copied"] = bool(copied)
    kept = "every file here, the key and the log are as exported; all series here have the same attributes"
    lines = [*(problems or [kept]), *away]
    if copied:
        lines.append(
            "warning: modification times are not those of the export, as after a copy that keeps none; copy with "
            f"'cp -p' or 'rsync -t' what is handed out ({copied[0].example})"
        )
    if passphrase_file is not None:
        key = unlock(study, _passphrase(passphrase_file))
        verdict = check_pairs(dicom_pairs(study.folder, study.protocol, key))
        result |= {"pairs": verdict.as_mapping(), "passed": verdict.passed and not problems}
        lines += _verdict_lines(verdict)
        audit_log.append(study.folder / LOG, "check", {"passed": verdict.passed, "key_opened": True})
    if sheets:
        lines += _check_sheets(study, sheets, columns, result)
    emit(result, lines, as_json)
    if not result["passed"]:
        raise typer.Exit(1)


def _check_sheets(study: "Study", places: list[Path], columns: Path | None, result: dict[str, Any]) -> list[str]:
    """Check and log the sheets that came in; unanswered questions are listed but are no fault of the sheet."""
    from reader_study.conduct import ends_ahead
    from reader_study.scores import collect
    from reader_study.sheet_check import missing
    from reader_study.tables import load_column_map
    from reader_study.unsealing import log_sheet

    collected = collect(study, places, load_column_map(columns))
    found = []
    lines = []
    for sheet in collected.sheets:
        package = next(entry for entry in study.packages if entry.id == sheet.package)
        new = log_sheet(study, sheet) is not None
        left = missing([sheet], study.protocol, [package])
        signed = sheet.path is None or sheet.path.name not in collected.unsigned
        ahead = ends_ahead(sheet)
        found.append(
            {"reader": sheet.reader, "session": sheet.session, "logged": new, "ends_ahead": ahead, "missing": left}
        )
        signature = "signature valid" if signed else "not signed"
        state = f"{len(left)} readings incomplete" if left else "complete"
        kept = "logged" if new else "logged before"
        lines.append(f"{sheet.path}: reader {sheet.reader}, session {sheet.session}, {signature}, {state}, {kept}")
        if ahead:
            lines.append("  warning: by its times it ends later than now; a clock is wrong, or the times are")
    result["sheets"] = found
    return lines


def unseal(
    study: Annotated[Path, typer.Argument(help="The study folder.")],
    sheets: Sheets = None,
    columns: Columns = None,
    out: Annotated[
        Path | None, typer.Option(help="Where to write the opened key (JSON). Default STUDY/key.opened.json.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why the key is opened; goes into the log.")] = "",
    expect_head: ExpectHead = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Open the sealed key, once all readings are in or their absence is logged as a deviation of kind missing.

    Sheets are checked first: study, signature, scale; unsigned tables need a deviation of kind unsigned. Every attempt
    stands in the log. The opened key can be read by its owner only.
    """
    import json

    from reader_study.scores import collect
    from reader_study.study import OPENED_KEY, open_study
    from reader_study.tables import load_column_map
    from reader_study.unsealing import unseal as open_sealed
    from recon.atomic import atomic_path
    from recon.errors import ReconError

    out = out or study / OPENED_KEY
    if out.exists():
        raise ReconError(f"{out}: exists already; choose another name")
    opened = open_study(study, expect_head)
    mapping = load_column_map(columns)
    read = collect(opened, sheets, mapping).sheets
    key = open_sealed(opened, _passphrase(passphrase_file), reason, read)
    with atomic_path(out, private=True) as temporary:
        temporary.write_text(json.dumps(key.as_mapping(), indent=1) + "\n", encoding="utf-8")
    head = open_study(study).head
    emit(
        {"output": str(out), "sheets": len(read), "log_head": head},
        [f"{out}: the opened key, {len(key.presentations)} presentations", f"last line of the log {head}"],
        as_json,
    )


def _passphrase(file: Path | None, new: bool = False) -> str:
    """The passphrase from a file's first line, or asked for without echo; never from the command line or the log."""
    from recon.errors import ReconError

    if file is None:
        if not sys.stdin.isatty():
            raise ReconError("the passphrase cannot be asked for here; give it with --passphrase-file FILE")
        return str(typer.prompt("Passphrase", hide_input=True, confirmation_prompt=new, err=True))
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ReconError(f"{file}: the passphrase cannot be read ({error})") from error
    if not lines:
        raise ReconError(f"{file}: is empty; its first line must be the passphrase")
    if file.stat().st_mode & 0o077:
        note(f"warning: {file} can be read by other users; set its rights to 600")
    return lines[0]


def _verdict_lines(verdict: Any, of: str = "") -> list[str]:
    lines = []
    for finding in verdict.findings:
        kind = "LEAK" if finding.leaks else "warning"
        lines.append(
            f"{kind}: {finding.attribute} ({finding.step}), {finding.cases} of {verdict.pairs} pairs; {finding.example}"
        )
    outcome = "passed" if verdict.passed else "FAILED"
    guessed = f"{verdict.correct} of {verdict.pairs} arms guessed from names and order, p = {verdict.exchange_p:.2g}"
    return [*lines, f"blind check{of} {outcome}: {verdict.pairs} pairs; {guessed}"]
