"""The pairs of series that a folder or a table holds, for the blind check of any package."""

import csv
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import BadZipFile, ZipFile

from reader_study.blind_check import Pair
from recon.errors import ReconError
from recon.folders import entries, why_no_folder


@contextmanager
def unpacked(place: str | Path) -> Iterator[Path]:
    """The folder itself, or what a zip archive holds, in a temporary folder with the times that the archive says.

    Raises ReconError for a damaged archive, or one that does not fit on the disk.
    """
    place = Path(place)
    if place.suffix.lower() != ".zip":
        yield place
        return
    with TemporaryDirectory(prefix="recon-check-") as made:
        folder = Path(made)
        try:
            with ZipFile(place) as archive:
                if sum(entry.file_size for entry in archive.infolist()) > shutil.disk_usage(folder).free:
                    raise ReconError(f"{place}: does not fit on the disk when unpacked")
                for entry in archive.infolist():
                    written = Path(archive.extract(entry, folder))  # drops what would lead out of the folder
                    if written.is_file():
                        moment = time.mktime((*entry.date_time, 0, 0, -1))
                        os.utime(written, (moment, moment))
        except (BadZipFile, OSError, NotImplementedError, RuntimeError, ValueError, OverflowError) as error:
            raise ReconError(f"{place}: cannot be read as a zip archive ({error})") from error
        tops = entries(folder)
        # Most archives hold one folder with everything in it.
        yield tops[0] if len(tops) == 1 and tops[0].is_dir() else folder


def find_pairs(folder: str | Path, table: str | Path | None = None) -> list[Pair]:
    """The pairs in any folder: from a CSV table (case, arm, path), or from ARM/CASE/* or CASE/ARM/* folders.

    Raises ReconError saying which layouts are understood, or naming the case without a partner.
    """
    folder = Path(folder)
    if table is not None:
        return _pairs_from_table(Path(table))
    if (wrong := why_no_folder(folder)) is not None:
        raise ReconError(f"{folder}: {wrong}")
    tops = entries(folder)
    inside = [{entry.name: entry for entry in entries(top)} if top.is_dir() else {} for top in tops]
    alike = bool(tops) and bool(inside[0]) and all(set(names) == set(inside[0]) for names in inside)
    by_arm = alike and len(tops) == 2
    by_case = alike and len(inside[0]) == 2
    if len(tops) == 2 and not alike and set(inside[0]) & set(inside[1]):
        alone = sorted(set(inside[0]) ^ set(inside[1]))[0]
        raise ReconError(f"{folder}: case {alone} is only in one of {tops[0].name} and {tops[1].name}")
    if by_arm and not by_case:
        return [Pair(name, _files(inside[0][name]), _files(inside[1][name])) for name in sorted(inside[0])]
    if by_case and not by_arm:
        first, second = sorted(inside[0])
        return [Pair(top.name, _files(top / first), _files(top / second)) for top in tops]
    reason = "two cases of two arms could be either layout" if by_arm else "cannot see which series form pairs"
    raise ReconError(
        f"{folder}: {reason}; lay them out as ARM/CASE/ or CASE/ARM/, or give --pairs a CSV table with the columns "
        "case, arm, path"
    )


def _pairs_from_table(table: Path) -> list[Pair]:
    cases: dict[str, dict[str, Path]] = {}
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            if not {"case", "arm", "path"} <= set(rows.fieldnames or ()):
                raise ReconError(f"{table}: the columns must be case, arm and path")
            for row in rows:
                arms = cases.setdefault(row["case"], {})
                if row["arm"] in arms:
                    raise ReconError(f"{table}: case {row['case']}, arm '{row['arm']}' stands twice")
                arms[row["arm"]] = table.parent / row["path"]
    except (OSError, UnicodeDecodeError) as error:
        raise ReconError(f"{table}: the table of pairs cannot be read ({error})") from error
    names = sorted({arm for arms in cases.values() for arm in arms})
    if len(names) < 2:
        raise ReconError(f"{table}: expected two arms or more, found {', '.join(names) or 'none'}")
    for case, arms in cases.items():
        if len(arms) != len(names):
            raise ReconError(f"{table}: case {case} has no series in arm '{next(n for n in names if n not in arms)}'")
    return [
        Pair(case, _files(arms[first]), _files(arms[second]), (first, second))
        for first, second in combinations(names, 2)
        for case, arms in cases.items()
    ]


def _files(path: Path) -> tuple[Path, ...]:
    files = (path,) if path.is_file() else tuple(sorted(entry for entry in path.rglob("*") if entry.is_file()))
    if not files:
        raise ReconError(f"{path}: no files of a series")
    return files
