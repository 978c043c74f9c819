"""For readers who read on a PACS: the order of the patients, and a page whose sheet comes back signed.

``worklists/R1-session-1.csv`` names the patient IDs of each presentation. ``worklists/R1-session-1.html`` is the viewer
in one file without images: it names one presentation's patient IDs after the other, asks the same questions, and signs
the answers offline with the key of the package ``packages/R1-session-1``. In the place of the hashes of the images that
the viewer finds, its sheet has those of the DICOM series that were exported under these patient IDs
(``Expected.series``). What the PACS showed no page can see: the reader confirms, image by image, that it is open.
Marks of lesions are typed as the PACS shows them under its cursor: image number, column and row.
"""

import base64
import csv
import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from reader_study.packages import SCRIPTS, copy_of, read_setup, write_text
from reader_study.seal import Key
from reader_study.sheet import Package
from reader_study.study import Study
from recon.digest import file_sha256
from recon.errors import ReconError

_COLUMNS = ("order", "presentation", "training", "patient_id_a", "patient_id_b")


def names(package: Package) -> tuple[str, str]:
    """File names of the table and of the page of one sitting."""
    stem = f"{package.reader}-session-{package.session}"
    return f"{stem}.csv", f"{stem}.html"


def write_worklists(building: Path, packages: Sequence[Package], key: Key) -> dict[str, str]:
    """Tables and pages of an export in ``building/worklists``; gives file name -> SHA-256."""
    patients = {(image.case, image.arm, image.copy): image.patient_id for image in key.images}
    shown = {row.id: tuple(patients[row.case, arm, copy_of(row)] for arm in row.arms) for row in key.presentations}
    hashes: dict[str, str] = {}
    for package in packages:
        hashes |= write_worklist(building, package, shown)
    return hashes


def write_worklist(building: Path, package: Package, patients: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Table and page of a package in ``building``; ``patients``: presentation -> its patient IDs, A first.

    Gives file name -> SHA-256.
    """
    folder = building / "worklists"
    folder.mkdir(exist_ok=True)
    table, page = (folder / name for name in names(package))
    with table.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(_COLUMNS)
        for entry in package.presentations:
            shown = patients[entry.id]
            pads = [""] * (2 - len(shown))
            rows.writerow([entry.order, entry.id, str(entry.training).lower(), *shown, *pads])
    write_text(page, _page(read_setup(building / package.folder), package, patients))
    return {path.name: file_sha256(path) for path in (table, page)}


def read_patients(study: Study, package: Package) -> dict[str, tuple[str, ...]]:
    """Presentation -> patient IDs of an exported worklist. Raises ReconError where it is not here or was altered."""
    path = study.folder / "worklists" / names(package)[0]
    if not path.is_file() or file_sha256(path) != study.worklists.get(path.name):
        raise ReconError(f"{path}: missing or altered since the export; restore it from a copy")
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        found = {row["presentation"]: tuple(filter(None, (row[name] for name in _COLUMNS[3:]))) for row in rows}
    except (KeyError, ValueError, csv.Error) as error:
        raise ReconError(f"{path}: not a worklist of recon ({error}); restore it from a copy") from error
    if set(found) != {entry.id for entry in package.presentations}:
        raise ReconError(f"{path}: does not list the presentations of its package; restore it from a copy")
    return found


def _page(setup: Mapping[str, Any], package: Package, patients: Mapping[str, Sequence[str]]) -> str:
    """The viewer in one file; ``setup`` is what the package's own ``package.js`` holds."""
    presentations = [
        {
            **{name: value for name, value in row.items() if name not in ("images", "sha256")},
            "patients": list(patients[entry.id]),
            "series": list(entry.series),
            "shapes": [list(shape) for shape in entry.shapes or ((entry.shape,) if entry.shape else ())],
        }
        for row, entry in zip(setup["presentations"], package.presentations, strict=True)
    ]
    # Flags are set in an image, and there is none here.
    content = {**setup, "on_pacs": True, "viewing": {**setup["viewing"], "flags": []}, "presentations": presentations}
    # No text of the protocol may end the script it stands in.
    told = json.dumps(content, ensure_ascii=True).replace("<", "\\u003c")
    viewer = resources.files("reader_study") / "viewer"
    scripts = [(viewer / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS]
    script = "\n".join([*scripts, f"reconPackage({told});\n"])
    style = (viewer / "viewer.css").read_text(encoding="utf-8")
    head, rest = (viewer / "start.html").read_text(encoding="utf-8").split('<link rel="stylesheet" href="viewer.css">')
    head = head.replace("script-src 'self' file:", f"script-src {_source(script)}")
    head = head.replace("style-src 'self' file:", f"style-src {_source(style)}")
    body = rest[: rest.index("<script")]
    return f"{head}<style>{style}</style>{body}<script>{script}</script>\n</body>\n</html>\n"


def _source(text: str) -> str:
    """What a content security policy calls this very text."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
