"""Score sheets on disk: JSON, or CSV from which the JSON form is rebuilt exactly (see ``reader_study.sheet``)."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from reader_study.canonical import canonical_json
from reader_study.sheet import FORMAT, Sheet
from recon.atomic import atomic_path
from recon.configuration import from_mapping
from recon.errors import ReconError
from recon.foreign.json_file import json_object_in

LARGEST = 50_000_000  # bytes; a sheet of a thousand presentations has some hundred thousand
SHEET_COLUMNS = (
    *("record", "study", "package", "reader", "session", "presentation", "order", "training", "item", "score"),
    *("seconds", "started", "finished", "flags", "comment", "images", "signature"),
)


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
        if path.stat().st_size > LARGEST:
            raise ValueError(f"larger than {LARGEST} bytes")
        text = path.read_text(encoding="utf-8-sig")
        values = _from_csv(text) if path.suffix.lower() == ".csv" else json_object_in(text)
        if values.pop("format", None) != FORMAT:
            raise ValueError("unknown format")
        return replace(from_mapping(Sheet, values, "the sheet"), path=path)
    except OSError as error:
        raise ReconError(f"{path}: the score sheet cannot be read ({error.strerror})") from error
    except (ReconError, ValueError, KeyError, TypeError, AttributeError, RecursionError, csv.Error) as error:
        said = " ".join(str(error).split())[:200]
        raise ReconError(f"{path}: not a score sheet of recon, or cut short ({said})") from error


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
            "flags": canonical_json([flag.as_mapping() for flag in response.flags]).decode() if response.flags else "",
            "comment": _defused(response.comment),
            "images": " ".join(response.images),
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
                    "images": row["images"].split(),
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
