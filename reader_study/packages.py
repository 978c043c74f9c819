"""The folders that readers get: the viewer, its images, the questions and a signing key.

A package knows its presentations only by random names. It holds no case, arm, hypothesis or seed.
"""

import base64
import hashlib
import json
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reader_study.allocation import Presentation, secret_bytes
from reader_study.blind_check import Pair
from reader_study.canonical import canonical_json
from reader_study.naming import with_sequence
from reader_study.pixels import CaseImages
from reader_study.protocol import Protocol
from reader_study.sheet import Expected, Package
from reader_study.signing import new_signing_key
from reader_study.study import Study
from recon.configuration import from_mapping
from recon.digest import file_sha256
from recon.errors import ReconError
from recon.foreign.json_file import json_object_in

PACKAGE_FORMAT = "recon-reader-package-1"
MANIFEST = "manifest.json"
SCRIPTS = (  # of the viewer, in the order in which they are loaded; package.js comes last
    *("form", "session", "store", "clock", "image", "link", "gestures", "pane", "worklist", "desk"),
    *("instructions", "reading", "closing", "keyboard", "viewer"),
)
_VIEWER_FILES = ("start.html", "viewer.css", *(f"{name}.js" for name in SCRIPTS))


class ImageFiles:
    """Where the image scripts of each presentation lie inside the folder ``building``: side by side, and in each the
    sequences in the protocol's order.

    File names are random, drawn from the seed by a counter.
    """

    def __init__(self, building: Path, rows: list[Presentation], seed: str, sequences: Sequence[str] = ("",)) -> None:
        self.building, self.rows, self.sequences = building, rows, tuple(sequences)
        places = [(row.id, side, name) for row in rows for side in range(len(row.arms)) for name in sequences]
        # (case, sequence) -> slices, rows, columns, as they are written
        self.shapes: dict[tuple[str, str], tuple[int, int, int]] = {}
        # (case, sequence) -> matrix from (slice, row, column) to RAS+ mm, where lesions are marked
        self.affines: dict[tuple[str, str], NDArray[np.float64]] = {}
        # (case, arm, sequence) -> what the viewer must find the image to be
        self.digests: dict[tuple[str, str, str], str] = {}
        # (case, arm, sequence, copy) -> hash of the DICOM series
        self.series: dict[tuple[str, str, str, int], str] = {}
        self.names = {place: secret_bytes(seed, "file", count, 8).hex() for count, place in enumerate(places)}

    def of(self, case: str, arm: str, sequence: str = "") -> list[Path]:
        """Every place where the image of one case, arm and sequence is shown."""
        return [
            self.building / "packages" / package_name(row) / "images" / f"{self.names[row.id, side, sequence]}.js"
            for row in self.rows
            for side, shown in enumerate(row.arms)
            if (row.case, shown) == (case, arm)
        ]

    def named(self, row: Presentation) -> list[str]:
        """The names of the scripts of one presentation."""
        return [self.names[row.id, side, name] for side in range(len(row.arms)) for name in self.sequences]

    def expected(self, row: Presentation) -> Expected:
        """What a package asks for at one presentation."""
        shapes = tuple(self.shapes[row.case, name] for _ in row.arms for name in self.sequences)
        several, copy = len(self.sequences) > 1, copy_of(row)
        return Expected(
            id=row.id,
            order=row.order,
            training=row.kind == "training",
            guess=row.guess,
            shape=None if several else shapes[0],
            images=tuple(self.digests[row.case, arm, name] for arm in row.arms for name in self.sequences),
            series=tuple(self.series[row.case, arm, name, copy] for arm in row.arms for name in self.sequences),
            shapes=shapes if several else (),
        )

    def pairs(self, protocol: Protocol) -> list[Pair]:
        """For the blind check: one image script of each of two arms, case by case, for each two arms."""
        cases = [*protocol.case_ids, *protocol.training_cases]
        return [
            Pair(
                with_sequence(f"case {case}", name),
                (self.of(case, first, name)[0],),
                (self.of(case, second, name)[0],),
                (first, second),
                name,
            )
            for first, second in combinations(protocol.arm_names, 2)
            for name in self.sequences
            for case in cases
        ]


def write_viewer_image(
    targets: list[Path], arm: str, prepared: CaseImages, building: Path, hashes: dict[str, str]
) -> str:
    """One script for one image; every further presentation of it is a hard link, or a copy where links do not work.

    The script does not hold its own name, so that all its presentations share one content. Gives the SHA-256 of what is
    shown: the canonical facts, a line break, and the pixels; the viewer computes the same of what it loaded.
    """
    pixels: NDArray[np.uint16] = prepared.pixels[arm]
    facts: dict[str, Any] = {
        "shape": list(pixels.shape),
        "spacing": list(prepared.spacing),
        "window": list(prepared.window),
        "plane": prepared.plane,
    }
    if prepared.position is not None:
        facts["position"] = prepared.position.as_mapping()
    head = f"reconImage({json.dumps(facts)},\n".encode()
    content = head + b'"' + base64.b64encode(pixels.astype("<u2").tobytes()) + b'");\n'
    mark = hashlib.sha256(content).hexdigest()
    targets[0].write_bytes(content)
    for target in targets[1:]:
        try:
            os.link(targets[0], target)
        except OSError:
            target.write_bytes(content)
    for target in targets:
        hashes[target.relative_to(building).as_posix()] = mark
    return hashlib.sha256(canonical_json(facts) + b"\n" + pixels.astype("<u2").tobytes()).hexdigest()


