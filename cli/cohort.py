"""Several files in one command: what is bad is said, the others are done, and the exit code says so."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer

from cli.output import emit, note
from cli.progress import Progress
from recon.errors import FullDiskError, ReconError
from recon.progress import Report

Entry = dict[str, Any]


@dataclass(frozen=True)
class Refused:
    """The files of a cohort that could not be done, as ``{"scan": ..., "problem": ...}``."""

    entries: list[Entry] = field(default_factory=list)

    def add(self, path: Path, error: ReconError, say: Callable[[str], None] = note) -> None:
        """Say at once what is wrong with a file, and remember it."""
        problem = " ".join(str(error).split())
        say(f"recon: {problem}")
        self.entries.append({"scan": str(path), "problem": problem})

    def lines(self, all_of_them: int) -> list[str]:
        """The last line for people; none when all went well."""
        return [f"{len(self.entries)} of {all_of_them} left out: see the lines above"] if self.entries else []

    def end(self) -> None:
        """End the command with exit code 2 when something was refused."""
        if self.entries:
            raise typer.Exit(2)


@dataclass(frozen=True)
class Outcome:
    """What came of a cohort: one entry a file that was done, and what was refused."""

    done: list[Entry] = field(default_factory=list)
    refused: Refused = field(default_factory=Refused)


def each(paths: Sequence[Path], work: Callable[[int, Path, Report], Entry], progress: Progress) -> Outcome:
    """Do ``work(position, path, report)`` for every file, in order. A bad one of several is noted and left out; the
    error of a single one is raised, and a full disk, which every other would meet after its work."""
    outcome = Outcome()
    for position, path in enumerate(paths):

        def show(stage: str, fraction: float, position: int = position) -> None:
            progress.show(stage, (position + fraction) / len(paths))

        try:
            outcome.done.append(work(position, path, show))
        except FullDiskError:
            raise
        except ReconError as error:
            if len(paths) == 1:
                raise
            outcome.refused.add(path, error, progress.note)
    return outcome


def finish(outcome: Outcome, lines: Sequence[str], as_json: bool, *, one: bool = False, **more: Any) -> None:
    """Print what came of a cohort, or of ``one`` file; end with exit code 2 when something was refused."""
    if one:
        emit(outcome.done[0], lines, as_json)
        return
    refused = outcome.refused
    lines = [*lines, *refused.lines(len(outcome.done) + len(refused.entries))]
    emit({**more, "scans": outcome.done, "refused": refused.entries}, lines, as_json)
    refused.end()


def is_one(words: Sequence[str | Path]) -> bool:
    """Whether a single file was named, whose outcome is told as such and not as that of a cohort of one."""
    return len(words) == 1 and not Path(words[0]).is_dir()


def outputs(words: Sequence[str | Path], paths: Sequence[Path], out: Path) -> list[Path]:
    """Where what is made of each file goes: to ``out`` for a single one; else into the folder ``out``, under the
    file's name as .h5. Raises ReconError when two would overwrite each other, or ``out`` is a file."""
    if is_one(words) and not out.is_dir():
        return [out]
    check_names(paths)
    if out.exists() and not out.is_dir():
        raise ReconError(f"{out}: is a file; several scans need a folder as --out")
    return [out / f"{path.stem}.h5" for path in paths]


def check_results(paths: Sequence[Path], folder: Path) -> None:
    """Raise ReconError, before hours of work, when the results of two scans (in ``folder``, under the scan's name as
    .h5) would overwrite each other, or one is missing and ``folder`` cannot be written."""
    from recon.atomic import check_place

    check_names(paths)
    if not all((folder / f"{path.stem}.h5").is_file() for path in paths):
        check_place(folder, folder=True)


def check_names(paths: Sequence[Path]) -> None:
    """Raise ReconError when what is made of two files would have the same name."""
    kept: dict[str, Path] = {}
    for path in paths:
        other = kept.setdefault(path.stem, path)
        if other is not path:
            raise ReconError(
                f"{other} and {path}: two scans have the same name and would overwrite each other; do them apart"
            )
