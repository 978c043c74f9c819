"""REDCap: the data dictionary of a study's form, and the names that its export gives back to us.

The dictionary is the CSV that REDCap takes under "Data Dictionary": one instrument, one record a presentation. It holds
no arm and no case. ``reader_study.tables`` reads the exports.
"""

import csv
import io
import re
from collections.abc import Iterable, Sequence

from reader_study.protocol import Protocol
from reader_study.typed_marks import how_to_type
from recon.errors import ReconError

FORM = "reading"
HEADER = (
    "Variable / Field Name",
    "Form Name",
    "Section Header",
    "Field Type",
    "Field Label",
    "Choices, Calculations, OR Slider Labels",
    "Field Note",
    "Text Validation Type OR Show Slider Number",
    "Text Validation Min",
    "Text Validation Max",
    "Identifier?",
    "Branching Logic (Show field only if...)",
    "Required Field?",
    "Custom Alignment",
    "Question Number (surveys only)",
    "Matrix Group Name",
    "Matrix Ranking?",
    "Field Annotation",
)
_OWN = ("record_id", "reader", "presentation", "comment", f"{FORM}_complete")
_ENDS = {
    "higher-is-better": "highest is best",
    "lower-is-better": "lowest is best",
    "higher-is-present": "highest: surely present",
    "lower-is-present": "lowest: surely present",
}


def redcap_name(key: str) -> str:
    """A score key as a REDCap variable: a letter first, then small letters, digits and single underscores."""
    name = re.sub(r"[^a-z0-9]+", "_", key.lower()).strip("_")
    return name if name[:1].isalpha() else f"item_{name}"


def is_export(header: list[str]) -> bool:
    """Are these the columns of a REDCap export: one that REDCap adds, or a record with an instrument's status?"""
    added = ("redcap_event_name", "redcap_repeat_instance", "redcap_repeat_instrument", "redcap_data_access_group")
    status = any(name.endswith("_complete") for name in header)
    return any(name in header for name in added) or (header[:1] == ["record_id"] and status)


def data_dictionary(protocol: Protocol, added: Sequence[str] = ()) -> str:
    """The data dictionary as CSV text; ``added`` readers are not in the protocol.

    Raises ReconError for items whose names REDCap cannot tell apart.
    """
    located = [item for item in protocol.items if protocol.located(item)]
    names = {key: redcap_name(key) for key in (*protocol.score_keys, *(item.id for item in located))}
    taken = [*_OWN, *names.values()]
    for key, name in names.items():
        if taken.count(name) > 1:
            raise ReconError(f"item key '{key}': REDCap would call it {name}, which stands for something else already")
    readers = dict.fromkeys((*(reader.id for reader in protocol.readers), *added))
    rows = [
        _field("record_id", "text", "Record"),
        _field("reader", "dropdown", "Reader", _choices((name, name) for name in readers)),
        _field("presentation", "text", "Presentation (the identifier beside the image)"),
    ]
    for asked in located:
        field = _field(names[asked.id], "notes", asked.question)
        scale = ", ".join(f"{score} {asked.anchors[str(score)]}" for score in asked.scale)
        rows.append({**field, "Field Note": f"{how_to_type(protocol)}; rating: {scale}"})
    for key in protocol.score_keys:
        name = names[key]
        item, _, side = key.partition("@")
        asked = protocol.item(item)
        label = asked.question + (f" (image {side})" if side else "")
        labels = asked.anchors or {"A": "A", "tie": "no difference", "B": "B"}
        choices = _choices((str(score), labels[str(score)]) for score in protocol.allowed(key))
        row = _field(name, "radio", label, choices, required=asked.required)
        rows.append({**row, "Field Note": _ENDS.get(asked.direction, "")})
    if protocol.viewing.comments:
        rows.append(_field("comment", "notes", "Comment", required=False))
    text = io.StringIO()
    writer = csv.DictWriter(text, HEADER, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _field(name: str, kind: str, label: str, choices: str = "", required: bool = True) -> dict[str, str]:
    # REDCap takes the first field as the record's name, and wants no mark of it.
    mark = "y" if required and name != "record_id" else ""
    return {
        "Variable / Field Name": name,
        "Form Name": FORM,
        "Field Type": kind,
        "Field Label": label,
        "Choices, Calculations, OR Slider Labels": choices,
        "Required Field?": mark,
    }


def _choices(pairs: Iterable[tuple[str, str]]) -> str:
    """``1, poor | 2, good``: a bar in a label would end it."""
    return " | ".join(f"{code}, {' '.join(label.replace('|', '/').split())}" for code, label in pairs)
