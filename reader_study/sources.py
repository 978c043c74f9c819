"""Which file holds which case and arm: from a table, or from a pattern with ``{case}`` and ``{arm}``."""

import csv
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from reader_study.canonical import digest
from reader_study.protocol import Protocol
from recon.digest import file_sha256
from recon.errors import ReconError


@dataclass(frozen=True)
class CaseFiles:
    """The files of one case."""

    images: dict[str, Path]  # arm -> file or DICOM folder
    mask: Path | None  # voxels to remove in both arms


def find_sources(protocol: Protocol, images: str, masks: str | None = None) -> dict[str, CaseFiles]:
    """The files of every case of the protocol, training cases included.

    ``images`` is a pattern ("results/{arm}/{case}.h5") or a CSV table with the columns case, arm, path and
    optionally mask (paths relative to the table). ``masks`` is a pattern with ``{case}``. Raises ReconError naming
    the case for a missing arm, a missing file, a case that stands twice, and a file that is used twice.
    """
    found: dict[tuple[str, str], Path] = {}
    removed: dict[str, Path] = {}
    cases = [*protocol.case_ids, *protocol.training_cases]
    arms = [arm.name for arm in protocol.arms]
    if "{case}" in images:
        if "{arm}" not in images:
            raise ReconError(f"--images {images}: the pattern needs {{arm}} as well as {{case}}")
        found = {
            (case, arm): Path(images.replace("{case}", case).replace("{arm}", arm)) for case in cases for arm in arms
        }
    else:
        _read_table(Path(images), set(cases), arms, found, removed)
    if masks is not None:
        if "{case}" not in masks:
            raise ReconError(f"--masks {masks}: the pattern needs {{case}}")
        removed = {case: Path(masks.replace("{case}", case)) for case in cases}
    used: dict[Path, str] = {}
    for case in cases:
        for arm in arms:
            path = found.get((case, arm))
            if path is None:
                raise ReconError(f"case {case}: no image for arm '{arm}' in {images}")
            if not path.exists():
                raise ReconError(f"case {case}: the image of arm '{arm}' is missing ({path} does not exist)")
            real = path.resolve()
            if real in used:
                raise ReconError(f"case {case}, arm '{arm}': {path} is already used for {used[real]}")
            used[real] = f"case {case}, arm '{arm}'"
        if case in removed and not removed[case].exists():
            raise ReconError(f"case {case}: the defacing mask is missing ({removed[case]} does not exist)")
    return {case: CaseFiles({arm: found[case, arm] for arm in arms}, removed.get(case)) for case in cases}


def source_sha256(path: str | Path) -> str:
    """SHA-256 of a file; of a folder that of the names and hashes of its files. Raises ReconError."""
    path = Path(path)
    if not path.is_dir():
        return file_sha256(path)
    return digest(
        {entry.relative_to(path).as_posix(): file_sha256(entry) for entry in path.rglob("*") if entry.is_file()}
    )


def without_common_folder(paths: Iterable[str]) -> dict[str, str]:
    """Each path -> the same below the folder in which all of them lie: where that is concerns nobody."""
    whole = {path: os.path.abspath(path) for path in paths}
    common = os.path.commonpath([os.path.dirname(place) for place in whole.values()])
    return {path: Path(os.path.relpath(place, common)).as_posix() for path, place in whole.items()}


def _read_table(
    table: Path, cases: set[str], arms: list[str], found: dict[tuple[str, str], Path], removed: dict[str, Path]
) -> None:
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            if not {"case", "arm", "path"} <= set(rows.fieldnames or ()):
                raise ReconError(f"{table}: the columns must be case, arm, path and, if wanted, mask")
            for number, row in enumerate(rows, start=2):
                case, arm, path = ((row[name] or "").strip() for name in ("case", "arm", "path"))
                if case not in cases:
                    raise ReconError(f"{table}, line {number}: case '{case}' is not in the protocol")
                if arm not in arms:
                    raise ReconError(f"{table}, line {number}, case {case}: arm '{arm}' is not in the protocol")
                if (case, arm) in found:
                    raise ReconError(f"{table}, line {number}: case {case}, arm '{arm}' stands twice")
                found[case, arm] = table.parent / path
                mask = (row.get("mask") or "").strip()
                if mask and removed.setdefault(case, table.parent / mask) != table.parent / mask:
                    raise ReconError(f"{table}, line {number}: case {case} has two masks; both arms share one")
    except (OSError, UnicodeDecodeError) as error:
        raise ReconError(f"{table}: the table of images cannot be read ({error})") from error
