"""Score sheets: what a reader's browser hands back, as signed JSON or as signed CSV with the same content.

JSON: ``{"format": "recon-score-sheet-1", "study", "package", "reader", "session", "started", "finished", "responses":
[...], "guesses": [...], "signature"}``. The signature (``reader_study.signing``) covers the canonical form of all the
rest. A response: ``{"presentation", "order", "training", "scores", "flags", "comment", "seconds", "started",
"finished", "images"}``; ``images`` are the SHA-256 of what was shown: side by side, and in each the sequences in the
protocol's order; beside a PACS of the DICOM series to open (``Expected.series``), in the same order. Keys of ``scores``
are the protocol's ``score_keys`` (``item``; ``item@A`` and ``item@B`` side by side); values are integers, or "A", "B",
"tie" for a preference; an unanswered optional item is absent. A flag: ``{"kind", "side", "slice", "x", "y"}``: side "A"
or "B" (always "A" in independent mode), slice from 1, x (column) and y (row) in pixels from 0; with "sequence" where a
case is several series. A suspected lesion is a flag whose kind is the item of the protocol's ``localisation``, with
"confidence". A guess: ``{"presentation", "guess"}`` with "reference", "new" or "unknown" in independent mode, else "A",
"B" or "unknown" for the side thought to be new. Times are UTC, ISO 8601; ``seconds`` counts only while the page was
visible, beside a PACS from the opening to the answer.

CSV: one row per score, columns ``sheet_files.SHEET_COLUMNS``; the first row has record ``sheet``. From it the JSON form
is rebuilt exactly, so that the one signature covers both. A comment that a spreadsheet would run as a formula starts
with an apostrophe there.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from reader_study import signing
from reader_study.canonical import canonical_json

FORMAT = "recon-score-sheet-1"


@dataclass(frozen=True)
class Flag:
    """A marked spot. ``slice`` counts from 1, ``x`` (column) and ``y`` (row) from 0 in image pixels."""

    kind: str
    side: str
    slice: int
    x: float
    y: float
    sequence: str = ""  # of several shown together
    confidence: int | None = None  # of a lesion that is marked: ``kind`` is the item that asks for it

    def as_mapping(self) -> dict[str, Any]:
        """Plain JSON types, as the viewer writes them."""
        values = asdict(self)
        if not self.sequence:
            del values["sequence"]
        if self.confidence is None:
            del values["confidence"]
        return values


@dataclass(frozen=True)
class Response:
    """What one reader said about one presentation."""

    presentation: str
    order: int
    training: bool
    scores: dict[str, int | str]
    flags: tuple[Flag, ...]
    comment: str
    seconds: float
    started: str
    finished: str
    images: tuple[str, ...] = ()  # SHA-256 of what was shown, as the viewer found it; older sheets do not say
    typed_marks: bool = False  # of an unsigned table: the flags hold all marks of lesions

    @property
    def marked(self) -> bool:
        """Was there the chance to mark lesions, so that no mark says that there is none?"""
        return bool(self.images) or self.typed_marks


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
        for response, own in zip(values["responses"], self.responses, strict=True):
            response["flags"] = tuple(flag.as_mapping() for flag in own.flags)
            if not response["images"]:
                del response["images"]
            if not response["typed_marks"]:
                del response["typed_marks"]
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
    images: tuple[str, ...] = ()  # SHA-256 of each, see ``packages.write_viewer_image``
    series: tuple[str, ...] = ()  # SHA-256 of each DICOM series: of the canonical form of its files' names and SHA-256
    shapes: tuple[tuple[int, int, int], ...] = ()  # of several sequences in place of ``shape``: as ``images``


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

    def on_pacs(self, sheet: Sheet) -> int:
        """How many answers of this package's sheet were given beside a PACS, by the hashes of the series opened."""
        series = {entry.id: entry.series for entry in self.presentations if entry.series}
        return sum(row.images == series.get(row.presentation) for row in sheet.responses)
