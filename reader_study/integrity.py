"""Has anything in an exported study changed? Every file against its manifest, every manifest against the log."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydicom import dcmread

from reader_study.blind_check import Finding, uniform_attributes
from reader_study.opened_key import check_opened_key, read_opened_key
from reader_study.packages import MANIFEST
from reader_study.series_facts import FileFacts, read_series
from reader_study.study import KEY, OPENED_KEY, Study
from recon.digest import file_sha256
from recon.errors import ReconError
from recon.foreign.json_file import json_object_in


def verify_files(study: Study) -> list[str]:
    """What is altered, missing or added in the packages, the DICOM series and the key, sealed or opened.

    Raises ReconError when the study was not exported.
    """
    export = study.require_export()
    problems = []
    if _sha256(study.folder / KEY) != export.said.sealed_key_sha256:
        problems.append(f"{study.folder / KEY}: the sealed key is missing or was altered since the export")
    if (study.folder / OPENED_KEY).exists():
        try:
            check_opened_key(study, read_opened_key(study.folder / OPENED_KEY))
        except ReconError as error:
            problems.append(str(error))
    folders = {package.folder: package.manifest_sha256 for package in (*study.packages, *study.reserved)}
    folders["dicom"] = export.said.dicom_manifest_sha256
    for name, expected in folders.items():
        folder = study.folder / name
        if not folder.is_dir():
            continue  # handed out, or not kept; ``absent`` says so
        problems += altered_package(folder, expected)
    if (study.folder / "worklists").is_dir() and export.said.worklists is not None:
        problems += _compared(study.folder / "worklists", study.worklists)
    known = {study.folder / package.folder for package in (*study.packages, *study.reserved)}
    for stranger in sorted(set((study.folder / "packages").glob("*")) - known):
        problems.append(f"{stranger}: was added after the export")
    return problems


def altered_package(folder: Path, manifest_sha256: str) -> list[str]:
    """What in an exported folder differs from its manifest, and that from the log."""
    if _sha256(folder / MANIFEST) != manifest_sha256:
        return [f"{folder / MANIFEST}: missing or altered since the export"]
    try:
        content = json_object_in((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        return [f"{folder / MANIFEST}: not a manifest of recon ({error}); restore it from a copy"]
    listed = {entry.removeprefix("dicom/"): str(mark) for entry, mark in content.items()}
    return _compared(folder, {**listed, MANIFEST: manifest_sha256})


def _compared(folder: Path, listed: Mapping[str, str]) -> list[str]:
    """What in ``folder`` differs from the SHA-256 of its files."""
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    added = [f"{folder / entry}: was added after the export" for entry in sorted(present - set(listed))]
    return added + [
        f"{folder / entry}: missing or altered since the export"
        for entry, mark in sorted(listed.items())
        if _sha256(folder / entry) != mark
    ]


def absent(study: Study) -> list[str]:
    """Exported folders that are not here, so that nothing can be said about them: handed out, or deleted."""
    names = [*(package.folder for package in (*study.packages, *study.reserved)), "dicom", "worklists"]
    return [f"{study.folder / name}: not here, not checked" for name in names if not (study.folder / name).is_dir()]


def uniform_series(study: Study) -> list[Finding]:
    """Attributes in which the exported DICOM series differ beyond what belongs to a case; needs no key.

    Of several sequences each is compared with its like, found by the name that is its Series Description.
    """
    folders = sorted(path for path in (study.folder / "dicom").glob("*") if path.is_dir())
    if not study.protocol.sequences:
        return uniform_attributes(_facts(folder) for folder in folders)
    by_name: dict[str, list[Path]] = {}
    for folder in folders:
        by_name.setdefault(_series_description(folder), []).append(folder)
    return [finding for alike in by_name.values() for finding in uniform_attributes(map(_facts, alike))]


def _facts(folder: Path) -> tuple[str, Sequence[FileFacts]]:
    return folder.name, read_series(sorted(folder.glob("*.dcm")), folder.name).files


def _series_description(folder: Path) -> str:
    first = next(iter(sorted(folder.glob("*.dcm"))), None)
    if first is None:
        return ""
    return str(dcmread(first, stop_before_pixels=True, force=True).get("SeriesDescription", ""))


def _sha256(path: Path) -> str:
    try:
        return file_sha256(path)
    except (ReconError, ValueError):  # a manifest may name what no file can be called
        return ""
