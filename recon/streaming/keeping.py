"""Results of served scans, kept: one result file a scan, as ``recon reconstruct`` writes it, under a name of our own.

A file is there when its scan is complete; nothing is ever written over. Names count on and hold random letters, no word
of the peer: ``scan-00001-3f9a1c.h5``.
"""

import re
import secrets
from contextlib import ExitStack, suppress
from pathlib import Path

from recon.errors import ReconError
from recon.images.result import ResultWriter, write_result
from recon.reconstruction.audit import SliceAudit
from recon.reconstruction.pipeline import finished_audit, header_of
from recon.reconstruction.slicewise import SliceResult
from recon.streaming.work import Work

_NAME = re.compile(r"scan-(\d{5,})-[0-9a-f]{6}\.h5")


def kept_results(folder: Path) -> list[Path]:
    """The results that a server has kept in ``folder``, in the order in which they came."""
    found = [(int(match[1]), path) for path in folder.glob("scan-*.h5") if (match := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted(found)]


def prepare_folder(folder: Path) -> None:
    """Make the folder. Raises ReconError when results cannot be kept there: before the first scan comes."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".{secrets.token_hex(6)}"
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        raise ReconError(f"{folder}: results cannot be kept there ({error.strerror or error})") from error


class Keeper:
    """Keeps one scan's result, slice by slice, so that a scan of many slices is never held in memory.

    ``reason``: why it is not kept, once that is known; the images are sent all the same.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._stack = folder, ExitStack()
        self._writer: ResultWriter | None = None
        self._path = folder
        self._method = ""
        self._audits: list[SliceAudit] = []
        self._levels: list[float] = []
        self._freedoms: list[float] = []
        self.reason: str | None = None

    def put(self, work: Work, result: SliceResult) -> None:
        """Keep one slice."""
        if self.reason is not None:
            return
        try:
            if self._writer is None:
                self._method, self._path = work.solver.method.name, self._free()
                self._writer = self._stack.enter_context(write_result(self._path, header_of(work.solver)))
            elif self._method != work.solver.method.name:
                self.drop(f"its slices were made by {self._method} and by {work.solver.method.name}")
                return
            self._writer.put(result.index, **result.images)
        except (ReconError, OSError) as error:
            self.drop(_said(error))
            return
        self._audits += result.slice_audits
        self._levels.append(result.noise)
        self._freedoms += result.freedoms

    def finish(self, work: Work) -> Path | None:
        """The file, once the last slice was put; None when it could not be kept, for ``reason``."""
        if self.reason is None and self._writer is None:
            self.reason = "no slice was made"
        if self.reason is not None or self._writer is None:
            return None
        try:
            fallen = [] if work.fallback is None else [f"reconstructed without the prior: {work.fallback}"]
            warnings = [*fallen, *work.warnings]
            audit = finished_audit(work.solver, warnings, self._audits, self._levels, self._freedoms)
            self._writer.close_with(audit)
            self._stack.close()
        except (ReconError, OSError) as error:
            self.drop(_said(error))
            return None
        return self._path

    def drop(self, reason: str) -> None:
        """Keep nothing of this scan; after ``finish`` there is nothing to drop."""
        self.reason = self.reason or reason
        stack, self._stack = self._stack, ExitStack()
        # The half-written file goes with the context that wrote it.
        with suppress(_Dropped, ReconError, OSError), stack:
            raise _Dropped

    def _free(self) -> Path:
        """A name that nobody has."""
        known = kept_results(self._folder)
        last = _NAME.fullmatch(known[-1].name) if known else None
        number = 1 + (0 if last is None else int(last[1]))
        return self._folder / f"scan-{number:05d}-{secrets.token_hex(3)}.h5"


class _Dropped(Exception):
    """Nothing shall be kept."""


def _said(error: BaseException) -> str:
    """A reason without folders: it goes into the log."""
    return (error.strerror if isinstance(error, OSError) else None) or "it could not be written"
