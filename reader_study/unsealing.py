"""From the first sheet that comes in to the opened key: what was received, what is missing, the one way to the key."""

from collections.abc import Sequence

from reader_study import audit_log
from reader_study.canonical import digest
from reader_study.deviations import deviations, excused
from reader_study.opened_key import unlock
from reader_study.seal import Key
from reader_study.sheet import Sheet
from reader_study.sheet_check import missing
from reader_study.study import LOG, Study
from recon.errors import ReconError


def log_sheet(study: Study, sheet: Sheet) -> audit_log.LogEntry | None:
    """Log that a checked sheet was received, by the hash of its content; the same content again changes nothing.

    From then on another sheet for the same package is refused, even one signed with the package's key; not so after one
    that was saved before it was finished. Raises ReconError when a different one was received before.
    """
    refuse_exchanged(study, [sheet])
    mark = digest(sheet.payload())
    if any(entry.event == "sheet" and entry.said.sha256 == mark for entry in study.entries):
        return None
    details = {"package": sheet.package, "reader": sheet.reader, "session": sheet.session, "sha256": mark}
    if unfinished(study, sheet):
        details["unfinished"] = _marks(sheet)
    return audit_log.append(study.folder / LOG, "sheet", details)


def unfinished(study: Study, sheet: Sheet) -> bool:
    """Was the sheet saved on the way: does it say no end, and lack presentations?"""
    package = next(entry for entry in study.packages if entry.id == sheet.package)
    return not sheet.finished and len(sheet.responses) < len(package.presentations)


def _marks(sheet: Sheet) -> dict[str, str]:
    """Presentation -> hash of what was said about it."""
    return {row["presentation"]: digest(row) for row in sheet.payload()["responses"]}


def _refuse_changed(study: Study, sheet: Sheet) -> None:
    """Raises ReconError when an answer differs from the one that a logged unfinished sheet held."""
    marks = _marks(sheet)
    for entry in study.entries:
        if entry.event != "sheet" or entry.said.package != sheet.package:
            continue
        before = entry.said.unfinished or {}
        changed = [name for name, mark in before.items() if marks.get(name) != mark]
        later = [deviation for deviation in deviations(study.entries) if deviation.index > entry.index]
        if changed and not excused(later, "exchanged", sheet.reader, sheet.session):
            raise ReconError(
                f"{sheet.path or sheet.reader}: the answer to presentation {changed[0]} differs from the one in the "
                f"unfinished sheet that was received before (line {entry.index} of the log)"
            )


def refuse_exchanged(study: Study, sheets: Sequence[Sheet]) -> None:
    """Raises ReconError when a sheet differs from the one that was logged for its package.

    So it does where an answer in an unfinished sheet changed, unless the viewer lets readers go back. A deviation of
    kind exchanged that was logged after that sheet excuses it.
    """
    found = deviations(study.entries)
    for sheet in sheets if not study.protocol.viewing.going_back else ():
        _refuse_changed(study, sheet)
    received = [entry for entry in study.entries if entry.event == "sheet" and not entry.said.unfinished]
    logged = {entry.said.package: entry for entry in received}
    for sheet in sheets:
        entry = logged.get(sheet.package)
        if entry is None or entry.said.sha256 == digest(sheet.payload()):
            continue
        later = [deviation for deviation in found if deviation.index > entry.index]
        if not excused(later, "exchanged", sheet.reader, sheet.session):
            raise ReconError(
                f"{sheet.path or sheet.reader}: differs from the sheet of {sheet.reader}, session {sheet.session}, "
                f"that was received before (line {entry.index} of the log)"
            )


def require_complete(study: Study, sheets: Sequence[Sheet], what_not: str = "") -> None:
    """Raises ReconError naming the first missing reading that no logged deviation of kind missing excuses.

    ``what_not`` says what therefore is not done.
    """
    found = deviations(study.entries)
    left = [
        line
        for line in missing(sheets, study.protocol, study.packages)
        if not excused(found, "missing", line["reader"], line["session"], line["presentation"])
    ]
    if left:
        first = left[0]
        place = f", presentation {first['order']} ({first['presentation']})" if first["presentation"] else ""
        raise ReconError(
            f"{study.folder}: {what_not}{len(left)} readings are missing; first: reader {first['reader']}, session "
            f"{first['session']}{place}: {first['what']}; collect them, or log why with 'recon reader-study deviation "
            "--kind missing'"
        )


def require_adjudicated(study: Study, sheets: Sequence[Sheet]) -> None:
    """Raises ReconError where the protocol wants disagreements adjudicated and none were, or of other sheets.

    A deviation of kind exchanged that was logged after the adjudication excuses another sheet.
    """
    if study.protocol.adjudication is None:
        return
    done = study.adjudicated
    if done is None:
        raise ReconError(f"{study.folder}: not adjudicated yet; run 'recon reader-study adjudicate' first")
    later = [deviation for deviation in deviations(study.entries) if deviation.index > done.index]
    for sheet in sheets:
        rested = done.said.sheets.get(sheet.package)
        if sheet.reader == study.protocol.adjudication.reader or rested == digest(sheet.payload()):
            continue
        if not excused(later, "exchanged", sheet.reader, sheet.session):
            raise ReconError(
                f"{sheet.path or sheet.reader}: is not the sheet of {sheet.reader}, session {sheet.session}, on which "
                f"the adjudication rests (line {done.index} of the log)"
            )


def unseal(study: Study, passphrase: str, reason: str, sheets: Sequence[Sheet]) -> Key:
    """Open the key, once every reading is there or its absence is a logged deviation; the log keeps who asked why.

    ``sheets`` must have passed ``sheet_check.check_sheet``. A failed attempt is logged as well. Raises ReconError
    naming the first missing reading, a wrong passphrase, an altered key, or a key other than the one committed to.
    """
    study.require_export()
    if not reason.strip():
        raise ReconError("unsealing needs a reason; give it with --reason")
    refuse_exchanged(study, sheets)
    require_complete(study, sheets, "not unsealed, ")
    require_adjudicated(study, sheets)
    log = study.folder / LOG
    try:
        key = unlock(study, passphrase)
    except ReconError as error:
        audit_log.append(log, "unseal-failed", {"reason": str(error).split(": ", 1)[-1]})
        raise
    hashes = {sheet.package: digest(sheet.payload()) for sheet in sheets}
    details = {"reason": reason.strip(), "deviations": len(deviations(study.entries)), "sheets": hashes}
    audit_log.append(log, "unseal", details)
    return key
