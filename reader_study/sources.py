"""Which file holds which case, arm and sequence: from a table, or from a pattern with ``{case}`` and ``{arm}``."""

import csv
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from reader_study.canonical import digest
from reader_study.naming import with_sequence
from reader_study.protocol import Protocol
from recon.digest import file_sha256
from recon.errors import ReconError

_Place = tuple[str, str, str]  # case, arm, sequence


@dataclass(frozen=True)
class CaseFiles:
    """The files of one case. The sequence is "" where a case is one series."""

    images: dict[tuple[str, str], Path]  # (arm, sequence) -> file or DICOM folder; one file for what all arms share
    masks: dict[str, Path] = field(default_factory=dict)  # sequence -> voxels to remove in all arms


def find_sources(protocol: Protocol, images: str, masks: str | None = None) -> dict[str, CaseFiles]:
    """The files of every case of the protocol, training cases included.

    ``images`` is a pattern ("results/{arm}/{case}.h5", with sequences "results/{arm}/{case}/{sequence}.h5") or a CSV
    table with the columns case, arm, sequence, path and optionally mask (paths relative to the table). A sequence that
    all arms share is that of the reference arm. ``masks`` is a pattern with ``{case}`` and, if wanted, ``{sequence}``.
    Raises ReconError naming the case for a missing arm, a missing file, a case that stands twice, and a file that is
    used twice.
    """
    found: dict[_Place, Path] = {}
    removed: dict[tuple[str, str], Path] = {}
    cases = [*protocol.case_ids, *protocol.training_cases]
    wanted = [
        (case, arm, sequence)
        for case in cases
        for arm in protocol.arm_names
        for sequence in protocol.sequence_names
        if arm == protocol.reference or not protocol.same_in_all_arms(sequence)
    ]
    if "{" in images:
        _check_pattern(images, protocol)
        found = {place: Path(_filled(images, *place)) for place in wanted}
    else:
        _read_table(Path(images), protocol, found, removed)
    if masks is not None:
        if "{case}" not in masks:
            raise ReconError(f"--masks {masks}: the pattern needs {{case}}")
        removed = {
            (case, sequence): Path(_filled(masks, case, "", sequence))
            for case in cases
            for sequence in protocol.sequence_names
        }
    used: dict[Path, str] = {}
    for place in wanted:
        path, name = found.get(place), _named(*place)
        if path is None:
            raise ReconError(f"case {place[0]}: no image for {_series(*place[1:])} in {images}")
        if not path.exists():
            raise ReconError(f"{name}: the image is missing ({path} does not exist)")
        real = path.resolve()
        if real in used:
            raise ReconError(f"{name}: {path} is already used for {used[real]}")
        used[real] = name
    for (case, _), path in removed.items():
        if not path.exists():
            raise ReconError(f"case {case}: the defacing mask is missing ({path} does not exist)")
    return {case: _of_case(protocol, case, found, removed) for case in cases}


def _of_case(
    protocol: Protocol, case: str, found: Mapping[_Place, Path], removed: Mapping[tuple[str, str], Path]
) -> CaseFiles:
    def source(arm: str, sequence: str) -> Path:
        return found[case, protocol.reference if protocol.same_in_all_arms(sequence) else arm, sequence]

    names = protocol.sequence_names
    return CaseFiles(
        {(arm, name): source(arm, name) for arm in protocol.arm_names for name in names},
        {name: removed[case, name] for name in names if (case, name) in removed},
    )


def _check_pattern(images: str, protocol: Protocol) -> None:
    """Raises ReconError for a placeholder that is missing, or that the protocol gives no meaning."""
    needed = ["{case}", "{arm}", *(["{sequence}"] if protocol.sequences else [])]
    lacking = [name for name in needed if name not in images]
    if lacking:
        raise ReconError(f"--images {images}: the pattern needs {' and '.join(lacking)} as well")
    if not protocol.sequences and "{sequence}" in images:
        raise ReconError(f"--images {images}: the protocol names no sequences; leave out {{sequence}}")


def _filled(pattern: str, case: str, arm: str, sequence: str) -> str:
    return pattern.replace("{case}", case).replace("{arm}", arm).replace("{sequence}", sequence)


def _named(case: str, arm: str, sequence: str) -> str:
    return f"case {case}, {_series(arm, sequence)}"


def _series(arm: str, sequence: str) -> str:
    return with_sequence(f"arm '{arm}'", sequence)


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
    table: Path, protocol: Protocol, found: dict[_Place, Path], removed: dict[tuple[str, str], Path]
) -> None:
    cases, named = {*protocol.case_ids, *protocol.training_cases}, bool(protocol.sequences)
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            columns = ["case", "arm", *(["sequence"] if named else []), "path"]
            if not set(columns) <= set(rows.fieldnames or ()):
                raise ReconError(f"{table}: the columns must be {', '.join(columns)} and, if wanted, mask")
            for number, row in enumerate(rows, start=2):
                case, arm, path = ((row[name] or "").strip() for name in ("case", "arm", "path"))
                sequence = (row["sequence"] or "").strip() if named else ""
                where = f"{table}, line {number}"
                if case not in cases:
                    raise ReconError(f"{where}: case '{case}' is not in the protocol")
                if arm not in protocol.arm_names:
                    raise ReconError(f"{where}, case {case}: arm '{arm}' is not in the protocol")
                if sequence not in protocol.sequence_names:
                    raise ReconError(f"{where}, case {case}: sequence '{sequence}' is not in the protocol")
                if arm != protocol.reference and protocol.same_in_all_arms(sequence):
                    raise ReconError(
                        f"{where}, case {case}: all arms share {sequence} (by_arm: false); give it once, "
                        f"for arm '{protocol.reference}'"
                    )
                if (case, arm, sequence) in found:
                    raise ReconError(f"{table}, line {number}: {_named(case, arm, sequence)} stands twice")
                found[case, arm, sequence] = table.parent / path
                mask = (row.get("mask") or "").strip()
                if mask and removed.setdefault((case, sequence), table.parent / mask) != table.parent / mask:
                    raise ReconError(f"{table}, line {number}: case {case} has two masks; both arms share one")
    except (OSError, UnicodeDecodeError) as error:
        raise ReconError(f"{table}: the table of images cannot be read ({error})") from error
