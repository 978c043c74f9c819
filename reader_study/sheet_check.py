"""Is a score sheet one that this study's viewer can have written, and what is missing in it?"""

from collections.abc import Sequence
from typing import Any

from reader_study.protocol import Protocol
from reader_study.sheet import Expected, Flag, Package, Response, Sheet
from recon.errors import ReconError

LONGEST_LOOK = 1e6  # seconds that one presentation was before a reader's eyes; eleven days


def check_sheet(sheet: Sheet, protocol: Protocol, packages: Sequence[Package]) -> Package:
    """Check study, package, signature, presentations and scores; gives the package that the sheet belongs to.

    Raises ReconError naming the file and, for a bad score, the reader and the presentation. Missing answers are
    not an error here: ``missing`` lists them.
    """
    name = sheet.path or f"sheet of {sheet.reader}, session {sheet.session}"
    if sheet.study != protocol.hash:
        raise ReconError(f"{name}: this sheet belongs to another study (or to another version of the protocol)")
    package = next((entry for entry in packages if entry.id == sheet.package), None)
    if package is None:
        raise ReconError(f"{name}: package {sheet.package} was never exported for this study")
    if (sheet.reader, sheet.session) != (package.reader, package.session):
        raise ReconError(f"{name}: package {package.id} belongs to {package.reader}, session {package.session}")
    if not sheet.verified(package.public_key):
        raise ReconError(f"{name}: the signature does not match; the sheet was changed after the reader saved it")
    expected = {entry.id: entry for entry in package.presentations}
    seen: set[str] = set()
    for response in sheet.responses:
        where = f"{name}: reader {sheet.reader}, presentation {response.order} ({response.presentation})"
        known = expected.get(response.presentation)
        if known is None or (known.order, known.training) != (response.order, response.training):
            raise ReconError(f"{where} is not part of this package")
        if response.presentation in seen:
            raise ReconError(f"{where} stands twice")
        seen.add(response.presentation)
        if response.typed_marks:
            raise ReconError(f"{where}: typed marks stand in a table, not in a score sheet")
        check_response(response, where, protocol, known)
        if tuple(response.images) not in (tuple(known.images), tuple(known.series or known.images)):
            raise ReconError(
                f"{where}: the images shown are not those that were exported (SHA-256 differs); a package was changed"
            )
    answers = ("A", "B", "unknown") if protocol.paired else ("reference", "new", "unknown")
    asked = [guess.presentation for guess in sheet.guesses]
    for guess in sheet.guesses:
        known = expected.get(guess.presentation)
        if known is None or not known.guess or guess.guess not in answers:
            raise ReconError(f"{name}: guess {guess.guess!r} for {guess.presentation} is not possible here")
        if asked.count(guess.presentation) > 1:
            raise ReconError(f"{name}: the guess for {guess.presentation} stands twice")
    return package


def check_response(response: Response, where: str, protocol: Protocol, known: Expected) -> None:
    """Raises ReconError for a score, time, comment or flag that the viewer cannot have written."""
    for key, score in response.scores.items():
        if key not in protocol.score_keys:
            raise ReconError(f"{where}: '{key}' is not an item of the protocol")
        allowed = protocol.allowed(key)
        if isinstance(score, bool) or score not in allowed:
            shown = ", ".join(map(str, allowed))
            raise ReconError(f"{where}: {key} is {score!r}, out of scale ({shown})")
    if not 0 <= response.seconds <= LONGEST_LOOK:
        raise ReconError(f"{where}: {response.seconds:g} s were not spent on one presentation")
    lesions = protocol.localisation
    for flag in response.flags:
        marks = lesions is not None and flag.kind == lesions.item
        if not (marks or flag.kind in protocol.viewing.flags) or not _inside(flag, protocol, known):
            raise ReconError(f"{where}: flag {flag.as_mapping()} is not possible here")
        if marks and flag.confidence is None:
            raise ReconError(f"{where}: the mark {flag.as_mapping()} has no rating")
        rating = flag.confidence
        if marks and (isinstance(rating, bool) or rating not in protocol.item(flag.kind).scale):
            scale = ", ".join(map(str, protocol.item(flag.kind).scale))
            raise ReconError(f"{where}: the mark {flag.as_mapping()} is rated out of scale ({scale})")
        if not marks and rating is not None:
            raise ReconError(f"{where}: flag {flag.as_mapping()} is not possible here")


def _inside(flag: Flag, protocol: Protocol, known: Expected) -> bool:
    """Does a spot lie in one of the images that were shown?"""
    sides = ("A", "B") if protocol.paired else ("A",)
    names = protocol.sequence_names
    if flag.side not in sides or flag.sequence not in names:
        return False
    place = sides.index(flag.side) * len(names) + names.index(flag.sequence)
    shape = known.shapes[place] if known.shapes else known.shape or (float("inf"),) * 3
    return 1 <= flag.slice <= shape[0] and 0 <= flag.y <= shape[1] and 0 <= flag.x <= shape[2]


def _required(protocol: Protocol, reader: str) -> list[str]:
    """What must be answered: of an adjudicator the items that are adjudicated."""
    rule = protocol.adjudication
    if rule is not None and reader == rule.reader:
        return list(rule.items)
    return [key for key in protocol.score_keys if protocol.item(key.split("@")[0]).required]


def missing(sheets: Sequence[Sheet], protocol: Protocol, packages: Sequence[Package]) -> list[dict[str, Any]]:
    """Every analysed presentation that lacks a required answer.

    Each is ``{"reader", "session", "presentation", "order", "what"}``; ``what`` is "sheet" (one
    line for a whole session), "response", or the names of the unanswered items. Training presentations do not count.
    Sheets must have passed ``check_sheet``.
    """
    by_package = {sheet.package: sheet for sheet in sheets}
    found: list[dict[str, Any]] = []
    lesions = protocol.localisation
    third = protocol.adjudication.reader if protocol.adjudication is not None else None
    for package in packages:
        line = {"reader": package.reader, "session": package.session, "presentation": None, "order": None}
        sheet, required = by_package.get(package.id), _required(protocol, package.reader)
        if sheet is None:
            found.append({**line, "what": "sheet"})
            continue
        responses = {response.presentation: response for response in sheet.responses}
        for entry in package.presentations:
            if entry.training:
                continue
            response = responses.get(entry.id)
            without = [key for key in required if response is None or key not in response.scores]
            if lesions is not None and package.reader != third and response is not None and not response.marked:
                without.append(lesions.item)
            if without or response is None:
                what = "response" if response is None else ", ".join(without)
                found.append({**line, "presentation": entry.id, "order": entry.order, "what": what})
    return found
