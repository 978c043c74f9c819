"""Marks of lesions that were typed, in a table or a REDCap form: as a PACS shows them under its cursor.

``none``, or ``image column row rating`` for each mark, with a semicolon between two: ``12 104 88 4; 13 60 70.5 2``. In
a study of several sequences the name of the one that was marked stands first: ``DWI 12 104 88 4``. Image numbers count
from 1, columns and rows are pixels from the upper left corner.
"""

import re

from reader_study.protocol import Protocol
from reader_study.sheet import Flag
from recon.errors import ReconError

NONE = "none"
_NUMBERS = re.compile(
    r"(?:(?P<sequence>.*\S)\s+)?(?P<slice>\d{1,6})" + r"\s+(\d{1,6}(?:\.\d{1,6})?)" * 2 + r"\s+(?P<rating>-?\d{1,6})"
)


def how_to_type(protocol: Protocol) -> str:
    """The form of an answer, for the one who types it."""
    names = protocol.sequence_names
    first = f"{names[0]} " if len(names) > 1 else ""
    return f"'{NONE}', or for each mark '{first}image column row rating', as in '{first}12 104 88 3; {first}13 60 70 2'"


def parse_marks(protocol: Protocol, answer: str, where: str) -> tuple[Flag, ...]:
    """The marks of one answer. Raises ReconError naming ``where`` for what is not of that form.

    Whether they lie in the image and their ratings on the scale is for ``sheet_check``.
    """
    rule = protocol.localisation
    assert rule is not None  # the caller has looked
    if answer.strip().lower() == NONE:
        return ()
    marks = []
    for part in filter(None, map(str.strip, answer.split(";"))):
        found = _NUMBERS.fullmatch(part)
        if found is None or (found["sequence"] or "") not in protocol.sequence_names:
            raise ReconError(f"{where}: {rule.item} is {part[:40]!r}; expected {how_to_type(protocol)}")
        column, row = (float(found[group]) for group in (3, 4))
        rating = int(found["rating"])
        marks.append(Flag(rule.item, "A", int(found["slice"]), column, row, found["sequence"] or "", rating))
    if not marks:
        raise ReconError(f"{where}: {rule.item} is {answer[:40]!r}; expected {how_to_type(protocol)}")
    return tuple(marks)
