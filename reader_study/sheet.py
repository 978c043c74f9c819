"""Score sheets: what a reader's browser hands back, as signed JSON or as signed CSV with the same content.

JSON: ``{"format": "recon-score-sheet-1", "study", "package", "reader", "session", "started", "finished", "responses":
[...], "guesses": [...], "signature"}``. The signature (``reader_study.signing``) covers the canonical form of all the
rest. A response: ``{"presentation", "order", "training", "scores", "flags", "comment", "seconds", "started",
"finished"}``. Keys of ``scores`` are the protocol's ``score_keys`` (``item``; ``item@A`` and ``item@B`` side by side);
values are integers, or "A", "B", "tie" for a preference; an unanswered optional item is absent. A flag: ``{"kind",
"side", "slice", "x", "y"}``: side "A" or "B" (always "A" in independent mode), slice from 1, x (column) and y (row) in
pixels from 0. A guess: ``{"presentation", "guess"}`` with "reference", "new" or "unknown" in independent mode, else
"A", "B" or "unknown" for the side thought to be new. Times are UTC, ISO 8601; ``seconds`` counts only while the page
was visible.

CSV: one row per score, columns ``SHEET_COLUMNS``; the first row has record ``sheet``. From it the JSON form is rebuilt
exactly, so that the one signature covers both. A comment that a spreadsheet would run as a formula starts with an
apostrophe there.
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from reader_study import signing
from reader_study.canonical import canonical_json
from reader_study.protocol import Protocol
from recon.atomic import atomic_path
from recon.errors import ReconError

FORMAT = "recon-score-sheet-1"
SHEET_COLUMNS = (
    *("record", "study", "package", "reader", "session", "presentation", "order", "training", "item", "score"),
    *("seconds", "started", "finished", "flags", "comment", "signature"),
)


@dataclass(frozen=True)
class Flag:
    """A marked spot. ``slice`` counts from 1, ``x`` (column) and ``y`` (row) from 0 in image pixels."""

    kind: str
    side: str
    slice: int
    x: int
    y: int


@dataclass(frozen=True)
class Response:
    """What one reader said about one presentation."""

    presentation: str
    order: int
    training: bool
    scores: Mapping[str, int | str]
    flags: tuple[Flag, ...]
    comment: str
    seconds: float
    started: str
    finished: str


@dataclass(frozen=True)
class BlindingGuess:
    """The end-of-study guess for one presentation."""

    presentation: str
    guess: str


@dataclass(frozen=True)
class Sheet:
    """One reader's session. ``path`` is where it was read from, for messages."""

    study: str
    package: str
    reader: str
    session: int
    started: str
    finished: str
    responses: tuple[Response, ...]
    guesses: tuple[BlindingGuess, ...]
    signature: str = ""
    path: Path | None = None

    def payload(self) -> dict[str, Any]:
        """Everything that is signed, as plain JSON types."""
        values = asdict(self)
        del values["signature"], values["path"]
        return {"format": FORMAT, **values}

    def signed(self, jwk: dict[str, Any]) -> "Sheet":
        """The same sheet with a signature made by a package's private key."""
        return replace(self, signature=signing.sign(jwk, canonical_json(self.payload())))

    def verified(self, public_key: str) -> bool:
        """Does the signature match the content?"""
        try:
            return signing.verify(public_key, canonical_json(self.payload()), self.signature)
        except ValueError:  # a number that has no canonical form cannot have been signed
            return False


@dataclass(frozen=True)
class Expected:
    """What a package asks for, as the log's export line has it; nothing in it tells an arm."""

    id: str  # of the presentation
    order: int
    training: bool
    guess: bool
    shape: tuple[int, int, int] | None = None  # slices, rows, columns of its images; older exports do not say


@dataclass(frozen=True)
class Package:
    """One reader's session as handed out. ``folder`` is relative to the study folder."""

    id: str
    reader: str
    session: int
    folder: str
    public_key: str
    manifest_sha256: str
    presentations: tuple[Expected, ...]


def write_sheet(path: str | Path, sheet: Sheet) -> None:
    """Write JSON, or CSV when the name ends in ``.csv``. Raises ReconError."""
    content = _to_csv(sheet) if Path(path).suffix.lower() == ".csv" else _to_json(sheet)
    with atomic_path(path) as temporary:
        temporary.write_text(content, encoding="utf-8", newline="")


