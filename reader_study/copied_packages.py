"""New packages from exported ones, without the key: what a presentation shows is copied, script by script.

A package tells its images by random names only, and so does its copy: nobody needs to know an arm to make it.
"""

import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from reader_study.dicom_writer import stamp
from reader_study.integrity import altered_package
from reader_study.packages import MANIFEST, read_setup, write_manifest, write_setup
from reader_study.pseudonyms import NAME
from reader_study.sheet import Expected, Package
from reader_study.signing import new_signing_key
from reader_study.study import Study
from reader_study.worklists import read_patients
from recon.digest import file_sha256
from recon.errors import ReconError


@dataclass(frozen=True)
class Copied:
    """A presentation of a new package, which shows what ``source`` of ``package`` shows."""

    expected: Expected  # its own identifier and order
    package: Package
    source: str  # identifier of the presentation there


def new_identifier() -> str:
    """A random identifier of a presentation, of the form of those of an export."""
    return secrets.token_hex(8)


def read_content(study: Study, package: Package) -> dict[str, Any]:
    """What the script ``package.js`` of an exported package holds.

    Raises ReconError where the folder is not here, or was altered since the export.
    """
    folder = study.folder / package.folder
    if not folder.is_dir():
        raise ReconError(f"{folder}: not here; copy the package of {package.reader}, as exported, back into the study")
    altered = altered_package(folder, package.manifest_sha256)
    if altered:
        raise ReconError(altered[0])
    setup = read_setup(folder)
    scripts = [name for row in setup["presentations"] for name in row["images"]]
    here = all(NAME.fullmatch(name) and (folder / "images" / f"{name}.js").is_file() for name in scripts)
    if not here or [row["id"] for row in setup["presentations"]] != [entry.id for entry in package.presentations]:
        raise ReconError(f"{folder / 'package.js'}: does not show what was exported; restore the package from a copy")
    return setup


def write_copy(
    building: Path, study: Study, shown: Sequence[Copied], reader: str, session: int, changes: Mapping[str, Any]
) -> Package:
    """Write the package ``packages/READER-session-N`` into ``building``; ``changes`` replace keys of ``package.js``."""
    sources = {copied.package.id: copied.package for copied in shown}
    contents = {name: read_content(study, package) for name, package in sources.items()}
    first = study.folder / shown[0].package.folder
    place = f"packages/{reader}-session-{session}"
    folder = building / place
    (folder / "images").mkdir(parents=True)
    presentations = []
    for copied in shown:
        rows = {row["id"]: row for row in contents[copied.package.id]["presentations"]}
        row, names = rows[copied.source], []
        for name in row["images"]:
            names.append(secrets.token_hex(8))
            script = study.folder / copied.package.folder / "images" / f"{name}.js"
            shutil.copyfile(script, folder / "images" / f"{names[-1]}.js")
        own = copied.expected
        facts = {"id": own.id, "order": own.order, "training": own.training, "guess": own.guess}
        presentations.append({**facts, "images": names, "sha256": row["sha256"]})
    identifier = secrets.token_hex(8)
    private, public = new_signing_key()
    content = {**contents[shown[0].package.id], **changes, "package": identifier, "reader": reader, "session": session}
    wanted = content.pop("only_items", None)  # of an adjudicator: the questions that are asked
    if wanted is not None:
        content.pop("localisation", None)
        content["items"] = [{**item, "required": True} for item in content["items"] if item.get("id") in wanted]
    content |= {"signing_key": private, "log_head": study.head, "presentations": presentations}
    write_setup(folder, content)
    for path in first.iterdir():
        if path.is_file() and path.name not in (MANIFEST, "package.js"):
            shutil.copyfile(path, folder / path.name)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    mark = write_manifest(folder, {path.relative_to(folder).as_posix(): file_sha256(path) for path in files})
    for path in sorted(building.rglob("*"), reverse=True):
        stamp(path)
    expected = tuple(copied.expected for copied in shown)
    return Package(identifier, reader, session, place, public, mark, expected)


def copied_patients(study: Study, shown: Sequence[Copied]) -> dict[str, tuple[str, ...]]:
    """New presentation -> the patient IDs under which its images are on a PACS. Raises ReconError."""
    sources = {copied.package.id: copied.package for copied in shown}
    patients = {name: read_patients(study, package) for name, package in sources.items()}
    return {copied.expected.id: patients[copied.package.id][copied.source] for copied in shown}


def as_copied(package: Package) -> list[Copied]:
    """All presentations of a package under new identifiers, in their order."""
    return [Copied(replace(entry, id=new_identifier()), package, entry.id) for entry in package.presentations]
