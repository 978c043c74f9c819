"""Packages and worklists added to a study after its export: all of them with their line of the log, or none."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reader_study import audit_log
from reader_study.sheet import Package
from reader_study.study import LOG, Study
from recon.held_signals import HeldSignals


@dataclass(frozen=True)
class Addition:
    """``folder``: inside of the study and hidden, where packages and worklists are made before they belong to it."""

    study: Study
    folder: Path

    def logged(
        self, event: str, details: Mapping[str, Any], packages: Sequence[Package], worklists: Sequence[str]
    ) -> audit_log.LogEntry:
        """Move packages and worklists (by file name) to their places and log them; nothing is left where that fails."""
        moved: list[Path] = []
        with HeldSignals():
            try:
                for place in (*(package.folder for package in packages), *(f"worklists/{name}" for name in worklists)):
                    os.replace(self.folder / place, self.study.folder / place)
                    moved.append(self.study.folder / place)
                return audit_log.append(self.study.folder / LOG, event, dict(details))
            except BaseException:
                for path in moved:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
                raise


@contextmanager
def addition(study: Study) -> Iterator[Addition]:
    """A folder to make packages and worklists in; it is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix=".adding-", dir=study.folder))
    try:
        yield Addition(study, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