def read_sheet(path: str | Path) -> Sheet:
    """Read a sheet in JSON or CSV form without checking its signature or its scores (``check_sheet`` does).

    Raises ReconError when it is not a score sheet or truncated.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
        values = _from_csv(text) if path.suffix.lower() == ".csv" else json.loads(text)
        if values.pop("format") != FORMAT:
            raise ValueError("unknown format")
        responses = tuple(
            Response(**{**row, "flags": tuple(Flag(**flag) for flag in row["flags"])}) for row in values["responses"]
        )
        guesses = tuple(BlindingGuess(**row) for row in values["guesses"])
        return Sheet(**{**values, "responses": responses, "guesses": guesses, "path": path})
    except OSError as error:
        raise ReconError(f"{path}: the score sheet cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ReconError(f"{path}: not a score sheet of recon, or cut short ({error})") from error


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
        known = expected.get(str(response.presentation))
        if known is None or (known.id, known.order, known.training) != (
            response.presentation,
            response.order,
            response.training,
        ):
            raise ReconError(f"{where} is not part of this package")
        if response.presentation in seen:
            raise ReconError(f"{where} stands twice")
        seen.add(response.presentation)
        _check_response(response, where, protocol, known.shape)
    answers = ("A", "B", "unknown") if protocol.paired else ("reference", "new", "unknown")
    asked = [guess.presentation for guess in sheet.guesses]
    for guess in sheet.guesses:
        known = expected.get(str(guess.presentation))
        if known is None or known.id != guess.presentation or not known.guess or guess.guess not in answers:
            raise ReconError(f"{name}: guess {guess.guess!r} for {guess.presentation} is not possible here")
        if asked.count(guess.presentation) > 1:
            raise ReconError(f"{name}: the guess for {guess.presentation} stands twice")
    if not (isinstance(sheet.started, str) and isinstance(sheet.finished, str)):
        raise ReconError(f"{name}: started and finished must be times")
    return package


def _check_response(response: Response, where: str, protocol: Protocol, shape: Sequence[int] | None) -> None:
    """Raises ReconError for a score, time, comment or flag that the viewer cannot have written."""
    if not isinstance(response.scores, dict):
        raise ReconError(f"{where}: scores are {response.scores!r}, not one for each item")
    for key, score in response.scores.items():
        if key not in protocol.score_keys:
            raise ReconError(f"{where}: '{key}' is not an item of the protocol")
        allowed = protocol.allowed(key)
        if isinstance(score, bool) or score not in allowed:
            shown = ", ".join(map(str, allowed))
            raise ReconError(f"{where}: {key} is {score!r}, out of scale ({shown})")
    if not _is_number(response.seconds) or not 0 <= response.seconds < float("inf"):
        raise ReconError(f"{where}: {response.seconds!r} is no number of seconds")
    for name in ("comment", "started", "finished"):
        if not isinstance(getattr(response, name), str):
            raise ReconError(f"{where}: {name} is {getattr(response, name)!r}, not a text")
    ends = (float("inf"),) * 3 if shape is None else tuple(shape)
    for flag in response.flags:
        inside = (
            all(map(_is_number, (flag.slice, flag.x, flag.y)))
            and 1 <= flag.slice <= ends[0]
            and 0 <= flag.y <= ends[1]
            and 0 <= flag.x <= ends[2]
        )
        sides = ("A", "B") if protocol.paired else ("A",)
        if flag.kind not in protocol.viewing.flags or flag.side not in sides or not inside:
            raise ReconError(f"{where}: flag {asdict(flag)} is not possible here")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def missing(sheets: Sequence[Sheet], protocol: Protocol, packages: Sequence[Package]) -> list[dict[str, Any]]:
    """Every analysed presentation that lacks a required answer.

    Each is ``{"reader", "session", "presentation", "order", "what"}``; ``what`` is "sheet" (one
    line for a whole session), "response", or the names of the unanswered items. Training presentations do not count.
    Sheets must have passed ``check_sheet``.
    """
    by_package = {sheet.package: sheet for sheet in sheets}
    required = [key for key in protocol.score_keys if protocol.item(key.split("@")[0]).required]
    found: list[dict[str, Any]] = []
    for package in packages:
        line = {"reader": package.reader, "session": package.session, "presentation": None, "order": None}
        sheet = by_package.get(package.id)
        if sheet is None:
            found.append({**line, "what": "sheet"})
            continue
        responses = {response.presentation: response for response in sheet.responses}
        for entry in package.presentations:
            if entry.training:
                continue
            response = responses.get(entry.id)
            without = [key for key in required if response is None or key not in response.scores]
            if without:
                what = "response" if response is None else ", ".join(without)
                found.append({**line, "presentation": entry.id, "order": entry.order, "what": what})
    return found


def _defused(comment: str) -> str:
    """Keep spreadsheets from taking a comment for a formula; an own apostrophe is doubled so that it can be undone."""
    return f"'{comment}" if comment[:1] in ("=", "+", "-", "@", "'", "\t", "\r") else comment


def _to_json(sheet: Sheet) -> str:
    return json.dumps({**sheet.payload(), "signature": sheet.signature}, indent=1, ensure_ascii=False) + "\n"


def _to_csv(sheet: Sheet) -> str:
    """The CSV form; the viewer writes the same bytes (up to key order inside the flags' JSON)."""
    text = io.StringIO()
    rows = csv.DictWriter(text, SHEET_COLUMNS, restval="", lineterminator="\r\n")
    rows.writeheader()
    common = {"study": sheet.study, "package": sheet.package, "reader": sheet.reader, "session": sheet.session}
    ends = {"started": sheet.started, "finished": sheet.finished, "signature": sheet.signature}
    rows.writerow({"record": "sheet", **common, **ends})
    for response in sheet.responses:
        facts = {
            "presentation": response.presentation,
            "order": response.order,
            "training": str(response.training).lower(),
            "seconds": canonical_json(response.seconds).decode(),
            "started": response.started,
            "finished": response.finished,
            "flags": canonical_json([asdict(flag) for flag in response.flags]).decode() if response.flags else "",
            "comment": _defused(response.comment),
        }
        for item, score in response.scores.items() or [("", "")]:
            rows.writerow({"record": "score", **common, **facts, "item": item, "score": score})
    for guess in sheet.guesses:
        rows.writerow({"record": "guess", **common, "presentation": guess.presentation, "score": guess.guess})
    return text.getvalue()


def _from_csv(text: str) -> dict[str, Any]:
    """The JSON mapping behind a CSV sheet. Raises ValueError or KeyError when rows or columns are missing."""
    reader = csv.DictReader(io.StringIO(text, newline=""))
    if reader.fieldnames is None or list(reader.fieldnames) != list(SHEET_COLUMNS):
        raise ValueError("the columns are not those of a score sheet")
    head: dict[str, Any] | None = None
    responses: dict[str, dict[str, Any]] = {}
    guesses: list[dict[str, str]] = []
    for row in reader:
        if row["record"] == "sheet":
            if head is not None:
                raise ValueError("the row with record 'sheet' stands twice")
            head = row
        elif row["record"] == "guess":
            guesses.append({"presentation": row["presentation"], "guess": row["score"]})
        elif row["record"] == "score":
            response = responses.setdefault(
                row["presentation"],
                {
                    "presentation": row["presentation"],
                    "order": int(row["order"]),
                    "training": {"true": True, "false": False}[row["training"]],
                    "scores": {},
                    "flags": json.loads(row["flags"] or "[]"),
                    "comment": row["comment"][1:] if row["comment"][:1] == "'" else row["comment"],
                    "seconds": float(row["seconds"]),
                    "started": row["started"],
                    "finished": row["finished"],
                },
            )
            if row["item"]:
                if row["item"] in response["scores"]:
                    raise ValueError(f"{row['item']} of presentation {row['presentation']} stands twice")
                score = row["score"]
                response["scores"][row["item"]] = int(score) if score.lstrip("-").isdigit() else score
        else:
            raise ValueError(f"record {row['record']!r}")
    if head is None:
        raise ValueError("the row with record 'sheet' is missing")
    return {
        "format": FORMAT,
        "study": head["study"],
        "package": head["package"],
        "reader": head["reader"],
        "session": int(head["session"]),
        "started": head["started"],
        "finished": head["finished"],
        "responses": list(responses.values()),
        "guesses": guesses,
        "signature": head["signature"],
    }