def write_packages(study: Study, files: ImageFiles, commitment: str, hashes: dict[str, str]) -> list[Package]:
    """Add the viewer, the questions, a fresh signing key and the manifest to every package.

    ``hashes`` has the SHA-256 of the image scripts under their names relative to ``files.building``.
    """
    packages = []
    viewer = resources.files("reader_study") / "viewer"
    sittings = dict.fromkeys((row.reader, row.session) for row in files.rows)
    for reader, session in sittings:
        mine = [row for row in files.rows if (row.reader, row.session) == (reader, session)]
        name = package_name(mine[0])
        folder = files.building / "packages" / name
        identifier = secrets.token_hex(8)
        private, public = new_signing_key()
        shown = [
            {
                "id": row.id,
                "order": row.order,
                "training": row.kind == "training",
                "guess": row.guess,
                "images": files.named(row),
                "sha256": list(files.expected(row).images),
            }
            for row in mine
        ]
        content = {
            "format": PACKAGE_FORMAT,
            "study": study.protocol.hash,
            "package": identifier,
            "reader": reader,
            "session": session,
            "signing_key": private,
            "commitment": commitment,
            "log_head": study.head,
            **_public_protocol(study.protocol),
            "presentations": shown,
        }
        write_setup(folder, content)
        for file in _VIEWER_FILES:
            write_text(folder / file, (viewer / file).read_text(encoding="utf-8"))
        prefix = f"packages/{name}/"
        manifest = {key[len(prefix) :]: value for key, value in hashes.items() if key.startswith(prefix)}
        for file in ("package.js", *_VIEWER_FILES):
            manifest[file] = file_sha256(folder / file)
        packages.append(
            Package(
                id=identifier,
                reader=reader,
                session=session,
                folder=f"packages/{name}",
                public_key=public,
                manifest_sha256=write_manifest(folder, manifest),
                presentations=tuple(files.expected(row) for row in mine),
            )
        )
    return packages


def _public_protocol(protocol: Protocol) -> dict[str, Any]:
    """What the viewer may know: no arms, no cases, no hypothesis, and so no title of the study."""
    return {
        "title": "Reading of images",
        "mode": protocol.mode,
        "sessions": protocol.sessions.count,
        "washout_weeks": protocol.sessions.washout_weeks,
        "items": [
            {**asdict(item), "scores": list(protocol.allowed(item.id)) if not item.scale else list(item.scale)}
            for item in protocol.items
            if not protocol.located(item)
        ],
        "viewing": asdict(protocol.viewing),
        "guess": asdict(protocol.guess),
        "instructions": protocol.instructions,
        **({"sequences": list(protocol.sequence_names)} if protocol.sequences else {}),
        **_marking(protocol),
    }


@dataclass(frozen=True)
class _Shown:
    """One presentation of a package's setup: the scripts of its images, and what the viewer must find them to be."""

    id: str
    order: int
    training: bool
    guess: bool
    images: tuple[str, ...]
    sha256: tuple[str, ...]


@dataclass(frozen=True)
class _Setup:
    """What ``package.js`` holds; see ``write_packages``."""

    format: str
    study: str
    package: str
    reader: str
    session: int
    signing_key: dict[str, str]
    commitment: str
    log_head: str
    title: str
    mode: str
    sessions: int
    washout_weeks: float
    items: tuple[dict[str, Any], ...]
    viewing: dict[str, Any]
    guess: dict[str, Any]
    instructions: str
    presentations: tuple[_Shown, ...]
    sequences: tuple[str, ...] = ()
    localisation: dict[str, Any] | None = None


def write_setup(folder: Path, setup: Mapping[str, Any]) -> None:
    """Write the script ``package.js`` of a package."""
    write_text(folder / "package.js", f"reconPackage({json.dumps(setup, ensure_ascii=True)});\n")


def write_manifest(folder: Path, listed: Mapping[str, str]) -> str:
    """Write the manifest of an exported folder, file -> SHA-256; gives its own SHA-256."""
    write_text(folder / MANIFEST, json.dumps(listed, indent=0, sort_keys=True))
    return file_sha256(folder / MANIFEST)


def read_setup(folder: Path) -> dict[str, Any]:
    """What the script ``package.js`` in the folder of a package holds. Raises ReconError where it is not that."""
    path = folder / "package.js"
    try:
        text = path.read_text(encoding="utf-8")
        setup = json_object_in(text[text.index("(") + 1 : text.rindex(")")])
        from_mapping(_Setup, setup, "its content")
    except (OSError, ValueError, ReconError) as error:
        raise ReconError(f"{path}: not the setup of a package ({error}); restore the package from a copy") from error
    return setup


def copy_of(row: Presentation) -> int:
    """Which copy of the DICOM series of its case and arm a presentation shows: a repeat the second one."""
    return 2 if row.kind == "repeat" else 1


def _marking(protocol: Protocol) -> dict[str, Any]:
    """What the viewer asks about marks: nothing of the truth or of the rule by which they are judged."""
    if protocol.localisation is None:
        return {}
    item = protocol.item(protocol.localisation.item)
    asked = {"kind": item.id, "question": item.question, "anchors": item.anchors, "scores": list(item.scale)}
    return {"localisation": asked}


def package_name(row: Presentation) -> str:
    """Folder name of the package that shows a presentation."""
    return f"{row.reader}-session-{row.session}"


def write_text(path: Path, text: str) -> None:
    """UTF-8 with plain line ends on every system, so that hashes agree."""
    path.write_text(text, encoding="utf-8", newline="\n")
