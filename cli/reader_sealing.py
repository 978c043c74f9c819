"""``recon reader-study check`` and ``unseal``: whether the blind holds, and the end of it."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.flags import AsJson, Columns, ExpectHead, Sheets
from cli.output import emit, note
from cli.progress import INTERVAL, Progress

if TYPE_CHECKING:
    from reader_study.study import Study

PassphraseFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="File whose first line is the passphrase; otherwise it is asked for."),
]


def register(study: typer.Typer) -> None:
    """Add the commands to the ``reader-study`` group."""
    study.command("check")(check)
    study.command("unseal")(unseal)


def check(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="PACKAGE", help="A study folder, or any folder or zip archive with the series of two arms."
        ),
    ],
    pairs: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="CSV table of any package: case, arm, path (of a series or a file)."),
    ] = None,
    passphrase_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Study folder only: open the key for the check of pairs; the log will say so."
        ),
    ] = None,
    sheets: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE", help="Study folder only: check score sheets that came in and log their hashes; repeatable."
        ),
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
    emit({"output": str(folder), **verdict.as_mapping()}, verdict_lines(verdict), as_json)
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
        key = unlock(study, read_passphrase(passphrase_file))
        verdict = check_pairs(dicom_pairs(study.folder, study.protocol, key))
        result |= {"pairs": verdict.as_mapping(), "passed": verdict.passed and not problems}
        lines += verdict_lines(verdict)
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
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="The study folder.")],
    sheets: Sheets = None,
    columns: Columns = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where to write the opened key (JSON). Default STUDY/key.opened.json."),
    ] = None,
    reason: Annotated[str, typer.Option(metavar="REASON", help="Why the key is opened; goes into the log.")] = "",
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
    key = open_sealed(opened, read_passphrase(passphrase_file), reason, read)
    with atomic_path(out, private=True) as temporary:
        temporary.write_text(json.dumps(key.as_mapping(), indent=1) + "\n", encoding="utf-8")
    head = open_study(study).head
    emit(
        {"output": str(out), "sheets": len(read), "log_head": head},
        [f"{out}: the opened key, {len(key.presentations)} presentations", f"last line of the log {head}"],
        as_json,
    )


def read_passphrase(file: Path | None, new: bool = False) -> str:
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


def verdict_lines(verdict: Any, of: str = "") -> list[str]:
    """What the blind check found, for people: a line a finding, then the outcome ``of`` what was checked."""
    lines = []
    for finding in verdict.findings:
        kind = "LEAK" if finding.leaks else "warning"
        lines.append(
            f"{kind}: {finding.attribute} ({finding.step}), {finding.cases} of {verdict.pairs} pairs; {finding.example}"
        )
    outcome = "passed" if verdict.passed else "FAILED"
    guessed = f"{verdict.correct} of {verdict.pairs} arms guessed from names and order, p = {verdict.exchange_p:.2g}"
    return [*lines, f"blind check{of} {outcome}: {verdict.pairs} pairs; {guessed}"]
